//! Which device is on a link: the registry's decisions, from reports and answers alone.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nuncio::boards::{
    Catalogue, Decision, DeviceEntry, JoinPolicy, JoinSettings, NamingSettings, Registry, RegistrySettings, Verdict,
};
use nuncio::device::{
    Access, Answer, DeviceId, DeviceInfo, Evidence, Identity, IdentityRecord, Link, LinkReport, Question,
    QuestionFailed, Questions, ReportedVersion, SmpSlot, Sureness, UsbIds,
};
use proptest::prelude::*;

fn naming() -> NamingSettings {
    NamingSettings { endpoint: String::new() }
}

/// Everything joins, as fast as it likes.
fn join() -> JoinSettings {
    JoinSettings { policy: JoinPolicy::Automatic, allow: Vec::new(), deny: Vec::new(), burst: 100_000, per_minute: 60 }
}

fn registry(questions: Questions, entries: &str, known: Vec<IdentityRecord>) -> Registry {
    registry_of(Catalogue::load(None).expect("the built-in boards are good"), questions, 16, entries, known)
}

fn registry_of(
    catalogue: Catalogue,
    questions: Questions,
    budget: u32,
    entries: &str,
    known: Vec<IdentityRecord>,
) -> Registry {
    #[derive(serde::Deserialize)]
    struct File {
        #[serde(default)]
        device: Vec<DeviceEntry>,
    }
    let File { device } = toml::from_str(entries).expect("entries");
    Registry::new(
        Arc::new(catalogue),
        RegistrySettings {
            gateway: "pi".to_owned(),
            questions,
            budget,
            ask_hosts: true,
            ask_ble: true,
            devices: device,
            naming: naming(),
            join: join(),
            banned: Vec::new(),
            own_endpoint: None,
        },
        known,
    )
}

fn link(path: &str) -> Link {
    Link::Serial(PathBuf::from(path))
}

fn usb(ids: &str, serial: Option<&str>, socket: &str) -> Evidence {
    let (vid, pid) = ids.split_once(':').expect("vid:pid");
    let hex = |text| u16::from_str_radix(text, 16).expect("hex");
    let serial = serial.map(str::to_owned);
    let path = socket.to_owned();
    Evidence::Usb(UsbIds {
        vid: hex(vid),
        pid: hex(pid),
        serial,
        manufacturer: None,
        product: None,
        path,
        interface: 0,
    })
}

fn report(path: &str, evidence: &[Evidence]) -> LinkReport {
    LinkReport {
        link: link(path),
        aliases: Vec::new(),
        access: Access::Usable,
        evidence: evidence.to_vec(),
        signal: None,
    }
}

fn told(evidence: Evidence) -> Result<Answer, QuestionFailed> {
    Ok(Answer { evidence: vec![evidence], version: None })
}

fn signature(protocol: &str, bytes: [u8; 3], baud: u32) -> Evidence {
    Evidence::Signature { protocol: protocol.to_owned(), bytes, baud }
}

fn asked(decisions: &[Decision]) -> Option<Question> {
    decisions.iter().find_map(|decision| match decision {
        Decision::Ask { question, .. } => Some(question.clone()),
        _ => None,
    })
}

fn ready(decisions: &[Decision]) -> Option<DeviceInfo> {
    decisions.iter().find_map(|decision| match decision {
        Decision::DeviceReady(info) => Some(info.clone()),
        _ => None,
    })
}

/// Answers each question by a script until none comes any more; all decisions.
fn play(
    registry: &mut Registry,
    first: Vec<Decision>,
    mut script: impl FnMut(&Question) -> Result<Answer, QuestionFailed>,
) -> (Vec<Decision>, Vec<Question>) {
    let mut all = first;
    let mut questions = Vec::new();
    let mut at = 0;
    while at < all.len() {
        if let Decision::Ask { link, question } = all[at].clone() {
            questions.push(question.clone());
            assert!(questions.len() < 50, "questions go on for ever");
            let outcome = script(&question);
            all.extend(registry.handle_answer(&link, &question, outcome));
        }
        at += 1;
    }
    (all, questions)
}

#[test]
fn usb_ids_of_one_board_decide_without_a_question() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let report = report("/dev/ttyACM0", &[usb("2341:0043", Some("75437303830351F0D0C1"), "1-1.4")]);
    let decisions = registry.handle_link(report);
    let info = ready(&decisions).expect("a device");
    assert_eq!(info.board.as_str(), "arduino-uno");
    assert_eq!(info.endpoint, "usb-2341-0043-75437303830351F0D0C1");
    assert_eq!(info.serial_number.as_deref(), Some("75437303830351F0D0C1"));
    assert_eq!((info.version, asked(&decisions)), (None, None));
    assert!(matches!(&decisions[0], Decision::Remember(record) if record.endpoint == info.endpoint));
}

