//! `{ credential = "NAME" }` in place of a text: the credential's content is put there before anything is read of the table, so
//! every key that takes a text takes it from a credential, too.

use std::borrow::Cow;
use std::ops::Range;

use toml::de::{DeArray, DeTable, DeValue};

use crate::device::FileError;

use super::source::Source;

const KEY: &str = "credential";
const HINT: &str = "put it into /etc/nuncio/credentials, for root alone, and restart the service; or look as root";

/// How a credential is read: its text, or what is wrong with it.
pub(super) type Read<'r> = &'r dyn Fn(&str) -> Result<String, String>;

/// Fills a table. What could not be read is added to `problems` and taken out, so that nobody is told that it is no key.
pub(super) fn fill(table: &mut DeTable<'_>, source: &Source, read: Read<'_>, problems: &mut Vec<FileError>) {
    let mut unread = Vec::new();
    for (key, value) in table.iter_mut() {
        let span = value.span();
        if !filled(value.get_mut(), span, source, read, problems) {
            unread.push(key.get_ref().clone().into_owned());
        }
    }
    for key in unread {
        table.remove(key.as_str());
    }
}

/// False for one that could not be read.
fn filled(
    value: &mut DeValue<'_>,
    at: Range<usize>,
    source: &Source,
    read: Read<'_>,
    problems: &mut Vec<FileError>,
) -> bool {
    if let Some(name) = named(value) {
        return match read(&name) {
            Ok(text) => {
                *value = DeValue::String(Cow::Owned(text));
                true
            }
            Err(error) => {
                problems.push(source.error_in(at, error).with_hint(HINT));
                false
            }
        };
    }
    match value {
        DeValue::Table(table) => fill(table, source, read, problems),
        DeValue::Array(array) => {
            let mut right = Vec::with_capacity(array.len());
            for item in array.iter_mut() {
                let at = item.span();
                right.push(filled(item.get_mut(), at, source, read, problems));
            }
            if right.contains(&false) {
                let items = std::mem::replace(array, DeArray::new()).into_iter().zip(right);
                *array = items.filter_map(|(item, right)| right.then_some(item)).collect();
            }
        }
        _ => {}
    }
    true
}

/// The name, when a value is a table of that one key.
pub(super) fn named(value: &DeValue<'_>) -> Option<String> {
    let table = value.as_table().filter(|table| table.len() == 1)?;
    Some(table.get(KEY)?.get_ref().as_str()?.to_owned())
}
