//! Questions over a serial link, against scripted boards on ptys.

mod serial_support;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nuncio::device::{Answer, Evidence, ListenQuestion, ProgramQuestion, Question, QuestionFailed, RebootMethod};
use serial_support::{board, lease, pty, talker, transport};

fn listen(banner: &str, firmata: bool, within: Duration) -> Question {
    let banners = if banner.is_empty() { Vec::new() } else { vec![banner.to_owned()] };
    Question::Listen(ListenQuestion { baud: 115_200, banners, firmata, reset: false, within })
}

async fn ask(path: &std::path::Path, question: Question) -> Result<Answer, QuestionFailed> {
    let (handle, _events) = transport();
    let (lease, answer) = handle.ask(lease(path), question).await;
    assert_eq!(lease.link().serial_path(), Some(path), "the lease comes back");
    answer
}

#[tokio::test]
async fn a_banner_tells_the_version() {
    let path = talker(b"boot\r\nID board=uno fw=1.2.0\r\n");
    let answer = ask(&path, listen(r"^ID board=\S+ fw=(?P<version>\S+)", true, Duration::from_secs(30))).await;
    let version = answer.expect("answered").version.expect("a version");
    assert_eq!((version.text.as_str(), version.source.as_str()), ("1.2.0", "banner"));
}

#[tokio::test]
async fn a_program_that_says_nothing_is_listened_to_for_the_given_time_only() {
    let path = board(|_| Vec::new());
    let began = Instant::now();
    let answer = ask(&path, listen("(?P<version>x)", false, Duration::from_millis(300))).await;
    assert_eq!(answer, Ok(Answer::default()));
    assert!(began.elapsed() >= Duration::from_millis(300) && began.elapsed() < Duration::from_secs(10));
}

