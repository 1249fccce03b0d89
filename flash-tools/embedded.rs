// The tool files that are part of the binary: included by `src/executors/tools.rs` as an expression. A line per file.
[
    ("avrdude.toml", include_str!("avrdude.toml")),
    ("esptool.toml", include_str!("esptool.toml")),
]
