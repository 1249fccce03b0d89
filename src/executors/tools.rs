//! All tools, embedded and from a folder beside the configuration, and which board is flashed by which.
//!
//! Driven by `gateway` (at start and on SIGHUP) and by `nuncio check`. A tool of the folder replaces the embedded one of
//! the same name as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::device::{BoardId, FileError, FlashProfile, ImageFormat};

use super::checked;
use super::program::{ProgramError, Versions};
use super::settings::{ExecutorSettings, ToolChoice};
use super::tool::Tool;

/// The tool files in the binary: name and text.
const EMBEDDED: &[(&str, &str)] = &include!("../../flash-tools/embedded.rs");

/// Where embedded files are said to come from.
const BUILT_IN: &str = "(built in) flash-tools";
/// Largest tool file in bytes.
const MAX_FILE: u64 = 256 << 10;
/// Most tool files of one folder.
const MAX_FILES: usize = 256;

/// The tools and the table `[executors]`.
#[derive(Debug)]
pub struct Tools {
    tools: BTreeMap<String, Arc<Tool>>,
    table: BTreeMap<String, ToolChoice>,
    pub(super) versions: Versions,
}

/// What `nuncio check` says of one tool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolCheck {
    /// Its name.
    pub name: String,
    /// The file that describes it, or `(built in) FILE`.
    pub file: PathBuf,
    /// The program that would run.
    pub program: Option<PathBuf>,
    /// Its version, as it tells it.
    pub version: Option<String>,
    /// Why it cannot run.
    pub problem: Option<ProgramError>,
    /// It can run, but something is odd.
    pub warning: Option<String>,
    /// The command that installs it.
    pub install: Option<String>,
    /// What its sandbox allows, in words.
    pub sandbox: String,
    /// The boards that `[executors]` gives to it.
    pub boards: Vec<String>,
}

impl Tools {
    /// Reads the embedded tools and those of `overlay` (which need not exist), and takes the table.
    ///
    /// The table's own errors are told by [`problems`](Self::problems).
    ///
    /// # Errors
    /// Everything that is wrong in the files of `overlay`.
    pub fn load(overlay: Option<&Path>, settings: &ExecutorSettings) -> Result<Self, Vec<FileError>> {
        let mut problems = Vec::new();
        let mut tools = BTreeMap::new();
        for (name, text) in EMBEDDED {
            add(&mut tools, &Path::new(BUILT_IN).join(name), text, &mut problems);
        }
        let mut own = BTreeMap::new();
        for file in overlay.map_or_else(Vec::new, |folder| files(folder, &mut problems)) {
            match read(&file) {
                Ok(text) => add(&mut own, &file, &text, &mut problems),
                Err(error) => problems.push(FileError::whole(&file, error)),
            }
        }
        tools.append(&mut own);
        if !problems.is_empty() {
            return Err(problems);
        }
        Ok(Self { tools, table: settings.0.clone(), versions: Versions::default() })
    }

    /// The tool for a board's image; without a format, the board's only or first tool.
    pub fn tool_for(&self, board: &BoardId, format: Option<ImageFormat>) -> Option<&Arc<Tool>> {
        let name = match (self.table.get(board.as_str())?, format) {
            (ToolChoice::Tool(name), _) => name,
            (ToolChoice::ByFormat(by_format), Some(format)) => by_format.get(&format)?,
            (ToolChoice::ByFormat(by_format), None) => by_format.values().next()?,
        };
        self.tools.get(name)
    }

    /// The boards of `[executors]`.
    pub fn boards(&self) -> impl Iterator<Item = &str> {
        self.table.keys().map(String::as_str)
    }

    /// All tools.
    pub fn iter(&self) -> impl Iterator<Item = &Tool> {
        self.tools.values().map(AsRef::as_ref)
    }

    /// What is wrong in the table: the dotted key in the configuration, and why.
    pub fn problems(&self) -> Vec<(String, String)> {
        let mut problems = Vec::new();
        for (board, choice) in &self.table {
            match choice {
                ToolChoice::Tool(name) => {
                    problems.extend(self.wrong(name, None).map(|why| (format!("executors.{board}"), why)));
                }
                ToolChoice::ByFormat(by_format) => problems.extend(by_format.iter().filter_map(|(format, name)| {
                    Some((format!("executors.{board}.{format}"), self.wrong(name, Some(*format))?))
                })),
            }
        }
        problems
    }

