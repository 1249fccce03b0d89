//! Hooks: what happens in the gateway calls a program, or is posted to a web server.
//!
//! One task that follows the gateway's news and one for each `[[hook]]`, and none where there is none. Nobody waits for
//! them: queues, tries, times and output all have their bounds. A hook is told, it decides nothing; what it wants done it
//! asks like anybody else. Driven by `gateway`.

mod event;
mod program;
mod run;
mod settings;
mod webhook;

use std::os::unix::fs::PermissionsExt as _;

pub use settings::{HookEvent, HookSettings};

use crate::control::{CheckItem, CheckState, Companion, Secret, Wires};

/// At most so many hooks.
pub const HOOKS_MAX: usize = 32;

/// Begins, where there are hooks. To be called in a runtime.
pub fn spawn(settings: &[HookSettings], wires: &Wires) -> Option<Companion> {
    (!settings.is_empty()).then(|| {
        Companion::spawn(|stop| {
            let run = run::Run::new(settings, wires, &stop);
            run.run(stop)
        })
    })
}

/// What `nuncio check` says of them. Blocking; calls none.
pub fn check(settings: &[HookSettings]) -> Vec<CheckItem> {
    settings.iter().map(check_one).collect()
}

fn check_one(hook: &HookSettings) -> CheckItem {
    let item = |state, detail: String| CheckItem::new(format!("hook {}", hook.name), state, detail);
    if let Some(Err(error)) = hook.secret_file.as_deref().map(Secret::read) {
        return item(CheckState::Error, format!("no secret to sign with: {error}"));
    }
    let Some(program) = hook.program.as_ref().and_then(|program| program.first()) else {
        return item(CheckState::Ok, "posted".to_owned());
    };
    match std::fs::metadata(program) {
        Err(error) => item(CheckState::Error, format!("{program}: {error}")),
        Ok(file) if !file.is_file() || file.permissions().mode() & 0o111 == 0 => {
            item(CheckState::Error, format!("{program} is no program"))
                .with_hint("it must be a file that may be executed")
        }
        Ok(_) => item(CheckState::Ok, program.clone()),
    }
}
