//! The text of a board file: its schema, and where in it something is wrong.
//!
//! Only what the file says, checked by itself; how files lie over each other is [`super::catalogue`]'s.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use globset::{Glob, GlobMatcher};
use regex::RegexBuilder;
use serde::Deserialize;
use serde::de::{self, Deserializer};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::announced::{BleMatch, DiscoveredMatch, Facts, ServiceMatch};
use super::points::PointsText;
use crate::device::{
    Alternative, ElfFlags, Enter, Exclusive, FileError, ImageFormat, RebootMethod, RetryRules, RollbackPolicy, WayBack,
    units,
};

/// The layout that this program reads.
const SCHEMA: u32 = 1;
/// Longest time a board is listened to.
const MAX_LISTEN: Duration = Duration::from_secs(120);
/// Most runs of a tool for one Execute.
const MAX_RUNS: u32 = 10;
/// Longest pause between two of them.
const MAX_BACKOFF: Duration = Duration::from_secs(300);
/// Longest AT command, in bytes.
const MAX_COMMAND: usize = 32;
/// Largest compiled pattern, in bytes.
const MAX_PATTERN: usize = 1 << 20;

/// What one file holds.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoardFile {
    schema: Spanned<u32>,
    #[serde(default)]
    pub(super) board: BTreeMap<String, Spanned<BoardText>>,
}

/// One board as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BoardText {
    pub(super) name: String,
    #[serde(default)]
    pub(super) lwm2m: Labels,
    #[serde(default, rename = "match")]
    pub(super) usb: Vec<Spanned<UsbMatch>>,
    /// No question may open its port, and servers cannot restart it.
    #[serde(default)]
    pub(super) never_reset: bool,
    /// Services that it announces.
    #[serde(default)]
    pub(super) mdns: Vec<ServiceMatch>,
    /// What discovery programs tell of it.
    #[serde(default)]
    pub(super) discovered: Vec<DiscoveredMatch>,
    /// What it advertises by Bluetooth.
    #[serde(default)]
    pub(super) ble: Vec<Spanned<BleMatch>>,
    /// What its web server is asked for: a path whose answer is JSON.
    pub(super) http: Option<String>,
    /// The UDP port of its SMP server.
    pub(super) smp: Option<u16>,
    /// The light that a running Firmata can blink.
    pub(super) light: Option<Light>,
    /// Where its facts stand in what it announces and answers.
    #[serde(default)]
    pub(super) facts: Facts,
    /// What it tells besides what it is.
    pub(super) points: Option<Spanned<PointsText>>,
    #[serde(default)]
    pub(super) identify: Vec<Spanned<Clue>>,
    /// A board without it is looked after, and not flashed.
    pub(super) flash: Option<FlashText>,
}

/// What servers read of the board in object 3.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Labels {
    pub(super) manufacturer: Option<String>,
    pub(super) model: Option<String>,
    pub(super) device_type: Option<String>,
}

/// A light on a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Light {
    pub(super) baud: u32,
    pub(super) pin: u8,
}

/// USB ids that a board may have, and what they are worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UsbMatch {
    #[serde(deserialize_with = "hex16")]
    pub(super) vid: u16,
    #[serde(deserialize_with = "hex16")]
    pub(super) pid: u16,
    pub(super) strength: Strength,
    #[serde(default)]
    pub(super) serial: SerialMeaning,
}

/// What a USB id tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Strength {
    /// This board and no other: it decides.
    Strong,
    /// One of several boards with this chip.
    Family,
    /// A USB-serial chip that may sit on anything.
    Bridge,
}

/// What the USB serial number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum SerialMeaning {
    /// A number, unique or not.
    #[default]
    Number,
    /// The MAC address of the chip.
    Mac,
}

/// What tells a board when it is asked.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Clue {
    Improv(ImprovClue),
    Smp(SmpClue),
    Firmata(FirmataClue),
    At(AtClue),
    Stk500(SignatureClue),
    Stk500v2(SignatureClue),
    EspRom(ChipClue),
}

/// A running Firmata.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FirmataClue {
    pub(super) baud: u32,
    pub(super) pins: Option<u16>,
    #[serde(default, deserialize_with = "globs")]
    pub(super) names: Vec<GlobMatcher>,
}

