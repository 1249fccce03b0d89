//! `nuncio history` and `nuncio show` as an operator reads them.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt;

use nuncio::control::{Failure, FailureCode, HistoryList};
use nuncio::device::{
    AttemptRecord, AttemptState, AttemptTask, BoardId, DeviceId, GatewayRecord, HistoryRow, Identity, ImageFormat,
    ImageRecord, JobFailure, JobOutcome, Link, ReportedVersion, Requester, Sha256Digest, TimedEvent, ToolOutput,
    UpdateEvidence, UpdateId, UpdateOutcome, UpdateRecord,
};

use crate::{Daemon, all_events, gateway};

const ID: u128 = 0x0193_5c1f_09ae_7000_8000_0000_dead_beef;

fn id() -> UpdateId {
    UpdateId(uuid::Uuid::from_u128(ID))
}

fn factory() -> Requester {
    Requester::Server { short_id: 123, name: "factory".into() }
}

fn row(outcome: UpdateOutcome, damaged: Option<&str>) -> HistoryRow {
    HistoryRow {
        update: id(),
        device: DeviceId::new("gone-since"),
        board: Some(BoardId::new("arduino-uno")),
        requester: Some(factory()),
        began: 1_700_000_000,
        ended: Some(1_700_000_060),
        took_ms: Some(3450),
        outcome,
        reason: None,
        version_before: Some("1.4.2".into()),
        version_after: Some("1.4.3".into()).filter(|_| outcome == UpdateOutcome::Proven),
        expected_version: Some("1.4.3".into()),
        image_sha256: Some(Sha256Digest([7; 32])),
        attempts: 2,
        damaged: damaged.map(str::to_owned),
    }
}

/// What the stand-in tells of the past.
pub(crate) fn list(device: Option<&str>, failed: bool, limit: Option<u32>) -> Result<HistoryList, Failure> {
    if device.is_some_and(|device| device != "gone-since") {
        return Err(Failure::no_such_device(device.unwrap_or_default()));
    }
    let mut updates = vec![row(UpdateOutcome::Failed, Some("cut: 3 of 9 bytes are there"))];
    if !failed {
        updates.push(row(UpdateOutcome::Proven, None));
    }
    assert!(limit.is_none_or(|limit| limit > 0), "0 is for people");
    Ok(HistoryList { updates, more: u64::from(limit == Some(50)) * 7, notes: vec!["it was put aside".into()] })
}

fn attempt(number: u32, state: AttemptState, outcome: Option<JobOutcome>) -> AttemptRecord {
    let text = (1..=20).map(|line| format!("line {line} of attempt {number}\n")).collect();
    AttemptRecord {
        number,
        task: AttemptTask::Flash,
        state,
        began: 1_700_000_000,
        took_ms: outcome.is_some().then_some(1234),
        tool: Some("avrdude".into()),
        tool_version: Some("7.1".into()),
        program: Some("/usr/bin/avrdude".into()),
        argv: vec!["/usr/bin/avrdude".into(), "-P".into(), "/dev/ttyACM0".into()],
        link: Some(Link::Serial("/dev/ttyACM0".into())),
        changed: BTreeMap::from([("baud".to_owned(), "57600".to_owned())]),
        outcome,
        output: Some(ToolOutput { text, printed: 333, took_ms: 1200 }),
    }
}

