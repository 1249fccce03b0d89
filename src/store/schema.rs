//! The database file: opening it, bringing its layout up to date, and putting a damaged one aside.

use std::ffi::OsString;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ErrorCode, TransactionBehavior};

use super::{StoreError, history};

/// Each step brings the layout from the version of its index to the next. Only ever appended to.
pub(super) const STEPS: &[&str] = &[
    // 1: open updates by id; closed ones by the order of closing; identities with names that nobody else may have.
    "CREATE TABLE journal (
        update_id TEXT PRIMARY KEY, device TEXT NOT NULL, entry TEXT NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE history (
        number INTEGER PRIMARY KEY AUTOINCREMENT, update_id TEXT NOT NULL UNIQUE, device TEXT NOT NULL,
        entry TEXT NOT NULL
    ) STRICT;
    CREATE INDEX history_by_device ON history (device, number);
    CREATE TABLE identities (
        number INTEGER PRIMARY KEY AUTOINCREMENT, identity TEXT NOT NULL UNIQUE, device TEXT NOT NULL UNIQUE,
        endpoint TEXT NOT NULL UNIQUE, since INTEGER NOT NULL
    ) STRICT;",
    // 2: what worked on which port.
    "CREATE TABLE worked (
        port TEXT NOT NULL, board TEXT NOT NULL, vars TEXT NOT NULL, since INTEGER NOT NULL, PRIMARY KEY (port, board)
    ) STRICT, WITHOUT ROWID;",
    // 3: updates for people to look back at, and the runs of tools in them; `history` keeps what servers read of each
    // device's last update.
    "CREATE TABLE updates (
        number INTEGER PRIMARY KEY AUTOINCREMENT, update_id TEXT NOT NULL UNIQUE, device TEXT NOT NULL, board TEXT,
        requester TEXT NOT NULL, began INTEGER NOT NULL, ended INTEGER, took_ms INTEGER, outcome TEXT NOT NULL, reason TEXT,
        version_before TEXT, version_after TEXT, expected TEXT, image_sha256 TEXT, attempts INTEGER NOT NULL DEFAULT 0,
        open INTEGER NOT NULL, length INTEGER NOT NULL, record BLOB NOT NULL
    ) STRICT;
    CREATE INDEX updates_by_device ON updates (device, number);
    CREATE INDEX updates_open ON updates (open) WHERE open = 1;
    CREATE TABLE attempts (
        update_number INTEGER NOT NULL, number INTEGER NOT NULL, task TEXT NOT NULL, state TEXT NOT NULL,
        began INTEGER NOT NULL, length INTEGER NOT NULL, record BLOB NOT NULL, PRIMARY KEY (update_number, number)
    ) STRICT;
    CREATE INDEX attempts_running ON attempts (state) WHERE state = 'running';
    INSERT INTO updates (update_id, device, requester, began, ended, outcome, reason, version_before, version_after,
        image_sha256, open, length, record)
    SELECT update_id, device, coalesce(entry ->> '$.requester', 'null'),
        coalesce(CAST(entry ->> '$.at' AS INTEGER), 0), CAST(entry ->> '$.at' AS INTEGER),
        CASE WHEN json_type(entry, '$.step.outcome.Ok') IS NOT NULL THEN 'proven'
             WHEN entry ->> '$.step.image_sha256' IS NOT NULL THEN 'failed'
             WHEN entry ->> '$.view.result' IN ('initial', 'cancelled') THEN 'dropped' ELSE 'refused' END,
        entry ->> '$.step.outcome.Err', entry ->> '$.version_before.text', entry ->> '$.step.outcome.Ok.text',
        entry ->> '$.step.image_sha256', 0, 0, x''
    FROM history WHERE json_valid(entry) ORDER BY number;
    DELETE FROM history WHERE number NOT IN (SELECT max(number) FROM history GROUP BY device);",
    // 4: the brakes; the image is '' where every image is meant.
    "CREATE TABLE brakes (
        board TEXT NOT NULL, image TEXT NOT NULL, brake TEXT NOT NULL, PRIMARY KEY (board, image)
    ) STRICT, WITHOUT ROWID;",
    // 5: devices that an operator keeps out.
    "CREATE TABLE banned (identity TEXT PRIMARY KEY, since INTEGER NOT NULL) STRICT, WITHOUT ROWID;",
    // 6: who may ask from elsewhere.
    "CREATE TABLE tokens (
        name TEXT PRIMARY KEY, role TEXT NOT NULL, hash TEXT NOT NULL, since INTEGER NOT NULL, expires INTEGER
    ) STRICT, WITHOUT ROWID;",
];

/// The newest version.
pub(super) fn newest() -> u32 {
    u32::try_from(STEPS.len()).unwrap_or(u32::MAX)
}

/// The write-ahead log is cut back to so many bytes.
const WAL_LIMIT: u32 = 4 << 20;

/// `PRAGMA auto_vacuum`: free pages are given back when asked to.
const INCREMENTAL: u32 = 2;

/// So many names are tried for a damaged database.
const MAX_ASIDE: u32 = 100;

/// Why a database could not be opened.
#[derive(Debug)]
enum Refusal {
    Damaged(String),
    Other(StoreError),
}

/// Opens the database, making it if need be; a damaged one is put aside first, and where is told.
pub(super) fn open(path: &Path) -> Result<(Connection, Option<PathBuf>), StoreError> {
    match try_open(path) {
        Ok(connection) => Ok((connection, None)),
        Err(Refusal::Other(error)) => Err(error),
        Err(Refusal::Damaged(what)) => {
            let aside = put_aside(path).map_err(|error| StoreError::folder(path, error))?;
            tracing::error!(
                database = %path.display(), kept = %aside.display(), reason = %what,
                "the database is damaged: names given to devices and updates under way are lost; begun afresh"
            );
            match try_open(path) {
                Ok(connection) => Ok((connection, Some(aside))),
                Err(Refusal::Other(error)) => Err(error),
                Err(Refusal::Damaged(what)) => Err(StoreError::database("begin afresh", std::io::Error::other(what))),
            }
        }
    }
}

