//! `nuncio plan` as an operator and a script read it.

use std::path::Path;

use nuncio::control::{
    Failure, FailureCode, PastUpdate, Plan, PlanCheck, PlanCheckState, PlanVerdict, PlannedAlternative, PlannedImage,
    PlannedProof, PlannedRetries, PlannedRun, PlannedTask, PlannedWayBack,
};
use nuncio::device::{ImageFormat, JobFailure, RollbackPolicy, Sha256Digest, UpdateId, UpdateResult};

use crate::{Daemon, gateway, press};

fn run(task: PlannedTask, what: &str) -> PlannedRun {
    PlannedRun {
        task,
        tool: "avrdude".into(),
        tool_version: Some("7.1".into()),
        argv: vec!["/usr/bin/avrdude".into(), "-U".into(), format!("flash:{what}")],
        limit_s: 240,
        sandbox: "no network".into(),
    }
}

fn check(what: &str, state: PlanCheckState, detail: &str) -> PlanCheck {
    PlanCheck { what: what.into(), state, detail: detail.into() }
}

/// What the stand-in foretells: an update outside the window waits, one that is to bring version 6 is refused.
pub(crate) fn plan(device: &str, image: &Path, version: Option<&str>, now: bool) -> Result<Plan, Failure> {
    let press = press();
    if !press.answers_to(device) {
        return Err(Failure::new(FailureCode::NoSuchDevice, format!("there is no device `{device}`")));
    }
    let refused = version == Some("6");
    let verdict = match (refused, now) {
        (true, _) => PlanVerdict::Refused,
        (false, true) => PlanVerdict::Ready,
        (false, false) => PlanVerdict::Waits,
    };
    let found = PlannedImage {
        sha256: Sha256Digest([7; 32]),
        size: 900,
        format: ImageFormat::Ihex,
        flash_bytes: 300,
        overwritten: vec![(0, 256), (512, 556)],
        version: Some("1.4.3".into()),
        signed_by: None,
    };
    let checks = match verdict {
        PlanVerdict::Refused => vec![check("image a.hex", PlanCheckState::Failed, "not for this board")],
        PlanVerdict::Waits => vec![check("schedule", PlanCheckState::Waits, "the window opens at 22:00")],
        PlanVerdict::Ready => vec![check("schedule", PlanCheckState::Ok, "nothing holds it up")],
    };
    let proof = PlannedProof {
        verified_bytes: 300,
        back_within_s: 5,
        soak_s: 2,
        tells_version: true,
        version: Some("1.4.3".into()),
    };
    let slower =
        PlannedAlternative { on: vec![JobFailure::NoSync], vars: [("baud".to_owned(), "57600".to_owned())].into() };
    Ok(Plan {
        verdict,
        device: press.id,
        board: press.board,
        link: press.link,
        version: press.version,
        path: image.to_owned(),
        image: (!refused).then_some(found),
        result: refused.then_some(UpdateResult::UnsupportedPackage),
        checks,
        runs: vec![run(PlannedTask::Backup, "r"), run(PlannedTask::Flash, "w")],
        retries: PlannedRetries { max: 3, on: vec![JobFailure::NoSync], alternatives: vec![slower] },
        proof: (!refused).then_some(proof),
        way_back: PlannedWayBack { policy: RollbackPolicy::OnFailure, saved_first: true, kept: press.way_back },
        last: Some(PastUpdate {
            update: UpdateId(uuid::Uuid::from_u128(7)),
            began: 1_700_000_000,
            took_ms: Some(3450),
            version: Some("1.4.2".into()),
        }),
    })
}

#[test]
fn a_plan_tells_checks_commands_ranges_proof_way_back_and_how_long_it_took_last() {
    let daemon = Daemon::start(gateway);
    let image = daemon.image();
    let image = image.to_str().expect("text");
    let text = daemon.says(&["plan", "press-3", image]);
    for part in [
        "press-3 (arduino-uno at serial:/dev/ttyACM0) runs 1.4.2",
        "ihex of 900 bytes, to bring 1.4.3",
        "300 bytes at 0x0 to 0xff, 0x200 to 0x22b",
        "waits",
        "the window opens at 22:00",
        "Run 1: avrdude 7.1 reads what the board holds",
        "/usr/bin/avrdude -U flash:w",
        "up to 3 runs, after no sync; with baud = 57600 after no sync",
        "verifies all 300 bytes, and the board is back within 5 s, runs for 2 s and tells version 1.4.3",
        "put back at once if the update fails",
        "3.4 s for the update of 2023-11-1",
        "It would be accepted, and wait. Nothing was touched.",
    ] {
        assert!(text.contains(part), "no `{part}` in {text}");
    }
    assert!(daemon.says(&["plan", "press-3", image, "--now"]).contains("It would begin at once."));
}

#[test]
fn a_plan_that_cannot_come_true_exits_with_1_and_tells_what_servers_would_read() {
    let daemon = Daemon::start(gateway);
    let image = daemon.image();
    let image = image.to_str().expect("text");
    let output = daemon.run(&["plan", "press-3", image, "--expect-version", "6"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("FAILED") && text.contains("not for this board"), "{text}");
    assert!(text.contains("servers would read result 6 (unsupported package)"), "{text}");
    assert!(!text.contains("Run 1"), "{text}");
    for (arguments, expected) in [
        (&["plan", "press-3", image, "--json"][..], 0),
        (&["plan", "press-3", image, "--expect-version", "6", "--json"], 1),
        (&["plan", "nobody", image, "--json"], 4),
    ] {
        let (documents, code) = daemon.documents(arguments);
        assert_eq!((documents.len(), code), (1, expected), "{arguments:?}");
    }
    assert_eq!(daemon.run(&["plan", "press-3", "/nonexistent/a.hex"]).status.code(), Some(2));
}