#[test]
fn a_shared_bridge_chip_never_decides() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let decisions = registry.handle_link(report("/dev/ttyUSB0", &[usb("0403:6001", Some("A50285BI"), "1-1.2")]));
    assert_eq!(decisions, []);
    let why = registry.why_link(&link("/dev/ttyUSB0")).expect("a link");
    assert_eq!((why.board, why.sureness), (None, Sureness::Unknown));
    assert!(why.steps.iter().any(|step| step.verdict == Verdict::NotAsked && step.detail.contains("\"bootloader\"")));
    assert_eq!(registry.links().count(), 1);
}

#[test]
fn the_old_nano_is_told_by_its_bootloaders_speed_and_flashed_at_it() {
    let mut registry = registry(Questions::Bootloader, "", Vec::new());
    let first = registry.handle_link(report("/dev/ttyUSB0", &[usb("1a86:7523", None, "1-1.2")]));
    let (decisions, questions) = play(&mut registry, first, |question| match question {
        Question::Stk500 { baud: 57_600 } => told(signature("stk500", [0x1E, 0x95, 0x0F], 57_600)),
        _ => Ok(Answer::default()),
    });
    assert!(matches!(questions[0], Question::Listen(_)), "the least disturbing question comes first: {questions:?}");
    let info = ready(&decisions).expect("a device");
    assert_eq!((info.board.as_str(), info.endpoint.as_str()), ("arduino-nano", "port-pi-1-1.2"));
    let profile = registry.profile(&info.id).expect("a profile");
    assert_eq!((profile.vars["baud"].as_str(), profile.image.max_size), ("57600", 30_720));
    let asked_late = questions.iter().any(|question| matches!(question, Question::EspRom { .. }));
    assert!(!asked_late, "a bootloader that has told is not asked again: {questions:?}");
}

#[test]
fn what_two_boards_answer_alike_stays_unknown_and_is_listed() {
    let mut registry = registry(Questions::Bootloader, "", Vec::new());
    let first = registry.handle_link(report("/dev/ttyUSB0", &[usb("1a86:7523", None, "1-1.2")]));
    let (decisions, _) = play(&mut registry, first, |question| match question {
        Question::Stk500 { baud: 115_200 } => told(signature("stk500", [0x1E, 0x95, 0x0F], 115_200)),
        _ => Ok(Answer::default()),
    });
    assert!(ready(&decisions).is_none());
    let why = registry.why_link(&link("/dev/ttyUSB0")).expect("a link");
    assert!(why.steps.iter().any(|step| step.detail.contains("`arduino-nano` and `arduino-uno` answer alike")));
    assert!(why.steps.iter().any(|step| step.what == "`esp32`" && step.verdict == Verdict::Excluded));
    // On an FT232R there is no Uno, and the same answer decides.
    let first = registry.handle_link(report("/dev/ttyUSB1", &[usb("0403:6001", Some("A50285BI"), "1-1.3")]));
    let (decisions, _) = play(&mut registry, first, |question| match question {
        Question::Stk500 { baud: 115_200 } => told(signature("stk500", [0x1E, 0x95, 0x0F], 115_200)),
        _ => Ok(Answer::default()),
    });
    assert_eq!(ready(&decisions).expect("a device").board.as_str(), "arduino-nano");
}

#[test]
fn firmata_is_asked_by_serial_questions_and_tells_the_board_by_its_pins() {
    let mut registry = registry(Questions::Serial, "", Vec::new());
    let first = registry.handle_link(report("/tmp/ttyA", &[]));
    let name = "StandardFirmata.ino".to_owned();
    let (decisions, questions) = play(&mut registry, first, |_| {
        let evidence = vec![Evidence::Firmata { name: name.clone(), major: 2, minor: 5, pins: Some(70) }];
        Ok(Answer { evidence, version: Some(ReportedVersion { text: "2.5".to_owned(), source: "firmata".to_owned() }) })
    });
    assert_eq!(questions.len(), 1, "the answer also told the version: {questions:?}");
    let info = ready(&decisions).expect("a device");
    assert_eq!(info.board.as_str(), "arduino-mega2560");
    assert_eq!(info.version.map(|version| version.text).as_deref(), Some("2.5"));
    assert_eq!(info.identity, Identity::PortPath("/tmp/ttyA".to_owned()));
    assert_eq!(registry.why_link(&link("/tmp/ttyA")).expect("a link").sureness, Sureness::Program);
}

#[test]
fn a_chip_gives_its_address_as_identity_and_its_version_in_one_go() {
    let mut registry = registry(Questions::Bootloader, "", Vec::new());
    let first = registry.handle_link(report("/dev/ttyUSB0", &[usb("10c4:ea60", Some("0001"), "1-1.2")]));
    let (decisions, questions) = play(&mut registry, first, |question| match question {
        Question::EspRom { app_offset: Some(0x10000), .. } => Ok(Answer {
            evidence: vec![Evidence::EspChip {
                chip: "ESP32".to_owned(),
                mac: Some([0x24, 0x6F, 0x28, 0xAA, 0xBB, 0xCC]),
                app_version: Some("1.4.2".to_owned()),
            }],
            version: Some(ReportedVersion { text: "1.4.2".to_owned(), source: "esp-app-desc".to_owned() }),
        }),
        _ => Ok(Answer::default()),
    });
    let info = ready(&decisions).expect("a device");
    assert_eq!((info.board.as_str(), info.endpoint.as_str()), ("esp32", "mac-246f28aabbcc"));
    assert_eq!(info.version.map(|version| version.text).as_deref(), Some("1.4.2"));
    assert_eq!(questions.len(), 1, "{questions:?}");
}

