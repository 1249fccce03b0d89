//! What the daemon holds: memory, descriptors, threads, time of the processor, and its folder on disk.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

use super::record::now;

/// The columns.
const HEAD: &str = "at,rss_kib,anon_kib,peak_kib,fds,threads,cpu_s,state_bytes,present,came,went,begun,proven,failed";
/// `USER_HZ`.
const TICKS: f64 = 100.0;

/// One look.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sample {
    pub(super) at: f64,
    pub(super) rss: f64,
    pub(super) anon: f64,
    pub(super) peak: f64,
    pub(super) fds: u64,
    pub(super) threads: u64,
    pub(super) cpu: f64,
    pub(super) state: u64,
    pub(super) tally: Tally,
}

/// What the world has done so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) present: u64,
    pub(super) came: u64,
    pub(super) went: u64,
    pub(super) begun: u64,
    pub(super) proven: u64,
    pub(super) failed: u64,
}

impl Sample {
    /// `None`: the daemon is gone.
    pub(super) fn take(pid: u32, state: &Path, tally: Tally) -> Option<Self> {
        let process = format!("/proc/{pid}");
        let status = fs::read_to_string(format!("{process}/status")).ok()?;
        // A process that has ended has no memory.
        let memory = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse::<f64>().ok()
        };
        let count = |folder: &str| Some(fs::read_dir(format!("{process}/{folder}")).ok()?.count() as u64);
        let stat = fs::read_to_string(format!("{process}/stat")).ok()?;
        let (_, rest) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
        Some(Self {
            at: now(),
            rss: memory("VmRSS:")?,
            anon: memory("RssAnon:")?,
            peak: memory("VmHWM:")?,
            fds: count("fd")?,
            threads: count("task")?,
            cpu: ticks / TICKS,
            state: size(state),
            tally,
        })
    }

    pub(super) fn write_head(file: &mut File) {
        writeln!(file, "{HEAD}").expect("a writable folder");
    }

    pub(super) fn write(&self, file: &mut File) {
        let Self { at, rss, anon, peak, fds, threads, cpu, state, tally } = self;
        let Tally { present, came, went, begun, proven, failed } = tally;
        writeln!(
            file,
            "{at:.1},{rss},{anon},{peak},{fds},{threads},{cpu:.2},{state},{present},{came},{went},{begun},{proven},{failed}"
        )
        .expect("a writable folder");
    }

    /// All of a file.
    pub(super) fn all(file: &Path) -> Vec<Self> {
        let text = fs::read_to_string(file).unwrap_or_default();
        text.lines().skip(1).filter_map(Self::read).collect()
    }

    fn read(line: &str) -> Option<Self> {
        let fields: Vec<f64> = line.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
        let [at, rss, anon, peak, fds, threads, cpu, state, present, came, went, begun, proven, failed] =
            <[f64; 14]>::try_from(fields).ok()?;
        let whole = |number: f64| number as u64;
        let tally = Tally {
            present: whole(present),
            came: whole(came),
            went: whole(went),
            begun: whole(begun),
            proven: whole(proven),
            failed: whole(failed),
        };
        Some(Self { at, rss, anon, peak, fds: whole(fds), threads: whole(threads), cpu, state: whole(state), tally })
    }
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> u64 {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let sizes = entries.map(|entry| match entry.metadata() {
        Ok(of) if of.is_dir() => size(&entry.path()),
        Ok(of) => of.len(),
        // It has just gone.
        Err(_) => 0,
    });
    sizes.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("samples.csv");
        let mut file = File::create(&path).expect("a file");
        fs::create_dir(dir.path().join("state")).expect("a folder");
        fs::write(dir.path().join("state/one"), [0; 1234]).expect("a file");
        let tally = Tally { present: 1, came: 2, went: 3, begun: 4, proven: 5, failed: 6 };
        let mut sample = Sample::take(std::process::id(), &dir.path().join("state"), tally).expect("we are there");
        assert!(sample.rss > 0.0 && sample.anon <= sample.rss && sample.fds > 2 && sample.threads > 0, "{sample:?}");
        assert_eq!(sample.state, 1234);
        // What the file's digits do not show.
        (sample.at, sample.cpu) = (1_796_000_000.5, 12.25);
        Sample::write_head(&mut file);
        sample.write(&mut file);
        assert_eq!(Sample::all(&path), [sample]);
    }
}
