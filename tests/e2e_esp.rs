//! Espressif chips: the real esptool, 4 and 5, started by the gateway, against a peer that speaks the ROM's protocol.
//!
//! Needs the peers esp and leshan: `make peers`.

use std::fs;

use world::{EspFake, Esptool, Scene, World, esp_image, world};

fn chip(world: &World, name: &str, args: &[&str]) -> EspFake {
    world.esp(name).with(&esp_image(&format!("{name}-1.4.2.bin"))).args(args).start()
}

/// The daemon finds this esptool first, under its own name, and with the modem lines that a pty lacks.
fn scene(world: World, fake: &EspFake, version: Esptool) -> Scene {
    let wrapper = fake.wrapper(&world, "bin", version.name(), &version.program());
    let board = fake.chip().to_owned();
    Scene::with(world, &board, &fake.link(), |daemon| {
        let bin = wrapper.parent().expect("a script lies in a folder");
        // The tool's file names `esptool` first: where only version 4 is to be found, both names are its.
        fs::copy(&wrapper, bin.join("esptool")).expect("a writable folder");
        daemon.path(bin).modem_lines(fake)
    })
}

#[test]
fn both_esptools_update_an_esp32_and_its_flash_holds_the_image() {
    for version in Esptool::ALL {
        let world = world!();
        let fake = chip(&world, "esp32", &[]);
        let scene = scene(world, &fake, version);
        let image = esp_image("esp32-1.5.0.bin");
        scene.update(scene.cloud(), &image, "1.5.0");
        drop(scene);
        let bytes = fs::read(&image).expect("an image of ours");
        assert_eq!(&fake.into_flash()[0x1_0000..][..bytes.len()], bytes, "{version:?}");
    }
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
fn a_c3_and_an_s3_are_updated() {
    for name in ["esp32c3", "esp32s3"] {
        let world = world!();
        let fake = chip(&world, name, &[]);
        let scene = scene(world, &fake, Esptool::V5);
        scene.update(scene.factory(), &esp_image(&format!("{name}-1.5.0.bin")), "1.5.0");
    }
}

#[test]
fn an_image_for_another_chip_and_damaged_ones_are_refused_before_state_2() {
    let world = world!();
    let fake = chip(&world, "esp32", &[]);
    let scene = scene(world, &fake, Esptool::V5);
    for (image, result) in [
        ("esp32c3-1.5.0.bin", "6"),
        ("esp8266-1.4.2.bin", "6"),
        ("esp32-cut-off.bin", "5"),
        ("esp32-flipped.bin", "5"),
        ("esp32-text.bin", "6"),
    ] {
        scene.refused(scene.factory(), &esp_image(image), result);
    }
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
fn a_chip_of_another_type_behind_the_port_is_result_6() {
    let world = world!();
    let fake = chip(&world, "esp32c3", &[]);
    let wrapper = fake.wrapper(&world, "bin", "esptool", &Esptool::V5.program());
    let scene = Scene::with(world, "esp32", &fake.link(), |daemon| {
        daemon.path(wrapper.parent().expect("a script lies in a folder")).modem_lines(&fake)
    });
    scene.offer(scene.factory(), &esp_image("esp32-1.5.0.bin"), "");
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "6");
}
