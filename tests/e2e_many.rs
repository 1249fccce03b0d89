//! Many boards at once: how many flashes run, whose turn it is, maintenance windows, the brake, the canary; with real
//! avrdudes on simulated chips, seen by two real servers.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::path::Path;
use std::thread;
use std::time::Duration;

use world::{Leshan, Scene, SimBoard, World, avr_image, eventually, processes_naming, world};

/// Ten times what the longest wait here takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// A scene with further boards beside the first, all Unos, and lines for `[update]`.
struct Crowd {
    scene: Scene,
    boards: Vec<SimBoard>,
    names: Vec<String>,
}

impl Crowd {
    fn new(many: usize, update: &str) -> Self {
        let world = world!();
        let boards: Vec<SimBoard> = (0..many).map(|_| uno(&world)).collect();
        let others: Vec<String> = (1..many).map(|number| world.name(&format!("uno-{number}"))).collect();
        let scene = Scene::with(world, "arduino-uno", &boards[0].link(), |daemon| {
            let daemon = daemon.toml(&format!("[update]\n{update}"));
            others
                .iter()
                .zip(&boards[1..])
                .fold(daemon, |daemon, (name, board)| daemon.device(name, "arduino-uno", &board.link(), ""))
        });
        let names: Vec<String> = std::iter::once(scene.name.clone()).chain(others).collect();
        for name in &names {
            scene.factory().await_client(name);
            scene.cloud().await_client(name);
        }
        Self { scene, boards, names }
    }

    fn firmware(&self, server: &Leshan, name: &str) -> (String, String) {
        (server.read(name, "5/0/3").text(), server.read(name, "5/0/5").text())
    }

    fn await_firmware(&self, name: &str, state: &str, result: &str) {
        for server in [self.scene.factory(), self.scene.cloud()] {
            let wanted = (state.to_owned(), self.told(server, result));
            eventually(&format!("{name}: {state}/{result}"), PATIENCE, || {
                (self.firmware(server, name) == wanted).then_some(())
            });
        }
    }

    fn stage(&self, server: &Leshan, name: &str, image: &Path, version: &str) {
        let file = image.file_name().and_then(|name| name.to_str()).expect("a name");
        let uri = self.scene.files.put(file, std::fs::read(image).expect("an image of ours"));
        assert_eq!(server.write_uri(name, &format!("{uri}#version={version}")).code, 204);
        eventually("it is staged", PATIENCE, || (self.firmware(server, name).0 == "2").then_some(()));
    }

    fn execute(&self, server: &Leshan, name: &str) {
        let answer = server.execute(name, "5/0/2");
        assert_eq!(answer.code, 204, "{answer:?}");
    }

    /// Waits until an update is held up for a reason that has this in it, and both servers read so.
    fn await_held_up(&self, name: &str, reason: &str) {
        self.scene.daemon.await_device(name, reason, |device| device.message().contains(reason).then_some(()));
        for server in [self.scene.factory(), self.scene.cloud()] {
            assert_eq!(self.firmware(server, name), ("2".to_owned(), self.told(server, "11")), "{name}");
        }
    }

    /// The second server is shown object 5 in version 1.0, which knows no result 11.
    fn told(&self, server: &Leshan, result: &str) -> String {
        let older = std::ptr::eq(server, self.scene.cloud()) && result == "11";
        if older { "0".to_owned() } else { result.to_owned() }
    }

    fn message(&self, name: &str) -> String {
        self.scene.daemon.device(name).expect("the device").message().to_owned()
    }

    fn running(&self) -> usize {
        self.boards.iter().filter(|board| !tools_at(board).is_empty()).count()
    }
}

fn uno(world: &World) -> SimBoard {
    world.board(world::Model::Uno).with(&avr_image("uno-1.2.0.hex")).start()
}

/// The tools that have a board's port in their arguments; the board itself has it, too.
fn tools_at(board: &SimBoard) -> Vec<String> {
    processes_naming(board.port()).into_iter().filter(|told| told.contains("avrdude")).collect()
}

#[test]
fn of_five_boards_two_are_flashed_at_a_time_and_the_servers_take_turns() {
    let crowd = Crowd::new(5, "max_parallel = 2");
    let image = avr_image("uno-1.3.0-large.hex");
    let owner = |at: usize| if at == 4 { crowd.scene.cloud() } else { crowd.scene.factory() };
    for (at, name) in crowd.names.iter().enumerate() {
        crowd.stage(owner(at), name, &image, "1.3.0");
    }
    for (at, name) in crowd.names.iter().enumerate() {
        crowd.execute(owner(at), name);
    }
    crowd.await_held_up(&crowd.names[4], "max_parallel");
    let most = thread::scope(|scope| {
        let watching = scope.spawn(|| {
            let mut most = 0;
            while !crowd.names.iter().all(|name| crowd.firmware(crowd.scene.factory(), name).0 == "0") {
                most = most.max(crowd.running());
            }
            most
        });
        for name in &crowd.names {
            crowd.await_firmware(name, "0", "1");
        }
        watching.join().expect("watched")
    });
    assert!((1..=2).contains(&most), "{most} tools ran at once");
    let log = crowd.scene.daemon.log();
    let begun = |name: &str| {
        log.find(&format!("device={name}}}: nuncio::gateway::effects: flashing begins")).expect("it began")
    };
    assert!(
        begun(&crowd.names[4]) < begun(&crowd.names[3]),
        "the second server did not have to wait for the first one's"
    );
}

