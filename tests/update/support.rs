//! Boards, images and settings that the tests of `update` share.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use nuncio::device::{
    BoardId, ElfFlags, Enter, Exclusive, FlashProfile, ImageFormat, ImageInfo, ImageRules, ListenQuestion,
    RebootMethod, ReportedVersion, Requester, RetryRules, RollbackPolicy, Sha256Digest, StagedImage, VersionQuestion,
    WayBack,
};
use nuncio::update::{AfterCrash, DownloadSettings, SignaturePolicy, UpdateSettings};
use sha2::Digest;

pub(crate) const SOAK: Duration = Duration::from_secs(2);
pub(crate) const RETURN: Duration = Duration::from_secs(10);
pub(crate) const PUSH_TIMEOUT: Duration = Duration::from_secs(60);
pub(crate) const FLASH_SIZE: u64 = 32_256;

pub(crate) fn server(short_id: u16) -> Requester {
    Requester::Server { short_id, name: format!("server-{short_id}") }
}

pub(crate) fn settings() -> UpdateSettings {
    UpdateSettings {
        after_crash: AfterCrash::Finish,
        owner_timeout: Duration::from_secs(3600),
        staged_timeout: Duration::from_secs(24 * 3600),
        push_timeout: PUSH_TIMEOUT,
        max_parallel: 8.try_into().expect("not zero"),
        window: Vec::new(),
        brake_after: 3,
        canary: false,
        signatures: SignaturePolicy::IfPresent,
        keys: "/nowhere".into(),
    }
}

pub(crate) fn download_settings(allow: &[&str]) -> DownloadSettings {
    DownloadSettings {
        allow: allow.iter().map(|&text| text.to_owned()).collect(),
        max_size: 1 << 20,
        ca: Vec::new(),
        stalled: Duration::from_secs(20),
        retries: 3,
        redirects: 3,
    }
}

pub(crate) fn listen() -> ListenQuestion {
    ListenQuestion {
        baud: 9600,
        banners: vec!["fw=(?P<version>.*)".into()],
        firmata: false,
        reset: false,
        within: Duration::from_secs(5),
    }
}

pub(crate) fn avr_rules() -> ImageRules {
    ImageRules {
        formats: vec![ImageFormat::Ihex, ImageFormat::Elf],
        max_size: FLASH_SIZE,
        min_address: 0,
        elf_machine: Some(83),
        elf_flags: Some(ElfFlags { mask: 0x7f, value: 5 }),
        esp_chip_id: None,
        esp8266_header: false,
    }
}

/// A board that can tell its version by `questions` questions.
pub(crate) fn profile(questions: usize, soak: Duration) -> Arc<FlashProfile> {
    Arc::new(FlashProfile {
        board: BoardId::new("test-board"),
        image: avr_rules(),
        vars: [("mcu".to_owned(), "m1".to_owned())].into(),
        expect_return: RETURN,
        soak,
        version: (0..questions).map(|_| VersionQuestion::Listen(listen())).collect(),
        reboot: RebootMethod::Open,
        enter: Enter::Tool,
        timeout: Duration::from_secs(100),
        retries: RetryRules { max: 1, ..RetryRules::default() },
        alternatives: Vec::new(),
        rollback: RollbackPolicy::OnRequest,
        way_back: WayBack::PreviousImage,
        exclusive: Exclusive::Port,
    })
}

pub(crate) fn image(version: Option<&str>) -> StagedImage {
    StagedImage {
        path: PathBuf::from("/nowhere/image.img"),
        size: 1000,
        sha256: Sha256Digest([7; 32]),
        version: version.map(str::to_owned),
        info: ImageInfo {
            format: ImageFormat::Ihex,
            flash_bytes: 400,
            ranges: vec![(0, 400)],
            version: None,
            project: None,
        },
        signed_by: None,
    }
}

pub(crate) fn version(text: &str) -> ReportedVersion {
    ReportedVersion { text: text.to_owned(), source: "banner".to_owned() }
}

/// One line of Intel HEX.
pub(crate) fn hex_record(address: u16, kind: u8, data: &[u8]) -> String {
    let mut bytes = vec![u8::try_from(data.len()).expect("a short record")];
    bytes.extend(address.to_be_bytes());
    bytes.push(kind);
    bytes.extend(data);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg();
    bytes.push(sum);
    bytes.iter().fold(String::from(":"), |line, byte| format!("{line}{byte:02X}"))
}

