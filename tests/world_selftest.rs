//! The test world itself: real tools flash our simulated boards, foreign servers start and answer, and the file server
//! misbehaves as it is told. When one of these fails, no end-to-end test means anything.
//!
//! Needs the peers avr, esp, leshan, node and tls: `make peers`.

use std::fs;
use std::time::Duration;

use serde_json::Value;
use world::{
    Authority, Behaviour, Esptool, HttpFiles, Leshan, Model, NodeServer, Tty, avr_image, avrdude, esp_image, esptool,
    firmata_image, get, world,
};

const UNO: [&str; 7] = ["-qq", "-carduino", "-pm328p", "-b115200", "-D", "-xattempts=3", "-U"];

fn write(image: &std::path::Path) -> String {
    format!("flash:w:{}:i", image.display())
}

#[test]
fn avrdude_flashes_an_uno_and_its_sketch_says_so() {
    let world = world!();
    let mut board = world.uno("uno-1.2.0.hex");
    assert_eq!(board.banner(), "ID board=uno fw=1.2.0");
    let image = avr_image("uno-1.3.0.hex");
    let before = board.stat();
    let (status, output) = avrdude(&board, &[&UNO[..], &[&write(&image)]].concat());
    assert!(status.success(), "{output}");
    assert_eq!(board.banner(), "ID board=uno fw=1.3.0");
    assert!(board.holds(&image));
    let after = board.stat();
    assert!(after.pages > before.pages && after.resets > before.resets, "{before:?} {after:?}");
    board.power_cycle();
    assert_eq!(board.banner(), "ID board=uno fw=1.3.0", "the flash outlives a power cycle");
}

#[test]
fn avrdude_flashes_a_mega_and_an_old_nano() {
    let world = world!();
    for (model, name, args) in [
        (Model::Mega, "mega", ["-cwiring", "-pm2560", "-b115200"]),
        (Model::NanoOld, "nano", ["-carduino", "-pm328p", "-b57600"]),
    ] {
        let board = world.board(model).with(&avr_image(&format!("{name}-1.2.0.hex"))).start();
        let image = avr_image(&format!("{name}-1.3.0.hex"));
        let (status, output) = avrdude(&board, &[&args[..], &["-qq", "-D", "-U", &write(&image)]].concat());
        assert!(status.success(), "{name}: {output}");
        assert_eq!(board.banner(), format!("ID board={name} fw=1.3.0"));
    }
}

#[test]
fn a_board_behind_another_speed_or_another_chip_is_not_flashed() {
    let world = world!();
    let nano = world.board(Model::NanoOld).with(&avr_image("nano-1.2.0.hex")).start();
    let image = write(&avr_image("uno-1.3.0.hex"));
    let (status, output) = avrdude(&nano, &[&UNO[..], &[&image]].concat());
    assert!(!status.success() && output.contains("not in sync"), "{output}");
    let other = world.board(Model::Atmega168).start();
    let (status, output) = avrdude(&other, &[&UNO[..], &[&image]].concat());
    assert!(!status.success() && output.contains("signature"), "{output}");
}

#[test]
fn a_locked_boot_section_and_a_bad_cell_fail_the_verify() {
    let world = world!();
    let mut board = world.board(Model::Uno).with(&avr_image("uno-1.2.0.hex")).speed(2).start();
    let (status, output) = avrdude(&board, &[&UNO[..], &[&write(&avr_image("uno-over-bootloader.hex"))]].concat());
    assert!(!status.success() && output.contains("mismatch"), "{output}");
    assert!(board.stat().locked > 0);
    board.order("stuck 0x40");
    let (status, output) = avrdude(&board, &[&UNO[..], &[&write(&avr_image("uno-1.3.0.hex"))]].concat());
    assert!(!status.success() && output.contains("mismatch"), "{output}");
}

#[test]
fn standard_firmata_announces_itself() {
    let world = world!();
    let board = world.board(Model::Uno).with(&firmata_image()).start();
    let mut tty = Tty::open(board.port(), 57_600);
    let name: Vec<u8> = "StandardFirmata.ino".bytes().flat_map(|byte| [byte & 0x7f, byte >> 7]).collect();
    assert!(tty.hears(&name, Duration::from_secs(40)));
}

#[test]
fn both_esptools_flash_an_esp32_and_read_it_back() {
    let world = world!();
    for version in Esptool::ALL {
        let chip = world.esp("esp32").with(&esp_image("esp32-1.4.2.bin")).start();
        assert!(chip.banner().starts_with("ID board=esp32 fw=1.4.2"));
        let image = esp_image("esp32-1.5.0.bin");
        let write = if version == Esptool::V4 { "write_flash" } else { "write-flash" };
        let (status, output) = esptool(version, &chip, &[write, "0x10000", &image.display().to_string()]);
        assert!(status.success() && output.contains("Hash of data verified"), "{version:?}: {output}");
        assert!(chip.banner().starts_with("ID board=esp32 fw=1.5.0"));
        let bytes = fs::read(&image).expect("an image of ours");
        assert_eq!(&chip.into_flash()[0x1_0000..][..bytes.len()], bytes, "{version:?}");
    }
}

