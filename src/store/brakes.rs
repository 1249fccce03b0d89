//! The brakes, in their table. How many there are is bounded by who makes them.

use rusqlite::{Transaction, params};

use super::StoreError;
use super::writer::{cached, parse, to_json};
use crate::device::{BoardId, Brake, Sha256Digest};

pub(super) fn write(
    transaction: &Transaction<'_>,
    board: &BoardId,
    image: Option<Sha256Digest>,
    brake: Option<&Brake>,
) -> Result<(), StoreError> {
    let text = brake.map(|brake| to_json("write a brake", brake)).transpose()?;
    let image = image.map_or_else(String::new, |image| image.to_string());
    let written = match text {
        Some(text) => cached(transaction, "INSERT OR REPLACE INTO brakes (board, image, brake) VALUES (?1, ?2, ?3)")
            .and_then(|mut statement| statement.execute(params![board.as_str(), image, text])),
        None => cached(transaction, "DELETE FROM brakes WHERE board = ?1 AND image = ?2")
            .and_then(|mut statement| statement.execute(params![board.as_str(), image])),
    };
    written.map(drop).map_err(|error| StoreError::database("write a brake", error))
}

pub(super) fn read(transaction: &Transaction<'_>) -> Result<Vec<Brake>, StoreError> {
    let rows = || -> rusqlite::Result<Vec<(String, String)>> {
        let mut statement = cached(transaction, "SELECT board, brake FROM brakes ORDER BY board, image")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
        rows.collect()
    };
    let rows = rows().map_err(|error| StoreError::database("read the brakes", error))?;
    Ok(rows.into_iter().filter_map(|(board, text)| parse(&board, &text)).collect())
}
