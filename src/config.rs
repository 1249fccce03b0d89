//! The configuration: the embedded, commented defaults with the user's file laid over them key by key, every key
//! checked, every error drawn at its place in the user's file.
//!
//! It collects each module's own Settings type and knows nothing else of them. What needs the catalogue of boards or
//! tools (does that board exist?) is checked by `gateway`, which draws its errors through [`Config::error_at`]. Driven
//! by `main` at start, by `nuncio check`, and by `gateway` on SIGHUP.

mod builtin;
mod check;
mod edit;
mod hints;
mod secrets;
mod shape;
mod source;

use std::fmt;
use std::path::{Path, PathBuf};

use crate::boards::{DeviceEntry, JoinSettings, NamingSettings};
use crate::builtin::BuiltinSettings;
use crate::credentials::Credentials;
use crate::device::{FileError, TapeLine};
use crate::executors::ExecutorSettings;
use crate::hooks::HookSettings;
use crate::mqtt::MqttSettings;
use crate::proxy::ServerSettings;
use crate::store::HistorySettings;
use crate::transports::{
    BleSettings, DiscoverySettings, DiskSettings, EsphomeSettings, MdnsSettings, SerialSettings, TcpSettings,
};
use crate::update::{DownloadSettings, UpdateSettings};
use crate::web::WebSettings;

pub use edit::{Setting, credentials_in, paths_in, with_folder_moved, with_values};

use source::Source;

/// Read when no other file is named; it need not exist.
pub const DEFAULT_FILE: &str = "/etc/nuncio/nuncio.toml";

/// The embedded defaults, every key commented.
pub const DEFAULTS: &str = include_str!("../config/nuncio.toml");

const BUILT_IN: &str = "(built in) nuncio.toml";

/// Largest file that is read, in bytes: some hundred thousand `[[device]]` entries.
const MAX_FILE: u64 = 64 << 20;

/// At most so many errors are told at once.
const MAX_ERRORS: usize = 20;

/// Everything the gateway is told, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// `[gateway]`.
    pub gateway: GatewaySettings,
    /// `[[server]]`, in the file's order; behind them the built-in one, where it is enabled.
    pub servers: Vec<ServerSettings>,
    /// `[builtin_server]`.
    pub builtin_server: BuiltinSettings,
    /// `[[device]]`, in the file's order.
    pub devices: Vec<DeviceEntry>,
    /// `[[discovery]]`, in the file's order.
    pub discoveries: Vec<DiscoverySettings>,
    /// `[[hook]]`, in the file's order.
    pub hooks: Vec<HookSettings>,
    /// `[naming]`.
    pub naming: NamingSettings,
    /// `[join]`.
    pub join: JoinSettings,
    /// `[serial]`.
    pub serial: SerialSettings,
    /// `[disk]`.
    pub disk: DiskSettings,
    /// `[tcp]`.
    pub tcp: TcpSettings,
    /// `[mdns]`.
    pub mdns: MdnsSettings,
    /// `[ble]`.
    pub ble: BleSettings,
    /// `[esphome]`.
    pub esphome: EsphomeSettings,
    /// `[update]`.
    pub update: UpdateSettings,
    /// `[download]`.
    pub download: DownloadSettings,
    /// `[history]`.
    pub history: HistorySettings,
    /// `[web]`.
    pub web: WebSettings,
    /// `[mqtt]`.
    pub mqtt: MqttSettings,
    /// `[executors]`, the defaults and the user's lines together.
    pub executors: ExecutorSettings,
    /// `boards.d` beside the configuration file; need not exist.
    pub boards_dir: PathBuf,
    /// `flash-tools` beside the configuration file; need not exist.
    pub tools_dir: PathBuf,
    /// A tape that is played in place of all transports; no key of the file.
    pub replay: Option<Replay>,
    /// What to read again on SIGHUP: `--config`'s file, or `None` for [`DEFAULT_FILE`].
    pub chosen: Option<PathBuf>,
    user: Option<Source>,
    builtin: Source,
}

/// A tape that is played.
#[derive(Debug, Clone)]
pub struct Replay {
    /// Its lines.
    pub lines: Vec<TapeLine>,
    /// Whether it is played as fast as it can be, not as it was recorded.
    pub at_once: bool,
}

/// `[gateway]`, with its defaults filled in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GatewaySettings {
    /// Name of this gateway.
    pub name: String,
    /// Endpoint name of the gateway itself; `None`: it is none.
    pub endpoint: Option<String>,
    /// State folder.
    pub state: PathBuf,
    /// Path of the control socket.
    pub socket: PathBuf,
    /// Log filter.
    pub log: String,
}

