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
    use crate::device::{
        DeviceId, FirmwareView, ImageFormat, ImageInfo, JobStart, Link, ReportedVersion, Requester, Sha256Digest,
        StagedImage, UpdateId,
    };

    fn entry(step: JournalStep, state: FirmwareState, result: UpdateResult) -> JournalEntry {
        JournalEntry {
            update: UpdateId(uuid::Uuid::from_u128(1)),
            device: DeviceId::new("press-3"),
            requester: Requester::Local,
            step,
            uri: String::new(),
            version_before: None,
            version: Some(ReportedVersion { text: "1.2.0".into(), source: "banner".into() }),
            at: 0,
            view: FirmwareView { state, result, ..FirmwareView::default() },
            board: BoardState::Sound,
        }
    }

    fn image(path: &str) -> StagedImage {
        let info =
            ImageInfo { format: ImageFormat::Raw, flash_bytes: 1, ranges: Vec::new(), version: None, project: None };
        let sha256 = Sha256Digest([7; 32]);
        StagedImage { path: path.into(), size: 1, sha256, version: None, info, signed_by: None }
    }

    fn flashing() -> JournalStep {
        let start = JobStart {
            tool: "t".into(),
            program: "/usr/bin/t".into(),
            tool_version: None,
            argv: Vec::new(),
            pid: 7,
            start_time: 1,
            marker: "m".into(),
        };
        let link = Link::Serial("/dev/ttyUSB0".into());
        JournalStep::Flashing { image: image("/old/staging/a.img"), link, start, attempt: 1, restoring: None }
    }

    #[test]
    fn nothing_that_was_under_way_or_waited_goes_on_by_itself() {
        let proving = JournalStep::Proving { image: image("/old/staging/a.img"), restoring: None };
        for step in [flashing(), proving] {
            let taken = taken_up_from_backup(entry(step, FirmwareState::Updating, UpdateResult::Initial));
            assert!(matches!(taken.step, JournalStep::Staged { .. }));
            assert_eq!((taken.view.state, taken.view.result), (FirmwareState::Downloaded, UpdateResult::Failed));
            assert_eq!((taken.board, taken.version), (BoardState::Touched, None), "nobody knows what it runs");
        }
        let staged = || JournalStep::Staged { image: image("/old/staging/a.img") };
        let waiting = entry(staged(), FirmwareState::Downloaded, UpdateResult::Deferred);
        assert_eq!(taken_up_from_backup(waiting).view.result, UpdateResult::Initial);
        for result in [UpdateResult::Initial, UpdateResult::Failed] {
            let kept = entry(staged(), FirmwareState::Downloaded, result);
            assert_eq!(taken_up_from_backup(kept.clone()), kept);
        }
    }

    #[test]
    fn files_are_where_the_staging_folder_is_now() {
        let staging = Path::new("/new/staging");
        let mut moved = entry(flashing(), FirmwareState::Updating, UpdateResult::Initial);
        bring_home(&mut moved, staging);
        let JournalStep::Flashing { image, .. } = moved.step else { panic!("the same step") };
        assert_eq!(image.path, Path::new("/new/staging/a.img"));
        assert_eq!(at_home(Path::new("/old/staging/good/a.img"), staging), Path::new("/new/staging/good/a.img"));
        assert_eq!(at_home(Path::new(""), staging), Path::new(""));
    }
}
