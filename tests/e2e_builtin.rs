//! The built-in server: one more server like any other, beside a real Leshan.
//!
//! Needs the peers avr, leshan and tls: `make peers`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use world::{Model, Scene, World, avr_image, eventually, firmata_image, free_both, world};

/// Ten times what anything but a flash takes here.
const PATIENCE: Duration = Duration::from_secs(60);

/// Ten times what a flash takes, with all that stands around it.
const FLASH: Duration = Duration::from_secs(240);

/// A scene with the built-in server as a third one, and its drop folder.
fn scene(world: World, link: &str) -> (Scene, PathBuf) {
    let drop = world.home().join("state/drop");
    let scene = Scene::with(world, "arduino-uno", link, |daemon| daemon.builtin(free_both(), ""));
    scene.daemon.await_registered(&scene.name, "builtin");
    eventually("there is a folder for the device", PATIENCE, || drop.join(&scene.name).is_dir().then_some(()));
    (scene, drop)
}

/// What stands beside an image in the end.
fn result(folder: &Path, image: &str) -> String {
    let file = folder.join(format!("{image}.result"));
    eventually(&format!("{} tells how it ended", file.display()), FLASH, || {
        fs::read_to_string(&file).ok().filter(|text| !text.starts_with("waiting"))
    })
}

#[test]
fn a_file_that_is_dropped_is_flashed_and_every_server_sees_it() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, drop) = scene(world, &board.link());
    let events = scene.observe_state();
    let folder = drop.join(&scene.name);
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("blinky.hex")).expect("dropped");
    let text = result(&folder, "blinky.hex");
    assert!(text.starts_with(&format!("ok: {}: it runs 1.3.0, proven\n", scene.name)), "{text}");
    for (server, events) in [scene.factory(), scene.cloud()].into_iter().zip(&events) {
        assert_eq!(events.await_values("/5/0/3", &["1", "2", "3", "0"], PATIENCE), ["1", "2", "3", "0"]);
        scene.await_firmware(server, "0", "1");
        assert_eq!(server.read(&scene.name, "3/0/3").text(), "1.3.0");
    }
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    assert!(!folder.join("blinky.hex").exists() && folder.join("done/blinky.hex").exists());
    let history = scene.daemon.cli(&["history"]).output;
    assert!(history.contains("builtin"), "{history}");
}

#[test]
fn a_device_registers_there_like_anywhere_else_and_is_read() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.builtin(free_both(), ""));
    scene.daemon.await_registered(&scene.name, "builtin");
    let value = |path: &str| scene.daemon.builtin_value(&scene.name, path);
    eventually("it has read the device", PATIENCE, || (value("/5/0/3")? == "0").then_some(()));
    assert_eq!(value("/3/0/0").as_deref(), Some("Arduino"));
    assert_eq!(value("/5/0/5").as_deref(), Some("0"));
    assert_eq!(scene.factory().read(&scene.name, "5/0/3").text(), "0");
    let status = scene.daemon.cli(&["status"]).output;
    assert!(status.contains("builtin") && status.contains("65534"), "{status}");
    scene.daemon.stop(PATIENCE);
    assert!(scene.daemon.log().contains("server=builtin"), "{}", scene.daemon.log());
    assert!(!scene.daemon.log().contains("did not answer the de-registration"), "{}", scene.daemon.log());
}

#[test]
fn what_does_not_arrive_says_why_beside_it() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, drop) = scene(world, &board.link());
    let folder = drop.join(&scene.name);
    let wrong = |image: &str, told: &str| {
        fs::copy(avr_image(image), folder.join(image)).expect("dropped");
        let text = result(&folder, image);
        assert!(text.starts_with(&format!("failed: {}: ", scene.name)) && text.contains(told), "{text}");
        assert!(folder.join("failed").join(image).exists());
    };
    wrong("mega-1.3.0.elf", "it is not for this device (5/0/5 = 6): image check: ");
    wrong("uno-wrong-checksum.hex", "5/0/5 = 5");
    wrong("uno-too-large.hex", "5/0/5 = 2");
    // The digest beside it counts, whichever comes first.
    fs::write(folder.join("uno-1.3.0.hex.sha256"), format!("{}  uno-1.3.0.hex\n", "0".repeat(64))).expect("dropped");
    wrong("uno-1.3.0.hex", "5/0/5 = 5");
    assert!(folder.join("failed/uno-1.3.0.hex.sha256").exists());
    // And so does the version: it flashes, and the board tells another one.
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("new.hex")).expect("dropped");
    fs::write(folder.join("new.hex.version"), "9.9.9\n").expect("dropped");
    let text = result(&folder, "new.hex");
    assert!(text.contains("5/0/5 = 8") && text.contains("9.9.9"), "{text}");
    scene.await_firmware(scene.factory(), "2", "8");
    // What failed there is in nobody's way here.
    fs::remove_file(folder.join("new.hex.result")).expect("it was written");
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("new.hex")).expect("dropped anew");
    assert!(result(&folder, "new.hex").starts_with("ok: "));
    let last: serde_json::Value =
        result(&folder, "new.hex").lines().last().and_then(|line| serde_json::from_str(line).ok()).expect("JSON");
    assert_eq!((last["result"].as_str(), last["offer"]["devices"][0]["version"].as_str()), (Some("ok"), Some("1.3.0")));
}

