//! One file that a gateway goes into, and comes out of: a manifest and files, tar in gzip, sealed by a passphrase when
//! asked to.
//!
//! A file that comes in is trusted in nothing: its manifest stands in front and bounds all that follows, entries are
//! regular files with the names, lengths and digests that it tells, in its order, and go into folders that were made for
//! them. What a gateway consists of, and where its parts belong, is not known here. Blocking; driven by `gateway` for
//! `nuncio backup` and `nuncio restore`, and by the command line for the bundle of `nuncio report`.

mod hold;
mod manifest;
mod pack;
mod part;
mod seal;
mod unpack;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

pub use hold::{Holding, listing};
pub use manifest::{Entry, Manifest, Tree};
pub use pack::{Item, Source, bundle, pack};
pub use seal::Passphrase;
pub use unpack::{Folders, unpack};

/// Says from another thread that nobody wants the rest.
#[derive(Debug, Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Nobody wants the rest.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody said so.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Goes on, or ends.
    ///
    /// # Errors
    /// [`ArchiveError::Stopped`] once somebody said so.
    pub fn check(&self) -> Result<(), ArchiveError> {
        if self.is_set() { Err(ArchiveError::Stopped) } else { Ok(()) }
    }
}

/// What can go wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// Somebody said that nobody wants it.
    #[error("cancelled; nothing was changed, and nothing is left of it")]
    Stopped,
    /// The system said no.
    #[error("cannot {doing} {}", .path.display())]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With which file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A file of this name is there.
    #[error("{} is there already", .0.display())]
    Exists(PathBuf),
    /// It is no backup.
    #[error("{} is no backup of a gateway: {why}", .path.display())]
    NotOne {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// It was one.
    #[error("{} is damaged: {why}", .path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer program wrote it.
    #[error("{} was written by a newer nuncio (its form is {found}, this program knows {known})", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its form.
        found: u32,
        /// The newest one known here.
        known: u32,
    },
    /// More than may be.
    #[error("{what}: more than {most}")]
    TooMuch {
        /// Of what.
        what: String,
        /// So much may be.
        most: u64,
    },
    /// The passphrase does not open it.
    #[error("the passphrase is wrong")]
    WrongPassphrase,
    /// Opening it would take more memory and time than is reasonable.
    #[error("{} wants too much work for its passphrase (2^{required}, at most 2^{most})", .path.display())]
    TooMuchWork {
        /// The file.
        path: PathBuf,
        /// So much, as a power of two.
        required: u8,
        /// So much may be.
        most: u8,
    },
    /// It could not be sealed.
    #[error("cannot encrypt")]
    Sealing(#[source] Box<dyn Error + Send + Sync>),
}

impl ArchiveError {
    fn io(doing: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { doing, path, source }
    }
}

#[cfg(test)]
mod tests;
