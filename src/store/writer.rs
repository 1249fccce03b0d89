//! The writer thread: takes whatever waits, writes it in one transaction, and answers when that is on the disk.

use std::collections::BTreeMap;
use std::sync::mpsc::Receiver;

use rusqlite::{CachedStatement, Connection, ErrorCode, Transaction, params};

use crate::device::{
    BoardId, Brake, DeviceId, History, HistoryQuery, Identity, IdentityRecord, JournalEntry, JournalStep, OpenRecord,
    Recorded, Retention, Sha256Digest, TokenRecord, masked_uri,
};

use super::lock::Lock;
use super::{Done, Found, StoreError, WorkedRecord, banned, brakes, history, tokens, worked};

/// At most so many orders share a transaction.
const MAX_BATCH: usize = 512;

/// What the writer can be asked.
#[derive(Debug)]
pub(super) enum Order {
    Journal(Box<JournalEntry>, Option<Box<Recorded>>, Done<()>),
    Record(Box<Recorded>, Done<()>),
    Identity(IdentityRecord, Done<()>),
    Worked { port: String, board: BoardId, vars: Option<BTreeMap<String, String>>, done: Done<()> },
    AllWorked(Done<Vec<WorkedRecord>>),
    Token(TokenRecord, Done<()>),
    Revoke(String, Done<()>),
    Tokens(Done<Vec<TokenRecord>>),
    Brake { board: BoardId, image: Option<Sha256Digest>, brake: Option<Brake>, done: Done<()> },
    Brakes(Done<Vec<Brake>>),
    Ban { identity: Identity, ban: bool, forget: bool, done: Done<()> },
    Banned(Done<Vec<Identity>>),
    OpenJournal(Done<Vec<JournalEntry>>),
    Identities(Done<Vec<IdentityRecord>>),
    LatestClosed(Done<Vec<JournalEntry>>),
    OpenRecords(Done<Vec<OpenRecord>>),
    History(HistoryQuery, Done<History>),
    Find(String, Done<Found>),
    Tidy(Retention, Done<bool>),
    Close(Done<()>),
}

/// An answer that is held back until the transaction is on the disk, or has failed.
type Held = Box<dyn FnOnce(Result<(), &StoreError>)>;

/// Serves the queue until everybody let go of it or one asks to close.
pub(super) fn run(mut connection: Connection, orders: &Receiver<Order>, lock: Lock) {
    let closing = serve(&mut connection, orders);
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "the database did not close cleanly");
    }
    drop(lock);
    if let Some(done) = closing {
        answer(done, Ok(()));
    }
}

fn serve(connection: &mut Connection, orders: &Receiver<Order>) -> Option<Done<()>> {
    while let Ok(first) = orders.recv() {
        let mut batch = Vec::new();
        let mut next = Some(first);
        while let Some(order) = next {
            if let Order::Close(done) = order {
                commit(connection, batch);
                return Some(done);
            }
            batch.push(order);
            next = if batch.len() < MAX_BATCH { orders.try_recv().ok() } else { None };
        }
        commit(connection, batch);
    }
    None
}

fn commit(connection: &mut Connection, batch: Vec<Order>) {
    let mut held: Vec<Held> = Vec::with_capacity(batch.len());
    let outcome = write(connection, batch, &mut held);
    if let Err(error) = &outcome {
        tracing::error!(%error, reason = %source_of(error), "the journal could not be written");
    }
    for answer in held {
        answer(outcome.as_ref().copied());
    }
}

fn write(connection: &mut Connection, batch: Vec<Order>, held: &mut Vec<Held>) -> Result<(), StoreError> {
    let transaction = match connection.transaction() {
        Ok(transaction) => transaction,
        Err(error) => {
            let error = StoreError::database("begin to write", error);
            batch.into_iter().for_each(|order| order.refuse(&error));
            return Err(error);
        }
    };
    for order in batch {
        held.push(order.carry_out(&transaction));
    }
    transaction.commit().map_err(|error| StoreError::database("write to the disk", error))
}

