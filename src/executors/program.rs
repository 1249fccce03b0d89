//! Finding a tool's program on this machine and asking its version.
//!
//! Blocking; called from the thread of a job and from `Tools::check`. A version is asked once per program file: the
//! answer is kept until the file changes.

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::Access;
use rustix::process::{Pid, Signal};

use super::environment;
use super::gate;
use super::tool::{Tool, VersionQuery};
use super::version::Version;

/// Longest wait for an answer to the version query.
const VERSION_LIMIT: Duration = Duration::from_secs(10);
/// So much of the answer is looked at, in bytes.
const VERSION_OUTPUT: usize = 64 << 10;
/// Program files whose version is remembered.
const MAX_REMEMBERED: usize = 256;

/// A program that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// `None`: it does not tell, or there is no query.
    pub(super) version: Option<Version>,
    /// Why it did not tell, where there is a query.
    pub(super) silent: Option<String>,
}

/// Why a tool cannot run here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    /// No such program.
    #[error("{}", not_found(.looked_for))]
    Missing {
        /// The names that were tried.
        looked_for: Vec<String>,
    },
    /// A file of that name is there, but may not be run.
    #[error("{} is not executable", .path.display())]
    NotExecutable {
        /// The file.
        path: PathBuf,
    },
    /// Its version is below the tool file's minimum.
    #[error("{} is version {version}, and at least {minimum} is needed", .path.display())]
    TooOld {
        /// The program.
        path: PathBuf,
        /// What it says of itself.
        version: String,
        /// What the tool's file wants.
        minimum: String,
    },
}

fn not_found(names: &[String]) -> String {
    let places = if names.iter().all(|name| name.starts_with('/')) { "" } else { " in PATH" };
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    format!("program {} not found{places}", names.join(" or "))
}

/// What is remembered of program files: path, and what changes when the file does.
#[derive(Debug, Default)]
pub(super) struct Versions(Mutex<HashMap<FileKey, Result<Version, String>>>);

type FileKey = (PathBuf, u64, u64, i64, i64);

impl Versions {
    /// Finds a tool's program, and its version where the tool's file says how to ask.
    ///
    /// # Errors
    /// When there is none that could flash.
    pub(super) fn find(&self, tool: &Tool) -> Result<Program, ProgramError> {
        let path = look_up(&tool.programs, &environment::path())?;
        let Some(query) = &tool.version else { return Ok(Program { path, version: None, silent: None }) };
        let version = match self.version(&path, query) {
            Ok(version) => version,
            Err(why) => return Ok(Program { path, version: None, silent: Some(why) }),
        };
        match &query.min {
            Some(min) if version < *min => {
                Err(ProgramError::TooOld { path, version: version.to_string(), minimum: min.to_string() })
            }
            _ => Ok(Program { path, version: Some(version), silent: None }),
        }
    }

    fn version(&self, path: &Path, query: &VersionQuery) -> Result<Version, String> {
        let key = file_key(path);
        let known = |key: &FileKey| self.0.lock().unwrap_or_else(PoisonError::into_inner).get(key).cloned();
        if let Some(version) = key.as_ref().and_then(known) {
            return version;
        }
        let version = ask(path, query);
        // What went wrong once may go well the next time: only answers are kept.
        if let (Some(key), Ok(_)) = (key, &version) {
            let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= MAX_REMEMBERED {
                remembered.clear();
            }
            remembered.insert(key, version.clone());
        }
        version
    }
}

fn file_key(path: &Path) -> Option<FileKey> {
    let metadata = std::fs::metadata(path).ok()?;
    Some((path.to_owned(), metadata.ino(), metadata.size(), metadata.mtime(), metadata.mtime_nsec()))
}

/// The first name that is a program, each tried in every folder of PATH.
fn look_up(names: &[String], path: &OsString) -> Result<PathBuf, ProgramError> {
    let mut forbidden = None;
    for name in names {
        let folders = if name.starts_with('/') { vec![PathBuf::new()] } else { std::env::split_paths(path).collect() };
        for candidate in folders.iter().map(|folder| folder.join(name)).filter(|candidate| candidate.is_file()) {
            if rustix::fs::access(&candidate, Access::EXEC_OK).is_ok() {
                return Ok(candidate);
            }
            forbidden.get_or_insert(candidate);
        }
    }
    Err(match forbidden {
        Some(path) => ProgramError::NotExecutable { path },
        None => ProgramError::Missing { looked_for: names.to_vec() },
    })
}