#[test]
fn the_user_wins_over_usb_ids_and_the_contradiction_is_told() {
    let entries = "[[device]]\nname = \"press-3\"\nboard = \"arduino-nano\"\nlink = \"serial:/dev/ttyACM0\"";
    let mut registry = registry(Questions::Passive, entries, Vec::new());
    let decisions = registry.handle_link(report("/dev/ttyACM0", &[usb("2341:0043", Some("7543730383"), "1-1.4")]));
    let info = ready(&decisions).expect("a device");
    assert_eq!((info.id.as_str(), info.board.as_str()), ("press-3", "arduino-nano"));
    let why = registry.why_device(&info.id).expect("a device");
    assert_eq!(why.sureness, Sureness::Configured);
    assert!(why.steps.iter().any(|step| step.verdict == Verdict::Contradicts && step.detail.contains("arduino-uno")));
    let json = serde_json::to_string(&why).expect("it serialises");
    assert_eq!(serde_json::from_str::<nuncio::boards::Why>(&json).expect("it reads back"), why);
}

#[test]
fn an_entry_without_any_identity_is_called_after_the_gateway_and_itself() {
    let entries = "[[device]]\nname = \"pump\"\nboard = \"arduino-uno\"\nlink = \"tcp:10.0.0.7:4000\"";
    let mut registry = registry(Questions::Bootloader, entries, Vec::new());
    let link: Link = "tcp:10.0.0.7:4000".parse().expect("a link");
    let evidence = vec![Evidence::Connected];
    let decisions =
        registry.handle_link(LinkReport { link, aliases: Vec::new(), access: Access::Usable, evidence, signal: None });
    let info = ready(&decisions).expect("a device");
    assert_eq!((info.id.as_str(), info.endpoint.as_str()), ("pump", "pi-pump"));
    assert!(info.not_updatable.is_some(), "flashing over tcp is not possible");
    assert_eq!(asked(&decisions), None);
}

#[test]
fn a_port_that_may_not_be_used_is_listed_with_its_remedy_and_asked_nothing() {
    let entries = "[[device]]\nname = \"a\"\nboard = \"arduino-uno\"\nlink = \"serial:/tmp/a\"";
    let mut registry = registry(Questions::Bootloader, entries, Vec::new());
    let locked = Access::NotPermitted {
        permissions: "root:dialout 0660".to_owned(),
        remedy: "`sudo usermod -aG dialout nuncio`".to_owned(),
    };
    let decisions = registry.handle_link(LinkReport { access: locked, ..report("/tmp/a", &[]) });
    let info = ready(&decisions).expect("a device");
    assert!(info.not_updatable.expect("a reason").contains("usermod -aG dialout nuncio"));
    assert_eq!(asked(&decisions), None);
    let decisions = registry.handle_link(report("/tmp/a", &[]));
    assert!(matches!(&decisions[0], Decision::DeviceChanged(info) if info.not_updatable.is_none()), "{decisions:?}");
    assert!(asked(&decisions).is_some());
}

#[test]
fn a_question_that_finds_the_link_held_is_asked_when_it_comes_back() {
    let mut registry = registry(Questions::Serial, "", Vec::new());
    let path = link("/tmp/a");
    let question = asked(&registry.handle_link(report("/tmp/a", &[]))).expect("a question");
    registry.handle_held(&path, &question);
    assert_eq!(asked(&registry.handle_released(&path)), Some(question.clone()));
    // Somebody else's process is no lease of ours: no loop, the next change of the port brings the question again.
    assert_eq!(registry.handle_answer(&path, &question, Err(QuestionFailed::Busy("picocom (pid 7)".to_owned()))), []);
    assert_eq!(registry.handle_released(&path), []);
    let busy = Access::Busy { holder: "picocom (pid 7)".to_owned(), remedy: String::new() };
    assert_eq!(registry.handle_link(LinkReport { access: busy, ..report("/tmp/a", &[]) }), []);
    assert_eq!(asked(&registry.handle_link(report("/tmp/a", &[]))), Some(question));
}

