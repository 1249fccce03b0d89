//! Values changed in a user's file, and nothing else of it: comments, order and spelling stay.

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};
use toml_edit::{DocumentMut, Item, Table, Value, value};

use super::ConfigError;
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
    fn paths_are_found_wherever_they_stand() {
        let text = "[a]\nb = \"/one\"\nc = [\"/two\", \"three\"]\n[[d]]\ne = { f = \"/four\" }\n";
        let paths = paths_in(Path::new("n.toml"), text).expect("TOML");
        assert_eq!(paths, ["/four", "/one", "/two"].map(PathBuf::from));
    }
}
