//! `nuncio why`.

use nuncio::control::{Client, Why};

use super::code;
use super::output::{print, print_json, table, word};

pub(crate) async fn why(client: Client, device: String, json: bool) -> anyhow::Result<u8> {
    let why = client.why(&device).await?;
    if json {
        print_json("why/1", &why)?;
    } else {
        print(&rendered(&why));
    }
    Ok(code::OK)
}

fn rendered(why: &Why) -> String {
    let subject = match &why.subject.device {
        Some(device) => format!("{device} at {}", why.subject.link),
        None => why.subject.link.to_string(),
    };
    let sureness = why.sureness.as_ref().map_or_else(String::new, |sureness| format!(" ({sureness})"));
    let mut lines = vec![match &why.board {
        Some(board) => format!("{subject} is taken for {board}{sureness}."),
        None => format!("{subject} is not taken for any board{sureness}."),
    }];
    lines.extend(why.identity.as_ref().map(|identity| format!("It is recognised by {}.", identity.in_words())));
    if !why.steps.is_empty() {
        let rows = why.steps.iter().map(|step| [word(&step.verdict), step.what.clone(), step.detail.clone()]);
        lines.push(String::new());
        lines.push(table(["VERDICT", "WHAT", "DETAIL"], rows));
    }
    lines.join("\n")
}
