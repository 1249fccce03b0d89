//! One flash tool as its file describes it, checked: every template's variables are known, every pattern compiles.
//!
//! Plain data; made by `checked`, run by `command` and `process`, its output read by `scanner` and judged by `outcome`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::device::{ImageFormat, JobFailure, Phase};

use super::patterns::{PatternId, Patterns};
use super::streams::Stdio;
use super::template::Template;
use super::version::Version;
use super::walls::Sandbox;

/// A flash tool.
#[derive(Debug)]
pub struct Tool {
    pub(super) name: String,
    pub(super) file: PathBuf,
    pub(super) programs: Vec<String>,
    pub(super) install: Option<String>,
    pub(super) version: Option<VersionQuery>,
    pub(super) needs: Vec<String>,
    pub(super) vars: BTreeMap<String, String>,
    pub(super) formats: BTreeMap<ImageFormat, String>,
    /// Where it prints to.
    pub(super) stdio: Stdio,
    /// How it writes an image.
    pub(super) flash: Arguments,
    /// How it reads what the board holds into `{out.path}`.
    pub(super) backup: Option<Arguments>,
    pub(super) optional: Vec<OptionalArguments>,
    pub(super) sandbox: Sandbox,
    pub(super) stalled: Duration,
    pub(super) total: Duration,
    pub(super) patterns: Patterns,
    pub(super) alive: Vec<PatternId>,
    pub(super) progress: Vec<Progress>,
    pub(super) kill_on: Vec<Trigger>,
    pub(super) outcome: Vec<Rule>,
}

/// How a tool tells its version.
#[derive(Debug)]
pub(super) struct VersionQuery {
    pub(super) argv: Vec<String>,
    pub(super) regex: regex::bytes::Regex,
    pub(super) min: Option<Version>,
}

/// Arguments by the program's version.
#[derive(Debug)]
pub(super) struct Arguments {
    pub(super) argv: Vec<Template>,
    /// Ascending by version.
    pub(super) argv_below: Vec<(Version, Vec<Template>)>,
}

impl Arguments {
    /// Those for a version of the program; those for the newest when the version is unknown.
    pub(super) fn of(&self, version: Option<&Version>) -> &[Template] {
        let older = version.and_then(|version| self.argv_below.iter().find(|(below, _)| version < below));
        older.map_or(&self.argv, |(_, argv)| argv)
    }
}

/// Arguments that are appended when every variable has the given value.
#[derive(Debug)]
pub(super) struct OptionalArguments {
    pub(super) when: BTreeMap<String, String>,
    pub(super) argv: Vec<Template>,
}

/// One way in which a tool shows how far it is.
#[derive(Debug)]
pub(super) struct Progress {
    pub(super) phase: Phase,
    pub(super) kind: ProgressKind,
}

#[derive(Debug)]
pub(super) enum ProgressKind {
    /// After the pattern, so many of this byte are 100 %; read as they come, without a line's end.
    Count { start: PatternId, byte: u8, full: u32 },
    /// A line; its group `percent`, where there is one, tells how far.
    Line { pattern: PatternId },
}

/// A line that ends the run early.
#[derive(Debug)]
pub(super) struct Trigger {
    pub(super) text: PatternId,
    /// Only once this phase (or, after `write`, also `verify`) was seen.
    pub(super) after: Option<Phase>,
    pub(super) class: JobFailure,
}

/// One rule of the outcome; all its conditions must hold.
#[derive(Debug)]
pub(super) struct Rule {
    pub(super) exit: Option<i32>,
    pub(super) text: Option<PatternId>,
    pub(super) require: Vec<PatternId>,
    pub(super) verdict: Verdict,
}

/// What a rule says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// Verified, if the bytes that this pattern's group `bytes` counts are all of the image's.
    Ok { bytes: PatternId },
    /// Failed.
    Failed(JobFailure),
}

impl Tool {
    /// Its name, as `[executors]` has it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file that describes it, or `(built in) FILE`.
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The variables that a board must give it.
    pub fn needs(&self) -> &[String] {
        &self.needs
    }

    /// Whether it can flash images of a format.
    pub fn takes(&self, format: ImageFormat) -> bool {
        self.formats.contains_key(&format)
    }

    /// Whether it can read what a board holds.
    pub fn reads_boards(&self) -> bool {
        self.backup.is_some()
    }
}