/// Reads the defaults and the user's file: `chosen`, which must exist, or [`DEFAULT_FILE`], which need not.
///
/// # Errors
/// Everything that is wrong in the file, in its order, up to a bound.
pub fn load(chosen: Option<&Path>) -> Result<Config, ConfigError> {
    let file = chosen.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let text = text_of(file, chosen.is_some())?;
    let credentials = Credentials::beside(file);
    let mut config = whole(file, sections(file, text.as_deref(), &|name| credentials.read(name))?)?;
    config.chosen = chosen.map(Path::to_owned);
    Ok(config)
}

/// Where the daemon with this configuration listens. Errors outside `[gateway]` are no concern of its clients, so they
/// are passed over.
///
/// # Errors
/// As [`load`], of `[gateway]` only.
pub fn socket(chosen: Option<&Path>) -> Result<PathBuf, ConfigError> {
    let file = chosen.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let text = text_of(file, chosen.is_some())?;
    let read = sections(file, text.as_deref(), &no_credentials)?;
    let problems = read.problems.into_iter().chain(read.unread);
    let gateway = problems.filter(|error| error.key.split('.').next() == Some("gateway"));
    match (read.gateway, gateway.collect::<Vec<_>>()) {
        (Some(gateway), problems) if problems.is_empty() => Ok(gateway.socket),
        (_, problems) => Err(ConfigError::new(problems)),
    }
}

/// The defaults with `text`, the content of `file`, over them. Reads nothing, so a credential in it is an error.
///
/// # Errors
/// As [`load`].
pub fn parse(file: &Path, text: Option<&str>) -> Result<Config, ConfigError> {
    whole(file, sections(file, text, &no_credentials)?)
}

/// The same for a file of another machine, or of a service whose credentials are not at hand: what names a credential counts as
/// not written, and is no error. With it comes what else is wrong, except where a credential may be the reason.
///
/// # Errors
/// Where a whole section cannot be read.
pub fn parse_leniently(file: &Path, text: Option<&str>) -> Result<(Config, Option<ConfigError>), ConfigError> {
    let mut read = sections(file, text, &no_credentials)?;
    let units: Vec<String> = read.unread.drain(..).map(|error| unit(&error.key).to_owned()).collect();
    read.problems.retain(|error| !units.iter().any(|known| known == unit(&error.key)));
    match (read.gateway, read.rest) {
        (Some(gateway), Some(rest)) => {
            let wrong = (!read.problems.is_empty()).then(|| ConfigError::new(read.problems));
            Ok((assemble(gateway, rest, file, read.user, read.builtin), wrong))
        }
        _ => Err(ConfigError::new(read.problems)),
    }
}

/// The section or entry of a key: `server[1]` of `server[1].uri`.
fn unit(key: &str) -> &str {
    key.split('.').next().unwrap_or(key)
}

fn no_credentials(name: &str) -> Result<String, String> {
    Err(format!("credential `{name}` is not read here"))
}

fn whole(file: &Path, mut read: Read) -> Result<Config, ConfigError> {
    read.problems.append(&mut read.unread);
    match (read.gateway, read.rest) {
        (Some(gateway), Some(rest)) if read.problems.is_empty() => {
            Ok(assemble(gateway, rest, file, read.user, read.builtin))
        }
        _ => Err(ConfigError::new(read.problems)),
    }
}

/// Everything that could be read, and what is wrong with the rest.
struct Read {
    gateway: Option<GatewaySettings>,
    rest: Option<check::Checked>,
    problems: Vec<FileError>,
    /// Credentials that could not be read.
    unread: Vec<FileError>,
    user: Option<Source>,
    builtin: Source,
}

fn sections(file: &Path, text: Option<&str>, credentials: secrets::Read<'_>) -> Result<Read, ConfigError> {
    let (builtin, defaults) = Source::parse(Path::new(BUILT_IN), DEFAULTS).map_err(ConfigError::new)?;
    let parsed = text.map(|text| Source::parse(file, text)).transpose().map_err(ConfigError::new)?;
    let (user, table) = parsed.map_or((None, None), |(source, table)| (Some(source), Some(table)));
    let source = user.as_ref().unwrap_or(&builtin);
    let (mut problems, mut unread) = (Vec::new(), Vec::new());
    let mut table = table.unwrap_or_default();
    secrets::fill(&mut table, source, credentials, &mut unread);
    let raw = shape::read(&defaults, table, source, &mut problems);
    let (gateway, rest) = check::check(raw, source, &mut problems);
    Ok(Read { gateway, rest, problems, unread, user, builtin })
}