impl Order {
    fn carry_out(self, transaction: &Transaction<'_>) -> Held {
        match self {
            Self::Journal(entry, recorded, done) => {
                let written = write_entry(transaction, *entry);
                // The journal must not fail because of what is kept for people.
                recorded.into_iter().for_each(|recorded| record(transaction, &recorded));
                hold(written, done)
            }
            Self::Record(recorded, done) => hold(history::write(transaction, &recorded), done),
            Self::Identity(record, done) => hold(write_identity(transaction, &record), done),
            Self::Worked { port, board, vars, done } => {
                hold(worked::write(transaction, &port, &board, vars.as_ref()), done)
            }
            Self::AllWorked(done) => hold(worked::read(transaction), done),
            Self::Brake { board, image, brake, done } => {
                hold(brakes::write(transaction, &board, image, brake.as_ref()), done)
            }
            Self::Brakes(done) => hold(brakes::read(transaction), done),
            Self::Token(record, done) => hold(tokens::write(transaction, &record), done),
            Self::Revoke(name, done) => hold(tokens::remove(transaction, &name), done),
            Self::Tokens(done) => hold(tokens::read(transaction), done),
            Self::Ban { identity, ban, forget, done } => hold(banned::write(transaction, &identity, ban, forget), done),
            Self::Banned(done) => hold(banned::read(transaction), done),
            Self::OpenJournal(done) => hold(read_open(transaction), done),
            Self::Identities(done) => hold(read_identities(transaction), done),
            Self::LatestClosed(done) => hold(read_latest(transaction), done),
            Self::OpenRecords(done) => hold(history::open(transaction), done),
            Self::History(query, done) => hold(history::list(transaction, &query), done),
            Self::Find(word, done) => hold(history::find(transaction, &word), done),
            Self::Tidy(retention, done) => hold(history::tidy(transaction, retention), done),
            Self::Close(done) => hold(Ok(()), done),
        }
    }

    fn refuse(self, error: &StoreError) {
        let error = error.clone();
        match self {
            Self::Journal(_, _, done) | Self::Record(_, done) | Self::Identity(_, done) | Self::Close(done) => {
                answer(done, Err(error));
            }
            Self::Worked { done, .. } | Self::Brake { done, .. } => answer(done, Err(error)),
            Self::AllWorked(done) => answer(done, Err(error)),
            Self::Brakes(done) => answer(done, Err(error)),
            Self::Token(_, done) | Self::Revoke(_, done) => answer(done, Err(error)),
            Self::Tokens(done) => answer(done, Err(error)),
            Self::Ban { done, .. } => answer(done, Err(error)),
            Self::Banned(done) => answer(done, Err(error)),
            Self::OpenJournal(done) | Self::LatestClosed(done) => answer(done, Err(error)),
            Self::OpenRecords(done) => answer(done, Err(error)),
            Self::History(_, done) => answer(done, Err(error)),
            Self::Find(_, done) => answer(done, Err(error)),
            Self::Tidy(_, done) => answer(done, Err(error)),
            Self::Identities(done) => answer(done, Err(error)),
        }
    }
}

fn hold<T: 'static>(result: Result<T, StoreError>, done: Done<T>) -> Held {
    Box::new(move |outcome| match outcome {
        Ok(()) => answer(done, result),
        Err(error) => answer(done, Err(error.clone())),
    })
}

/// Whoever asked may have stopped listening; that is no concern here.
fn answer<T>(done: Done<T>, result: Result<T, StoreError>) {
    drop(done.send(result));
}

fn record(transaction: &Transaction<'_>, recorded: &Recorded) {
    if let Err(error) = history::write(transaction, recorded) {
        tracing::warn!(%error, reason = %source_of(&error), "an update is missing in the history");
    }
}

