//! What worked on which physical port, in its table.

use std::collections::BTreeMap;

use rusqlite::{Transaction, params};

use super::writer::{cached, parse, to_json};
use super::{MAX_WORKED, StoreError, WorkedRecord};
use crate::device::BoardId;

pub(super) fn write(
    transaction: &Transaction<'_>,
    port: &str,
    board: &BoardId,
    vars: Option<&BTreeMap<String, String>>,
) -> Result<(), StoreError> {
    let vars = vars.map(|vars| to_json("write what worked on a port", vars)).transpose()?;
    upsert(transaction, port, board.as_str(), vars).map_err(|error| StoreError::database("write what worked", error))
}

fn upsert(transaction: &Transaction<'_>, port: &str, board: &str, vars: Option<String>) -> rusqlite::Result<()> {
    cached(transaction, "DELETE FROM worked WHERE port = ?1 AND board = ?2")?.execute([port, board])?;
    let Some(vars) = vars else { return Ok(()) };
    cached(transaction, "INSERT INTO worked (port, board, vars, since) VALUES (?1, ?2, ?3, unixepoch())")?
        .execute(params![port, board, vars])?;
    let forget = "DELETE FROM worked WHERE (port, board) IN
                  (SELECT port, board FROM worked ORDER BY since DESC, port LIMIT -1 OFFSET ?1)";
    cached(transaction, forget)?.execute([MAX_WORKED as i64]).map(drop)
}

pub(super) fn read(transaction: &Transaction<'_>) -> Result<Vec<WorkedRecord>, StoreError> {
    let rows = || -> rusqlite::Result<Vec<(String, String, String)>> {
        let mut statement = cached(transaction, "SELECT port, board, vars FROM worked ORDER BY port, board")?;
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        rows.collect()
    };
    let rows = rows().map_err(|error| StoreError::database("read what worked", error))?;
    let record = |(port, board, vars): (String, String, String)| {
        let vars = parse(&port, &vars)?;
        Some(WorkedRecord { port, board: BoardId::new(board), vars })
    };
    Ok(rows.into_iter().filter_map(record).collect())
}
