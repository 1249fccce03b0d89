//! Signed images on real parts: Debian's minisign signs, a Leshan asks, nuncio looks before the board is touched.
//!
//! Needs the peers avr, leshan and tls: `make peers`.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use world::{PushFormat, Scene, avr_image, eventually, world};

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
    let mut scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.toml(&update));
    let offer_signed_by = |scene: &Scene, signature: &str| {
        scene.files.put(name, std::fs::read(path.join(signature)).expect("signed"));
    };

    scene.refused(scene.factory(), &image, "5");
    assert!(scene.daemon.log().contains("the image has no signature"), "{}", scene.daemon.log());
    scene.cloud().push(&scene.name, &std::fs::read(&image).expect("an image"), PushFormat::Opaque);
    scene.await_firmware(scene.cloud(), "0", "5");
    offer_signed_by(&scene, "strange");
    scene.refused(scene.factory(), &image, "5");
    assert!(scene.daemon.log().contains("is unknown here"), "{}", scene.daemon.log());
    let by_hand = scene.daemon.flash(&scene.name, &avr_image("uno-1.3.0.hex"));
    assert!(by_hand.code == Some(1) && by_hand.output.contains("no signature"), "{}", by_hand.output);
    assert_eq!(board.stat().pages, 0, "the board was not touched");

    offer_signed_by(&scene, "right");
    scene.update(scene.factory(), &image, "1.3.0");
    assert!(scene.daemon.log().contains("the image is signed"), "{}", scene.daemon.log());
    let site = key_id(&path.join("keys/site.pub"));
    let kept = scene.daemon.cli(&["history", "--json"]).json()["updates"][0]["update"].clone();
    let shown = scene.daemon.cli(&["show", kept.as_str().expect("an id")]).output;
    assert!(shown.contains(&format!("signed by    key {site}")), "{shown}");
    let checked = scene.daemon.cli(&["check"]).output;
    assert!(checked.contains(&format!("required: keys {site} in ")), "{checked}");

    // A key more counts from SIGHUP on; a file that is none changes nothing, and is told with its line.
    offer_signed_by(&scene, "strange");
    std::fs::write(path.join("keys/broken.pub"), "untrusted comment: x\nnothing\n").expect("written");
    let refused = hang_up(&mut scene);
    assert!(refused.contains("broken.pub:2:1"), "{refused}");
    let checked = scene.daemon.cli(&["check"]);
    assert!(checked.code == Some(1) && checked.output.contains("broken.pub:2:1"), "{}", checked.output);
    scene.refused(scene.factory(), &image, "5");
    std::fs::rename(path.join("other"), path.join("keys/broken.pub")).expect("put right");
    hang_up(&mut scene);
    scene.update(scene.factory(), &image, "1.3.0");
}

/// SIGHUP, and what the log has from then on to the end of the reload.
fn hang_up(scene: &mut Scene) -> String {
    let before = scene.daemon.log().len();
    scene.daemon.process().signal(rustix::process::Signal::HUP);
    eventually("the reload is over", Duration::from_secs(60), || {
        let said = scene.daemon.log()[before..].to_owned();
        let over = said.contains("were read again") || said.contains("nothing was reloaded");
        over.then_some(said)
    })
}

/// As minisign tells it in a key's comment.
fn key_id(public: &Path) -> String {
    let text = std::fs::read_to_string(public).expect("a key");
    text.lines().next().and_then(|line| line.rsplit(' ').next()).expect("an id").to_owned()
}

#[test]
fn a_policy_that_nothing_could_fulfil_is_told_with_file_and_line_before_the_first_start() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path();
    let config = path.join("nuncio.toml");
    let text = format!(
        "[gateway]\nstate = {:?}\n[update]\nsignatures = \"required\"\nkeys = {:?}\n",
        path.join("state"),
        path.join("keys")
    );
    std::fs::write(&config, text).expect("written");
    for command in ["check", "run"] {
        let ran = Command::new(env!("CARGO_BIN_EXE_nuncio")).arg("--config").arg(&config).arg(command).output();
        let ran = ran.expect("started");
        let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
        assert!(!ran.status.success(), "{command}: {said}");
        for part in ["nuncio.toml:4:", "there is no key in", "minisign -G"] {
            assert!(said.contains(part), "{command}: no `{part}` in {said}");
        }
    }
}
