//! CoRE link format (RFC 6690) as LwM2M uses it: the payload of Register and Update, and the answer to Discover.
//!
//! Not for what is listed: the client chooses the links, this writes and reads them.

use std::borrow::Cow;

use crate::model::{Version, default_version};
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

    /// The same link with the version of its object: quoted under LwM2M 1.0, unquoted from 1.1 on (lwm2m.md 5.1).
    #[must_use]
    pub fn with_version(self, lwm2m: Version, object: Version) -> Self {
        let text = object.to_string();
        self.with("ver", if lwm2m == Version::V1_0 { LinkValue::Quoted(text) } else { LinkValue::Token(text) })
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

/// One object as a registration lists it.
#[derive(Debug, Clone, PartialEq)]
pub struct ListedObject {
    /// The object id.
    pub id: u16,
    /// The version that is implemented.
    pub version: Version,
    /// The ids of its instances.
    pub instances: Vec<u16>,
}

/// The links of a Register or Update payload under a version of LwM2M: instances, and the object itself where its version
/// is not the default one or it has no instance. Objects 0 and 21 hold keys and are never listed.
pub fn registration(lwm2m: Version, objects: &[ListedObject]) -> Vec<Link> {
    objects.iter().filter(|object| !matches!(object.id, 0 | 21)).flat_map(|object| listed(lwm2m, object)).collect()
}

fn listed(lwm2m: Version, object: &ListedObject) -> Vec<Link> {
    let stated = object.version != default_version(object.id, lwm2m);
    let mut links = Vec::new();
    if stated || object.instances.is_empty() {
        let link = Link::new(Path::new([object.id]));
        links.push(if stated { link.with_version(lwm2m, object.version) } else { link });
    }
    links.extend(object.instances.iter().map(|instance| Link::new(Path::new([object.id, *instance]))));
    links
}

/// Writes links, separated by commas. A target or an attribute's name must suit the grammar, as paths and the names of the
/// standard do; a token that is none is written quoted.
pub fn write(links: &[Link]) -> String {
    let mut text = String::new();
    for link in links {
        if !text.is_empty() {
            text.push(',');
        }
        text.extend(["<", &link.target, ">"]);
        link.attributes.iter().for_each(|(name, value)| write_attribute(&mut text, name, value));
    }
    text
}

fn write_attribute(text: &mut String, name: &str, value: &LinkValue) {
    text.extend([";", name]);
    match value {
        LinkValue::Flag => {}
        LinkValue::Token(token) if is_token(token) => text.extend(["=", token]),
        LinkValue::Token(value) | LinkValue::Quoted(value) => {
            text.push_str("=\"");
            value.chars().for_each(|char| write_quoted(text, char));
            text.push('"');
        }
    }
}

fn write_quoted(text: &mut String, char: char) {
    if matches!(char, '"' | '\\') {
        text.push('\\');
    }
    text.push(char);
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.chars().all(is_token_char)
}

/// `ptokenchar` of RFC 6690.
fn is_token_char(char: char) -> bool {
    char.is_ascii_graphic() && !matches!(char, '"' | ',' | ';' | '\\')
}

/// `parmname` of RFC 5987, and the `*` of extended ones.
fn is_name_char(char: char) -> bool {
    char.is_ascii_alphanumeric() || "!#$&+-.^_`|~*".contains(char)
}

fn is_target_char(char: char) -> bool {
    char.is_ascii_graphic() && !matches!(char, '<' | '>' | '"')
}

/// Reads links; empty text is no link.
///
/// # Errors
/// Text that breaks the grammar of RFC 6690 or exceeds the bounds of this module.
pub fn parse(text: &str) -> Result<Vec<Link>, LinkError> {
    let mut parser = Parser { text, rest: text };
    let mut links = Vec::new();
    if text.is_empty() {
        return Ok(links);
    }
    loop {
        links.push(parser.link()?);
        if parser.rest.is_empty() {
            return Ok(links);
        }
        parser.expect(',')?;
        if links.len() == MAX_LINKS {
            return Err(LinkError::TooLarge);
        }
    }
}

struct Parser<'t> {
    text: &'t str,
    rest: &'t str,
}

impl<'t> Parser<'t> {
    fn link(&mut self) -> Result<Link, LinkError> {
        self.expect('<')?;
        let target = self.take_while(is_target_char)?.to_owned();
        self.expect('>')?;
        let mut attributes = Vec::new();
        while self.take(';') {
            if attributes.len() == MAX_ATTRIBUTES {
                return Err(LinkError::TooLarge);
            }
            attributes.push((self.some(is_name_char)?.to_owned().into(), self.value()?));
        }
        Ok(Link { target, attributes })
    }

    fn value(&mut self) -> Result<LinkValue, LinkError> {
        if !self.take('=') {
            return Ok(LinkValue::Flag);
        }
        if self.take('"') {
            return self.quoted().map(LinkValue::Quoted);
        }
        self.some(is_token_char).map(|token| LinkValue::Token(token.to_owned()))
    }

    /// What stands before the closing quotation mark, without backslashes.
    fn quoted(&mut self) -> Result<String, LinkError> {
        let mut value = String::new();
        loop {
            match self.next()? {
                '"' => return Ok(value),
                '\\' => value.push(self.next()?),
                char => value.push(char),
            }
            if value.len() > MAX_TEXT {
                return Err(LinkError::TooLarge);
            }
        }
    }

