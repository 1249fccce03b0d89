//! Images looked into before state 2: what fits, what is damaged, what is for another board, what is too large.

use std::path::PathBuf;

use nuncio::device::{Damage, ImageFormat, ImageInfo, ImageRules};
use nuncio::update::inspect::inspect;
use sha2::{Digest, Sha256};

use crate::support::{FLASH_SIZE, avr_rules, elf_file, esp_image, esp8266_image, hex_file, hex_record};

const ESP32C3: u16 = 5;

fn esp_rules(chip: u16) -> ImageRules {
    ImageRules {
        formats: vec![ImageFormat::EspImage],
        max_size: 1 << 20,
        esp_chip_id: Some(chip),
        ..ImageRules::default()
    }
}

fn esp8266_rules() -> ImageRules {
    ImageRules { esp8266_header: true, esp_chip_id: None, ..esp_rules(0) }
}

fn look(bytes: &[u8], rules: &ImageRules) -> Result<ImageInfo, Damage> {
    let folder = tempfile::tempdir().expect("a folder");
    let path: PathBuf = folder.path().join("image");
    std::fs::write(&path, bytes).expect("a file");
    inspect(&path, rules)
}

fn corrupt(bytes: &[u8], rules: &ImageRules) {
    let found = look(bytes, rules);
    assert!(matches!(found, Err(Damage::Corrupt(_))), "{found:?}");
}

fn foreign(bytes: &[u8], rules: &ImageRules) {
    let found = look(bytes, rules);
    assert!(matches!(found, Err(Damage::WrongTarget(_))), "{found:?}");
}

fn too_large(bytes: &[u8], rules: &ImageRules) {
    let found = look(bytes, rules);
    assert!(matches!(found, Err(Damage::TooLarge(_))), "{found:?}");
}

/// The counts are those that avrdude 7.1 printed as "bytes of flash verified" for files of this shape.
#[test]
fn the_bytes_of_a_hex_are_its_data_bytes_also_across_gaps() {
    let counting = |length: u8| (0..length).collect::<Vec<u8>>();
    let info = look(hex_file(&[(0, counting(100)), (0x400, counting(50))]).as_bytes(), &avr_rules()).expect("fits");
    assert_eq!((info.format, info.flash_bytes), (ImageFormat::Ihex, 150));
    assert_eq!(info.ranges, [(0, 100), (0x400, 0x432)]);
    let info = look(hex_file(&[(0, counting(20)), (30, counting(10))]).as_bytes(), &avr_rules()).expect("fits");
    assert_eq!(info.flash_bytes, 30);
    let erased = look(hex_file(&[(0, counting(100)), (0x200, vec![0xff; 20])]).as_bytes(), &avr_rules());
    assert_eq!(erased.expect("fits").flash_bytes, 120);
}

#[test]
fn records_of_a_hex_may_come_in_any_order_and_in_segments() {
    let text = [
        hex_record(0, 4, &[0, 0]),
        hex_record(0x20, 0, &[1; 16]),
        hex_record(0x10, 0, &[2; 16]),
        hex_record(0, 2, &[0, 4]),
        hex_record(0, 0, &[3; 4]),
        hex_record(0, 5, &[0, 0, 0, 0]),
        ":00000001FF".to_owned(),
    ];
    let info = look((text.join("\n") + "\n\n").as_bytes(), &avr_rules()).expect("fits");
    assert_eq!(info.ranges, [(0x10, 0x30), (0x40, 0x44)]);
}

#[test]
fn a_damaged_hex_is_refused() {
    let whole = hex_file(&[(0, vec![5; 64])]);
    look(whole.as_bytes(), &avr_rules()).expect("fits");
    corrupt(whole.replace(":00000001FF\r\n", "").as_bytes(), &avr_rules());
    corrupt(&whole.as_bytes()[..whole.len() / 2], &avr_rules());
    corrupt(whole.replacen("0505", "0506", 1).as_bytes(), &avr_rules());
    corrupt(whole.replacen("0505", "05x5", 1).as_bytes(), &avr_rules());
    corrupt((whole.clone() + &whole).as_bytes(), &avr_rules());
    corrupt((whole.clone() + "rubbish\n").as_bytes(), &avr_rules());
    corrupt(hex_file(&[(0, vec![1; 16]), (8, vec![1; 16])]).as_bytes(), &avr_rules());
    corrupt(hex_file(&[]).as_bytes(), &avr_rules());
    corrupt(b"", &avr_rules());
    corrupt(format!("{}\n{}", hex_record(0, 0, &[1]), ":".repeat(5000)).as_bytes(), &avr_rules());
}

#[test]
fn a_hex_that_reaches_into_the_boot_loader_is_too_large() {
    let end = u16::try_from(FLASH_SIZE).expect("a small flash");
    look(hex_file(&[(end - 16, vec![1; 16])]).as_bytes(), &avr_rules()).expect("fits to the last byte");
    too_large(hex_file(&[(end - 8, vec![1; 16])]).as_bytes(), &avr_rules());
    let far = [hex_record(0, 4, &[0, 1]), hex_record(0, 0, &[1]), ":00000001FF".to_owned()].join("\n");
    too_large(far.as_bytes(), &avr_rules());
    let low = ImageRules { min_address: 0x100, ..avr_rules() };
    foreign(hex_file(&[(0, vec![1; 16])]).as_bytes(), &low);
}

