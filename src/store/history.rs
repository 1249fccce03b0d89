//! The updates that were, and the runs of tools in them: written as they happen, listed from their columns alone, read in
//! full one at a time, and forgotten by age and size.
//!
//! What a list needs stands in columns; the rest is packed (`packed.rs`) with its length beside it, so that a cut row
//! is noticed without unpacking. A row that cannot be read is told as that and hides no other.

use std::collections::HashMap;

use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};

use crate::device::{
    AttemptRecord, AttemptState, AttemptTask, BoardId, DeviceId, History, HistoryQuery, HistoryRow, OpenRecord,
    Recorded, Requester, Retention, UpdateEvidence, UpdateId, UpdateOutcome, UpdateRecord,
};

use super::{StoreError, packed};

/// So many updates are forgotten in one go: what waits for the disk meanwhile waits no longer than that.
const FORGOTTEN_AT_ONCE: u32 = 64;
/// So many free pages are given back in one go.
const PAGES_AT_ONCE: u32 = 256;
/// An id is looked for by its beginning or its end, of at least so many digits.
const SHORTEST_ID: usize = 4;

const COLUMNS: &str = "update_id, device, board, requester, began, ended, took_ms, outcome, reason, version_before,
    version_after, expected, image_sha256, attempts, length(record), length";

/// What was still running when the last gateway ended was cut off, and what the journal does not know is over.
pub(super) fn settle(connection: &Connection) -> rusqlite::Result<()> {
    connection.execute_batch(
        "UPDATE attempts SET state = 'interrupted' WHERE state = 'running';
         UPDATE updates SET open = 0, outcome = CASE outcome WHEN 'under-way' THEN 'lost' ELSE outcome END
         WHERE open = 1 AND update_id NOT IN (SELECT update_id FROM journal);",
    )
}

pub(super) fn write(transaction: &Transaction<'_>, recorded: &Recorded) -> Result<(), StoreError> {
    let failed = |error| StoreError::database("write to the history", error);
    let number = write_update(transaction, &recorded.record).map_err(failed)?;
    match &recorded.attempt {
        Some(attempt) => write_attempt(transaction, number, attempt).map_err(failed),
        None => Ok(()),
    }
}

fn write_update(transaction: &Transaction<'_>, record: &UpdateRecord) -> rusqlite::Result<i64> {
    let packed = packed::pack(record).map_err(not_written)?;
    let image = record.image.as_ref();
    let text = |version: &Option<crate::device::ReportedVersion>| version.as_ref().map(|version| version.text.clone());
    super::writer::cached(
        transaction,
        "INSERT INTO updates (update_id, device, board, requester, began, ended, took_ms, outcome, reason, version_before,
             version_after, expected, image_sha256, open, length, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
         ON CONFLICT (update_id) DO UPDATE SET device = ?2, board = ?3, requester = ?4, began = ?5, ended = ?6,
             took_ms = ?7, outcome = ?8, reason = ?9, version_before = ?10, version_after = ?11, expected = ?12,
             image_sha256 = ?13, open = ?14, length = ?15, record = ?16
         RETURNING number",
    )?
    .query_row(
        params![
            record.update.to_string(),
            record.device.as_str(),
            record.board.as_ref().map(BoardId::as_str),
            serde_json::to_string(&record.requester).map_err(|error| not_written(error.into()))?,
            record.began,
            record.ended,
            record.took_ms.map(clamped),
            record.outcome.as_str(),
            record.reason,
            text(&record.version_before),
            text(&record.version_after),
            image.and_then(|image| image.version.as_deref()),
            image.map(|image| image.sha256.to_string()),
            record.ended.is_none(),
            clamped(packed.len() as u64),
            packed,
        ],
        |row| row.get(0),
    )
}

fn write_attempt(transaction: &Transaction<'_>, update: i64, attempt: &AttemptRecord) -> rusqlite::Result<()> {
    let packed = packed::pack(attempt).map_err(not_written)?;
    let task = match attempt.task {
        AttemptTask::Flash => "flash",
        AttemptTask::Backup => "backup",
        AttemptTask::Restore => "restore",
    };
    super::writer::cached(
        transaction,
        "INSERT OR REPLACE INTO attempts (update_number, number, task, state, began, length, record)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
    )?
    .execute(params![
        update,
        attempt.number,
        task,
        state_word(attempt.state),
        attempt.began,
        clamped(packed.len() as u64),
        packed
    ])?;
    super::writer::cached(
        transaction,
        "UPDATE updates SET attempts = (SELECT count(*) FROM attempts WHERE update_number = ?1 AND task = 'flash')
         WHERE number = ?1",
    )?
    .execute([update])?;
    Ok(())
}

