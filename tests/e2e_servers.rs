//! Several servers and one board: what one server may do in each state of another one's update, on the wire between two real
//! servers, as decisions.md section 2 has it.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::time::Duration;

use world::{Behaviour, Leshan, PushFormat, Scene, SimBoard, avr_image, eventually, world};

/// Ten times what the longest way into a state takes.
const PATIENCE: Duration = Duration::from_secs(300);

/// States of the owner's update.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Staging,
    Staged,
    Updating,
    Deferred,
    Failed,
}

const STATES: [At; 5] = [At::Staging, At::Staged, At::Deferred, At::Failed, At::Updating];

/// What the other server does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    WriteUri,
    Push,
    ResetByUri,
    ResetByPush,
    Cancel,
    Execute,
}

const ACTS: [Act; 6] = [Act::WriteUri, Act::Push, Act::ResetByUri, Act::ResetByPush, Act::Cancel, Act::Execute];

/// What is written in the owner's state: 5/0/3 and 5/0/5.
fn shown(at: At) -> (&'static str, &'static str) {
    match at {
        At::Staging => ("1", "0"),
        At::Staged => ("2", "0"),
        At::Updating => ("3", "0"),
        At::Deferred => ("2", "11"),
        At::Failed => ("2", "8"),
    }
}

/// The law: the answer, and what is shown afterwards where that is something else.
fn law(right: &str, at: At, act: Act) -> (u16, Option<(&'static str, &'static str)>) {
    match (right, at, act) {
        // Right comes before state: what is somebody else's is not to be touched, whatever it is at.
        ("own" | "none", _, _) => (401, None),
        (_, At::Updating, _) => (405, None),
        (_, At::Staging, Act::Execute) => (405, None),
        (_, _, Act::WriteUri | Act::Push) => (400, None),
        (_, _, Act::ResetByUri | Act::ResetByPush) => (204, Some(("0", "0"))),
        (_, _, Act::Cancel) => (204, Some(("0", "10"))),
        (_, At::Deferred, Act::Execute) => (204, None),
        (_, _, Act::Execute) => (204, Some(("3", "0"))),
    }
}

/// The owner is the second server, which is shown object 5 in version 1.0; the other one has 1.1, and so Cancel.
struct Table {
    scene: Scene,
    board: SimBoard,
}

impl Table {
    fn new(right: &str) -> Self {
        let world = world!();
        let board = world.uno("uno-1.2.0.hex");
        let right = format!("firmware = {right:?}");
        let scene = Scene::between(world, "arduino-uno", &board.link(), [&right, ""], |daemon| daemon);
        Self { scene, board }
    }

