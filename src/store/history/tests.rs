//! The history as `gateway` sees it, on real files.

use std::collections::BTreeMap;
use std::path::Path;

use crate::device::{
    AttemptRecord, AttemptState, AttemptTask, BoardId, BoardState, DeviceId, FirmwareView, HistoryQuery, HistoryRow,
    ImageFormat, ImageRecord, JobFailure, JobOutcome, JournalEntry, JournalStep, Recorded, ReportedVersion, Requester,
    Retention, Sha256Digest, TimedEvent, ToolOutput, UpdateEvent, UpdateId, UpdateOutcome, UpdateRecord,
};
use crate::store::Store;

const TIME: i64 = 1_700_000_000;

fn id(number: u128) -> UpdateId {
    // Like a version 7: the time in front, chance behind; the two differ in every digit here.
    UpdateId(uuid::Uuid::from_u128(number << 96 | (number ^ 0xffff_ffff)))
}

fn record(number: u128, device: &str, outcome: UpdateOutcome) -> UpdateRecord {
    let version = |text: &str| ReportedVersion { text: text.into(), source: "banner".into() };
    let at = TIME + number as i64;
    UpdateRecord {
        update: id(number),
        device: DeviceId::new(device),
        endpoint: Some(device.into()),
        identity: None,
        board: Some(BoardId::new("some-board")),
        gateway: None,
        requester: Some(Requester::Server { short_id: 123, name: "factory".into() }),
        uri: Some("https://***@fw.example.org/a.hex".into()),
        began: at,
        ended: (outcome != UpdateOutcome::UnderWay).then_some(at + 1),
        took_ms: Some(1500),
        outcome,
        reason: (outcome == UpdateOutcome::Failed).then(|| "flash: no".into()),
        version_before: Some(version("1.2.0")),
        version_after: (outcome == UpdateOutcome::Proven).then(|| version("1.3.0")),
        image: Some(ImageRecord {
            sha256: Sha256Digest([7; 32]),
            size: 1000,
            format: ImageFormat::Ihex,
            flash_bytes: 500,
            version: Some("1.3.0".into()),
            signed_by: None,
        }),
        events: vec![TimedEvent { at, event: UpdateEvent::Proving }],
        left_out: 0,
    }
}

fn attempt(number: u32, outcome: Option<JobOutcome>) -> AttemptRecord {
    AttemptRecord {
        number,
        task: AttemptTask::Flash,
        state: if outcome.is_some() { AttemptState::Ended } else { AttemptState::Running },
        began: TIME,
        took_ms: Some(700),
        tool: Some("some-tool".into()),
        tool_version: Some("7.1".into()),
        program: Some("/usr/bin/some-tool".into()),
        argv: vec!["some-tool".into(), "-P".into(), "/dev/ttyUSB0".into()],
        link: None,
        changed: BTreeMap::from([("baud".to_owned(), "57600".to_owned())]),
        outcome,
        output: Some(ToolOutput { text: "line\n".repeat(400), printed: 2000, took_ms: 700 }),
    }
}

fn failed() -> JobOutcome {
    JobOutcome::Failed { class: JobFailure::NoSync, detail: "not in sync".into() }
}

fn write(store: &Store, record: UpdateRecord, attempt: Option<AttemptRecord>) {
    store.record(Recorded { record, attempt }).wait().expect("durable");
}

fn list(store: &Store, query: HistoryQuery) -> Vec<HistoryRow> {
    store.history(query).wait().expect("read").updates
}

/// A second connection to the file, for doing harm.
fn other(dir: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(dir.join(crate::store::DATABASE)).expect("a second connection")
}

#[test]
fn an_update_is_listed_and_read_back_with_its_attempts() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    write(&store, record(1, "d", UpdateOutcome::UnderWay), Some(attempt(1, None)));
    write(&store, record(1, "d", UpdateOutcome::UnderWay), Some(attempt(1, Some(failed()))));
    write(&store, record(1, "d", UpdateOutcome::UnderWay), Some(attempt(2, None)));
    let end = attempt(2, Some(JobOutcome::Verified { bytes: 500 }));
    write(&store, record(1, "d", UpdateOutcome::Proven), Some(end.clone()));
    let rows = list(&store, HistoryQuery::default());
    let [row] = rows.as_slice() else { panic!("{rows:?}") };
    assert_eq!((row.attempts, row.outcome, row.ended), (2, UpdateOutcome::Proven, Some(TIME + 2)));
    assert_eq!((row.version_before.as_deref(), row.version_after.as_deref()), (Some("1.2.0"), Some("1.3.0")));
    assert_eq!((row.image_sha256, &row.damaged), (Some(Sha256Digest([7; 32])), &None));
    let (_, evidence) = store.find(id(1).to_string()).wait().expect("read");
    let evidence = evidence.expect("it is there");
    assert_eq!(evidence.record, record(1, "d", UpdateOutcome::Proven));
    assert_eq!(evidence.attempts, vec![attempt(1, Some(failed())), end]);
    assert!(evidence.damaged.is_empty());
}

