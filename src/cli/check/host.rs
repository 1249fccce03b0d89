//! What the machine has to say to a configuration: may this user use the state folder, the ports and the certificates?

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use globset::GlobBuilder;
use nuncio::config::Config;
use nuncio::control::{CheckItem, CheckState, Cure, group_name, user_name};
use nuncio::store::Store;
use rustix::fs::{Access, AtFlags, CWD, accessat};

/// So many ports are told of; a machine with more has a `watch` that is too wide.
const MAX_PORTS: usize = 256;

/// The state folder: there and writable, or to be made.
pub(super) fn state_folder(config: &Config) -> CheckItem {
    let dir = &config.gateway.state;
    let item = |state, detail: String| CheckItem::new("state folder", state, format!("{}: {detail}", dir.display()));
    if let Some(holder) = Store::holder(dir) {
        let pid = holder.pid.map_or_else(String::new, |pid| format!(" (pid {pid})"));
        return item(CheckState::Ok, format!("in use by the running daemon{pid}"));
    }
    let user = me();
    match std::fs::metadata(dir) {
        Ok(found) if !found.is_dir() => item(CheckState::Error, "is no folder".to_owned()),
        Ok(found) if !may(dir, Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK) => {
            item(CheckState::Error, format!("user {user} may not write there ({})", permissions(&found)))
                .with_hint(format!("sudo chown -R {user}: {}", dir.display()))
                .with_cure(owned(dir, &user))
        }
        Ok(_) => item(CheckState::Ok, format!("writable for user {user}")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => to_be_made(dir, &user, item),
        Err(error) => item(CheckState::Error, error.to_string()),
    }
}

fn owned(dir: &Path, user: &str) -> Cure {
    let (owner, dir) = (format!("{user}:"), dir.display().to_string());
    Cure::new(format!("give {dir} to {user}"), &[&["chown", "-R", &owner, &dir]])
}

fn to_be_made(dir: &Path, user: &str, item: impl Fn(CheckState, String) -> CheckItem) -> CheckItem {
    let above = dir.ancestors().find(|path| path.exists()).unwrap_or_else(|| Path::new("/"));
    if may(above, Access::WRITE_OK | Access::EXEC_OK) {
        return item(CheckState::Ok, "will be made at the first start".to_owned());
    }
    let command = format!("sudo install -d -m 0750 -o {user} {}", dir.display());
    item(CheckState::Error, format!("is not there, and user {user} may not make it in {}", above.display()))
        .with_hint(command)
        .with_cure(made(dir, user))
}

fn made(dir: &Path, user: &str) -> Cure {
    let dir = dir.display().to_string();
    Cure::new(format!("make {dir} for {user}"), &[&["install", "-d", "-m", "0750", "-o", user, &dir]])
}

/// The certificates of `[download] ca`.
pub(super) fn certificates(config: &Config) -> Vec<CheckItem> {
    let named = config.download.ca.iter().enumerate();
    named
        .filter_map(|(number, file)| {
            let error = std::fs::File::open(file).err()?;
            let message = format!("{}: {error}", file.display());
            let error = config.error_at(&format!("download.ca[{number}]"), message);
            Some(CheckItem::of_file_error("certificate authority", &error))
        })
        .collect()
}

/// The serial ports that the configuration names.
pub(super) fn ports(config: &Config) -> Vec<CheckItem> {
    let named = named_ports(config);
    if named.is_empty() && !config.serial.watch.is_empty() {
        let detail = format!("none of {} is there now", config.serial.watch.join(", "));
        return vec![CheckItem::new("ports", CheckState::Ok, detail)];
    }
    named.iter().take(MAX_PORTS).map(|(path, device)| port(path, device.as_deref())).collect()
}

/// By path; with the name of its `[[device]]`, if it has one.
fn named_ports(config: &Config) -> BTreeMap<PathBuf, Option<String>> {
    let watched = config.serial.watch.iter().flat_map(|pattern| matches(pattern));
    let mut ports: BTreeMap<PathBuf, Option<String>> = watched.map(|path| (path, None)).collect();
    for device in &config.devices {
        if let Some(path) = device.link.serial_path() {
            ports.insert(path.to_owned(), Some(device.name.clone()));
        }
    }
    let denied: Vec<PathBuf> = config.serial.deny.iter().flat_map(|pattern| matches(pattern)).collect();
    ports.retain(|path, _| !denied.contains(path));
    ports
}

/// What a pattern with a plain folder in front matches.
fn matches(pattern: &str) -> Vec<PathBuf> {
    let Ok(glob) = GlobBuilder::new(pattern).literal_separator(true).build() else { return Vec::new() };
    let matcher = glob.compile_matcher();
    let Some(folder) = Path::new(pattern).parent() else { return Vec::new() };
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    entries.flatten().map(|entry| entry.path()).filter(|path| matcher.is_match(path)).take(MAX_PORTS).collect()
}

fn port(path: &Path, device: Option<&str>) -> CheckItem {
    let of_device = device.map_or_else(String::new, |name| format!(" ({name})"));
    let what = format!("port {}{of_device}", path.display());
    let found = match std::fs::metadata(path) {
        Ok(found) => found,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return CheckItem::new(what, CheckState::Warning, "is not there now");
        }
        Err(error) => return CheckItem::new(what, CheckState::Error, error.to_string()),
    };
    if !found.file_type().is_char_device() {
        return CheckItem::new(what, CheckState::Error, "is no tty")
            .with_hint("name a device node, such as /dev/ttyUSB0");
    }
    let user = me();
    if may(path, Access::READ_OK | Access::WRITE_OK) {
        return CheckItem::new(what, CheckState::Ok, format!("user {user} may use it"));
    }
    let detail = format!("user {user} may not use it ({})", permissions(&found));
    let item = CheckItem::new(what, CheckState::Error, detail).with_hint(remedy(&found, &user));
    match joinable(&found) {
        Some(group) => item.with_cure(joined(&group, &user)),
        None => item,
    }
}

