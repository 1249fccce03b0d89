//! Devices that announce themselves by mDNS: which board, which identity, which facts, from reports alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use nuncio::boards::{Catalogue, Decision, Registry, RegistrySettings, Sureness, Verdict};
use nuncio::device::{Access, DeviceInfo, Evidence, Identity, Link, LinkReport, Questions, ServiceName, ServiceSeen};

fn registry() -> Registry {
    let catalogue = Arc::new(Catalogue::load(None).expect("the built-in boards are good"));
    let settings = RegistrySettings {
        gateway: "pi".to_owned(),
        questions: Questions::Passive,
        ask_hosts: true,
        ask_ble: true,
        devices: Vec::new(),
    };
    Registry::new(catalogue, settings, Vec::new())
}

/// A service on a host of the same name as its instance.
fn service(name: &str, txt: &[(&str, &str)]) -> LinkReport {
    let name: ServiceName = name.parse().expect("a name");
    let seen = ServiceSeen {
        host: name.instance().to_owned(),
        addresses: vec!["10.0.0.7".to_owned()],
        port: 80,
        txt: txt.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect::<BTreeMap<_, _>>(),
        name: name.clone(),
    };
    LinkReport {
        link: Link::Service(name),
        aliases: Vec::new(),
        access: Access::Usable,
        evidence: vec![Evidence::Service(seen)],
        signal: None,
    }
}

fn ready(decisions: &[Decision]) -> Option<&DeviceInfo> {
    decisions.iter().find_map(|decision| match decision {
        Decision::DeviceReady(info) => Some(info),
        _ => None,
    })
}

fn found(registry: &mut Registry, report: LinkReport) -> DeviceInfo {
    ready(&registry.handle_link(report)).expect("a device").clone()
}

#[test]
fn what_it_announces_tells_board_identity_and_facts() {
    let mut registry = registry();
    let txt = [
        ("mac", "a4cf12ab34cd"),
        ("version", "2026.10.1"),
        ("project_version", "1.2.0"),
        ("project_name", "acme.lamp"),
        ("platform", "ESP32"),
    ];
    let info = found(&mut registry, service("kitchen._esphomelib._tcp", &txt));
    assert_eq!((info.board.as_str(), info.endpoint.as_str()), ("esphome", "mac-a4cf12ab34cd"));
    assert_eq!(info.identity, Identity::Mac("a4cf12ab34cd".to_owned()));
    let version = info.version.expect("a version");
    assert_eq!((version.text.as_str(), version.source.as_str()), ("1.2.0", "mdns-txt project_version"));
    assert_eq!((info.model.as_deref(), info.hardware_version.as_deref()), (Some("acme.lamp"), Some("ESP32")));
    let why = registry.why_device(&info.id).expect("why");
    assert_eq!(why.sureness, Sureness::Announced);
    let mac = why.steps.iter().find(|step| step.what == "MAC address").expect("where the address comes from");
    assert_eq!(mac.detail, "a4cf12ab34cd (mdns-txt mac)");
}

#[test]
fn the_framework_version_is_not_the_version_of_the_program() {
    let info = found(&mut registry(), service("kitchen._esphomelib._tcp", &[("version", "2026.10.1")]));
    assert_eq!(info.version, None);
    assert_eq!((info.identity, info.endpoint.as_str()), (Identity::Host("kitchen".to_owned()), "host-pi-kitchen"));
}

#[test]
fn a_changed_record_changes_the_facts_and_another_address_is_another_device() {
    let mut registry = registry();
    let kitchen =
        |mac: &str, version: &str| service("kitchen._esphomelib._tcp", &[("mac", mac), ("project_version", version)]);
    let first = found(&mut registry, kitchen("a4cf12ab34cd", "1.2.0"));
    let decisions = registry.handle_link(kitchen("a4cf12ab34cd", "1.3.0"));
    let [Decision::DeviceChanged(info)] = &decisions[..] else { panic!("{decisions:?}") };
    assert_eq!((&info.id, info.version.as_ref().map(|version| version.text.as_str())), (&first.id, Some("1.3.0")));
    let decisions = registry.handle_link(kitchen("a4cf12000001", "1.3.0"));
    assert!(decisions.contains(&Decision::DeviceGone(first.id)), "{decisions:?}");
    assert_eq!(ready(&decisions).expect("another").endpoint, "mac-a4cf12000001");
}

#[test]
fn one_device_with_two_services_is_one_and_stays_when_one_of_them_goes() {
    let mut registry = registry();
    let gen2 = [("gen", "2"), ("app", "Plus1"), ("ver", "1.4.4")];
    let shelly = service("ShellyPlus1-A8032AB12345._shelly._tcp", &gen2);
    let http = service("ShellyPlus1-A8032AB12345._http._tcp", &gen2);
    let info = found(&mut registry, shelly.clone());
    assert_eq!((info.board.as_str(), info.endpoint.as_str()), ("shelly", "mac-a8032ab12345"));
    assert_eq!(registry.handle_link(http.clone()), []);
    let decisions = registry.handle_vanished(&shelly.link);
    let [Decision::DeviceChanged(moved)] = &decisions[..] else { panic!("{decisions:?}") };
    assert_eq!((&moved.id, &moved.link), (&info.id, &http.link));
    assert_eq!(registry.handle_vanished(&http.link), [Decision::DeviceGone(info.id)]);
}

#[test]
fn what_no_board_file_names_is_no_device_and_says_so() {
    let mut registry = registry();
    let printer = service("Office printer._http._tcp", &[("note", "3rd floor")]);
    assert_eq!(registry.handle_link(printer.clone()), []);
    let why = registry.why_link(&printer.link).expect("why");
    assert_eq!((why.sureness, why.steps[0].verdict), (Sureness::Unknown, Verdict::Noted));
    for (name, txt, board) in [
        ("shelly1-A1B2C3._http._tcp", &[][..], "shelly-1"),
        ("tasmota-0123._http._tcp", &[("devicetype", "tasmota")][..], "tasmota"),
        ("wled-desk._wled._tcp", &[("mac", "a4cf12ab0001")][..], "wled"),
        ("esp32-a4cf12ab0002._arduino._tcp", &[("board", "esp32"), ("tcp_check", "no")][..], "arduino-ota"),
    ] {
        assert_eq!(found(&mut registry, service(name, txt)).board.as_str(), board, "{name}");
    }
}
