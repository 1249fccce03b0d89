//! Programs that take serial ports which are not theirs, and the rules that keep them off.

use std::path::Path;

use nuncio::control::{CheckItem, CheckState, Cure, CureStep};

/// The rules that the package installs.
const RULES: &str = include_str!("../../../packaging/udev.rules");
/// Where udev finds rules, in the order in which it looks.
const RULE_FOLDERS: [&str; 4] =
    ["/etc/udev/rules.d", "/run/udev/rules.d", "/usr/lib/udev/rules.d", "/lib/udev/rules.d"];
/// Their file.
const RULE_FILE: &str = "70-nuncio.rules";

pub(super) fn items() -> Vec<CheckItem> {
    let running = running();
    let runs = |name: &str| running.iter().any(|other| other == name);
    let mut items = vec![rules(runs("ModemManager"))];
    items.extend(runs("brltty").then(braille));
    items
}

/// The names of all processes, as far as they can be seen.
fn running() -> Vec<String> {
    let processes = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let name = |folder: std::fs::DirEntry| std::fs::read_to_string(folder.path().join("comm")).ok();
    processes.filter_map(name).map(|name| name.trim().to_owned()).collect()
}

fn rules(modem_manager: bool) -> CheckItem {
    let what = "udev rules";
    if !Path::new("/run/udev").exists() {
        return CheckItem::new(
            what,
            CheckState::Ok,
            "udev does not run here, and with it nobody who takes ports by its rules",
        );
    }
    let found = RULE_FOLDERS.iter().map(|folder| Path::new(folder).join(RULE_FILE)).find(|file| file.exists());
    if let Some(file) = found {
        return CheckItem::new(what, CheckState::Ok, format!("{}", file.display()));
    }
    let who = if modem_manager {
        "ModemManager runs, and talks to ports of boards as if they were modems"
    } else {
        "ports of boards get no group of their own"
    };
    let target = format!("{}/{RULE_FILE}", RULE_FOLDERS[0]);
    let detail = format!("{RULE_FILE} is not installed: {who}");
    CheckItem::new(what, CheckState::Warning, detail).with_cure(Cure {
        what: format!("install {target}"),
        steps: vec![
            step(&["install", "-m", "0644", "/dev/stdin", &target], Some(RULES)),
            step(&["udevadm", "control", "--reload"], None),
            step(&["udevadm", "trigger", "--action=change", "--subsystem-match=usb", "--subsystem-match=tty"], None),
        ],
    })
}

fn step(argv: &[&str], input: Option<&str>) -> CureStep {
    CureStep { argv: argv.iter().map(|&word| word.to_owned()).collect(), input: input.map(str::to_owned) }
}

/// It takes every CH340 and some other bridges for Braille displays.
fn braille() -> CheckItem {
    let detail = "brltty runs, which takes the ports of many boards (CH340, CP210x) for Braille displays";
    CheckItem::new("brltty", CheckState::Warning, detail)
        .with_hint("where nobody reads Braille on this machine, it need not run")
        .with_cure(Cure::new(
            "stop brltty for good (not where somebody reads Braille on this machine)",
            &[&["systemctl", "mask", "--now", "brltty.service", "brltty-udev.service"]],
        ))
}