fn write_entry(transaction: &Transaction<'_>, mut entry: JournalEntry) -> Result<(), StoreError> {
    let closed = matches!(entry.step, JournalStep::Closed { .. });
    // A login is kept no longer than a download may have to be resumed with it.
    if !matches!(entry.step, JournalStep::Downloading { .. }) {
        entry.uri = masked_uri(&entry.uri);
        entry.view.uri = masked_uri(&entry.view.uri);
    }
    let text = to_json("write an entry", &entry)?;
    let (update, device) = (entry.update.to_string(), entry.device.as_str());
    let written = if closed {
        write_closed(transaction, &update, device, &text)
    } else {
        cached(transaction, "INSERT OR REPLACE INTO journal (update_id, device, entry) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![update, device, text]))
            .map(drop)
    };
    written.map_err(|error| StoreError::database("write an entry", error))
}

fn write_closed(transaction: &Transaction<'_>, update: &str, device: &str, text: &str) -> rusqlite::Result<()> {
    cached(transaction, "DELETE FROM journal WHERE update_id = ?1")?.execute([update])?;
    // What servers read of a device is its last update; people look back in `updates`.
    cached(transaction, "DELETE FROM history WHERE update_id = ?1 OR device = ?2")?.execute([update, device])?;
    cached(transaction, "INSERT INTO history (update_id, device, entry) VALUES (?1, ?2, ?3)")?
        .execute(params![update, device, text])?;
    Ok(())
}

fn write_identity(transaction: &Transaction<'_>, record: &IdentityRecord) -> Result<(), StoreError> {
    let identity = to_json("write an identity", &record.identity)?;
    let (name, endpoint) = (record.id.as_str(), record.endpoint.as_str());
    upsert_identity(transaction, record, &identity).map_err(|error| match error.sqlite_error_code() {
        Some(ErrorCode::ConstraintViolation) => {
            StoreError::Taken { name: name.to_owned(), endpoint: endpoint.to_owned() }
        }
        _ => StoreError::database("write an identity", error),
    })
}

fn upsert_identity(transaction: &Transaction<'_>, record: &IdentityRecord, identity: &str) -> rusqlite::Result<()> {
    let (name, endpoint) = (record.id.as_str(), record.endpoint.as_str());
    if matches!(record.identity, Identity::Configured(_)) {
        cached(transaction, "DELETE FROM identities WHERE identity <> ?1 AND (device = ?2 OR endpoint = ?3)")?
            .execute([identity, name, endpoint])?;
    }
    cached(
        transaction,
        "INSERT INTO identities (identity, device, endpoint, since) VALUES (?1, ?2, ?3, unixepoch())
         ON CONFLICT (identity) DO UPDATE SET device = ?2, endpoint = ?3",
    )?
    .execute(params![identity, name, endpoint])?;
    Ok(())
}

fn read_open(transaction: &Transaction<'_>) -> Result<Vec<JournalEntry>, StoreError> {
    entries(transaction, "SELECT update_id, entry FROM journal ORDER BY update_id LIMIT ?1", i64::MAX)
}

fn read_latest(transaction: &Transaction<'_>) -> Result<Vec<JournalEntry>, StoreError> {
    entries(transaction, "SELECT update_id, entry FROM history ORDER BY number LIMIT ?1", i64::MAX)
}

fn entries(transaction: &Transaction<'_>, sql: &str, limit: i64) -> Result<Vec<JournalEntry>, StoreError> {
    let read = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = cached(transaction, sql)?;
        let rows = statement.query_map([limit], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let rows = read().map_err(|error| StoreError::database("read the journal", error))?;
    Ok(rows.into_iter().filter_map(|(update, text)| parse(&update, &text)).collect())
}

fn read_identities(transaction: &Transaction<'_>) -> Result<Vec<IdentityRecord>, StoreError> {
    let read = || -> rusqlite::Result<Vec<(String, String, String)>> {
        let mut statement = cached(transaction, "SELECT identity, device, endpoint FROM identities ORDER BY number")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    let rows = read().map_err(|error| StoreError::database("read the identities", error))?;
    let record = |(identity, device, endpoint): (String, String, String)| {
        let identity = parse(&device, &identity)?;
        Some(IdentityRecord { identity, id: DeviceId::new(device), endpoint })
    };
    Ok(rows.into_iter().filter_map(record).collect())
}

/// A row that this version cannot read stays where it is, for the version that can.
pub(super) fn parse<T: serde::de::DeserializeOwned>(row: &str, text: &str) -> Option<T> {
    serde_json::from_str(text)
        .inspect_err(|error| tracing::warn!(row, %error, "a row of the database cannot be read by this version"))
        .ok()
}

pub(super) fn to_json<T: serde::Serialize>(doing: &'static str, value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(|error| StoreError::database(doing, error))
}

pub(super) fn cached<'t>(transaction: &'t Transaction<'_>, sql: &str) -> rusqlite::Result<CachedStatement<'t>> {
    transaction.prepare_cached(sql)
}

fn source_of(error: &StoreError) -> String {
    std::error::Error::source(error).map_or_else(String::new, ToString::to_string)
}