#[test]
fn outside_the_window_an_update_waits_and_an_operator_need_not() {
    // A window that is closed now and for hours, whatever the time is.
    let hour = jiff_hour();
    let window = format!("window = [\"{:02}:00-{:02}:00\"]", (hour + 6) % 24, (hour + 7) % 24);
    let crowd = Crowd::new(1, &window);
    let (name, image) = (&crowd.names[0], avr_image("uno-1.3.0.hex"));
    crowd.stage(crowd.scene.factory(), name, &image, "1.3.0");
    crowd.execute(crowd.scene.factory(), name);
    crowd.await_firmware(name, "2", "11");
    let message = crowd.message(name);
    assert!(message.contains("maintenance window") && message.contains("opens"), "{message}");
    assert_eq!(crowd.scene.factory().write(name, "5/0/1", "").code, 204);
    crowd.await_firmware(name, "0", "0");
    let done = crowd.scene.daemon.cli(&["flash", name, &image.display().to_string(), "--now"]);
    assert_eq!(done.code, Some(0), "{}", done.output);
    assert!(crowd.boards[0].holds(&image));
}

/// The hour of the local clock, as the daemon sees it.
fn jiff_hour() -> u32 {
    let output = std::process::Command::new("date").arg("+%H").output().expect("date runs");
    String::from_utf8_lossy(&output.stdout).trim().parse().expect("an hour")
}

#[test]
fn an_image_that_fails_again_and_again_is_held_back_from_further_boards_until_somebody_says_so() {
    let mut crowd = Crowd::new(3, "brake_after = 2");
    let image = avr_image("uno-1.3.0-large.hex");
    for board in &crowd.boards {
        // Behind what the small image needs: only the large one cannot verify.
        board.order("stuck 0x1000");
    }
    for name in &crowd.names[..2] {
        crowd.stage(crowd.scene.factory(), name, &image, "1.3.0");
        crowd.execute(crowd.scene.factory(), name);
        crowd.await_firmware(name, "2", "8");
    }
    let last = crowd.names[2].clone();
    crowd.stage(crowd.scene.cloud(), &last, &image, "1.3.0");
    crowd.execute(crowd.scene.cloud(), &last);
    crowd.await_firmware(&last, "2", "11");
    assert!(crowd.message(&last).contains("nuncio brake release"), "{}", crowd.message(&last));
    let pages = crowd.boards[2].stat().pages;
    // It outlives a restart, and so does the update that waits behind it.
    crowd.scene.daemon.crash();
    crowd.scene.daemon.run();
    crowd.await_firmware(&last, "2", "11");
    let list = crowd.scene.daemon.cli(&["brake"]);
    assert!(
        list.output.contains("held back after failures") && list.output.contains(&crowd.names[0]),
        "{}",
        list.output
    );
    assert_eq!(crowd.boards[2].stat().pages, pages, "the board was not touched");
    crowd.boards[2].order("stuck -1");
    let released = crowd.scene.daemon.cli(&["brake", "release", "arduino-uno"]);
    assert_eq!(released.code, Some(0), "{}", released.output);
    crowd.await_firmware(&last, "0", "1");
    assert_eq!(crowd.scene.daemon.cli(&["brake", "release"]).code, Some(1), "nothing is held back any more");
}

#[test]
fn a_canary_tries_an_image_first_and_the_others_follow_its_proof() {
    let crowd = Crowd::new(3, "canary = true");
    let image = avr_image("uno-1.3.0-large.hex");
    for name in &crowd.names {
        crowd.stage(crowd.scene.factory(), name, &image, "1.3.0");
    }
    for name in &crowd.names {
        crowd.execute(crowd.scene.factory(), name);
    }
    crowd.await_held_up(&crowd.names[1], &format!("{} tries this image first", crowd.names[0]));
    for name in &crowd.names {
        crowd.await_firmware(name, "0", "1");
    }
}

#[test]
fn two_operators_and_a_server_at_once_come_to_one_flash_and_the_others_are_told_why_not() {
    let crowd = Crowd::new(1, "max_parallel = 8");
    let (name, image) = (&crowd.names[0], avr_image("uno-1.3.0-large.hex"));
    let operators = thread::scope(|scope| {
        let flash = || crowd.scene.daemon.flash(name, &image);
        let running = [scope.spawn(flash), scope.spawn(flash)];
        eventually("one of them flashes", PATIENCE, || {
            (crowd.firmware(crowd.scene.factory(), name).0 == "3").then_some(())
        });
        let uri = crowd.scene.files.put("late.hex", std::fs::read(&image).expect("an image of ours"));
        assert_eq!(crowd.scene.factory().write_uri(name, &uri).code, 401, "it is somebody else's");
        assert_eq!(crowd.scene.cloud().execute(name, "5/0/2").code, 401);
        running.map(|one| one.join().expect("it ends"))
    });
    let mut codes = operators.each_ref().map(|one| one.code);
    codes.sort();
    assert_eq!(codes, [Some(0), Some(5)], "{operators:?}");
    let refused = operators.iter().find(|one| one.code == Some(5)).expect("one was refused");
    assert!(refused.output.contains("another update of this device"), "{}", refused.output);
    crowd.await_firmware(name, "0", "1");
}

#[test]
fn what_is_no_window_and_what_is_no_number_of_flashes_is_told_with_its_line() {
    for (lines, wanted) in [
        ("window = [\"22:00-22:00\"]", "it begins when it ends"),
        ("window = [\"Caturday 10:00-11:00\"]", "a day is Mon, Tue, .. or Sun"),
        ("max_parallel = 0", "max_parallel"),
    ] {
        let world = world!();
        let check = world.daemon().toml(&format!("[update]\n{lines}")).prepare().cli(&["check"]);
        assert!(check.code != Some(0), "{}", check.output);
        assert!(check.output.contains(wanted) && check.output.contains("nuncio.toml:"), "{}", check.output);
        assert!(check.output.contains('^'), "{}", check.output);
    }
}
