//! Push: a server writes the image to 5/0/0, block by block, wrapped in TLV or bare.
//!
//! Needs the peers avr and leshan: `make peers`.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use world::{Model, PushFormat, Scene, SimBoard, World, avr_image, world};

fn uno(world: &World) -> SimBoard {
    world.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).start()
}

fn image(name: &str) -> Vec<u8> {
    fs::read(avr_image(name)).expect("an image of ours")
}

#[test]
fn an_image_is_pushed_in_either_format_and_proven() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    for (format, version) in [(PushFormat::Tlv, "1.3.0"), (PushFormat::Opaque, "1.2.0")] {
        let answer = scene.factory().push(&scene.name, &image(&format!("uno-{version}-large.hex")), format);
        assert_eq!(answer.code, 204, "{format:?}: {answer:?}");
        scene.await_firmware(scene.factory(), "2", "0");
        scene.execute(scene.factory());
        scene.await_firmware(scene.factory(), "0", "1");
        assert_eq!(scene.factory().read(&scene.name, "3/0/3").text(), version);
    }
}

#[test]
fn a_push_that_is_damaged_or_too_large_shows_in_the_result() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.download("max_size = 100000"));
    for (bytes, result) in [(image("uno-wrong-checksum.hex"), "5"), (image("uno-too-large.hex"), "2")] {
        scene.factory().push(&scene.name, &bytes, PushFormat::Opaque);
        scene.await_firmware(scene.factory(), "0", result);
    }
    let answer = scene.factory().push(&scene.name, &vec![b':'; 150_000], PushFormat::Opaque);
    assert_eq!(answer.code, 413, "{answer:?}");
    scene.await_firmware(scene.factory(), "0", "2");
}

#[test]
fn a_staged_push_is_reset_by_one_nul_byte_or_by_an_empty_uri() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    for turn in 0..2 {
        assert_eq!(scene.factory().push(&scene.name, &image("uno-1.3.0.hex"), PushFormat::Opaque).code, 204);
        scene.await_firmware(scene.factory(), "2", "0");
        let second = scene.factory().push(&scene.name, &image("uno-1.2.0.hex"), PushFormat::Opaque);
        assert_eq!(second.code, 400, "a second image while one is staged: {second:?}");
        let reset = match turn {
            0 => scene.factory().push(&scene.name, &[0], PushFormat::Opaque),
            _ => scene.factory().write_uri(&scene.name, ""),
        };
        assert_eq!(reset.code, 204, "{reset:?}");
        scene.await_firmware(scene.factory(), "0", "0");
    }
}

#[test]
fn another_server_may_not_touch_what_the_first_one_pushed() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    assert_eq!(scene.factory().push(&scene.name, &image("uno-1.3.0.hex"), PushFormat::Tlv).code, 204);
    scene.await_firmware(scene.cloud(), "2", "0");
    assert_eq!(scene.cloud().execute(&scene.name, "5/0/2").code, 401);
    assert_eq!(scene.cloud().write_uri(&scene.name, "").code, 401);
    assert_eq!(scene.cloud().push(&scene.name, &[0], PushFormat::Opaque).code, 401);
    scene.await_firmware(scene.factory(), "2", "0");
}

#[test]
fn a_push_does_not_keep_the_other_server_waiting() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let name = scene.name.clone();
    let push =
        thread::spawn(move || world::Leshan::pair().0.push(&name, &image("uno-1.3.0-large.hex"), PushFormat::Opaque));
    let mut reads = 0;
    while !push.is_finished() {
        assert_eq!(scene.cloud().read(&scene.name, "3/0/0").text(), "Arduino");
        reads += 1;
    }
    assert_eq!(push.join().expect("the push ends").code, 204);
    assert!(reads > 0);
}

#[test]
fn a_server_that_falls_silent_in_the_middle_of_a_push_ends_it_after_a_minute() {
    let world = world!();
    let board = uno(&world);
    let mortal = world::Leshan::start("leshan that dies");
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.server("mortal", &mortal.uri(), 345, "lifetime = \"30s\"")
    });
    mortal.await_client(&scene.name);
    let push = thread::scope(|scope| {
        let push = scope.spawn(|| mortal.try_push(&scene.name, &vec![b':'; 2 << 20], PushFormat::Opaque));
        scene.await_firmware(scene.factory(), "1", "0");
        mortal.stop();
        push.join().expect("the push is over")
    });
    assert!(push.is_none(), "it died in the middle: {push:?}");
    let began = Instant::now();
    assert_eq!(scene.factory().write_uri(&scene.name, "").code, 401, "another server's push");
    scene.await_firmware(scene.factory(), "0", "4");
    assert!(began.elapsed() > Duration::from_secs(40), "{:?}", began.elapsed());
    assert_eq!(scene.factory().push(&scene.name, &image("uno-1.3.0.hex"), PushFormat::Opaque).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
}
