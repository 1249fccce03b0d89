//! Globs over paths, as `[serial] watch` and `deny` and `[disk] paths` have them: expanded against the file system, and matched against names.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Component, Path, PathBuf};

use globset::{GlobBuilder, GlobMatcher};

/// At most so many names come out of one pattern; a pattern that fits more describes neither ports nor disks.
const MAX_NAMES: usize = 1024;

/// A list of absolute paths in which `*`, `?` and `[...]` stand for parts of a name, never for a `/`.
#[derive(Debug, Default)]
pub(super) struct Patterns(Vec<Vec<Part>>);

/// Why a text is no pattern for paths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// It does not begin with `/`.
    #[error("`{0}` is no absolute path: expected e.g. \"/dev/ttyUSB*\" or \"/media/*/*\"")]
    Relative(String),
    /// `..`, or a glob that does not parse.
    #[error("`{pattern}` is no pattern for a path: {reason}")]
    Malformed {
        /// The text.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Debug)]
enum Part {
    Literal(OsString),
    Glob(GlobMatcher),
}

impl Patterns {
    /// Reads patterns.
    pub(super) fn compile<T: AsRef<str>>(texts: &[T]) -> Result<Self, PatternError> {
        texts.iter().map(|text| compile(text.as_ref())).collect::<Result<_, _>>().map(Self)
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a path is meant by any pattern, whether it exists or not.
    pub(super) fn matches(&self, path: &Path) -> bool {
        self.0.iter().any(|parts| {
            let mut names = path.components().filter_map(normal);
            parts.iter().all(|part| names.next().is_some_and(|name| part.fits(name))) && names.next().is_none()
        })
    }

    /// The folders in which names may come and go, as far as they are known without looking.
    pub(super) fn folders(&self) -> impl Iterator<Item = PathBuf> {
        self.0.iter().map(|parts| {
            let above = parts.split_last().map_or(&[][..], |(_, above)| above);
            let literal = above.iter().map_while(|part| match part {
                Part::Literal(name) => Some(name),
                Part::Glob(_) => None,
            });
            literal.fold(PathBuf::from("/"), |path, name| path.join(name))
        })
    }

    /// The names that exist now: patterns in their order, the names of each sorted.
    pub(super) fn expand(&self) -> Vec<PathBuf> {
        let mut names = Vec::new();
        for parts in &self.0 {
            let limit = names.len() + MAX_NAMES;
            expand(PathBuf::from("/"), parts, &mut names, limit);
        }
        names
    }
}

impl Part {
    fn fits(&self, name: &OsStr) -> bool {
        match self {
            Self::Literal(literal) => literal == name,
            Self::Glob(glob) => glob.is_match(name),
        }
    }
}

fn normal(component: Component<'_>) -> Option<&OsStr> {
    match component {
        Component::Normal(name) => Some(name),
        _ => None,
    }
}

fn compile(text: &str) -> Result<Vec<Part>, PatternError> {
    let malformed = |reason: String| PatternError::Malformed { pattern: text.to_owned(), reason };
    if !text.starts_with('/') {
        return Err(PatternError::Relative(text.to_owned()));
    }
    let mut parts = Vec::new();
    for name in text.split('/').filter(|name| !name.is_empty() && *name != ".") {
        if name == ".." {
            return Err(malformed("it climbs out of a folder by `..`".to_owned()));
        }
        if !name.contains(['*', '?', '[', '{']) {
            parts.push(Part::Literal(name.into()));
            continue;
        }
        let glob =
            GlobBuilder::new(name).literal_separator(true).build().map_err(|error| malformed(error.to_string()))?;
        parts.push(Part::Glob(glob.compile_matcher()));
    }
    if parts.is_empty() { Err(malformed("it names no file".to_owned())) } else { Ok(parts) }
}

/// Adds what exists below `base`; the last part's existence is what whoever looks at the name finds out anyway.
fn expand(base: PathBuf, parts: &[Part], names: &mut Vec<PathBuf>, limit: usize) {
    let Some((part, rest)) = parts.split_first() else {
        names.push(base);
        return;
    };
    match part {
        Part::Literal(name) => expand(base.join(name), rest, names, limit),
        Part::Glob(glob) => {
            let entries = fs::read_dir(&base).into_iter().flatten().flatten();
            let mut found: Vec<OsString> =
                entries.map(|entry| entry.file_name()).filter(|name| glob.is_match(name)).take(MAX_NAMES).collect();
            found.sort_unstable();
            for name in found {
                if names.len() < limit {
                    expand(base.join(name), rest, names, limit);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_matched_part_by_part() {
        let patterns = Patterns::compile(&["/dev/ttyUSB*", "/dev/serial/by-*/x?"]).expect("patterns");
        for (path, expected) in [
            ("/dev/ttyUSB0", true),
            ("/dev/ttyUSB", true),
            ("/dev/ttyUSB0/deeper", false),
            ("/dev/sub/ttyUSB0", false),
            ("/dev/serial/by-id/x1", true),
            ("/dev/serial/by-id/x12", false),
            ("/dev", false),
        ] {
            assert_eq!(patterns.matches(Path::new(path)), expected, "{path}");
        }
    }

    #[test]
    fn only_what_is_there_comes_out() {
        let folder = tempfile::tempdir().expect("a folder");
        for name in ["ttyB", "ttyA", "other"] {
            fs::write(folder.path().join(name), "").expect("written");
        }
        let pattern = format!("{}/tty*", folder.path().display());
        let names = Patterns::compile(&[pattern]).expect("a pattern").expand();
        assert_eq!(names, [folder.path().join("ttyA"), folder.path().join("ttyB")]);
    }

    #[test]
    fn the_folders_are_known_up_to_the_first_glob() {
        let patterns = Patterns::compile(&["/dev/ttyUSB*", "/dev/serial/by-*/x", "/tty"]).expect("patterns");
        let folders: Vec<PathBuf> = patterns.folders().collect();
        assert_eq!(folders, ["/dev", "/dev/serial", "/"].map(PathBuf::from));
    }

    #[test]
    fn what_is_no_pattern_is_refused() {
        for text in ["", "ttyUSB0", "/dev/../etc/*", "/dev/tty[", "/"] {
            assert!(Patterns::compile(&[text]).is_err(), "{text}");
        }
    }
}
