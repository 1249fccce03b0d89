//! What a bug report may not tell: secrets of the configuration wherever they turn up again, and what looks like one in texts of
//! others. Too much is masked rather than too little.

use std::cell::Cell;

use nuncio::device::sounds_secret;
use regex::{Regex, RegexBuilder};
use serde::Deserialize as _;
use serde_json::Value as Json;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value as Toml};

/// Where chat services are posted to: their URIs are secrets from the path on.
const HOOK: &str = "hook.url";
/// In place of what is not told.
const MASK: &str = "***";
/// Shorter values are no secrets, and would be found everywhere.
const SHORTEST: usize = 4;
/// What finds secrets of the configuration may take so many bytes: those of some ten thousand devices.
const LARGEST: usize = 256 << 20;
/// Keys that sound like secrets and name files.
const FILES: [&str; 2] = ["update.keys", "web.key"];

/// What is taken for a secret in any text, and what stays of it.
const PATTERNS: [(&str, &str); 9] = [
    // Whole blocks, and lines that such a block is cut into.
    (r"(?s)-----BEGIN [A-Z0-9 ]*PRIVATE KEY-----.*?(?:-----END [A-Z0-9 ]*PRIVATE KEY-----|\z)", "*** (a private key)"),
    (r"AGE-SECRET-KEY-[A-Z0-9-]+", MASK),
    (r"\$argon2[a-z]*\$\S+", "$$argon2***"),
    (r"\bnuncio\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]{16,}", "nuncio.***"),
    // Credentials in URIs, and what is asked with them.
    (r#"([A-Za-z][A-Za-z0-9+.-]*://)[^/\s"'<>]*@"#, "$1***@"),
    (r#"([A-Za-z][A-Za-z0-9+.-]*://[^\s"'<>?#]*\?)[^\s"'<>#]+"#, "$1***"),
    (r"(?i)\b(authorization|bearer|basic)(:?\s+)(?:(?:bearer|basic)\s+)?[A-Za-z0-9+/=._~-]{6,}", "$1$2***"),
    // 256 bits as base64 has them: an encryption key.
    (r"(?:^|\b|[^A-Za-z0-9+/])[A-Za-z0-9+/]{43}=", MASK),
    // `--password x`, also as a program's arguments are written down.
    (
        r#"(?i)(--?[a-z0-9-]*(?:pass|secret|token|psk|pwd|credential|key)[a-z0-9-]*["']?,?\s+)(?:"[^"]*"?|'[^']*'?|[^\s\]]+)"#,
        "$1***",
    ),
];

/// `password = x`, `"token": "x"`, `key=x`.
const PAIR: &str = r#"(?i)([A-Za-z0-9_.-]*(?:pass|secret|token|key|psk|pwd|credential)[A-Za-z0-9_.-]*["']?\s*[=:]\s*)("(?:[^"\\]|\\.)*"?|'[^']*'?|\[[^\]]*\]?|\{[^}]*\}?|[^\s,;&)\]}]+)"#;

/// Masks, and counts what it masked.
pub(super) struct Redactor {
    /// Finds secrets of the configuration.
    known: Option<Regex>,
    patterns: Vec<(Regex, &'static str)>,
    masked: Cell<usize>,
}

impl Redactor {
    /// One that knows the secrets of these TOML files, and others.
    pub(super) fn new<'t>(
        files: impl IntoIterator<Item = &'t str>,
        others: impl IntoIterator<Item = String>,
    ) -> Result<Self, regex::Error> {
        let long = |secret: &String| secret.len() >= SHORTEST;
        // Also as a log writes them, which escapes what could be taken for the end of a text.
        let escaped = |secret: String| [secret.escape_debug().to_string(), secret];
        let mut known: Vec<String> =
            files.into_iter().flat_map(secrets_of).chain(others).filter(long).flat_map(escaped).collect();
        // A longer one may hold a shorter one.
        known.sort_by(|one, other| other.len().cmp(&one.len()).then_with(|| one.cmp(other)));
        known.dedup();
        let any = known.iter().map(|secret| regex::escape(secret)).collect::<Vec<_>>().join("|");
        let known = (!known.is_empty()).then(|| RegexBuilder::new(&any).size_limit(LARGEST).build()).transpose()?;
        let all = PATTERNS.iter().copied().chain([(PAIR, "$1***")]);
        let patterns = all.map(|(pattern, shown)| Ok((Regex::new(pattern)?, shown))).collect::<Result<_, _>>()?;
        Ok(Self { known, patterns, masked: Cell::new(0) })
    }

    /// So many places were masked.
    pub(super) fn masked(&self) -> usize {
        self.masked.get()
    }

    fn count(&self, places: usize) {
        self.masked.set(self.masked.get() + places);
    }

    fn mask(&self) -> String {
        self.count(1);
        MASK.to_owned()
    }

    /// Any text.
    pub(super) fn text(&self, text: &str) -> String {
        let mut text = self.without_known(text);
        for (pattern, shown) in &self.patterns {
            let places = pattern.find_iter(&text).count();
            if places > 0 {
                self.count(places);
                text = pattern.replace_all(&text, *shown).into_owned();
            }
        }
        text
    }

    fn without_known(&self, text: &str) -> String {
        let Some(known) = &self.known else { return text.to_owned() };
        self.count(known.find_iter(text).count());
        known.replace_all(text, MASK).into_owned()
    }

    /// A document of ours or of others.
    pub(super) fn json(&self, value: Json) -> Json {
        match value {
            Json::String(text) => Json::String(self.text(&text)),
            Json::Array(items) => {
                let mut before = false;
                let items = items.into_iter().map(|item| {
                    let flag = item.as_str().is_some_and(is_flag);
                    let secret = std::mem::replace(&mut before, flag);
                    if secret && item.is_string() { Json::String(self.mask()) } else { self.json(item) }
                });
                Json::Array(items.collect())
            }
            Json::Object(entries) => {
                // What a device is recognised by is told as its kind and its key.
                let is_identity = entries.contains_key("kind");
                let entries = entries.into_iter().map(|(key, value)| {
                    let secret = sounds_secret(&key) && value.is_string() && !(is_identity && key == "key");
                    let value = if secret { Json::String(self.mask()) } else { self.json(value) };
                    (key, value)
                });
                Json::Object(entries.collect())
            }
            other => other,
        }
    }

    /// A TOML file, without its comments. One that does not parse keeps its keys and loses its texts.
    pub(super) fn toml(&self, text: &str) -> String {
        let parsed = text.parse::<toml::Table>().ok();
        let written = parsed.and_then(|table| toml::to_string_pretty(&self.table("", table)).ok());
        written.map_or_else(|| self.broken(text), |text| self.without_known(&text))
    }

    fn table(&self, above: &str, table: toml::Table) -> toml::Table {
        let value = |(key, value): (String, Toml)| {
            let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
            let value = if is_secret(&key, &path, &value) { self.all(value) } else { self.value(&path, value) };
            (key, value)
        };
        table.into_iter().map(value).collect()
    }

    fn value(&self, path: &str, value: Toml) -> Toml {
        match value {
            Toml::String(text) if path == HOOK => {
                Toml::String(host_of(&text).map_or_else(|| self.mask(), |host| format!("{host}/{}", self.mask())))
            }
            Toml::String(text) => Toml::String(self.text(&text)),
            Toml::Array(items) => Toml::Array(items.into_iter().map(|item| self.value(path, item)).collect()),
            Toml::Table(table) => Toml::Table(self.table(path, table)),
            other => other,
        }
    }

    /// All below a key that sounds like a secret; names that somebody gave stay.
    fn all(&self, value: Toml) -> Toml {
        match value {
            Toml::Table(table) => Toml::Table(table.into_iter().map(|(key, value)| (key, self.all(value))).collect()),
            Toml::Array(items) => Toml::Array(items.into_iter().map(|item| self.all(item)).collect()),
            _ => Toml::String(self.mask()),
        }
    }

    /// Line by line: nobody knows what is a key's value where the file does not parse.
    fn broken(&self, text: &str) -> String {
        let mut shown = String::from("# This file does not parse: its texts are left out.\n");
        let mut within = false;
        for line in text.lines() {
            let fences = line.matches("\"\"\"").count() + line.matches("'''").count();
            let line = if within { MASK.to_owned() } else { self.bare(line) };
            within ^= fences % 2 == 1;
            shown.push_str(&self.text(&line));
            shown.push('\n');
        }
        shown
    }

    /// A line of a TOML file: the key, and of its value what is no text.
    fn bare(&self, line: &str) -> String {
        let plain = line.trim();
        if plain.is_empty() || plain.starts_with('[') && plain.ends_with(']') && !plain.contains('=') {
            return line.to_owned();
        }
        match line.split_once('=') {
            _ if plain.starts_with('#') => "# ***".to_owned(),
            Some((key, value)) if is_harmless(value) => format!("{key}={value}"),
            Some((key, _)) => format!("{key}= {}", self.mask()),
            None => self.mask(),
        }
    }

    /// What is said of an error in a file: the line of the file that is drawn shows its key only.
    pub(super) fn drawn(&self, told: &str) -> String {
        let line = |line: &str| match line.split_once(" | ") {
            Some((number, rest)) if !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()) => {
                format!("{number} | {}", self.bare(rest))
            }
            _ => self.text(line),
        };
        told.lines().map(line).collect::<Vec<_>>().join("\n")
    }
}

fn is_harmless(value: &str) -> bool {
    let value = value.trim();
    matches!(value, "true" | "false") || !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit())
}