    fn next(&mut self) -> Result<char, LinkError> {
        let char = self.rest.chars().next().filter(|char| !char.is_control()).ok_or_else(|| self.malformed())?;
        self.rest = &self.rest[char.len_utf8()..];
        Ok(char)
    }

    fn some(&mut self, allowed: fn(char) -> bool) -> Result<&'t str, LinkError> {
        let taken = self.take_while(allowed)?;
        if taken.is_empty() { Err(self.malformed()) } else { Ok(taken) }
    }

    fn take_while(&mut self, allowed: fn(char) -> bool) -> Result<&'t str, LinkError> {
        let end = self.rest.find(|char| !allowed(char)).unwrap_or(self.rest.len());
        if end > MAX_TEXT {
            return Err(LinkError::TooLarge);
        }
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        Ok(taken)
    }

    fn take(&mut self, char: char) -> bool {
        self.rest.strip_prefix(char).is_some_and(|rest| {
            self.rest = rest;
            true
        })
    }

    fn expect(&mut self, char: char) -> Result<(), LinkError> {
        if self.take(char) { Ok(()) } else { Err(self.malformed()) }
    }

    fn malformed(&self) -> LinkError {
        LinkError::Malformed(self.text.len() - self.rest.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(id: u16, version: Version, instances: &[u16]) -> ListedObject {
        ListedObject { id, version, instances: instances.to_vec() }
    }

    fn listed(lwm2m: Version, firmware: Version) -> String {
        let core = if lwm2m == Version::V1_0 { Version::V1_0 } else { Version::V1_1 };
        let objects = [
            object(0, core, &[0]),
            object(1, core, &[1]),
            object(2, Version::V1_0, &[]),
            object(3, core, &[0]),
            object(5, firmware, &[0]),
        ];
        write(&registration(lwm2m, &objects))
    }

    #[test]
    fn ets_101_registration_states_versions_that_are_not_the_default() {
        assert_eq!(listed(Version::V1_0, Version::V1_0), "</1/1>,</2>,</3/0>,</5/0>");
        assert_eq!(listed(Version::V1_0, Version::V1_1), "</1/1>,</2>,</3/0>,</5>;ver=\"1.1\",</5/0>");
        assert_eq!(listed(Version::V1_1, Version::V1_1), "</1/1>,</2>,</3/0>,</5>;ver=1.1,</5/0>");
        assert_eq!(listed(Version::V1_1, Version::V1_0), "</1/1>,</2>,</3/0>,</5/0>");
        let newer = listed(Version::V1_2, Version::V1_1);
        assert_eq!(newer, "</1>;ver=1.1,</1/1>,</2>;ver=1.0,</3>;ver=1.1,</3/0>,</5/0>");
    }

    #[test]
    fn a_link_tells_its_path_and_attributes() {
        let links = parse(r#"</5>;ver="1.1";obs,</lwm2m/3>,</3/0/6>;dim=6"#).unwrap();
        assert_eq!(links[0].path(), Some(Path::new([5])));
        assert_eq!(links[0].attribute("ver"), Some(&LinkValue::Quoted("1.1".into())));
        assert_eq!(links[0].attribute("obs"), Some(&LinkValue::Flag));
        assert_eq!(links[0].attribute("dim"), None);
        assert_eq!(links[1].path(), None);
        assert_eq!(links[2].attribute("dim"), Some(&LinkValue::Token("6".into())));
        assert_eq!(parse(""), Ok(Vec::new()));
    }

    #[test]
    fn quotation_marks_do_not_end_a_value_early() {
        let link = Link::new(Path::ROOT).with("x", LinkValue::Quoted(r#"a"b\c,d;e"#.into()));
        let text = write(std::slice::from_ref(&link));
        assert_eq!(text, r#"</>;x="a\"b\\c,d;e""#);
        assert_eq!(parse(&text), Ok(vec![link]));
        let token = Link::new(Path::ROOT).with("x", LinkValue::Token("a,b".into()));
        assert_eq!(write(&[token]), r#"</>;x="a,b""#);
    }

    #[test]
    fn text_that_breaks_the_grammar_is_refused() {
        let texts = [
            (",", 0),
            ("</1>,", 5),
            ("</1", 3),
            ("/1", 0),
            ("</1> ,</2>", 4),
            ("</1>, </2>", 5),
            ("</1>;", 5),
            ("</1>;=1", 5),
            ("</1>;a=", 7),
            ("</1>;a=\"b", 9),
            ("</1>;a=b\"", 8),
            ("</1>;a=\"b\"c", 10),
            ("</<>", 2),
            ("</1>;a=\"\n\"", 8),
        ];
        for (text, at) in texts {
            assert_eq!(parse(text), Err(LinkError::Malformed(at)), "{text:?}");
        }
    }

    #[test]
    fn counts_and_lengths_are_bounded() {
        assert_eq!(parse(&vec!["</1>"; MAX_LINKS].join(",")).map(|links| links.len()), Ok(MAX_LINKS));
        assert_eq!(parse(&vec!["</1>"; MAX_LINKS + 1].join(",")), Err(LinkError::TooLarge));
        assert_eq!(parse(&format!("</1>{}", ";a".repeat(MAX_ATTRIBUTES + 1))), Err(LinkError::TooLarge));
        let long = "a".repeat(MAX_TEXT + 1);
        for text in
            [format!("<{long}>"), format!("</1>;{long}"), format!("</1>;a={long}"), format!("</1>;a=\"{long}\"")]
        {
            assert_eq!(parse(&text), Err(LinkError::TooLarge));
        }
    }
}
