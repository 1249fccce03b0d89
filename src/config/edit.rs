//! Values changed in a user's file, and nothing else of it: comments, order and spelling stay.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml_edit::{DocumentMut, Item, Table, TableLike, Value, value};

use super::ConfigError;
use super::secrets;
use super::source::Source;

/// A value of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setting {
    /// Text.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
}

/// The text with these keys, `(section, key)`, set; a section that is not there is added.
///
/// # Errors
/// Where the text is no TOML, or a section is something else in it.
pub fn with_values(text: &str, values: &[(&str, &str, Setting)]) -> Result<String, String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    for (section, key, setting) in values {
        let table = document.entry(section).or_insert_with(|| Item::Table(Table::new()));
        let table = table.as_table_like_mut().ok_or_else(|| format!("`{section}` is no section"))?;
        let new = match setting {
            Setting::Text(text) => value(text),
            Setting::List(list) => Item::Value(Value::from_iter(list.iter().map(String::as_str))),
        };
        match (table.get_mut(key).and_then(Item::as_value_mut), new) {
            // What stands around the value, a comment behind it for one.
            (Some(old), Item::Value(mut new)) => {
                *new.decor_mut() = old.decor().clone();
                *old = new;
            }
            (_, new) => drop(table.insert(key, new)),
        }
    }
    Ok(document.to_string())
}

/// The text with every path into a folder leading into another one, and the keys of those.
///
/// # Errors
/// Where the text is no TOML.
pub fn with_folder_moved(text: &str, from: &Path, to: &Path) -> Result<(String, Vec<String>), String> {
    let mut document: DocumentMut = text.parse().map_err(|error| format!("{error}"))?;
    let mut moving = Moving { from, to, changed: Vec::new() };
    moving.table("", document.as_table_mut());
    Ok((document.to_string(), moving.changed))
}

struct Moving<'p> {
    from: &'p Path,
    to: &'p Path,
    changed: Vec<String>,
}

impl Moving<'_> {
    fn table(&mut self, above: &str, table: &mut dyn TableLike) {
        for (key, item) in table.iter_mut() {
            let path = if above.is_empty() { key.to_string() } else { format!("{above}.{key}") };
            match item {
                Item::Value(value) => self.value(&path, value),
                Item::Table(table) => self.table(&path, table),
                Item::ArrayOfTables(tables) => {
                    for (number, table) in tables.iter_mut().enumerate() {
                        self.table(&format!("{path}[{number}]"), table);
                    }
                }
                Item::None => {}
            }
        }
    }

    fn value(&mut self, path: &str, value: &mut Value) {
        match value {
            Value::String(text) => {
                let Ok(rest) = Path::new(text.value()).strip_prefix(self.from) else { return };
                // Joined to nothing, a path would end in a slash.
                let moved = if rest.as_os_str().is_empty() { self.to.to_owned() } else { self.to.join(rest) };
                let mut new = Value::from(moved.to_string_lossy().as_ref());
                *new.decor_mut() = text.decor().clone();
                *value = new;
                self.changed.push(path.to_owned());
            }
            Value::Array(items) => {
                items.iter_mut().enumerate().for_each(|(number, item)| self.value(&format!("{path}[{number}]"), item));
            }
            Value::InlineTable(table) => self.table(path, table),
            _ => {}
        }
    }
}

/// The absolute paths that a text of a configuration names, whatever they are for.
///
/// # Errors
/// Where the text is no TOML.
pub fn paths_in(file: &Path, text: &str) -> Result<Vec<PathBuf>, ConfigError> {
    let (_, table) = Source::parse(file, text).map_err(ConfigError::new)?;
    let mut paths = Vec::new();
    collect_table(&table, &mut paths);
    paths.sort();
    paths.dedup();
    Ok(paths)
}