/// A whole HEX file of `(address, data)`.
pub(crate) fn hex_file(parts: &[(u16, Vec<u8>)]) -> String {
    let mut text = String::new();
    for (address, data) in parts {
        for (index, row) in data.chunks(16).enumerate() {
            let at = address + u16::try_from(index * 16).expect("a small file");
            text += &(hex_record(at, 0, row) + "\r\n");
        }
    }
    text + ":00000001FF\r\n"
}

/// avr5, linked with relaxation.
const ELF_FLAGS: u32 = 0x85;

/// An ELF of 32 bits with loadable segments of `(physical address, length)`.
pub(crate) fn elf_file(machine: u16, segments: &[(u32, u32)]) -> Vec<u8> {
    let mut out = b"\x7fELF\x01\x01\x01".to_vec();
    out.resize(16, 0);
    let half = |out: &mut Vec<u8>, value: u16| out.extend(value.to_le_bytes());
    let word = |out: &mut Vec<u8>, value: u32| out.extend(value.to_le_bytes());
    half(&mut out, 2);
    half(&mut out, machine);
    [1, 0, 52, 0, ELF_FLAGS].into_iter().for_each(|value| word(&mut out, value));
    let count = u16::try_from(segments.len()).expect("few segments");
    [52, 32, count, 40, 0, 0].into_iter().for_each(|value| half(&mut out, value));
    let mut at = 52 + 32 * u32::from(count);
    for (address, length) in segments {
        [1, at, *address, *address, *length, *length, 5, 1].into_iter().for_each(|value| word(&mut out, value));
        at += length;
    }
    out.resize(at as usize, 0x5a);
    out
}

/// An application image with an application descriptor, two segments, checksum and digest.
pub(crate) fn esp_image(chip: u16, version: &str, project: &str, length: usize) -> Vec<u8> {
    let mut out = vec![0; 24];
    (out[0], out[1], out[0x17]) = (0xe9, 2, 1);
    out[0x0c..0x0e].copy_from_slice(&chip.to_le_bytes());
    let mut first = vec![0; 256];
    first[..4].copy_from_slice(&0xabcd_5432_u32.to_le_bytes());
    first[0x10..0x10 + version.len()].copy_from_slice(version.as_bytes());
    first[0x30..0x30 + project.len()].copy_from_slice(project.as_bytes());
    esp_segment(&mut out, &first);
    esp_segment(&mut out, &vec![0x3c; length]);
    out.resize(out.len() / 16 * 16 + 16, 0);
    out.resize(out.len() + 32, 0);
    seal_esp(&mut out);
    out
}

/// Puts checksum and digest right.
pub(crate) fn seal_esp(image: &mut [u8]) {
    let end = image.len() - 32;
    image[end - 1] = esp_sum(&image[..end], 24);
    let digest = sha2::Sha256::digest(&image[..end]);
    image[end..].copy_from_slice(&digest);
}

/// An image with the old, short header.
pub(crate) fn esp8266_image(length: usize) -> Vec<u8> {
    let mut out = vec![0xe9, 1, 0, 0, 0, 0, 0x10, 0x40];
    esp_segment(&mut out, &vec![0x21; length]);
    out.resize(out.len() / 16 * 16 + 16, 0);
    let end = out.len();
    out[end - 1] = esp_sum(&out, 8);
    out
}

fn esp_segment(out: &mut Vec<u8>, data: &[u8]) {
    out.extend(0x4000_0000_u32.to_le_bytes());
    out.extend(u32::try_from(data.len()).expect("a small segment").to_le_bytes());
    out.extend(data);
}

fn esp_sum(image: &[u8], header: usize) -> u8 {
    let (mut sum, mut at) = (0xef, header);
    for _ in 0..image[1] {
        let length = u32::from_le_bytes(image[at + 4..at + 8].try_into().expect("four bytes")) as usize;
        sum = image[at + 8..at + 8 + length].iter().fold(sum, |sum, byte| sum ^ byte);
        at += 8 + length;
    }
    sum
}
