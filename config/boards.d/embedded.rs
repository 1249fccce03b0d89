// The board files that are part of the binary: included by `src/boards/catalogue.rs` as an expression. A line per file.
[
    ("arduino-mega2560.toml", include_str!("arduino-mega2560.toml")),
    ("arduino-nano.toml", include_str!("arduino-nano.toml")),
    ("arduino-ota.toml", include_str!("arduino-ota.toml")),
    ("arduino-uno.toml", include_str!("arduino-uno.toml")),
    ("ble-environment.toml", include_str!("ble-environment.toml")),
    ("esp32.toml", include_str!("esp32.toml")),
    ("esp32c3.toml", include_str!("esp32c3.toml")),
    ("esp32s3.toml", include_str!("esp32s3.toml")),
    ("esp8266.toml", include_str!("esp8266.toml")),
    ("esphome.toml", include_str!("esphome.toml")),
    ("mcumgr-ble.toml", include_str!("mcumgr-ble.toml")),
    ("nordic-dfu.toml", include_str!("nordic-dfu.toml")),
    ("shelly.toml", include_str!("shelly.toml")),
    ("tasmota.toml", include_str!("tasmota.toml")),
    ("wled.toml", include_str!("wled.toml")),
]
