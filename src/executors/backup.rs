//! What a tool read from a board, taken out of the job's folder before that goes.
//!
//! Blocking; called by the thread of a job once nothing of its tool is left.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::Path;

use sha2::{Digest, Sha256};

use super::process::Saved;
use crate::device::Sha256Digest;

/// Largest file in bytes: flash is smaller.
const MAX_SIZE: u64 = 256 << 20;

/// Moves the file that a tool has made to where it is wanted, synced.
pub(super) fn take(made: &Path, to: &Path) -> Saved {
    move_and_hash(made, to).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => "the tool made no file".to_owned(),
        _ => format!("what the tool read cannot be kept: {error}"),
    })
}

fn move_and_hash(made: &Path, to: &Path) -> io::Result<(u64, Sha256Digest)> {
    // A tool could leave a link or a pipe there.
    let kind = fs::symlink_metadata(made)?;
    if !kind.is_file() || kind.len() == 0 || kind.len() > MAX_SIZE {
        return Err(io::Error::other(format!("a file of {} bytes", kind.len())));
    }
    if fs::rename(made, to).is_err() {
        fs::copy(made, to)?;
    }
    let mut file = File::open(to)?;
    file.sync_all()?;
    let (mut hasher, mut buffer, mut size) = (Sha256::new(), vec![0; 64 << 10], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((size, Sha256Digest(hasher.finalize().into()))),
            length => {
                hasher.update(&buffer[..length]);
                size += length as u64;
            }
        }
    }
}