fn state_word(state: AttemptState) -> &'static str {
    match state {
        AttemptState::Running => "running",
        AttemptState::Ended => "ended",
        AttemptState::Interrupted => "interrupted",
    }
}

/// The updates that a query asks for. Unpacks nothing.
pub(super) fn list(transaction: &Transaction<'_>, query: &HistoryQuery) -> Result<History, StoreError> {
    let fitting =
        "WHERE (?1 IS NULL OR device = ?1) AND (NOT ?2 OR outcome IN ('failed', 'rolled-back', 'refused', 'lost'))";
    let (device, limit) = (query.device.as_ref().map(DeviceId::as_str), query.limit.map_or(-1, i64::from));
    let read = || -> rusqlite::Result<History> {
        let sql = format!("SELECT {COLUMNS} FROM updates {fitting} ORDER BY number DESC LIMIT ?3");
        let mut requesters = HashMap::new();
        let mut statement = super::writer::cached(transaction, &sql)?;
        let rows = statement.query_map(params![device, query.failed, limit], |row| row_of(row, &mut requesters))?;
        let updates: Vec<HistoryRow> = rows.collect::<rusqlite::Result<_>>()?;
        let sql = format!("SELECT count(*) FROM updates {fitting}");
        let all: i64 =
            super::writer::cached(transaction, &sql)?.query_row(params![device, query.failed], |row| row.get(0))?;
        let more = u64::try_from(all).unwrap_or(0).saturating_sub(updates.len() as u64);
        Ok(History { updates, more })
    };
    read().map_err(|error| StoreError::database("read the history", error))
}

/// Few requesters ask for many updates: each text is understood once.
type Requesters = HashMap<String, Result<Option<Requester>, String>>;

fn row_of(row: &Row<'_>, requesters: &mut Requesters) -> rusqlite::Result<HistoryRow> {
    let mut damage = Vec::new();
    let id: String = row.get(0)?;
    let requester: String = row.get(3)?;
    let outcome: String = row.get(7)?;
    let sha256: Option<String> = row.get(12)?;
    let (is, was): (i64, i64) = (row.get(14)?, row.get(15)?);
    if is != was {
        damage.push(format!("cut: {is} of {was} bytes are there"));
    }
    let mut sound = |what: &str, text: &str, problem: String| damage.push(format!("{what} `{text}`: {problem}"));
    let requester = match understood(requesters, requester) {
        Ok(requester) => requester,
        Err((text, problem)) => {
            sound("requester", &text, problem);
            None
        }
    };
    let row = HistoryRow {
        update: UpdateId(id.parse().unwrap_or_else(|error: uuid::Error| {
            sound("id", &id, error.to_string());
            uuid::Uuid::nil()
        })),
        device: DeviceId::new(row.get::<_, String>(1)?),
        board: row.get::<_, Option<String>>(2)?.map(BoardId::new),
        requester,
        began: row.get(4)?,
        ended: row.get(5)?,
        took_ms: row.get::<_, Option<i64>>(6)?.map(|took| u64::try_from(took).unwrap_or(0)),
        outcome: word(&outcome).unwrap_or_else(|problem| {
            sound("outcome", &outcome, problem);
            UpdateOutcome::Lost
        }),
        reason: row.get(8)?,
        version_before: row.get(9)?,
        version_after: row.get(10)?,
        expected_version: row.get(11)?,
        image_sha256: sha256.and_then(|text| {
            text.parse().inspect_err(|problem: &&str| sound("digest", &text, (*problem).to_owned())).ok()
        }),
        attempts: row.get(13)?,
        damaged: None,
    };
    Ok(HistoryRow { damaged: (!damage.is_empty()).then(|| damage.join("; ")), ..row })
}

fn understood(requesters: &mut Requesters, text: String) -> Result<Option<Requester>, (String, String)> {
    if let Some(known) = requesters.get(&text) {
        return known.clone().map_err(|problem| (text, problem));
    }
    let read: Result<Option<Requester>, String> = serde_json::from_str(&text).map_err(|error| error.to_string());
    requesters.insert(text.clone(), read.clone());
    read.map_err(|problem| (text, problem))
}

fn word(text: &str) -> Result<UpdateOutcome, String> {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};
    let from: StrDeserializer<'_, Error> = text.into_deserializer();
    serde::Deserialize::deserialize(from).map_err(|error: Error| error.to_string())
}