fn is_flag(word: &str) -> bool {
    word.starts_with('-') && !word.contains('=') && sounds_secret(word)
}

/// A key that sounds like one, and a value that is no name of a file.
fn is_secret(key: &str, path: &str, value: &Toml) -> bool {
    let file = FILES.contains(&path) || key.ends_with("_file");
    let named =
        value.as_str().is_some_and(|text| text.starts_with('/') && (file || std::path::Path::new(text).exists()));
    sounds_secret(key) && !named
}

/// The values that must not be told, of a file as far as it parses.
fn secrets_of(text: &str) -> Vec<String> {
    let mut secrets = Vec::new();
    let (table, _) = DeTable::parse_recoverable(text);
    let whole = Spanned::new(table.span(), DeValue::Table(table.into_inner()));
    if let Ok(table) = toml::Table::deserialize(toml::de::ValueDeserializer::from(whole)) {
        collect_table("", &table, false, &mut secrets);
    }
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        if let Some((_, value)) = line.split_once('=').filter(|(key, _)| sounds_secret(key)) {
            let value = value.trim().trim_matches(['"', '\'', ',', ' ']);
            if !value.starts_with(['{', '[', '/']) && !value.is_empty() {
                secrets.push(value.to_owned());
            }
        }
    }
    secrets.retain(|secret| secret.len() >= SHORTEST && !is_harmless(secret));
    secrets
}

