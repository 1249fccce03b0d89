//! `nuncio check --fix`: the cures, one after the other, each asked for.

use std::io::{BufRead, Write};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};
use nuncio::control::{CheckItem, Cure, CureStep};

use super::super::output::print;

/// Carries out what may be; whether anything was tried.
///
/// # Errors
/// When nobody answers.
pub(super) fn fix(items: &[CheckItem], yes: bool) -> anyhow::Result<bool> {
    let mut cures: Vec<(&CheckItem, &Cure)> = Vec::new();
    for (item, cure) in items.iter().filter_map(|item| Some((item, item.cure.as_ref()?))) {
        // Several ports may want the same.
        if cures.iter().all(|(_, other)| *other != cure) {
            cures.push((item, cure));
        }
    }
    if cures.is_empty() {
        print("\nNothing here can be mended by this program.");
        return Ok(false);
    }
    let mut tried = false;
    for (item, cure) in cures {
        print(&format!("\n{}: {}\n{}", item.what, cure.what, commands(cure)));
        if yes || may_do()? {
            tried = true;
            match cure.steps.iter().try_for_each(carry_out) {
                Ok(()) => print("  done"),
                Err(error) => print(&format!("  it did not work: {error:#}")),
            }
        }
    }
    Ok(tried)
}

fn commands(cure: &Cure) -> String {
    let lines = cure.steps.iter().map(|step| {
        let from = if step.input.is_some() { "  (reads what comes with this program)" } else { "" };
        format!("  {}{from}", as_root(step).join(" "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn as_root(step: &CureStep) -> Vec<String> {
    let sudo = (!rustix::process::geteuid().is_root()).then(|| "sudo".to_owned());
    sudo.into_iter().chain(step.argv.iter().cloned()).collect()
}

fn may_do() -> anyhow::Result<bool> {
    let mut out = std::io::stdout().lock();
    out.write_all(b"Do that? [y/N] ").and_then(|()| out.flush())?;
    drop(out);
    let mut line = String::new();
    if std::io::stdin().lock().read_line(&mut line).context("no answer can be read")? == 0 {
        print("");
        bail!("nobody answers here: `nuncio check --fix --yes` does not ask");
    }
    Ok(matches!(line.trim(), "y" | "Y" | "yes"))
}

fn carry_out(step: &CureStep) -> anyhow::Result<()> {
    let argv = as_root(step);
    let Some((program, arguments)) = argv.split_first() else { bail!("a command without a program") };
    let input = if step.input.is_some() { Stdio::piped() } else { Stdio::null() };
    let running = Command::new(program).args(arguments).stdin(input).spawn();
    let mut running = running.with_context(|| format!("cannot run {program}"))?;
    if let (Some(text), Some(mut to)) = (&step.input, running.stdin.take()) {
        to.write_all(text.as_bytes()).with_context(|| format!("{program} does not read"))?;
    }
    let status = running.wait()?;
    if status.success() { Ok(()) } else { bail!("{program} ended with {status}") }
}