#[test]
fn an_offer_goes_on_after_a_crash_and_is_made_once() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let (mut scene, drop) = scene(world, &board.link());
    let folder = drop.join(&scene.name);
    fs::copy(avr_image("uno-1.3.0-large.hex"), folder.join("large.hex")).expect("dropped");
    fs::write(folder.join("large.hex.version"), "1.3.0").expect("dropped");
    eventually("some pages are written", FLASH, || (board.stat().pages > 20).then_some(()));
    assert!(!folder.join("large.hex").exists(), "it is under way");
    scene.daemon.crash();
    scene.daemon.run();
    let text = result(&folder, "large.hex");
    assert!(text.starts_with("ok: "), "{text}");
    assert!(board.holds(&avr_image("uno-1.3.0-large.hex")));
    let pages = board.stat().pages;
    assert_eq!(scene.daemon.stop(FLASH), Some(0));
    scene.daemon.run();
    scene.daemon.await_registered(&scene.name, "builtin");
    fs::copy(avr_image("uno-1.2.0.hex"), folder.join("old.hex")).expect("dropped");
    assert!(result(&folder, "old.hex").starts_with("ok: "), "the folder is watched again");
    let updates = scene.daemon.cli(&["history", "--json"]).json()["updates"].as_array().map(Vec::len);
    assert_eq!(updates, Some(2), "the first one was not offered again");
    assert!(board.stat().pages > pages);
}

#[test]
fn what_is_dropped_for_a_type_of_board_goes_to_all_of_them() {
    let world = world!();
    let boards = [world.uno("uno-1.2.0.hex"), world.uno("uno-1.2.0.hex")];
    let (second, drop) = (world.name("second"), world.home().join("state/drop"));
    let scene = Scene::with(world, "arduino-uno", &boards[0].link(), |daemon| {
        daemon.builtin(free_both(), "").device(&second, "arduino-uno", &boards[1].link(), "")
    });
    for name in [&scene.name, &second] {
        scene.daemon.await_registered(name, "builtin");
    }
    let folder = drop.join("by-board/arduino-uno");
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("all.hex")).expect("dropped");
    let text = result(&folder, "all.hex");
    assert!(text.starts_with("ok: 2 of 2 devices have it"), "{text}");
    assert!(text.contains(&format!("{second}: it runs 1.3.0, proven")), "{text}");
    assert!(boards.iter().all(|board| board.holds(&avr_image("uno-1.3.0.hex"))));
}

#[test]
fn what_waits_for_its_device_says_so_and_can_be_taken_away() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, drop) = scene(world, &board.link());
    let folder = drop.join("pres-4");
    fs::create_dir(&folder).expect("a folder of our own");
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("a.hex")).expect("dropped");
    let file = folder.join("a.hex.result");
    let text = eventually("it says that it waits", PATIENCE, || fs::read_to_string(&file).ok());
    let told = format!("waiting: no device has the name of this folder; there are: {}", scene.name);
    assert_eq!(text.trim_end(), told);
    assert!(folder.join("a.hex").exists(), "whoever laid it there may take it away");
}