#[tokio::test]
async fn a_flood_without_an_end_is_bounded() {
    let path = talker(&[b'x'; 4000]);
    let began = Instant::now();
    assert_eq!(ask(&path, listen("^y(?P<version>)", true, Duration::from_secs(100))).await, Ok(Answer::default()));
    assert!(began.elapsed() < Duration::from_secs(60), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_silent_firmata_is_asked_once_after_four_seconds() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let path = board(move |heard| match heard {
        [0xF0, 0x79, 0xF7] => {
            count.fetch_add(1, Ordering::SeqCst);
            vec![0xF0, 0x79, 2, 5, b'A', 0, b'b', 0, 0xF7]
        }
        [0xF0, 0x69, 0xF7] => [&[0xF0, 0x6A][..], &[127; 14], &[0, 1, 2, 3, 4, 5, 0xF7]].concat(),
        _ => Vec::new(),
    });
    let began = Instant::now();
    let answer = ask(&path, listen("", true, Duration::from_secs(30))).await.expect("answered");
    assert!(began.elapsed() >= Duration::from_secs(4), "{:?}", began.elapsed());
    let expected = Evidence::Firmata { name: "Ab".to_owned(), major: 2, minor: 5, pins: Some(20) };
    assert_eq!(answer.evidence, [expected]);
    assert_eq!(answer.version.expect("a version").text, "2.5");
    assert_eq!(asked.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn an_stk500_bootloader_tells_its_signature() {
    // The first tries fall into the bootloader's start.
    let mut tries = 0;
    let path = board(move |heard| match heard {
        [0x30, 0x20] if tries < 2 => {
            tries += 1;
            Vec::new()
        }
        [0x75, 0x20] => vec![0x14, 0x1E, 0x95, 0x0F, 0x10],
        _ => vec![0x14, 0x10],
    });
    let answer = ask(&path, Question::Stk500 { baud: 57_600 }).await.expect("answered");
    let bytes = [0x1E, 0x95, 0x0F];
    assert_eq!(answer.evidence, [Evidence::Signature { protocol: "stk500".to_owned(), bytes, baud: 57_600 }]);
}

#[tokio::test]
async fn a_chattering_program_is_no_bootloader() {
    let path = talker(b"\x14\x10ID board=uno fw=1.2.0\r\n");
    for question in [
        Question::Stk500 { baud: 115_200 },
        Question::Stk500v2 { baud: 115_200 },
        Question::EspRom { baud: 115_200, app_offset: None },
    ] {
        assert_eq!(ask(&path, question.clone()).await, Ok(Answer::default()), "{question:?}");
    }
}

/// STK500 version 2 as a board answers it.
fn stk500v2(heard: &[u8]) -> Vec<u8> {
    let [0x1B, sequence, 0, length, 0x0E, body @ ..] = heard else { return Vec::new() };
    let body = match &body[..usize::from(*length)] {
        [0x01] => b"\x01\x00\x08AVRISP_2".to_vec(),
        [0x1B, _, _, _, index, _] => vec![0x1B, 0, [0x1E, 0x98, 0x01][usize::from(*index)], 0],
        [command, ..] => vec![*command, 0],
        [] => return Vec::new(),
    };
    let mut answer = vec![0x1B, *sequence, 0, u8::try_from(body.len()).expect("short"), 0x0E];
    answer.extend(body);
    answer.push(answer.iter().fold(0, |sum, byte| sum ^ byte));
    answer
}

#[tokio::test]
async fn an_stk500v2_bootloader_tells_its_signature() {
    let path = board(stk500v2);
    let answer = ask(&path, Question::Stk500v2 { baud: 115_200 }).await.expect("answered");
    let bytes = [0x1E, 0x98, 0x01];
    assert_eq!(answer.evidence, [Evidence::Signature { protocol: "stk500v2".to_owned(), bytes, baud: 115_200 }]);
}

/// A ROM loader with registers, security information and an application descriptor, all frames small enough to come
/// whole.
fn rom(heard: &[u8], magic: u32, chip: Option<u8>) -> Vec<u8> {
    let unescaped: Vec<u8> = {
        let mut bytes = heard.iter().copied();
        let mut plain = Vec::new();
        while let Some(byte) = bytes.next() {
            plain.push(match byte {
                0xDB if bytes.next() == Some(0xDC) => 0xC0,
                other => other,
            });
        }
        plain
    };
    let [0xC0, 0, op, _, _, _, _, _, _, data @ .., 0xC0] = &unescaped[..] else { return Vec::new() };
    let word = |at: usize| u32::from_le_bytes(data[at..at + 4].try_into().expect("four bytes"));
    let reply = |op: u8, value: u32, body: &[u8], status: [u8; 4]| {
        let mut packet = vec![1, op];
        packet.extend(u16::try_from(body.len() + 4).expect("short").to_le_bytes());
        packet.extend(value.to_le_bytes());
        packet.extend_from_slice(body);
        packet.extend(status);
        let mut frame = vec![0xC0];
        for byte in packet {
            match byte {
                0xC0 => frame.extend([0xDB, 0xDC]),
                0xDB => frame.extend([0xDB, 0xDD]),
                _ => frame.push(byte),
            }
        }
        frame.push(0xC0);
        frame
    };
    match (op, chip) {
        (0x08, _) => reply(0x08, 0x2012_0707, &[], [0; 4]).repeat(8),
        (0x0A, _) => {
            let value = match word(0) {
                0x4000_1000 => magic,
                0x3FF5_A004 | 0x6000_8844 => 0x28AA_BBC0,
                0x3FF5_A008 | 0x6000_8848 => 0x246F,
                _ => 0,
            };
            reply(0x0A, value, &[], [0; 4])
        }
        (0x14, Some(id)) => {
            let mut info = [0; 20];
            info[12] = id;
            reply(0x14, 0, &info, [0; 4])
        }
        (0x0B | 0x0D, _) => reply(*op, 0, &[], [0; 4]),
        (0x0E, _) if word(0) == 0x10020 => {
            let mut data = vec![0x32, 0x54, 0xCD, 0xAB];
            data.resize(16, 0);
            data.extend(b"1.4.2\0");
            data.resize(64, 0);
            reply(0x0E, 0, &data, [0; 4])
        }
        // Unknown: the operation of the last good command, and an error.
        _ => reply(0x0A, 0, &[], [1, 5, 0, 0]),
    }
}

#[tokio::test]
async fn a_rom_loader_tells_chip_address_and_version() {
    let mac = Some([0x24, 0x6F, 0x28, 0xAA, 0xBB, 0xC0]);
    for (magic, chip, name) in [
        (0x00F0_1D83, None, "ESP32"),
        (0x1B31_506F, Some(5), "ESP32-C3"),
        (0x1B31_506F, Some(99), "unknown (magic 0x1b31506f)"),
    ] {
        let path = board(move |heard| rom(heard, magic, chip));
        let question = Question::EspRom { baud: 115_200, app_offset: Some(0x10000) };
        let answer = ask(&path, question).await.expect("answered");
        let known = !name.starts_with("unknown");
        let app_version = Some("1.4.2".to_owned());
        let expected = Evidence::EspChip { chip: name.to_owned(), mac: mac.filter(|_| known), app_version };
        assert_eq!(answer.evidence, [expected]);
        assert_eq!(answer.version.expect("a version").source, "esp-app-desc");
    }
}

#[tokio::test]
async fn a_port_that_is_unplugged_while_it_is_asked_is_gone() {
    let (master, path) = pty();
    let unplug = thread::spawn(move || {
        thread::sleep(Duration::from_millis(200));
        drop(master);
    });
    assert_eq!(ask(&path, listen("(?P<version>x)", true, Duration::from_secs(60))).await, Err(QuestionFailed::Gone));
    unplug.join().expect("unplugged");
    assert_eq!(ask(&path, Question::Stk500 { baud: 115_200 }).await, Err(QuestionFailed::Gone));
}

#[tokio::test]
async fn a_restart_does_without_modem_lines_where_there_are_none() {
    let path = board(|_| Vec::new());
    let (handle, _events) = transport();
    for method in [RebootMethod::Dtr, RebootMethod::Rts, RebootMethod::Open] {
        assert_eq!(handle.restart(lease(&path), method).await.1, Ok(()), "{method:?}");
    }
    assert_eq!(handle.restart(lease(&path), RebootMethod::None).await.1, Err(QuestionFailed::Unsupported));
}

#[tokio::test]
async fn a_question_leaves_the_port_open_to_others_and_at_a_speed_they_know() {
    let path = board(|_| Vec::new());
    ask(&path, listen("(?P<version>x)", false, Duration::from_millis(50))).await.expect("asked");
    let port = std::fs::File::options().read(true).write(true).open(&path).expect("not exclusive any more");
    let termios = rustix::termios::tcgetattr(&port).expect("a tty");
    assert_eq!(termios.output_speed(), 115_200);
    // B115200, not BOTHER (0x1000): programs that know only the classic constants read it right.
    assert_eq!(termios.control_modes.bits() & 0o010_017, 0o010_002);
}

fn program(improv: bool, smp: bool, at: &[&str]) -> Question {
    let at = at.iter().map(ToString::to_string).collect();
    Question::Program(ProgramQuestion { baud: 115_200, improv, smp, at })
}

/// A program that was told to answer Improv's request for device information, transcribed from WLED 0.15's format.
fn wled(heard: &[u8]) -> Vec<u8> {
    if heard != b"IMPROV\x01\x03\x02\x03\x00\xe6\n" {
        return Vec::new();
    }
    let mut packet = b"IMPROV\x01\x04\x1d\x03\x1b\x04WLED\x060.15.0\x08ESP32-C3\x05Lampe".to_vec();
    packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
    [b"Ada\r\n".to_vec(), packet, b"\n".to_vec()].concat()
}

#[tokio::test]
async fn a_program_tells_its_firmware_by_improv() {
    let answer = ask(&board(wled), program(true, true, &["AT+VERSION=?"])).await.expect("answered");
    let told = ["WLED", "0.15.0", "ESP32-C3", "Lampe"].map(str::to_owned);
    let [firmware, version, chip, name] = told;
    assert_eq!(answer.evidence, [Evidence::Improv { firmware, version, chip, name }]);
    let version = answer.version.expect("a version");
    assert_eq!((version.text.as_str(), version.source.as_str()), ("0.15.0", "improv"));
}

/// A module that takes AT commands; what it heard goes to `log`.
fn bluno(log: Arc<Mutex<Vec<u8>>>) -> impl FnMut(&[u8]) -> Vec<u8> + Send {
    let mut mode = false;
    move |heard| {
        log.lock().expect("whole").extend_from_slice(heard);
        match heard {
            b"+++" => {
                mode = true;
                b"Enter AT Mode\r\n".to_vec()
            }
            b"AT+VERSION=?\r\n" if mode => b"V1.97\r\n".to_vec(),
            b"AT+EXIT\r\n" if mode => {
                mode = false;
                b"OK\r\n".to_vec()
            }
            _ if mode => b"ERROR CORRUPT\r\n".to_vec(),
            _ => Vec::new(),
        }
    }
}

#[tokio::test]
async fn at_commands_come_last_and_their_mode_is_left() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let path = board(bluno(Arc::clone(&log)));
    let answer = ask(&path, program(true, true, &["AT+VERSION=?"])).await.expect("answered");
    let values = [("AT+VERSION=?".to_owned(), "V1.97".to_owned())].into();
    assert_eq!(answer.evidence, [Evidence::At { values }]);
    let log = log.lock().expect("whole").clone();
    let at = |part: &[u8]| log.windows(part.len()).rposition(|window| window == part).expect("heard");
    assert!(at(b"IMPROV") < at(b"+++") && at(b"\x06\x09") < at(b"+++"), "{}", log.escape_ascii());
    assert!(log.ends_with(b"AT+EXIT\r\n"), "{}", log.escape_ascii());
}

#[tokio::test]
async fn a_program_that_is_not_understood_is_quoted_and_left_alone_in_the_end() {
    let path = talker(b"PLC v3 \x1b[1mready\r\n");
    let answer = ask(&path, program(true, true, &[])).await.expect("answered");
    let [Evidence::Said { text }] = &answer.evidence[..] else { panic!("{answer:?}") };
    assert!(text.contains("PLC v3 \u{fffd}[1mready") && text.len() < 600, "{text}");
    assert_eq!(ask(&board(|_| Vec::new()), program(true, false, &[])).await, Ok(Answer::default()));
}

#[tokio::test]
async fn a_flood_while_a_program_is_asked_is_bounded() {
    let began = Instant::now();
    let path = talker(&[b'\x06', b'\x09', b'A', b'A'].repeat(1000).leak()[..]);
    let answer = ask(&path, program(true, true, &["AT+VERSION=?"])).await.expect("answered");
    assert!(matches!(&answer.evidence[..], [Evidence::Said { .. }]), "{answer:?}");
    assert!(began.elapsed() < Duration::from_secs(120), "{:?}", began.elapsed());
}