    fn wrong(&self, name: &str, format: Option<ImageFormat>) -> Option<String> {
        let Some(tool) = self.tools.get(name) else {
            let known: Vec<&str> = self.tools.keys().map(String::as_str).collect();
            return Some(format!("there is no tool `{name}`: expected one of {}", known.join(", ")));
        };
        let format = format.filter(|&format| !tool.takes(format))?;
        let takes: Vec<&str> = tool.formats.keys().map(|format| format.as_str()).collect();
        Some(format!("tool `{name}` takes no {format} images, only {}", takes.join(", ")))
    }

    /// What keeps a board from being flashed by its tools, whatever is installed: no tool for a format that it accepts,
    /// or variables that its file does not give. Empty when all is well.
    pub fn lacks(&self, profile: &FlashProfile) -> Vec<String> {
        let mut lacks = Vec::new();
        for &format in &profile.image.formats {
            match self.tool_for(&profile.board, Some(format)) {
                None => {
                    lacks.push(format!("[executors] names no tool for {format} images of board `{}`", profile.board));
                }
                Some(tool) if !tool.takes(format) => {
                    lacks.push(format!("tool `{}` takes no {format} images", tool.name));
                }
                Some(tool) => {
                    let missing = tool.needs.iter().filter(|name| !profile.vars.contains_key(*name));
                    lacks.extend(
                        missing.map(|name| format!("tool `{}` needs the variable `{name}` from the board", tool.name)),
                    );
                }
            }
        }
        lacks.sort();
        lacks.dedup();
        lacks
    }

    /// Looks for every tool's program and asks its version. Blocking: up to ten seconds for a program that hangs.
    pub fn check(&self) -> Vec<ToolCheck> {
        self.tools.values().map(|tool| self.check_one(tool)).collect()
    }

    fn check_one(&self, tool: &Tool) -> ToolCheck {
        let found = self.versions.find(tool);
        let (program, problem) = match found {
            Ok(program) => (Some(program), None),
            Err(problem) => (None, Some(problem)),
        };
        ToolCheck {
            name: tool.name.clone(),
            file: tool.file.clone(),
            version: program.as_ref().and_then(|program| Some(program.version.as_ref()?.to_string())),
            warning: program.as_ref().and_then(|program| program.silent.clone()),
            program: program.map(|program| program.path),
            problem,
            install: tool.install.clone(),
            sandbox: tool.sandbox.told(),
            boards: self
                .table
                .iter()
                .filter(|(_, choice)| names(choice, &tool.name))
                .map(|(board, _)| board.clone())
                .collect(),
        }
    }
}

fn names(choice: &ToolChoice, tool: &str) -> bool {
    match choice {
        ToolChoice::Tool(name) => name == tool,
        ToolChoice::ByFormat(by_format) => by_format.values().any(|name| name == tool),
    }
}

/// The tool files of a folder, in the order of their names.
fn files(folder: &Path, problems: &mut Vec<FileError>) -> Vec<PathBuf> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            problems.push(FileError::whole(folder, format!("cannot read the folder: {error}")));
            return Vec::new();
        }
    };
    let is_tool = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "toml");
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_tool).collect();
    files.sort();
    if files.len() > MAX_FILES {
        problems.push(FileError::whole(folder, format!("more than {MAX_FILES} tool files")));
        files.truncate(MAX_FILES);
    }
    files
}

fn read(file: &Path) -> Result<String, String> {
    let length = std::fs::metadata(file).map_err(|error| format!("cannot read it: {error}"))?.len();
    if length > MAX_FILE {
        return Err(format!("{length} bytes are more than a tool file may have ({MAX_FILE})"));
    }
    std::fs::read_to_string(file).map_err(|error| format!("cannot read it: {error}"))
}

