//! A gateway moves to another machine by `nuncio backup` and `nuncio restore`: two real servers notice nothing, a real
//! avrdude puts a good image back there, and Debian's `age` opens what was encrypted.
//!
//! Needs the peers avr, leshan and tls: `make peers`.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;
use world::{Daemon, Process, Scene, Terminal, World, avr_image, eventually, world};

/// Ten times what an idle gateway takes to end.
const STOP: Duration = Duration::from_secs(50);
/// Ten times what a backup takes, also one that is made to take long.
const LONG: Duration = Duration::from_secs(120);

/// Another machine, with nothing on it yet, and what would run there.
fn another_machine(world: &World) -> Daemon {
    let daemon = world.daemon().prepare();
    fs::remove_file(daemon.config()).expect("it was just made");
    daemon
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of ours")
}

fn state(world: &World) -> PathBuf {
    world.home().join("state")
}

fn restore(daemon: &Daemon, world: &World, file: &Path, more: &[&str]) -> world::Cli {
    let state = state(world);
    daemon.cli(&[&["restore", text(file), "--state", text(&state)], more].concat())
}

/// The sockets of the other machine stood in its configuration, outside the state folder.
fn with_own_sockets(daemon: &Daemon, from: &World, to: &World) {
    let line = |world: &World| format!("socket = \"{}", text(&world.home()));
    daemon.edit_config(|config| config.replace(&line(from), &line(to)));
}

/// The gateway of a backup begins anew on the other machine.
fn moves(scene: &mut Scene, there: &World, file: &Path) {
    let daemon = another_machine(there);
    let restored = restore(&daemon, there, file, &["--json"]);
    assert_eq!(restored.json()["changed"], serde_json::json!(["gateway.state"]), "{}", restored.output);
    with_own_sockets(&daemon, &scene.world, there);
    fs::remove_dir_all(state(&scene.world)).expect("lost");
    scene.daemon = daemon;
    scene.daemon.run();
    for server in [scene.factory(), scene.cloud()] {
        assert_eq!(server.await_client(&scene.name)["lifetime"], 30);
    }
    scene.await_device_present();
}

/// What was done to boards, as the history has it.
fn history(daemon: &Daemon) -> Value {
    daemon.cli(&["history", "--json"]).json()["updates"].clone()
}

fn listing(folder: &Path) -> Vec<PathBuf> {
    let mut found: Vec<PathBuf> =
        fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("one").path()).collect();
    found.sort();
    found
}

#[test]
fn a_gateway_moves_to_another_machine_and_servers_notice_nothing() {
    let (world, there) = (world!(), world!());
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    scene.daemon.await_device(&scene.name, "there is a way back", |device| {
        let status = scene.daemon.cli(&["status", device.id(), "--json"]).json();
        (status["devices"][0]["way_back"]["origin"] == "saved").then_some(())
    });
    scene.offer(scene.cloud(), &avr_image("uno-1.2.0.hex"), "#version=1.2.0");
    scene.await_firmware(scene.cloud(), "2", "0");
    let token = scene.daemon.cli(&["token", "add", "ci"]);
    assert_eq!(token.code, Some(0), "{}", token.output);
    scene.daemon.cli(&["brake", "pull", "esp32"]);
    let file = scene.world.home().join("a.nuncio");
    let made = scene.daemon.cli(&["backup", text(&file), "--json"]);
    assert_eq!((made.code, made.json()["at_rest"].as_bool()), (Some(0), Some(true)), "{}", made.output);
    let before = [history(&scene.daemon), asked(&scene.daemon, "token"), asked(&scene.daemon, "brake")];
    assert_eq!(scene.daemon.stop(STOP), Some(0));

    moves(&mut scene, &there, &file);
    assert_eq!([history(&scene.daemon), asked(&scene.daemon, "token"), asked(&scene.daemon, "brake")], before);
    // What a server staged there is executed here, and what the board held at first is put back from here.
    for server in [scene.factory(), scene.cloud()] {
        assert_eq!(scene.firmware(server), ("2".to_owned(), "0".to_owned()));
        assert_eq!(server.read(&scene.name, "3/0/3").text(), "1.3.0");
    }
    let back = scene.daemon.cli(&["rollback", &scene.name]);
    assert_eq!(back.code, Some(0), "{}", back.output);
    assert!(board.holds(&avr_image("uno-1.2.0.hex")));
    assert_eq!(scene.cloud().read(&scene.name, "3/0/3").text(), "1.2.0");
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
}

