//! `nuncio.toml(5)`, made of the embedded configuration: its comments are the manual's text.
//!
//! What it relies on, and `config/nuncio.toml` keeps to: blocks stand apart by blank lines; in a block the comment comes first
//! and the keys that it is about follow, `# key = value` where there is no default; a block with `# [[NAME]]` is an
//! introduction and then an example, to be shown as it is.

use clap_mangen::roff::{Roff, bold, roman};

/// The page, as roff.
pub(super) fn of_configuration(text: &str) -> String {
    let mut page = Roff::new();
    page.control("TH", ["nuncio.toml", "5", "", concat!("nuncio ", env!("CARGO_PKG_VERSION")), "Nuncio"]);
    heading(&mut page, "NAME");
    page.text([roman("nuncio.toml - configuration of the Nuncio gateway")]);
    heading(&mut page, "SYNOPSIS");
    page.text([roman(nuncio::config::DEFAULT_FILE)]);
    heading(&mut page, "DESCRIPTION");
    for block in text.split("\n\n").map(str::trim).filter(|block| !block.is_empty()) {
        self::block(&mut page, &block.lines().map(Line::of).collect::<Vec<_>>());
    }
    heading(&mut page, "SEE ALSO");
    page.text([bold("nuncio"), roman("(1), "), bold("nuncio-check"), roman("(1)")]);
    page.render()
}

/// One line of the configuration.
#[derive(Debug, PartialEq, Eq)]
enum Line<'t> {
    /// `[section]`
    Section(&'t str),
    /// `key = value`, live or behind `# `.
    Key(&'t str),
    /// `# [[name]]`: what follows is an example.
    Entry(&'t str),
    /// A comment, without its `# `.
    Told(&'t str),
    /// The line between two paragraphs of a comment.
    Empty,
}

impl<'t> Line<'t> {
    fn of(line: &'t str) -> Self {
        let comment = line.strip_prefix('#').map(|rest| rest.strip_prefix(' ').unwrap_or(rest));
        match comment {
            None if line.starts_with('[') => Self::Section(line),
            None => Self::Key(line),
            Some("") => Self::Empty,
            Some(told) if told.starts_with("[[") => Self::Entry(told),
            Some(told) if is_key(told) => Self::Key(told),
            Some(told) => Self::Told(told),
        }
    }
}

/// `name = ...`: prose has no word like a key's before an equals sign.
fn is_key(line: &str) -> bool {
    let word = |c: char| c.is_ascii_lowercase() || c == '_';
    line.split_once(" = ").is_some_and(|(key, _)| !key.is_empty() && key.chars().all(word))
}

fn block(page: &mut Roff, lines: &[Line<'_>]) {
    if let Some(Line::Entry(name)) = lines.iter().find(|line| matches!(line, Line::Entry(_))) {
        return entry(page, name, lines);
    }
    if let Some(Line::Section(name)) = lines.iter().find(|line| matches!(line, Line::Section(_))) {
        heading(page, name);
    }
    let keys: Vec<&str> =
        lines.iter().filter_map(|line| if let Line::Key(key) = line { Some(*key) } else { None }).collect();
    if let Some((last, first)) = keys.split_last() {
        for key in first {
            page.control("TP", []).text([bold(*key)]).control("PD", ["0"]);
        }
        page.control("TP", []).text([bold(*last)]).control("PD", []);
    }
    let told = lines.iter().any(|line| matches!(line, Line::Told(_)));
    if keys.is_empty() && told {
        page.control("PP", []);
    }
    comment(page, lines, if keys.is_empty() { "PP" } else { "IP" });
}

/// An introduction, and the example as it stands.
fn entry(page: &mut Roff, name: &str, lines: &[Line<'_>]) {
    let start = lines.iter().position(|line| matches!(line, Line::Entry(_))).unwrap_or(lines.len());
    heading(page, name);
    comment(page, &lines[..start], "PP");
    page.control("nf", []);
    for line in &lines[start..] {
        let text = match line {
            Line::Section(text) | Line::Key(text) | Line::Entry(text) | Line::Told(text) => text,
            Line::Empty => "",
        };
        page.text([roman(text)]);
    }
    page.control("fi", []);
}

/// The comments among lines: prose is filled, indented lines stay lines, `between` parts paragraphs.
fn comment(page: &mut Roff, lines: &[Line<'_>], between: &'static str) {
    let mut as_it_is = false;
    for line in lines {
        let (text, indented) = match line {
            Line::Told(text) => (*text, text.starts_with("  ")),
            Line::Empty => ("", false),
            Line::Section(_) | Line::Key(_) | Line::Entry(_) => continue,
        };
        if indented != as_it_is {
            page.control(if indented { "nf" } else { "fi" }, []);
            as_it_is = indented;
        }
        if text.is_empty() {
            page.control(between, []);
        } else {
            page.text([roman(text)]);
        }
    }
    if as_it_is {
        page.control("fi", []);
    }
}

fn heading(page: &mut Roff, name: &str) {
    page.control("SH", [name]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_become_the_text_of_the_keys_below_them() {
        let text = "# What it is.\n#\n# More.\n\n[a]\n\n# Of b:\n#   \"x\"  one\n#   \"y\"  other\n# and so on.\nb = \"x\"\n\n# Of c.\n# c = 1\nd = 2\n\n\
                    # One [[e]] for each.\n#\n# [[e]]\n# f = 1    # why\n#            # because\n";
        let page = of_configuration(text);
        let body = page.split(".SH DESCRIPTION\n").nth(1).expect("a description");
        let body = body.split(".SH \"SEE ALSO\"").next().expect("the end");
        let expected = [
            ".PP\nWhat it is.\n.PP\nMore.\n.SH [a]\n",
            ".TP\n\\fBb = \"x\"\\fR\n.PD\nOf b:\n.nf\n  \"x\"  one\n  \"y\"  other\n.fi\nand so on.\n",
            ".TP\n\\fBc = 1\\fR\n.PD 0\n.TP\n\\fBd = 2\\fR\n.PD\nOf c.\n",
            ".SH [[e]]\nOne [[e]] for each.\n.PP\n.nf\n[[e]]\nf = 1    # why\n           # because\n.fi\n",
        ];
        assert_eq!(body, expected.concat());
    }

    #[test]
    fn every_key_of_the_configuration_has_its_place() {
        let page = of_configuration(nuncio::config::DEFAULTS);
        for section in ["[gateway]", "[serial]", "[update]", "[executors]", "[[server]]", "[[device]]", "[[discovery]]"]
        {
            assert!(page.contains(&format!(".SH {section}\n")), "{section}");
        }
        for key in ["log = \"info\"", "max_parallel = 8", "# socket", "short_id = 123"] {
            let key = key.trim_start_matches("# ");
            assert!(page.contains(&key.replace('-', "\\-")), "{key}");
        }
    }
}
