//! The data that is read from files: configuration, boards, tools. Read at start, again on SIGHUP, and by `nuncio check`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::start;
use crate::boards::Catalogue;
use crate::builtin;
use crate::config::Config;
use crate::control::{CheckItem, CheckState};
use crate::device::{BoardId, FileError};
use crate::executors::{self, ToolCheck, Tools};
use crate::proxy;
use crate::store::Store;
use crate::transports::{HubPower, hub};
use crate::update::{SignaturePolicy, Signatures};

/// Boards and tools, fitting together, and the keys.
#[derive(Debug)]
pub(super) struct Data {
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) tools: Arc<Tools>,
    pub(super) signatures: Arc<Signatures>,
}

/// Reads boards, tools and keys and holds them against the configuration and each other.
///
/// # Errors
/// Everything that is wrong in the files: what would be wrong at the flash is told at start.
pub(super) fn load(config: &Config) -> Result<Data, Vec<FileError>> {
    let catalogue = Catalogue::load(Some(&config.boards_dir));
    let tools = Tools::load(Some(&config.tools_dir), &config.executors);
    let signatures = signatures(config);
    match (catalogue, tools, signatures) {
        (Ok(catalogue), Ok(tools), Ok(signatures)) => {
            let problems = mismatches(config, &catalogue, &tools);
            if problems.is_empty() {
                let (catalogue, tools, signatures) = (Arc::new(catalogue), Arc::new(tools), Arc::new(signatures));
                return Ok(Data { catalogue, tools, signatures });
            }
            Err(problems)
        }
        (catalogue, tools, signatures) => {
            let errors = [catalogue.err(), tools.err(), signatures.err()];
            Err(errors.into_iter().flatten().flatten().collect())
        }
    }
}

/// A policy that no image could ever fulfil is a mistake.
fn signatures(config: &Config) -> Result<Signatures, Vec<FileError>> {
    let signatures = Signatures::load(&config.update)?;
    if signatures.policy() != SignaturePolicy::Required || signatures.keys().len() > 0 {
        return Ok(signatures);
    }
    let folder = config.update.keys.display();
    let message = format!("`required`, but there is no key in {folder}: every image would be refused");
    let hint = format!("put the public keys that may sign there, as {folder}/NAME.pub; `minisign -G` makes a pair");
    Err(vec![config.error_at("update.signatures", message).with_hint(hint)])
}

/// Names that lead nowhere: a device's board, an executor's board or tool.
fn mismatches(config: &Config, catalogue: &Catalogue, tools: &Tools) -> Vec<FileError> {
    let known = |board: &str| catalogue.source(&BoardId::new(board)).is_some();
    let listed = || catalogue.boards().map(BoardId::as_str).collect::<Vec<_>>().join(", ");
    let unknown = |key: String, board: &str| {
        config.error_at(&key, format!("there is no board `{board}`: expected one of {}", listed()))
    };
    let devices = config.devices.iter().enumerate().filter_map(|(at, device)| {
        let board = device.board.as_deref().filter(|board| !known(board))?;
        Some(unknown(format!("device[{at}].board"), board))
    });
    let boards = tools.boards().filter(|board| !known(board)).map(|board| unknown(format!("executors.{board}"), board));
    let table = tools.problems().into_iter().map(|(key, message)| config.error_at(&key, message));
    let points = catalogue.boards().flat_map(|board| {
        let odd = catalogue.point_objects(board).into_iter().filter(|object| !proxy::is_point_object(*object));
        odd.filter_map(|object| {
            let error = catalogue.error_at(board, format!("its points cannot be shown as object {object}"))?;
            Some(error.with_hint("expected an IPSO object with one value, e.g. 3303 (temperature) or 3306 (actuation)"))
        })
    });
    devices.chain(boards).chain(table).chain(points).collect()
}

/// Why boards cannot be updated at all, with the remedy. Blocking: asks programs for their versions.
pub(super) fn troubles(data: &Data) -> BTreeMap<BoardId, String> {
    let checks = data.tools.check();
    let trouble = |board: &BoardId| {
        let lacks = lacks(data, board);
        let broken = checks.iter().filter(|check| check.boards.iter().any(|name| name == board.as_str()));
        let reasons: Vec<String> = lacks.into_iter().chain(broken.filter_map(problem)).collect();
        (!reasons.is_empty()).then(|| (board.clone(), reasons.join("; ")))
    };
    data.catalogue.boards().filter_map(trouble).collect()
}

/// What a board that is to be flashed has no tool for.
fn lacks(data: &Data, board: &BoardId) -> Vec<String> {
    let profile = data.catalogue.profile(board).filter(|_| data.catalogue.is_flashable(board));
    profile.map(|profile| data.tools.lacks(&profile)).unwrap_or_default()
}

fn problem(check: &ToolCheck) -> Option<String> {
    let problem = check.problem.as_ref()?;
    let cure = check.install.as_ref().map(|install| format!("; install it: {install}")).unwrap_or_default();
    Some(format!("tool `{}`: {problem}{cure}", check.name))
}

/// The boards that can be flashed, and their names for people. Blocking.
pub(super) fn boards(config: &Config) -> Vec<(BoardId, String)> {
    let Ok(catalogue) = Catalogue::load(Some(&config.boards_dir)) else { return Vec::new() };
    let flashable = catalogue.boards().filter(|board| catalogue.is_flashable(board));
    flashable.map(|board| (board.clone(), catalogue.name(board).unwrap_or_default().to_owned())).collect()
}