#[test]
fn an_answer_for_a_device_that_was_unplugged_meanwhile_is_void() {
    let mut registry = registry(Questions::Bootloader, "", Vec::new());
    let path = link("/dev/ttyUSB0");
    let ids = [usb("0403:6001", Some("A50285BI"), "1-1.2")];
    let question = asked(&registry.handle_link(report("/dev/ttyUSB0", &ids))).expect("a question");
    registry.handle_vanished(&path);
    assert_eq!(registry.handle_answer(&path, &question, Ok(Answer::default())), []);
    let again = asked(&registry.handle_link(report("/dev/ttyUSB0", &ids)));
    assert_eq!(again, Some(question), "the next device is asked from the beginning");
}

#[test]
fn a_device_under_update_stays_while_its_link_is_away_and_is_found_under_another_name() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let ids = [usb("2341:0043", Some("75437303830351F0D0C1"), "1-1.4")];
    let info = ready(&registry.handle_link(report("/dev/ttyACM0", &ids))).expect("a device");
    registry.hold(&info.id);
    assert_eq!(registry.handle_vanished(&link("/dev/ttyACM0")), [Decision::DeviceAway(info.id.clone())]);
    assert!(!registry.present(&info.id));
    let decisions = registry.handle_link(report("/dev/ttyACM3", &ids));
    assert!(
        matches!(&decisions[..], [Decision::DeviceReturned(back)] if back.link == link("/dev/ttyACM3") && back.id == info.id),
        "{decisions:?}"
    );
    assert_eq!(registry.unhold(&info.id), []);
    assert_eq!(registry.handle_vanished(&link("/dev/ttyACM3")), [Decision::DeviceGone(info.id)]);
}

#[test]
fn a_boot_loader_with_ids_of_its_own_is_the_device_that_is_under_update_and_so_is_its_program_afterwards() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let [program, loader] = ["2341:8036", "2341:0036"].map(|ids| [usb(ids, None, "1-1.4")]);
    let info = ready(&registry.handle_link(report("/dev/ttyACM0", &program))).expect("a device");
    registry.hold(&info.id);
    for (port, ids) in [("/dev/ttyACM1", &loader), ("/dev/ttyACM0", &program)] {
        let at = registry.device(&info.id).expect("held").link.clone();
        registry.handle_vanished(&at);
        let elsewhere = registry.handle_link(report("/dev/ttyACM7", &[usb("2341:0036", None, "1-1.2")]));
        assert!(!elsewhere.iter().any(|decision| matches!(decision, Decision::DeviceReturned(_))), "{elsewhere:?}");
        let decisions = registry.handle_link(report(port, ids));
        assert!(
            matches!(&decisions[..], [Decision::DeviceReturned(back)] if back.id == info.id && back.link == link(port)),
            "{decisions:?}"
        );
        registry.handle_vanished(&link("/dev/ttyACM7"));
    }
}

#[test]
fn another_board_in_the_socket_of_one_under_update_is_not_taken_for_it() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let uno = [usb("2341:0043", None, "1-1.4")];
    let mega = [usb("2341:0042", None, "1-1.4")];
    let info = ready(&registry.handle_link(report("/dev/ttyACM0", &uno))).expect("a device");
    registry.hold(&info.id);
    registry.handle_vanished(&link("/dev/ttyACM0"));
    let decisions = registry.handle_link(report("/dev/ttyACM0", &mega));
    assert!(!decisions.iter().any(|decision| matches!(decision, Decision::DeviceReturned(_))), "{decisions:?}");
    assert!(registry.unhold(&info.id).contains(&Decision::DeviceGone(info.id.clone())));
}

#[test]
fn a_device_that_does_not_return_is_gone_when_the_update_gives_up() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let ids = [usb("2341:0043", Some("75437303830351F0D0C1"), "1-1.4")];
    let info = ready(&registry.handle_link(report("/dev/ttyACM0", &ids))).expect("a device");
    registry.hold(&info.id);
    registry.handle_vanished(&link("/dev/ttyACM0"));
    assert_eq!(registry.unhold(&info.id), [Decision::DeviceGone(info.id.clone())]);
    assert!(registry.device(&info.id).is_none());
}

#[test]
fn names_are_the_same_after_a_restart_even_when_the_gateway_is_renamed() {
    let ids = [usb("2341:0043", None, "1-1.4")];
    let mut first = registry(Questions::Passive, "", Vec::new());
    let decisions = first.handle_link(report("/dev/ttyACM0", &ids));
    let records: Vec<IdentityRecord> = decisions
        .iter()
        .filter_map(|decision| match decision {
            Decision::Remember(record) => Some(record.clone()),
            _ => None,
        })
        .collect();
    let catalogue = Arc::new(Catalogue::load(None).expect("good"));
    let settings = RegistrySettings {
        gateway: "renamed".to_owned(),
        questions: Questions::Passive,
        budget: 16,
        ask_hosts: true,
        ask_ble: true,
        devices: Vec::new(),
        naming: naming(),
        join: join(),
        banned: Vec::new(),
        own_endpoint: None,
    };
    let mut second = Registry::new(catalogue, settings, records);
    let again = second.handle_link(report("/dev/ttyACM7", &ids));
    assert_eq!(ready(&again).expect("a device").endpoint, "port-pi-1-1.4");
    assert!(!again.iter().any(|decision| matches!(decision, Decision::Remember(_))));
}