/// A program that speaks Improv.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImprovClue {
    pub(super) baud: u32,
    /// Names of its firmware.
    #[serde(deserialize_with = "globs")]
    pub(super) firmware: Vec<GlobMatcher>,
    /// The chip it runs on, where that matters.
    #[serde(default, deserialize_with = "some_glob")]
    pub(super) chip: Option<GlobMatcher>,
}

/// An SMP server.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SmpClue {
    pub(super) baud: u32,
    /// What the application says that it is; none: any will do.
    #[serde(default, deserialize_with = "globs")]
    pub(super) info: Vec<GlobMatcher>,
}

/// A module that takes AT commands.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AtClue {
    pub(super) baud: u32,
    #[serde(deserialize_with = "at_command")]
    pub(super) ask: String,
    /// What it answers to that.
    #[serde(deserialize_with = "globs")]
    pub(super) answers: Vec<GlobMatcher>,
}

/// A signature told by a bootloader.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignatureClue {
    pub(super) baud: u32,
    #[serde(deserialize_with = "signature")]
    pub(super) signature: [u8; 3],
}

/// A chip named by its ROM loader.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ChipClue {
    pub(super) baud: u32,
    pub(super) chip: String,
}

/// How the board is flashed.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FlashText {
    #[serde(default)]
    pub(super) vars: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) alternatives: Vec<Spanned<Alternative>>,
    pub(super) image: Spanned<ImageText>,
    #[serde(default)]
    pub(super) reboot: RebootMethod,
    #[serde(default)]
    pub(super) enter: Enter,
    #[serde(with = "units::duration")]
    pub(super) expect_return: Duration,
    #[serde(default, with = "units::duration")]
    pub(super) soak: Duration,
    #[serde(with = "units::duration")]
    pub(super) timeout: Duration,
    #[serde(default)]
    pub(super) version: Vec<Spanned<VersionText>>,
    #[serde(default = "unwritten")]
    pub(super) retries: Spanned<RetryRules>,
    #[serde(default = "unwritten")]
    pub(super) rollback: Spanned<RollbackPolicy>,
    #[serde(default = "unwritten")]
    pub(super) way_back: Spanned<WayBack>,
    #[serde(default)]
    pub(super) exclusive: Exclusive,
}

/// A default, which lies nowhere in the file.
fn unwritten<T: Default>() -> Spanned<T> {
    Spanned::new(0..0, T::default())
}

/// Which images fit.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ImageText {
    pub(super) formats: Vec<ImageFormat>,
    pub(super) max_size: u64,
    #[serde(default)]
    pub(super) min_address: u64,
    pub(super) elf_machine: Option<u16>,
    pub(super) elf_flags: Option<ElfFlags>,
    pub(super) esp_chip_id: Option<u16>,
    #[serde(default)]
    pub(super) esp8266_header: bool,
}

/// One way to read the version of the program.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum VersionText {
    Listen(ListenText),
    Improv(SpeedText),
    Smp(SpeedText),
    EspAppDesc(AppDescText),
}

/// Listening to the program.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListenText {
    pub(super) baud: u32,
    #[serde(default, deserialize_with = "banners")]
    pub(super) banners: Vec<String>,
    #[serde(default)]
    pub(super) firmata: bool,
    #[serde(default)]
    pub(super) reset: bool,
    #[serde(with = "units::duration")]
    pub(super) within: Duration,
}

/// Asking the program in a language that needs nothing else.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SpeedText {
    pub(super) baud: u32,
}

/// Reading the descriptor in flash.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppDescText {
    pub(super) baud: u32,
    pub(super) offset: u32,
}

/// Reads a file's text.
pub(super) fn parse(file: &Path, text: &str) -> Result<BoardFile, Vec<FileError>> {
    let parsed: BoardFile = toml::from_str(text).map_err(|error| vec![syntax(file, text, &error)])?;
    let mut errors = Vec::new();
    let mut wrong = |span: Range<usize>, message: String| errors.push(error_at(file, text, span, message));
    if *parsed.schema.get_ref() != SCHEMA {
        wrong(parsed.schema.span(), format!("this program reads schema {SCHEMA}"));
    }
    for (id, board) in &parsed.board {
        check(id, board, &mut wrong);
    }
    if errors.is_empty() { Ok(parsed) } else { Err(errors) }
}

/// An error at a place in a file's text, with the key that lies there.
pub(super) fn error_at(file: &Path, text: &str, span: Range<usize>, message: impl Into<String>) -> FileError {
    let key = key_at(text, &span);
    FileError::at(file, text, span, key, message)
}

