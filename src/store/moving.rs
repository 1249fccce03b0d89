//! The store as it is put into a backup, and taken out of one: a copy of one moment, beside a daemon that goes on.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags, params};

use super::lock::Lock;
use super::schema::{self, STEPS};
use super::writer::{parse, to_json};
use super::{DATABASE, StoreError, make_folder};
use crate::device::JournalEntry;

/// So many steps of SQLite's machine run before somebody is asked whether to go on.
const STEPS_AT_ONCE: i32 = 10_000;
/// A daemon writes for so long at most.
const BUSY: Duration = Duration::from_secs(30);

/// Somebody who reads the database of a state folder while its daemon, if it runs, goes on.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens the database of a state folder for reading; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be opened, or was written by a newer program.
    pub fn open(dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = dir.join(DATABASE);
        match path.metadata() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(StoreError::folder(&path, error)),
        }
        let reader = Self { connection: read_only(&path)? };
        known(&path, reader.schema()?)?;
        Ok(Some(reader))
    }

    /// The layout of the database.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn schema(&self) -> Result<u32, StoreError> {
        pragma(&self.connection, "user_version")
    }

    /// A number that is another one once anybody has written.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn moment(&self) -> Result<u32, StoreError> {
        pragma(&self.connection, "data_version")
    }

    /// Writes a copy of the database as it is at one moment into a new file, without what was deleted in it. Ends early when
    /// `stop` says so.
    ///
    /// # Errors
    /// What the database or the disk said.
    pub fn copy_to(&mut self, to: &Path, stop: impl FnMut() -> bool + Send + 'static) -> Result<(), StoreError> {
        let failed = |error| StoreError::database("copy", error);
        self.connection.progress_handler(STEPS_AT_ONCE, Some(stop)).map_err(failed)?;
        let copied = self.connection.execute("VACUUM INTO ?1", params![to.to_string_lossy()]);
        copied.map(drop).map_err(failed)
    }
}

/// The right to a state folder that no daemon has meanwhile.
#[derive(Debug)]
pub struct Reserved {
    _lock: Lock,
}

impl Reserved {
    /// Takes a state folder, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError::InUse`] when a daemon has it.
    pub fn take(dir: &Path) -> Result<Self, StoreError> {
        make_folder(dir)?;
        Ok(Self { _lock: Lock::take(dir)? })
    }
}

/// Looks at a database that came from elsewhere: whether it is whole, and nothing but what a gateway makes; and makes of each
/// entry of its journal what `taken_up` says. Its layout is given back.
///
/// # Errors
/// What is wrong with it.
pub fn adopt(path: &Path, taken_up: impl Fn(JournalEntry) -> JournalEntry) -> Result<u32, StoreError> {
    let wrong = |why: &str| StoreError::Foreign { path: path.to_owned(), why: why.to_owned() };
    let failed = |error| StoreError::database("look at", error);
    let mut connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    let careful = || -> rusqlite::Result<()> {
        // What its schema could call is not called.
        connection.pragma_update(None, "trusted_schema", false)?;
        connection.pragma_update(None, "cell_size_check", true)?;
        connection.pragma_update_and_check(None, "journal_mode", "DELETE", |_| Ok(()))
    };
    careful().map_err(failed)?;
    let schema = pragma(&connection, "user_version")?;
    known(path, schema)?;
    let made = Connection::open_in_memory().map_err(failed)?;
    let steps = STEPS.get(..schema as usize).unwrap_or(STEPS);
    steps.iter().try_for_each(|step| made.execute_batch(step)).map_err(failed)?;
    if objects(&connection).map_err(failed)? != objects(&made).map_err(failed)? {
        return Err(wrong("it holds other tables than a gateway makes"));
    }
    let told: String = connection.pragma_query_value(None, "integrity_check", |row| row.get(0)).map_err(failed)?;
    if told != "ok" {
        return Err(wrong(&told));
    }
    settle(&mut connection, taken_up)?;
    connection.close().map_err(|(_, error)| failed(error))?;
    Ok(schema)
}

