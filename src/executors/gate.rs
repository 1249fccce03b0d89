//! What a child does between fork and exec: it ties its life to the gateway's and waits for the word.
//!
//! Between fork and exec only async-signal-safe calls are allowed: these are bare
//! system calls, without allocation and without locks.

use std::io::Error;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::fs::{FileType, Mode, OFlags, RawDir};
use rustix::io::{Errno, retry_on_intr};
use rustix::process::{Pid, Signal};

/// The byte that lets the child begin.
pub(super) const GO: u8 = b'g';

/// The child dies with the thread that starts it: that thread must live until the child has ended.
#[expect(unsafe_code, reason = "a pre-exec hook is the only place where a child can ask for its own death signal")]
pub(super) fn end_with_this_thread(command: &mut Command) {
    let parent = rustix::process::getpid();
    let hook = move || Ok(die_with(parent)?);
    // SAFETY: the hook makes two system calls and touches no memory that another thread could have locked.
    unsafe { command.pre_exec(hook) };
}

/// As [`end_with_this_thread`]; besides, the child writes its process id (four bytes, native order) to `child_end` and
/// execs only after it has read [`GO`] there. At any other byte, and at the end of the stream, it ends without exec.
///
/// `parent_end` is closed in the child, so that it sees that end. `child_end` is kept open until the command is
/// dropped.
#[expect(unsafe_code, reason = "a pre-exec hook is the only place where a child can wait for the word")]
pub(super) fn hold(command: &mut Command, child_end: UnixStream, parent_end: &UnixStream) {
    let parent = rustix::process::getpid();
    let parent_end = parent_end.as_raw_fd();
    let hook = move || {
        die_with(parent)?;
        close_copy(parent_end);
        close_devices();
        Ok(wait_for_the_word(child_end.as_fd())?)
    };
    // SAFETY: the hook makes a few system calls on descriptors that were opened before the fork, allocates nothing and
    // takes no lock. An error made from an errno does not allocate either.
    unsafe { command.pre_exec(hook) };
}

/// Asks to be killed with the parent, and finds out whether it was too late to ask.
fn die_with(parent: Pid) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    if rustix::process::getppid() == Some(parent) { Ok(()) } else { Err(Errno::OWNERDEAD) }
}

/// Closes the copies of ports that other parts of the gateway have open: waiting here, the child would hold them open,
/// and their locks, long after their owners have let go of them.
fn close_devices() {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::open("/proc/self/fd", flags, Mode::empty()) else { return };
    let mut buffer = [MaybeUninit::uninit(); 2048];
    let mut entries = RawDir::new(folder.as_fd(), &mut buffer);
    while let Some(Ok(entry)) = entries.next() {
        let number = entry.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok());
        if let Some(descriptor) = number.filter(|&number| number > 2 && is_device(number)) {
            close_copy(descriptor);
        }
    }
}

#[expect(unsafe_code, reason = "a descriptor is asked by number what it is")]
fn is_device(descriptor: RawFd) -> bool {
    // SAFETY: the number was read from the child's own list of open descriptors, and only this thread exists in it.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    rustix::fs::fstat(borrowed).is_ok_and(|it| FileType::from_raw_mode(it.st_mode) == FileType::CharacterDevice)
}

#[expect(unsafe_code, reason = "a descriptor that another process owns the original of is closed by number")]
fn close_copy(descriptor: RawFd) {
    // SAFETY: in the child this number is a copy of a descriptor that nothing of the child's uses: between fork and
    // exec only the hook above runs.
    unsafe { rustix::io::close(descriptor) };
}

fn wait_for_the_word(gate: BorrowedFd<'_>) -> Result<(), Errno> {
    let id = rustix::process::getpid().as_raw_nonzero().get().to_ne_bytes();
    retry_on_intr(|| rustix::io::write(gate, &id))?;
    let mut word = [0];
    let read = retry_on_intr(|| rustix::io::read(gate, &mut word))?;
    if read == 1 && word[0] == GO { Ok(()) } else { Err(Errno::CANCELED) }
}

/// Whether a spawn failed because the child was not let through.
pub(super) fn was_held_back(error: &Error) -> bool {
    error.raw_os_error() == Some(Errno::CANCELED.raw_os_error())
}
