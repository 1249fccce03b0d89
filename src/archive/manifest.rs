//! What stands in front of an archive: where it is from, and every file with its length and digest.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::ArchiveError;
use crate::device::Sha256Digest;

/// What the manifest says that it is.
pub(super) const KIND: &str = "nuncio-backup";
/// The newest form that is known here.
pub(super) const FORM: u32 = 1;
/// The manifest's name in the archive.
pub(super) const NAME: &str = "manifest.json";
/// Longest manifest in bytes.
pub(super) const MAX_MANIFEST: u64 = 32 << 20;
/// Most files.
pub(super) const MAX_FILES: usize = 100_000;
/// Longest file in bytes: what a tar header tells in octal.
pub(super) const MAX_FILE: u64 = (8 << 30) - 1;
/// Longest path in bytes.
const MAX_PATH: usize = 1024;
/// Deepest path, in parts.
pub(super) const MAX_DEPTH: usize = 8;
/// A longer path does not fit the header of an entry, which is called by the file's digest then.
const SHORT: usize = 100;

/// The manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// `nuncio-backup`.
    pub kind: String,
    /// The form of the archive.
    pub form: u32,
    /// Version of the program that wrote it.
    pub program: String,
    /// `[gateway] name`, the host's where none was set.
    pub gateway: String,
    /// Seconds since 1970.
    pub made: i64,
    /// Layout of the database; `None` where there was none.
    pub schema: Option<u32>,
    /// The configuration file, as it was called there; `None` where only the defaults held.
    pub config: Option<PathBuf>,
    /// The state folder there.
    pub state: PathBuf,
    /// Files that the configuration names and that are not in here, for they are credentials or somebody else's.
    pub named_only: Vec<PathBuf>,
    /// Whether nothing changed while it was written; else its parts may be some seconds apart.
    pub at_rest: bool,
    /// The files, in the order of the archive.
    pub files: Vec<Entry>,
}

/// One file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// `state/...` or `config/...`.
    pub path: String,
    /// Length in bytes.
    pub size: u64,
    /// Digest of all of it.
    pub sha256: Sha256Digest,
    /// Permission bits.
    pub mode: u32,
}

/// Which folder a file belongs into.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tree {
    /// The state folder.
    State,
    /// The folder of the configuration file.
    Config,
}

impl Tree {
    /// What paths in it begin with.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Config => "config",
        }
    }
}

impl Entry {
    /// Which folder it belongs into, and where in there. `None` for a path that leads anywhere else.
    pub fn place(&self) -> Option<(Tree, &Path)> {
        let (tree, rest) = self.path.split_once('/')?;
        let tree = [Tree::State, Tree::Config].into_iter().find(|known| known.as_str() == tree)?;
        let mut parts = rest.split('/');
        let right = self.path.len() <= MAX_PATH && rest.split('/').count() < MAX_DEPTH && parts.all(is_plain);
        right.then_some((tree, Path::new(rest)))
    }

    /// What the entry is called in the archive.
    pub(super) fn name(&self) -> String {
        if self.path.len() <= SHORT { self.path.clone() } else { format!("long/{}", self.sha256) }
    }
}

/// A name as the gateway gives them: no way up, nothing that a terminal or a shell takes for more than a name.
fn is_plain(part: &str) -> bool {
    (1..=255).contains(&part.len()) && part != "." && part != ".." && !part.chars().any(|c| c.is_control() || c == '\\')
}

impl Manifest {
    /// So many bytes are in the files together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().fold(0, |sum, file| sum.saturating_add(file.size))
    }

    /// The files of one folder.
    pub fn of(&self, tree: Tree) -> impl Iterator<Item = (&Path, &Entry)> {
        self.files.iter().filter_map(move |file| match file.place() {
            Some((of, path)) if of == tree => Some((path, file)),
            _ => None,
        })
    }

    /// Reads a manifest and holds it to its bounds.
    pub(super) fn read(text: &[u8], archive: &Path) -> Result<Self, ArchiveError> {
        let not_one = |why: String| ArchiveError::NotOne { path: archive.to_owned(), why };
        // Before all else: what a newer program writes need not fit any more.
        #[derive(Deserialize)]
        struct Head {
            kind: String,
            form: u32,
        }
        let head: Head = serde_json::from_slice(text).map_err(|error| not_one(format!("its manifest: {error}")))?;
        if head.kind != KIND {
            return Err(not_one(format!("its manifest says that it is `{}`", head.kind.escape_debug())));
        }
        if head.form > FORM {
            return Err(ArchiveError::Newer { path: archive.to_owned(), found: head.form, known: FORM });
        }
        let manifest: Self = serde_json::from_slice(text).map_err(|error| not_one(format!("its manifest: {error}")))?;
        manifest.check().map_err(not_one)?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), String> {
        if self.files.len() > MAX_FILES {
            return Err(format!("{} files are more than {MAX_FILES}", self.files.len()));
        }
        let mut seen = BTreeSet::new();
        for file in &self.files {
            let path = file.path.escape_debug();
            if file.place().is_none() {
                return Err(format!("`{path}` leads out of it"));
            }
            if file.size > MAX_FILE {
                return Err(format!("`{path}` has {} bytes, more than {MAX_FILE}", file.size));
            }
            if !seen.insert(file.path.as_str()) {
                return Err(format!("`{path}` is in it twice"));
            }
        }
        // A file cannot be a folder, too. What lies in a folder comes right behind it, and what sorts in between has a
        // smaller byte than `/`, so each is looked up by its ancestors.
        for path in &seen {
            let mut above = *path;
            while let Some((folder, _)) = above.rsplit_once('/') {
                if seen.contains(folder) {
                    return Err(format!("`{}` is a file and a folder in it", folder.escape_debug()));
                }
                above = folder;
            }
        }
        Ok(())
    }
}