#[test]
fn two_ports_with_one_serial_number_are_two_devices() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let one = ready(&registry.handle_link(report("/dev/ttyACM0", &[usb("2341:0043", Some("CLONE123"), "1-1.1")])));
    let other = ready(&registry.handle_link(report("/dev/ttyACM1", &[usb("2341:0043", Some("CLONE123"), "1-1.2")])));
    assert_eq!(one.expect("a device").endpoint, "usb-2341-0043-CLONE123");
    assert_eq!(other.expect("a device").endpoint, "port-pi-1-1.2");
}

#[test]
fn a_proven_version_replaces_what_was_told_and_an_unknown_one_is_asked_again() {
    let entries = "[[device]]\nname = \"a\"\nboard = \"arduino-uno\"\nlink = \"serial:/tmp/a\"";
    let mut registry = registry(Questions::Serial, entries, Vec::new());
    let version = |text: &str| ReportedVersion { text: text.to_owned(), source: "banner".to_owned() };
    let first = registry.handle_link(report("/tmp/a", &[]));
    let banner = |text: &str| {
        let evidence = vec![Evidence::Banner { line: format!("fw={text}"), version: Some(text.to_owned()) }];
        Ok(Answer { evidence, version: Some(version(text)) })
    };
    play(&mut registry, first, |_| banner("1.0"));
    let id = DeviceId::new("a");
    let now = |registry: &Registry| registry.device(&id).and_then(|info| info.version.clone());
    assert_eq!(now(&registry), Some(version("1.0")));
    registry.set_version(&id, Some(version("1.1")));
    assert_eq!(now(&registry), Some(version("1.1")));
    let decisions = registry.set_version(&id, None);
    assert_eq!(now(&registry), None);
    play(&mut registry, decisions, |_| banner("1.2"));
    assert_eq!(now(&registry), Some(version("1.2")));
}

#[test]
fn a_board_without_tool_is_told_so_and_again_when_it_has_one() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let info =
        ready(&registry.handle_link(report("/dev/ttyACM0", &[usb("2341:0043", None, "1-1")]))).expect("a device");
    let trouble = BTreeMap::from([(info.board.clone(), "avrdude is not installed".to_owned())]);
    let decisions = registry.set_troubles(trouble);
    assert!(matches!(&decisions[..], [Decision::DeviceChanged(info)] if info.not_updatable.is_some()));
    let decisions = registry.set_troubles(BTreeMap::new());
    assert!(matches!(&decisions[..], [Decision::DeviceChanged(info)] if info.not_updatable.is_none()));
}

