//! What goes to the terminal, a pipe or a program.

use std::io::{ErrorKind, IsTerminal, Write};
use std::process::exit;

use comfy_table::presets::NOTHING;
use comfy_table::{ContentArrangement, Table};
use serde::Serialize;

/// Narrowest terminal that tables are laid out for, in columns.
const MIN_WIDTH: u16 = 60;
/// Where a terminal does not tell its width.
const USUAL_WIDTH: u16 = 80;

/// Exit code of a program that SIGPIPE ended, as shells count it.
const SIGPIPE: i32 = 141;

/// A JSON document with the name and version of its schema in front.
#[derive(Debug, Serialize)]
struct Document<'a, T> {
    schema: &'static str,
    #[serde(flatten)]
    content: &'a T,
}

/// Prints a value as one JSON document, `schema` being the name of its file in `docs/schema` without `.json`: pretty for
/// people, one line for programs.
pub(crate) fn print_json<T: Serialize>(schema: &'static str, content: &T) -> anyhow::Result<()> {
    print(&document(schema, content, std::io::stdout().is_terminal())?);
    Ok(())
}

/// The text of such a document.
pub(crate) fn document<T: Serialize>(schema: &'static str, content: &T, pretty: bool) -> anyhow::Result<String> {
    let document = Document { schema, content };
    Ok(if pretty { serde_json::to_string_pretty(&document)? } else { serde_json::to_string(&document)? })
}

/// Prints text and a line end. What a device or server told is in it: control characters are shown, not obeyed.
pub(crate) fn print(text: &str) {
    emit(&mut std::io::stdout().lock(), text);
}

/// The same for what is not the answer itself.
pub(crate) fn print_aside(text: &str) {
    emit(&mut std::io::stderr().lock(), text);
}

/// Somebody who stopped reading has seen enough: end as a program does that SIGPIPE ends.
fn emit(to: &mut impl Write, text: &str) {
    let harmless: String = text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect();
    let written = writeln!(to, "{harmless}").and_then(|()| to.flush());
    if written.is_err_and(|error| error.kind() == ErrorKind::BrokenPipe) {
        exit(SIGPIPE);
    }
}

/// A table: laid out for a terminal's width, or one line per row for a pipe.
pub(crate) fn table<const N: usize>(header: [&str; N], rows: impl IntoIterator<Item = [String; N]>) -> String {
    let mut table = Table::new();
    table.load_style(NOTHING);
    table.set_header(header);
    table.add_rows(rows);
    match width() {
        Some(width) => table.set_content_arrangement(ContentArrangement::Dynamic).set_width(width),
        None => table.set_content_arrangement(ContentArrangement::Disabled),
    };
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// How wide standard output is; `None` when it is no terminal.
fn width() -> Option<u16> {
    let out = std::io::stdout();
    let told = out.is_terminal().then(|| rustix::termios::tcgetwinsize(&out))?;
    Some(told.map_or(USUAL_WIDTH, |size| if size.ws_col == 0 { USUAL_WIDTH } else { size.ws_col.max(MIN_WIDTH) }))
}

/// `-` for what is not known.
pub(crate) fn or_dash(text: Option<&str>) -> String {
    text.filter(|text| !text.is_empty()).unwrap_or("-").to_owned()
}

/// The word that a value has in JSON, with spaces for hyphens.
pub(crate) fn word<T: Serialize>(value: &T) -> String {
    let json = serde_json::to_value(value).unwrap_or_default();
    json.as_str().unwrap_or_default().replace('-', " ")
}