/// What a list of the gateway says.
fn asked(daemon: &Daemon, command: &str) -> Value {
    daemon.cli(&[command, "--json"]).json()
}

#[test]
fn a_staged_image_is_executed_from_the_other_machine() {
    let (world, there) = (world!(), world!());
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    let file = scene.world.home().join("a.nuncio");
    scene.daemon.cli(&["backup", text(&file)]);
    // The other machine is lost with all that it has.
    scene.daemon.crash();
    moves(&mut scene, &there, &file);
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}

#[test]
fn a_flash_that_was_under_way_in_a_backup_is_not_begun_by_a_restore() {
    let (world, there) = (world!(), world!());
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    eventually("the tool runs", LONG, || scene.daemon.log().contains("flashing begins").then_some(()));
    let file = scene.world.home().join("a.nuncio");
    assert_eq!(scene.daemon.cli(&["backup", text(&file)]).code, Some(0));
    scene.await_firmware(scene.factory(), "0", "1");
    scene.update(scene.factory(), &avr_image("uno-1.2.0.hex"), "1.2.0");
    assert_eq!(scene.daemon.stop(STOP), Some(0));
    moves(&mut scene, &there, &file);
    for server in [scene.factory(), scene.cloud()] {
        assert_eq!(scene.firmware(server), ("2".to_owned(), "8".to_owned()), "never a success, and nothing runs");
        assert_eq!(server.read(&scene.name, "3/0/3").code, 404, "nobody has read it since");
    }
    assert!(!scene.daemon.log().contains("flashing begins"), "{}", scene.daemon.log());
    assert!(board.holds(&avr_image("uno-1.2.0.hex")), "what it was given since");
}

/// A gateway with something to keep and no device.
fn small(world: &World) -> Daemon {
    let daemon = world.daemon().toml("# mine\n[update]\nkeys = \"/nowhere\"\n").start();
    assert_eq!(daemon.cli(&["token", "add", "ci"]).code, Some(0));
    world.file("config/boards.d/mine.toml", "name = \"Mine\"\n[match]\nusb = [\"1234:5678\"]\n");
    daemon
}

#[test]
fn what_is_there_stays_and_a_running_daemon_is_not_robbed() {
    let world = world!();
    let mut daemon = world.daemon().start();
    let file = world.home().join("a.nuncio");
    assert_eq!(daemon.cli(&["backup", text(&file)]).code, Some(0));
    let again = daemon.cli(&["backup", text(&file)]);
    assert!(again.code == Some(1) && again.output.contains("is there already"), "{}", again.output);
    let link = world.home().join("link");
    std::os::unix::fs::symlink(state(&world), &link).expect("linked");
    let within = daemon.cli(&["backup", text(&link.join("a.nuncio"))]);
    assert!(within.code == Some(1) && within.output.contains("lies in the state folder"), "{}", within.output);
    let robbed = restore(&daemon, &world, &file, &["--force"]);
    assert!(robbed.code == Some(5) && robbed.output.contains("(pid "), "{}", robbed.output);
    assert_eq!(daemon.stop(STOP), Some(0));
    let before = fs::read(daemon.config()).expect("there");
    let held = restore(&daemon, &world, &file, &[]);
    assert!(held.code == Some(1) && held.output.contains("--force"), "{}", held.output);
    daemon.edit_config(|config| format!("{config}\n# later\n"));
    let taken = restore(&daemon, &world, &file, &["--force", "--json"]);
    assert_eq!(taken.code, Some(0), "{}", taken.output);
    assert_eq!(fs::read(daemon.config()).expect("there"), before, "as it was in the backup");
    let aside: Vec<PathBuf> = serde_json::from_value(taken.json()["aside"].clone()).expect("paths");
    assert!(aside[0].join("nuncio.db").exists() && aside[0].join("staging").exists(), "{aside:?}");
    assert!(fs::read_to_string(aside[1].join("nuncio.toml")).is_ok_and(|text| text.ends_with("# later\n")));
    assert!(listing(&state(&world)).iter().all(|path| !text(path).ends_with(".tmp")));
    daemon.run();
    assert_eq!(daemon.stop(STOP), Some(0));
}