/// The ids that begin or end with some digits, the newest first, at most three; and all that is kept of it when it is one.
pub(super) fn find(
    transaction: &Transaction<'_>,
    word: &str,
) -> Result<(Vec<UpdateId>, Option<UpdateEvidence>), StoreError> {
    let read = || -> rusqlite::Result<(Vec<UpdateId>, Option<UpdateEvidence>)> {
        let rows = matching(transaction, word)?;
        let ids: Vec<UpdateId> = rows.iter().map(|(_, id)| *id).collect();
        match rows.as_slice() {
            [(number, _)] => Ok((ids, Some(evidence(transaction, *number)?))),
            _ => Ok((ids, None)),
        }
    };
    read().map_err(|error| StoreError::database("read the history", error))
}

fn matching(transaction: &Transaction<'_>, word: &str) -> rusqlite::Result<Vec<(i64, UpdateId)>> {
    let word = word.to_ascii_lowercase();
    let is_part = word.len() >= SHORTEST_ID && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    if !is_part {
        return Ok(Vec::new());
    }
    let sql = "SELECT number, update_id FROM updates WHERE substr(update_id, 1, length(?1)) = ?1
               OR substr(update_id, -length(?1)) = ?1 ORDER BY number DESC LIMIT 3";
    let mut statement = super::writer::cached(transaction, sql)?;
    let rows = statement.query_map([word], |row| {
        let id: String = row.get(1)?;
        Ok((row.get(0)?, UpdateId(id.parse().unwrap_or_default())))
    })?;
    rows.collect()
}

fn evidence(transaction: &Transaction<'_>, number: i64) -> rusqlite::Result<UpdateEvidence> {
    let sql = format!("SELECT {COLUMNS}, record FROM updates WHERE number = ?1");
    let (row, length, packed) = super::writer::cached(transaction, &sql)?
        .query_row([number], |row| Ok((row_of(row, &mut HashMap::new())?, row.get(15)?, row.get::<_, Vec<u8>>(16)?)))?;
    let mut damaged = Vec::new();
    let record = match packed::unpack(&packed, length) {
        // A later start may have learnt that nobody goes on with it.
        Ok(record) => UpdateRecord { outcome: row.outcome, ..record },
        // Brought over from an older layout, which kept no more.
        Err(_) if length == 0 => record_of(&row),
        Err(problem) => {
            damaged.push(format!("the update: {problem}"));
            record_of(&row)
        }
    };
    damaged.extend(row.damaged.filter(|_| damaged.is_empty()));
    let attempts = attempts(transaction, number, &mut damaged)?;
    Ok(UpdateEvidence { record, attempts, damaged })
}

/// What the columns tell, for a row whose rest cannot be read.
fn record_of(row: &HistoryRow) -> UpdateRecord {
    let told = |text: &Option<String>| {
        text.clone().map(|text| crate::device::ReportedVersion { text, source: "history".to_owned() })
    };
    UpdateRecord {
        update: row.update,
        device: row.device.clone(),
        endpoint: None,
        identity: None,
        board: row.board.clone(),
        gateway: None,
        requester: row.requester.clone(),
        uri: None,
        began: row.began,
        ended: row.ended,
        took_ms: row.took_ms,
        outcome: row.outcome,
        reason: row.reason.clone(),
        version_before: told(&row.version_before),
        version_after: told(&row.version_after),
        image: None,
        events: Vec::new(),
        left_out: 0,
    }
}

fn attempts(
    transaction: &Transaction<'_>,
    update: i64,
    damaged: &mut Vec<String>,
) -> rusqlite::Result<Vec<AttemptRecord>> {
    let sql = "SELECT number, state, began, length, record FROM attempts WHERE update_number = ?1 ORDER BY number";
    let mut statement = super::writer::cached(transaction, sql)?;
    let mut rows = statement.query([update])?;
    let mut attempts = Vec::new();
    while let Some(row) = rows.next()? {
        let (number, state): (u32, String) = (row.get(0)?, row.get(1)?);
        let (began, length, packed): (i64, i64, Vec<u8>) = (row.get(2)?, row.get(3)?, row.get(4)?);
        let mut attempt = packed::unpack(&packed, length).unwrap_or_else(|problem| {
            damaged.push(format!("attempt {number}: {problem}"));
            unreadable(number, began)
        });
        if state == "interrupted" {
            attempt.state = AttemptState::Interrupted;
        }
        attempts.push(attempt);
    }
    Ok(attempts)
}

