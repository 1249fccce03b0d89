//! The command of a job as it would be run, for people who ask before. Nothing is started but the program's own version
//! query.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::device::FlashJob;

use super::command;
use super::job::OUT;
use super::program::Program;
use super::tool::Tool;
use super::tools::Tools;

/// What stands for the name of a job's folder, which a job gets when it begins.
const FOLDER: &str = "JOB";

/// A run of a tool that nobody has ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedRun {
    /// The tool.
    pub tool: String,
    /// Its program.
    pub program: PathBuf,
    /// Its version, as it tells it.
    pub version: Option<String>,
    /// The whole argument vector, program first; secrets masked.
    pub argv: Vec<String>,
    /// It is ended after so long.
    pub limit: Duration,
    /// What its sandbox allows, in words.
    pub sandbox: String,
}

/// The tool for a job, and its program on this machine.
///
/// # Errors
/// What is missing, and how to get it.
pub(super) fn choose<'t>(tools: &'t Tools, job: &FlashJob) -> Result<(&'t Arc<Tool>, Program), String> {
    let (board, format) = (&job.board, job.image.info.format);
    let tool = tools
        .tool_for(board, Some(format))
        .ok_or_else(|| format!("[executors] names no tool for {format} images of board `{board}`"))?;
    let install = tool.install.as_ref().map_or_else(String::new, |install| format!(": {install}"));
    let program = tools.versions.find(tool);
    Ok((tool, program.map_err(|problem| format!("tool `{}`: {problem}{install}", tool.name()))?))
}

pub(super) fn plan(tools: &Tools, scratch: &Path, job: &FlashJob) -> Result<PlannedRun, String> {
    let (tool, program) = choose(tools, job)?;
    let arguments = command::arguments(tool, program.version.as_ref(), job, &scratch.join(FOLDER).join(OUT));
    let arguments = arguments.map_err(|error| format!("tool `{}`: {error}", tool.name()))?;
    Ok(PlannedRun {
        tool: tool.name().to_owned(),
        argv: std::iter::once(program.path.display().to_string()).chain(arguments.shown).collect(),
        version: program.version.map(|version| version.to_string()),
        program: program.path,
        limit: tool.total.min(job.timeout),
        sandbox: tool.sandbox.told(),
    })
}