fn ask(path: &Path, query: &VersionQuery) -> Result<Version, String> {
    let output = output_of(path, &query.argv).map_err(|error| format!("cannot ask its version: {error}"))?;
    let found = query.regex.captures(&output).and_then(|groups| groups.get(1));
    let found = found.ok_or_else(|| "its answer names no version".to_owned())?;
    String::from_utf8_lossy(found.as_bytes()).parse()
}

/// Both outputs of a short run, up to the limits; the run is over when this returns.
fn output_of(path: &Path, argv: &[String]) -> std::io::Result<Vec<u8>> {
    let (mut reader, writer) = std::io::pipe()?;
    let mut command = Command::new(path);
    command.args(argv).env_clear().envs(environment::base(Path::new("/nonexistent"))).current_dir("/");
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer).process_group(0);
    gate::end_with_this_thread(&mut command);
    let mut child = command.spawn()?;
    drop(command);
    let output = read_until(&mut reader, Instant::now() + VERSION_LIMIT);
    // The child is not reaped yet, so its id and its group's are still its own.
    let _ = rustix::process::kill_process_group(Pid::from_child(&child), Signal::KILL);
    child.wait()?;
    output
}

fn read_until(reader: &mut std::io::PipeReader, deadline: Instant) -> std::io::Result<Vec<u8>> {
    let mut output = Vec::new();
    let mut part = [0; 4096];
    while output.len() < VERSION_OUTPUT {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: i64::from(left.subsec_nanos()) };
        let ready = {
            let mut wanted = [PollFd::from_borrowed_fd(reader.as_fd(), PollFlags::IN)];
            rustix::io::retry_on_intr(|| rustix::event::poll(&mut wanted, Some(&timeout)))?
        };
        if ready == 0 {
            return Err(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in 10 s"));
        }
        match reader.read(&mut part)? {
            0 => break,
            read => output.extend_from_slice(&part[..read]),
        }
    }
    Ok(output)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn program(folder: &Path, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        // Written by another process: a child forked by another test meanwhile would keep it open, and busy.
        let mut copy =
            Command::new("sh").args(["-c", "cat >\"$0\""]).arg(&path).stdin(Stdio::piped()).spawn().expect("sh");
        copy.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
        assert!(copy.wait().expect("waited").success());
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("permitted");
        path
    }

    fn query(argv: &[&str]) -> VersionQuery {
        let regex = super::super::patterns::compile("v([0-9.]+)").expect("valid");
        VersionQuery { argv: argv.iter().map(|&argument| argument.to_owned()).collect(), regex, min: None }
    }

    #[test]
    fn names_are_tried_in_order_and_absolute_paths_are_taken_as_they_are() {
        let folder = tempfile::tempdir().expect("a folder");
        let second = program(folder.path(), "second", "#!/bin/sh\n", 0o755);
        let forbidden = program(folder.path(), "forbidden", "#!/bin/sh\n", 0o644);
        let path = OsString::from(folder.path());
        let find = |names: &[&str]| {
            look_up(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>(), &path).map_err(|e| e.to_string())
        };
        assert_eq!(find(&["first", "second"]), Ok(second.clone()));
        assert_eq!(find(&["forbidden", "second"]), Ok(second.clone()));
        assert_eq!(find(&[second.to_str().expect("text")]), Ok(second));
        assert_eq!(find(&["forbidden"]), Err(format!("{} is not executable", forbidden.display())));
        assert_eq!(find(&["first", "other"]), Err("program `first` or `other` not found in PATH".to_owned()));
    }

    #[test]
    fn a_version_is_asked_once_until_the_file_changes() {
        let folder = tempfile::tempdir().expect("a folder");
        let count = folder.path().join("count");
        let script = |version: &str| format!("#!/bin/sh\necho x >>{}\necho tool v{version} >&2\n", count.display());
        let path = program(folder.path(), "tool", &script("1.5"), 0o755);
        let versions = Versions::default();
        let ask = || versions.version(&path, &query(&[])).map(|version| version.to_string());
        assert_eq!((ask(), ask()), (Ok("1.5".to_owned()), Ok("1.5".to_owned())));
        assert_eq!(std::fs::read_to_string(&count).expect("counted"), "x\n");
        program(folder.path(), "tool", &script("1.5.22"), 0o755);
        assert_eq!(ask(), Ok("1.5.22".to_owned()));
    }

    #[test]
    fn a_program_that_answers_nonsense_or_floods_has_no_version() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = program(folder.path(), "tool", "#!/bin/sh\nexec \"$@\"\n", 0o755);
        assert_eq!(ask(&path, &query(&["echo", "hello"])), Err("its answer names no version".to_owned()));
        assert_eq!(ask(&path, &query(&["yes"])), Err("its answer names no version".to_owned()));
    }
}