/// The names of the credentials that a text of a configuration names.
///
/// # Errors
/// Where the text is no TOML.
pub fn credentials_in(file: &Path, text: &str) -> Result<Vec<String>, ConfigError> {
    let (_, table) = Source::parse(file, text).map_err(ConfigError::new)?;
    let (mut waiting, mut names) = (table.iter().map(|(_, value)| value.get_ref()).collect::<Vec<_>>(), Vec::new());
    while let Some(value) = waiting.pop() {
        match (secrets::named(value), value) {
            (Some(name), _) => names.push(name),
            (None, DeValue::Table(table)) => waiting.extend(table.iter().map(|(_, value)| value.get_ref())),
            (None, DeValue::Array(array)) => waiting.extend(array.iter().map(toml::Spanned::get_ref)),
            (None, _) => {}
        }
    }
    names.sort();
    names.dedup();
    Ok(names)
}

fn collect_table(table: &DeTable<'_>, paths: &mut Vec<PathBuf>) {
    table.iter().for_each(|(_, value)| collect(value.get_ref(), paths));
}

fn collect(value: &DeValue<'_>, paths: &mut Vec<PathBuf>) {
    match value {
        DeValue::String(text) if text.starts_with('/') => paths.push(PathBuf::from(text.as_ref())),
        DeValue::Table(table) => collect_table(table, paths),
        DeValue::Array(array) => array.iter().for_each(|item| collect(item.get_ref(), paths)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::parse;

    const TEXT: &str = "# mine\n[gateway]\nname = \"pi\" # the first\n\n[serial]\nwatch = []\n";

    #[test]
    fn only_what_is_set_changes_and_comments_stay() {
        let text = |text: &str| Setting::Text(text.to_owned());
        let set = [
            ("gateway", "name", text("other")),
            ("gateway", "state", text("/new \"state\"")),
            ("download", "ca", Setting::List(vec!["/a".to_owned(), "/b".to_owned()])),
        ];
        let changed = with_values(TEXT, &set).expect("changed");
        assert_eq!(
            changed,
            "# mine\n[gateway]\nname = \"other\" # the first\nstate = '/new \"state\"'\n\n[serial]\nwatch = []\n\n\
             [download]\nca = [\"/a\", \"/b\"]\n"
        );
        let config = parse(Path::new("/x/n.toml"), Some(&changed)).expect("valid");
        assert_eq!(config.gateway.state, Path::new("/new \"state\""));
    }

    #[test]
    fn sections_written_otherwise_are_understood() {
        let set = [("gateway", "state", Setting::Text("/s".to_owned()))];
        for text in ["", "gateway = { name = \"pi\" }", "gateway.name = \"pi\"\n"] {
            let changed = with_values(text, &set).expect(text);
            let config = parse(Path::new("/x/n.toml"), Some(&changed)).expect(&changed);
            assert_eq!(config.gateway.state, Path::new("/s"), "{changed}");
        }
        with_values("gateway = 1", &set).expect_err("no section");
    }

    #[test]
    fn what_leads_into_a_folder_leads_into_another_one() {
        let text = "[a]\nb = \"/old\" # here\nc = [\"/old/x\", \"/older\"]\n[[d]]\ne = { f = \"/old/y/z\" }\n";
        let (moved, changed) = with_folder_moved(text, Path::new("/old"), Path::new("/new/er")).expect("TOML");
        assert_eq!(
            moved,
            "[a]\nb = \"/new/er\" # here\nc = [\"/new/er/x\", \"/older\"]\n[[d]]\ne = { f = \"/new/er/y/z\" }\n"
        );
        assert_eq!(changed, ["a.b", "a.c[0]", "d[0].e.f"]);
    }

    #[test]
    fn credentials_are_found_wherever_they_stand() {
        let text = "[a]\nb = { credential = \"one\" }\nc = [{ credential = \"two\" }, \"three\"]\n[[d]]\ne = { credential = \"one\" }\n\
                    [d.f]\ncredential = \"x\"\nmore = 1\n";
        assert_eq!(credentials_in(Path::new("n.toml"), text).expect("TOML"), ["one", "two"]);
    }

    #[test]
    fn paths_are_found_wherever_they_stand() {
        let text = "[a]\nb = \"/one\"\nc = [\"/two\", \"three\"]\n[[d]]\ne = { f = \"/four\" }\n";
        let paths = paths_in(Path::new("n.toml"), text).expect("TOML");
        assert_eq!(paths, ["/four", "/one", "/two"].map(PathBuf::from));
    }
}