fn collect_table(above: &str, table: &toml::Table, secret: bool, secrets: &mut Vec<String>) {
    for (key, value) in table {
        let path = if above.is_empty() { key.clone() } else { format!("{above}.{key}") };
        collect(&path, value, secret || is_secret(key, &path, value), secrets);
    }
}

fn collect(path: &str, value: &Toml, secret: bool, secrets: &mut Vec<String>) {
    match value {
        Toml::String(text) if secret => secrets.push(text.clone()),
        Toml::String(text) => {
            secrets.extend(in_uri(text));
            // All of such a path is the way in.
            let way = host_of(text).filter(|_| path == HOOK).and_then(|host| text.get(host.len() + 1..));
            secrets.extend(way.map(str::to_owned));
        }
        Toml::Array(items) => items.iter().for_each(|item| collect(path, item, secret, secrets)),
        Toml::Table(table) => collect_table(path, table, secret, secrets),
        _ => {}
    }
}

/// A URI up to its path.
fn host_of(text: &str) -> Option<&str> {
    let (scheme, rest) = text.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    text.get(..scheme.len() + "://".len() + host.len())
}

/// User with password, the password alone, and the query of a URI.
fn in_uri(text: &str) -> Vec<String> {
    let Some((_, rest)) = text.split_once("://") else { return Vec::new() };
    let authority = rest.split('/').next().unwrap_or_default();
    let user = authority.rsplit_once('@').map(|(user, _)| user);
    let password = user.and_then(|user| user.split_once(':')).map(|(_, password)| password);
    let query = rest.split_once('?').map(|(_, query)| query.split('#').next().unwrap_or_default());
    [user, password, query].into_iter().flatten().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redactor(files: &[&str]) -> Redactor {
        Redactor::new(files.iter().copied(), []).expect("the patterns are right")
    }

    #[track_caller]
    fn hides(shown: &str, secret: &str) {
        assert!(!shown.contains(secret), "{secret} in {shown}");
    }

    const CONFIG: &str = r#"
# password: in-a-comment
[gateway]
name = "pi"
[[server]]
name = "factory"
uri = "coap://user:uri-login@dm.example.org:5683"
[esphome]
keys = { kitchen = "inline-secret", "*" = "star-secret" }
[mqtt]
password = "mqtt-secret"
tls_key_file = "/nowhere/key.pem"
[update]
keys = "/nowhere/keys"
[download]
allow = ["https://fw.example.org/?sig=query-secret"]
[[hook]]
url = "https://chat.example.org/services/way-in"
[vars]
"secret.ssid" = "dotted-secret"
[vars.secret]
wifi = '''
many-line
secret'''
pins = [1234567, "list-secret"]
"#;

    #[test]
    fn a_configuration_keeps_what_is_no_secret() {
        let redactor = redactor(&[CONFIG]);
        let shown = redactor.toml(CONFIG);
        for secret in [
            "in-a-comment",
            "uri-login",
            "inline-secret",
            "star-secret",
            "mqtt-secret",
            "query-secret",
            "many-line",
            "1234567",
            "list-secret",
            "dotted-secret",
            "services/way-in",
        ] {
            hides(&shown, secret);
        }
        for kept in [
            "name = \"pi\"",
            "kitchen",
            "dm.example.org:5683",
            "/nowhere/keys",
            "/nowhere/key.pem",
            "https://fw",
            "https://chat.example.org/***",
        ] {
            assert!(shown.contains(kept), "{kept} is missing in {shown}");
        }
        assert!(redactor.masked() >= 8, "{}", redactor.masked());
        shown.parse::<toml::Table>().expect("it is TOML still");
    }

    #[test]
    fn a_secret_of_the_configuration_is_hidden_wherever_it_turns_up() {
        let redactor = redactor(&[CONFIG]);
        let shown =
            redactor.text("connect failed for mqtt-secret, then inline-secret; asked sig=query-secret, uri-login");
        ["mqtt-secret", "inline-secret", "query-secret", "uri-login"].iter().for_each(|secret| hides(&shown, secret));
        let quoted = self::redactor(&["password = 'a\"quoted\\secret'"]);
        hides(&quoted.text("told=\"x a\\\"quoted\\\\secret y\""), "quoted");
        let json = redactor.json(serde_json::json!({"argv": ["x", "list-secret"], "output": "many-line\nsecret"}));
        ["list-secret", "many-line"].iter().for_each(|secret| hides(&json.to_string(), secret));
    }

    #[test]
    fn a_file_that_does_not_parse_loses_its_texts() {
        for broken in [
            "[mqtt]\npassword = hunter22\n",
            "[esphome.keys]\nkitchen = \"hunter22\n",
            "a = \nwifi = 'hunter22'\n",
            "[x\npsk = \"hunter22\"\n",
            "= \n'''\nhunter22\n'''\n",
            "=\nhunter22\n",
            "= \n# password = hunter22\n",
            "=\nuri = \"coap://u:hunter22@h\"\n",
            "[esphome]\nkeys = { kitchen = \"hunter22\", }, \n",
        ] {
            let redactor = redactor(&[broken]);
            let shown = redactor.toml(broken);
            hides(&shown, "hunter22");
            hides(
                &redactor
                    .drawn(&format!("n.toml:2:1: x: wrong\n  |\n2 | {}\n  | ^^^", broken.lines().nth(1).expect("one"))),
                "hunter22",
            );
        }
        let shown = redactor(&[]).toml("[serial]\npoll = 5\nenabled = true\nx = \"y\n");
        assert!(shown.contains("[serial]\npoll = 5\nenabled = true\nx = ***"), "{shown}");
    }

    #[test]
    fn what_looks_like_a_secret_is_hidden_in_texts_of_others() {
        let redactor = redactor(&[]);
        for (text, secret) in [
            ("GET https://u:hunter22@h/x", "hunter22"),
            ("coap://h/x?token=hunter22#f", "hunter22"),
            ("wifi_password: hunter22", "hunter22"),
            ("{\"api_key\": \"hunter22\", \"a\": 1}", "hunter22"),
            ("{\"api_key\": \"a\\\"hunter22\"}", "hunter22"),
            ("psk='hunter 22'", "hunter"),
            ("Authorization: Bearer hunter22hunter22", "hunter22"),
            ("Authorization: Basic aHVudGVyMjI=", "aHVudGVyMjI"),
            ("args=[\"tool\", \"--password\", \"hunter22\"]", "hunter22"),
            ("tool --wifi-psk hunter22 -v", "hunter22"),
            ("nuncio.ci.F5aa4tPN9xXZ1rV0wq-kxB2", "F5aa4tPN9xXZ1rV0wq"),
            ("$argon2id$v=19$m=19456,t=2,p=1$c2FsdA$aGFzaA", "aGFzaA"),
            ("noise QRTIErOb/fcE9Ukd/5qA3RGYMn0Y+p06U58SCtOXvPc= end", "QRTIErOb"),
            ("AGE-SECRET-KEY-1QQQQQQQQ", "1QQQQQQQQ"),
            ("a\n-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\nabc\n-----END EC PRIVATE KEY-----\nb", "MHcCAQEE"),
            ("-----BEGIN PRIVATE KEY-----\nMHcCAQEE", "MHcCAQEE"),
        ] {
            hides(&redactor.text(text), secret);
        }
        let kept = "flashing begins device=press-3 sha256=9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08 \
                    link=serial:/dev/ttyUSB0 http://fw.example.org/a.hex#version=1.3.0";
        assert_eq!(redactor.text(kept), kept);
    }

    #[test]
    fn documents_keep_their_form() {
        let redactor = redactor(&[]);
        let shown = redactor.json(serde_json::json!({
            "identity": {"kind": "mac", "key": "a0b1c2d3e4f5"},
            "properties": {"api_password": "hunter22", "ver": "1"},
            "argv": ["tool", "--password", "hunter22", "--port", "x"],
            "tokens": 3,
        }));
        assert_eq!(
            shown,
            serde_json::json!({
                "identity": {"kind": "mac", "key": "a0b1c2d3e4f5"},
                "properties": {"api_password": "***", "ver": "1"},
                "argv": ["tool", "--password", "***", "--port", "x"],
                "tokens": 3,
            })
        );
    }
}
