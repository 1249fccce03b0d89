//! Where images come from: HTTP and HTTPS, connections that break, files that change, digests, versions, policy.
//!
//! Needs the peers avr, leshan and tls: `make peers`.

use std::fs;
use std::path::Path;
use std::process::Command;

use world::{Authority, Behaviour, HttpFiles, Model, Scene, SimBoard, World, avr_image, world};

fn uno(world: &World) -> SimBoard {
    world.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).start()
}

fn image() -> Vec<u8> {
    fs::read(avr_image("uno-1.3.0-large.hex")).expect("an image of ours")
}

/// What the program of that name says.
fn sha256(file: &Path) -> String {
    let output = Command::new("sha256sum").arg(file).output().expect("sha256sum is there");
    let text = String::from_utf8(output.stdout).expect("text");
    text.split(' ').next().expect("a digest").to_owned()
}

#[test]
fn a_connection_that_closes_at_half_is_resumed_where_it_broke() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let uri = scene.files.put_as("half.hex", image(), Behaviour::CloseAtHalf(1));
    assert_eq!(scene.factory().write_uri(&scene.name, &uri).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
    let requests = scene.files.requests();
    let ranges: Vec<_> =
        requests.iter().filter(|request| request.path == "/half.hex").map(|request| &request.range).collect();
    assert_eq!(ranges.len(), 2, "{requests:?}");
    assert!(ranges[1].as_deref().is_some_and(|range| range != "bytes=0-"), "{requests:?}");
}

#[test]
fn a_file_that_changed_meanwhile_is_never_two_files_in_one() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let other = fs::read(avr_image("uno-1.2.0-large.hex")).expect("an image of ours");
    let uri = scene.files.put_as("changing.hex", image(), Behaviour::ChangeAtHalf(other));
    assert_eq!(scene.factory().write_uri(&scene.name, &format!("{uri}#version=1.2.0")).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
    scene.execute(scene.factory());
    scene.await_firmware(scene.factory(), "0", "1");
    assert!(board.holds(&avr_image("uno-1.2.0-large.hex")));
}

#[test]
fn https_is_trusted_by_the_configured_authority_only() {
    let world = world!();
    let board = uno(&world);
    let (ours, stranger) = (Authority::new(&world, "ours"), Authority::new(&world, "stranger"));
    let (good, bad) = (HttpFiles::with_tls(&ours), HttpFiles::with_tls(&stranger));
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| {
        daemon.allow(&good.base()).allow(&bad.base()).download(&format!("ca = [{:?}]", ours.certificate()))
    });
    assert_eq!(scene.factory().write_uri(&scene.name, &good.put("a.hex", image())).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().write_uri(&scene.name, "").code, 204);
    scene.await_firmware(scene.factory(), "0", "0");
    assert_eq!(scene.factory().write_uri(&scene.name, &bad.put("a.hex", image())).code, 204);
    scene.await_firmware(scene.factory(), "0", "4");
}

#[test]
fn a_digest_in_the_fragment_or_beside_the_image_must_match() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let uri = scene.files.put("image.hex", image());
    let zeros = "0".repeat(64);
    assert_eq!(scene.factory().write_uri(&scene.name, &format!("{uri}#sha256={zeros}")).code, 204);
    scene.await_firmware(scene.factory(), "0", "5");
    scene.files.put("image.hex.sha256", format!("{zeros}  image.hex\n"));
    assert_eq!(scene.factory().write_uri(&scene.name, &uri).code, 204);
    scene.await_firmware(scene.factory(), "0", "5");
    // The right one, in either place.
    let digest = sha256(&avr_image("uno-1.3.0-large.hex"));
    scene.files.put("image.hex.sha256", format!("{digest}  image.hex\n"));
    assert_eq!(scene.factory().write_uri(&scene.name, &uri).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().write_uri(&scene.name, "").code, 204);
    scene.await_firmware(scene.factory(), "0", "0");
    let other = scene.files.put("other.hex", image());
    assert_eq!(scene.factory().write_uri(&scene.name, &format!("{other}#sha256={digest}")).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
}

#[test]
fn a_sidecar_tells_the_version_that_the_image_does_not() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    scene.files.put("image.hex.version", "1.3.0\n");
    let uri = scene.files.put("image.hex", image());
    assert_eq!(scene.factory().write_uri(&scene.name, &uri).code, 204);
    scene.await_firmware(scene.factory(), "2", "0");
    assert_eq!(scene.factory().read(&scene.name, "5/0/7").text(), "1.3.0");
}

#[test]
fn what_is_not_there_or_not_allowed_is_result_7_and_an_unknown_scheme_9() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::new(world, "arduino-uno", &board.link());
    let (server, name) = (scene.factory(), &scene.name);
    assert_eq!(server.write_uri(name, &format!("{}nothing.hex", scene.files.base())).code, 204);
    scene.await_firmware(server, "0", "7");
    for (uri, result) in [
        ("http://127.0.0.1:9/a.hex", "7"),
        ("http://[::1/", "7"),
        ("gopher://127.0.0.1/a", "9"),
        ("file:///etc/passwd", "9"),
    ] {
        assert_eq!(server.write_uri(name, uri).code, 400, "{uri}");
        scene.await_firmware(server, "0", result);
    }
    let elsewhere = scene.files.put_as("moved.hex", "", Behaviour::Redirect("http://127.0.0.1:9/a.hex".to_owned()));
    assert_eq!(server.write_uri(name, &elsewhere).code, 204);
    scene.await_firmware(server, "0", "7");
}

#[test]
fn the_size_cap_ends_a_download() {
    let world = world!();
    let board = uno(&world);
    let scene = Scene::with(world, "arduino-uno", &board.link(), |daemon| daemon.download("max_size = 20000"));
    let uri = scene.files.put_as("large.hex", image(), Behaviour::Plain);
    assert_eq!(scene.factory().write_uri(&scene.name, &uri).code, 204);
    scene.await_firmware(scene.factory(), "0", "2");
}
