//! `nuncio show`.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nuncio::control::Client;
use nuncio::device::{AttemptRecord, AttemptState, AttemptTask, Identity, JobOutcome, UpdateEvent, UpdateEvidence};

use super::code;
use super::history::took;
use super::output::{document, print, print_json, word};
use super::report::Fail;
use super::status::time;

/// Where values begin, in columns.
const INDENT: usize = 12;
/// Last lines of a tool's output that are shown unasked.
const LAST_LINES: usize = 8;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    /// The update's id, or enough of its beginning or end; `nuncio history` lists them
    update: String,
    /// Show all that the tools printed, not just the last lines
    #[arg(long)]
    output: bool,
    /// Write everything that is kept of the update to this file, as JSON (docs/schema/show-1.json)
    #[arg(long, value_name = "FILE")]
    export: Option<PathBuf>,
    /// Replace the file if it is there
    #[arg(long, requires = "export")]
    force: bool,
}

pub(crate) async fn show(client: Client, query: Query, json: bool) -> anyhow::Result<u8> {
    let evidence = client.update(&query.update).await?;
    if let Some(file) = &query.export {
        export(file, &evidence, query.force)?;
    } else if json {
        print_json("show/1", &evidence)?;
    } else {
        print(&rendered(&evidence, query.output));
    }
    Ok(code::OK)
}

/// For the operator's own eyes: outputs of tools may hold what an image or a board tells.
fn export(file: &Path, evidence: &UpdateEvidence, force: bool) -> anyhow::Result<()> {
    let failed = |error: &std::io::Error| Fail {
        code: code::FAILED,
        message: format!("cannot write {}: {error}", file.display()),
        hint: (error.kind() == std::io::ErrorKind::AlreadyExists)
            .then(|| "name another file, or replace it with --force".to_owned()),
    };
    let text = document("show/1", evidence, true)?;
    write(file, &text, force).map_err(|error| failed(&error))?;
    print(&format!("Update {} is written to {}.", evidence.record.update, file.display()));
    Ok(())
}

/// A file that is replaced is replaced in one go.
fn write(file: &Path, text: &str, force: bool) -> std::io::Result<()> {
    let fresh = if force { beside(file) } else { file.to_owned() };
    // What is in the way is refused here, before anything could be removed.
    let mut opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    let written = writeln!(opened, "{text}").and_then(|()| opened.sync_all());
    let moved = written.and_then(|()| if force { std::fs::rename(&fresh, file) } else { Ok(()) });
    moved.inspect_err(|_| drop(std::fs::remove_file(&fresh)))
}

fn beside(file: &Path) -> PathBuf {
    let mut name = file.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{}", std::process::id()));
    file.with_file_name(name)
}

fn rendered(evidence: &UpdateEvidence, all_output: bool) -> String {
    let mut parts = vec![head(evidence)];
    parts.extend(evidence.attempts.iter().map(|attempt| run(attempt, all_output)));
    let events = &evidence.record.events;
    if !events.is_empty() {
        let mut lines = vec!["What happened".to_owned()];
        lines.extend(events.iter().map(|one| format!("  {}  {}", time(one.at), told(&one.event))));
        if evidence.record.left_out > 0 {
            lines.push(format!("  ({} left out of the middle)", evidence.record.left_out));
        }
        parts.push(lines.join("\n"));
    }
    parts.extend(evidence.damaged.iter().map(|damage| format!("Damaged: {damage}")));
    parts.join("\n\n")
}

fn head(evidence: &UpdateEvidence) -> String {
    let record = &evidence.record;
    let mut block = Block(vec![format!("Update {} of {}: {}", record.update, record.device, word(&record.outcome))]);
    block.line("reason", record.reason.clone());
    block.line("asked by", record.requester.as_ref().map(ToString::to_string));
    block.line("began", Some(time(record.began)));
    let still = "not closed: the image is staged, Execute may be tried again or is under way";
    block.line("ended", Some(record.ended.map_or_else(|| still.to_owned(), time)));
    block.line("took", record.took_ms.map(took));
    let version = |version: &nuncio::device::ReportedVersion| format!("{} (told by {})", version.text, version.source);
    block.line("before", record.version_before.as_ref().map(version));
    block.line("after", record.version_after.as_ref().map(version));
    if let Some(image) = &record.image {
        let expected = image.version.as_ref().map(|version| format!(", to bring {version}")).unwrap_or_default();
        block.line("image", Some(format!("{} of {} bytes{expected}", image.format, image.size)));
        block.line("sha256", Some(image.sha256.to_string()));
        block.line("signed by", image.signed_by.as_ref().map(|key| format!("key {key}")));
    }
    block.line("from", record.uri.clone());
    block.line("board", record.board.as_ref().map(ToString::to_string));
    block.line("endpoint", record.endpoint.clone());
    block.line("identity", record.identity.as_ref().map(Identity::in_words));
    block.line("gateway", record.gateway.as_ref().map(|by| format!("{}, nuncio {}", by.name, by.version)));
    block.0.join("\n")
}

