//! What a program tells, read by us and by those whose protocol it is: smpclient for SMP, the Improv SDK for Improv. The
//! devices are fakes of ours; that others read the same from them holds the fakes to the protocols.
//!
//! Needs the peer ask: `make peers`.

mod serial_support;

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nuncio::device::{Answer, Evidence, ProgramQuestion, Question};
use serde_json::Value;
use serial_support::{board, lease, transport};
use world::{improv_sdk, repository, smp_python};

/// A device with an SMP server on a pty; it ends with its value.
struct SmpFake {
    process: Child,
    port: PathBuf,
    _folder: tempfile::TempDir,
}

impl SmpFake {
    fn start(args: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let port = folder.path().join("tty");
        let mut command = Command::new(smp_python());
        command.arg(repository().join("tests/world/smpfake.py")).arg("--pty").arg(&port).args(args);
        let mut process = command.stdout(Stdio::piped()).spawn().expect("started");
        let mut line = String::new();
        BufReader::new(process.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
        assert_eq!(line, "ready\n");
        Self { process, port, _folder: folder }
    }
}

impl Drop for SmpFake {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn ask(port: &Path, improv: bool, smp: bool) -> Answer {
    let (handle, _events) = transport();
    let question = Question::Program(ProgramQuestion { baud: 115_200, improv, smp, at: Vec::new() });
    handle.ask(lease(port), question).await.1.expect("asked")
}

/// What a foreign reader prints: one line of JSON.
fn read_by(command: &mut Command) -> Value {
    let output = command.output().expect("started");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[tokio::test]
async fn an_smp_server_tells_us_what_it_tells_smpclient() {
    for args in [&["--info", "Zephyr app v4.2 nrf52840dk", "--prompt"][..], &["--version", "2.0.1"]] {
        let fake = SmpFake::start(args);
        let mut reader = Command::new(smp_python());
        let theirs = read_by(reader.arg(repository().join("tests/peers/smp-read.py")).arg(&fake.port));
        let answer = ask(&fake.port, true, true).await;
        let [Evidence::Smp { slots, info }] = &answer.evidence[..] else { panic!("{answer:?}") };
        let ours = serde_json::json!({ "slots": slots, "info": info });
        assert_eq!(ours, theirs);
        let active = theirs["slots"][0]["version"].as_str().expect("a version");
        assert_eq!(answer.version.expect("a version").text, active);
    }
}

/// A program that answers two requests of Improv: its state (provisioned or not), and what it is.
fn improv_program(texts: &'static [&'static str]) -> impl FnMut(&[u8]) -> Vec<u8> + Send {
    let packet = |kind: u8, data: &[u8]| {
        let length = u8::try_from(data.len()).expect("short");
        let mut packet = [&b"IMPROV\x01"[..], &[kind, length], data].concat();
        packet.push(packet.iter().fold(0, |sum: u8, byte| sum.wrapping_add(*byte)));
        packet.push(b'\n');
        packet
    };
    let mut heard = Vec::new();
    move |bytes| {
        heard.extend_from_slice(bytes);
        let Some(end) = heard.iter().rposition(|byte| *byte == b'\n') else { return Vec::new() };
        let line: Vec<u8> = heard.drain(..=end).collect();
        match line.get(6..10) {
            Some([1, 3, 2, 2]) => packet(1, &[2]),
            Some([1, 3, 2, 3]) => {
                let told: Vec<u8> = texts
                    .iter()
                    .flat_map(|text| [&[u8::try_from(text.len()).expect("short")], text.as_bytes()].concat())
                    .collect();
                let length = u8::try_from(told.len()).expect("short");
                [b"some log\r\n".to_vec(), packet(4, &[&[3, length][..], &told].concat())].concat()
            }
            _ => Vec::new(),
        }
    }
}

#[tokio::test]
async fn a_program_tells_us_by_improv_what_it_tells_the_sdk() {
    for texts in [
        &["ESPHome", "2026.10.1", "ESP32-C3", "kitchen"][..],
        &["WLED", "0.15.0", "ESP32", "d\u{fc}ne", "Arduino", "3.1"],
    ] {
        let port = board(improv_program(texts));
        let mut reader = Command::new("node");
        reader.arg(repository().join("tests/peers/improv-info.mjs")).arg(improv_sdk()).arg(&port);
        let theirs = read_by(&mut reader);
        let answer = ask(&port, true, true).await;
        let [Evidence::Improv { firmware, version, chip, name }] = &answer.evidence[..] else { panic!("{answer:?}") };
        for (ours, key) in [(firmware, "firmware"), (version, "version"), (chip, "chipFamily"), (name, "name")] {
            assert_eq!(Some(ours.as_str()), theirs[key].as_str(), "{key} in {theirs}");
        }
    }
}