#[test]
fn lists_are_of_a_device_of_failures_and_of_the_newest() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    for number in 1..=20 {
        let outcome = if number % 5 == 0 { UpdateOutcome::Failed } else { UpdateOutcome::Proven };
        write(&store, record(number, if number % 2 == 0 { "even" } else { "odd" }, outcome), None);
    }
    let told = |query: HistoryQuery| {
        let history = store.history(query).wait().expect("read");
        (history.updates.iter().map(|row| row.began - TIME).collect::<Vec<_>>(), history.more)
    };
    let device = Some(DeviceId::new("even"));
    assert_eq!(told(HistoryQuery { limit: Some(3), ..HistoryQuery::default() }), (vec![20, 19, 18], 17));
    assert_eq!(told(HistoryQuery { device: device.clone(), failed: true, limit: None }), (vec![20, 10], 0));
    assert_eq!(told(HistoryQuery { device, failed: false, limit: Some(1) }), (vec![20], 9));
    let device = Some(DeviceId::new("nobody"));
    assert_eq!(told(HistoryQuery { device, failed: false, limit: None }), (vec![], 0));
}

#[test]
fn an_update_is_found_by_the_beginning_or_the_end_of_its_id() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    for number in [0xaaaa_0001, 0xaaaa_0002, 0xbbbb_0003] {
        write(&store, record(number, "d", UpdateOutcome::Proven), None);
    }
    let found = |word: &str| store.find(word.to_owned()).wait().expect("read").0;
    assert_eq!(found("bbbb"), [id(0xbbbb_0003)]);
    assert_eq!(found("BBBB0003"), [id(0xbbbb_0003)]);
    assert_eq!(found("5555fffd"), [id(0xaaaa_0002)], "by its end");
    assert_eq!(found("aaaa"), [id(0xaaaa_0002), id(0xaaaa_0001)], "two begin like this");
    for none in ["bbb", "", "%%%%", "____", "cccc", "'; --"] {
        assert_eq!(found(none), [], "{none}");
    }
}

#[test]
fn what_ran_when_the_gateway_died_is_interrupted_and_what_the_journal_lost_is_lost() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    let under_way =
        |number| Recorded { record: record(number, "d", UpdateOutcome::UnderWay), attempt: Some(attempt(1, None)) };
    let entry = JournalEntry {
        update: id(1),
        device: DeviceId::new("d"),
        requester: Requester::Local,
        step: JournalStep::Downloading { part: "/x".into(), synced: 0, etag: None },
        uri: String::new(),
        version_before: None,
        version: None,
        at: TIME,
        view: FirmwareView::default(),
        board: BoardState::Sound,
    };
    store.journal_with(entry, Some(under_way(1))).wait().expect("durable");
    store.record(under_way(2)).wait().expect("durable");
    store.close().wait().expect("closed");

    let store = Store::open(dir.path()).expect("opened again");
    let open = store.open_records().wait().expect("read");
    assert_eq!(open.iter().map(|open| (open.record.update, open.attempts)).collect::<Vec<_>>(), [(id(1), 1)]);
    let read = |number| store.find(id(number).to_string()).wait().expect("read").1.expect("there");
    assert_eq!(read(1).record.outcome, UpdateOutcome::UnderWay);
    assert_eq!(read(2).record.outcome, UpdateOutcome::Lost);
    assert_eq!(read(1).attempts[0].state, AttemptState::Interrupted);
}

#[test]
fn a_row_that_was_cut_is_told_as_that_and_hides_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    for number in 1..=3 {
        write(&store, record(number, "d", UpdateOutcome::Proven), Some(attempt(1, Some(failed()))));
    }
    other(dir.path())
        .execute_batch(
            "UPDATE updates SET record = substr(record, 1, 40) WHERE number = 2;
             UPDATE attempts SET record = substr(record, 1, 40) WHERE update_number = 2;
             UPDATE updates SET requester = '{\"by\":', outcome = 'of the future', image_sha256 = 'xy' WHERE number = 3;",
        )
        .expect("harmed");
    let rows = list(&store, HistoryQuery::default());
    let damage = |at: usize| rows[at].damaged.clone().unwrap_or_default();
    assert!(damage(1).starts_with("cut: 40 of "), "{}", damage(1));
    for part in ["requester", "outcome `of the future`", "digest `xy`"] {
        assert!(damage(0).contains(part), "no {part} in {}", damage(0));
    }
    assert_eq!((rows.len(), damage(2).as_str()), (3, ""));
    let evidence = store.find(id(2).to_string()).wait().expect("read").1.expect("there");
    assert_eq!(evidence.damaged.len(), 2, "{:?}", evidence.damaged);
    assert!(evidence.damaged[1].starts_with("attempt 1: cut"), "{:?}", evidence.damaged);
    assert_eq!(evidence.record.version_after.expect("in a column").text, "1.3.0");
}