fn assemble(
    gateway: GatewaySettings,
    sections: check::Checked,
    file: &Path,
    user: Option<Source>,
    builtin: Source,
) -> Config {
    let beside = |name: &str| file.parent().unwrap_or_else(|| Path::new("/")).join(name);
    let builtin_server = builtin::completed(sections.builtin, &sections.servers, &gateway.state);
    let own = builtin_server.enabled.then(|| builtin::server(&builtin_server));
    Config {
        gateway,
        servers: sections.servers.into_iter().chain(own).collect(),
        builtin_server,
        devices: sections.devices,
        discoveries: sections.discoveries,
        hooks: sections.hooks,
        naming: sections.naming,
        join: sections.join,
        serial: sections.serial,
        disk: sections.disk,
        tcp: sections.tcp,
        mdns: sections.mdns,
        ble: sections.ble,
        esphome: sections.esphome,
        update: sections.update,
        download: sections.download,
        history: sections.history,
        web: sections.web,
        mqtt: sections.mqtt,
        executors: sections.executors,
        boards_dir: beside("boards.d"),
        tools_dir: beside("flash-tools"),
        replay: None,
        chosen: None,
        user,
        builtin,
    }
}

impl Config {
    /// The text of the user's file, when there is one.
    pub fn text(&self) -> Option<&str> {
        self.user.as_ref().map(Source::text)
    }

    /// The user's file, when there is one.
    pub fn file(&self) -> Option<&Path> {
        self.user.as_ref().map(Source::file)
    }

    /// An error at a key, such as `device[2].board` or `executors.NAME`, drawn where the key stands: in the user's file,
    /// else in the embedded one. For what can be checked only against the catalogues.
    pub fn error_at(&self, key: &str, message: impl Into<String>) -> FileError {
        match &self.user {
            Some(user) if user.knows(key) => user.error_at(key, message),
            _ if self.builtin.knows(key) => self.builtin.error_at(key, message),
            Some(user) => user.error_at(key, message),
            None => self.builtin.error_at(key, message),
        }
    }
}

/// `None` for a file that need not exist and does not.
fn text_of(file: &Path, required: bool) -> Result<Option<String>, ConfigError> {
    match read(file) {
        Ok(text) => Ok(Some(text)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => Ok(None),
        Err(error) => Err(unreadable(file, &error).into()),
    }
}

fn read(file: &Path) -> std::io::Result<String> {
    let length = std::fs::metadata(file)?.len();
    if length > MAX_FILE {
        return Err(std::io::Error::other(format!(
            "{length} bytes are more than a configuration may have ({MAX_FILE})"
        )));
    }
    std::fs::read_to_string(file)
}

fn unreadable(file: &Path, error: &std::io::Error) -> FileError {
    let told = FileError::whole(file, format!("cannot read the configuration: {error}"));
    match error.kind() {
        std::io::ErrorKind::NotFound => told.with_hint("without --config the built-in defaults hold"),
        std::io::ErrorKind::PermissionDenied => told.with_hint("it must be readable for the user the gateway runs as"),
        _ => told,
    }
}

/// What is wrong in a configuration: at least one error, each drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The errors in the order of the file.
    pub errors: Vec<FileError>,
    /// How many more there are.
    pub more: usize,
}

impl ConfigError {
    fn new(mut errors: Vec<FileError>) -> Self {
        errors.sort_by_key(|error| (error.line, error.column));
        errors.dedup();
        let more = errors.len().saturating_sub(MAX_ERRORS);
        errors.truncate(MAX_ERRORS);
        Self { errors, more }
    }
}