fn try_open(path: &Path) -> Result<Connection, Refusal> {
    make_private(path).map_err(|error| Refusal::Other(StoreError::folder(path, error)))?;
    let mut connection = Connection::open(path).map_err(|error| sort("open", error))?;
    prepare(&connection).map_err(|error| sort("set up", error))?;
    inspect(&connection)?;
    migrate(&mut connection, path, STEPS)?;
    history::settle(&connection).map_err(|error| sort("bring up to date", error))?;
    make_shrinkable(&connection);
    Ok(connection)
}

/// A file that an older layout made learns to give pages back; without that it only grows no further.
fn make_shrinkable(connection: &Connection) {
    let mode: rusqlite::Result<u32> = connection.pragma_query_value(None, "auto_vacuum", |row| row.get(0));
    if mode.is_ok_and(|mode| mode == INCREMENTAL) {
        return;
    }
    let made =
        connection.pragma_update(None, "auto_vacuum", INCREMENTAL).and_then(|()| connection.execute_batch("VACUUM"));
    if let Err(error) = made {
        tracing::warn!(%error, "the database cannot be made to shrink; it works all the same");
    }
}

/// The journal may hold URIs with credentials: for the gateway's own user only. SQLite gives its side files the same mode.
fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path).map(drop)
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::from_secs(2))?;
    // Counts for a file that is made just now, and only before the first page is written.
    connection.pragma_update(None, "auto_vacuum", INCREMENTAL)?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_LIMIT, |_| Ok(()))
}

fn inspect(connection: &Connection) -> Result<(), Refusal> {
    let told: String =
        connection.pragma_query_value(None, "quick_check", |row| row.get(0)).map_err(|error| sort("check", error))?;
    if told == "ok" { Ok(()) } else { Err(Refusal::Damaged(told)) }
}

fn migrate(connection: &mut Connection, path: &Path, steps: &[&str]) -> Result<(), Refusal> {
    let known = u32::try_from(steps.len()).unwrap_or(u32::MAX);
    let found: u32 = connection
        .pragma_query_value(None, "user_version", |row| row.get(0))
        .map_err(|error| sort("read the layout of", error))?;
    if found > known {
        return Err(Refusal::Other(StoreError::Newer { path: path.to_owned(), found, known }));
    }
    for (version, step) in (1..=known).zip(steps).skip(found as usize) {
        migrate_one(connection, version, step).map_err(|error| sort("bring up to date", error))?;
        tracing::debug!(version, "database layout brought up to date");
    }
    Ok(())
}

fn migrate_one(connection: &mut Connection, version: u32, step: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute_batch(step)?;
    transaction.pragma_update(None, "user_version", version)?;
    transaction.commit()
}

fn sort(doing: &'static str, error: rusqlite::Error) -> Refusal {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => Refusal::Damaged(error.to_string()),
        _ => Refusal::Other(StoreError::database(doing, error)),
    }
}

fn put_aside(path: &Path) -> std::io::Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let names = (0..MAX_ASIDE).map(|number| if number == 0 { time.clone() } else { format!("{time}-{number}") });
    let mut free = names.map(|name| with_suffix(path, &format!(".damaged-{name}"))).filter(|aside| !aside.exists());
    let aside = free.next().ok_or_else(|| std::io::Error::other("no name left for the damaged database"))?;
    std::fs::rename(path, &aside)?;
    for side in ["-wal", "-shm"] {
        match std::fs::rename(with_suffix(path, side), with_suffix(&aside, side)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(aside)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_older_layout_is_brought_up_to_date_and_keeps_its_rows() {
        let mut connection = Connection::open_in_memory().expect("memory");
        let path = Path::new("nuncio.db");
        let first = ["CREATE TABLE t (a TEXT)"];
        let both = ["CREATE TABLE t (a TEXT)", "ALTER TABLE t ADD COLUMN b TEXT DEFAULT 'new'"];
        migrate(&mut connection, path, &first).expect("version 1");
        connection.execute("INSERT INTO t (a) VALUES ('old')", []).expect("a row");
        migrate(&mut connection, path, &both).expect("version 2");
        migrate(&mut connection, path, &both).expect("nothing left to do");
        let row: (String, String) = connection
            .query_row("SELECT a, b FROM t", [], |row| Ok((row.get(0)?, row.get(1)?)))
            .expect("the row survived");
        assert_eq!(row, ("old".to_owned(), "new".to_owned()));
    }

    #[test]
    fn a_step_that_fails_leaves_the_layout_as_it_was() {
        let mut connection = Connection::open_in_memory().expect("memory");
        let steps = ["CREATE TABLE t (a TEXT); CREATE TABLE t (a TEXT)"];
        migrate(&mut connection, Path::new("nuncio.db"), &steps).expect_err("the second statement fails");
        let tables: u32 =
            connection.query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0)).expect("a count");
        assert_eq!(tables, 0);
    }

    #[test]
    fn a_newer_layout_is_refused() {
        let mut connection = Connection::open_in_memory().expect("memory");
        connection.pragma_update(None, "user_version", 7).expect("set");
        let refusal = migrate(&mut connection, Path::new("nuncio.db"), STEPS).expect_err("newer");
        assert!(matches!(refusal, Refusal::Other(StoreError::Newer { found: 7, .. })), "{refusal:?}");
    }
}