#[test]
fn the_old_are_forgotten_and_the_open_are_not() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    for number in 1..=200 {
        let outcome = if number == 7 { UpdateOutcome::UnderWay } else { UpdateOutcome::Proven };
        write(&store, record(number, "d", outcome), Some(attempt(1, Some(failed()))));
    }
    // A clock that stood at 1970 for one update does not make it older than those around it.
    write(&store, UpdateRecord { began: 5, ended: Some(6), ..record(201, "d", UpdateOutcome::Proven) }, None);
    tidy(&store, Retention { not_before: TIME + 151 + 1, max_size: u64::MAX });
    let left: Vec<i64> = list(&store, HistoryQuery::default()).iter().map(|row| row.began - TIME).collect();
    assert_eq!(left, std::iter::once(5 - TIME).chain((151..=200).rev()).chain([7]).collect::<Vec<_>>());
    let orphans: u32 = other(dir.path())
        .query_row("SELECT count(*) FROM attempts WHERE update_number NOT IN (SELECT number FROM updates)", [], |row| {
            row.get(0)
        })
        .expect("a count");
    assert_eq!(orphans, 0);
}

#[test]
fn a_history_that_is_too_large_shrinks_and_so_does_its_file() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    let noise = || {
        let text: String = std::iter::repeat_with(fastrand::alphanumeric).take(8000).collect();
        ToolOutput { printed: 8000, text, took_ms: 1 }
    };
    for number in 1..=500 {
        let attempt = AttemptRecord { output: Some(noise()), ..attempt(1, Some(failed())) };
        write(&store, record(number, "d", UpdateOutcome::Failed), Some(attempt));
    }
    let max_size = 1 << 20;
    let steps = tidy(&store, Retention { not_before: 0, max_size });
    assert!(steps > 5, "in small steps, not {steps}");
    let rows = list(&store, HistoryQuery::default());
    assert!((50..300).contains(&rows.len()) && rows[0].update == id(500), "{} are left", rows.len());
    store.close().wait().expect("closed");
    let length = std::fs::metadata(dir.path().join(crate::store::DATABASE)).expect("the file").len();
    assert!(length <= max_size, "{length} bytes");
}

/// Until there is nothing left to do; how many steps that took.
fn tidy(store: &Store, retention: Retention) -> u32 {
    let mut steps = 0;
    while store.tidy(retention).wait().expect("tidied") {
        steps += 1;
        assert!(steps < 10_000, "it never ends");
    }
    steps
}

#[test]
fn a_database_of_the_first_layout_keeps_its_history_and_learns_to_shrink() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = other(dir.path());
    first.execute_batch(crate::store::schema::STEPS[0]).expect("the first layout");
    first.pragma_update(None, "user_version", 1).expect("its version");
    let closed = |outcome: &str, sha256: &str| {
        format!(
            r#"{{"update":"{}","device":"d","requester":{{"by":"local"}},"step":{{"step":"closed","outcome":{outcome},
            "image_sha256":{sha256}}},"uri":"","version_before":{{"text":"1.0","source":"banner"}},"at":{TIME},
            "view":{{"state":"idle","result":"failed","uri":"","package_name":"","package_version":"","severity":1,
            "last_change":0,"max_defer":0}}}}"#,
            id(1)
        )
    };
    let digest = format!("\"{}\"", "07".repeat(32));
    let rows = [
        closed(r#"{"Ok":{"text":"1.1","source":"banner"}}"#, &digest),
        closed(r#"{"Ok":null}"#, &digest),
        closed(r#"{"Err":"flash: no"}"#, &digest),
        closed(r#"{"Err":"no image"}"#, "null"),
        "cut in the midd".to_owned(),
    ];
    for (number, row) in (1..).zip(&rows) {
        let values = rusqlite::params![id(number).to_string(), row];
        first.execute("INSERT INTO history (update_id, device, entry) VALUES (?1, 'd', ?2)", values).expect("a row");
    }
    drop(first);
    let store = Store::open(dir.path()).expect("brought up to date");
    assert!(store.damaged().is_none());
    let rows = list(&store, HistoryQuery::default());
    let told: Vec<_> = rows.iter().map(|row| (row.outcome, row.reason.as_deref())).collect();
    use UpdateOutcome::{Failed, Proven, Refused};
    assert_eq!(told, [(Refused, Some("no image")), (Failed, Some("flash: no")), (Proven, None), (Proven, None)]);
    assert_eq!(rows[3].version_after.as_deref(), Some("1.1"));
    assert_eq!((&rows[0].requester, rows[0].damaged.as_deref()), (&Some(Requester::Local), None));
    let (_, evidence) = store.find(id(4).to_string()).wait().expect("read");
    assert!(evidence.expect("there").damaged.is_empty(), "no more was kept");
    let mode: u32 = other(dir.path()).pragma_query_value(None, "auto_vacuum", |row| row.get(0)).expect("a mode");
    assert_eq!(mode, 2);
}
