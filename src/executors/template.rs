//! Argument templates: one template is one argument, whatever the values hold.
//!
//! `{name}` stands for a variable, `{{` and `}}` for the braces themselves. There is no shell and no splitting, neither
//! before nor after the values are put in. Used by `tool` (at load, to check the names) and by `command`.

use std::ops::Range;

/// One argument with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Piece>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(String),
    Variable(String),
}

/// What is wrong with a template, and which bytes of it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(super) struct TemplateError {
    pub(super) at: Range<usize>,
    message: &'static str,
}

/// Why a template could not be filled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum RenderError {
    /// Nobody gave the variable a value.
    #[error("variable `{0}` has no value")]
    Missing(String),
    /// A value alone would decide that the argument is an option.
    #[error("the value `{value}` of `{variable}` begins with `-` and would be taken for an option")]
    Option { variable: String, value: String },
}

impl Template {
    /// Reads a template.
    pub(super) fn parse(text: &str) -> Result<Self, TemplateError> {
        let mut pieces = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(brace) = rest.find(['{', '}']) {
            literal.push_str(&rest[..brace]);
            let at = text.len() - rest.len() + brace;
            let tail = &rest[brace..];
            rest = match tail.get(..2) {
                Some(double @ ("{{" | "}}")) => {
                    literal.push_str(&double[..1]);
                    &tail[2..]
                }
                _ => {
                    let name = variable_name(tail).map_err(|message| TemplateError { at: at..at + 1, message })?;
                    if !literal.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut literal)));
                    }
                    pieces.push(Piece::Variable(name.to_owned()));
                    &tail[name.len() + 2..]
                }
            };
        }
        literal.push_str(rest);
        if !literal.is_empty() || pieces.is_empty() {
            pieces.push(Piece::Text(literal));
        }
        Ok(Self(pieces))
    }

    /// The names of its variables.
    pub(super) fn variables(&self) -> impl Iterator<Item = &str> {
        self.0.iter().filter_map(|piece| match piece {
            Piece::Variable(name) => Some(name.as_str()),
            Piece::Text(_) => None,
        })
    }

    /// The argument with every value put in.
    pub(super) fn render<'v>(&self, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, RenderError> {
        let mut argument = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => argument.push_str(text),
                Piece::Variable(name) => {
                    let value = value(name).ok_or_else(|| RenderError::Missing(name.clone()))?;
                    if argument.is_empty() && value.starts_with('-') {
                        return Err(RenderError::Option { variable: name.clone(), value: value.to_owned() });
                    }
                    argument.push_str(value);
                }
            }
        }
        Ok(argument)
    }
}

/// The name at the head of `{name}...`.
fn variable_name(text: &str) -> Result<&str, &'static str> {
    let inner = text.strip_prefix('{').ok_or("`}` without `{`: write `}}` for the brace itself")?;
    let end = inner.find('}').ok_or("`{` without `}`: write `{{` for the brace itself")?;
    let name = &inner[..end];
    let right = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || !name.chars().all(right) {
        return Err("expected a variable's name between the braces: letters, digits, `_`, `-` and `.`");
    }
    Ok(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn render(template: &str) -> Result<String, RenderError> {
        let value = |name: &str| match name {
            "port.path" => Some("/dev/tty with spaces; $(rm) \"x\""),
            "empty" => Some(""),
            "dash" => Some("-x"),
            _ => None,
        };
        Template::parse(template).expect("a template").render(value)
    }

    #[test]
    fn a_value_stays_one_argument_whatever_it_holds() {
        assert_eq!(render("-P{port.path}").as_deref(), Ok("-P/dev/tty with spaces; $(rm) \"x\""));
        assert_eq!(render("{empty}").as_deref(), Ok(""));
        assert_eq!(render("").as_deref(), Ok(""));
    }

    #[test]
    fn doubled_braces_are_braces() {
        assert_eq!(render("{{a}}{empty}{{").as_deref(), Ok("{a}{"));
    }

    #[test]
    fn a_value_cannot_become_an_option() {
        assert!(matches!(render("{dash}"), Err(RenderError::Option { .. })));
        assert!(matches!(render("{empty}{dash}"), Err(RenderError::Option { .. })));
        assert_eq!(render("title={dash}").as_deref(), Ok("title=-x"));
    }

    #[test]
    fn a_missing_value_is_told_by_name() {
        assert_eq!(render("{nobody}"), Err(RenderError::Missing("nobody".to_owned())));
    }

    #[test]
    fn a_broken_template_is_told_by_place() {
        for (text, at) in [("ab{", 2), ("a}b", 1), ("{}", 0), ("x{a b}", 1), ("{a{b}", 0), ("{ü}", 0)] {
            assert_eq!(Template::parse(text).map_err(|error| error.at.start), Err(at), "{text}");
        }
    }
}