/// Everything that a schema consists of.
fn objects(connection: &Connection) -> rusqlite::Result<BTreeSet<[Option<String>; 4]>> {
    let mut statement = connection.prepare("SELECT type, name, tbl_name, sql FROM sqlite_schema")?;
    let rows = statement.query_map([], |row| Ok([row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?]))?;
    rows.collect()
}

fn settle(connection: &mut Connection, taken_up: impl Fn(JournalEntry) -> JournalEntry) -> Result<(), StoreError> {
    let failed = |error| StoreError::database("settle the journal of", error);
    let transaction = connection.transaction().map_err(failed)?;
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = transaction.prepare("SELECT update_id, entry FROM journal")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    for (update, text) in read().map_err(failed)? {
        // A row that cannot be read stays where it is, as at any other start.
        let Some(entry) = parse::<JournalEntry>(&update, &text) else { continue };
        let text = to_json("settle the journal of", &taken_up(entry))?;
        transaction
            .execute("UPDATE journal SET entry = ?2 WHERE update_id = ?1", params![update, text])
            .map_err(failed)?;
    }
    transaction.commit().map_err(failed)
}

fn read_only(path: &Path) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = || -> rusqlite::Result<Connection> {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY)?;
        Ok(connection)
    };
    open().map_err(|error| StoreError::database("open", error))
}

fn known(path: &Path, found: u32) -> Result<(), StoreError> {
    let known = schema::newest();
    if found > known { Err(StoreError::Newer { path: path.to_owned(), found, known }) } else { Ok(()) }
}

