//! Devices that announce themselves by mDNS: which board, which identity, which facts, from reports alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use nuncio::boards::{
    Catalogue, Decision, JoinError, JoinPolicy, JoinSettings, KeptOut, NamingSettings, Registry, RegistrySettings,
    Verdict,
};
use nuncio::device::{
    Access, Answer, DeviceInfo, Evidence, Identity, Link, LinkReport, Question, QuestionFailed, Questions, ServiceName,
    ServiceSeen, Sureness,
};

fn naming() -> NamingSettings {
    NamingSettings { endpoint: String::new() }
}

/// Everything joins, as fast as it likes.
fn join() -> JoinSettings {
    JoinSettings { policy: JoinPolicy::Automatic, allow: Vec::new(), deny: Vec::new(), burst: 100_000, per_minute: 60 }
}

fn registry() -> Registry {
    with(join(), Vec::new())
}

fn with(join: JoinSettings, banned: Vec<Identity>) -> Registry {
    let catalogue = Arc::new(Catalogue::load(None).expect("the built-in boards are good"));
    Registry::new(catalogue, settings(join, banned), Vec::new())
}

fn settings(join: JoinSettings, banned: Vec<Identity>) -> RegistrySettings {
    RegistrySettings {
        budget: 16,
        gateway: "pi".to_owned(),
        questions: Questions::Passive,
        ask_hosts: true,
        ask_ble: true,
        devices: Vec::new(),
        naming: naming(),
        join,
        banned,
        own_endpoint: None,
    }
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

fn asked(decisions: &[Decision]) -> (&Link, &Question) {
    let [Decision::Ask { link, question }] = decisions else { panic!("{decisions:?}") };
    (link, question)
}

fn tells(values: &[(&str, &str)]) -> Result<Answer, QuestionFailed> {
    let values = values.iter().map(|(at, value)| ((*at).to_owned(), (*value).to_owned())).collect();
    Ok(Answer { evidence: vec![Evidence::Http { values }], version: None })
}

#[test]
fn who_does_not_announce_its_address_is_asked_for_it_before_it_gets_a_name() {
    let tasmota = service("tasmota-0123._http._tcp", &[("devicetype", "tasmota")]);
    let mut registry = registry();
    let decisions = registry.handle_link(tasmota.clone());
    let (link, question) = asked(&decisions);
    let Question::Http { path, service, pointers } = question else { panic!("{question:?}") };
    assert_eq!((path.as_str(), service.addresses[0].as_str()), ("/cm?cmnd=Status%200", "10.0.0.7"));
    assert!(pointers.contains(&"StatusFWR/Version".to_owned()));
    let answer = tells(&[("StatusNET/Mac", "A4:CF:12:AB:00:03"), ("StatusFWR/Version", "14.2.0(tasmota)")]);
    let info = ready(&registry.handle_answer(link, question, answer)).expect("a device").clone();
    assert_eq!((info.board.as_str(), info.endpoint.as_str()), ("tasmota", "mac-a4cf12ab0003"));
    assert_eq!(info.version.expect("a version").source, "http StatusFWR/Version");
    assert_eq!(registry.handle_link(tasmota.clone()), [], "it is the same");
    // One that does not answer goes by its host.
    let mut silent = self::registry();
    let decisions = silent.handle_link(tasmota);
    let (link, question) = asked(&decisions);
    let failed = Err(QuestionFailed::Failed("no".to_owned()));
    let info = ready(&silent.handle_answer(link, question, failed)).expect("a device").clone();
    assert_eq!((info.endpoint.as_str(), info.version), ("host-pi-tasmota-0123", None));
}

#[test]
fn where_asking_is_off_nobody_is_asked() {
    let settings = |ask_hosts| RegistrySettings { ask_hosts, ..settings(join(), Vec::new()) };
    let catalogue = Arc::new(Catalogue::load(None).expect("good"));
    let mut registry = Registry::new(catalogue, settings(false), Vec::new());
    let info = found(&mut registry, service("tasmota-0123._http._tcp", &[("devicetype", "tasmota")]));
    assert_eq!(info.endpoint, "host-pi-tasmota-0123");
}

#[test]
fn what_no_board_file_names_is_no_device_and_says_so() {
    let mut registry = registry();
    let printer = service("Office printer._http._tcp", &[("note", "3rd floor")]);
    assert_eq!(registry.handle_link(printer.clone()), []);
    let why = registry.why_link(&printer.link).expect("why");
    assert_eq!((why.sureness, why.steps[0].verdict), (Sureness::Unknown, Verdict::Noted));
    for (name, txt, board) in [
        ("wled-desk._wled._tcp", &[("mac", "a4cf12ab0001")][..], "wled"),
        ("esp32-a4cf12ab0002._arduino._tcp", &[("board", "esp32"), ("tcp_check", "no")][..], "arduino-ota"),
    ] {
        assert_eq!(found(&mut registry, service(name, txt)).board.as_str(), board, "{name}");
    }
}

fn kitchen(number: u8) -> LinkReport {
    let name = format!("kitchen-{number}._esphomelib._tcp");
    service(&name, &[("mac", &format!("a4cf120000{number:02x}"))])
}

#[test]
fn a_flood_joins_in_its_turns_and_is_remembered_only_then() {
    let mut registry = with(JoinSettings { burst: 2, ..join() }, Vec::new());
    let decisions: Vec<Decision> = (0..5).flat_map(|number| registry.handle_link(kitchen(number))).collect();
    assert_eq!(decisions.iter().filter(|one| matches!(one, Decision::Remember(_))).count(), 2);
    assert!(registry.is_flooded());
    assert_eq!(registry.devices().count(), 2);
    registry.refill(1);
    assert_eq!(registry.devices().count(), 3);
    registry.refill(100);
    assert_eq!((registry.devices().count(), registry.is_flooded()), (5, false));
}

#[test]
fn what_waits_for_approval_joins_when_it_is_approved_and_stays_so() {
    let approve = || JoinSettings { policy: JoinPolicy::Approve, ..join() };
    let mut registry = with(approve(), Vec::new());
    let link = kitchen(1).link;
    assert_eq!(registry.handle_link(kitchen(1)), []);
    assert_eq!(registry.kept_out(&link), Some(KeptOut::Unapproved));
    let decisions = registry.approve(&link).expect("approved");
    let info = ready(&decisions).expect("a device").clone();
    assert_eq!(registry.approve(&link), Err(JoinError::Joined(info.id.clone())));
    registry.handle_vanished(&link);
    assert!(ready(&registry.handle_link(kitchen(1))).is_some(), "it is known");
    let decisions = registry.forget("mac-a4cf12000001", false).expect("forgotten");
    assert!(decisions.contains(&Decision::DeviceGone(info.id)), "{decisions:?}");
    assert_eq!(registry.kept_out(&link), Some(KeptOut::Unapproved), "it is new again");
    assert_eq!(registry.forget("mac-a4cf12000001", false), Err(JoinError::Unknown));
}

#[test]
fn what_the_configuration_keeps_out_no_operator_lets_in() {
    let mut registry = with(JoinSettings { deny: vec!["mac-a4cf*".to_owned()], ..join() }, Vec::new());
    assert_eq!(registry.handle_link(kitchen(1)), []);
    assert_eq!(registry.approve(&kitchen(1).link), Err(JoinError::Denied));
    assert_eq!(registry.kept_out(&kitchen(1).link), Some(KeptOut::Denied));
}

#[test]
fn a_forgotten_device_is_kept_out_until_it_is_approved() {
    let mut registry = registry();
    let info = found(&mut registry, kitchen(1));
    assert_eq!(registry.forget(info.id.as_str(), false), Err(JoinError::WouldRejoin));
    let decisions = registry.forget(info.id.as_str(), true).expect("forgotten");
    assert!(decisions.contains(&Decision::Forget { identity: info.identity.clone(), ban: true }), "{decisions:?}");
    assert_eq!(registry.kept_out(&info.link), Some(KeptOut::Forgotten));
    let mut later = with(join(), vec![info.identity.clone()]);
    assert_eq!(later.handle_link(kitchen(1)), [], "after a restart, too");
    let decisions = later.approve(&info.link).expect("approved");
    assert_eq!(decisions[0], Decision::Unban(info.identity));
    assert_eq!(ready(&decisions).expect("a device").endpoint, info.endpoint, "under the name that was its own");
}

#[test]
fn a_device_gets_another_name_and_keeps_its_endpoint() {
    let mut registry = registry();
    let info = found(&mut registry, kitchen(1));
    let other = found(&mut registry, kitchen(2));
    assert_eq!(registry.rename(info.id.as_str(), &other.endpoint), Err(JoinError::Taken(other.endpoint.clone())));
    let decisions = registry.rename(info.id.as_str(), "stove").expect("renamed");
    let renamed = ready(&decisions).expect("a device");
    assert_eq!((renamed.id.as_str(), &renamed.endpoint), ("stove", &info.endpoint));
    assert!(decisions.contains(&Decision::DeviceGone(info.id.clone())));
    registry.handle_vanished(&info.link);
    assert_eq!(found(&mut registry, kitchen(1)).id.as_str(), "stove");
    assert_eq!(registry.rename("nobody", "x"), Err(JoinError::Unknown));
    registry.hold(&other.id);
    assert_eq!(registry.rename(other.id.as_str(), "x"), Err(JoinError::Updating));
}
