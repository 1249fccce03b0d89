//! `nuncio backup`, `nuncio restore` and `nuncio report` as scripts see them. What becomes of a gateway is in `e2e_backup.rs`, what a
//! report tells in `e2e_report.rs`.

use super::Daemon;

#[test]
fn a_backup_and_what_becomes_of_it_are_documents() {
    let daemon = Daemon::start(|_| {});
    // Not in the state folder: all of that goes into a backup.
    let other = tempfile::tempdir().expect("a folder");
    let path = |name: &str| other.path().join(name).display().to_string();
    let (file, state) = (path("a.nuncio"), path("elsewhere/state"));
    let (made, code) = daemon.documents(&["backup", &file, "--json"]);
    assert_eq!((code, made[0]["layout"].is_null(), &made[0]["encrypted"]), (0, true, &false.into()), "{made:?}");
    let (seen, code) = daemon.documents(&["restore", "--verify", &file, "--json"]);
    assert_eq!((code, &seen[0]["restored"], &seen[0]["backup"]["made"]), (0, &false.into(), &made[0]["made"]));
    let config = path("elsewhere/config/n.toml");
    let (done, code) = daemon.documents(&["restore", &file, "--json", "--state", &state, "--config", &config]);
    assert_eq!((code, &done[0]["restored"], &done[0]["config"]), (0, &true.into(), &(*config).into()), "{done:?}");
    let (refused, code) = daemon.documents(&["restore", &file, "--json", "--state", &state, "--config", &config]);
    assert_eq!(
        (code, refused[0]["hint"].as_str().map(|hint| hint.contains("--force"))),
        (1, Some(true)),
        "{refused:?}"
    );
    let text = daemon.says(&["restore", "--verify", &file]);
    assert!(text.contains("all of it is as it was written"), "{text}");
}

#[test]
fn what_is_in_a_bug_report_is_a_document() {
    let daemon = Daemon::start(|_| {});
    let file = daemon.dir.path().join("report.tar.gz").display().to_string();
    let (made, code) = daemon.documents(&["report", &file, "--json", "--record", "0s", "--log-lines", "1"]);
    let parts = made[0]["parts"].as_array().expect("a list");
    assert!(code == 0 && parts.iter().any(|part| part["name"] == "check.json"), "{made:?}");
    assert!(!made[0]["missing"].as_array().expect("a list").is_empty(), "this daemon tells nothing: {made:?}");
}
