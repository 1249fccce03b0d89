//! What a type cannot say: ranges, uniqueness, and texts that have a form of their own.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::time::Duration;

use url::Url;

use crate::boards::{DeviceEntry, JoinSettings, NamingSettings};
use crate::builtin::BuiltinSettings;
use crate::device::{DISKS, FileError};
use crate::executors::ExecutorSettings;
use crate::hooks::{HOOKS_MAX, HookSettings};
use crate::mqtt::MqttSettings;
use crate::proxy::ServerSettings;
use crate::store::HistorySettings;
use crate::transports::{
    BleSettings, DiscoverySettings, DiskSettings, EsphomeSettings, MdnsSettings, SerialSettings, TcpSettings,
};
use crate::update::{DownloadSettings, UpdateSettings};
use crate::web::WebSettings;

use super::GatewaySettings;
use super::shape::{Raw, RawGateway};
use super::source::Source;

/// Longest name of a gateway, server or device, in bytes.
const MAX_NAME: usize = 63;
/// Longest endpoint name in bytes: with `ep=` it is one Uri-Query option, at most 255 (RFC 7252, 5.10).
const MAX_ENDPOINT: usize = 252;
/// Longest path of a Unix socket in bytes: `sun_path` holds 107, and while it is made its name is up to 12 longer.
const MAX_SOCKET: usize = 95;
/// Smallest history, in bytes: names and journal of many devices fit beside it.
const MIN_HISTORY: u64 = 1 << 20;
/// `[gateway] state` as the defaults have it, and the folder for sockets that goes with it.
const USUAL_STATE: &str = "/var/lib/nuncio";
const RUNTIME: &str = "/run/nuncio";
/// The gateway's endpoint name is made from its name.
const AUTO: &str = "auto";
/// The name where the machine has none that could be used.
const NAMELESS: &str = "nuncio";

/// What passed.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) servers: Vec<ServerSettings>,
    pub(super) builtin: BuiltinSettings,
    pub(super) devices: Vec<DeviceEntry>,
    pub(super) discoveries: Vec<DiscoverySettings>,
    pub(super) hooks: Vec<HookSettings>,
    pub(super) naming: NamingSettings,
    pub(super) join: JoinSettings,
    pub(super) serial: SerialSettings,
    pub(super) disk: DiskSettings,
    pub(super) tcp: TcpSettings,
    pub(super) mdns: MdnsSettings,
    pub(super) ble: BleSettings,
    pub(super) esphome: EsphomeSettings,
    pub(super) update: UpdateSettings,
    pub(super) download: DownloadSettings,
    pub(super) history: HistorySettings,
    pub(super) web: WebSettings,
    pub(super) mqtt: MqttSettings,
    pub(super) executors: ExecutorSettings,
}

/// Checks what was read, adding what is wrong to `problems`; `None` where a section could not be read at all.
pub(super) fn check(
    raw: Raw,
    source: &Source,
    problems: &mut Vec<FileError>,
) -> (Option<GatewaySettings>, Option<Checked>) {
    let mut checker = Checker { source, problems };
    checker.servers(&raw.servers);
    let builtin = raw.builtin.inspect(|builtin| checker.builtin(builtin, &raw.servers));
    checker.discoveries(&raw.discoveries);
    checker.hooks(&raw.hooks);
    let gateway = raw.gateway.map(|gateway| checker.gateway(gateway));
    checker.devices(&raw.devices, gateway.as_ref().and_then(|gateway| gateway.endpoint.as_deref()));
    let naming = raw.naming.inspect(|naming| checker.naming(naming));
    let join = raw.join.inspect(|join| checker.join(join));
    let serial = raw.serial.inspect(|serial| checker.serial(serial));
    let disk = raw.disk.inspect(|disk| checker.disk(disk));
    let tcp = raw.tcp.inspect(|tcp| checker.tcp(tcp));
    let mdns = raw.mdns.inspect(|mdns| checker.mdns(mdns));
    let ble = raw.ble.inspect(|ble| checker.ble(ble));
    let update = raw.update.inspect(|update| checker.update(update));
    let download = raw.download.inspect(|download| checker.download(download));
    let history = raw.history.inspect(|history| checker.history(history));
    let web = raw.web.inspect(|web| checker.web(web));
    let mqtt = raw.mqtt.inspect(|mqtt| checker.mqtt(mqtt));
    let rest = || {
        Some(Checked {
            servers: raw.servers.into_iter().map(|(_, server)| server).collect(),
            builtin: builtin?,
            devices: raw.devices.into_iter().map(|(_, device)| device).collect(),
            discoveries: raw.discoveries.into_iter().map(|(_, discovery)| discovery).collect(),
            hooks: raw.hooks.into_iter().map(|(_, hook)| hook).collect(),
            naming: naming?,
            join: join?,
            serial: serial?,
            disk: disk?,
            tcp: tcp?,
            mdns: mdns?,
            ble: ble?,
            esphome: raw.esphome?,
            update: update?,
            download: download?,
            history: history?,
            web: web?,
            mqtt: mqtt?,
            executors: raw.executors?,
        })
    };
    (gateway, rest())
}