fn pragma(connection: &Connection, name: &str) -> Result<u32, StoreError> {
    let told = connection.pragma_query_value(None, name, |row| row.get(0));
    told.map_err(|error| StoreError::database("read the layout of", error))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::device::{DeviceId, Identity, IdentityRecord};
    use crate::store::Store;

    fn record(number: u32) -> IdentityRecord {
        let name = format!("d{number}");
        IdentityRecord { identity: Identity::Configured(name.clone()), id: DeviceId::new(&*name), endpoint: name }
    }

    fn copied(state: &Path, to: &Path) -> PathBuf {
        let copy = to.join("copy.db");
        let mut reader = Reader::open(state).expect("opened").expect("there is one");
        reader.copy_to(&copy, || false).expect("copied");
        copy
    }

    /// A copy of a store with two names in it, opened.
    fn copy_of_two() -> (tempfile::TempDir, PathBuf, Connection) {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(&dir.path().join("state")).expect("a store");
        (1..=2).for_each(|number| store.remember_identity(record(number)).wait().expect("durable"));
        let copy = copied(&dir.path().join("state"), dir.path());
        let connection = Connection::open(&copy).expect("opened");
        (dir, copy, connection)
    }

    #[test]
    fn a_copy_is_of_one_moment_while_a_daemon_writes_on() {
        let dir = tempfile::tempdir().expect("a folder");
        let state = dir.path().join("state");
        assert!(Reader::open(&state).expect("no folder, no store").is_none());
        let store = Store::open(&state).expect("a store");
        store.remember_identity(record(0)).wait().expect("durable");
        let reader = Reader::open(&state).expect("opened").expect("there is one");
        let moment = reader.moment().expect("read");
        assert_eq!(reader.moment().expect("read"), moment, "nobody wrote");
        let writer = std::thread::spawn({
            let store = store.clone();
            move || (1..400).for_each(|number| store.remember_identity(record(number)).wait().expect("durable"))
        });
        let counts: Vec<u32> = (0..5)
            .map(|number| {
                let to = dir.path().join(number.to_string());
                std::fs::create_dir(&to).expect("made");
                let copy = copied(&state, &to);
                assert_eq!(adopt(&copy, |entry| entry).expect("a whole one"), schema::newest());
                let connection = Connection::open(&copy).expect("opened");
                // Names are written one by one: those of a moment are the first so many.
                let sql = "SELECT count(*), max(number) FROM identities";
                let (count, last): (u32, u32) =
                    connection.query_row(sql, [], |row| Ok((row.get(0)?, row.get(1)?))).expect("read");
                assert_eq!(count, last);
                count
            })
            .collect();
        writer.join().expect("written");
        assert!(counts.is_sorted() && counts[0] >= 1, "{counts:?}");
        assert_ne!(reader.moment().expect("read"), moment, "somebody wrote");
        store.close().wait().expect("closed");
        assert_eq!(
            copied(&state, dir.path()).metadata().map(|found| found.len() > 0).ok(),
            Some(true),
            "without a daemon"
        );
    }

    #[test]
    fn a_copy_ends_when_nobody_wants_it() {
        let dir = tempfile::tempdir().expect("a folder");
        let store = Store::open(dir.path()).expect("a store");
        let mut acks: Vec<_> = (0..2000).map(|number| store.remember_identity(record(number))).collect();
        acks.pop().expect("one").wait().expect("durable");
        let mut reader = Reader::open(dir.path()).expect("opened").expect("there is one");
        reader.copy_to(&dir.path().join("copy"), || true).expect_err("interrupted");
    }

    #[test]
    fn a_database_with_more_in_it_than_a_gateway_makes_is_none_of_its_own() {
        let evil = [
            "CREATE TRIGGER t AFTER INSERT ON tokens BEGIN DELETE FROM identities; END",
            "CREATE VIEW v AS SELECT * FROM tokens",
            "CREATE TABLE more (a)",
            "DROP TABLE brakes; CREATE VIEW brakes AS SELECT 1 AS board, 2 AS image, 3 AS brake",
            "DROP INDEX updates_open",
        ];
        for sql in evil {
            let (_dir, copy, connection) = copy_of_two();
            connection.execute_batch(sql).expect(sql);
            drop(connection);
            let refused = adopt(&copy, |entry| entry);
            assert!(matches!(refused, Err(StoreError::Foreign { .. })), "{sql}: {refused:?}");
        }
    }

    #[test]
    fn a_newer_or_damaged_database_is_not_taken() {
        let (_dir, copy, connection) = copy_of_two();
        connection.pragma_update(None, "user_version", 99).expect("set");
        drop(connection);
        assert!(matches!(adopt(&copy, |entry| entry), Err(StoreError::Newer { found: 99, .. })));
        let (_dir, copy, connection) = copy_of_two();
        drop(connection);
        let mut bytes = std::fs::read(&copy).expect("read");
        let middle = bytes.len() / 2;
        bytes[4096..middle].fill(0xa5);
        std::fs::write(&copy, bytes).expect("written");
        adopt(&copy, |entry| entry).expect_err("damaged");
        std::fs::write(&copy, b"no database").expect("written");
        adopt(&copy, |entry| entry).expect_err("none at all");
    }

    #[test]
    fn an_older_database_is_taken_as_it_is() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("old.db");
        let connection = Connection::open(&path).expect("made");
        STEPS[..4].iter().try_for_each(|step| connection.execute_batch(step)).expect("an older layout");
        connection.pragma_update(None, "user_version", 4).expect("set");
        drop(connection);
        assert_eq!(adopt(&path, |entry| entry).expect("taken"), 4);
    }

    #[test]
    fn a_folder_that_is_reserved_starts_no_daemon() {
        let dir = tempfile::tempdir().expect("a folder");
        let reserved = Reserved::take(dir.path()).expect("free");
        assert!(matches!(Store::open(dir.path()), Err(StoreError::InUse { .. })));
        drop(reserved);
        let store = Store::open(dir.path()).expect("free again");
        assert!(matches!(Reserved::take(dir.path()), Err(StoreError::InUse { .. })));
        store.close().wait().expect("closed");
    }
}
