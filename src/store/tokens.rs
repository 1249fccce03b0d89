//! The tokens, in their table. How many there are is bounded by who makes them.

use rusqlite::{Transaction, params};

use super::StoreError;
use super::writer::cached;
use crate::device::{Role, TokenRecord};

pub(super) fn write(transaction: &Transaction<'_>, record: &TokenRecord) -> Result<(), StoreError> {
    const SQL: &str = "INSERT OR REPLACE INTO tokens (name, role, hash, since, expires) VALUES (?1, ?2, ?3, ?4, ?5)";
    let TokenRecord { name, role, hash, since, expires } = record;
    let written = cached(transaction, SQL)
        .and_then(|mut statement| statement.execute(params![name, role.as_str(), hash, since, expires]));
    written.map(drop).map_err(|error| StoreError::database("write a token", error))
}

pub(super) fn remove(transaction: &Transaction<'_>, name: &str) -> Result<(), StoreError> {
    let removed = cached(transaction, "DELETE FROM tokens WHERE name = ?1")
        .and_then(|mut statement| statement.execute(params![name]));
    removed.map(drop).map_err(|error| StoreError::database("remove a token", error))
}

pub(super) fn read(transaction: &Transaction<'_>) -> Result<Vec<TokenRecord>, StoreError> {
    let rows = || -> rusqlite::Result<Vec<(TokenRecord, String)>> {
        let mut statement = cached(transaction, "SELECT name, hash, since, expires, role FROM tokens ORDER BY name")?;
        let rows = statement.query_map([], |row| {
            let (name, hash, since, expires) = (row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?);
            Ok((TokenRecord { name, role: Role::ReadOnly, hash, since, expires }, row.get(4)?))
        })?;
        rows.collect()
    };
    let rows = rows().map_err(|error| StoreError::database("read the tokens", error))?;
    let known = rows.into_iter().filter_map(|(record, role)| {
        let role = [Role::ReadOnly, Role::Operator].into_iter().find(|known| known.as_str() == role)?;
        Some(TokenRecord { role, ..record })
    });
    Ok(known.collect())
}