#[test]
fn an_encrypted_backup_is_opened_by_age_and_one_of_ages_is_restored() {
    let (world, there) = (world!(), world!());
    let daemon = small(&world);
    let (file, opened, sealed) =
        (world.home().join("a.age"), world.home().join("a.nuncio"), world.home().join("b.age"));
    let mut terminal = Terminal::run(&daemon.command(&["backup", "--encrypt", text(&file)]));
    for (asked, typed) in [
        ("Passphrase:", "corect\r"),
        ("again:", "correct\r"),
        ("differ", ""),
        ("Passphrase:", "wrong\u{15}corrx\u{7f}ect horse\r"),
        ("again:", "correct horse\r"),
    ] {
        terminal.await_text(asked);
        assert!(!terminal.echoes(), "nobody sees what is typed");
        terminal.press(typed);
    }
    let (status, seen) = terminal.end();
    assert!(status.success() && seen.contains("encrypted"), "{seen}");
    let age = |arguments: &[&str], typed: &[&str]| {
        let mut command = Command::new("age");
        command.args(arguments);
        let mut terminal = Terminal::run(&command);
        for line in typed {
            terminal.await_text("passphrase");
            terminal.press(&format!("{line}\n"));
        }
        let (status, seen) = terminal.end();
        assert!(status.success(), "{seen}");
    };
    age(&["-d", "-o", text(&opened), text(&file)], &["correct horse"]);
    assert_eq!(daemon.cli(&["restore", "--verify", text(&opened)]).code, Some(0));
    age(&["-p", "-o", text(&sealed), text(&opened)], &["battery staple", "battery staple"]);
    let moved = another_machine(&there);
    let passphrase = there.file("passphrase", "battery staple\nmore\n");
    let restored = restore(&moved, &there, &sealed, &["--passphrase-file", text(&passphrase)]);
    assert_eq!(restored.code, Some(0), "{}", restored.output);
    let wrong = daemon.command(&["restore", "--verify", text(&file), "--passphrase-file", text(&passphrase)]).output();
    let wrong = String::from_utf8(wrong.expect("it runs").stderr).expect("text");
    assert!(wrong.contains("the passphrase is wrong"), "{wrong}");
}

#[test]
fn the_configuration_comes_with_all_that_it_names_and_paths_lead_into_the_new_folders() {
    let (world, there) = (world!(), world!());
    let key = include_str!("peers/README.md");
    let files = ["keys/site.pub", "own/certificate.pem", "own/key.pem", "own/ca.pem", "run/credential"];
    let [keys, certificate, private, authority, credential] = files.map(|name| world.file(name, key));
    let toml = format!(
        "[update]\nkeys = {:?}\n[web]\ncertificate = {certificate:?}\nkey = {private:?}\nsocket = {:?}\n[[discovery]]\nname = \"x\"\nprogram = [{credential:?}]\n[builtin_server]\ndrop = {:?}\n",
        keys.parent().expect("a folder"),
        state(&world).join("web.sock"),
        state(&world).join("incoming"),
    );
    let daemon = world.daemon().download(&format!("ca = [{authority:?}]")).toml(&toml).prepare();
    world.file("config/boards.d/mine.toml", "# a board\n");
    let file = world.home().join("a.nuncio");
    let made = daemon.cli(&["backup", text(&file), "--json"]);
    assert_eq!(made.json()["named_only"], serde_json::json!([credential]), "{}", made.output);
    let moved = another_machine(&there);
    let restored = restore(&moved, &there, &file, &["--json"]);
    let changed = restored.json()["changed"].to_string();
    let keys = "\"gateway.state\",\"web.socket\",\"builtin_server.drop\",\"update.keys\",\"web.certificate\",\"web.key\",\"download.ca\"";
    assert_eq!(changed, format!("[{keys}]"), "{}", restored.output);
    let config = fs::read_to_string(moved.config()).expect("there");
    let old = text(&world.home()).to_owned();
    let left: Vec<&str> = config.lines().filter(|line| line.contains(&old)).collect();
    assert_eq!(left.len(), 2, "the control socket and the program stay as they were: {left:?}");
    let folder = moved.config().parent().expect("a folder");
    for name in ["boards.d/mine.toml", "keys/site.pub", "tls/certificate.pem", "tls/key.pem", "ca/0-ca.pem"] {
        assert!(folder.join(name).exists(), "{name}");
    }
}