struct Checker<'s> {
    source: &'s Source,
    problems: &'s mut Vec<FileError>,
}

impl Checker<'_> {
    fn fail(&mut self, key: &str, message: impl Into<String>) {
        self.problems.push(self.source.error_at(key, message));
    }

    fn fail_with_hint(&mut self, key: &str, message: impl Into<String>, hint: &str) {
        self.problems.push(self.source.error_at(key, message).with_hint(hint));
    }

    fn require(&mut self, right: bool, key: &str, message: &str) {
        if !right {
            self.fail(key, message);
        }
    }

    fn within(&mut self, key: &str, value: Duration, least: Duration, most: Duration) {
        if value < least || value > most {
            let (least, most) = (humantime::format_duration(least), humantime::format_duration(most));
            self.fail(key, format!("expected a duration from {least} to {most}"));
        }
    }

    fn gateway(&mut self, raw: RawGateway) -> GatewaySettings {
        if let Some(name) = &raw.name {
            let right = !name.is_empty() && name.len() <= MAX_NAME && name.chars().all(is_name_char);
            self.require(right, "gateway.name", "expected 1 to 63 letters, digits, '.', '-' or '_'");
        }
        let state = raw.state.unwrap_or_default();
        self.require(state.is_absolute(), "gateway.state", "expected an absolute path");
        let absolute = raw.socket.as_ref().is_none_or(|socket| socket.is_absolute());
        self.require(absolute, "gateway.socket", "expected an absolute path");
        let socket = raw.socket.unwrap_or_else(|| default_socket(&state));
        if socket.as_os_str().len() > MAX_SOCKET {
            let message = format!("`{}` is too long for a socket: at most {MAX_SOCKET} bytes", socket.display());
            self.fail_with_hint("gateway.socket", message, "set [gateway] socket to a shorter path");
        }
        let log = raw.log.unwrap_or_default();
        if let Err(error) = tracing_subscriber::EnvFilter::builder().parse(&log) {
            let hint = "for example \"info\" or \"info,nuncio::transports=debug\"";
            self.fail_with_hint("gateway.log", format!("`{log}` is no log filter: {error}"), hint);
        }
        let name = raw.name.unwrap_or_else(host_name);
        let endpoint = match raw.endpoint.as_deref().unwrap_or(AUTO) {
            AUTO => Some(format!("gateway-{name}")),
            "" => None,
            other => Some(other.to_owned()),
        };
        let right = endpoint.as_ref().is_none_or(|name| is_printable(name) && name.len() <= MAX_ENDPOINT);
        self.require(right, "gateway.endpoint", "expected at most 252 bytes without control characters");
        GatewaySettings { name, endpoint, state, socket, log }
    }

    fn servers(&mut self, servers: &[(usize, ServerSettings)]) {
        let (mut names, mut ids) = (HashMap::new(), HashMap::new());
        for (number, server) in servers {
            let key = |name: &str| format!("server[{number}].{name}");
            self.name(&key("name"), &server.name);
            self.unique(&mut names, &key("name"), server.name.clone(), "server");
            if matches!(server.short_id, 0 | u16::MAX) {
                self.fail(&key("short_id"), "expected a short server id from 1 to 65534");
            }
            self.unique(&mut ids, &key("short_id"), server.short_id, "short server id");
            self.server_uri(&key("uri"), &server.uri);
            self.server_times(number, server);
            if server.binding != "U" {
                self.fail_with_hint(
                    &key("binding"),
                    format!("binding `{}` is not there yet", server.binding),
                    "only \"U\" (UDP) for now",
                );
            }
        }
    }

    /// One more server like any other: what is unique among them is unique with it, too.
    fn builtin(&mut self, builtin: &BuiltinSettings, servers: &[(usize, ServerSettings)]) {
        if !builtin.enabled {
            return;
        }
        self.name("builtin_server.name", &builtin.name);
        self.require(builtin.port != 0, "builtin_server.port", "expected a port from 1 to 65535");
        if let Some((number, _)) = servers.iter().find(|(_, server)| server.name == builtin.name) {
            let line = self.source.error_at(&format!("server[{number}].name"), "").line;
            let message = format!("server `{}` is there already, in line {line}", builtin.name);
            self.fail_with_hint("builtin_server.name", message, "give one of them another name");
        }
        if let Some(short_id) = builtin.short_id {
            let right = !matches!(short_id, 0 | u16::MAX);
            self.require(right, "builtin_server.short_id", "expected a short server id from 1 to 65534");
            let taken = servers.iter().any(|(_, server)| server.short_id == short_id);
            self.require(!taken, "builtin_server.short_id", "a [[server]] has this short server id");
        }
        let absolute = builtin.drop.as_ref().is_none_or(|drop| drop.is_absolute());
        self.require(absolute, "builtin_server.drop", "expected an absolute path");
    }

    fn server_times(&mut self, number: &usize, server: &ServerSettings) {
        let lifetime = server.lifetime;
        let whole = lifetime.subsec_nanos() == 0 && (1..=u64::from(u32::MAX)).contains(&lifetime.as_secs());
        self.require(whole, &format!("server[{number}].lifetime"), "expected whole seconds, at least \"1s\"");
        let retry = format!("server[{number}].retry");
        self.within(&retry, server.retry, Duration::from_millis(100), DAY);
        self.within(&format!("{retry}_max"), server.retry_max, Duration::from_millis(100), DAY);
        if server.retry > server.retry_max {
            self.fail(&retry, "the first wait is longer than the longest (`retry_max`)");
        }
    }

    fn server_uri(&mut self, key: &str, uri: &str) {
        let wrong = "expected coap://HOST[:PORT][/PATH]";
        let parsed = match Url::parse(uri) {
            Ok(parsed) => parsed,
            Err(error) => return self.fail(key, format!("`{uri}` is no URI ({error}): {wrong}")),
        };
        match parsed.scheme() {
            "coap" => {}
            "coaps" => {
                let hint = "use coap:// on a network you trust, for example inside a VPN";
                return self.fail_with_hint(key, "DTLS (coaps) is not there yet", hint);
            }
            other => return self.fail(key, format!("scheme `{other}` is not spoken here: {wrong}")),
        }
        let host = parsed.host_str().is_some_and(|host| !host.is_empty());
        self.require(host && parsed.port() != Some(0), key, wrong);
        let login = !parsed.username().is_empty() || parsed.password().is_some();
        self.require(!login && parsed.fragment().is_none(), key, "neither a login nor a fragment has a meaning here");
    }

    fn discoveries(&mut self, discoveries: &[(usize, DiscoverySettings)]) {
        let mut names = BTreeSet::new();
        for (number, discovery) in discoveries {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
            let good = (1..=63).contains(&discovery.name.len()) && discovery.name.bytes().all(plain);
            let key = |key: &str| format!("discovery[{number}].{key}");
            self.require(good, &key("name"), "letters, digits, `.`, `_` and `-`, at most 63");
            self.require(names.insert(&discovery.name), &key("name"), "another [[discovery]] has this name");
            let own = discovery.name == DISKS;
            self.require(!own, &key("name"), "the gateway's own [disk] has this name");
            let whole = discovery.program.first().is_some_and(|program| program.starts_with('/'));
            self.require(whole, &key("program"), "expected the program's absolute path, and its arguments");
        }
    }

    fn hooks(&mut self, hooks: &[(usize, HookSettings)]) {
        let mut names = HashMap::new();
        for (number, hook) in hooks {
            let key = |key: &str| format!("hook[{number}].{key}");
            for (name, flaw) in hook.flaws() {
                self.fail(&key(name), flaw);
            }
            self.unique(&mut names, &key("name"), hook.name.clone(), "hook");
            self.within(&key("timeout"), hook.timeout, Duration::from_millis(100), Duration::from_secs(3600));
            for (number, file) in hook.ca.iter().enumerate() {
                self.require(file.is_absolute(), &key(&format!("ca[{number}]")), "expected an absolute path");
            }
        }
        if let Some((number, _)) = hooks.get(HOOKS_MAX) {
            self.fail(&format!("hook[{number}].name"), format!("more than {HOOKS_MAX} hooks"));
        }
    }

    fn devices(&mut self, devices: &[(usize, DeviceEntry)], own: Option<&str>) {
        let (mut names, mut endpoints, mut links) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (number, device) in devices {
            let key = |name: &str| format!("device[{number}].{name}");
            self.name(&key("name"), &device.name);
            self.unique(&mut names, &key("name"), device.name.clone(), "device");
            self.unique(&mut links, &key("link"), device.link.clone(), "link");
            if let Some(endpoint) = &device.endpoint {
                let right = is_printable(endpoint) && endpoint.len() <= MAX_ENDPOINT;
                self.require(right, &key("endpoint"), "expected 1 to 252 bytes without control characters");
                self.unique(&mut endpoints, &key("endpoint"), endpoint.clone(), "endpoint");
                if own == Some(endpoint.as_str()) {
                    let hint = "give the device or the gateway another one; [gateway] endpoint = \"\" does without";
                    self.fail_with_hint(&key("endpoint"), format!("`{endpoint}` is the gateway itself"), hint);
                }
            }
        }
    }

    fn name(&mut self, key: &str, name: &str) {
        let right = is_printable(name) && name.len() <= MAX_NAME && !name.starts_with('-') && name.trim() == name;
        let message = "expected a name of 1 to 63 bytes, without control characters, '-' in front, or space around it";
        self.require(right, key, message);
    }

    fn unique<T>(&mut self, seen: &mut HashMap<T, String>, key: &str, value: T, what: &str)
    where
        T: std::hash::Hash + Eq + std::fmt::Display,
    {
        match seen.get(&value) {
            Some(first) => {
                let line = self.source.error_at(first, "").line;
                self.fail(key, format!("{what} `{value}` is there already, in line {line}"));
            }
            None => {
                seen.insert(value, key.to_owned());
            }
        }
    }

    fn serial(&mut self, serial: &SerialSettings) {
        self.within("serial.again_after", serial.again_after, Duration::from_secs(1), Duration::from_secs(86_400));
        self.within("serial.poll", serial.poll, Duration::from_millis(50), Duration::from_secs(3600));
        if let Err((number, error)) = serial.check_sockets() {
            let key = format!("serial.hub_ports[{number}]");
            self.fail_with_hint(&key, format!("no pattern for USB paths: {error}"), "for example \"1-1.*\"");
        }
        for (name, patterns) in [("watch", &serial.watch), ("deny", &serial.deny)] {
            for (number, pattern) in patterns.iter().enumerate() {
                self.glob(&format!("serial.{name}[{number}]"), pattern);
            }
        }
    }

    fn web(&mut self, web: &WebSettings) {
        for (key, file) in [("certificate", &web.certificate), ("key", &web.key), ("socket", &web.socket)] {
            let absolute = file.as_ref().is_none_or(|file| file.is_absolute());
            self.require(absolute, &format!("web.{key}"), "expected an absolute path");
        }
        if web.certificate.is_some() != web.key.is_some() {
            let key = if web.key.is_some() { "web.key" } else { "web.certificate" };
            self.fail_with_hint(key, "a certificate needs its key", "set both `certificate` and `key`, or neither");
        }
        if web.socket.as_ref().is_some_and(|socket| socket.as_os_str().len() > MAX_SOCKET) {
            self.fail("web.socket", format!("too long for a socket: at most {MAX_SOCKET} bytes"));
        }
        for (number, address) in web.listen.iter().enumerate() {
            let key = format!("web.listen[{number}]");
            self.require(address.port() != 0, &key, "expected a port from 1 to 65535");
            let before = web.listen.iter().take(number);
            self.require(!before.into_iter().any(|other| other == address), &key, "it stands there twice");
        }
    }

    fn disk(&mut self, disk: &DiskSettings) {
        for (number, pattern) in disk.paths.iter().enumerate() {
            if let Err(error) = DiskSettings::check(pattern) {
                self.fail(&format!("disk.paths[{number}]"), error.to_string());
            }
        }
    }

    fn glob(&mut self, key: &str, pattern: &str) {
        self.require(pattern.starts_with('/'), key, "expected an absolute path or glob, for example \"/dev/ttyUSB*\"");
        if let Err(error) = globset::Glob::new(pattern) {
            self.fail(key, format!("not a glob: {}", error.kind()));
        }
    }

    fn naming(&mut self, naming: &NamingSettings) {
        if let Err(wrong) = naming.check() {
            self.fail("naming.endpoint", wrong);
        }
    }

    fn join(&mut self, join: &JoinSettings) {
        for (name, patterns) in [("allow", &join.allow), ("deny", &join.deny)] {
            for (number, pattern) in patterns.iter().enumerate() {
                if let Err(error) = globset::Glob::new(pattern) {
                    self.fail(&format!("join.{name}[{number}]"), format!("not a glob: {}", error.kind()));
                }
            }
        }
    }

    fn tcp(&mut self, tcp: &TcpSettings) {
        self.within("tcp.probe", tcp.probe, Duration::from_millis(100), DAY);
        self.within("tcp.timeout", tcp.timeout, Duration::from_millis(10), Duration::from_secs(600));
    }

    fn mdns(&mut self, mdns: &MdnsSettings) {
        if !mdns.verify.is_zero() {
            self.within("mdns.verify", mdns.verify, Duration::from_secs(5), DAY);
        }
        for (number, name) in mdns.interfaces.iter().enumerate() {
            // As the kernel has it (dev_valid_name): fewer than 16 bytes, no blanks, no slash.
            let fits =
                (1..16).contains(&name.len()) && !name.contains(['/', ':']) && !name.contains(char::is_whitespace);
            self.require(
                fits,
                &format!("mdns.interfaces[{number}]"),
                "expected the name of an interface, e.g. \"wlan0\"",
            );
        }
    }

    fn ble(&mut self, ble: &BleSettings) {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        self.within("ble.scan", ble.scan, second, Duration::from_secs(600));
        self.within("ble.pause", ble.pause, Duration::ZERO, hour);
        self.within("ble.pause_max", ble.pause_max, ble.pause, hour);
        self.require(ble.gone_after > 0, "ble.gone_after", "expected at least 1 scan");
        let named = |name: &str| name.strip_prefix("hci").is_some_and(|number| number.parse::<u16>().is_ok());
        self.require(
            ble.adapter.is_empty() || named(&ble.adapter),
            "ble.adapter",
            "expected an adapter as BlueZ calls it, e.g. \"hci0\", or \"\" for the first one",
        );
    }

    fn update(&mut self, update: &UpdateSettings) {
        self.require(update.keys.is_absolute(), "update.keys", "expected an absolute path");
        self.within("update.owner_timeout", update.owner_timeout, Duration::from_secs(1), YEAR);
        self.within("update.staged_timeout", update.staged_timeout, Duration::from_secs(1), YEAR);
        self.within("update.push_timeout", update.push_timeout, Duration::from_secs(1), DAY);
    }

    fn download(&mut self, download: &DownloadSettings) {
        for (number, prefix) in download.allow.iter().enumerate() {
            self.prefix(&format!("download.allow[{number}]"), prefix);
        }
        for (number, file) in download.ca.iter().enumerate() {
            self.require(file.is_absolute(), &format!("download.ca[{number}]"), "expected an absolute path");
        }
        self.require(download.max_size > 0, "download.max_size", "expected at least one byte");
        self.within("download.stalled", download.stalled, Duration::from_millis(100), DAY);
        self.require(download.retries <= 1000, "download.retries", "expected at most 1000");
        self.require(download.redirects <= 50, "download.redirects", "expected at most 50");
    }

    fn history(&mut self, history: &HistorySettings) {
        self.within("history.keep", history.keep, DAY, YEAR * 100);
        let right = history.max_size >= MIN_HISTORY;
        self.require(right, "history.max_size", "expected at least 1048576 bytes (1 MiB)");
    }

    fn mqtt(&mut self, mqtt: &MqttSettings) {
        for (key, flaw) in mqtt.flaws() {
            self.fail(&format!("mqtt.{key}"), flaw);
        }
        for (number, file) in mqtt.ca.iter().enumerate() {
            self.require(file.is_absolute(), &format!("mqtt.ca[{number}]"), "expected an absolute path");
        }
        self.within("mqtt.remove_after", mqtt.remove_after, Duration::ZERO, YEAR);
    }

    fn prefix(&mut self, key: &str, prefix: &str) {
        let hint = "for example \"https://fw.example.org/\"";
        let message = match Url::parse(prefix) {
            Ok(url) if !matches!(url.scheme(), "http" | "https") => "expected an http or https URL",
            Ok(url) if !url.username().is_empty() || url.password().is_some() => "a login has no place in a prefix",
            Ok(url) if url.query().is_some() || url.fragment().is_some() => "expected a URL up to its path",
            Ok(_) => return,
            Err(_) => "expected an http or https URL",
        };
        self.fail_with_hint(key, message, hint);
    }
}

const DAY: Duration = Duration::from_secs(86_400);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn is_name_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_')
}

fn is_printable(text: &str) -> bool {
    !text.is_empty() && !text.chars().any(char::is_control)
}

/// Where services have their sockets; a gateway with a state folder of its own keeps everything there.
fn default_socket(state: &Path) -> PathBuf {
    let folder = if state == Path::new(USUAL_STATE) { Path::new(RUNTIME) } else { state };
    folder.join("control.sock")
}

/// The host name as far as it can be a gateway's name.
fn host_name() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name: String = host.trim().chars().map(|c| if is_name_char(c) { c } else { '-' }).take(MAX_NAME).collect();
    if name.is_empty() { NAMELESS.to_owned() } else { name }
}
