//! What was written down in another state folder, or at another time.

use std::path::{Path, PathBuf};

use super::staging::GOOD;
use crate::device::{BoardState, FirmwareState, JournalEntry, JournalStep, UpdateResult};

/// What a gateway makes of an entry that it has from a backup. Nothing is flashed because it was about to be then: a flash
/// that ran has failed, one that waited is asked for anew.
#[must_use]
pub fn taken_up_from_backup(mut entry: JournalEntry) -> JournalEntry {
    match entry.step {
        JournalStep::Flashing { image, .. } | JournalStep::Proving { image, .. } => {
            entry.step = JournalStep::Staged { image };
            (entry.view.state, entry.view.result) = (FirmwareState::Downloaded, UpdateResult::Failed);
            entry.version = None;
            if entry.board == BoardState::Sound {
                entry.board = BoardState::Touched;
            }
        }
        JournalStep::Staged { .. } if entry.view.result == UpdateResult::Deferred => {
            entry.view.result = UpdateResult::Initial;
        }
        JournalStep::Staged { .. } | JournalStep::Downloading { .. } | JournalStep::Closed { .. } => {}
    }
    entry
}

/// Files lie in this staging folder, wherever it was when the entry was written.
pub(super) fn bring_home(entry: &mut JournalEntry, staging: &Path) {
    let home = |path: &mut PathBuf| *path = at_home(path, staging);
    match &mut entry.step {
        JournalStep::Downloading { part, .. } => home(part),
        JournalStep::Staged { image } => home(&mut image.path),
        JournalStep::Flashing { image, restoring, .. } | JournalStep::Proving { image, restoring } => {
            home(&mut image.path);
            if let Some(restoring) = restoring {
                home(&mut restoring.good.image.path);
            }
        }
        JournalStep::Closed { .. } => {}
    }
}

fn at_home(path: &Path, staging: &Path) -> PathBuf {
    let Some(name) = path.file_name() else { return path.to_owned() };
    let good = path.parent().and_then(Path::file_name).is_some_and(|folder| folder == GOOD);
    if good { staging.join(GOOD).join(name) } else { staging.join(name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_in_the_folder_that_is_used_now() {
        let staging = Path::new("/new/staging");
        assert_eq!(at_home(Path::new("/old/staging/a.img"), staging), Path::new("/new/staging/a.img"));
        assert_eq!(at_home(Path::new("/old/staging/good/a.img"), staging), Path::new("/new/staging/good/a.img"));
        assert_eq!(at_home(Path::new(""), staging), Path::new(""));
    }
}