#[test]
fn a_thousand_entries_are_settled_in_no_time() {
    let entries: String = (0..1000)
        .map(|n| {
            format!(
                "[[device]]\nname = \"d{n}\"\nboard = \"arduino-uno\"\nlink = \"tcp:127.0.{}.{}:7\"\n",
                n / 250,
                n % 250 + 1
            )
        })
        .collect();
    let mut registry = registry(Questions::Passive, &entries, Vec::new());
    let began = std::time::Instant::now();
    for n in 0..1000 {
        let link: Link = format!("tcp:127.0.{}.{}:7", n / 250, n % 250 + 1).parse().expect("a link");
        let evidence = vec![Evidence::Connected];
        let decisions = registry.handle_link(LinkReport {
            link,
            aliases: Vec::new(),
            access: Access::Usable,
            evidence,
            signal: None,
        });
        assert!(ready(&decisions).is_some());
    }
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[derive(Debug, Clone)]
enum Happening {
    Link(usize, usize, bool),
    Vanish(usize),
    Answer(usize, usize),
    Release(usize),
    Hold(usize),
    Unhold(usize),
}

fn happening() -> impl Strategy<Value = Happening> {
    prop_oneof![
        (0..4usize, 0..6usize, any::<bool>()).prop_map(|(link, what, usable)| Happening::Link(link, what, usable)),
        (0..4usize).prop_map(Happening::Vanish),
        (0..4usize, 0..7usize).prop_map(|(link, answer)| Happening::Answer(link, answer)),
        (0..4usize).prop_map(Happening::Release),
        (0..4usize).prop_map(Happening::Hold),
        (0..4usize).prop_map(Happening::Unhold),
    ]
}

fn some_evidence(what: usize) -> Vec<Evidence> {
    match what {
        0 => Vec::new(),
        1 => vec![usb("2341:0043", Some("SERIAL-1"), "1-1")],
        2 => vec![usb("2341:0043", Some("SERIAL-1"), "1-2")],
        3 => vec![usb("1a86:7523", None, "1-3")],
        4 => vec![usb("303a:1001", Some("DC:DA:0C:11:22:33"), "1-4")],
        _ => vec![usb("dead:beef", None, "1-5")],
    }
}

fn some_answer(what: usize) -> Option<Result<Answer, QuestionFailed>> {
    let chip =
        |mac: u8| Evidence::EspChip { chip: "ESP32-C3".to_owned(), mac: Some([2, 0, 0, 0, 0, mac]), app_version: None };
    Some(match what {
        0 => Ok(Answer::default()),
        1 => told(signature("stk500", [0x1E, 0x95, 0x0F], 115_200)),
        2 => told(chip(1)),
        3 => Err(QuestionFailed::Busy("x".to_owned())),
        4 => Err(QuestionFailed::Failed("x".to_owned())),
        5 => told(Evidence::Firmata { name: "x".to_owned(), major: 1, minor: 0, pins: Some(20) }),
        _ => return None,
    })
}

proptest! {
    /// Whatever happens in whatever order: a device is made once before it goes, one question at a time is under way
    /// for each link, and no two devices share a name.
    #[test]
    fn decisions_are_consistent(happenings in proptest::collection::vec(happening(), 1..60)) {
        let entries = "[[device]]\nname = \"named\"\nboard = \"arduino-uno\"\nlink = \"serial:/tmp/0\"";
        let mut registry = registry(Questions::Bootloader, entries, Vec::new());
        let mut alive: BTreeSet<DeviceId> = BTreeSet::new();
        let mut asking: BTreeMap<Link, Question> = BTreeMap::new();
        for happening in happenings {
            let at = |number: usize| link(&format!("/tmp/{number}"));
            let device = |number: usize| alive.iter().nth(number).cloned();
            let decisions = match happening {
                Happening::Link(number, what, usable) => {
                    let access = if usable { Access::Usable } else { Access::Denied };
                    let report = report(&format!("/tmp/{number}"), &some_evidence(what));
                    registry.handle_link(LinkReport { access, ..report })
                }
                Happening::Vanish(number) => { asking.remove(&at(number)); registry.handle_vanished(&at(number)) }
                Happening::Answer(number, what) => match (asking.remove(&at(number)), some_answer(what)) {
                    (Some(question), Some(outcome)) => registry.handle_answer(&at(number), &question, outcome),
                    (Some(question), None) => { registry.handle_held(&at(number), &question); Vec::new() }
                    (None, _) => Vec::new(),
                },
                Happening::Release(number) => registry.handle_released(&at(number)),
                Happening::Hold(number) => { device(number).iter().for_each(|id| registry.hold(id)); Vec::new() }
                Happening::Unhold(number) => device(number).map_or_else(Vec::new, |id| registry.unhold(&id)),
            };
            for decision in decisions {
                match decision {
                    Decision::Ask { link, question } => { asking.insert(link, question); }
                    Decision::DeviceReady(info) => prop_assert!(alive.insert(info.id.clone()), "{} twice", info.id),
                    Decision::DeviceChanged(info) | Decision::DeviceReturned(info) => prop_assert!(alive.contains(&info.id)),
                    Decision::DeviceAway(id) => prop_assert!(alive.contains(&id)),
                    Decision::DeviceGone(id) => prop_assert!(alive.remove(&id), "{id} was not there"),
                    Decision::Remember(_) | Decision::Forget { .. } | Decision::Unban(_) => {}
                }
            }
            let known: BTreeSet<DeviceId> = registry.devices().map(|info| info.id.clone()).collect();
            prop_assert_eq!(&known, &alive);
            let endpoints: BTreeSet<&str> = registry.devices().map(|info| info.endpoint.as_str()).collect();
            prop_assert_eq!(endpoints.len(), known.len());
            for (report, _) in registry.links() {
                prop_assert!(registry.why_link(&report.link).is_some());
            }
        }
    }
}

/// The built-in boards and one more.
fn with_board(text: &str) -> Catalogue {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("own.toml"), format!("schema = 1\n{text}")).expect("written");
    Catalogue::load(Some(folder.path())).expect("good")
}

#[test]
fn a_port_is_opened_as_often_as_its_budget_allows_however_often_it_comes_back() {
    let catalogue = Catalogue::load(None).expect("good");
    let mut registry = registry_of(catalogue, Questions::Bootloader, 3, "", Vec::new());
    let ports = [("/dev/ttyUSB0", "1-1.2"), ("/dev/ttyUSB7", "1-1.2"), ("/dev/ttyUSB1", "1-1.3")];
    let mut counts = Vec::new();
    for (path, socket) in ports {
        let first = registry.handle_link(report(path, &[usb("1a86:7523", None, socket)]));
        let (_, questions) = play(&mut registry, first, |_| Ok(Answer::default()));
        counts.push(questions.len());
        if socket == "1-1.2" {
            let why = registry.why_link(&link(path)).expect("a link");
            assert!(why.steps.iter().any(|step| step.detail.contains("opened 3 times")), "{:?}", why.steps);
            assert!(registry.is_exhausted());
            registry.handle_vanished(&link(path));
        }
    }
    assert_eq!(counts, [3, 0, 3], "by the socket, not by the name");
    // One comes back with time, to each.
    let first = registry.refill_budgets(1);
    let (_, questions) = play(&mut registry, first, |_| Ok(Answer::default()));
    assert_eq!(questions.len(), 1, "{questions:?}");
}

