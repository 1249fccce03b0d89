//! What went into a backup, and what became of it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A backup: `nuncio backup`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// The file.
    pub file: PathBuf,
    /// Whether a passphrase opens it.
    pub encrypted: bool,
    /// Of which gateway.
    pub gateway: String,
    /// Version of the program that wrote it.
    pub program: String,
    /// Seconds since 1970.
    pub made: i64,
    /// Layout of the database; `None` where there was none.
    pub layout: Option<u32>,
    /// Whether nothing changed while it was written.
    pub at_rest: bool,
    /// So many files.
    pub files: usize,
    /// So many bytes in them.
    pub bytes: u64,
    /// The state folder of that gateway.
    pub state: PathBuf,
    /// Its configuration file.
    pub config: Option<PathBuf>,
    /// Files that the configuration names and that are not in it: credentials, programs.
    pub named_only: Vec<PathBuf>,
}

/// What came out of one: `nuncio restore`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The backup.
    pub backup: BackupReport,
    /// Whether it was put in place, not only looked at.
    pub restored: bool,
    /// The state folder here.
    pub state: PathBuf,
    /// The configuration file here.
    pub config: PathBuf,
    /// Keys of the configuration that are other ones here.
    pub changed: Vec<String>,
    /// Where lies what was there before.
    pub aside: Vec<PathBuf>,
    /// What the operator should know.
    pub notes: Vec<String>,
}
