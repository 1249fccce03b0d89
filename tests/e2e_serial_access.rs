//! Ports that may not be used: the daemon runs as an unprivileged user, which alone notices permissions and locks.
//!
//! Needs the peers avr and leshan, and root, to become somebody else: `make peers`.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use world::{Model, Process, Scene, Tty, World, avr_image, holds, world};

#[test]
fn an_unprivileged_gateway_updates_a_board_that_its_user_owns() {
    let world = world!().unprivileged();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}

#[test]
fn a_port_of_another_user_is_listed_as_not_permitted_with_the_remedy() {
    let elsewhere = World::new("");
    let board = elsewhere.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).start();
    let device = fs::canonicalize(board.port()).expect("the port");
    fs::set_permissions(&device, Permissions::from_mode(0o600)).expect("root may do this");
    let world = world!().unprivileged();
    let daemon = world.daemon().device("press-3", "arduino-uno", &board.link(), "").start();
    let detail = daemon.await_device("press-3", "is not permitted", |device| {
        (device.access() == "not-permitted").then(|| device.access_detail())
    });
    assert!(detail.contains("root:") && detail.contains("0600"), "the permissions: {detail}");
    assert!(detail.contains("dialout") || detail.contains("group") || detail.contains("udev"), "{detail}");
    let checked = daemon.cli(&["check", "--json"]);
    assert!(checked.code != Some(0) && checked.output.contains("may not use it"), "{}", checked.output);
}

#[test]
fn a_port_that_a_process_of_the_same_user_holds_is_listed_with_its_holder() {
    let world = world!().unprivileged();
    let board = world.uno("uno-1.2.0.hex");
    let holder = world.holder(board.port());
    let daemon = world.daemon().device("press-3", "arduino-uno", &board.link(), "").start();
    let detail =
        daemon.await_device("press-3", "is busy", |device| (device.access() == "busy").then(|| device.access_detail()));
    assert!(detail.contains(&holder.id().to_string()), "names the process {}: {detail}", holder.id());
    drop::<Process>(holder);
    daemon.await_device("press-3", "is usable", |device| (device.access() == "usable").then_some(()));
}

#[test]
fn a_lock_of_another_user_is_named_because_the_system_tells_it() {
    let world = world!().unprivileged();
    let board = world.uno("uno-1.2.0.hex");
    let monitor = Tty::open(board.port(), 115_200);
    monitor.lock();
    let daemon = world.daemon().device("press-3", "arduino-uno", &board.link(), "").start();
    let detail =
        daemon.await_device("press-3", "is busy", |device| (device.access() == "busy").then(|| device.access_detail()));
    assert!(detail.contains(&format!("pid {}", std::process::id())), "{detail}");
}

#[test]
fn a_port_that_a_process_of_another_user_keeps_to_itself_is_busy_without_a_name() {
    let world = world!().unprivileged();
    let board = world.uno("uno-1.2.0.hex");
    let monitor = Tty::open(board.port(), 115_200);
    monitor.exclude_others();
    // Only opening tells, so only where questions are allowed.
    let daemon =
        world.daemon().serial("questions = \"serial\"").device("press-3", "arduino-uno", &board.link(), "").start();
    let detail =
        daemon.await_device("press-3", "is busy", |device| (device.access() == "busy").then(|| device.access_detail()));
    assert!(detail.contains("a process of another user") && detail.contains("fuser -v"), "{detail}");
    let answer = daemon.flash("press-3", &avr_image("uno-1.3.0.hex"));
    assert_ne!(answer.code, Some(0), "{}", answer.output);
    assert!(answer.output.contains("another user") && answer.output.contains("fuser -v"), "{}", answer.output);
}

#[test]
fn an_update_over_a_busy_port_fails_with_its_holder_and_may_be_tried_again() {
    let world = world!().unprivileged();
    let mut board = world.uno("uno-1.2.0.hex");
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let holder = scene.world.holder(board.port());
    let pages = board.stat().pages;
    scene.fails(scene.factory(), &avr_image("uno-1.3.0.hex"));
    let line = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(line.contains(&holder.id().to_string()), "names the process {}: {line}", holder.id());
    assert_eq!(board.stat().pages, pages, "nothing was written");
    drop::<Process>(holder);
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}

#[test]
fn an_update_over_a_port_that_is_not_permitted_fails_with_the_remedy() {
    let elsewhere = World::new("");
    let mut board = elsewhere.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).start();
    let device = fs::canonicalize(board.port()).expect("the port");
    fs::set_permissions(&device, Permissions::from_mode(0o600)).expect("root may do this");
    let before = board.stat().opens;
    let scene = Scene::new(world!().unprivileged(), "arduino-uno", &board.link());
    scene.fails(scene.factory(), &avr_image("uno-1.3.0.hex"));
    let line = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(line.contains("not permitted") && line.contains("0600"), "{line}");
    assert_eq!(board.stat().opens, before, "nobody could open it");
}

#[test]
fn a_denied_port_is_never_opened() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let port = board.port().to_owned();
    let before = board.stat().opens;
    let daemon = world
        .daemon()
        .serial(&format!("questions = \"bootloader\"\nwatch = [{port:?}]\ndeny = [{port:?}]"))
        .device("press-3", "arduino-uno", &board.link(), "")
        .start();
    daemon.await_device("press-3", "is denied", |device| (device.access() == "denied").then_some(()));
    let answer = daemon.flash("press-3", &avr_image("uno-1.3.0.hex"));
    assert_ne!(answer.code, Some(0), "{}", answer.output);
    holds("nobody opens it, for ten rounds of the poll", Duration::from_secs(2), || board.stat().opens == before);
}
