//! `nuncio plan`.

use nuncio::control::{
    Client, Plan, PlanCheckState, PlanVerdict, PlannedImage, PlannedProof, PlannedRetries, PlannedRun, PlannedTask,
    PlannedWayBack,
};
use nuncio::device::{JobFailure, RollbackPolicy};

use super::flash::Order;
use super::history::took;
use super::output::{print, print_json, table, word};
use super::show::Block;
use super::{code, status};

pub(crate) async fn plan(client: Client, order: Order, json: bool) -> anyhow::Result<u8> {
    let handed = client.hand(&order.image).await?;
    let mut plan = client.plan(&order.device, handed.path(), order.version.as_deref(), order.now).await?;
    plan.path = order.image;
    if json {
        print_json("plan/1", &plan)?;
    } else {
        print(&rendered(&plan));
    }
    Ok(match plan.verdict {
        PlanVerdict::Ready | PlanVerdict::Waits => code::OK,
        PlanVerdict::Refused => code::FAILED,
    })
}

fn rendered(plan: &Plan) -> String {
    let runs = plan.version.as_ref().map_or("an unknown version", |version| version.text.as_str());
    let mut head = Block(vec![format!("{} ({} at {}) runs {runs}.", plan.device, plan.board, plan.link)]);
    if let Some(image) = &plan.image {
        describe(image, &mut head);
    }
    let checks = plan.checks.iter().map(|check| [state(check.state), check.what.clone(), check.detail.clone()]);
    let mut parts = vec![head.0.join("\n"), table(["CHECK", "OF", "DETAIL"], checks)];
    if plan.verdict != PlanVerdict::Refused {
        parts.extend(plan.runs.iter().enumerate().map(|(at, run)| one_run(at + 1, run)));
        parts.push(around(plan));
    }
    parts.push(conclusion(plan));
    parts.join("\n\n")
}

fn state(state: PlanCheckState) -> String {
    match state {
        PlanCheckState::Ok => "ok",
        PlanCheckState::Waits => "waits",
        PlanCheckState::Failed => "FAILED",
    }
    .to_owned()
}

fn describe(image: &PlannedImage, block: &mut Block) {
    let brings = image.version.as_ref().map_or_else(String::new, |version| format!(", to bring {version}"));
    block.line("image", Some(format!("{} of {} bytes{brings}", image.format, image.size)));
    block.line("sha256", Some(image.sha256.to_string()));
    let ranges = image.overwritten.iter().map(|(start, end)| format!("{start:#x} to {:#x}", end.saturating_sub(1)));
    let ranges = ranges.collect::<Vec<_>>().join(", ");
    let place = if ranges.is_empty() { "where the command puts them".to_owned() } else { format!("at {ranges}") };
    block.line("overwrites", Some(format!("{} bytes {place}", image.flash_bytes)));
}

fn one_run(number: usize, run: &PlannedRun) -> String {
    let what = match run.task {
        PlannedTask::Backup => "reads what the board holds, to have a way back",
        PlannedTask::Flash => "writes and verifies",
    };
    let version = run.tool_version.as_ref().map_or_else(String::new, |version| format!(" {version}"));
    let mut block = Block(vec![format!("Run {number}: {}{version} {what}", run.tool)]);
    block.line("command", Some(run.argv.join(" ")));
    block.line("ended after", Some(format!("{} s at the latest", run.limit_s)));
    block.line("sandbox", Some(run.sandbox.clone()));
    block.0.join("\n")
}

fn around(plan: &Plan) -> String {
    let mut block = Block(vec!["Then".to_owned()]);
    block.line("if it fails", Some(after_failure(&plan.retries)));
    block.line("proof", plan.proof.as_ref().map(proof));
    block.line("way back", Some(way_back(&plan.way_back)));
    let last = plan.last.as_ref().map(|last| {
        let version = last.version.as_ref().map_or_else(String::new, |version| format!(", which brought {version}"));
        let took = last.took_ms.map_or_else(|| "an unknown time".to_owned(), took);
        format!("{took} for the update of {}{version}", status::time(last.began))
    });
    block.line("took before", Some(last.unwrap_or_else(|| "no update of this device is on record".to_owned())));
    block.0.join("\n")
}

fn words(classes: &[JobFailure]) -> String {
    classes.iter().map(word).collect::<Vec<_>>().join(", ")
}

fn after_failure(retries: &PlannedRetries) -> String {
    if retries.max <= 1 || retries.on.is_empty() {
        return "it is not tried again".to_owned();
    }
    let mut text = format!("up to {} runs, after {}", retries.max, words(&retries.on));
    for other in &retries.alternatives {
        let vars: Vec<String> = other.vars.iter().map(|(name, value)| format!("{name} = {value}")).collect();
        let on = if other.on.is_empty() { String::new() } else { format!(" after {}", words(&other.on)) };
        text.push_str(&format!("; with {}{on}", vars.join(", ")));
    }
    text
}

fn proof(proof: &PlannedProof) -> String {
    let verified = format!("the tool itself verifies all {} bytes", proof.verified_bytes);
    let soak = if proof.soak_s > 0 { format!(", runs for {} s", proof.soak_s) } else { String::new() };
    let back = format!("the board is back within {} s{soak}", proof.back_within_s);
    match (proof.tells_version, &proof.version) {
        (false, _) => format!("{verified}, and {back}; it cannot tell a version"),
        (true, None) => format!("{verified}, and {back} and tells a version (whichever: the image names none)"),
        (true, Some(version)) => format!("{verified}, and {back} and tells version {version}"),
    }
}

fn way_back(way: &PlannedWayBack) -> String {
    let what = match (&way.kept, way.saved_first) {
        _ if way.policy == RollbackPolicy::Never => {
            return "none: its board's file says `rollback = \"never\"`".to_owned();
        }
        (_, true) => "what it holds now, read by the first run".to_owned(),
        (Some(kept), false) => {
            let version = kept.version.as_deref().unwrap_or("of an unknown version");
            format!("the image {version} that was last known to run at {}", status::time(kept.since))
        }
        (None, false) => {
            return "none: no image has proven itself here yet, and the tool cannot read this board".to_owned();
        }
    };
    match way.policy {
        RollbackPolicy::OnFailure => format!("{what}; put back at once if the update fails"),
        _ => format!("{what}; put back by `nuncio rollback`"),
    }
}

fn conclusion(plan: &Plan) -> String {
    match (plan.verdict, plan.result) {
        (PlanVerdict::Ready, _) => "It would begin at once. Nothing was touched.".to_owned(),
        (PlanVerdict::Waits, _) => "It would be accepted, and wait. Nothing was touched.".to_owned(),
        (PlanVerdict::Refused, Some(result)) => {
            format!("It would be refused; servers would read result {} ({}).", result as u8, word(&result))
        }
        (PlanVerdict::Refused, None) => "It could not be carried out.".to_owned(),
    }
}
