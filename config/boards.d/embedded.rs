// The board files that are part of the binary: included by `src/boards/catalogue.rs` as an expression. A line per file.
[
    ("arduino-mega2560.toml", include_str!("arduino-mega2560.toml")),
    ("arduino-nano.toml", include_str!("arduino-nano.toml")),
    ("arduino-uno.toml", include_str!("arduino-uno.toml")),
    ("esp32.toml", include_str!("esp32.toml")),
    ("esp32c3.toml", include_str!("esp32c3.toml")),
    ("esp32s3.toml", include_str!("esp32s3.toml")),
    ("esp8266.toml", include_str!("esp8266.toml")),
]
