//! What Home Assistant itself makes of what it is told: its own schemas, run by its own code.

use std::time::Duration;

use serde_json::Value;

use crate::cache::hass_check;
use crate::process::Process;

/// Ten times what its imports take on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// The entities that a device's discovery payload makes, as `NAME: PLATFORM`.
///
/// # Panics
/// When Home Assistant does not take it, or knows not all of it.
pub fn hass_entities(config: &Value) -> Vec<String> {
    ask("discovery", config)
}

/// Whether Home Assistant offers an update by this state of an update entity.
///
/// # Panics
/// When it does not take it.
pub fn hass_offers_update(state: &Value) -> bool {
    ask("update", state) == ["on"]
}

fn ask(what: &str, payload: &Value) -> Vec<String> {
    let mut command = hass_check();
    command.arg(what);
    let mut process = Process::start("hass-check.py", &command, None);
    process.tell(&payload.to_string());
    process.hang_up();
    let status = process.wait(PATIENCE);
    let output = process.all_output();
    assert!(status.success(), "Home Assistant does not take it:\n{output}\n{payload:#}");
    output.lines().map(str::to_owned).collect()
}