#[test]
fn what_was_dropped_stays_behind_and_keeps_nothing_from_being_kept() {
    let (world, there) = (world!(), world!());
    let incoming = state(&world).join("images/incoming");
    let daemon = world.daemon().builtin(world::free_both(), &format!("drop = {incoming:?}")).prepare();
    for name in ["press-3/a.hex", "press-3/odd\\name.hex", "under-way/0123456789ab/offer.json"] {
        world.file(&format!("state/images/incoming/{name}"), "x");
    }
    world.file("state/images/other/kept.hex", "x");
    let file = world.home().join("a.nuncio");
    let made = daemon.cli(&["backup", text(&file)]);
    assert_eq!(made.code, Some(0), "{}", made.output);
    let restored = restore(&another_machine(&there), &there, &file, &[]);
    assert_eq!(restored.code, Some(0), "{}", restored.output);
    let images = state(&there).join("images");
    assert_eq!(listing(&images), [images.join("other")]);
    assert_eq!(listing(&images.join("other")), [images.join("other/kept.hex")]);
}

#[test]
fn a_restore_that_was_cut_off_halfway_is_repeated_before_a_daemon_starts() {
    let world = world!();
    let mut daemon = world.daemon().start();
    let file = world.home().join("a.nuncio");
    assert_eq!(daemon.cli(&["backup", text(&file)]).code, Some(0));
    assert_eq!(daemon.stop(STOP), Some(0));
    // What a power cut leaves between the two moves: the old one aside, and of the new one nothing yet.
    let (aside, mark) = (state(&world).join("before-restore-1"), state(&world).join("restore.unfinished"));
    fs::create_dir(&aside).expect("made");
    fs::rename(state(&world).join("nuncio.db"), aside.join("nuncio.db")).expect("moved");
    fs::write(&mark, "").expect("written");
    let refused = daemon.command(&["run"]).output().expect("it runs");
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && told.contains("cut off halfway"), "{told}");
    assert!(!state(&world).join("nuncio.db").exists(), "none is begun");
    let kept = daemon.cli(&["backup", text(&world.home().join("b.nuncio"))]);
    assert!(kept.code == Some(1) && kept.output.contains("cut off halfway"), "{}", kept.output);
    let again = restore(&daemon, &world, &file, &["--force"]);
    assert_eq!(again.code, Some(0), "{}", again.output);
    assert!(!mark.exists() && aside.join("nuncio.db").exists());
    daemon.run();
    assert_eq!(daemon.stop(STOP), Some(0));
}

#[test]
fn credentials_stay_behind_and_the_rest_of_the_configuration_fits_all_the_same() {
    let (world, there) = (world!(), world!());
    let keys = world.file("keys/site.pub", include_str!("peers/README.md"));
    let credential = world.file("config/credentials/kitchen", "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE=\n");
    let keys = keys.parent().expect("a folder");
    let toml = format!("[update]\nkeys = {keys:?}\n[esphome.keys]\nkitchen = {{ credential = \"kitchen\" }}\n");
    let daemon = world.daemon().toml(&toml).prepare();
    let file = world.home().join("a.nuncio");
    let made = daemon.cli(&["backup", text(&file), "--json"]);
    assert_eq!(made.json()["named_only"], serde_json::json!([credential]), "{}", made.output);
    let moved = another_machine(&there);
    let restored = restore(&moved, &there, &file, &["--json"]);
    assert_eq!(restored.json()["changed"], serde_json::json!(["gateway.state", "update.keys"]), "{}", restored.output);
    assert_eq!(restored.json()["notes"], serde_json::json!([]), "{}", restored.output);
    assert!(!moved.config().with_file_name("credentials").exists());
    fs::remove_file(&credential).expect("it was there");
    let again = daemon.cli(&["restore", text(&file), "--force"]);
    assert_eq!(again.code, Some(0), "where the state goes is in the configuration here: {}", again.output);
}

#[test]
fn a_state_folder_that_is_not_named_is_never_taken_from_the_backup() {
    let world = world!();
    let daemon = world.daemon().start();
    let file = world.home().join("a.nuncio");
    assert_eq!(daemon.cli(&["backup", text(&file)]).code, Some(0));
    let there = world!();
    let moved = there.daemon().prepare();
    let refused = moved.cli(&["restore", text(&file), "--force"]);
    assert!(refused.code == Some(1) && refused.output.contains("--state DIR"), "{}", refused.output);
    assert!(!state(&there).exists());
}

