//! Passphrases: from a file, from the environment, or from whoever sits at the terminal, who sees nothing of it.

use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;

use anyhow::{Context as _, bail};
use nuncio::archive::{ArchiveError, Passphrase};
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};

/// Where it is taken from when no file is named.
const VARIABLE: &str = "NUNCIO_PASSPHRASE";
/// Longest file that is read, in bytes.
const LONGEST: u64 = 4096;
/// So often somebody may mistype it the second time.
const TRIES: u32 = 3;

/// The passphrase. `fresh`: it is asked for twice where it is typed.
pub(super) fn get(file: Option<&Path>, fresh: bool) -> anyhow::Result<Passphrase> {
    if let Some(file) = file {
        let mut text = String::new();
        let read = File::open(file).and_then(|file| file.take(LONGEST).read_to_string(&mut text));
        read.with_context(|| format!("cannot read the passphrase in {}", file.display()))?;
        return first_line(&text).with_context(|| format!("there is no passphrase in {}", file.display()));
    }
    if let Some(text) = std::env::var_os(VARIABLE) {
        let text = text.to_str().with_context(|| format!("{VARIABLE} is no text"))?;
        return first_line(text).with_context(|| format!("{VARIABLE} is empty"));
    }
    let mut terminal = Terminal::open().with_context(|| {
        format!("there is no terminal to ask for the passphrase: --passphrase-file FILE or {VARIABLE} has it")
    })?;
    for _ in 0..TRIES {
        let Some(typed) = Passphrase::new(terminal.ask("Passphrase: ")?) else { continue };
        if !fresh || Passphrase::new(terminal.ask("The same again: ")?).is_some_and(|again| again.is(&typed)) {
            return Ok(typed);
        }
        terminal.tell("They differ.\r\n")?;
    }
    bail!("no passphrase was given")
}

fn first_line(text: &str) -> Option<Passphrase> {
    Passphrase::new(text.lines().next().unwrap_or_default().to_owned())
}

/// The terminal, whatever standard input is. It is as it was when this goes.
struct Terminal {
    file: File,
    before: Termios,
}

impl Terminal {
    fn open() -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open("/dev/tty")?;
        let before = tcgetattr(&file)?;
        let mut quiet = before.clone();
        // Keys come one by one: also Ctrl-C, which must not leave a terminal behind that shows nothing.
        quiet.local_modes -= LocalModes::ECHO | LocalModes::ICANON | LocalModes::ISIG;
        tcsetattr(&file, OptionalActions::Flush, &quiet)?;
        Ok(Self { file, before })
    }

    fn tell(&mut self, text: &str) -> std::io::Result<()> {
        self.file.write_all(text.as_bytes())
    }

    fn ask(&mut self, question: &str) -> anyhow::Result<String> {
        self.tell(question)?;
        let typed = self.line();
        self.tell("\r\n")?;
        typed
    }

    fn line(&mut self) -> anyhow::Result<String> {
        let mut line = Vec::new();
        let mut key = [0];
        loop {
            if self.file.read(&mut key)? == 0 {
                return Err(ArchiveError::Stopped.into());
            }
            match key[0] {
                b'\r' | b'\n' => return String::from_utf8(line).context("that is no text"),
                // Ctrl-C, Ctrl-D, Ctrl-\.
                3 | 4 | 28 => return Err(ArchiveError::Stopped.into()),
                // Backspace takes a whole character, Ctrl-U all.
                8 | 127 => while line.pop().is_some_and(|byte| byte & 0xc0 == 0x80) {},
                21 => line.clear(),
                byte if line.len() < LONGEST as usize => line.push(byte),
                _ => {}
            }
        }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // A terminal that is gone needs nothing.
        let _ = tcsetattr(&self.file, OptionalActions::Flush, &self.before);
    }
}
