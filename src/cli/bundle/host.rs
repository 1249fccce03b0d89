//! What a bug report tells of the machine: system, kernel, ports, USB devices, drivers, logs.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nuncio::control::{group_name, user_name};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// Longest output of a program, in bytes: the end counts.
const MAX_OUTPUT: u64 = 16 << 20;
/// A program that has not ended by then is left.
const LIMIT: Duration = Duration::from_secs(20);
/// Most entries of a list.
const MAX_ENTRIES: usize = 2000;
/// Kernel modules that have to do with boards, by parts of their names.
const MODULES: [&str; 22] = [
    "usbserial",
    "cdc_acm",
    "cdc_ether",
    "ftdi",
    "cp210x",
    "ch341",
    "pl2303",
    "ch34",
    "option",
    "usb_storage",
    "uas",
    "usb_wwan",
    "bluetooth",
    "btusb",
    "btrtl",
    "btintel",
    "hci_uart",
    "dwc",
    "xhci",
    "ehci",
    "ohci",
    "usbip",
];
/// Kernel messages that have to do with them.
const MESSAGES: [&str; 12] = [
    "usb",
    "tty",
    "cdc_acm",
    "ftdi",
    "cp210",
    "ch34",
    "pl2303",
    "brltty",
    "bluetooth",
    "under-voltage",
    "oom",
    "i/o error",
];

/// System, kernel, user.
pub(super) fn system() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let uname = rustix::system::uname();
    let mut text = String::new();
    let mut tell = |what: &str, value: &str| {
        let value = value.trim().trim_end_matches('\0');
        let _ = writeln!(text, "{what}: {}", if value.is_empty() { "unknown" } else { value });
    };
    tell("nuncio", env!("CARGO_PKG_VERSION"));
    let release = read("/etc/os-release");
    let name = release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME=")).unwrap_or_default();
    tell("system", name.trim_matches('"'));
    let word = |word: &std::ffi::CStr| word.to_string_lossy().into_owned();
    tell("kernel", &format!("{} {} {}", word(uname.sysname()), word(uname.release()), word(uname.version())));
    tell("machine", &format!("{} {}", word(uname.machine()), read("/proc/device-tree/model").trim_end_matches('\0')));
    let memory = read("/proc/meminfo");
    let memory = memory.lines().filter(|line| line.starts_with("MemTotal") || line.starts_with("MemAvailable"));
    tell(
        "memory",
        &memory.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>().join(", "),
    );
    tell("load and processes", &read("/proc/loadavg"));
    tell("up for (s)", read("/proc/uptime").split('.').next().unwrap_or_default());
    let groups = rustix::process::getgroups().unwrap_or_default();
    let groups: Vec<String> = groups.iter().map(|group| group_name(group.as_raw())).collect();
    let user = user_name(rustix::process::geteuid().as_raw());
    tell("asked by", &format!("user {user}, groups {}", groups.join(" ")));
    tell("first process", &read("/proc/1/comm"));
    text
}

/// The state folder: names, sizes, owners.
pub(super) fn state(folder: &Path) -> String {
    let mut text = String::new();
    if let Ok(told) = rustix::fs::statvfs(folder) {
        let mib = |blocks: u64| blocks.saturating_mul(told.f_frsize) >> 20;
        let _ = writeln!(text, "{}: {} of {} MiB free", folder.display(), mib(told.f_bavail), mib(told.f_blocks));
    }
    let mut waiting = vec![folder.to_owned()];
    let mut count = 0;
    while let Some(folder) = waiting.pop() {
        let entries = match fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) => {
                let _ = writeln!(text, "{}: {error}", folder.display());
                continue;
            }
        };
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            let Ok(found) = path.symlink_metadata() else { continue };
            count += 1;
            if count > MAX_ENTRIES {
                let _ = writeln!(text, "and more");
                return text;
            }
            let (mode, user, group) = (found.mode() & 0o7777, user_name(found.uid()), group_name(found.gid()));
            let _ = writeln!(text, "{mode:04o} {user}:{group} {:>12} {}", found.len(), path.display());
            if found.is_dir() {
                waiting.push(path);
            }
        }
    }
    text
}