#[test]
fn a_disk_that_is_full_is_told_and_left_as_it_was() {
    let world = world!();
    let daemon = world.daemon().start();
    let mut noise = vec![0; 100_000];
    fastrand::Rng::with_seed(world.seed()).fill(&mut noise);
    fs::write(state(&world).join("staging/noise.img"), noise).expect("written");
    let full = world.home().join("full");
    fs::create_dir(&full).expect("made");
    let script = "mount -t tmpfs -o size=16k full \"$0\" && f=\"$0\" && \"$@\"; echo ended $?; ls -A \"$0\"";
    let backup = daemon.command(&["backup", text(&full.join("a.nuncio"))]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, text(&full)]).arg(backup.get_program()).args(backup.get_args());
    let output = command.output().expect("it runs");
    let (told, left) = (String::from_utf8_lossy(&output.stderr), String::from_utf8_lossy(&output.stdout));
    assert!(told.contains("No space left on device") && left == "ended 1\n", "{told}{left}");
    assert!(!state(&world).join("backup.tmp").exists());
}

/// A command that must go well, not as the daemon's user but as the test's.
fn as_root(daemon: &Daemon, arguments: &[&str]) {
    let output = daemon.command(arguments).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn what_root_does_for_the_daemons_user_belongs_to_that_user() {
    let world = world!().unprivileged();
    let mut daemon = world.daemon().start();
    let (file, state) = (world.dir().join("a.nuncio"), state(&world));
    let user = fs::metadata(&state).expect("it is there").uid();
    assert_ne!(user, 0);
    as_root(&daemon, &["backup", text(&file)]);
    assert_eq!(daemon.stop(STOP), Some(0));
    as_root(&daemon, &["backup", text(&world.dir().join("b.nuncio"))]);
    daemon.run();
    assert_eq!(daemon.stop(STOP), Some(0));
    fs::remove_file(state.join("nuncio.lock")).expect("removed");
    as_root(&daemon, &["restore", text(&file), "--state", text(&state), "--force"]);
    let mut waiting = vec![state.clone()];
    while let Some(folder) = waiting.pop() {
        for path in listing(&folder) {
            let found = path.symlink_metadata().expect("it is there");
            let aside = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("before-restore-"));
            assert!(aside || found.uid() == user, "{} belongs to {}", path.display(), found.uid());
            waiting.extend((found.is_dir() && !aside).then_some(path));
        }
    }
    daemon.run();
    assert_eq!(daemon.stop(STOP), Some(0));
}

#[test]
fn ctrl_c_leaves_nothing_behind_and_what_a_kill_leaves_is_cleared_by_the_next() {
    let world = world!();
    let daemon = world.daemon().start();
    // Long enough to be interrupted: what does not compress takes a debug build some seconds.
    let mut noise = vec![0; 24 << 20];
    fastrand::Rng::with_seed(world.seed()).fill(&mut noise);
    fs::write(state(&world).join("staging/large.img"), noise).expect("written");
    let (file, holding) = (world.home().join("a.nuncio"), state(&world).join("backup.tmp"));
    let homes = listing(&world.home());
    let begin = || {
        let process = Process::start("nuncio backup", &daemon.command(&["backup", text(&file)]), None);
        eventually("it is written", LONG, || (listing(&world.home()).len() > homes.len()).then_some(()));
        process
    };
    let mut process = begin();
    process.signal(Signal::INT);
    assert_eq!(process.wait(LONG).code(), Some(130), "{}", process.output());
    assert!(listing(&world.home()) == homes && !holding.exists(), "nothing is left");
    let mut process = begin();
    process.signal(Signal::KILL);
    process.wait(LONG);
    assert!(holding.join("nuncio.db").exists(), "a kill leaves what it leaves");
    assert_eq!(daemon.cli(&["backup", text(&file)]).code, Some(0));
    assert!(file.exists() && !holding.exists());

    let there = world!();
    let moved = another_machine(&there);
    let target = state(&there);
    let command = moved.command(&["restore", text(&file), "--state", text(&target)]);
    let mut process = Process::start("nuncio restore", &command, None);
    eventually("it is unpacked", LONG, || target.join("restore.tmp/nuncio.db").exists().then_some(()));
    process.signal(Signal::INT);
    assert_eq!(process.wait(LONG).code(), Some(130), "{}", process.output());
    assert_eq!(listing(&target), [target.join("nuncio.lock")]);
    assert!(!moved.config().exists() && listing(moved.config().parent().expect("a folder")).is_empty());
    let sealed = world.home().join("a.age");
    let mut terminal = Terminal::run(&daemon.command(&["backup", "--encrypt", text(&sealed)]));
    terminal.await_text("Passphrase:");
    assert!(!terminal.echoes());
    terminal.press("\u{3}");
    assert_eq!(terminal.end().0.code(), Some(130));
    assert!(terminal.echoes() && !sealed.exists(), "the terminal is as it was");
}
