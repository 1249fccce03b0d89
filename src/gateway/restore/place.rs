//! Moving a backup into its place, and what is there out of it: all of it, or nothing.

use std::fs::{self, File, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::super::backup::{ASIDE, AUTHORITIES, BOARDS, FILE, KEYS, TOOLS, UNPACKING, is_state};
use crate::archive::{Folders, Holding, Manifest, Tree};
use crate::store::{CUT_OFF, Reserved};

/// What of the configuration's folder a backup takes the place of.
const TEXTS: [&str; 6] = [FILE, BOARDS, TOOLS, KEYS, "tls", AUTHORITIES];
/// So much stays free on a disk, in bytes.
const SPARE: u64 = 1 << 20;
/// So many names are tried for what goes aside.
const MAX_ASIDE: u32 = 100;

/// Both folders, held.
pub(super) struct Target {
    state: PathBuf,
    /// The configuration file.
    file: PathBuf,
    unpacked: [Holding; 2],
    /// Until all is in place.
    _reserved: Reserved,
}

impl Target {
    /// Holds both folders, and makes one in each for what is unpacked.
    pub(super) fn prepare(state: &Path, file: &Path, manifest: &Manifest, force: bool) -> anyhow::Result<Self> {
        let config = file.parent().unwrap_or(Path::new("/"));
        if config.starts_with(state) {
            bail!("{} lies in the state folder: the configuration needs a folder of its own", file.display());
        }
        let reserved = Reserved::take(state)?;
        fs::create_dir_all(config).with_context(|| format!("cannot make {}", config.display()))?;
        let taken = [present(state)?, beside(config, file)].concat();
        if !force && let Some(first) = taken.first() {
            let more = taken.len() - 1;
            let others = if more > 0 { format!(" and {more} more") } else { String::new() };
            return Err(super::Taken(format!("{}{others}", first.display())).into());
        }
        room(state, manifest.bytes())?;
        room(config, manifest.of(Tree::Config).map(|(_, file)| file.size).sum())?;
        let unpacked = [Holding::new(&state.join(UNPACKING))?, Holding::new(&config.join(UNPACKING))?];
        Ok(Self { state: state.to_owned(), file: file.to_owned(), unpacked, _reserved: reserved })
    }

    /// The state folder.
    pub(super) fn state(&self) -> &Path {
        &self.state
    }

    /// Where things are unpacked.
    pub(super) fn folders(&self) -> Folders {
        let [state, config] = &self.unpacked;
        Folders { state: state.folder().to_owned(), config: config.folder().to_owned() }
    }

    /// What was there goes aside, what was unpacked comes in its place. Gives the folders of what was there.
    pub(super) fn commit(self) -> anyhow::Result<Vec<PathBuf>> {
        let folders = self.folders();
        let config = self.file.parent().unwrap_or(Path::new("/"));
        give(&folders.state, &self.state, 0o750)?;
        give(&folders.config, config, 0o755)?;
        let (mut moves, mut aside) = (Moves::begin(&self.state)?, Vec::new());
        for (folder, taken) in [(&*self.state, present(&self.state)?), (config, beside(config, &self.file))] {
            if taken.is_empty() {
                continue;
            }
            let place = aside_folder(folder)?;
            for path in taken {
                moves.rename(&path, &place.join(path.file_name().unwrap_or_default()))?;
            }
            sync(&place)?;
            aside.push(place);
        }
        for (from, to) in [(&folders.state, &*self.state), (&folders.config, config)] {
            for entry in fs::read_dir(from)? {
                let name = entry?.file_name();
                let to = if from == &folders.config && name == FILE { self.file.clone() } else { to.join(&name) };
                moves.rename(&from.join(&name), &to)?;
            }
            sync(to)?;
        }
        moves.keep()?;
        Ok(aside)
    }
}

/// What is in a state folder that a backup takes the place of.
fn present(state: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(state).with_context(|| format!("cannot read {}", state.display()))? {
        let entry = entry?;
        // A socket is nothing that was kept.
        let kind = entry.file_type()?;
        let kept = kind.is_file() || kind.is_dir() || kind.is_symlink();
        if kept && entry.file_name().to_str().is_none_or(is_state) {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// The same for the configuration.
fn beside(config: &Path, file: &Path) -> Vec<PathBuf> {
    let others = TEXTS.iter().filter(|name| **name != FILE).map(|name| config.join(name));
    let there = |path: &PathBuf| path.symlink_metadata().is_ok();
    std::iter::once(file.to_owned()).chain(others).filter(there).collect()
}

fn room(folder: &Path, bytes: u64) -> anyhow::Result<()> {
    let told = rustix::fs::statvfs(folder).with_context(|| format!("cannot look at {}", folder.display()))?;
    let free = told.f_bavail.saturating_mul(told.f_frsize);
    if bytes.saturating_add(SPARE) > free {
        bail!("{} has {free} bytes left, and {bytes} are in the backup", folder.display());
    }
    Ok(())
}

/// What was unpacked belongs to whom its place belongs, and is safely on the disk with its folders.
fn give(from: &Path, place: &Path, folders: u32) -> anyhow::Result<()> {
    let owner = fs::metadata(place)?;
    let mut waiting = vec![from.to_owned()];
    let as_root = rustix::process::geteuid().is_root();
    let handed = |path: &Path| -> io::Result<()> {
        if as_root {
            // Its place is somebody's who could lay a link there.
            lchown(path, Some(owner.uid()), Some(owner.gid()))?;
        }
        Ok(())
    };
    while let Some(folder) = waiting.pop() {
        for entry in fs::read_dir(&folder)? {
            let entry = entry?;
            handed(&entry.path())?;
            if entry.file_type()?.is_dir() {
                fs::set_permissions(entry.path(), Permissions::from_mode(folders))?;
                waiting.push(entry.path());
            }
        }
        sync(&folder)?;
    }
    Ok(())
}

fn sync(folder: &Path) -> anyhow::Result<()> {
    File::open(folder).and_then(|file| file.sync_all()).with_context(|| format!("cannot write {}", folder.display()))
}

/// A folder of its own for what was there.
fn aside_folder(folder: &Path) -> anyhow::Result<PathBuf> {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    for number in 0..MAX_ASIDE {
        let more = if number == 0 { String::new() } else { format!("-{number}") };
        let aside = folder.join(format!("{ASIDE}{time}{more}"));
        match fs::create_dir(&aside) {
            Ok(()) => {
                fs::set_permissions(&aside, Permissions::from_mode(0o700))?;
                return Ok(aside);
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error).with_context(|| format!("cannot make {}", aside.display())),
        }
    }
    bail!("no name left in {} for what is there", folder.display())
}

/// Renames that are taken back unless they are kept. As long as it is neither, a mark keeps the daemon away.
struct Moves {
    done: Vec<(PathBuf, PathBuf)>,
    mark: PathBuf,
    /// An earlier restore was cut off: taking this one back does not make a gateway of what that left.
    was_half: bool,
}

impl Moves {
    fn begin(state: &Path) -> anyhow::Result<Self> {
        let mark = state.join(CUT_OFF);
        let was_half = match File::create_new(&mark).and_then(|file| file.sync_all()) {
            Ok(()) => false,
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => true,
            Err(error) => return Err(error).with_context(|| format!("cannot write {}", mark.display())),
        };
        sync(state)?;
        Ok(Self { done: Vec::new(), mark, was_half })
    }

    fn rename(&mut self, from: &Path, to: &Path) -> anyhow::Result<()> {
        fs::rename(from, to).with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        self.done.push((from.to_owned(), to.to_owned()));
        Ok(())
    }

    /// All of it is safely on the disk.
    fn keep(mut self) -> anyhow::Result<()> {
        self.done.clear();
        fs::remove_file(&self.mark).with_context(|| format!("cannot remove {}", self.mark.display()))?;
        sync(self.mark.parent().unwrap_or(Path::new("/")))
    }

    /// Whether all is where it was, on the disk, too.
    fn take_back(&mut self) -> bool {
        let mut whole = true;
        for (from, to) in self.done.drain(..).rev() {
            let folders = [&from, &to].map(|path| path.parent().unwrap_or(Path::new("/")));
            if let Err(error) = fs::rename(&to, &from) {
                tracing::error!(%error, from = %to.display(), to = %from.display(), "cannot be moved back");
                whole = false;
            }
            whole &= folders.into_iter().all(|folder| sync(folder).is_ok());
        }
        whole
    }
}

impl Drop for Moves {
    fn drop(&mut self) {
        if self.take_back() && !self.was_half {
            // Where it stays, the daemon says what to do.
            let _ = fs::remove_file(&self.mark);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreError};

    /// A state folder with a file in it, and where that goes.
    fn moved() -> (tempfile::TempDir, Moves) {
        let state = tempfile::tempdir().expect("a folder");
        let (from, to) = (state.path().join("a"), state.path().join("b"));
        fs::write(&from, "x").expect("written");
        let mut moves = Moves::begin(state.path()).expect("begun");
        moves.rename(&from, &to).expect("moved");
        (state, moves)
    }

    fn is_half(state: &Path) -> bool {
        matches!(Store::open(state), Err(StoreError::HalfRestored(_)))
    }

    #[test]
    fn no_daemon_starts_on_what_is_left_by_a_restore_that_was_cut_off() {
        let (state, moves) = moved();
        // As a power cut does.
        std::mem::forget(moves);
        assert!(is_half(state.path()));
        let mut again = Moves::begin(state.path()).expect("begun anew");
        again.rename(&state.path().join("b"), &state.path().join("c")).expect("moved");
        drop(again);
        assert!(is_half(state.path()) && state.path().join("b").exists(), "taken back, and still what was left");
        Moves::begin(state.path()).and_then(Moves::keep).expect("done");
        assert!(!is_half(state.path()));
    }

    #[test]
    fn what_a_link_leads_to_is_given_to_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        let [from, place, target] = ["from", "place", "target"].map(|name| folder.path().join(name));
        fs::create_dir(&from).and_then(|()| fs::create_dir(&place)).expect("made");
        fs::write(&target, "x").expect("written");
        std::os::unix::fs::symlink(&target, from.join("link")).expect("linked");
        let owner = |path: &Path| path.symlink_metadata().expect("there").uid();
        let before = owner(&target);
        // Who is not root gives nothing away.
        let other = if rustix::process::geteuid().is_root() { 65534 } else { before };
        std::os::unix::fs::chown(&place, Some(other), None).expect("given away");
        give(&from, &place, 0o750).expect("given");
        assert_eq!((owner(&from.join("link")), owner(&target)), (other, before));
    }

    #[test]
    fn what_is_taken_back_is_as_it_was() {
        let (state, moves) = moved();
        drop(moves);
        assert!(state.path().join("a").exists() && !is_half(state.path()));
    }

    #[test]
    fn what_cannot_be_taken_back_is_no_gateway() {
        let (state, moves) = moved();
        fs::remove_file(state.path().join("b")).expect("somebody took it");
        drop(moves);
        assert!(is_half(state.path()));
    }
}