#[test]
fn what_could_not_be_asked_costs_nothing() {
    let catalogue = Catalogue::load(None).expect("good");
    let mut registry = registry_of(catalogue, Questions::Bootloader, 1, "", Vec::new());
    let seen = report("/dev/ttyUSB0", &[usb("1a86:7523", None, "1-1.2")]);
    for _ in 0..5 {
        let question = asked(&registry.handle_link(seen.clone())).expect("it is asked");
        registry.handle_answer(&seen.link, &question, Err(QuestionFailed::Busy("a terminal".to_owned())));
        let question = asked(&registry.handle_link(seen.clone())).expect("it is asked");
        registry.handle_held(&seen.link, &question);
        let question = asked(&registry.handle_released(&seen.link)).expect("it is asked again");
        registry.handle_answer(&seen.link, &question, Err(QuestionFailed::NotPermitted));
    }
    assert!(!registry.is_exhausted());
}

#[test]
fn what_is_never_to_be_reset_is_never_asked() {
    let plc = "[board.plc]\nname = \"PLC\"\nnever_reset = true\n\
               match = [{ vid = \"1a86\", pid = \"7523\", strength = \"bridge\" }]\n";
    let entry = "[[device]]\nname = \"press\"\nlink = \"serial:/dev/ttyUSB0\"\nnever_reset = true\n";
    let bridge = [usb("1a86:7523", None, "1-1.2")];
    for (board, entries, says) in [(plc, "", "`plc`"), ("", entry, "[[device]] `press`")] {
        let mut registry = registry_of(with_board(board), Questions::Bootloader, 16, entries, Vec::new());
        assert_eq!(registry.handle_link(report("/dev/ttyUSB0", &bridge)), []);
        let why = registry.why_link(&link("/dev/ttyUSB0")).expect("a link");
        let not_asked: Vec<_> = why.steps.iter().filter(|step| step.verdict == Verdict::NotAsked).collect();
        assert!(!not_asked.is_empty() && not_asked.iter().all(|step| step.detail.contains(says)), "{not_asked:?}");
        assert!(not_asked.iter().all(|step| step.detail.contains("never_reset")), "{not_asked:?}");
    }
    // Its board is known all the same, and servers cannot restart it.
    let entry = format!("{entry}board = \"esp32\"\n");
    let mut registry = registry_of(with_board(""), Questions::Bootloader, 16, &entry, Vec::new());
    let decisions = registry.handle_link(report("/dev/ttyUSB0", &bridge));
    let info = ready(&decisions).expect("a device");
    assert_eq!((info.reboot, asked(&decisions)), (nuncio::device::RebootMethod::None, None));
    assert_eq!(registry.point_out(&info.id), None);
}

fn improv(firmware: &str, version: &str) -> Result<Answer, QuestionFailed> {
    let [firmware, chip, name] = [firmware, "ESP32-C3", "desk"].map(str::to_owned);
    let evidence = vec![Evidence::Improv { firmware, version: version.to_owned(), chip, name }];
    Ok(Answer { evidence, version: Some(ReportedVersion { text: version.to_owned(), source: "improv".to_owned() }) })
}

#[test]
fn a_program_tells_by_improv_which_firmware_it_is() {
    let own = "[board.lamp]\nname = \"Lamp\"\nmatch = [{ vid = \"10c4\", pid = \"ea60\", strength = \"bridge\" }]\n\
               identify = [{ improv = { baud = 115200, firmware = [\"acme.*\"], chip = \"ESP32-C?\" } }]\n";
    for (firmware, board) in [("acme.lamp", Some("lamp")), ("x", None)] {
        let mut registry = registry_of(with_board(own), Questions::Serial, 16, "", Vec::new());
        let first = registry.handle_link(report("/dev/ttyUSB0", &[usb("10c4:ea60", None, "1-1.2")]));
        let (decisions, questions) = play(&mut registry, first, |_| improv(firmware, "2.1"));
        let [Question::Program(program)] = &questions[..] else { panic!("{questions:?}") };
        assert!(program.improv && !program.smp && program.at.is_empty(), "{program:?}");
        let info = ready(&decisions);
        assert_eq!(info.as_ref().map(|info| info.board.as_str()), board);
        if let Some(info) = info {
            assert_eq!(info.version.expect("a version").text, "2.1");
        }
    }
}