    fn owner(&self) -> &'static Leshan {
        self.scene.cloud()
    }

    fn other(&self) -> &'static Leshan {
        self.scene.factory()
    }

    /// Both servers read the same; results that version 1.0 of the object does not know are 0 there.
    fn await_shown(&self, what: &str, (state, result): (&str, &str)) {
        let older = if matches!(result, "10" | "11") { "0" } else { result };
        for (server, result) in [(self.other(), result), (self.owner(), older)] {
            let wanted = (state.to_owned(), result.to_owned());
            eventually(&format!("{what}: {state}/{result}"), PATIENCE, || {
                (self.scene.firmware(server) == wanted).then_some(())
            });
        }
    }

    /// Brings the owner's update into a state, from nothing.
    fn bring(&self, at: At) {
        let name = &self.scene.name;
        let image = std::fs::read(avr_image("uno-1.3.0.hex")).expect("an image of ours");
        let offer = |behaviour: Behaviour, fragment: &str| {
            let uri = self.scene.files.put_as(&format!("{at:?}.hex"), image.clone(), behaviour);
            assert_eq!(self.owner().write_uri(name, &format!("{uri}{fragment}")).code, 204, "{at:?}");
        };
        match at {
            At::Staging => offer(Behaviour::StallAtHalf, ""),
            At::Staged | At::Updating | At::Deferred => offer(Behaviour::Good, "#version=1.3.0"),
            // It flashes and verifies, and the board tells another version.
            At::Failed => offer(Behaviour::Good, "#version=9.9.9"),
        }
        if at != At::Staging {
            self.await_shown("staged", shown(At::Staged));
        }
        match at {
            At::Staging | At::Staged => {}
            At::Updating => {
                self.board.order("mute on");
                self.scene.execute(self.owner());
            }
            At::Deferred => {
                assert_eq!(self.scene.daemon.cli(&["brake", "pull", "arduino-uno"]).code, Some(0));
                self.scene.execute(self.owner());
            }
            At::Failed => self.scene.execute(self.owner()),
        }
        self.await_shown(&format!("{at:?}"), shown(at));
    }

    fn act(&self, act: Act) -> u16 {
        let (other, name) = (self.other(), &self.scene.name);
        let answer = match act {
            Act::WriteUri => other.write_uri(name, &format!("{}another.hex", self.scene.files.base())),
            Act::Push => other.push(name, b":00000001FF\n", PushFormat::Opaque),
            Act::ResetByUri => other.write_uri(name, ""),
            Act::ResetByPush => other.push(name, &[0], PushFormat::Opaque),
            Act::Cancel => other.execute(name, "5/0/10"),
            Act::Execute => other.execute(name, "5/0/2"),
        };
        answer.code
    }

    /// Back to nothing, from wherever it stands.
    fn clear(&self) {
        self.board.order("mute off");
        self.scene.daemon.cli(&["brake", "release"]);
        let name = &self.scene.name;
        eventually("nothing is staged any more", PATIENCE, || {
            let (state, _) = self.scene.firmware(self.owner());
            if state == "1" || state == "2" {
                self.owner().write_uri(name, "");
            }
            (state == "0").then_some(())
        });
    }
}

/// Every cell for one right of the other server. A state is brought about once, and anew after what has changed it.
fn every_cell(right: &str) {
    let table = Table::new(right);
    for at in STATES {
        table.bring(at);
        for act in ACTS {
            let cell = format!("{right}, {at:?} x {act:?}");
            let (code, after) = law(right, at, act);
            assert_eq!(table.act(act), code, "{cell}");
            match after {
                None => table.await_shown(&cell, shown(at)),
                Some(after) => {
                    table.await_shown(&cell, after);
                    table.clear();
                    table.bring(at);
                }
            }
            for path in ["5/0/3", "5/0/5", "5/0/7", "3/0/0"] {
                assert_eq!(table.other().read(&table.scene.name, path).code, 205, "{cell}: {path} may be read");
            }
        }
        table.clear();
    }
}

#[test]
fn a_server_with_its_own_right_touches_nothing_of_what_another_one_has_staged() {
    every_cell("own");
}

#[test]
fn a_server_with_every_right_does_in_each_state_what_that_state_allows() {
    every_cell("any");
}

#[test]
fn a_server_without_a_right_reads_and_nothing_else() {
    every_cell("none");
}

#[test]
fn what_a_server_that_vanished_has_staged_is_free_for_the_others_after_a_while() {
    let vanishing = Leshan::start("leshan that vanishes");
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.server("gone", &vanishing.uri(), 345, "lifetime = \"10s\"").toml("[update]\nowner_timeout = \"3s\"")
    });
    vanishing.await_client(&scene.name);
    scene.offer(&vanishing, &avr_image("uno-1.3.0.hex"), "#version=1.3.0");
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().execute(&scene.name, "5/0/2").code, 401, "its owner is there");
    vanishing.stop();
    eventually("it is released", PATIENCE, || {
        (scene.factory().execute(&scene.name, "5/0/2").code == 204).then_some(())
    });
    scene.await_firmware(scene.cloud(), "0", "1");
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
}