fn check(id: &str, board: &Spanned<BoardText>, wrong: &mut impl FnMut(Range<usize>, String)) {
    let span = board.span();
    let board = board.get_ref();
    if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
        wrong(span.clone(), format!("`{id}` is no id for a board: expected small letters, digits and `-`"));
    }
    for clue in &board.identify {
        if let Clue::Firmata(FirmataClue { pins: None, names, .. }) = clue.get_ref()
            && names.is_empty()
        {
            wrong(clue.span(), "any Firmata would do: expected `pins`, `names`, or both".to_owned());
        }
    }
    for advertisement in board.ble.iter().filter(|one| one.get_ref().is_empty()) {
        wrong(advertisement.span(), "any device would do: expected `name`, `service` or `manufacturer`".to_owned());
    }
    if board.http.as_ref().is_some_and(|path| !path.starts_with('/') || path.contains(char::is_whitespace)) {
        wrong(span.clone(), "`http` is no path: expected e.g. \"/json/info\"".to_owned());
    }
    if board.http.is_none() && !board.facts.pointers().is_empty() {
        wrong(span.clone(), "facts stand in an HTTP answer, but `http` does not say what to ask for".to_owned());
    }
    if board.smp.is_none() && board.facts.smp_is_asked() && board.identify.iter().all(|clue| !clue.get_ref().is_smp()) {
        wrong(span, "facts stand in an SMP answer, but `smp` does not say at which UDP port to ask".to_owned());
    }
    for flaw in board.points.iter().flat_map(|points| points.get_ref().flaws()) {
        wrong(board.points.as_ref().map_or(0..0, Spanned::span), flaw);
    }
    if let Some(flash) = &board.flash {
        check_flash(flash, wrong);
    }
}

fn check_flash(flash: &FlashText, wrong: &mut impl FnMut(Range<usize>, String)) {
    let image = flash.image.get_ref();
    if image.formats.is_empty() || image.max_size <= image.min_address {
        let expected = "no image fits: expected at least one format, and `max_size` above `min_address`";
        wrong(flash.image.span(), expected.to_owned());
    }
    let known: BTreeSet<&String> = flash.vars.keys().collect();
    for alternative in &flash.alternatives {
        for name in alternative.get_ref().vars.keys().filter(|name| !known.contains(name)) {
            wrong(alternative.span(), format!("`{name}` is none of the variables in `vars`"));
        }
    }
    for version in &flash.version {
        check_version(version, wrong);
    }
    check_failures(flash, wrong);
}

fn check_failures(flash: &FlashText, wrong: &mut impl FnMut(Range<usize>, String)) {
    let RetryRules { max, backoff, .. } = flash.retries.get_ref();
    if !(1..=MAX_RUNS).contains(max) {
        wrong(flash.retries.span(), format!("`max` is out of range: expected 1 (no retry) to {MAX_RUNS} runs"));
    }
    if *flash.rollback.get_ref() == RollbackPolicy::Never && !flash.way_back.span().is_empty() {
        wrong(flash.way_back.span(), "contradicts `rollback = \"never\"`: nothing is kept then".to_owned());
    }
    if *backoff > MAX_BACKOFF {
        wrong(flash.retries.span(), "`backoff` is out of range: expected at most \"5m\"".to_owned());
    }
    for alternative in &flash.alternatives {
        if let Some(class) = alternative.get_ref().on.iter().find(|class| !flash.retries.get_ref().on.contains(class)) {
            let text = format!("never tried: `retries` has no retry on `{class}`");
            wrong(alternative.span(), text);
        }
    }
}

fn check_version(version: &Spanned<VersionText>, wrong: &mut impl FnMut(Range<usize>, String)) {
    let VersionText::Listen(listen) = version.get_ref() else { return };
    if listen.banners.is_empty() && !listen.firmata {
        wrong(version.span(), "nothing to listen for: expected `banners` or `firmata = true`".to_owned());
    }
    if listen.within.is_zero() || listen.within > MAX_LISTEN {
        wrong(version.span(), "`within` is out of range: expected more than 0 and at most \"2m\"".to_owned());
    }
}

fn syntax(file: &Path, text: &str, error: &toml::de::Error) -> FileError {
    let message = error.message().lines().collect::<Vec<_>>().join(", ");
    error_at(file, text, error.span().unwrap_or(0..0), message)
}

