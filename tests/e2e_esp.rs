//! Espressif chips: the real esptool, 4 and 5, started by the gateway, against a peer that speaks the ROM's protocol.
//!
//! Needs the peers esp and leshan: `make peers`.

use std::fs;
use std::path::Path;

use world::{EspFake, Esptool, Scene, World, esp_image, world};

/// Where the board files put an application.
const APPLICATION: usize = 0x1_0000;

fn chip(world: &World, name: &str, args: &[&str]) -> EspFake {
    world.esp(name).with(&esp_image(&format!("{name}-1.4.2.bin"))).args(args).start()
}

/// The daemon finds this esptool alone, under its own name, and with the modem lines that a pty lacks.
fn scene(world: World, fake: &EspFake, version: Esptool) -> Scene {
    let board = fake.chip().to_owned();
    scene_as(world, fake, &board, version)
}

/// The same for a board that need not be what hangs on the port.
fn scene_as(world: World, fake: &EspFake, board: &str, version: Esptool) -> Scene {
    let wrapper = fake.wrapper(&world, "bin", version.name(), &version.program());
    let bin = wrapper.parent().expect("a script lies in a folder");
    let path = format!("{}:/usr/bin:/bin", bin.display());
    Scene::with(world, board, &fake.link(), |daemon| daemon.env("PATH", path).modem_lines(fake))
}

#[test]
fn both_esptools_update_an_esp32_and_its_flash_holds_the_image() {
    for version in Esptool::ALL {
        let world = world!();
        let fake = chip(&world, "esp32", &[]);
        let scene = scene(world, &fake, version);
        let image = esp_image("esp32-1.5.0.bin");
        scene.update(scene.cloud(), &image, "1.5.0");
        let log = scene.daemon.log();
        assert!(log.contains(&format!("/bin/{}\"", version.name())), "{version:?} was run");
        assert!(fake.banner().starts_with("ID board=esp32 fw=1.5.0 "), "{version:?}");
        assert_holds(fake, &image, APPLICATION);
    }
}

/// The flash of a chip is exactly the image from an offset on.
fn assert_holds(fake: EspFake, image: &Path, offset: usize) {
    let (bytes, flash) = (fs::read(image).expect("an image of ours"), fake.into_flash());
    let differ = bytes.iter().zip(&flash[offset..]).position(|(wanted, found)| wanted != found);
    assert_eq!(differ, None, "the first byte of {} that the flash does not hold", image.display());
}

#[test]
fn the_image_itself_tells_its_version_and_project() {
    let world = world!();
    let fake = chip(&world, "esp32", &[]);
    let scene = scene(world, &fake, Esptool::V5);
    scene.offer(scene.factory(), &esp_image("esp32-1.5.0.bin"), "");
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().read(&scene.name, "5/0/7").text(), "1.5.0");
    assert_eq!(scene.factory().read(&scene.name, "5/0/6").text(), "blinky");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    assert_eq!(scene.factory().read(&scene.name, "3/0/3").text(), "1.5.0");
}

#[test]
fn a_c3_an_s3_and_an_8266_are_updated_by_both_esptools() {
    let chips = [("esp32c3", APPLICATION), ("esp32s3", APPLICATION), ("esp8266", 0)];
    for ((name, offset), version) in chips.into_iter().flat_map(|chip| Esptool::ALL.map(|version| (chip, version))) {
        let world = world!();
        let fake = chip(&world, name, &[]);
        let scene = scene(world, &fake, version);
        let image = esp_image(&format!("{name}-1.5.0.bin"));
        scene.update(scene.factory(), &image, "1.5.0");
        assert!(fake.banner().starts_with(&format!("ID board={name} fw=1.5.0")), "{version:?}");
        assert_holds(fake, &image, offset);
    }
}

#[test]
fn an_image_for_another_chip_and_damaged_ones_are_refused_before_state_2() {
    let world = world!();
    let fake = chip(&world, "esp32", &[]);
    let mut bytes = fs::read(esp_image("esp32-1.5.0.bin")).expect("an image of ours");
    *bytes.last_mut().expect("an image holds something") ^= 1;
    let wrong_digest = world.file("esp32-wrong-digest.bin", bytes);
    let scene = scene(world, &fake, Esptool::V5);
    let before = fake.starts();
    for (image, result) in [
        ("esp32c3-1.5.0.bin", "6"),
        ("esp8266-1.4.2.bin", "6"),
        ("esp32-cut-off.bin", "5"),
        ("esp32-flipped.bin", "5"),
        ("esp32-text.bin", "6"),
    ] {
        scene.refused(scene.factory(), &esp_image(image), result);
    }
    scene.refused(scene.factory(), &wrong_digest, "5");
    let message = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
    assert!(message.contains("appended SHA-256"), "{message}");
    assert_eq!(fake.starts(), before, "nobody touched the chip");
    assert_holds(fake, &esp_image("esp32-1.4.2.bin"), APPLICATION);
}

#[test]
fn an_8266_refuses_images_of_other_chips_and_cut_off_ones() {
    let world = world!();
    let fake = chip(&world, "esp8266", &[]);
    let whole = fs::read(esp_image("esp8266-1.5.0.bin")).expect("an image of ours");
    let cut_off = world.file("esp8266-cut-off.bin", &whole[..whole.len() - 100]);
    let scene = scene(world, &fake, Esptool::V5);
    let before = fake.starts();
    scene.refused(scene.factory(), &esp_image("esp32-1.5.0.bin"), "6");
    scene.refused(scene.factory(), &cut_off, "5");
    assert_eq!(fake.starts(), before, "nobody touched the chip");
}

#[test]
fn a_flash_that_does_not_hold_what_was_written_is_a_failure() {
    let world = world!();
    let fake = chip(&world, "esp32", &[]);
    let scene = scene(world, &fake, Esptool::V5);
    fake.order("fault badmd5");
    scene.fails(scene.factory(), &esp_image("esp32-1.5.0.bin"));
    fake.order("clear");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
}

#[test]
fn a_chip_that_does_not_answer_is_a_failure_that_says_so() {
    for version in Esptool::ALL {
        let world = world!();
        let fake = chip(&world, "esp32", &[]);
        let scene = scene(world, &fake, version);
        fake.order("fault mute");
        scene.fails(scene.cloud(), &esp_image("esp32-1.5.0.bin"));
        let message = scene.daemon.device(&scene.name).expect("the device").message().to_owned();
        assert!(message.contains("flash: "), "{version:?}: {message}");
        fake.order("clear");
        scene.execute(scene.cloud());
        scene.await_firmware(scene.cloud(), "0", "1");
    }
}

#[test]
fn a_chip_of_another_type_behind_the_port_is_result_6() {
    for version in Esptool::ALL {
        let world = world!();
        let fake = chip(&world, "esp32c3", &[]);
        let scene = scene_as(world, &fake, "esp32", version);
        scene.offer(scene.factory(), &esp_image("esp32-1.5.0.bin"), "");
        scene.await_firmware(scene.factory(), "2", "0");
        scene.execute(scene.factory());
        scene.await_firmware(scene.factory(), "0", "6");
        assert_holds(fake, &esp_image("esp32c3-1.4.2.bin"), APPLICATION);
    }
}
