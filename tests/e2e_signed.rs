//! Signed images on real parts: Debian's minisign signs, a Leshan asks, nuncio looks before the board is touched.
//!
//! Needs the peers avr, leshan and tls: `make peers`.

use std::path::Path;
use std::process::Command;

use world::{PushFormat, Scene, avr_image, world};

fn minisign(folder: &Path, arguments: &[&str]) {
    let ran = Command::new("minisign").args(arguments).current_dir(folder).output();
    let ran = ran.expect("Debian's minisign: tests/peers/install.sh tls");
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
}

#[test]
fn where_signatures_are_required_only_what_a_known_key_signed_is_staged() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    std::fs::create_dir(path.join("keys")).expect("made");
    std::fs::create_dir(path.join("signed")).expect("made");
    let (image, name) = (path.join("signed/uno-1.3.0.hex"), "uno-1.3.0.hex.minisig");
    std::fs::copy(avr_image("uno-1.3.0.hex"), &image).expect("copied");
    for (public, secret, signature) in [("keys/site.pub", "site", "right"), ("other", "stranger", "strange")] {
        minisign(path, &["-G", "-W", "-p", public, "-s", secret]);
        minisign(path, &["-S", "-s", secret, "-m", "signed/uno-1.3.0.hex", "-x", signature]);
    }
    let update = format!("[update]\nsignatures = \"required\"\nkeys = {:?}\n", path.join("keys"));
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.toml(&update));
    let offer_signed_by = |signature: &str| {
        scene.files.put(name, std::fs::read(path.join(signature)).expect("signed"));
    };

    scene.refused(scene.factory(), &image, "5");
    assert!(scene.daemon.log().contains("the image has no signature"), "{}", scene.daemon.log());
    scene.cloud().push(&scene.name, &std::fs::read(&image).expect("an image"), PushFormat::Opaque);
    scene.await_firmware(scene.cloud(), "0", "5");
    offer_signed_by("strange");
    scene.refused(scene.factory(), &image, "5");
    assert!(scene.daemon.log().contains("is unknown here"), "{}", scene.daemon.log());
    let by_hand = scene.daemon.flash(&scene.name, &avr_image("uno-1.3.0.hex"));
    assert!(by_hand.code == Some(1) && by_hand.output.contains("no signature"), "{}", by_hand.output);
    assert_eq!(board.stat().pages, 0, "the board was not touched");

    offer_signed_by("right");
    scene.update(scene.factory(), &image, "1.3.0");
    assert!(scene.daemon.log().contains("the image is signed"), "{}", scene.daemon.log());
}