#[test]
fn another_servers_update_is_waited_for_and_ours_is_not_touched_by_others() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, drop) = scene(world, &board.link());
    let folder = drop.join(&scene.name);
    scene.offer(scene.factory(), &avr_image("uno-1.2.0.hex"), "#version=1.2.0");
    scene.await_firmware(scene.factory(), "2", "0");
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("a.hex")).expect("dropped");
    let says = |what: &str| {
        let view = scene.daemon.cli(&["builtin"]).output;
        eventually(&format!("{what}, not\n{view}"), PATIENCE, || {
            scene.daemon.cli(&["builtin"]).output.contains(what).then_some(())
        });
    };
    says("another update is staged or under way");
    assert_eq!(scene.firmware(scene.cloud()), ("2".to_owned(), "0".to_owned()));
    scene.execute(scene.factory());
    assert!(result(&folder, "a.hex").starts_with("ok: "));
    // Ours while the window is shut: nobody with his own right only takes it away.
    assert_eq!(scene.daemon.cli(&["brake", "pull", "arduino-uno"]).code, Some(0));
    fs::copy(avr_image("uno-1.2.0.hex"), folder.join("b.hex")).expect("dropped");
    scene.await_firmware(scene.factory(), "2", "11");
    says("holds it back");
    assert_eq!(scene.factory().execute(&scene.name, "5/0/10").code, 401);
    assert_eq!(scene.daemon.cli(&["brake", "release"]).code, Some(0));
    assert!(result(&folder, "b.hex").starts_with("ok: "));
    assert_eq!(scene.daemon.cli(&["brake", "pull", "arduino-uno"]).code, Some(0));
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("c.hex")).expect("dropped");
    scene.await_firmware(scene.factory(), "2", "11");
    fs::write(folder.join("d.hex"), "x").expect("dropped");
    eventually("the next one waits for its turn", PATIENCE, || {
        let told = fs::read_to_string(folder.join("d.hex.result")).ok()?;
        told.starts_with("waiting: another image is under way").then_some(())
    });
    assert_eq!(scene.daemon.cli(&["brake", "release"]).code, Some(0));
    assert!(result(&folder, "c.hex").starts_with("ok: "));
    assert!(result(&folder, "d.hex").contains("5/0/5 = 6"));
}

#[test]
fn a_port_that_is_taken_is_named_with_its_holder_and_tried_again() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let port = free_both();
    let holder = std::net::UdpSocket::bind(("127.0.0.1", port)).expect("a free port");
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.builtin(port, ""));
    let told = format!("UDP port {port} is held by ");
    let status = scene.daemon.cli(&["status"]).output;
    assert!(status.contains(&told) && status.contains(&std::process::id().to_string()), "{status}");
    let check = scene.daemon.cli(&["check"]);
    assert!(check.output.contains(&told) && check.output.contains("[builtin_server] port"), "{}", check.output);
    // Longer than a client takes to try again: whoever has the port is not shown the key.
    scene.await_device_present();
    holder.set_read_timeout(Some(Duration::from_secs(6))).expect("set");
    let heard = holder.recv(&mut [0; 2048]).map_err(|error| error.kind());
    assert_eq!(heard, Err(std::io::ErrorKind::WouldBlock), "nobody registers with a stranger");
    drop(holder);
    scene.daemon.await_registered(&scene.name, "builtin");
    let check = scene.daemon.cli(&["check"]).output;
    assert!(check.contains(&format!("UDP port {port}: the running daemon has it")), "{check}");
    assert!(check.contains("drop: writable"), "{check}");
    assert!(!scene.daemon.cli(&["status"]).output.contains(&told));
}