fn evidence() -> UpdateEvidence {
    let version = |text: &str| ReportedVersion { text: text.into(), source: "banner".into() };
    let failed = JobOutcome::Failed { class: JobFailure::NoSync, detail: "not in sync".into() };
    let record = UpdateRecord {
        update: id(),
        device: DeviceId::new("gone-since"),
        endpoint: Some("urn:gone".into()),
        identity: Some(Identity::UsbPath("1-1.4".into())),
        board: Some(BoardId::new("arduino-uno")),
        gateway: Some(GatewayRecord { name: "workshop-pi".into(), version: "0.1.0".into() }),
        requester: Some(factory()),
        uri: Some("https://***@fw.example.org/a.hex".into()),
        began: 1_700_000_000,
        ended: None,
        took_ms: Some(3450),
        outcome: UpdateOutcome::Failed,
        reason: Some("flash: the boot loader did not answer".into()),
        version_before: Some(version("1.4.2")),
        version_after: None,
        image: Some(ImageRecord {
            sha256: Sha256Digest([7; 32]),
            size: 900,
            format: ImageFormat::Ihex,
            flash_bytes: 300,
            version: Some("1.4.3".into()),
            signed_by: Some("E2A9F0C1D3B4A596".into()),
        }),
        events: all_events().into_iter().map(|event| TimedEvent { at: 1_700_000_001, event }).collect(),
        left_out: 1,
    };
    let attempts = vec![
        attempt(1, AttemptState::Ended, Some(failed)),
        attempt(2, AttemptState::Interrupted, None),
        AttemptRecord { tool: None, argv: Vec::new(), ..attempt(3, AttemptState::Running, None) },
    ];
    UpdateEvidence { record, attempts, damaged: vec!["attempt 3: cut".into()] }
}

pub(crate) fn show(update: &str) -> Result<UpdateEvidence, Failure> {
    match id().to_string().ends_with(update) {
        true => Ok(evidence()),
        false => Err(Failure::new(FailureCode::NoSuchUpdate, format!("there is no update `{update}`"))),
    }
}

#[test]
fn the_history_is_a_table_with_a_line_for_each_update() {
    let daemon = Daemon::start(gateway);
    let text = daemon.says(&["history"]);
    let line = text.lines().find(|line| line.contains("proven")).expect("a line");
    for part in ["gone-since", "factory", "1.4.2 -> 1.4.3", "3.4 s", "deadbeef"] {
        assert!(line.contains(part), "no `{part}` in {line}");
    }
    for part in ["failed, damaged", "1.4.2 -> 1.4.3?", "cut: 3 of 9 bytes are there", "and 7 older ones"] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!daemon.says(&["history", "--failed", "--limit", "0"]).contains("proven"));
}

#[test]
fn show_tells_each_attempt_and_the_last_lines_that_its_tool_printed() {
    let daemon = Daemon::start(gateway);
    let text = daemon.says(&["show", "deadbeef"]);
    for part in [
        "of gone-since: failed",
        "asked by     factory",
        "https://***@fw.example.org/a.hex",
        "signed by    key E2A9F0C1D3B4A596",
        "Attempt 1: no sync: not in sync",
        "baud = 57600",
        "/usr/bin/avrdude -P /dev/ttyACM0",
        "| line 20 of attempt 1",
        "Attempt 2: interrupted",
        "Attempt 3: it runs",
        "Damaged: attempt 3: cut",
        "quarantined: because",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(!text.contains("line 1 of"), "{text}");
    assert!(daemon.says(&["show", "deadbeef", "--output"]).contains("| line 1 of attempt 1\n"));
}

#[test]
fn an_export_holds_everything_is_private_and_replaces_nothing_unasked() {
    let daemon = Daemon::start(gateway);
    let file = daemon.image().with_file_name("update.json");
    let name = file.to_str().expect("text");
    let said = daemon.says(&["show", "deadbeef", "--export", name]);
    assert!(said.contains(name), "{said}");
    assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
    let text = std::fs::read_to_string(&file).expect("readable");
    let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    crate::schema::check(&document).unwrap_or_else(|error| panic!("{error}"));
    let (shown, _) = daemon.documents(&["show", "deadbeef", "--json"]);
    assert_eq!(document, shown[0]);
    let again = daemon.run(&["show", "deadbeef", "--export", name]);
    assert_eq!(again.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&again.stderr).contains("--force"), "{again:?}");
    daemon.says(&["show", "deadbeef", "--export", name, "--force"]);
}
