//! The regular expressions of a tool file, compiled together, so that one pass over a block of output tells whether any
//! of them occurs in it.
//!
//! They match single lines of output as bytes: `^` and `$` are a line's ends, `\d`, `\s`, `\w` and `(?i)` know ASCII
//! only. Linear time whatever the output is. Used by `checked` (to compile) and `scanner` (to match).

use regex::bytes::{Regex, RegexBuilder, RegexSet, RegexSetBuilder};

/// Largest compiled expression in bytes: a tool file must not eat memory.
const MAX_COMPILED: usize = 1 << 20;
/// Largest lazy automaton in bytes.
const MAX_AUTOMATON: usize = 1 << 20;
/// Longest expression in bytes.
const MAX_LENGTH: usize = 2048;

/// Which expression of a tool.
pub(super) type PatternId = usize;

/// All expressions of one tool.
#[derive(Debug, Default)]
pub(super) struct Patterns {
    set: RegexSet,
    each: Vec<Regex>,
}

impl Patterns {
    /// Compiles the set over expressions that [`compile`] took.
    pub(super) fn new(each: Vec<Regex>) -> Result<Self, String> {
        let set = RegexSetBuilder::new(each.iter().map(Regex::as_str))
            .multi_line(true)
            .crlf(true)
            .unicode(false)
            .size_limit(MAX_COMPILED * 8)
            .dfa_size_limit(MAX_AUTOMATON * 4)
            .build()
            .map_err(|error| error.to_string())?;
        Ok(Self { set, each })
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.each.len()
    }

    /// One of them.
    pub(super) fn get(&self, id: PatternId) -> &Regex {
        &self.each[id]
    }

    /// Whether any occurs in a block of whole lines.
    pub(super) fn occur_in(&self, block: &[u8]) -> bool {
        self.set.is_match(block)
    }

    /// Those that match a line.
    pub(super) fn matching(&self, line: &[u8]) -> impl Iterator<Item = PatternId> + use<> {
        self.set.matches(line).into_iter()
    }
}

/// Compiles one expression, or says in one line why not.
pub(super) fn compile(text: &str) -> Result<Regex, String> {
    if text.len() > MAX_LENGTH {
        return Err(format!("a pattern has at most {MAX_LENGTH} bytes"));
    }
    // The set looks at many lines at once, where these would mean the block's ends and not the line's.
    if text.contains("\\A") || text.contains("\\z") {
        return Err("`\\A` and `\\z` are not supported: `^` and `$` are the ends of a line".to_owned());
    }
    let regex = RegexBuilder::new(text)
        .multi_line(true)
        .crlf(true)
        .unicode(false)
        .size_limit(MAX_COMPILED)
        .dfa_size_limit(MAX_AUTOMATON)
        .build()
        .map_err(|error| one_line(&error))?;
    if regex.is_match(b"") {
        return Err("this pattern matches an empty line, and so every line".to_owned());
    }
    Ok(regex)
}

/// The last line of a syntax error says what is wrong; the others draw the place, which the caller does better.
fn one_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    format!("not a regular expression: {}", last.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_matches_a_line_occurs_in_a_block_that_holds_it() {
        let each = ["^b+$", "x.y"].map(|text| compile(text).expect("valid")).into();
        let patterns = Patterns::new(each).expect("small");
        assert!(patterns.occur_in(b"aaa\r\nbbb\rccc\n"));
        assert!(!patterns.occur_in(b"ab\nx\ny\nx\ry\n"), "a dot does not cross a line's end");
        assert_eq!(patterns.matching(b"bb").collect::<Vec<_>>(), [0]);
        assert_eq!(patterns.len(), 2);
    }

    #[test]
    fn a_useless_or_dangerous_pattern_is_refused() {
        for text in ["", "a*", "\\Aa", "a{1000}{1000}", "(", "(?=a)"] {
            let error = compile(text).expect_err(text);
            assert!(!error.contains('\n'), "{error}");
        }
    }
}
