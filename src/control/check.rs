//! What `nuncio check` found.

use serde::{Deserialize, Serialize};

use crate::device::FileError;

/// One thing that was checked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckItem {
    /// What: `configuration`, `state folder`, `port /dev/ttyUSB0`, `tool avrdude`.
    pub what: String,
    /// How it stands.
    pub state: CheckState,
    /// What was found; may have several lines.
    pub detail: String,
    /// What to do.
    pub hint: Option<String>,
    /// Which file it comes from.
    pub file: Option<String>,
    /// What `nuncio check --fix` would do about it.
    pub cure: Option<Cure>,
}

/// What mends something, as root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cure {
    /// In words.
    pub what: String,
    /// In order; each only when the one before went well.
    pub steps: Vec<CureStep>,
}

/// One command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CureStep {
    /// Program and arguments; no shell.
    pub argv: Vec<String>,
    /// What it reads.
    pub input: Option<String>,
}

impl Cure {
    /// A cure of commands that read nothing.
    pub fn new(what: impl Into<String>, commands: &[&[&str]]) -> Self {
        let step = |argv: &&[&str]| CureStep { argv: argv.iter().map(|&word| word.to_owned()).collect(), input: None };
        Self { what: what.into(), steps: commands.iter().map(step).collect() }
    }
}

impl CheckItem {
    /// An item without hint and file.
    pub fn new(what: impl Into<String>, state: CheckState, detail: impl Into<String>) -> Self {
        Self { what: what.into(), state, detail: detail.into(), hint: None, file: None, cure: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds what would mend it.
    #[must_use]
    pub fn with_cure(mut self, cure: Cure) -> Self {
        self.cure = Some(cure);
        self
    }

    /// Adds the file it comes from.
    #[must_use]
    pub fn from_file(mut self, file: impl Into<String>) -> Self {
        self.file = Some(file.into());
        self
    }

    /// An error in a file that a person wrote, drawn.
    pub fn of_file_error(what: impl Into<String>, error: &FileError) -> Self {
        Self::new(what, CheckState::Error, error.to_string()).from_file(error.file.display().to_string())
    }
}

/// How an item stands, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CheckState {
    /// As it should be.
    Ok,
    /// The gateway runs, but something may not work.
    Warning,
    /// Something cannot work.
    Error,
}
