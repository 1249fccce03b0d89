//! An error in a file that a person wrote, drawn so that they find it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What is wrong in a configuration, board or tool file: where, which key, what was expected, and the line itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileError {
    /// The file, or `(built in) NAME` for an embedded one.
    pub file: PathBuf,
    /// Line, from 1; 0 when the whole file is meant.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// Dotted path of the key, e.g. `server[1].lifetime`; empty when the file does not parse at all.
    pub key: String,
    /// What is wrong and what was expected.
    pub message: String,
    /// What to do, where one can tell.
    pub hint: Option<String>,
    /// The line's text.
    snippet: String,
    /// How many characters to underline.
    width: usize,
}

impl FileError {
    /// An error at a byte range of a file's text; `span` may be empty or reach past the end.
    pub fn at(file: &Path, text: &str, span: Range<usize>, key: impl Into<String>, message: impl Into<String>) -> Self {
        let start = floor_boundary(text, span.start);
        let end = floor_boundary(text, span.end.max(start));
        let line_start = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let count = |part: &str| part.chars().count();
        Self {
            file: file.to_owned(),
            line: text[..start].matches('\n').count() + 1,
            column: count(&text[line_start..start]) + 1,
            key: key.into(),
            message: message.into(),
            hint: None,
            snippet: text[line_start..line_end].trim_end().chars().take(160).collect(),
            width: count(&text[start..end.min(line_end).max(start)]).max(1),
        }
    }

    /// An error about a file as a whole: unreadable, missing.
    pub fn whole(file: &Path, message: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: 0,
            column: 0,
            key: String::new(),
            message: message.into(),
            hint: None,
            snippet: String::new(),
            width: 0,
        }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The nearest character boundary at or before a byte offset.
fn floor_boundary(text: &str, offset: usize) -> usize {
    (0..=offset.min(text.len())).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0)
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        if self.line == 0 {
            write!(f, "{}: {key}{}", self.file.display(), self.message)?;
        } else {
            writeln!(f, "{}:{}:{}: {key}{}", self.file.display(), self.line, self.column, self.message)?;
            let number = self.line.to_string();
            let gutter = " ".repeat(number.len());
            writeln!(f, "{gutter} |")?;
            writeln!(f, "{number} | {}", self.snippet)?;
            write!(f, "{gutter} | {}{}", " ".repeat(self.column - 1), "^".repeat(self.width))?;
        }
        self.hint.as_ref().map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_drawn_under_its_line() {
        let text = "[gateway]\nnmae = \"pi\"\n";
        let error =
            FileError::at(Path::new("nuncio.toml"), text, 10..14, "gateway.nmae", "unknown key").with_hint("`name`?");
        assert_eq!(
            error.to_string(),
            "nuncio.toml:2:1: gateway.nmae: unknown key\n  |\n2 | nmae = \"pi\"\n  | ^^^^\n  hint: `name`?"
        );
    }

    #[test]
    fn any_span_is_safe() {
        for span in [0..0, 3..3, 5..500, 500..600] {
            assert!(!FileError::at(Path::new("f"), "a = \"ü\"\n", span, "", "m").to_string().is_empty());
        }
    }
}
