//! The program without a daemon: help, arguments, `check`, and exit codes.

use std::path::Path;
use std::process::{Command, Output};

fn nuncio(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_nuncio"));
    command.args(arguments).env_remove("RUST_LOG").env_remove("JOURNAL_STREAM").output().expect("started")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A configuration in a folder of its own, its state folder beside it.
fn configured(more: &str) -> (tempfile::TempDir, String) {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("nuncio.toml");
    let text = format!("[gateway]\nstate = \"{}/state\"\n{more}", dir.path().display());
    std::fs::write(&file, text).expect("written");
    let file = file.to_str().expect("text").to_owned();
    (dir, file)
}

#[test]
fn help_teaches_with_examples_and_lists_the_exit_codes() {
    let help = out(&nuncio(&["--help"]));
    for part in ["Examples:", "nuncio flash press-3 blink.hex", "Exit codes:", "3    the daemon cannot be reached"] {
        assert!(help.contains(part), "`{part}` in\n{help}");
    }
    for command in ["run", "devices", "status", "flash", "why", "check"] {
        assert!(help.contains(&format!("\n  {command} ")), "{command} in\n{help}");
        let of_command = nuncio(&[command, "--help"]);
        assert!(of_command.status.success() && out(&of_command).contains("Usage: nuncio"), "{of_command:?}");
    }
}

#[test]
fn the_version_is_told() {
    let output = nuncio(&["--version"]);
    assert_eq!(out(&output), format!("nuncio {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn wrong_arguments_end_with_2() {
    for arguments in
        [&[][..], &["unheard-of"], &["flash", "press-3"], &["status", "--unheard-of"], &["flash", "d", "/nonexistent"]]
    {
        assert_eq!(nuncio(arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_mistake_in_the_configuration_ends_with_2_and_is_drawn() {
    let (_dir, file) = configured("[[server]]\nname = \"a\"\nuri = \"coap://h\"\nshort_id = 1\nlifetme = \"30s\"\n");
    for command in ["check", "run"] {
        let output = nuncio(&["--config", &file, command]);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = out(&output) + &err(&output);
        assert!(said.contains(&format!("{file}:7:1: server[0].lifetme: unknown key")), "{said}");
        assert!(said.contains("  | ^^^^^^^\n  hint: did you mean `lifetime`?"), "{said}");
    }
}

#[test]
fn a_mistake_elsewhere_does_not_keep_clients_from_the_daemon() {
    let (_dir, file) = configured("[serial]\npol = \"1s\"\n");
    let output = nuncio(&["--config", &file, "devices"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
}

#[test]
fn without_a_daemon_its_clients_end_with_3_and_a_hint() {
    let (dir, file) = configured("");
    for command in [&["devices"][..], &["status"], &["why", "x"], &["flash", "x", &file]] {
        let output = nuncio(&[&["--config", file.as_str()], command].concat());
        assert_eq!(output.status.code(), Some(3), "{output:?}");
        let expected = format!("nobody answers on {}/state/control.sock", dir.path().display());
        assert!(err(&output).contains(&expected) && err(&output).contains("systemctl start nuncio"), "{output:?}");
    }
}

#[test]
fn check_is_content_with_a_good_configuration() {
    let (_dir, file) = configured("[[server]]\nname = \"factory\"\nuri = \"coap://127.0.0.1\"\nshort_id = 1\n");
    let output = nuncio(&["--config", &file, "check"]);
    assert!(output.status.success(), "{output:?}");
    let said = out(&output);
    assert!(said.contains("factory (coap://127.0.0.1)") && said.contains("will be made at the first start"), "{said}");
}

#[test]
fn check_finds_ports_and_certificates_that_cannot_be_used() {
    let (dir, _) = configured("");
    let file = dir.path().join("nuncio.toml");
    std::fs::write(dir.path().join("tty"), "no tty").expect("written");
    let text = format!(
        "[gateway]\nstate = \"{0}\"\n[[device]]\nname = \"p\"\nlink = \"serial:{0}/tty\"\n\
         [[device]]\nname = \"q\"\nlink = \"serial:{0}/gone\"\n[download]\nca = [\"{0}/ca.pem\"]\n",
        dir.path().display()
    );
    std::fs::write(&file, text).expect("written");
    let output = nuncio(&["--config", file.to_str().expect("text"), "check"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = out(&output);
    let state =
        |what: &str| said.lines().find(|line| line.contains(what)).map(|line| line.split(' ').next().unwrap_or(""));
    assert_eq!(state("tty (p): is no tty"), Some("error"), "{said}");
    assert_eq!(state("gone (q): is not there now"), Some("warning"), "{said}");
    assert!(said.contains("download.ca[0]") && said.contains("ca.pem"), "{said}");
    assert!(said.contains("\n2 errors, "), "{said}");
}

#[test]
fn check_names_the_daemon_that_holds_the_state_folder() {
    let (dir, file) = configured("");
    let state = dir.path().join("state");
    let _store = nuncio::store::Store::open(Path::new(&state)).expect("a store");
    let said = out(&nuncio(&["--config", &file, "check"]));
    assert!(said.contains(&format!("in use by the running daemon (pid {})", std::process::id())), "{said}");
}

#[test]
fn a_port_that_is_not_permitted_is_told_with_the_remedy() {
    // Root may use every port, so this asks as a user who may use none.
    if !rustix::process::geteuid().is_root() {
        return;
    }
    use std::os::unix::process::CommandExt;
    let dir = tempfile::tempdir().expect("a folder");
    let program = dir.path().join("nuncio");
    std::fs::copy(env!("CARGO_BIN_EXE_nuncio"), &program).expect("a copy that a stranger may run");
    let open = |path: &Path| {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("opened");
    };
    open(dir.path());
    open(&program);
    let config = dir.path().join("nuncio.toml");
    std::fs::write(&config, "[[device]]\nname = \"p\"\nlink = \"serial:/dev/console\"\n").expect("written");
    let mut command = Command::new(&program);
    command.args(["--config"]).arg(&config).arg("check").current_dir("/").uid(65534).gid(65534);
    let output = command.output().expect("started");
    let said = out(&output);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(said.contains("port /dev/console (p): user nobody may not use it (root:"), "{said}");
    assert!(said.contains("may not make it in /var/lib") && said.contains("sudo install -d -m 0750"), "{said}");
}
