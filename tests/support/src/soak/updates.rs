//! An update a minute of the one board that can be flashed, by each of three servers in turn, carried through to its proof.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::run::Shared;
use crate::{Leshan, PushFormat, SimBoard, avr_image};

const EACH: Duration = Duration::from_secs(60);
/// Many times what each part takes.
const REGISTRATION: Duration = Duration::from_secs(180);
const STAGING: Duration = Duration::from_secs(120);
const FLASH: Duration = Duration::from_secs(300);
const LOOK: Duration = Duration::from_millis(500);
/// Seconds that a server waits for an answer.
const ANSWER: u32 = 20;
/// After so many updates the board is unplugged for a while.
const UNPLUGGED: u32 = 5;

/// Images by turns; they differ in nearly every byte.
const IMAGES: [(&str, &str); 2] = [("uno-1.3.0-4k.hex", "1.3.0"), ("uno-1.2.0-4k.hex", "1.2.0")];

pub(super) struct Updates<'a> {
    pub(super) shared: &'a Shared,
    pub(super) servers: [&'static Leshan; 2],
    pub(super) board: &'a SimBoard,
    pub(super) name: &'a str,
    /// The built-in server's folder for this board.
    pub(super) drop: PathBuf,
}

impl Updates<'_> {
    /// Until the soak is over.
    pub(super) fn live(&self) {
        let began = Instant::now();
        for number in 0_u32.. {
            let due = (EACH * number).saturating_sub(began.elapsed());
            if !self.shared.pause(due) {
                return;
            }
            let (image, version) = IMAGES[number as usize % 2];
            let by = ["factory", "cloud", "builtin"][number as usize % 3];
            self.shared.record.event("begun", self.name, &format!("{number} {version} by {by}"));
            self.shared.tally(|tally| tally.begun += 1);
            let start = Instant::now();
            match self.update(number, &avr_image(image), version) {
                Ok(()) => {
                    let took = start.elapsed().as_secs_f64();
                    self.shared.record.event("proven", self.name, &format!("{number} in {took:.1} s"));
                    self.shared.tally(|tally| tally.proven += 1);
                }
                Err(why) => {
                    self.shared.record.event("failed", self.name, &format!("{number}: {why}"));
                    self.shared.tally(|tally| tally.failed += 1);
                }
            }
            if number % UNPLUGGED == UNPLUGGED - 1 {
                self.board.unplug();
                self.shared.record.event("went", self.name, "");
                self.shared.pause(Duration::from_secs(5 + u64::from(number) % 15));
                self.board.plug();
                self.shared.record.event("came", self.name, "");
            }
        }
    }

    fn update(&self, number: u32, image: &Path, version: &str) -> Result<(), String> {
        until("both servers know the board", REGISTRATION, || {
            self.servers.iter().all(|server| server.client(self.name).is_some())
        })?;
        let asker = number as usize % 3;
        match self.servers.get(asker) {
            Some(server) => {
                let format = if number.is_multiple_of(2) { PushFormat::Opaque } else { PushFormat::Tlv };
                self.push(server, image, format)?;
            }
            None => self.lay(number, image)?,
        }
        for server in self.servers {
            let (mut state, mut result) = (String::new(), String::new());
            until("the update is at rest", FLASH, || {
                (state, result) = (self.reads(server, "5/0/3"), self.reads(server, "5/0/5"));
                matches!(&*state, "0" | "2") && result != "11"
            })?;
            if (&*state, &*result) != ("0", "1") {
                return Err(format!("5/0/3 is {state}, 5/0/5 is {result}; {}", load()));
            }
            until("both servers read the version", REGISTRATION, || self.reads(server, "3/0/3") == version)?;
        }
        if self.board.holds(image) { Ok(()) } else { Err("the board does not hold the image".to_owned()) }
    }

    fn push(&self, server: &Leshan, image: &Path, format: PushFormat) -> Result<(), String> {
        let bytes = fs::read(image).map_err(|error| error.to_string())?;
        let answer = server.try_push(self.name, &bytes, format).ok_or("the server does not answer a push")?;
        is_changed(answer.code, &answer.body)?;
        until("the image is staged", STAGING, || self.reads(server, "5/0/3") == "2")?;
        let answer = server.try_ask("POST", self.name, "5/0/2", "text/plain", &[], ANSWER);
        let answer = answer.ok_or("the server does not answer an Execute")?;
        is_changed(answer.code, &answer.body)?;
        until("the update begins", STAGING, || self.reads(server, "5/0/3") != "2")
    }

    /// Lays the image into the drop folder, and takes away what is left of it afterwards, as people do.
    fn lay(&self, number: u32, image: &Path) -> Result<(), String> {
        let name = format!("soak-{number}.hex");
        until("the board's folder is there", REGISTRATION, || self.drop.is_dir())?;
        fs::copy(image, self.drop.join(&name)).map_err(|error| error.to_string())?;
        let file = self.drop.join(format!("{name}.result"));
        let told = || fs::read_to_string(&file).ok().filter(|text| !text.starts_with("waiting"));
        until("the dropped image has a result", FLASH, || told().is_some())?;
        let told = told().unwrap_or_default();
        fs::remove_file(&file).map_err(|error| error.to_string())?;
        if !told.starts_with("ok:") {
            return Err(told);
        }
        fs::remove_file(self.drop.join("done").join(&name)).map_err(|error| error.to_string())
    }

    fn reads(&self, server: &Leshan, path: &str) -> String {
        let answer = server.try_ask("GET", self.name, path, "", &[], ANSWER);
        answer.filter(|answer| answer.code == 205).map(|answer| answer.text()).unwrap_or_default()
    }
}

/// A simulated board on a machine that has no time for it loses bytes.
pub(super) fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!("the load of the machine is {}", text.split(' ').next().unwrap_or_default())
}

fn is_changed(code: u16, body: &serde_json::Value) -> Result<(), String> {
    if code == 204 { Ok(()) } else { Err(format!("answered {code}: {body}")) }
}

fn until(what: &str, within: Duration, mut is: impl FnMut() -> bool) -> Result<(), String> {
    let began = Instant::now();
    while !is() {
        if began.elapsed() > within {
            return Err(format!("not within {within:?}: {what}"));
        }
        std::thread::sleep(LOOK);
    }
    Ok(())
}
