//! Holds a JSON document against a schema of `docs/schema`.
//!
//! Knows the part of draft 2020-12 that those files use, and panics over a keyword that it does not know. Stricter than
//! the standard in one point: a property that the schema does not name is an error, since outputs must be documented.

use std::path::Path;

use serde_json::{Map, Value};

const ANNOTATIONS: [&str; 5] = ["$schema", "$id", "$defs", "title", "description"];

/// What is wrong with a document, by the schema that it names itself.
pub(crate) fn check(document: &Value) -> Result<(), String> {
    let name = document["schema"].as_str().ok_or("the document names no schema")?;
    let file = format!("{}.json", name.replace('/', "-"));
    let schema = load(&file);
    Checker { file, root: schema.clone() }.value(document, &schema, "")
}

fn load(file: &str) -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/schema").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

struct Checker {
    file: String,
    root: Value,
}

impl Checker {
    fn value(&self, value: &Value, schema: &Value, at: &str) -> Result<(), String> {
        let schema = schema.as_object().unwrap_or_else(|| panic!("{}: a schema is an object", self.file));
        for (keyword, rule) in schema.iter().filter(|(keyword, _)| !ANNOTATIONS.contains(&keyword.as_str())) {
            self.keyword(keyword, rule, value, schema, at)?;
        }
        Ok(())
    }

    fn keyword(
        &self,
        keyword: &str,
        rule: &Value,
        value: &Value,
        schema: &Map<String, Value>,
        at: &str,
    ) -> Result<(), String> {
        let require =
            |right: bool| right.then_some(()).ok_or_else(|| format!("{at}: {value} against {keyword} {rule}"));
        match keyword {
            "$ref" => self.reference(rule.as_str().expect("a reference is text"), value, at),
            "type" => require(types(rule).any(|kind| is(value, kind))),
            "const" => require(value == rule),
            "enum" => require(rule.as_array().expect("a list").contains(value)),
            "minimum" => require(value.as_i64().is_none_or(|number| number >= rule.as_i64().expect("a number"))),
            "maximum" => require(value.as_i64().is_none_or(|number| number <= rule.as_i64().expect("a number"))),
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().expect("text")).expect("a pattern");
                require(value.as_str().is_none_or(|text| pattern.is_match(text)))
            }
            "required" => types(rule).try_for_each(|name| match value.get(name) {
                None if value.is_object() => Err(format!("{at}: `{name}` is missing")),
                _ => Ok(()),
            }),
            "properties" => self.properties(rule, value, at),
            "items" => value
                .as_array()
                .into_iter()
                .flatten()
                .enumerate()
                .try_for_each(|(number, item)| self.value(item, rule, &format!("{at}[{number}]"))),
            "oneOf" => self.one_of(rule, value, at),
            other => panic!("{}: keyword {other} in {schema:?} is not known here", self.file),
        }
    }

    fn properties(&self, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
        value.as_object().into_iter().flatten().try_for_each(|(name, value)| match rule.get(name) {
            Some(schema) => self.value(value, schema, &format!("{at}.{name}")),
            None => Err(format!("{at}: `{name}` is not documented")),
        })
    }

    fn one_of(&self, rule: &Value, value: &Value, at: &str) -> Result<(), String> {
        let told: Vec<_> = rule.as_array().expect("a list").iter().map(|one| self.value(value, one, at)).collect();
        match told.iter().filter(|one| one.is_ok()).count() {
            1 => Ok(()),
            0 => Err(told.into_iter().filter_map(Result::err).collect::<Vec<_>>().join(" | ")),
            several => Err(format!("{at}: {several} alternatives fit")),
        }
    }

    fn reference(&self, reference: &str, value: &Value, at: &str) -> Result<(), String> {
        let (file, pointer) = reference.split_once('#').expect("a reference has a fragment");
        let checker = match file {
            "" => Self { file: self.file.clone(), root: self.root.clone() },
            other => Self { file: other.to_owned(), root: load(other) },
        };
        let schema = checker.root.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere")).clone();
        checker.value(value, &schema, at)
    }
}

fn types(rule: &Value) -> Box<dyn Iterator<Item = &str> + '_> {
    match rule {
        Value::String(one) => Box::new(std::iter::once(one.as_str())),
        several => Box::new(several.as_array().into_iter().flatten().filter_map(Value::as_str)),
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other} is not known here"),
    }
}

#[test]
fn a_document_is_held_against_its_schema() {
    let right = serde_json::json!({ "schema": "error/1", "exit_code": 3, "message": "m", "hint": null });
    assert_eq!(check(&right), Ok(()));
    for (key, wrong) in [("exit_code", 0.into()), ("message", Value::Null), ("unheard_of", 1.into())] {
        let mut document = right.clone();
        document[key] = wrong;
        assert!(check(&document).is_err(), "{document}");
    }
    let missing = serde_json::json!({ "schema": "error/1", "exit_code": 3, "message": "m" });
    assert!(check(&missing).is_err());
}
