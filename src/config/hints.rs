//! From serde's words to the operator's: what was expected, and what was probably meant.

use std::ops::RangeInclusive;

use crate::device::FileError;

/// The key that serde misses, when that is what it says.
pub(super) fn missing_field(message: &str) -> Option<&str> {
    message.strip_prefix("missing field `")?.split('`').next()
}

/// Gives an error its message and, where one can tell, its hint.
pub(super) fn explain(mut error: FileError, said: &str) -> FileError {
    if let Some(field) = missing_field(said) {
        let key = if error.key.is_empty() { field.to_owned() } else { format!("{}.{field}", error.key) };
        error.key = key;
        error.message = format!("`{field}` is missing");
        return error;
    }
    if let Some((kind, wrong, known)) = unknown(said) {
        error.message = format!("unknown {kind} `{wrong}`");
        let known: Vec<&str> = known.iter().map(String::as_str).collect();
        let hint = match nearest(&wrong, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("expected one of: {}", known.join(", ")),
        };
        return error.with_hint(hint);
    }
    let (message, hint) = translate(said);
    error.message = message;
    match hint {
        Some(hint) => error.with_hint(hint),
        None => error,
    }
}

/// ``unknown field `x`, expected one of `a`, `b` ``: key or value, the wrong word, the known ones.
fn unknown(said: &str) -> Option<(&'static str, String, Vec<String>)> {
    let (kind, rest) = match said.strip_prefix("unknown field `") {
        Some(rest) => ("key", rest),
        None => ("value", said.strip_prefix("unknown variant `")?),
    };
    let (wrong, expected) = rest.split_once("`, expected ").or_else(|| rest.split_once("`, there are no "))?;
    let known = expected.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    Some((kind, wrong.to_owned(), known))
}

/// ``invalid type: integer `30`, expected a string``.
fn translate(said: &str) -> (String, Option<String>) {
    let stripped = said.strip_prefix("invalid type: ").or_else(|| said.strip_prefix("invalid value: "));
    let Some((found, expected)) = stripped.and_then(|rest| rest.rsplit_once(", expected ")) else {
        return (said.to_owned(), None);
    };
    let hint = match (found.split_once(' '), expected) {
        (Some(("integer", number)), "a string") => {
            let number = number.trim_matches('`');
            Some(format!("text is written in quotes, a duration with its unit: \"{number}s\""))
        }
        (Some(("string", text)), "a sequence") => Some(format!("a list is written in brackets: [{text}]")),
        (Some(("string", text)), "a boolean") if text == "\"true\"" || text == "\"false\"" => {
            Some("write it without the quotes".to_owned())
        }
        _ => None,
    };
    (format!("expected {}, found {}", wanted(expected), seen(found)), hint)
}

fn wanted(expected: &str) -> String {
    let whole = |range: RangeInclusive<u64>| format!("a whole number from {} to {}", range.start(), range.end());
    match expected {
        "u8" => whole(0..=u64::from(u8::MAX)),
        "u16" => whole(0..=u64::from(u16::MAX)),
        "u32" => whole(0..=u64::from(u32::MAX)),
        "u64" => "a whole number that is not negative".to_owned(),
        "a string" | "a borrowed string" | "path string" => "text in quotes".to_owned(),
        "a boolean" => "true or false".to_owned(),
        "a sequence" => "a list".to_owned(),
        other => other.to_owned(),
    }
}

fn seen(found: &str) -> String {
    match found.split_once(' ') {
        Some(("integer" | "boolean", value)) => value.trim_matches('`').to_owned(),
        Some(("floating", value)) => value.trim_start_matches("point ").trim_matches('`').to_owned(),
        Some(("string", value)) => format!("the text {value}"),
        _ if found == "sequence" => "a list".to_owned(),
        _ if found == "map" => "a table".to_owned(),
        _ => found.to_owned(),
    }
}

/// The known word that was probably meant: near enough, and nearer than any other.
pub(super) fn nearest<'k>(wrong: &str, known: &[&'k str]) -> Option<&'k str> {
    let limit = (wrong.chars().count() / 3).max(1);
    let mut rated: Vec<(usize, &str)> = known.iter().map(|&word| (distance(wrong, word), word)).collect();
    rated.sort_unstable();
    match rated.as_slice() {
        [(first, _), (second, _), ..] if first == second => None,
        [(first, word), ..] if *first <= limit => Some(word),
        _ => None,
    }
}

/// Edits from one word to the other: insert, delete, replace, or swap two neighbours.
fn distance(one: &str, other: &str) -> usize {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().take(64).collect(), other.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, b) in other.iter().enumerate() {
            let mut best = (last[j] + usize::from(a != b)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && *a == other[j - 1] && one[i - 1] == *b {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_word() {
        let known = ["lifetime", "name", "uri", "short_id"];
        assert_eq!(nearest("lifetme", &known), Some("lifetime"));
        assert_eq!(nearest("nmae", &known), Some("name"));
        assert_eq!(nearest("short-id", &known), Some("short_id"));
        assert_eq!(nearest("password", &known), None);
        assert_eq!(nearest("1.3", &["1.0", "1.1"]), None, "two are equally near");
    }

    #[test]
    fn distances_are_counted_in_edits() {
        assert_eq!(distance("", "abc"), 3);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("abc", "acb"), 1);
        assert_eq!(distance("kitten", "sitting"), 3);
    }

    #[test]
    fn words_that_are_not_known_pass_unchanged() {
        assert_eq!(translate("something else").0, "something else");
    }
}