/// The ports that there are, with the USB devices behind them.
pub(super) fn ports() -> String {
    let mut text = String::from("Ports with a device behind them:\n");
    for name in names("/sys/class/tty") {
        let folder = Path::new("/sys/class/tty").join(&name).join("device");
        let Ok(device) = fs::canonicalize(&folder) else { continue };
        let node = Path::new("/dev").join(&name);
        let access = node.metadata().map_or_else(
            |error| error.to_string(),
            |found| format!("{:04o} {}:{}", found.mode() & 0o7777, user_name(found.uid()), group_name(found.gid())),
        );
        let driver = fs::read_link(folder.join("driver")).unwrap_or_default();
        let driver = driver.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let usb = device.ancestors().find(|above| above.join("idVendor").exists());
        let usb = usb.map_or_else(|| "not on USB".to_owned(), usb_device);
        let _ = writeln!(text, "{}  {access}  driver {driver}  {usb}", node.display());
    }
    text.push_str("\nNames by id and by path:\n");
    for folder in ["/dev/serial/by-id", "/dev/serial/by-path"] {
        for name in names(folder) {
            let path = Path::new(folder).join(&name);
            let to = fs::canonicalize(&path).unwrap_or_default();
            let _ = writeln!(text, "{} -> {}", path.display(), to.display());
        }
    }
    text.push_str("\nUSB devices:\n");
    for name in names("/sys/bus/usb/devices") {
        let device = Path::new("/sys/bus/usb/devices").join(&name);
        if device.join("idVendor").exists() {
            let _ = writeln!(text, "{}", usb_device(&device));
        }
    }
    text
}

fn usb_device(device: &Path) -> String {
    let attribute = |name: &str| {
        let text = fs::read(device.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&text).trim().to_owned()
    };
    let name = device.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let (vendor, product) = (attribute("idVendor"), attribute("idProduct"));
    let words = [attribute("manufacturer"), attribute("product"), attribute("serial")];
    format!("{name} {vendor}:{product} {}", words.join(" | "))
}

fn names(folder: &str) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).take(MAX_ENTRIES).collect();
    names.sort();
    names
}

/// The modules of the kernel that have to do with boards, as far as they are loaded.
pub(super) fn modules() -> String {
    let loaded = fs::read_to_string("/proc/modules").unwrap_or_default();
    let ours = loaded.lines().filter(|line| {
        let name = line.split_whitespace().next().unwrap_or_default();
        MODULES.iter().any(|part| name.contains(part))
    });
    let found: String = ours.flat_map(|line| [line, "\n"]).collect();
    if found.is_empty() { "None of them is a loadable module that is loaded.\n".to_owned() } else { found }
}

/// The last lines of the daemon's log.
pub(super) async fn log(lines: u32) -> Result<String, String> {
    let count = lines.to_string();
    said("journalctl", &["--no-pager", "--quiet", "--output=short-iso-precise", "--unit=nuncio", "--lines", &count])
        .await
}

/// What the kernel said lately of ports and what hangs on them.
pub(super) async fn kernel_log() -> Result<String, String> {
    let all = said("journalctl", &["--no-pager", "--quiet", "--output=short-iso", "--dmesg", "--lines=5000"]).await?;
    let is_ours = |line: &&str| {
        let line = line.to_ascii_lowercase();
        MESSAGES.iter().any(|part| line.contains(part))
    };
    Ok(all.lines().filter(is_ours).flat_map(|line| [line, "\n"]).collect())
}

/// How systemd sees the daemon.
pub(super) async fn unit() -> Result<String, String> {
    let what = "--property=Id,LoadState,ActiveState,SubState,Result,NRestarts,ExecMainStatus,User,Group,\
                SupplementaryGroups,MemoryCurrent,CPUUsageNSec,ActiveEnterTimestamp,FragmentPath,DropInPaths";
    said("systemctl", &["show", "--no-pager", what, "nuncio.service"]).await
}

/// What a program prints.
async fn said(program: &str, arguments: &[&str]) -> Result<String, String> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let run = async {
        let mut child = command.spawn().map_err(|error| error.to_string())?;
        let (mut out, mut error) = (Vec::new(), Vec::new());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let read = async {
            if let Some(stdout) = stdout {
                // One that would not end is not waited for: it dies with this.
                stdout.take(MAX_OUTPUT).read_to_end(&mut out).await?;
            }
            if let Some(stderr) = stderr {
                stderr.take(MAX_OUTPUT).read_to_end(&mut error).await?;
            }
            std::io::Result::Ok(())
        };
        read.await.map_err(|error| error.to_string())?;
        let status = child.wait().await.map_err(|error| error.to_string())?;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        match (status.success(), out.is_empty()) {
            (true, false) => Ok(text(out)),
            (true, true) => Err(format!("it printed nothing {}", text(error)).trim().to_owned()),
            (false, _) => Err(format!("{status}: {}", text(error).trim())),
        }
    };
    let outcome = tokio::time::timeout(LIMIT, run).await.unwrap_or_else(|_| Err("it does not end".to_owned()));
    outcome.map_err(|error| format!("{program}: {error}"))
}