/// What boards and tools have to say to `nuncio check`. Blocking.
pub(super) fn check(config: &Config) -> Vec<CheckItem> {
    let data = match load(config) {
        Ok(data) => data,
        Err(errors) => {
            return errors.iter().map(|error| CheckItem::of_file_error("boards, tools and keys", error)).collect();
        }
    };
    let boards = data.catalogue.boards().map(|board| board_item(&data, board));
    let tools = data.tools.check();
    boards
        .chain(tools.iter().map(|tool| tool_item(config, tool)))
        .chain([sandbox_item(), keys_item(config, &data.signatures), hub_item(config)])
        .chain(builtin_items(config))
        .collect()
}

/// What the built-in server needs of this machine, where it is enabled.
fn builtin_items(config: &Config) -> Vec<CheckItem> {
    if !config.builtin_server.enabled {
        return Vec::new();
    }
    let running = Store::holder(&config.gateway.state).and_then(|holder| holder.pid);
    let item = |finding: builtin::Finding| {
        let state = if finding.good { CheckState::Ok } else { CheckState::Error };
        let item = CheckItem::new("built-in server", state, finding.detail);
        finding.hint.map_or(item.clone(), |hint| item.with_hint(hint))
    };
    builtin::check(&config.builtin_server, running).into_iter().map(item).collect()
}

/// A board that no tool can flash is a mistake in the files; the gateway runs, and no server can update such a board.
fn board_item(data: &Data, board: &BoardId) -> CheckItem {
    let lacks = lacks(data, board);
    if let Some(error) = data.catalogue.error_at(board, lacks.join("; ")).filter(|_| !lacks.is_empty()) {
        return CheckItem::of_file_error(format!("board {board}"), &error);
    }
    let name = data.catalogue.name(board).unwrap_or_default();
    let item = CheckItem::new(format!("board {board}"), CheckState::Ok, name);
    let file = data.catalogue.source(board).map(|file| file.display().to_string());
    file.map_or(item.clone(), |file| item.from_file(file))
}

/// What keeps tools to their work on this machine.
fn sandbox_item() -> CheckItem {
    let lacks = executors::sandbox_lacks();
    match lacks.is_empty() {
        true => CheckItem::new("sandbox for tools", CheckState::Ok, "this machine has all of it"),
        false => CheckItem::new("sandbox for tools", CheckState::Warning, lacks.join("; ")),
    }
}

/// Which USB ports can be switched off and on. A site that does not want it is told only what there is.
fn hub_item(config: &Config) -> CheckItem {
    let hub::Survey { power, switches, writable } =
        hub::Hubs::new(Path::new(start::SYS), &config.gateway.state, &config.serial).survey();
    let item = |state, detail: String| CheckItem::new("USB hub power", state, detail);
    match (power, switches, writable) {
        (HubPower::Never, 0, _) => item(CheckState::Ok, "never switched, and no hub here has a switch".to_owned()),
        (HubPower::Never, ..) => item(
            CheckState::Ok,
            format!("never switched; {switches} USB ports have a switch: see `[serial] hub_power`"),
        ),
        (HubPower::LastResort, 0, _) => item(CheckState::Warning, "no hub here has a switch".to_owned())
            .with_hint("it takes Linux 6.0 or later, and the USB hub that the boards hang on"),
        (HubPower::LastResort, all, some) if some < all => {
            item(CheckState::Warning, format!("{some} of {all} USB ports with a switch may be written")).with_hint(
                "run as root, or have a udev rule give the gateway's group write access: see `[serial] hub_power`",
            )
        }
        (HubPower::LastResort, all, _) => item(
            CheckState::Ok,
            format!("{all} USB ports can be switched; whether that takes the supply away is up to their hub"),
        ),
    }
}

/// Which images may be staged, and whose keys count.
fn keys_item(config: &Config, signatures: &Signatures) -> CheckItem {
    let folder = config.update.keys.display();
    let keys: Vec<&str> = signatures.keys().collect();
    let detail = match (signatures.policy(), keys.is_empty()) {
        (SignaturePolicy::Off, _) => "off: nobody looks for signatures".to_owned(),
        (policy, true) => format!("{policy}: images may be unsigned; no key in {folder}, so a signed one is refused"),
        (policy, false) => format!("{policy}: keys {} in {folder}", keys.join(", ")),
    };
    CheckItem::new("signatures of images", CheckState::Ok, detail)
}

/// A tool that is missing is an error where a configured device needs it, else a warning.
fn tool_item(config: &Config, tool: &ToolCheck) -> CheckItem {
    let needed =
        config.devices.iter().filter_map(|device| device.board.as_ref()).any(|board| tool.boards.contains(board));
    let (state, detail) = match (&tool.problem, &tool.warning) {
        (Some(problem), _) if needed => (CheckState::Error, problem.to_string()),
        (Some(problem), _) => (CheckState::Warning, problem.to_string()),
        (None, Some(warning)) => (CheckState::Warning, warning.clone()),
        (None, None) => {
            let program = tool.program.as_ref().map(|program| program.display().to_string()).unwrap_or_default();
            let version = tool.version.as_deref().unwrap_or("(version unknown)");
            (CheckState::Ok, format!("{program} {version}; {}", tool.sandbox))
        }
    };
    let item = CheckItem::new(format!("tool {}", tool.name), state, detail).from_file(tool.file.display().to_string());
    match (&tool.problem, &tool.install) {
        (Some(_), Some(install)) => item.with_hint(format!("install it: {install}")),
        _ => item,
    }
}
