//! The reference: every command, metric and log event of this very program, no more and no less.
//!
//! `WRITE=1 cargo test --test docs_reference` writes docs/reference anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::process::Command;
use std::time::Duration;

use world::{commands, eventually, repository, rust_files, world};

const LONG: Duration = Duration::from_secs(120);

/// The page must be what the program makes of it.
#[track_caller]
fn is(name: &str, made: &str) {
    let path = repository().join("docs/reference").join(name);
    if std::env::var_os("WRITE").is_some_and(|value| value == "1") {
        fs::write(&path, made).expect("written");
    }
    let there = fs::read_to_string(&path).unwrap_or_default();
    let differs = there.lines().zip(made.lines()).find(|(is, was)| is != was);
    assert_eq!(there, made, "{}: {differs:?}; write it anew: WRITE=1 cargo test --test docs_reference", path.display());
}

fn help(of: &[String]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_nuncio")).args(of).arg("--help").output().expect("started");
    assert!(output.status.success(), "{of:?}");
    // Clap ends some lines with blanks.
    let text = String::from_utf8(output.stdout).expect("text");
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

#[test]
fn of_commands() {
    let mut page =
        "# Commands\n\nWhat `nuncio COMMAND --help` says, and the man pages. docs_reference writes this page.\n"
            .to_owned();
    let mut left = vec![Vec::new()];
    let mut shown = 0;
    while let Some(words) = left.pop() {
        let text = help(&words);
        let more: Vec<Vec<String>> =
            commands(&text).into_iter().map(|name| [words.clone(), vec![name.to_owned()]].concat()).collect();
        left.extend(more.into_iter().rev());
        let name = std::iter::once("nuncio").chain(words.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
        let _ = write!(page, "\n## `{name}`\n\n```text\n{text}\n```\n");
        shown += 1;
    }
    assert!(shown > 20, "only {shown} commands are found");
    is("commands.md", &page);
}

#[derive(Default)]
struct Metric {
    kind: String,
    unit: String,
    help: String,
    labels: BTreeMap<String, BTreeSet<String>>,
    samples: BTreeSet<String>,
}

/// A label's name and value, of `name="value",...`; values here hold neither quotes nor commas.
fn labels(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(',').filter_map(|label| label.split_once('=')).map(|(name, value)| (name, value.trim_matches('"')))
}

#[test]
fn of_metrics() {
    let world = world!();
    let daemon = world.daemon().device("press-3", "arduino-uno", "tcp:127.0.0.1:9", "probe = \"never\"");
    let _daemon =
        daemon.server("factory", "coap://127.0.0.1:9", 1, "").toml("[web]\nenabled = true\nlisten = []\n").start();
    let socket = world.dir().join("state/http.sock");
    let text = eventually("the figures are told", LONG, || {
        let output =
            Command::new("curl").args(["-sf", "--unix-socket"]).arg(&socket).arg("http://nuncio/metrics").output();
        let text = String::from_utf8(output.expect("curl").stdout).expect("text");
        text.ends_with("# EOF\n").then_some(text)
    });
    let mut metrics = BTreeMap::<String, Metric>::new();
    let mut last = String::new();
    for line in text.lines() {
        let words: Vec<&str> = line.splitn(4, ' ').collect();
        match words.as_slice() {
            ["#", "EOF"] => {}
            ["#", what, name, value] => {
                let metric = metrics.entry((*name).to_owned()).or_default();
                match *what {
                    "HELP" => metric.help = (*value).trim_end_matches('.').to_owned(),
                    "TYPE" => metric.kind = (*value).to_owned(),
                    "UNIT" => metric.unit = (*value).to_owned(),
                    other => panic!("{other}"),
                }
                last = (*name).to_owned();
            }
            _ => {
                let (sample, _) = line.rsplit_once(' ').expect("a value");
                let (name, inner) = sample.split_once('{').unwrap_or((sample, ""));
                let metric = metrics.get_mut(&last).expect("described before");
                metric.samples.insert(name.to_owned());
                for (label, value) in labels(inner.trim_end_matches('}')) {
                    metric.labels.entry(label.to_owned()).or_default().insert(value.to_owned());
                }
            }
        }
    }
    assert!(metrics.len() > 8, "{text}");
    let mut page =
        "# Metrics\n\n`GET /metrics`, OpenMetrics text. No label is a device: their number is bounded by the \
                    configuration and the program. docs_reference writes this page.\n\n\
                    | sample | type | labels | what |\n|---|---|---|---|\n"
            .to_owned();
    for metric in metrics.values() {
        let samples: Vec<String> = metric.samples.iter().map(|name| format!("`{name}`")).collect();
        let labels: Vec<String> = metric
            .labels
            .iter()
            .map(|(name, values)| match name.as_str() {
                "server" => "`server`: the name of one".to_owned(),
                "version" => "`version`: of the program".to_owned(),
                _ => format!("`{name}`: {}", values.iter().cloned().collect::<Vec<_>>().join(", ")),
            })
            .collect();
        let unit = if metric.unit.is_empty() { String::new() } else { format!(", in {}", metric.unit) };
        let (samples, labels) = (samples.join(", "), labels.join("; "));
        let _ = writeln!(page, "| {samples} | {} | {labels} | {}{unit} |", metric.kind, metric.help);
    }
    is("metrics.md", &page);
}

/// The arguments of a macro call that has just been opened, apart, and not those of its own calls.
fn arguments(rest: &str) -> Vec<String> {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut found = vec![String::new()];
    for letter in rest.chars() {
        if quoted {
            quoted = letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
        } else {
            match letter {
                '"' => quoted = true,
                '(' | '[' | '{' => depth += 1,
                ')' if depth == 0 => break,
                ')' | ']' | '}' => depth -= 1,
                ',' if depth == 0 => {
                    found.push(String::new());
                    continue;
                }
                _ => {}
            }
        }
        found.last_mut().expect("one at least").push(letter);
    }
    found.iter().map(|one| one.trim().to_owned()).filter(|one| !one.is_empty()).collect()
}

/// A literal's text: a backslash at the end of a line joins it with the next one's.
fn literal(argument: &str) -> Option<String> {
    let inner = argument.strip_prefix('"')?.strip_suffix('"')?;
    let mut lines = inner.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    Some(lines.fold(first, |text, line| text + line.trim_start()).replace("\\\"", "\""))
}

/// The name of a field: of `%name`, `?name`, `name = value`, `a.name`.
fn field(argument: &str) -> Option<String> {
    let word =
        |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    let (name, _) = argument.split_once('=').unwrap_or((argument, ""));
    let name = name.trim().trim_start_matches(['%', '?']).trim();
    let last = name.rsplit('.').next().unwrap_or(name);
    word(last).then(|| last.to_owned())
}

#[test]
fn of_log_events() {
    let files = rust_files(&repository().join("src"));
    let call = regex::Regex::new(r"\b(info|warn|error)!\(").expect("a pattern");
    let mut events = BTreeSet::new();
    for file in &files {
        let text = fs::read_to_string(file).expect("text");
        let text = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
        let module = file.strip_prefix(repository().join("src")).expect("below").with_extension("");
        let room = module.components().next().expect("a name").as_os_str().to_string_lossy().into_owned();
        for found in call.captures_iter(text) {
            let (whole, level) = (found.get(0).expect("all"), &found[1]);
            let arguments = arguments(&text[whole.end()..]);
            let place = arguments.iter().position(|one| literal(one).is_some());
            let place = place.unwrap_or_else(|| panic!("{}: no text in {arguments:?}", file.display()));
            let message = literal(&arguments[place]).expect("a literal").replace('|', "\\|");
            let fields: Vec<String> =
                arguments[..place].iter().filter_map(|one| field(one)).map(|name| format!("`{name}`")).collect();
            let order = ["error", "warn", "info"].iter().position(|one| *one == level);
            events.insert((room.clone(), order, level.to_owned(), message, fields.join(", ")));
        }
    }
    assert!(events.len() > 100, "only {} events are found", events.len());
    let mut page = "# Log events\n\nWhat the service logs at `info` and above, with the fields of each; \
                    those of a device or an update also carry it as a span. The room is the module below `nuncio::`, \
                    as `[gateway] log` takes it. docs_reference writes this page.\n"
        .to_owned();
    let mut last = String::new();
    for (room, _, level, message, fields) in &events {
        if *room != last {
            let _ = write!(page, "\n## {room}\n\n| level | message | fields |\n|---|---|---|\n");
            last.clone_from(room);
        }
        let _ = writeln!(page, "| {level} | {message} | {fields} |");
    }
    is("log-events.md", &page);
}
