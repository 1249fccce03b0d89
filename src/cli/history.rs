//! `nuncio history`.

use std::time::Duration;

use nuncio::control::{Client, HistoryList};
use nuncio::device::{HistoryRow, UpdateId, UpdateOutcome};

use super::code;
use super::output::{or_dash, print, print_aside, print_json, table, word};
use super::status::time;

/// Digits of an id that tell it from all others here: the last ones, since the first ones are the time.
const SHORT_ID: usize = 8;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(crate) struct Query {
    /// Name, endpoint name or link of a device, also of one that is gone
    device: Option<String>,
    /// Show at most N, the newest; 0 for all
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Only those that failed or were refused
    #[arg(long)]
    failed: bool,
}

pub(crate) async fn history(client: Client, query: Query, json: bool) -> anyhow::Result<u8> {
    let limit = (query.limit > 0).then_some(query.limit);
    let history = client.history(query.device.as_deref(), query.failed, limit).await?;
    if json {
        print_json("history/1", &history)?;
    } else {
        history.notes.iter().for_each(|note| print_aside(&format!("Note: {note}")));
        print(&rendered(&history));
    }
    Ok(code::OK)
}

fn rendered(history: &HistoryList) -> String {
    if history.updates.is_empty() {
        return "No update is recorded.".to_owned();
    }
    let header = ["WHEN", "DEVICE", "WHO", "VERSION", "OUTCOME", "TRIES", "TOOK", "ID"];
    let mut text = table(header, history.updates.iter().map(row));
    for row in history.updates.iter().filter(|row| row.damaged.is_some()) {
        text.push_str(&format!("\n{} is damaged: {}", short(row.update), or_dash(row.damaged.as_deref())));
    }
    if history.more > 0 {
        text.push_str(&format!("\nand {} older ones: --limit 0 shows all", history.more));
    }
    text
}

fn row(row: &HistoryRow) -> [String; 8] {
    [
        time(row.began),
        row.device.to_string(),
        row.requester.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string),
        versions(row),
        outcome(row),
        row.attempts.to_string(),
        row.took_ms.map_or_else(|| "-".to_owned(), took),
        short(row.update),
    ]
}

/// What it ran before, and what it runs since, as far as that was read from it.
fn versions(row: &HistoryRow) -> String {
    let before = or_dash(row.version_before.as_deref());
    match (row.outcome, &row.version_after, &row.expected_version) {
        (UpdateOutcome::Proven | UpdateOutcome::RolledBack, Some(after), _) => format!("{before} -> {after}"),
        (UpdateOutcome::Proven, None, _) => before,
        (_, _, Some(expected)) => format!("{before} -> {expected}?"),
        _ => before,
    }
}

fn outcome(row: &HistoryRow) -> String {
    let word = word(&row.outcome);
    match (&row.damaged, row.outcome, row.ended) {
        (Some(_), ..) => format!("{word}, damaged"),
        (None, UpdateOutcome::Failed | UpdateOutcome::RolledBack, None) => format!("{word}, staged"),
        _ => word,
    }
}

/// The id as lists show it; `nuncio show` takes it.
pub(crate) fn short(id: UpdateId) -> String {
    let id = id.to_string();
    id[id.len() - SHORT_ID..].to_owned()
}

/// Seconds with a tenth, or minutes.
pub(crate) fn took(ms: u64) -> String {
    match ms {
        0..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        _ => humantime::format_duration(Duration::from_secs(ms / 1000)).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nuncio::device::{DeviceId, Requester};

    fn row_of(outcome: UpdateOutcome) -> HistoryRow {
        HistoryRow {
            update: UpdateId(uuid::Uuid::from_u128(0x0193_0000_0000_7000_8000_0000_dead_beef)),
            device: DeviceId::new("press-3"),
            board: None,
            requester: Some(Requester::Local),
            began: 0,
            ended: Some(9),
            took_ms: Some(12_345),
            outcome,
            reason: None,
            version_before: Some("1.2.0".into()),
            version_after: Some("1.3.0".into()).filter(|_| outcome == UpdateOutcome::Proven),
            expected_version: Some("1.3.0".into()),
            image_sha256: None,
            attempts: 2,
            damaged: None,
        }
    }

    #[test]
    fn a_row_tells_who_did_what_to_which_board() {
        let [_, rest @ ..] = row(&row_of(UpdateOutcome::Proven));
        assert_eq!(rest, ["press-3", "nuncio flash", "1.2.0 -> 1.3.0", "proven", "2", "12.3 s", "deadbeef"]);
        let [.., versions, outcome, _, _, _] = row(&HistoryRow { ended: None, ..row_of(UpdateOutcome::Failed) });
        assert_eq!((versions.as_str(), outcome.as_str()), ("1.2.0 -> 1.3.0?", "failed, staged"));
    }

    #[test]
    fn a_damaged_row_is_marked_and_explained() {
        let damaged = HistoryRow { damaged: Some("cut".into()), ..row_of(UpdateOutcome::Proven) };
        let list = HistoryList { updates: vec![damaged, row_of(UpdateOutcome::Failed)], more: 7, notes: Vec::new() };
        let text = rendered(&list);
        for part in ["proven, damaged", "deadbeef is damaged: cut", "and 7 older ones"] {
            assert!(text.contains(part), "no `{part}` in {text}");
        }
    }

    #[test]
    fn long_times_are_told_in_minutes() {
        assert_eq!([took(0), took(999), took(61_500)], ["0.0 s", "0.9 s", "1m 1s"]);
    }
}