fn unreadable(number: u32, began: i64) -> AttemptRecord {
    AttemptRecord {
        number,
        task: AttemptTask::Flash,
        state: AttemptState::Ended,
        began,
        took_ms: None,
        tool: None,
        tool_version: None,
        program: None,
        argv: Vec::new(),
        link: None,
        changed: std::collections::BTreeMap::new(),
        outcome: None,
        output: None,
    }
}

/// The updates that are not over.
pub(super) fn open(transaction: &Transaction<'_>) -> Result<Vec<OpenRecord>, StoreError> {
    let sql = "SELECT update_id, length, record, coalesce((SELECT max(number) FROM attempts
               WHERE update_number = updates.number), 0) FROM updates WHERE open = 1 ORDER BY number";
    let read = || -> rusqlite::Result<Vec<OpenRecord>> {
        let mut statement = super::writer::cached(transaction, sql)?;
        let mut rows = statement.query([])?;
        let mut open = Vec::new();
        while let Some(row) = rows.next()? {
            let (id, length, packed): (String, i64, Vec<u8>) = (row.get(0)?, row.get(1)?, row.get(2)?);
            match packed::unpack(&packed, length) {
                Ok(record) => open.push(OpenRecord { record, attempts: row.get(3)? }),
                Err(problem) => tracing::warn!(update = id, problem, "what was recorded of an update cannot be read"),
            }
        }
        Ok(open)
    };
    read().map_err(|error| StoreError::database("read the history", error))
}

/// Forgets some of what is too old or too much, the oldest first and never what is open; whether there may be more to do.
pub(super) fn tidy(transaction: &Transaction<'_>, retention: Retention) -> Result<bool, StoreError> {
    let work = || -> rusqlite::Result<bool> {
        let size = used(transaction)?;
        let mut forgotten = forget_old(transaction, retention.not_before)?;
        if forgotten == 0 && size > retention.max_size {
            forgotten = forget_oldest(transaction)?;
        }
        Ok(forgotten > 0 || give_back(transaction)?)
    };
    work().map_err(|error| StoreError::database("tidy the history", error))
}

/// A clock that was wrong for a while dates an update wrongly, but does not change their order: what is younger than any
/// that is kept is kept.
fn forget_old(transaction: &Transaction<'_>, not_before: i64) -> rusqlite::Result<usize> {
    let young: Option<i64> = super::writer::cached(
        transaction,
        "SELECT number FROM updates WHERE open = 0 AND coalesce(ended, began) >= ?1 ORDER BY number LIMIT 1",
    )?
    .query_row([not_before], |row| row.get(0))
    .optional()?;
    forget(transaction, young.unwrap_or(i64::MAX))
}

fn forget_oldest(transaction: &Transaction<'_>) -> rusqlite::Result<usize> {
    forget(transaction, i64::MAX)
}

fn forget(transaction: &Transaction<'_>, before: i64) -> rusqlite::Result<usize> {
    let mut statement = super::writer::cached(
        transaction,
        "DELETE FROM updates WHERE number IN
             (SELECT number FROM updates WHERE open = 0 AND number < ?1 ORDER BY number LIMIT ?2) RETURNING number",
    )?;
    let gone = statement.query_map(params![before, FORGOTTEN_AT_ONCE], |row| row.get(0))?;
    let gone: Vec<i64> = gone.collect::<rusqlite::Result<_>>()?;
    for number in &gone {
        super::writer::cached(transaction, "DELETE FROM attempts WHERE update_number = ?1")?.execute([number])?;
    }
    Ok(gone.len())
}

/// Bytes that are in use.
fn used(transaction: &Transaction<'_>) -> rusqlite::Result<u64> {
    let number = |pragma| transaction.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let (pages, free, size) = (number("page_count")?, number("freelist_count")?, number("page_size")?);
    Ok(u64::try_from(pages.saturating_sub(free).saturating_mul(size)).unwrap_or(0))
}

/// Shortens the file by some of its free pages; whether there are more.
fn give_back(transaction: &Transaction<'_>) -> rusqlite::Result<bool> {
    let free = || transaction.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0));
    let before = free()?;
    if before == 0 {
        return Ok(false);
    }
    let mut statement = transaction.prepare(&format!("PRAGMA incremental_vacuum({PAGES_AT_ONCE})"))?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    let after = free()?;
    Ok(after > 0 && after < before)
}

fn clamped(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn not_written(error: std::io::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(Box::new(error))
}

#[cfg(test)]
mod tests;
