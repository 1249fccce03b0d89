//! After a failure: the real avrdude tried again with other values, the last good image put back, a board in quarantine;
//! seen by two real servers, with the simulated chip's own word for what runs.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::time::Duration;

use world::{Model, Scene, SimBoard, World, avr_image, eventually, world};

/// Ten times what an idle gateway takes to end.
const STOP: Duration = Duration::from_secs(50);

/// The Uno's board file with other lines in its `flash` table.
fn uno_with(world: &World, lines: &str) {
    let file = world::repository().join("config/boards.d/arduino-uno.toml");
    let text = std::fs::read_to_string(file).expect("a file of the repository");
    world.file(
        "config/boards.d/arduino-uno.toml",
        text.replace("reboot = \"dtr\"", &format!("reboot = \"dtr\"\n{lines}")),
    );
}

/// 3/0/11 as both servers read it.
fn errors(scene: &Scene) -> [String; 2] {
    [scene.factory(), scene.cloud()].map(|server| server.read(&scene.name, "3/0/11").body.to_string())
}

fn in_quarantine(scene: &Scene) -> bool {
    let has = errors(scene).map(|body| body.contains("\"8\"") || body.contains(":8}") || body.contains(":8,"));
    assert_eq!(has[0], has[1], "both servers read the same: {:?}", errors(scene));
    has[0]
}

/// What the device's status says under a key.
fn status(scene: &Scene, key: &str) -> serde_json::Value {
    let answer = scene.daemon.cli(&["status", &scene.name, "--json"]).json();
    answer["devices"][0][key].clone()
}

/// What is kept is kept a moment after servers are told.
fn await_way_back(scene: &Scene, key: &str, value: &str) {
    eventually(&format!("there is a way back whose {key} is {value}"), Duration::from_secs(30), || {
        (status(scene, "way_back")[key] == value).then_some(())
    });
}

/// A cell behind the small image and within the large one is broken: the large one never verifies.
fn spoil_for_large(board: &SimBoard) {
    board.order("stuck 0x1000");
}

#[test]
fn an_old_boot_loader_is_found_by_trying_and_the_next_update_begins_with_its_speed() {
    let world = world!();
    let chip = world.board(Model::NanoOld).with(&avr_image("nano-1.2.0.hex")).start();
    let mut scene = Scene::new(world, "arduino-nano", &chip.link());
    scene.update(scene.factory(), &avr_image("nano-1.3.0.hex"), "1.3.0");
    let log = scene.daemon.log();
    assert!(log.contains("the tool is run again") && log.contains("57600"), "{log}");
    let runs = || scene.daemon.log().matches("flashing begins").count();
    let before = runs();
    scene.update(scene.cloud(), &avr_image("nano-1.2.0.hex"), "1.2.0");
    assert_eq!(runs(), before + 1, "it is remembered");
    // Also over a restart.
    scene.daemon.stop(STOP);
    scene.daemon.run();
    scene.factory().await_client(&scene.name);
    scene.await_device_present();
    scene.update(scene.factory(), &avr_image("nano-1.3.0.hex"), "1.3.0");
    assert_eq!(scene.daemon.log().matches("flashing begins").count(), 1);
    scene.daemon.stop(STOP);
    assert_eq!(chip.banner(), "ID board=nano fw=1.3.0");
}

#[test]
fn what_a_board_held_before_its_first_flash_can_be_put_back() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    await_way_back(&scene, "origin", "saved");
    let back = scene.daemon.cli(&["rollback", &scene.name]);
    assert_eq!(back.code, Some(0), "{}", back.output);
    assert!(board.holds(&avr_image("uno-1.2.0.hex")));
    for server in [scene.factory(), scene.cloud()] {
        assert_eq!(scene.firmware(server), ("0".to_owned(), "1".to_owned()));
        assert_eq!(server.read(&scene.name, "3/0/3").text(), "1.2.0");
    }
    // And forth again.
    await_way_back(&scene, "version", "1.3.0");
    scene.daemon.stop(STOP);
    assert_eq!(board.banner(), "ID board=uno fw=1.2.0");
}