/// The dotted path of the innermost key whose name or value holds a range; empty where the text does not parse.
fn key_at(text: &str, span: &Range<usize>) -> String {
    let Ok(table) = DeTable::parse(text) else { return String::new() };
    let mut key = String::new();
    descend(table.get_ref(), span, &mut key);
    key
}

fn descend(table: &DeTable<'_>, span: &Range<usize>, key: &mut String) {
    let holds = |range: Range<usize>| range.start <= span.start && span.end <= range.end;
    for (name, value) in table {
        // A table's own span is its header, so what lies below is looked into all the same.
        let mut below = key.clone();
        if !below.is_empty() {
            below.push('.');
        }
        below.push_str(name.get_ref());
        let before = below.clone();
        inside(value, span, &mut below);
        if below != before || holds(name.span()) || holds(value.span()) {
            *key = below;
            return;
        }
    }
}

fn inside(value: &Spanned<DeValue<'_>>, span: &Range<usize>, key: &mut String) {
    match value.get_ref() {
        DeValue::Table(table) => descend(table, span, key),
        DeValue::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                let mut below = format!("{key}[{index}]");
                let before = below.clone();
                inside(item, span, &mut below);
                let range = item.span();
                if below != before || (range.start <= span.start && span.end <= range.end) {
                    *key = below;
                    return;
                }
            }
        }
        _ => {}
    }
}

fn custom<'de, D: Deserializer<'de>, T>(
    deserializer: D,
    read: impl Fn(&str) -> Result<T, String>,
) -> Result<T, D::Error> {
    let text = String::deserialize(deserializer)?;
    read(&text).map_err(de::Error::custom)
}

fn hex16<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
    custom(deserializer, |text| match u16::from_str_radix(text, 16) {
        Ok(id) if text.len() == 4 => Ok(id),
        _ => Err(format!("`{text}` is no USB id: expected four hex digits, e.g. \"2341\"")),
    })
}

fn signature<'de, D: Deserializer<'de>>(deserializer: D) -> Result<[u8; 3], D::Error> {
    custom(deserializer, |text| {
        let wrong = || format!("`{text}` is no signature: expected six hex digits, e.g. \"1e950f\"");
        let number = u32::from_str_radix(text, 16).map_err(|_| wrong())?;
        let [0, bytes @ ..] = number.to_be_bytes() else { return Err(wrong()) };
        if text.len() == 6 { Ok(bytes) } else { Err(wrong()) }
    })
}

fn globs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<GlobMatcher>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    texts.iter().map(|text| glob(text).map_err(de::Error::custom)).collect()
}

fn some_glob<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<GlobMatcher>, D::Error> {
    let text = String::deserialize(deserializer)?;
    glob(&text).map(Some).map_err(de::Error::custom)
}

/// A command goes in one line, and none may say more than it does.
fn at_command<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    custom(deserializer, |text| {
        let plain = text.len() <= MAX_COMMAND && text.bytes().all(|byte| byte.is_ascii_graphic());
        match text.starts_with("AT") && text.ends_with('?') && plain {
            true => Ok(text.to_owned()),
            false => Err(format!("`{text}` is no question by AT command: expected e.g. \"AT+VERSION=?\"")),
        }
    })
}

/// A pattern of `*`, `?` and the like.
pub(super) fn glob(text: &str) -> Result<GlobMatcher, globset::Error> {
    Glob::new(text).map(|glob| glob.compile_matcher())
}

/// Patterns are checked here, where their file can be named; whoever listens compiles them again.
fn banners<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    let texts = Vec::<String>::deserialize(deserializer)?;
    for text in &texts {
        let pattern = RegexBuilder::new(text).size_limit(MAX_PATTERN).build().map_err(de::Error::custom)?;
        if !pattern.capture_names().flatten().any(|name| name == "version") {
            return Err(de::Error::custom(format!("`{text}` tells no version: expected a group `(?P<version>...)`")));
        }
    }
    Ok(texts)
}

impl Clue {
    pub(super) fn is_improv(&self) -> bool {
        matches!(self, Self::Improv(_))
    }

    pub(super) fn is_smp(&self) -> bool {
        matches!(self, Self::Smp(_))
    }

    pub(super) fn is_at(&self) -> bool {
        matches!(self, Self::At(_))
    }
}

