//! The store as `gateway` sees it, on real files.

use std::path::Path;

use super::*;
use crate::device::{BoardState, DeviceId, FirmwareView, Identity, JournalStep, Requester, UpdateId};

fn entry(update: u128, device: &str, step: JournalStep) -> JournalEntry {
    JournalEntry {
        update: UpdateId(uuid::Uuid::from_u128(update)),
        device: DeviceId::new(device),
        requester: Requester::Server { short_id: 123, name: "factory".into() },
        step,
        uri: "https://u:secret@fw.example.org/a.hex".into(),
        version_before: None,
        version: None,
        at: 1_700_000_000,
        view: FirmwareView { uri: "https://u:secret@fw.example.org/a.hex".into(), ..FirmwareView::default() },
        board: BoardState::Sound,
    }
}

fn downloading(synced: u64) -> JournalStep {
    JournalStep::Downloading { part: "/x/a.part".into(), synced, etag: Some("\"1\"".into()) }
}

fn closed() -> JournalStep {
    JournalStep::Closed { outcome: Err("the board did not return".into()), image_sha256: None }
}

fn identity(identity: Identity, id: &str, endpoint: &str) -> IdentityRecord {
    IdentityRecord { identity, id: DeviceId::new(id), endpoint: endpoint.into() }
}

fn closed_store(dir: &Path) -> Store {
    let store = Store::open(dir).expect("a fresh store");
    store.close().wait().expect("closed");
    store
}

#[test]
fn what_was_acknowledged_is_there_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("a/state");
    let store = Store::open(&state).expect("a fresh store");
    let written = entry(1, "press-3", downloading(4096));
    store.journal(entry(1, "press-3", downloading(0))).wait().expect("durable");
    store.journal(written.clone()).wait().expect("durable");
    let record = identity(Identity::Mac("a0b1c2d3e4f5".into()), "mac-a0", "mac-a0");
    store.remember_identity(record.clone()).wait().expect("durable");
    store.close().wait().expect("closed");

    let store = Store::open(&state).expect("opened again");
    assert_eq!(store.open_journal().wait().expect("read"), vec![written]);
    assert_eq!(store.identities().wait().expect("read"), vec![record]);
    assert!(store.damaged().is_none());
}

#[test]
fn an_entry_is_in_the_file_when_its_ack_comes_and_so_is_all_before_it() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    let acks: Vec<_> = (1..=200).map(|update| store.journal(entry(update, "d", downloading(0)))).collect();
    let reader = rusqlite::Connection::open(dir.path().join(DATABASE)).expect("a second reader");
    for (index, ack) in acks.into_iter().enumerate() {
        ack.wait().expect("durable");
        let rows: isize = reader.query_row("SELECT count(*) FROM journal", [], |row| row.get(0)).expect("a count");
        assert!(rows > index as isize, "{rows} rows when entry {} was acknowledged", index + 1);
    }
}

#[test]
fn a_closed_update_leaves_the_journal_and_is_its_devices_last_with_the_login_masked() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    store.journal(entry(1, "d", downloading(0))).wait().expect("durable");
    store.journal(entry(1, "d", closed())).wait().expect("durable");
    assert!(store.open_journal().wait().expect("read").is_empty());
    let last = store.latest_closed().wait().expect("read");
    assert_eq!(last.len(), 1);
    assert_eq!(last[0].uri, "https://***@fw.example.org/a.hex");
    assert_eq!(last[0].view.uri, "https://***@fw.example.org/a.hex");
}

#[test]
fn the_last_closed_update_of_every_device_is_kept() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    store.journal(entry(1, "other", closed())).wait().expect("durable");
    let acks: Vec<_> = (2..=1200).map(|update| store.journal(entry(update, "d", closed()))).collect();
    acks.into_iter().for_each(|ack| ack.wait().expect("durable"));
    let latest = store.latest_closed().wait().expect("read");
    let ids: Vec<u128> = latest.iter().map(|entry| entry.update.0.as_u128()).collect();
    assert_eq!(ids, [1, 1200]);
}