#[test]
fn esptool_flashes_the_other_chips() {
    let world = world!();
    for (chip, image, offset) in [
        ("esp32c3", "esp32c3-1.5.0.bin", 0x1_0000),
        ("esp32s3", "esp32s3-1.5.0.bin", 0x1_0000),
        ("esp8266", "esp8266-1.4.2.bin", 0),
    ] {
        let fake = world.esp(chip).start();
        let (image, at) = (esp_image(image), format!("{offset:#x}"));
        let (status, output) = esptool(Esptool::V5, &fake, &["write-flash", &at, &image.display().to_string()]);
        assert!(status.success() && output.contains("Hash of data verified"), "{chip}: {output}");
        let bytes = fs::read(&image).expect("an image of ours");
        // esptool writes the flash size it detected into the header of an image at 0.
        assert_eq!(fake.into_flash()[offset + 32..][..bytes.len() - 32], bytes[32..], "{chip}");
    }
}

#[test]
fn two_leshans_start_and_answer() {
    let (a, b) = Leshan::pair();
    assert_ne!(a.uri(), b.uri());
    for server in [a, b] {
        assert_eq!(get(server.http_port(), "/api/clients").expect("an answer").json(), Value::Array(Vec::new()));
        assert!(server.client("nobody").is_none());
        assert_eq!(server.read("nobody", "3/0/0").http, 400);
        assert!(server.events("nobody").all().is_empty());
    }
}

#[test]
fn a_leshan_comes_back_on_its_ports() {
    let server = Leshan::start("leshan c");
    server.stop();
    assert!(get(server.http_port(), "/api/clients").is_none());
    server.restart();
    assert_eq!(get(server.http_port(), "/api/clients").expect("an answer").status, 200);
}

#[test]
fn lwm2m_node_lib_starts_and_answers() {
    let mut server = NodeServer::start();
    assert_eq!(server.ask("list", "", "", &Value::Null), Ok(Value::Array(Vec::new())));
    assert!(server.read("nobody", "/3/0/0").is_err());
}

#[test]
fn the_file_server_misbehaves_as_told() {
    let world = world!();
    let files = world.http();
    let bytes: Vec<u8> = (0..1000_u32).map(|at| u8::try_from(at % 251).expect("below 251")).collect();
    let port =
        files.base().trim_end_matches('/').rsplit(':').next().and_then(|port| port.parse().ok()).expect("a port");
    files.put("good", bytes.clone());
    files.put_as("half", bytes.clone(), Behaviour::CloseAtHalf(1));
    files.put_as("gone", bytes.clone(), Behaviour::Status(410));
    assert_eq!(get(port, "/good").expect("an answer").body, bytes);
    assert_eq!(get(port, "/half").expect("an answer").body.len(), 500);
    assert_eq!(get(port, "/half").expect("an answer").body, bytes);
    assert_eq!(get(port, "/gone").expect("an answer").status, 410);
    assert_eq!(get(port, "/none").expect("an answer").status, 404);
    assert_eq!(files.requests().len(), 5);
}

#[test]
fn the_file_server_speaks_tls_with_a_certificate_of_its_own_authority() {
    let world = world!();
    let authority = Authority::new(&world, "ca");
    let files = HttpFiles::with_tls(&authority);
    let uri = files.put("image.hex", "bytes");
    let tls = openssl_client(&authority, &uri);
    assert!(tls.contains("200 OK") && tls.ends_with("bytes"), "{tls}");
}

/// What the openssl program says when it fetches a URI and trusts only this authority.
fn openssl_client(authority: &Authority, uri: &str) -> String {
    let address = uri.trim_start_matches("https://").split('/').next().expect("a URI has a host");
    let script = format!(
        "printf 'GET /image.hex HTTP/1.1\\r\\nConnection: close\\r\\n\\r\\n' | timeout 20 openssl s_client -quiet -verify_return_error \
         -CAfile '{}' -connect {address} 2>/dev/null",
        authority.certificate().display()
    );
    let output = std::process::Command::new("sh").args(["-c", &script]).output().expect("sh runs");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn an_unprivileged_board_belongs_to_its_user() {
    use std::os::unix::fs::MetadataExt as _;
    let world = world!().unprivileged();
    let board = world.uno("uno-1.2.0.hex");
    assert_eq!(board.banner(), "ID board=uno fw=1.2.0");
    let owner = fs::metadata(board.port()).expect("the port").uid();
    assert_ne!(owner, 0);
}