impl fmt::Display for Clue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let globs = |globs: &[GlobMatcher]| {
            let quoted: Vec<String> = globs.iter().map(|glob| format!("`{}`", glob.glob())).collect();
            quoted.join(" or ")
        };
        match self {
            Self::Improv(clue) => {
                write!(f, "Improv with {}", globs(&clue.firmware))?;
                clue.chip.as_ref().map_or(Ok(()), |chip| write!(f, " on `{}`", chip.glob()))
            }
            Self::Smp(clue) if clue.info.is_empty() => f.write_str("an SMP server"),
            Self::Smp(clue) => write!(f, "an SMP server that is {}", globs(&clue.info)),
            Self::At(clue) => write!(f, "{} to {}", globs(&clue.answers), clue.ask),
            Self::Firmata(clue) => {
                f.write_str("Firmata")?;
                clue.pins.map_or(Ok(()), |pins| write!(f, " with {pins} pins"))?;
                clue.names.iter().try_for_each(|name| write!(f, " named `{}`", name.glob()))
            }
            Self::Stk500(clue) => write!(f, "stk500 signature {} at {} baud", Hex(clue.signature), clue.baud),
            Self::Stk500v2(clue) => write!(f, "stk500v2 signature {} at {} baud", Hex(clue.signature), clue.baud),
            Self::EspRom(clue) => write!(f, "chip {}", clue.chip),
        }
    }
}

/// Signature bytes as board files write them.
pub(super) struct Hex(pub(super) [u8; 3]);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOARD: &str = r#"schema = 1
[board.b1]
name = "B"
match = [{ vid = "2341", pid = "0043", strength = "strong" }]
identify = [{ stk500 = { baud = 115200, signature = "1e950f" } }]
[board.b1.flash]
vars = { baud = "115200" }
image = { formats = ["ihex"], max_size = 10 }
expect_return = "10s"
timeout = "1m"
version = [{ listen = { baud = 1, banners = ['(?P<version>.)'], within = "1s" } }]
"#;

    fn error(from: &str, to: &str) -> (usize, String, String) {
        assert!(BOARD.contains(from), "{from}");
        let errors = parse(Path::new("b.toml"), &BOARD.replace(from, to)).expect_err(to);
        (errors[0].line, errors[0].key.clone(), errors[0].message.clone())
    }

    #[test]
    fn a_good_file_is_read() {
        let file = parse(Path::new("b.toml"), BOARD).expect("good");
        let board = file.board["b1"].get_ref();
        assert!(matches!(board.identify[0].get_ref(), Clue::Stk500(clue) if clue.signature == [0x1E, 0x95, 0x0F]));
        assert_eq!(board.flash.as_ref().map(|flash| flash.soak), Some(Duration::ZERO));
    }

    #[test]
    fn every_mistake_names_line_and_key() {
        for (from, to, line, key) in [
            ("name = \"B\"", "nmae = \"B\"", 3, "board.b1.nmae"),
            ("schema = 1", "schema = 2", 1, "schema"),
            ("\"2341\"", "\"23411\"", 4, "board.b1.match[0].vid"),
            ("\"strong\"", "\"storng\"", 4, "board.b1.match[0].strength"),
            ("signature = \"1e950f\"", "signature = \"1e95\"", 5, "board.b1.identify[0].stk500.signature"),
            ("baud = 115200, s", "bauds = 115200, s", 5, "board.b1.identify[0].stk500.bauds"),
            ("stk500 =", "skt500 =", 5, "board.b1.identify[0].skt500"),
            ("stk500 = { baud = 115200, signature = \"1e950f\" }", "firmata = { baud = 1 }", 5, "board.b1.identify[0]"),
            (
                "vars = { baud = \"115200\" }",
                "alternatives = [{ vars = { x = \"1\" } }]",
                7,
                "board.b1.flash.alternatives[0]",
            ),
            ("max_size = 10", "max_size = 0", 8, "board.b1.flash.image"),
            ("\"ihex\"", "\"hex\"", 8, "board.b1.flash.image.formats[0]"),
            ("\"10s\"", "\"10\"", 9, "board.b1.flash.expect_return"),
            ("(?P<version>.)", "(", 11, "board.b1.flash.version[0].listen.banners"),
            ("(?P<version>.)", "fw=(.*)", 11, "board.b1.flash.version[0].listen.banners"),
            ("within = \"1s\"", "within = \"1h\"", 11, "board.b1.flash.version[0]"),
        ] {
            let (found_line, found_key, message) = error(from, to);
            assert_eq!((found_line, found_key.as_str()), (line, key), "{to}: {message}");
        }
    }
}