#[test]
fn all_languages_at_one_speed_are_asked_over_one_opening_of_the_port() {
    let own = "[board.bluno]\nname = \"Bluno\"\n\
               identify = [{ at = { baud = 115200, ask = \"AT+VERSION=?\", answers = [\"V*\"] } }]\n\
               [board.lamp]\nname = \"Lamp\"\nidentify = [{ improv = { baud = 115200, firmware = [\"acme.*\"] } }]\n";
    let mut registry = registry_of(with_board(own), Questions::Serial, 16, "", Vec::new());
    let first = registry.handle_link(report("/dev/ttyS0", &[]));
    let (decisions, questions) = play(&mut registry, first, |question| match question {
        Question::Program(program) => {
            assert!(program.improv && program.smp && program.at == ["AT+VERSION=?"], "{program:?}");
            told(Evidence::At { values: [("AT+VERSION=?".to_owned(), "V1.97".to_owned())].into() })
        }
        _ => Ok(Answer::default()),
    });
    assert_eq!(questions.len(), 2, "{questions:?}");
    assert_eq!(ready(&decisions).expect("a device").board.as_str(), "bluno");
}

#[test]
fn an_smp_server_tells_its_version_and_what_it_is() {
    let slot =
        |slot, version: &str, active| SmpSlot { slot, version: version.to_owned(), active, ..SmpSlot::default() };
    let mut registry = registry(Questions::Serial, "", Vec::new());
    let first = registry.handle_link(report("/dev/ttyACM0", &[usb("2fe3:0100", None, "1-1.2")]));
    let (decisions, _) = play(&mut registry, first, |_| {
        let info = Some("Zephyr 4.2 nrf52840dk".to_owned());
        told(Evidence::Smp { slots: vec![slot(1, "9.9.9", false), slot(0, "1.2.3", true)], info })
    });
    let info = ready(&decisions).expect("a device");
    assert_eq!((info.board.as_str(), info.model.as_deref()), ("mcumgr-serial", Some("Zephyr 4.2 nrf52840dk")));
    let version = info.version.expect("a version");
    assert_eq!((version.text.as_str(), version.source.as_str()), ("1.2.3", "smp version"));
}

#[test]
fn what_talks_nonsense_is_unknown_and_quoted() {
    let own = "[board.lamp]\nname = \"Lamp\"\nmatch = [{ vid = \"10c4\", pid = \"ea60\", strength = \"bridge\" }]\n\
               identify = [{ improv = { baud = 115200, firmware = [\"acme.*\"] } }]\n";
    let mut registry = registry_of(with_board(own), Questions::Serial, 16, "", Vec::new());
    let first = registry.handle_link(report("/dev/ttyUSB0", &[usb("10c4:ea60", None, "1-1.2")]));
    let (decisions, _) = play(&mut registry, first, |_| told(Evidence::Said { text: "PLC v3 ready".to_owned() }));
    assert!(ready(&decisions).is_none());
    let why = registry.why_link(&link("/dev/ttyUSB0")).expect("a link");
    assert!(why.steps.iter().any(|step| step.verdict == Verdict::Asked && step.detail.contains("`PLC v3 ready`")));
}

#[test]
fn a_socket_is_one_devices_alone_or_it_is_told_who_else_is_there() {
    let mut registry = registry(Questions::Passive, "", Vec::new());
    let with = |interface| match usb("2341:0043", Some("75437303830351F0D0C1"), "1-1.4") {
        Evidence::Usb(ids) => Evidence::Usb(UsbIds { interface, ..ids }),
        other => other,
    };
    let first = ready(&registry.handle_link(report("/dev/ttyACM0", &[with(0)]))).expect("a device");
    assert_eq!(registry.socket(&first.id), Some("1-1.4"));
    assert_eq!(registry.shares_socket(&first.id), None);
    let elsewhere = usb("2341:0043", Some("85437303830351F0D0C1"), "1-1.4.1");
    registry.handle_link(report("/dev/ttyACM7", &[elsewhere]));
    assert_eq!(registry.shares_socket(&first.id), None, "what hangs behind it is for the kernel to tell");
    let second = ready(&registry.handle_link(report("/dev/ttyACM1", &[with(2)]))).expect("another device");
    let told = registry.shares_socket(&first.id).expect("two boards");
    assert!(told.contains(second.id.as_str()), "{told}");
    registry.handle_vanished(&link("/dev/ttyACM1"));
    assert_eq!(registry.shares_socket(&first.id), None);
    let access = Access::Busy { holder: "picocom (pid 4711)".to_owned(), remedy: String::new() };
    let unknown = match with(2) {
        Evidence::Usb(ids) => Evidence::Usb(UsbIds { vid: 0x1209, pid: 0xffff, ..ids }),
        other => other,
    };
    registry.handle_link(LinkReport { access, ..report("/dev/ttyACM1", &[unknown]) });
    let told = registry.shares_socket(&first.id).expect("somebody works there");
    assert!(told.contains("picocom (pid 4711) has serial:/dev/ttyACM1"), "{told}");
    registry.handle_link(LinkReport { access: Access::Denied, ..report("/dev/ttyACM0", &[with(0)]) });
    registry.handle_vanished(&link("/dev/ttyACM1"));
    let told = registry.shares_socket(&first.id).expect("it is not to be touched");
    assert!(told.contains("[serial] deny"), "{told}");
}
