//! From a tool and a job to an argument vector.
//!
//! Pure: values are put into templates that were checked at load; nothing is split, nothing passes a shell.

use std::collections::BTreeMap;
use std::path::Path;

use crate::device::{FlashJob, JobTask, StagedImage};

use super::template::{RenderError, Template};
use super::tool::Tool;
use super::version::Version;

/// The variables that every template may use.
pub(super) const BUILT_IN_VARIABLES: [&str; 8] =
    ["port.path", "image.path", "image.size", "image.format", "image.version", "out.path", "attempt", "board.size"];

/// Why there is no command for a job.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum CommandError {
    /// The link is not a serial port.
    #[error("this tool needs a serial port, and the device is reached by {0}")]
    NotSerial(String),
    /// The tool knows no such images.
    #[error("the tool takes no {0} images")]
    Format(String),
    /// The tool's file does not say how it reads a board.
    #[error("the tool's file has no `backup`")]
    NoBackup,
    /// A path cannot be handed over as text.
    #[error("`{0}` is not valid UTF-8")]
    NotText(String),
    /// A template could not be filled.
    #[error("cannot build its arguments: {0}")]
    Render(#[from] RenderError),
}

/// Variables whose names begin so are for the tool alone.
pub(super) const SECRET: &str = "secret.";
/// The shortest value that is looked for in what tools print, in bytes.
const SHORTEST: usize = 4;
/// What stands for their values wherever a command is kept or shown.
const MASK: &str = "***";

/// The arguments after the program's name.
#[derive(Debug)]
pub(super) struct Arguments {
    /// For the tool.
    pub(super) given: Vec<String>,
    /// For the journal and for people: the values of `secret.*` are masked.
    pub(super) shown: Vec<String>,
    /// For whatever the tool prints.
    pub(super) secrets: Secrets,
}

/// Values that are for the tool alone.
#[derive(Debug, Clone, Default)]
pub(super) struct Secrets(Vec<String>);

impl Secrets {
    /// Of these variables; values too short to be told from other text are not looked for.
    fn of(values: &BTreeMap<String, String>) -> Self {
        let secret = |(name, value): &(&String, &String)| name.starts_with(SECRET) && value.len() >= SHORTEST;
        Self(values.iter().filter(secret).map(|(_, value)| value.clone()).collect())
    }

    /// A text without them.
    pub(super) fn hidden(&self, mut text: String) -> String {
        for secret in &self.0 {
            if text.contains(secret) {
                text = text.replace(secret, MASK);
            }
        }
        text
    }
}

/// Fills the templates of the job's task.
pub(super) fn arguments(
    tool: &Tool,
    version: Option<&Version>,
    job: &FlashJob,
    out: &Path,
) -> Result<Arguments, CommandError> {
    let values = values(tool, job, out)?;
    let value = |name: &str| values.get(name).map(String::as_str);
    let masked = |name: &str| if name.starts_with(SECRET) { Some(MASK) } else { value(name) };
    let holds = |when: &BTreeMap<String, String>| when.iter().all(|(name, wanted)| value(name) == Some(wanted));
    let optional = tool.optional.iter().filter(|optional| holds(&optional.when)).flat_map(|optional| &optional.argv);
    let arguments = match job.task {
        JobTask::Flash => &tool.flash,
        JobTask::Backup { .. } => tool.backup.as_ref().ok_or(CommandError::NoBackup)?,
    };
    let templates: Vec<&Template> = arguments.of(version).iter().chain(optional).collect();
    Ok(Arguments {
        given: templates.iter().map(|template| template.render(value)).collect::<Result<_, _>>()?,
        shown: templates.iter().map(|template| template.render(masked)).collect::<Result<_, _>>()?,
        secrets: Secrets::of(&values),
    })
}

/// Every variable's value: the tool's own, over them the board's, over them what the job is about.
fn values(tool: &Tool, job: &FlashJob, out: &Path) -> Result<BTreeMap<String, String>, CommandError> {
    let port = job.link.serial_path().ok_or_else(|| CommandError::NotSerial(job.link.to_string()))?;
    let StagedImage { path, info, .. } = &job.image;
    let format = tool.formats.get(&info.format).ok_or_else(|| CommandError::Format(info.format.to_string()))?;
    let mut values = tool.vars.clone();
    values.extend(job.vars.iter().map(|(name, value)| (name.clone(), value.clone())));
    let version = job.image.version.clone().unwrap_or_default();
    let own = [text(port)?, text(path)?, job.image.size.to_string(), format.clone(), version, text(out)?];
    let names = BUILT_IN_VARIABLES.into_iter().map(str::to_owned);
    values.extend(names.zip(own.into_iter().chain([job.attempt.to_string(), job.board_size.to_string()])));
    Ok(values)
}

fn text(path: &Path) -> Result<String, CommandError> {
    path.to_str().map(str::to_owned).ok_or_else(|| CommandError::NotText(path.display().to_string()))
}
