//! One TOML text with the place of every key, so that an error found anywhere can be drawn where it was written.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use crate::device::FileError;

/// Syntax errors told at once; further ones are mostly echoes of the first.
const MAX_SYNTAX_ERRORS: usize = 3;

/// A parsed file.
#[derive(Debug, Clone)]
pub(super) struct Source {
    file: PathBuf,
    text: String,
    places: BTreeMap<String, Place>,
}

/// Where a key and its value stand, in bytes.
#[derive(Debug, Clone)]
struct Place {
    key: Range<usize>,
    value: Range<usize>,
}

impl Source {
    /// Parses a text: its places and its content.
    ///
    /// # Errors
    /// Its syntax errors.
    pub(super) fn parse<'t>(file: &Path, text: &'t str) -> Result<(Self, DeTable<'t>), Vec<FileError>> {
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(errors.iter().take(MAX_SYNTAX_ERRORS).map(|error| syntax(file, text, error)).collect());
        }
        let table = table.into_inner();
        let mut places = BTreeMap::new();
        index_table("", &table, &mut places);
        Ok((Self { file: file.to_owned(), text: text.to_owned(), places }, table))
    }

    /// Its path.
    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    /// Its text.
    pub(super) fn text(&self) -> &str {
        &self.text
    }

    /// Whether a key was written here.
    pub(super) fn knows(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// An error at a key's value, or at the nearest table above it that is written here.
    pub(super) fn error_at(&self, key: &str, message: impl Into<String>) -> FileError {
        match self.nearest(key) {
            Some(place) => FileError::at(&self.file, &self.text, place.value.clone(), key, message),
            None => {
                let mut error = FileError::whole(&self.file, message);
                key.clone_into(&mut error.key);
                error
            }
        }
    }

    /// An error at a byte range; the key is the one written there.
    pub(super) fn error_in(&self, span: Range<usize>, message: impl Into<String>) -> FileError {
        let key = self.key_of(&span).unwrap_or_default();
        FileError::at(&self.file, &self.text, span, key, message)
    }

    /// The key that a byte range belongs to: the innermost whose name or value holds it.
    pub(super) fn key_of(&self, span: &Range<usize>) -> Option<String> {
        let holds = |range: &Range<usize>| range.start <= span.start && span.end <= range.end;
        let held_by = |place: &Place| {
            if holds(&place.key) { Some(place.key.len()) } else { holds(&place.value).then(|| place.value.len()) }
        };
        let holders = self.places.iter().filter_map(|(key, place)| Some((held_by(place)?, Reverse(key.len()), key)));
        holders.min().map(|(_, _, key)| key.clone())
    }

    fn nearest(&self, key: &str) -> Option<&Place> {
        let mut key = key;
        loop {
            if let Some(place) = self.places.get(key) {
                return Some(place);
            }
            key = &key[..key.rfind(['.', '['])?];
        }
    }
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> FileError {
    let span = error.span().unwrap_or(0..0);
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    FileError::at(file, text, span, "", message)
}

fn index_table(above: &str, table: &DeTable<'_>, places: &mut BTreeMap<String, Place>) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if above.is_empty() { name.to_string() } else { format!("{above}.{name}") };
        places.insert(path.clone(), Place { key: key.span(), value: value.span() });
        index_value(&path, value.get_ref(), places);
    }
}

fn index_value(path: &str, value: &DeValue<'_>, places: &mut BTreeMap<String, Place>) {
    match value {
        DeValue::Table(table) => index_table(path, table, places),
        DeValue::Array(array) => {
            for (number, item) in array.iter().enumerate() {
                let path = format!("{path}[{number}]");
                places.insert(path.clone(), Place { key: item.span(), value: item.span() });
                index_value(&path, item.get_ref(), places);
            }
        }
        _ => {}
    }
}
