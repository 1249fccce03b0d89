//! Arduino boards: the real avrdude, started by the gateway, flashes a simulated chip that runs a real bootloader, and the
//! sketch itself says which version runs.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::time::Duration;

use world::{Behaviour, Model, Scene, Tty, avr_image, eventually, firmata_image, processes_naming, world};

/// Ten times what an idle gateway takes to end.
const STOP: Duration = Duration::from_secs(50);

#[test]
fn twenty_updates_in_a_row_between_two_versions_are_each_proven_by_what_the_sketch_says() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    for turn in 0..20 {
        let version = if turn % 2 == 0 { "1.3.0" } else { "1.2.0" };
        let server = if turn % 3 == 0 { scene.factory() } else { scene.cloud() };
        let image = avr_image(&format!("uno-{version}.hex"));
        scene.update(server, &image, version);
        assert!(board.holds(&image), "turn {turn}");
    }
    scene.daemon.stop(STOP);
    assert_eq!(board.banner(), "ID board=uno fw=1.2.0");
}

#[test]
fn a_mega_and_a_nano_with_the_old_bootloader_are_updated() {
    // The two bootloaders of a Nano differ in their speed, which only asking the bootloader tells.
    for (model, board, name, questions) in [
        (Model::Mega, "arduino-mega2560", "mega", "questions = \"passive\""),
        (Model::NanoOld, "arduino-nano", "nano", "questions = \"bootloader\""),
    ] {
        let world = world!();
        let chip = world.board(model).with(&avr_image(&format!("{name}-1.2.0.hex"))).start();
        let mut scene = Scene::with(world, board, &chip.link(), |daemon| daemon.serial(questions));
        scene.update(scene.cloud(), &avr_image(&format!("{name}-1.3.0.hex")), "1.3.0");
        scene.daemon.stop(STOP);
        assert_eq!(chip.banner(), format!("ID board={name} fw=1.3.0"));
    }
}

#[test]
fn an_elf_is_flashed_like_a_hex() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.elf"), "1.3.0");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}

#[test]
fn a_real_firmata_firmware_proves_itself_by_its_announcement() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &firmata_image(), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    let version = scene.factory().read(&scene.name, "3/0/3").text();
    assert!(version.starts_with("2."), "StandardFirmata tells its version, not {version:?}");
    // And back to a sketch that prints its version.
    scene.update(scene.cloud(), &avr_image("uno-1.3.0.hex"), "1.3.0");
}

#[test]
fn what_does_not_fit_or_is_damaged_is_refused_before_the_board_is_touched() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let before = board.stat();
    for (image, result) in [
        ("uno-wrong-checksum.hex", "5"),
        ("uno-cut-off.hex", "5"),
        ("uno-no-end.hex", "5"),
        ("uno-too-large.hex", "2"),
        ("uno-over-bootloader.hex", "2"),
        ("uno-text.hex", "6"),
        ("mega-1.3.0.elf", "6"),
    ] {
        scene.refused(scene.factory(), &avr_image(image), result);
    }
    assert_eq!(board.stat(), before, "nobody opened the port");
}

#[test]
fn another_chip_behind_the_port_gives_result_6_and_drops_the_image() {
    let world = world!();
    let board = world.board(Model::Atmega168).start();
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.cloud(), &avr_image("uno-1.3.0.hex"), "");
    scene.await_firmware(scene.cloud(), "2", "0");
    scene.execute(scene.cloud());
    scene.await_firmware(scene.cloud(), "0", "6");
}

#[test]
fn no_board_behind_the_port_fails_and_execute_may_be_tried_again() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    board.order("mute on");
    scene.fails(scene.factory(), &avr_image("uno-1.3.0.hex"));
    board.order("mute off");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}

#[test]
fn a_bad_flash_cell_and_a_board_that_dies_in_the_middle_are_failures_never_successes() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    board.order("stuck 0x40");
    scene.fails(scene.factory(), &avr_image("uno-1.3.0-large.hex"));
    board.order("stuck -1");
    board.order("muteat 8000");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "3", "0");
    scene.await_firmware(scene.factory(), "2", "8");
    let line = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(!line.is_empty(), "one line says what failed");
}

#[test]
fn a_port_that_another_program_holds_is_not_flashed_into() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let monitor = Tty::open(board.port(), 115_200);
    monitor.lock();
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    let (state, result) = eventually("the port is found busy", Duration::from_secs(60), || {
        Some(scene.firmware(scene.factory())).filter(|(state, result)| state == "2" && result != "0")
    });
    assert_eq!((state.as_str(), result.as_str()), ("2", "8"));
    let message = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(message.contains("is held by") && message.contains(&std::process::id().to_string()), "{message}");
    assert_eq!(board.stat().pages, 0);
    drop(monitor);
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
}

