//! Devices that an operator keeps out, in their table. How many there are is bounded by operators' patience.

use rusqlite::Transaction;

use super::StoreError;
use super::writer::{cached, parse, to_json};
use crate::device::Identity;

/// Keeps a device out or lets it in again; `forget` takes its names off the store in the same transaction.
pub(super) fn write(
    transaction: &Transaction<'_>,
    identity: &Identity,
    ban: bool,
    forget: bool,
) -> Result<(), StoreError> {
    let text = to_json("write who is kept out", identity)?;
    let written = || -> rusqlite::Result<()> {
        let sql = match ban {
            true => "INSERT OR IGNORE INTO banned (identity, since) VALUES (?1, unixepoch())",
            false => "DELETE FROM banned WHERE identity = ?1",
        };
        cached(transaction, sql)?.execute([&text])?;
        if forget {
            cached(transaction, "DELETE FROM identities WHERE identity = ?1")?.execute([&text])?;
        }
        Ok(())
    };
    written().map_err(|error| StoreError::database("write who is kept out", error))
}

pub(super) fn read(transaction: &Transaction<'_>) -> Result<Vec<Identity>, StoreError> {
    let rows = || -> rusqlite::Result<Vec<String>> {
        let mut statement = cached(transaction, "SELECT identity FROM banned ORDER BY identity")?;
        let rows = statement.query_map([], |row| row.get(0))?;
        rows.collect()
    };
    let rows = rows().map_err(|error| StoreError::database("read who is kept out", error))?;
    Ok(rows.into_iter().filter_map(|text| parse("banned", &text)).collect())
}