fn run(attempt: &AttemptRecord, all_output: bool) -> String {
    let what = match attempt.task {
        AttemptTask::Flash => String::new(),
        AttemptTask::Backup => " (reads what the board holds)".to_owned(),
        AttemptTask::Restore => " (puts the last good image back)".to_owned(),
    };
    let mut block = Block(vec![format!("Attempt {}{what}: {}", attempt.number, ended(attempt))]);
    block.line("began", Some(time(attempt.began)));
    block.line("took", attempt.took_ms.map(took));
    block.line("port", attempt.link.as_ref().map(ToString::to_string));
    let changed: Vec<String> = attempt.changed.iter().map(|(name, value)| format!("{name} = {value}")).collect();
    block.line("changed", (!changed.is_empty()).then(|| changed.join(", ")));
    block.line("tool", attempt.tool.as_ref().map(|tool| tool_line(tool, attempt)));
    block.line("command", (!attempt.argv.is_empty()).then(|| attempt.argv.join(" ")));
    if let Some(output) = attempt.output.as_ref().filter(|output| !output.text.trim().is_empty()) {
        let lines: Vec<&str> = output.text.lines().collect();
        let from = if all_output { 0 } else { lines.len().saturating_sub(LAST_LINES) };
        let cut =
            if from > 0 { format!(" (the last lines of {}; --output shows all)", lines.len()) } else { String::new() };
        block.line("output", Some(format!("{} bytes{cut}", output.printed)));
        block.0.extend(lines[from..].iter().map(|line| format!("    | {line}").trim_end().to_owned()));
    }
    block.0.join("\n")
}

fn tool_line(tool: &str, attempt: &AttemptRecord) -> String {
    let version = attempt.tool_version.as_ref().map(|version| format!(" {version}")).unwrap_or_default();
    let program = attempt.program.as_ref().map(|path| format!(" ({})", path.display())).unwrap_or_default();
    format!("{tool}{version}{program}")
}

fn ended(attempt: &AttemptRecord) -> String {
    match (attempt.state, &attempt.outcome) {
        (AttemptState::Running, _) => "it runs".to_owned(),
        (AttemptState::Interrupted, _) => "interrupted, its end was not seen".to_owned(),
        (AttemptState::Ended, Some(JobOutcome::Verified { bytes })) => format!("{bytes} bytes verified"),
        (AttemptState::Ended, Some(JobOutcome::Saved { size, .. })) => format!("{size} bytes saved"),
        (AttemptState::Ended, Some(JobOutcome::Failed { class, detail })) => format!("{}: {detail}", word(class)),
        (AttemptState::Ended, None) => "ended".to_owned(),
    }
}

/// An event in its own words: what it is called, and its fields.
fn told(event: &UpdateEvent) -> String {
    let json = serde_json::to_value(event).unwrap_or_default();
    let fields = json.as_object().into_iter().flatten().filter(|(name, value)| *name != "event" && !value.is_null());
    let told: Vec<String> = fields.filter_map(|(name, value)| field(name, value)).collect();
    let name = json["event"].as_str().unwrap_or_default().replace('-', " ");
    if told.is_empty() { name } else { format!("{name}: {}", told.join(", ")) }
}

fn field(name: &str, value: &serde_json::Value) -> Option<String> {
    let text = match value {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Object(of) => match of.get("text").and_then(|text| text.as_str()) {
            Some(text) => text.to_owned(),
            None if of.is_empty() => return None,
            None => value.to_string(),
        },
        other => other.to_string(),
    };
    Some(if name == "reason" { text } else { format!("{} {text}", name.replace('_', " ")) })
}

/// A headline, and named values below it.
pub(super) struct Block(pub(super) Vec<String>);

impl Block {
    pub(super) fn line(&mut self, name: &str, value: Option<String>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.0.push(format!("  {name:INDENT$} {value}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_told_by_its_name_and_fields() {
        let deferred = UpdateEvent::Deferred { reason: "the port is held by minicom".into() };
        assert_eq!(told(&deferred), "deferred: the port is held by minicom");
        assert_eq!(told(&UpdateEvent::Proving), "proving");
        let version = nuncio::device::ReportedVersion { text: "1.3.0".into(), source: "banner".into() };
        assert_eq!(told(&UpdateEvent::Proven { version: Some(version) }), "proven: version 1.3.0");
    }

    #[test]
    fn an_export_is_private_and_replaces_nothing_unasked() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("a.json");
        write(&file, "one", false).expect("written");
        assert_eq!(std::fs::metadata(&file).expect("there").permissions().mode() & 0o777, 0o600);
        let refused = write(&file, "two", false).expect_err("it is there");
        assert_eq!(refused.kind(), std::io::ErrorKind::AlreadyExists);
        assert_eq!(std::fs::read_to_string(&file).expect("kept"), "one\n");
        write(&file, "two", true).expect("replaced");
        assert_eq!(std::fs::read_to_string(&file).expect("read"), "two\n");
        assert_eq!(std::fs::read_dir(dir.path()).expect("listed").count(), 1, "nothing else is left");
    }
}
