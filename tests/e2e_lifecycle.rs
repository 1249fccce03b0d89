//! The daemon as a process while a real flash runs: told to stop, told twice, killed, told to read its files again, and
//! with a disk that is full.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::fs;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use world::{Leshan, PushFormat, Scene, SimBoard, World, avr_image, eventually, processes_naming, world};

/// Generous: only a test that has failed runs into it.
const LONG: Duration = Duration::from_secs(60);

/// A large image is being written to the board.
fn flashing(world: World, board: &mut SimBoard) -> Scene {
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0-large.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    eventually("some pages are written", LONG, || (board.stat().pages > 20).then_some(()));
    scene
}

fn is_known(server: &Leshan, scene: &Scene) -> bool {
    server.client(&scene.name).is_some()
}

#[test]
fn told_to_stop_it_finishes_the_flash_and_leaves_both_servers() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let mut scene = flashing(world, &mut board);
    assert_eq!(scene.daemon.stop(LONG), Some(0));
    assert!(board.holds(&avr_image("uno-1.3.0-large.hex")), "the flash was finished");
    assert!(!is_known(scene.factory(), &scene) && !is_known(scene.cloud(), &scene), "de-registered");
    let log = scene.daemon.log();
    assert!(log.contains("the update is proven"), "{log}");
    scene.daemon.run();
    scene.factory().await_client(&scene.name);
    scene.await_firmware(scene.factory(), "0", "1");
}

#[test]
fn an_idle_gateway_leaves_its_servers_within_five_seconds_even_if_one_is_dead() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let silent = std::net::UdpSocket::bind("127.0.0.1:0").expect("a free port");
    let uri = format!("coap://{}", silent.local_addr().expect("a bound socket"));
    let mut scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.server("silent", &uri, 1, ""));
    let began = Instant::now();
    assert_eq!(scene.daemon.stop(LONG), Some(0));
    // The five seconds, and what the process takes to end.
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    assert!(!is_known(scene.factory(), &scene) && !is_known(scene.cloud(), &scene), "de-registered");
}

#[test]
fn told_twice_it_stops_at_once_and_the_next_start_finishes_the_flash() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let mut scene = flashing(world, &mut board);
    scene.daemon.process().signal(Signal::TERM);
    scene.daemon.process().line_after(0, LONG, |line| line.contains("stopping: ").then_some(()));
    let began = Instant::now();
    assert_eq!(scene.daemon.stop(LONG), Some(0));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(processes_naming(board.port()), [] as [String; 0], "no tool is left");
    assert!(!board.holds(&avr_image("uno-1.3.0-large.hex")), "it was not waited for");
    scene.daemon.run();
    scene.factory().await_client(&scene.name);
    // Nobody orders it again: the journal said that it was under way.
    scene.await_firmware(scene.factory(), "0", "1");
    scene.await_firmware(scene.cloud(), "0", "1");
    assert_eq!(scene.cloud().read(&scene.name, "3/0/3").text(), "1.3.0");
    assert!(board.holds(&avr_image("uno-1.3.0-large.hex")));
}

#[test]
fn boards_and_tools_are_read_again_on_sighup_and_a_typo_changes_nothing() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let mut scene = Scene::new(world, "arduino-uno", &board.link());
    scene.offer(scene.factory(), &avr_image("uno-1.3.0.hex"), "");
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().write_uri(&scene.name, "").code, 204);

    let text = fs::read_to_string(world::repository().join("config/boards.d/arduino-uno.toml")).expect("the board");
    let small = text.replace("max_size = 32256", "max_size = 100");
    scene.world.file("config/boards.d/arduino-uno.toml", &small);
    scene.daemon.process().signal(Signal::HUP);
    scene.daemon.process().line_after(0, LONG, |line| line.contains("read again").then_some(()));
    scene.refused(scene.factory(), &avr_image("uno-1.3.0.hex"), "2");

    scene.world.file("config/boards.d/arduino-uno.toml", small.replace("max_size", "max_sise"));
    scene.daemon.process().signal(Signal::HUP);
    scene.daemon.process().line_after(0, LONG, |line| line.contains("max_sise").then_some(()));
    assert_eq!(scene.factory().write_uri(&scene.name, "").code, 204);
    scene.refused(scene.factory(), &avr_image("uno-1.3.0.hex"), "2");
    let status = scene.daemon.cli(&["status"]).output;
    assert!(status.contains("max_sise"), "the operator reads of it: {status}");
}

#[test]
fn a_full_disk_ends_a_download_and_a_push_with_result_2_and_nothing_else() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.small_disk("2m"));
    let (server, name) = (scene.factory(), &scene.name);
    let uri = scene.files.put("huge.hex", vec![b':'; 4 << 20]);
    assert_eq!(server.write_uri(name, &uri).code, 204);
    scene.await_firmware(server, "0", "2");
    assert_eq!(server.write_uri(name, "").code, 204);
    scene.await_firmware(server, "0", "0");
    let pushed = server.push(name, &vec![b':'; 2 << 20], PushFormat::Opaque);
    assert_eq!(pushed.code, 413, "{:?}", pushed.code);
    scene.await_firmware(server, "0", "2");
    // There is room again, and the journal was never lost.
    scene.update(scene.cloud(), &avr_image("uno-1.3.0.hex"), "1.3.0");
}
