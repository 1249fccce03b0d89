//! The shape of a tool file, as serde reads it: nothing is checked here but types and unknown keys.
//!
//! Every text that may be refused later keeps its place in the file. `flash-tools/README.md` tells what the keys mean;
//! `tool` checks them.

use std::collections::BTreeMap;
use std::time::Duration;

use toml::Spanned;

use crate::device::{ImageFormat, JobFailure, Phase, units};

use super::streams::Stdio;
use super::walls::Sandbox;

/// A whole file.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct FileShape {
    pub(super) schema: Spanned<u32>,
    pub(super) tool: BTreeMap<Spanned<String>, ToolShape>,
}

/// `[tool.NAME]`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ToolShape {
    pub(super) program: Spanned<Vec<Spanned<String>>>,
    pub(super) install: Option<String>,
    pub(super) version: Option<VersionShape>,
    #[serde(default)]
    pub(super) needs: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) vars: BTreeMap<Spanned<String>, VarShape>,
    pub(super) formats: Spanned<BTreeMap<ImageFormat, String>>,
    pub(super) argv: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) argv_below: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
    pub(super) backup: Option<BackupShape>,
    #[serde(default)]
    pub(super) optional: Vec<OptionalShape>,
    #[serde(default)]
    pub(super) stdio: Stdio,
    pub(super) timeouts: TimeoutsShape,
    #[serde(default)]
    pub(super) sandbox: Sandbox,
    #[serde(default)]
    pub(super) alive: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) progress: Vec<Spanned<ProgressShape>>,
    #[serde(default)]
    pub(super) kill_on: Vec<KillShape>,
    pub(super) outcome: Spanned<Vec<Spanned<OutcomeShape>>>,
}

/// The value of a variable: a text, or one that is not written here.
#[derive(serde::Deserialize)]
#[serde(untagged, expecting = "expected text in quotes, or { credential = \"NAME\" }")]
pub(super) enum VarShape {
    Text(String),
    Credential(CredentialShape),
}

/// `{ credential = "NAME" }`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CredentialShape {
    pub(super) credential: String,
}

/// `version = { .. }`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionShape {
    pub(super) argv: Vec<String>,
    pub(super) regex: Spanned<String>,
    pub(super) min: Option<Spanned<String>>,
}

/// `backup = { .. }`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BackupShape {
    pub(super) argv: Vec<Spanned<String>>,
    #[serde(default)]
    pub(super) argv_below: BTreeMap<Spanned<String>, Vec<Spanned<String>>>,
}

/// An entry of `optional`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OptionalShape {
    pub(super) when: BTreeMap<Spanned<String>, String>,
    pub(super) argv: Vec<Spanned<String>>,
}

/// `timeouts = { .. }`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TimeoutsShape {
    #[serde(with = "units::duration")]
    pub(super) stalled: Duration,
    #[serde(with = "units::duration")]
    pub(super) total: Duration,
}

/// `[[tool.NAME.progress]]`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ProgressShape {
    pub(super) phase: Phase,
    pub(super) regex: Option<Spanned<String>>,
    pub(super) start: Option<Spanned<String>>,
    pub(super) count: Option<Spanned<String>>,
    pub(super) full: Option<Spanned<u32>>,
}

/// `[[tool.NAME.kill_on]]`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KillShape {
    pub(super) text: Spanned<String>,
    pub(super) after: Option<Phase>,
    pub(super) class: JobFailure,
}

/// `[[tool.NAME.outcome]]`.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutcomeShape {
    pub(super) exit: Option<i32>,
    pub(super) text: Option<Spanned<String>>,
    #[serde(default)]
    pub(super) require: Vec<Spanned<String>>,
    pub(super) result: Option<OkShape>,
    pub(super) class: Option<JobFailure>,
}

/// `result = "ok"`: the only result that is not a class.
#[derive(serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum OkShape {
    Ok,
}