#[test]
fn a_board_unplugged_in_the_middle_fails_and_is_flashed_when_it_is_back() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    eventually("some pages are written", Duration::from_secs(60), || (board.stat().pages > 20).then_some(()));
    board.unplug();
    scene.await_firmware(scene.factory(), "2", "8");
    board.plug();
    scene.await_device_present();
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
}

#[test]
fn a_gateway_killed_in_the_middle_of_a_flash_leaves_no_tool_and_finishes_when_it_is_back() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    eventually("some pages are written", Duration::from_secs(60), || (board.stat().pages > 20).then_some(()));
    scene.daemon.crash();
    eventually("no tool is left", Duration::from_secs(10), || processes_naming(board.port()).is_empty().then_some(()));
    let opens = board.stat().opens;
    scene.daemon.run();
    scene.await_firmware(scene.factory(), "0", "1");
    assert!(board.stat().opens > opens && board.holds(&avr_image("uno-1.3.0-large.hex")));
    assert_eq!(scene.factory().read(&scene.name, "3/0/3").text(), "1.3.0");
}

#[test]
fn reboot_really_resets_the_board() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let before = board.stat().resets;
    let answer = scene.factory().execute(&scene.name, "3/0/4");
    assert_eq!(answer.code, 204, "{answer:?}");
    eventually("the board is reset", Duration::from_secs(30), || (board.stat().resets > before).then_some(()));
}

#[test]
fn nuncio_flash_does_the_same_from_the_command_line() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let done = scene.daemon.flash(&scene.name, &avr_image("uno-1.3.0.hex"));
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    let before = board.stat();
    let refused = scene.daemon.flash(&scene.name, &avr_image("uno-wrong-checksum.hex"));
    assert!(refused.code.is_some_and(|code| code != 0), "{}", refused.output);
    assert_eq!(board.stat().pages, before.pages);
}

#[test]
fn a_new_board_and_a_new_tool_are_two_files_in_a_folder() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let repository = world::repository();
    let read = |path: &str| std::fs::read_to_string(repository.join(path)).expect("a file of the repository");
    let own_board = read("config/boards.d/arduino-uno.toml")
        .replace("arduino-uno", "press-controller")
        .replace("\"strong\"", "\"bridge\"");
    world.file("config/boards.d/press-controller.toml", own_board);
    world.file(
        "config/flash-tools/press-flasher.toml",
        read("flash-tools/avrdude.toml").replace("tool.avrdude", "tool.press-flasher"),
    );
    let scene = Scene::with(world, "press-controller", &board.link(), |daemon| {
        daemon.toml("[executors]\npress-controller = \"press-flasher\"")
    });
    scene.update(scene.cloud(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    let log = scene.daemon.log();
    assert!(log.contains("press-flasher"), "{log}");
}

#[test]
fn a_wrong_version_after_a_perfect_flash_is_no_success() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "#version=9.9.9");
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().read(&scene.name, "5/0/7").text(), "9.9.9");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "2", "8");
}

#[test]
fn two_devices_that_ask_for_one_uri_share_one_download() {
    let world = world!();
    let boards = [world.uno("uno-1.2.0.hex"), world.uno("uno-1.2.0.hex")];
    let second = world.name("second");
    let scene = Scene::with(world, "arduino-uno", &boards[0].link(), |daemon| {
        daemon.device(&second, "arduino-uno", &boards[1].link(), "")
    });
    scene.factory().await_client(&second);
    // Held back until both have asked.
    let image = std::fs::read(avr_image("uno-1.3.0-large.hex")).expect("an image of ours");
    let uri = scene.files.put_as("shared.hex", image, Behaviour::HoldAtHalf);
    for name in [&scene.name, &second] {
        assert_eq!(scene.factory().write_uri(name, &format!("{uri}#version=1.3.0")).code, 204);
        let answer = || scene.factory().read(name, "5/0/3").text();
        eventually("the download runs", Duration::from_secs(30), || (answer() == "1").then_some(()));
    }
    scene.files.let_go();
    for name in [&scene.name, &second] {
        let answer = || scene.factory().read(name, "5/0/3").text();
        eventually("the image is staged", Duration::from_secs(60), || (answer() == "2").then_some(()));
        assert_eq!(scene.factory().execute(name, "5/0/2").code, 204);
    }
    for (name, board) in [&scene.name, &second].into_iter().zip(&boards) {
        let answer = || (scene.factory().read(name, "5/0/3").text(), scene.factory().read(name, "5/0/5").text());
        let proven = ("0".to_owned(), "1".to_owned());
        eventually("the update is proven", Duration::from_secs(120), || (answer() == proven).then_some(()));
        assert!(board.holds(&avr_image("uno-1.3.0-large.hex")));
    }
    let asked = scene.files.requests().iter().filter(|request| request.path == "/shared.hex").count();
    assert_eq!(asked, 1);
}
