//! What the built-in server of the stand-in knows.

use nuncio::device::{BuiltinClient, BuiltinOffer, BuiltinTarget, BuiltinValue, BuiltinView, OfferState, Sha256Digest};

pub(crate) fn view() -> BuiltinView {
    let value = |path: &str, name: Option<&str>, value: &str| BuiltinValue {
        path: path.to_owned(),
        name: name.map(str::to_owned),
        value: value.to_owned(),
    };
    let target = |device: &str, state, says: &str| BuiltinTarget {
        device: device.to_owned(),
        state,
        says: says.to_owned(),
        version: (state == OfferState::Done).then(|| "1.4.2".to_owned()),
    };
    let client = |endpoint: &str, device: Option<&str>| BuiltinClient {
        endpoint: endpoint.to_owned(),
        device: device.map(str::to_owned),
        version: "1.1".to_owned(),
        lifetime_s: 3600,
        registered: 1_790_000_000,
        values: vec![
            value("/3/0/3", Some("Firmware Version"), "1.4.2"),
            value("/3/0/11/0", Some("Error Code"), "0"),
            value("/5/0/3", Some("State"), "3"),
            value("/5/0/5", Some("Update Result"), "0"),
            value("/9999/0/1", None, "x"),
        ],
    };
    BuiltinView {
        uri: "coap://127.0.0.1:5693".to_owned(),
        trouble: Some("UDP port 5693 is held by java (pid 17)".to_owned()),
        drop: "/var/lib/nuncio/drop".into(),
        clients: vec![client("press-3", Some("press-3")), client("guest", None)],
        offers: vec![
            BuiltinOffer {
                image: "blinky.hex".to_owned(),
                folder: "by-board/arduino-uno".to_owned(),
                size: Some(1180),
                sha256: Some(Sha256Digest([7; 32])),
                since: 1_790_000_000,
                over: false,
                says: "1 of 2 devices have it, 0 have failed".to_owned(),
                devices: vec![
                    target("press-3", OfferState::Executed, "the device is being flashed"),
                    target("pump", OfferState::Done, "it runs 1.4.2, proven"),
                ],
            },
            BuiltinOffer {
                image: "link.hex".to_owned(),
                folder: "press-3".to_owned(),
                size: None,
                sha256: None,
                since: 1_790_000_000,
                over: true,
                says: "it is a link, and links are not followed".to_owned(),
                devices: Vec::new(),
            },
        ],
    }
}
