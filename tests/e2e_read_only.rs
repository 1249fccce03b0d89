//! A machine whose file systems are mounted read-only, as one that must survive its power switch: the state folder is all
//! that the gateway writes to.
//!
//! Needs the peers avr and leshan, and root: `make peers`.

use std::time::Duration;

use world::{Scene, avr_image, free_tcp, world};

const STOP: Duration = Duration::from_secs(50);

#[test]
fn an_update_and_the_way_back_need_nothing_but_the_state_folder() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let page = format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{}\"]\n", free_tcp());
    let mut scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.toml(&page).read_only());
    let home = scene.world.home().display().to_string();
    for place in ["/root", "/var/lib", "/etc", "/tmp", &home] {
        let refused = format!("! touch {place}/nuncio-was-here 2>/dev/null");
        scene.daemon.among_mounts(&["sh", "-c", &refused]);
    }
    scene.update(scene.factory(), &avr_image("uno-1.3.0.hex"), "1.3.0");
    let pushed = std::fs::read(avr_image("uno-1.2.0.hex")).expect("an image");
    let answer = scene.cloud().push(&scene.name, &pushed, world::PushFormat::Tlv);
    assert_eq!(answer.code, 204, "{answer:?}");
    scene.await_firmware(scene.cloud(), "2", "0");
    scene.execute(scene.cloud());
    scene.await_firmware(scene.cloud(), "0", "1");
    let back = scene.daemon.cli(&["rollback", &scene.name]);
    assert_eq!(back.code, Some(0), "{}", back.output);
    assert!(board.holds(&avr_image("uno-1.3.0.hex")));
    let log = scene.daemon.log();
    assert!(!log.contains("os error 30") && !log.to_lowercase().contains("read-only file system"), "{log}");
    assert_eq!(scene.daemon.stop(STOP), Some(0));
    scene.daemon.run();
    scene.await_device_present();
    assert_eq!(scene.factory().await_client(&scene.name)["lifetime"], 30);
}
