//! Board files: the built-in ones, a user's folder over them, and what is said of mistakes.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use nuncio::boards::Catalogue;
use nuncio::device::{BoardId, Enter, ImageFormat, RebootMethod, VersionQuestion};

const PUMP: &str = r#"schema = 1
[board.pump]
name = "Pump controller"
match = [{ vid = "1234", pid = "5678", strength = "strong" }]
[board.pump.flash]
vars = { mcu = "m328p", baud = "19200" }
image = { formats = ["ihex"], max_size = 1000 }
expect_return = "3s"
timeout = "1m"
"#;

const FLASHED: [&str; 9] = [
    "arduino-leonardo",
    "arduino-mega2560",
    "arduino-micro",
    "arduino-nano",
    "arduino-uno",
    "esp32",
    "esp32c3",
    "esp32s3",
    "esp8266",
];
const LOOKED_AFTER: &[&str] = &[
    "arduino-ota",
    "bbc-microbit",
    "bbc-microbit-v2",
    "ble-environment",
    "esphome",
    "mcumgr-ble",
    "mcumgr-serial",
    "mcumgr-udp",
    "nordic-dfu",
    "rp2040-bootsel",
    "rp2350-bootsel",
    "shelly",
    "shelly-1",
    "tasmota",
    "wled",
];
const ALL: usize = FLASHED.len() + LOOKED_AFTER.len();

fn overlay(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

fn load(folder: &tempfile::TempDir) -> Catalogue {
    Catalogue::load(Some(folder.path())).unwrap_or_else(|errors| panic!("{errors:?}"))
}

#[test]
fn the_built_in_boards_are_whole() {
    let catalogue = Catalogue::load(None).expect("good");
    let ids: BTreeSet<&str> = catalogue.boards().map(BoardId::as_str).collect();
    assert_eq!(ids, FLASHED.into_iter().chain(LOOKED_AFTER.iter().copied()).collect());
    for id in catalogue.boards() {
        let profile = catalogue.profile(id).expect("a profile");
        let flashed = FLASHED.contains(&id.as_str());
        assert_eq!(catalogue.is_flashable(id), flashed, "{id}");
        assert!(
            !flashed
                || (profile.reboot != RebootMethod::None || profile.enter == Enter::Touch1200)
                    && !profile.version.is_empty()
                    && profile.vars.contains_key("baud")
        );
        assert!(catalogue.source(id).expect("a file").starts_with("(built in) boards.d"));
    }
    let uno = catalogue.profile(&BoardId::new("arduino-uno")).expect("a profile");
    assert_eq!((uno.image.max_size, uno.image.elf_machine), (0x7E00, Some(83)));
    let nano = catalogue.profiles(&BoardId::new("arduino-nano"));
    let bauds: Vec<&str> = nano.iter().map(|profile| profile.vars["baud"].as_str()).collect();
    assert_eq!((bauds, nano[0].image.max_size), (vec!["115200", "57600"], 0x7800));
    let mega = catalogue.profile(&BoardId::new("arduino-mega2560")).expect("a profile");
    assert_eq!((mega.image.max_size, mega.vars["programmer"].as_str()), (0x3E000, "wiring"));
    let c3 = catalogue.profile(&BoardId::new("esp32c3")).expect("a profile");
    assert_eq!((c3.image.esp_chip_id, &c3.image.formats[..]), (Some(5), &[ImageFormat::EspImage][..]));
    assert!(c3.version.iter().any(|step| matches!(step, VersionQuestion::EspAppDesc { offset: 0x10000, .. })));
}

#[test]
fn every_embedded_file_of_the_folder_is_listed() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/boards.d");
    let embedded = fs::read_to_string(folder.join("embedded.rs")).expect("there");
    for entry in fs::read_dir(&folder).expect("there") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(".toml") || embedded.contains(&format!("include_str!(\"{name}\")")), "{name}");
    }
}

#[test]
fn a_users_folder_adds_boards_and_replaces_files_by_name() {
    let other_uno = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("config/boards.d/arduino-uno.toml"))
        .expect("there")
        .replace("32256", "32000");
    let folder = overlay(&[("pump.toml", PUMP), ("arduino-uno.toml", &other_uno), ("notes.txt", "no board")]);
    let catalogue = load(&folder);
    let pump = BoardId::new("pump");
    assert_eq!(catalogue.profile(&pump).expect("a profile").vars["baud"], "19200");
    assert_eq!(catalogue.source(&pump), Some(folder.path().join("pump.toml").as_path()));
    assert_eq!(catalogue.profile(&BoardId::new("arduino-uno")).expect("a profile").image.max_size, 32_000);
}

#[test]
fn a_users_board_replaces_the_built_in_one_of_the_same_id_in_whatever_file() {
    let text = PUMP.replace("board.pump", "board.arduino-uno");
    let catalogue = load(&overlay(&[("mine.toml", &text)]));
    assert_eq!(catalogue.name(&BoardId::new("arduino-uno")), Some("Pump controller"));
    assert_eq!(catalogue.boards().count(), ALL);
}

#[test]
fn two_boards_that_claim_the_same_ids_are_an_error_that_names_both() {
    let text = PUMP.replace("1234", "2341").replace("5678", "0043");
    let errors = Catalogue::load(Some(overlay(&[("pump.toml", &text)]).path())).expect_err("a conflict");
    assert_eq!(errors.len(), 1, "{errors:?}");
    let error = &errors[0];
    assert!(error.file.ends_with("pump.toml"), "{error}");
    assert_eq!((error.line, error.key.as_str()), (4, "board.pump.match[0]"));
    for part in ["`pump`", "`arduino-uno`", "(built in)", "2341:0043"] {
        assert!(error.message.contains(part), "{error}");
    }
}

#[test]
fn one_board_in_two_files_is_an_error() {
    let folder = overlay(&[("a.toml", PUMP), ("b.toml", PUMP)]);
    let errors = Catalogue::load(Some(folder.path())).expect_err("twice");
    assert!(errors[0].file.ends_with("b.toml") && errors[0].message.contains("a.toml"), "{:?}", errors[0]);
}

#[test]
fn all_bad_files_are_told_at_once() {
    let folder = overlay(&[("a.toml", "schema = 1\nbord = 2"), ("b.toml", "schema = "), ("c.toml", PUMP)]);
    let errors = Catalogue::load(Some(folder.path())).expect_err("bad");
    let lines: Vec<(usize, &str)> = errors.iter().map(|error| (error.line, error.key.as_str())).collect();
    assert_eq!(lines, [(2, "bord"), (1, "")], "{errors:?}");
}

#[test]
fn a_folder_that_is_not_there_is_no_error() {
    let nowhere = Path::new("/nonexistent/nuncio");
    assert_eq!(Catalogue::load(Some(nowhere)).expect("good").boards().count(), ALL);
}
