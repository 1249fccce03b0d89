//! The environment of a tool: small, its own, the same whoever started the gateway.

use std::ffi::OsString;
use std::path::Path;

/// Names the job in the environment of everything that it starts.
pub(super) const MARKER: &str = "NUNCIO_JOB";

/// Where programs are looked for when the gateway itself was given no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where programs are looked for.
pub(super) fn path() -> OsString {
    std::env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into())
}

/// What every program is given. No terminal, no colours, no language but C's.
pub(super) fn base(home: &Path) -> Vec<(&'static str, OsString)> {
    vec![
        ("PATH", path()),
        ("HOME", home.into()),
        ("TMPDIR", if home.is_dir() { home.into() } else { "/tmp".into() }),
        ("LANG", "C.UTF-8".into()),
        ("TERM", "dumb".into()),
        ("NO_COLOR", "1".into()),
    ]
}

/// What a job's program is given.
pub(super) fn of_job(home: &Path, marker: &str) -> Vec<(&'static str, OsString)> {
    let mut environment = base(home);
    environment.push((MARKER, marker.into()));
    environment
}
