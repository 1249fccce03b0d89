//! `nuncio check --fix` on a machine with troubles: a mount namespace in which folders of the system are ours to spoil. Only root
//! can make one.

use std::io::Write;
use std::process::{Command, Output, Stdio};

/// Prepares `/etc/udev`, `/run/udev`, `/usr/sbin` and a port for `nuncio check`, then runs it; programs that it would call are
/// scripts that write down how they are called.
const MACHINE: &str = r#"
set -e
dir=$1; shift
mkdir -p "$dir/etc-udev" "$dir/run" "$dir/rules" "$dir/bin"
for name in usermod udevadm systemctl; do
  printf '#!/bin/sh\necho "%s $*" >>%s/called\n' "$name" "$dir" >"$dir/bin/$name"; chmod 755 "$dir/bin/$name"
done
mount -t tmpfs none /run
mkdir -p /run/udev
[ ! -d /usr/lib/udev/rules.d ] || mount --bind "$dir/rules" /usr/lib/udev/rules.d
mkdir -p /etc/udev/rules.d
mount --bind "$dir/etc-udev" /etc/udev/rules.d
if [ -f "$dir/passwd" ]; then
  mount --bind "$dir/passwd" /etc/passwd
  mount --bind "$dir/group" /etc/group
  [ -e "$dir/ttyUSB0" ] || mknod "$dir/ttyUSB0" c 188 200
  chown 0:20 "$dir/ttyUSB0"; chmod 660 "$dir/ttyUSB0"
fi
PATH="$dir/bin:$PATH" exec "$@"
"#;

fn check(dir: &std::path::Path, arguments: &[&str], answers: &str) -> Output {
    let config = dir.join("nuncio.toml");
    let state = dir.join("state");
    let ports = dir.join("ttyUSB*");
    let text = format!(
        "[gateway]\nstate = {state:?}\n[serial]\nwatch = [{ports:?}]\n[[server]]\nname = \"a\"\nuri = \"coap://127.0.0.1\"\nshort_id = 1\n"
    );
    std::fs::write(&config, text).expect("written");
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", MACHINE, "sh"]).arg(dir).arg(env!("CARGO_BIN_EXE_nuncio"));
    command.arg("--config").arg(&config).arg("check").args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = command.spawn().expect("started");
    let _ = running.stdin.take().expect("piped").write_all(answers.as_bytes());
    running.wait_with_output().expect("ended")
}

#[test]
fn missing_rules_are_installed_when_asked_for_and_only_then() {
    let dir = tempfile::tempdir().expect("a folder");
    let rules = dir.path().join("etc-udev/70-nuncio.rules");
    let called = || std::fs::read_to_string(dir.path().join("called")).unwrap_or_default();
    let said =
        |output: &Output| String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();

    let looked = said(&check(dir.path(), &[], ""));
    assert!(looked.contains("`sudo nuncio check --fix` can mend it"), "{looked}");
    let declined = said(&check(dir.path(), &["--fix"], "n\n"));
    assert!(declined.contains("install -m 0644 /dev/stdin /etc/udev/rules.d/70-nuncio.rules"), "{declined}");
    assert!(!rules.exists() && called().is_empty(), "done without a yes: {declined}");
    let silent = check(dir.path(), &["--fix"], "");
    assert_eq!(silent.status.code(), Some(1));
    assert!(said(&silent).contains("--yes"), "{}", said(&silent));

    let mended = said(&check(dir.path(), &["--fix"], "y\n"));
    assert!(mended.contains("Afterwards:") && mended.contains("ok       udev rules"), "{mended}");
    let written = std::fs::read_to_string(&rules).expect("installed");
    assert!(written.contains("ID_MM_DEVICE_IGNORE"), "{written}");
    assert!(called().starts_with("udevadm control --reload\nudevadm trigger"), "{}", called());
    let nothing = said(&check(dir.path(), &["--fix", "--yes"], ""));
    assert!(nothing.contains("Nothing here can be mended"), "{nothing}");
}

#[test]
fn the_services_user_joins_the_group_of_the_ports_and_the_service_begins_anew_with_it() {
    let dir = tempfile::tempdir().expect("a folder");
    for (name, text) in [
        ("passwd", "root:x:0:0::/root:/bin/sh\nnuncio:x:990:990::/:/usr/sbin/nologin\n"),
        ("group", "root:x:0:\ndialout:x:20:\nnuncio:x:990:\n"),
    ] {
        std::fs::write(dir.path().join(name), text).expect("written");
    }
    let output = check(dir.path(), &["--fix", "--yes"], "");
    let said = String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned();
    let called = std::fs::read_to_string(dir.path().join("called")).unwrap_or_default();
    let wanted = "usermod -aG dialout nuncio\nsystemctl try-restart nuncio.service\n";
    assert!(called.contains(wanted), "{called}\n{said}");
}