/// avrdude 7.1 verified 172 bytes of an ELF with 166 of program, 6 of data, 7 of EEPROM and 3 fuses.
#[test]
fn an_elf_counts_what_goes_to_flash_by_physical_address() {
    let elf = elf_file(83, &[(0, 166), (166, 6), (0x81_0000, 7), (0x82_0000, 3)]);
    let info = look(&elf, &avr_rules()).expect("fits");
    assert_eq!((info.format, info.flash_bytes), (ImageFormat::Elf, 172));
    assert_eq!(info.ranges, [(0, 172)]);
    foreign(&elf_file(40, &[(0, 100)]), &avr_rules());
    let mut of_a_larger_chip = elf.clone();
    of_a_larger_chip[36] = 0x86;
    foreign(&of_a_larger_chip, &avr_rules());
    too_large(&elf_file(83, &[(0, 33_000)]), &avr_rules());
    corrupt(&elf[..elf.len() - 1], &avr_rules());
    corrupt(&elf[..40], &avr_rules());
    corrupt(&elf_file(83, &[(0x81_0000, 7)]), &avr_rules());
}

#[test]
fn an_esp_image_tells_its_version_and_project() {
    let image = esp_image(ESP32C3, "2.1.0", "pump", 5000);
    let info = look(&image, &esp_rules(ESP32C3)).expect("fits");
    assert_eq!(info.format, ImageFormat::EspImage);
    assert_eq!(info.flash_bytes, image.len() as u64);
    assert_eq!((info.version.as_deref(), info.project.as_deref()), (Some("2.1.0"), Some("pump")));
}

#[test]
fn an_esp_image_for_another_chip_or_too_large_is_refused() {
    let image = esp_image(ESP32C3, "1", "p", 5000);
    foreign(&image, &esp_rules(0));
    foreign(&image, &esp8266_rules());
    foreign(&esp8266_image(3000), &esp_rules(ESP32C3));
    too_large(&image, &ImageRules { max_size: 4000, ..esp_rules(ESP32C3) });
    foreign(&image, &avr_rules());
    foreign(hex_file(&[(0, vec![1; 4])]).as_bytes(), &esp_rules(ESP32C3));
}

#[test]
fn a_damaged_esp_image_is_refused() {
    let image = esp_image(ESP32C3, "1", "p", 5000);
    for length in [2, 20, 30, 1000, image.len() - 40, image.len() - 1] {
        corrupt(&image[..length], &esp_rules(ESP32C3));
    }
    for at in [0x18 + 8 + 0x90, image.len() - 33, image.len() - 1] {
        let mut flipped = image.clone();
        flipped[at] ^= 1;
        corrupt(&flipped, &esp_rules(ESP32C3));
    }
    let mut longer = image.clone();
    longer.extend([0xff; 100]);
    corrupt(&longer, &esp_rules(ESP32C3));
    let mut many = image;
    many[1] = 200;
    corrupt(&many, &esp_rules(ESP32C3));
}

#[test]
fn a_signed_esp_image_is_taken_and_a_boot_loader_is_not() {
    let mut signed = esp_image(ESP32C3, "1", "p", 5000);
    signed.resize(signed.len().next_multiple_of(4096), 0xff);
    signed.extend([0xe7, 0x02]);
    signed.resize(signed.len().next_multiple_of(4096), 0);
    look(&signed, &esp_rules(ESP32C3)).expect("fits");

    let mut loader = esp_image(ESP32C3, "1", "p", 5000);
    loader[0x20] = 0x50;
    loader[0x28] = b'v';
    crate::support::seal_esp(&mut loader);
    foreign(&loader, &esp_rules(ESP32C3));
}

#[test]
fn an_esp8266_image_may_follow_its_second_stage_loader() {
    let program = esp8266_image(3000);
    look(&program, &esp8266_rules()).expect("fits");
    let mut both = esp8266_image(600);
    both.resize(0x1000, 0xaa);
    both.extend(&program);
    look(&both, &esp8266_rules()).expect("fits");
    corrupt(&both[..both.len() - 20], &esp8266_rules());
    corrupt(&both[..0x1000], &esp8266_rules());
    let last = both.len() - 1;
    both[last] ^= 1;
    corrupt(&both, &esp8266_rules());
}

#[test]
fn raw_bytes_are_taken_only_where_the_board_says_so() {
    let raw = ImageRules { formats: vec![ImageFormat::Raw], max_size: 64, ..ImageRules::default() };
    for bytes in [&b"\x00\x20\x00\x20rest"[..], b"\xe9\x01\x02", b":not a hex"] {
        assert_eq!(look(bytes, &raw).expect("fits").format, ImageFormat::Raw);
        foreign(b"\x00\x20\x00\x20rest", &avr_rules());
    }
    too_large(&[7; 65], &raw);
    foreign(hex_file(&[(0, vec![1; 4])]).as_bytes(), &raw);
    foreign(&elf_file(40, &[(0, 4)]), &raw);
    foreign(b"UF2\nxxxx", &avr_rules());
}

#[test]
fn no_bytes_at_all_make_the_check_panic() {
    let mut seed = 0x1234_5678_u64;
    let mut images = vec![esp_image(ESP32C3, "1", "p", 300), esp8266_image(200), elf_file(83, &[(0, 60), (100, 20)])];
    images.push(hex_file(&[(0, vec![9; 50])]).into_bytes());
    let rules = [avr_rules(), esp_rules(ESP32C3), esp8266_rules()];
    for round in 0..3000 {
        let mut image = images[round % images.len()].clone();
        for _ in 0..1 + round % 7 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = usize::try_from(seed >> 33).expect("31 bits") % image.len();
            image[at] = seed.to_le_bytes()[3];
        }
        let _ = look(&image, &rules[round % rules.len()]);
    }
}

#[test]
fn the_helper_builds_images_as_the_vendor_does() {
    let image = esp_image(ESP32C3, "1", "p", 100);
    let (body, digest) = image.split_at(image.len() - 32);
    assert_eq!(Sha256::digest(body)[..], *digest);
    assert_eq!(body.len() % 16, 0);
}