#[test]
fn a_second_daemon_on_the_same_folder_is_told_the_firsts_pid() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Store::open(dir.path()).expect("a fresh store");
    let refused = Store::open(dir.path()).expect_err("in use").to_string();
    let pid = std::process::id();
    assert_eq!(refused, format!("state folder {} is in use by another nuncio (pid {pid})", dir.path().display()));
    assert_eq!(Store::holder(dir.path()), Some(Holder { pid: Some(pid) }));
    first.close().wait().expect("closed");
    assert_eq!(Store::holder(dir.path()), None);
    Store::open(dir.path()).expect("free again");
}

#[test]
fn a_damaged_database_is_kept_aside_and_a_fresh_one_begun() {
    for damage in [b"this is no database at all, and long enough to tell".as_slice(), &[0x53; 9000]] {
        let dir = tempfile::tempdir().expect("a folder");
        drop(closed_store(dir.path()));
        std::fs::write(dir.path().join(DATABASE), damage).expect("damaged");
        let store = Store::open(dir.path()).expect("begun afresh");
        let aside = store.damaged().expect("it is told");
        assert!(aside.to_string_lossy().contains("nuncio.db.damaged-"), "{}", aside.display());
        assert_eq!(std::fs::read(aside).expect("kept"), damage);
        store.journal(entry(1, "d", downloading(0))).wait().expect("usable");
    }
}

#[test]
fn a_database_with_broken_pages_is_noticed() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    let acks: Vec<_> = (1..=500).map(|update| store.journal(entry(update, "d", downloading(0)))).collect();
    acks.into_iter().for_each(|ack| ack.wait().expect("durable"));
    store.close().wait().expect("closed");
    let path = dir.path().join(DATABASE);
    let mut bytes = std::fs::read(&path).expect("the file");
    bytes[8192..].iter_mut().step_by(7).for_each(|byte| *byte ^= 0x5a);
    std::fs::write(&path, bytes).expect("damaged");
    assert!(Store::open(dir.path()).expect("begun afresh").damaged().is_some());
}

#[test]
fn an_endpoint_once_given_is_not_given_to_another_identity() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    let first = identity(Identity::UsbPath("1-1".into()), "a", "a");
    store.remember_identity(first.clone()).wait().expect("durable");
    let other = identity(Identity::UsbPath("1-2".into()), "b", "a");
    assert!(matches!(store.remember_identity(other).wait(), Err(StoreError::Taken { .. })));
    assert_eq!(store.identities().wait().expect("read"), vec![first]);
    let configured = identity(Identity::Configured("b".into()), "b", "a");
    store.remember_identity(configured.clone()).wait().expect("the user's word counts");
    assert_eq!(store.identities().wait().expect("read"), vec![configured]);
}

#[test]
fn a_row_that_cannot_be_read_hides_no_other() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    store.journal(entry(1, "d", downloading(0))).wait().expect("durable");
    let other = rusqlite::Connection::open(dir.path().join(DATABASE)).expect("a second connection");
    other.execute("INSERT INTO journal VALUES ('x', 'd', '{\"step\":\"of the future\"}')", []).expect("a row");
    assert_eq!(store.open_journal().wait().expect("read").len(), 1);
}

#[test]
fn files_are_for_the_gateways_user_only() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().expect("a folder");
    let state = dir.path().join("state");
    let store = Store::open(&state).expect("a fresh store");
    store.journal(entry(1, "d", downloading(0))).wait().expect("durable");
    let mode = |path: &Path| std::fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&state) & 0o027, 0);
    assert_eq!(mode(&state.join(DATABASE)), 0o600);
    assert_eq!(mode(&state.join("nuncio.db-wal")), 0o600);
}

#[tokio::test]
async fn an_ack_can_be_awaited_and_a_closed_store_says_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = Store::open(dir.path()).expect("a fresh store");
    store.journal(entry(1, "d", downloading(0))).await.expect("durable");
    store.close().await.expect("closed");
    assert!(matches!(store.journal(entry(2, "d", downloading(0))).await, Err(StoreError::Closed)));
}