#[test]
fn a_flash_that_fails_is_rolled_back_at_once_where_the_board_file_says_so() {
    let world = world!();
    uno_with(&world, "rollback = \"on-failure\"");
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    spoil_for_large(&board);
    scene.fails(scene.cloud(), &avr_image("uno-1.3.0-large.hex"));
    for server in [scene.factory(), scene.cloud()] {
        assert_eq!(scene.firmware(server), ("2".to_owned(), "8".to_owned()), "never a success");
        assert_eq!(server.read(&scene.name, "3/0/3").text(), "1.3.0", "what runs");
    }
    assert!(!in_quarantine(&scene));
    let message = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(message.contains("was put back and runs"), "{message}");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    scene.daemon.stop(STOP);
    assert_eq!(board.banner(), "ID board=uno fw=1.3.0");
}

#[test]
fn a_half_flashed_board_is_in_quarantine_until_it_is_proven_again_also_over_a_restart() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    assert!(!in_quarantine(&scene));
    board.order("muteat 8000");
    scene.fails(scene.factory(), &avr_image("uno-1.3.0-large.hex"));
    assert!(board.stat().pages > 0);
    let quarantined = |scene: &Scene| {
        eventually("the board is in quarantine", Duration::from_secs(60), || in_quarantine(scene).then_some(()));
        assert_eq!(scene.factory().read(&scene.name, "3/0/3").code, 404, "nobody knows what runs");
        assert!(status(scene, "quarantined").as_str().is_some_and(|why| why.contains("nuncio rollback")));
    };
    quarantined(&scene);
    scene.daemon.crash();
    scene.daemon.run();
    scene.await_device_present();
    for server in [scene.factory(), scene.cloud()] {
        server.await_client(&scene.name);
    }
    quarantined(&scene);
    board.order("mute off");
    let back = scene.daemon.cli(&["rollback", &scene.name]);
    assert_eq!(back.code, Some(0), "{}", back.output);
    assert!(board.holds(&avr_image("uno-1.3.0.hex")) && !in_quarantine(&scene));
    assert_eq!(scene.cloud().read(&scene.name, "3/0/3").text(), "1.3.0");
}

#[test]
fn a_board_that_rolls_itself_back_while_it_is_watched_is_told_as_that() {
    let world = world!();
    uno_with(&world, "soak = \"8s\"");
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.2.0.hex"), "1.2.0");
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    eventually("the tool is done", Duration::from_secs(120), || {
        scene.daemon.log().matches("tool verified the image").nth(1).map(|_| ())
    });
    // What a bootloader with two slots does when the new program does not confirm itself.
    board.exchange(&avr_image("uno-1.2.0.hex"));
    scene.await_firmware(scene.factory(), "2", "8");
    let message = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(message.contains("rolled itself back"), "{message}");
    assert_eq!(scene.cloud().read(&scene.name, "3/0/3").text(), "1.2.0");
    assert!(!in_quarantine(&scene));
}

#[test]
fn a_policy_that_contradicts_itself_is_told_with_its_line() {
    for (lines, wanted) in [
        ("rollback = \"never\"\nway_back = \"backup\"", "contradicts `rollback = \"never\"`"),
        (
            "alternatives = [{ on = [\"stalled\"], vars = { baud = \"57600\" } }]",
            "never tried: `retries` has no retry on `stalled`",
        ),
        ("retries = { max = 0 }", "`max` is out of range"),
    ] {
        let world = world!();
        uno_with(&world, lines);
        let check = world.daemon().prepare().cli(&["check"]);
        assert_eq!(check.code, Some(1), "{}", check.output);
        assert!(check.output.contains(wanted) && check.output.contains("arduino-uno.toml:"), "{}", check.output);
    }
}

#[test]
fn a_board_that_may_never_be_rolled_back_says_so() {
    let world = world!();
    uno_with(&world, "rollback = \"never\"");
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    let back = scene.daemon.cli(&["rollback", &scene.name]);
    assert_eq!(back.code, Some(5), "{}", back.output);
    assert!(back.output.contains("rollback = \"never\""), "{}", back.output);
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}