fn add(tools: &mut BTreeMap<String, Arc<Tool>>, file: &Path, text: &str, problems: &mut Vec<FileError>) {
    match checked::read(file, text) {
        Ok(found) => {
            for tool in found {
                if let Some(first) = tools.get(&tool.name) {
                    let message = format!("tool `{}` is described twice: also in {}", tool.name, first.file.display());
                    problems.push(FileError::whole(file, message));
                }
                tools.insert(tool.name.clone(), Arc::new(tool));
            }
        }
        Err(mut found) => problems.append(&mut found),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::{Enter, Exclusive, ImageRules, RebootMethod, RetryRules, RollbackPolicy, WayBack};

    fn settings(text: &str) -> ExecutorSettings {
        toml::from_str(text).expect("a table")
    }

    fn load(overlay: Option<&Path>, table: &str) -> Tools {
        Tools::load(overlay, &settings(table)).unwrap_or_else(|errors| panic!("{}", errors[0]))
    }

    fn overlay(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).expect("written");
        }
        folder
    }

    fn minimal(name: &str) -> String {
        format!(
            "schema = 1\n[tool.{name}]\nprogram = [\"no-such-program\"]\ninstall = \"get it\"\nneeds = [\"speed\"]\n\
             formats = {{ raw = \"\" }}\nargv = []\ntimeouts = {{ stalled = \"1s\", total = \"1s\" }}\n\
             outcome = [{{ exit = 0, require = ['(?P<bytes>1)'], result = \"ok\" }}]\n"
        )
    }

    #[test]
    fn every_file_of_flash_tools_is_embedded() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("flash-tools");
        let names = files(&folder, &mut Vec::new());
        let names: Vec<_> = names.iter().filter_map(|file| file.file_name()?.to_str()).collect();
        assert_eq!(names, EMBEDDED.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert!(load(None, "").iter().count() >= 2);
    }

    #[test]
    fn a_tool_of_the_folder_replaces_the_embedded_one_as_a_whole() {
        let folder = overlay(&[("mine.toml", &minimal("avrdude")), ("ignored.txt", "?")]);
        let tools = load(Some(folder.path()), "a = \"avrdude\"\nb = { esp-image = \"esptool\" }");
        let tool = tools.tool_for(&BoardId::new("a"), Some(ImageFormat::Raw)).expect("a tool");
        assert_eq!(tool.file(), folder.path().join("mine.toml"));
        assert_eq!(tools.tool_for(&BoardId::new("b"), None).map(|tool| tool.name()), Some("esptool"));
        assert!(tools.tool_for(&BoardId::new("b"), Some(ImageFormat::Elf)).is_none());
        assert!(tools.tool_for(&BoardId::new("c"), None).is_none());
        assert_eq!(tools.boards().collect::<Vec<_>>(), ["a", "b"]);
        let check = tools.check().into_iter().find(|check| check.name == "avrdude").expect("checked");
        assert_eq!(
            check.problem.map(|it| it.to_string()).as_deref(),
            Some("program `no-such-program` not found in PATH")
        );
        assert_eq!((check.install.as_deref(), check.boards), (Some("get it"), vec!["a".to_owned()]));
    }

    #[test]
    fn errors_of_all_files_are_told_together() {
        let folder =
            overlay(&[("a.toml", "schema = 1\nnonsense"), ("b.toml", &minimal("x")), ("c.toml", &minimal("x"))]);
        let errors = Tools::load(Some(folder.path()), &settings("")).expect_err("errors");
        assert_eq!(errors.len(), 2);
        assert_eq!((errors[0].file.as_path(), errors[0].line), (folder.path().join("a.toml").as_path(), 2));
        assert!(errors[1].message.contains("tool `x` is described twice: also in "), "{}", errors[1]);
        let missing = folder.path().join("nowhere");
        assert!(Tools::load(Some(&missing), &settings("")).is_ok(), "the folder need not exist");
    }

    #[test]
    fn wrong_lines_of_the_table_are_told_by_key() {
        let folder = overlay(&[("x.toml", &minimal("x"))]);
        let tools = load(Some(folder.path()), "a = \"y\"\nb = { raw = \"x\", ihex = \"x\" }\nc = \"x\"");
        let problems = tools.problems();
        assert_eq!(problems[0].0, "executors.a");
        assert!(problems[0].1.starts_with("there is no tool `y`: expected one of ") && problems[0].1.ends_with(", x"));
        assert_eq!(problems[1], ("executors.b.ihex".to_owned(), "tool `x` takes no ihex images, only raw".to_owned()));
        assert_eq!(problems.len(), 2);
    }

    #[test]
    fn what_a_board_lacks_is_told() {
        let folder = overlay(&[("x.toml", &minimal("x"))]);
        let tools = load(Some(folder.path()), "a = \"x\"\nb = { raw = \"x\" }");
        let mut profile = FlashProfile {
            board: BoardId::new("a"),
            image: ImageRules { formats: vec![ImageFormat::Raw, ImageFormat::Elf], ..ImageRules::default() },
            vars: BTreeMap::new(),
            expect_return: std::time::Duration::ZERO,
            soak: std::time::Duration::ZERO,
            version: Vec::new(),
            reboot: RebootMethod::None,
            enter: Enter::Tool,
            timeout: std::time::Duration::ZERO,
            retries: RetryRules::default(),
            alternatives: Vec::new(),
            rollback: RollbackPolicy::default(),
            way_back: WayBack::default(),
            exclusive: Exclusive::Port,
        };
        let expected = ["tool `x` needs the variable `speed` from the board", "tool `x` takes no elf images"];
        assert_eq!(tools.lacks(&profile), expected);
        profile.board = BoardId::new("b");
        profile.vars.insert("speed".to_owned(), "1".to_owned());
        assert_eq!(tools.lacks(&profile), ["[executors] names no tool for elf images of board `b`"]);
    }
}