fn joined(group: &str, user: &str) -> Cure {
    let join: &[&str] = &["usermod", "-aG", group, user];
    // A process keeps the groups that it began with.
    let again: &[&str] = &["systemctl", "try-restart", "nuncio.service"];
    let what = format!("put {user} into the group {group}");
    if user == SERVICE_USER { Cure::new(what, &[join, again]) } else { Cure::new(what, &[join]) }
}

/// The group whose members may use a port, where joining it helps: it may read and write, and is not root's own.
fn joinable(found: &Metadata) -> Option<String> {
    let helps = found.permissions().mode() & 0o060 == 0o060 && found.gid() != 0;
    helps.then(|| group_name(found.gid()))
}

fn remedy(found: &Metadata, user: &str) -> String {
    match joinable(found) {
        Some(group) => format!("sudo usermod -aG {group} {user}, then start the daemon (or log in) again"),
        None => "install the udev rules that come with nuncio, or check as the user the daemon runs as".to_owned(),
    }
}

/// `root:dialout 0660`.
fn permissions(found: &Metadata) -> String {
    let mode = found.permissions().mode() & 0o7777;
    format!("{}:{} {mode:04o}", user_name(found.uid()), group_name(found.gid()))
}

/// The user of the service that the package brings: root is not asked whether root may.
const SERVICE_USER: &str = "nuncio";

fn me() -> String {
    match service_user() {
        Some(_) => SERVICE_USER.to_owned(),
        None => user_name(rustix::process::geteuid().as_raw()),
    }
}

/// By the effective user, as opening will be; asked as root, by the service's.
fn may(path: &Path, access: Access) -> bool {
    match (service_user(), std::fs::metadata(path)) {
        (Some(user), Ok(found)) => user.may(&found, access),
        _ => accessat(CWD, path, access, AtFlags::EACCESS).is_ok(),
    }
}

/// A user who is not this one.
struct Other {
    uid: u32,
    groups: Vec<u32>,
}

/// The service's user, where root asks and there is one.
fn service_user() -> Option<Other> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
    Other::of(SERVICE_USER, &read("/etc/passwd"), &read("/etc/group"))
}

impl Other {
    /// From passwd(5), `NAME:PASSWORD:UID:GID:...`, and group(5), `NAME:PASSWORD:GID:MEMBER,...`.
    fn of(name: &str, passwd: &str, group: &str) -> Option<Self> {
        let fields = |line: &str| line.split(':').map(str::to_owned).collect::<Vec<_>>();
        let own = passwd.lines().map(fields).find(|fields| fields.first().is_some_and(|first| first == name))?;
        let joined = group
            .lines()
            .map(fields)
            .filter(|fields| fields.get(3).is_some_and(|members| members.split(',').any(|member| member == name)));
        let further = joined.filter_map(|fields| fields.get(2)?.parse().ok());
        let primary: u32 = own.get(3)?.parse().ok()?;
        Some(Self { uid: own.get(2)?.parse().ok()?, groups: std::iter::once(primary).chain(further).collect() })
    }

    fn may(&self, found: &Metadata, access: Access) -> bool {
        let class = match () {
            () if found.uid() == self.uid => 6,
            () if self.groups.contains(&found.gid()) => 3,
            () => 0,
        };
        let wanted = [(Access::READ_OK, 4), (Access::WRITE_OK, 2), (Access::EXEC_OK, 1)];
        wanted.iter().filter(|(flag, _)| access.contains(*flag)).all(|(_, bit)| found.mode() & (bit << class) != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_user_is_judged_by_owner_group_and_the_rest() {
        let passwd = "root:x:0:0::/root:/bin/sh\nnuncio:x:990:985::/:/usr/sbin/nologin\n";
        let group = "dialout:x:20:pi,nuncio\nnuncios:x:30:nuncios\n";
        let user = Other::of("nuncio", passwd, group).expect("it is there");
        assert_eq!((user.uid, user.groups.as_slice()), (990, [985, 20].as_slice()));
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("port");
        std::fs::write(&file, "").expect("written");
        for (mode, may) in [(0o660, false), (0o666, true), (0o664, false)] {
            std::fs::set_permissions(&file, PermissionsExt::from_mode(mode)).expect("set");
            let found = std::fs::metadata(&file).expect("there");
            assert_eq!(user.may(&found, Access::READ_OK | Access::WRITE_OK), may, "{mode:o}");
        }
        assert!(Other::of("nobody-of-that-name", passwd, group).is_none());
    }
}