#[test]
fn what_is_hostile_is_refused_and_said_and_the_rest_goes_on() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (mut scene, root) = scene(world, &board.link());
    let folder = root.join(&scene.name);
    std::os::unix::fs::symlink("/etc/shadow", folder.join("a.hex")).expect("linked");
    std::os::unix::fs::symlink("/dev/zero", folder.join("endless.bin")).expect("linked");
    let pipe = std::process::Command::new("mkfifo").arg(folder.join("pipe.hex")).status().expect("mkfifo is there");
    assert!(pipe.success());
    let huge = fs::File::create(folder.join("huge.bin")).expect("laid");
    huge.set_len(1 << 40).expect("a hole");
    drop(huge);
    fs::write(folder.join("--port=x; rm -rf $HOME.hex"), "x").expect("laid");
    fs::write(root.join("lost.hex"), "x").expect("laid");
    assert!(result(&folder, "a.hex").contains("it is a link"));
    assert!(result(&folder, "endless.bin").contains("it is a link"));
    assert!(result(&folder, "pipe.hex").contains("it is a pipe"));
    assert!(result(&folder, "huge.bin").contains("max_size"));
    assert!(result(&root, "lost.hex").contains("belongs into the folder of a device"));
    assert!(result(&folder, "--port=x; rm -rf $HOME.hex").contains("5/0/5 = 6"));
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("good.hex")).expect("dropped");
    assert!(result(&folder, "good.hex").starts_with("ok: "));
    // Garbage on its ports.
    let port: u16 = scene.daemon.cli(&["builtin", "--json"]).json()["uri"]
        .as_str()
        .and_then(|uri| uri.rsplit(':').next()?.parse().ok())
        .expect("a port");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let mut chance = fastrand::Rng::with_seed(scene.world.seed());
    for _ in 0..2000 {
        let garbage: Vec<u8> = (0..chance.usize(0..1500)).map(|_| chance.u8(..)).collect();
        socket.send_to(&garbage, ("127.0.0.1", port)).expect("sent");
    }
    assert!(scene.daemon.cli(&["builtin"]).output.contains(&scene.name));
    let log = scene.daemon.log();
    assert!(log.contains("a dropped file is refused") && !log.contains("panicked"), "{log}");
    assert_eq!(scene.daemon.stop(PATIENCE), Some(0));
}

#[test]
fn a_gateway_that_is_stopped_in_the_middle_tells_what_came_of_it() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let (mut scene, drop) = scene(world, &board.link());
    let folder = drop.join(&scene.name);
    fs::copy(avr_image("uno-1.3.0.hex"), folder.join("a.hex")).expect("dropped");
    eventually("some pages are written", FLASH, || (board.stat().pages > 1).then_some(()));
    assert_eq!(scene.daemon.stop(FLASH), Some(0));
    scene.daemon.run();
    assert!(result(&folder, "a.hex").starts_with("ok: "));
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}

#[test]
fn a_signature_beside_a_dropped_image_counts_where_signatures_are_required() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let keys = world.home().join("keys");
    fs::create_dir(&keys).expect("made");
    let image = world.file("signed/blinky.hex", fs::read(avr_image("uno-1.3.0.hex")).expect("an image"));
    let minisign = |arguments: &[&str]| {
        let ran = std::process::Command::new("minisign").args(arguments).current_dir(&keys).output();
        assert!(ran.expect("Debian's minisign: tests/peers/install.sh tls").status.success());
    };
    minisign(&["-G", "-W", "-p", "site.pub", "-s", "secret"]);
    minisign(&["-S", "-s", "secret", "-m", image.to_str().expect("text")]);
    let update = format!("[update]\nsignatures = \"required\"\nkeys = {keys:?}");
    let drop = world.home().join("state/drop");
    let scene =
        Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.builtin(free_both(), "").toml(&update));
    scene.daemon.await_registered(&scene.name, "builtin");
    let folder = drop.join(&scene.name);
    fs::copy(&image, folder.join("unsigned.hex")).expect("dropped");
    let text = result(&folder, "unsigned.hex");
    assert!(text.contains("5/0/5 = 5") && text.contains("no signature"), "{text}");
    fs::copy(image.with_extension("hex.minisig"), folder.join("blinky.hex.minisig")).expect("dropped");
    fs::copy(&image, folder.join("blinky.hex")).expect("dropped");
    assert!(result(&folder, "blinky.hex").starts_with("ok: "));
    assert!(folder.join("done/blinky.hex.minisig").exists());
}

#[test]
fn what_a_device_measures_is_told_there_as_ipso_objects() {
    let world = world!();
    let file = include_str!("../config/boards.d/arduino-uno.toml");
    let pins = "[board.arduino-uno.points.firmata]\nbaud = 57600\n\
                pins = [{ pin = 13, mode = \"output\", object = 3306, name = \"lamp\" }]\n";
    world.file("config/boards.d/arduino-uno.toml", format!("{file}\n{pins}"));
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.builtin(free_both(), "").serial("questions = \"serial\"")
    });
    let value = |path: &str| scene.daemon.builtin_value(&scene.name, path);
    eventually("the lamp is off", FLASH, || (value("/3306/0/5850")? == "false").then_some(()));
    assert_eq!(value("/3306/0/5750").as_deref(), Some("lamp"));
    assert_eq!(scene.factory().write(&scene.name, "3306/0/5850", true).code, 204);
    eventually("the lamp is on", FLASH, || (value("/3306/0/5850")? == "true").then_some(()));
}