impl From<FileError> for ConfigError {
    fn from(error: FileError) -> Self {
        Self { errors: vec![error], more: 0 }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n\n")?;
            }
            error.fmt(f)?;
        }
        if self.more > 0 {
            write!(f, "\n\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigError {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_hold_without_a_file() {
        let config = parse(Path::new("/etc/nuncio/nuncio.toml"), None).expect("the embedded file is right");
        assert_eq!(config.gateway.state, Path::new("/var/lib/nuncio"));
        assert_eq!(config.gateway.socket, Path::new("/run/nuncio/control.sock"));
        assert_eq!(config.boards_dir, Path::new("/etc/nuncio/boards.d"));
        assert!(config.servers.is_empty() && config.devices.is_empty() && config.file().is_none());
        assert_eq!(config.executors.0.len(), 9);
    }

    #[test]
    fn every_commented_example_of_the_embedded_file_is_valid() {
        let is_key = |line: &str| {
            let line = line.trim_start();
            line.starts_with("[[") || line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(is_key_char))
        };
        let text: String = DEFAULTS
            .lines()
            .filter_map(|line| line.strip_prefix("# ").filter(|rest| is_key(rest)).or(Some(line)))
            .flat_map(|line| [line, "\n"])
            .collect();
        let config = parse(Path::new("all.toml"), Some(&text)).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!((config.servers.len(), config.devices.len()), (1, 1));
        assert_eq!(config.gateway.name, "workshop-pi");
        assert_eq!(config.servers[0].lifetime.as_secs(), 300);
    }

    fn is_key_char(c: char) -> bool {
        c.is_ascii_lowercase() || c == '_'
    }

    #[test]
    fn a_users_keys_lie_over_the_defaults_one_by_one() {
        let text = "[serial]\nwatch = []\n[executors]\nmine = \"dd\"\nesp32 = { raw = \"dd\" }\n";
        let config = parse(Path::new("/x/n.toml"), Some(text)).expect("valid");
        assert!(config.serial.watch.is_empty());
        assert_eq!(config.serial.poll.as_secs(), 1);
        assert_eq!(config.executors.0.len(), 10);
        let crate::executors::ToolChoice::ByFormat(by_format) = &config.executors.0["esp32"] else {
            panic!("a table stays a table")
        };
        assert_eq!(by_format.len(), 2);
    }

    #[test]
    fn the_socket_lies_in_a_state_folder_of_its_own() {
        let config = parse(Path::new("/x/n.toml"), Some("[gateway]\nstate = \"/srv/n\"\n")).expect("valid");
        assert_eq!(config.gateway.socket, Path::new("/srv/n/control.sock"));
    }

    #[test]
    fn leniently_a_credential_is_no_error_and_hides_none_elsewhere() {
        let of = |more: &str| {
            let text = format!(
                "[gateway]\nname = \"here\"\n[esphome.keys]\na = {{ credential = \"x\" }}\n\
                 [[server]]\nname = {{ credential = \"n\" }}\nshort_id = 1\nuri = \"coap://h\"\n{more}"
            );
            parse(Path::new("/x/n.toml"), Some(&text)).expect_err("none is read here");
            parse_leniently(Path::new("/x/n.toml"), Some(&text)).unwrap_or_else(|error| panic!("{error}"))
        };
        let (config, wrong) = of("[download]\nca = [\"/a.pem\", { credential = \"ca\" }]\n");
        assert_eq!((config.gateway.name.as_str(), wrong), ("here", None));
        assert_eq!(config.download.ca, [Path::new("/a.pem")]);
        let (config, wrong) = of("[[server]]\nname = \"s\"\nshort_id = 0\nuri = \"coap://h\"\n");
        let wrong = wrong.expect("an error").errors;
        assert_eq!((config.servers.len(), wrong.len(), wrong[0].key.as_str()), (1, 1, "server[1].short_id"));
        parse_leniently(Path::new("/x/n.toml"), Some("[gateway]\nnaem = 1\n")).expect_err("no section to go by");
    }

    #[test]
    fn any_text_may_be_a_credential() {
        let key = "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=";
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("nuncio.toml");
        std::fs::create_dir(folder.path().join("credentials")).expect("made");
        std::fs::write(folder.path().join("credentials/api"), format!("{key}\n")).expect("written");
        let written = |name: &str| {
            std::fs::write(&file, format!("[esphome.keys]\na = \"{key}\"\nb = {{ credential = \"{name}\" }}\n"))
        };
        written("api").expect("written");
        let keys = load(Some(&file)).unwrap_or_else(|error| panic!("{error}")).esphome.keys;
        assert_eq!(keys["a"], keys["b"]);
        written("gone").expect("written");
        let error = load(Some(&file)).expect_err("there is no such credential");
        assert_eq!(error.errors.len(), 1, "{error}");
        assert!(error.to_string().contains("nuncio.toml:3:"), "{error}");
        assert!(
            error.to_string().contains("there is no credential `gone`") && !error.to_string().contains(key),
            "{error}"
        );
    }

    #[test]
    fn a_key_is_found_in_the_file_it_comes_from() {
        let config = parse(Path::new("/x/n.toml"), Some("[executors]\nmine = \"dd\"\n")).expect("valid");
        assert!(config.error_at("executors.mine", "m").to_string().starts_with("/x/n.toml:2:"));
        let builtin = config.error_at("executors.arduino-uno", "m").to_string();
        assert!(builtin.starts_with("(built in) nuncio.toml:"), "{builtin}");
    }
}
