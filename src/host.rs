//! The machine that the gateway runs on: which one it is, and how it fares at this moment.
//!
//! Blocking looks into `/proc` and `/sys`, for the gateway's own endpoint. Nothing is looked at by itself: when to look, and who is
//! told, is `gateway`'s affair. Not here: devices and their ports (`transports`), other processes (`procfs`).

mod machine;
mod processor;
mod sensors;
mod uplink;

use std::fs::{self, File};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use crate::device::{HostSample, PointValue, ShownPoint};

pub use machine::Machine;

use processor::Ticks;
use sensors::Sensor;

/// Ticks that are older tell of another time: a load is measured over this at most.
const OVER_AT_MOST: Duration = Duration::from_secs(60);
/// A load that cannot be told from an earlier look is measured over this.
const OVER_AT_LEAST: Duration = Duration::from_millis(500);
/// Most of a file that is read: `/proc/stat` of a machine with a thousand processors begins with what counts here.
const MAX_FILE: u64 = 64 << 10;

/// IPSO objects (OMA registry).
const GENERIC: u16 = 3300;
const TEMPERATURE: u16 = 3303;
const PERCENTAGE: u16 = 3320;

/// What looks at the machine.
#[derive(Debug)]
pub struct Host {
    /// Where `proc` and `sys` are.
    root: PathBuf,
    /// The gateway's folder, whose file system counts.
    state: PathBuf,
    /// Those that told something at the beginning: instances keep their numbers.
    sensors: Vec<Sensor>,
    ticks: Option<(Instant, Ticks)>,
}

impl Host {
    /// Looks which sensors there are. `root` is where `proc` and `sys` are, `/` for this machine.
    pub fn new(root: &Path, state: &Path) -> Self {
        Self { root: root.to_owned(), state: state.to_owned(), sensors: sensors::find(root), ticks: None }
    }

    /// Which machine it is.
    pub fn machine(&self) -> Machine {
        machine::look(&self.root)
    }

    /// How it fares. May take half a second: a load needs two looks.
    pub fn sample(&mut self) -> HostSample {
        HostSample {
            time: unix_now(),
            storage: self.storage(),
            uplink: uplink::look(&self.root),
            points: self.points(),
        }
    }

    /// What stands there before anybody has looked: the same points, none of which holds anything yet.
    pub fn outline(&mut self) -> HostSample {
        // The first look that counts can tell a load by it.
        self.ticks = self.read_ticks();
        let points = self.shown(None).into_iter().map(|point| ShownPoint { value: None, ..point }).collect();
        HostSample {
            points,
            ..HostSample {
                time: unix_now(),
                storage: self.storage(),
                uplink: uplink::look(&self.root),
                points: Vec::new(),
            }
        }
    }

    fn points(&mut self) -> Vec<ShownPoint> {
        let load = self.processor_load();
        self.shown(load)
    }

    fn shown(&self, processor: Option<f64>) -> Vec<ShownPoint> {
        let percent = [
            ("cpu", "CPU load", processor),
            ("memory", "memory in use", self.memory_in_use()),
            (
                "storage",
                "state folder's disk in use",
                self.storage().and_then(|(free, total)| part(total.checked_sub(free)?, total)),
            ),
        ];
        let numbers = [
            ("load", "load average over a minute", None, self.first_number("proc/loadavg")),
            ("uptime", "uptime of the machine", Some("s"), self.first_number("proc/uptime").map(f64::floor)),
            (
                "resident",
                "memory of the gateway",
                Some("B"),
                self.kilobytes("proc/self/status", "VmRSS:").map(|size| size * 1024.0),
            ),
        ];
        let percent =
            (0..).zip(percent).map(|(at, (key, name, value))| point((PERCENTAGE, at), key, name, Some("/100"), value));
        let numbers =
            (0..).zip(numbers).map(|(at, (key, name, unit, value))| point((GENERIC, at), key, name, unit, value));
        let warm = (0..)
            .zip(&self.sensors)
            .map(|(at, sensor)| point((TEMPERATURE, at), &sensor.key, &sensor.name, Some("Cel"), sensor.celsius()));
        percent.chain(numbers).chain(warm).collect()
    }

    /// By an earlier look where that is not too old, else by two looks.
    fn processor_load(&mut self) -> Option<f64> {
        let recent = |(at, _): &(Instant, Ticks)| (OVER_AT_LEAST..OVER_AT_MOST).contains(&at.elapsed());
        let before = self.ticks.filter(recent).or_else(|| {
            let first = self.read_ticks()?;
            std::thread::sleep(OVER_AT_LEAST);
            Some(first)
        });
        self.ticks = self.read_ticks();
        self.ticks?.1.load_since(before?.1)
    }

    fn read_ticks(&self) -> Option<(Instant, Ticks)> {
        let ticks = Ticks::read(&text(&self.root.join("proc/stat"))?)?;
        Some((Instant::now(), ticks))
    }

    fn memory_in_use(&self) -> Option<f64> {
        let [total, available] = ["MemTotal:", "MemAvailable:"].map(|name| self.kilobytes("proc/meminfo", name));
        Some(100.0 * (1.0 - (available? / total.filter(|total| *total > 0.0)?).clamp(0.0, 1.0)))
    }

    /// Free for the gateway, and all there is, in bytes.
    fn storage(&self) -> Option<(u64, u64)> {
        let told = rustix::fs::statvfs(&self.state).ok()?;
        Some((told.f_bavail.saturating_mul(told.f_frsize), told.f_blocks.saturating_mul(told.f_frsize)))
    }

    fn first_number(&self, file: &str) -> Option<f64> {
        text(&self.root.join(file))?.split_whitespace().next()?.parse().ok().filter(|number: &f64| number.is_finite())
    }

    /// `NAME  123 kB`.
    fn kilobytes(&self, file: &str, name: &str) -> Option<f64> {
        let text = text(&self.root.join(file))?;
        let line = text.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse().ok()
    }
}

fn point((object, instance): (u16, u16), key: &str, name: &str, unit: Option<&str>, value: Option<f64>) -> ShownPoint {
    ShownPoint {
        key: key.to_owned(),
        object,
        instance,
        // What hardly ever stands still is told to a tenth.
        value: value.map(|number| PointValue::Number((number * 10.0).round() / 10.0)),
        unit: unit.map(str::to_owned),
        name: Some(name.to_owned()),
        writable: false,
        scale: 1.0,
    }
}

fn part(of: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| 100.0 * of as f64 / whole as f64)
}

/// The beginning of a file, as text.
fn text(file: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(file).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// The files of a folder whose names begin and end so, by the number between.
fn numbered(folder: &Path, before: &str, after: &str) -> Vec<PathBuf> {
    let number = |path: &Path| -> Option<u32> {
        path.file_name()?.to_str()?.strip_prefix(before)?.strip_suffix(after)?.parse().ok()
    };
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let mut found: Vec<(u32, PathBuf)> =
        entries.filter_map(|entry| Some((number(&entry.path())?, entry.path()))).collect();
    found.sort();
    found.into_iter().map(|(_, path)| path).collect()
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with files as a machine has them.
    pub(super) fn made_up(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let file = root.path().join(name);
            fs::create_dir_all(file.parent().expect("below the root")).expect("a folder");
            fs::write(file, text).expect("written");
        }
        root
    }

    fn value(sample: &HostSample, key: &str) -> Option<PointValue> {
        sample.points.iter().find(|point| point.key == key).unwrap_or_else(|| panic!("no {key}")).value.clone()
    }

    #[test]
    fn a_machine_tells_how_it_fares() {
        let root = made_up(&[
            ("proc/stat", "cpu  10 0 10 80 0 0 0 0 0 0\ncpu0 1 1 1 1\n"),
            ("proc/meminfo", "MemTotal:        1000 kB\nMemFree:          1 kB\nMemAvailable:     250 kB\n"),
            ("proc/loadavg", "0.25 0.10 0.05 1/100 4711\n"),
            ("proc/uptime", "86400.99 1000.00\n"),
            ("proc/self/status", "Name:\tnuncio\nVmRSS:\t    2000 kB\n"),
            ("sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("sys/class/thermal/thermal_zone0/temp", "48312\n"),
        ]);
        let mut host = Host::new(root.path(), root.path());
        let outline = host.outline();
        assert!(outline.points.iter().all(|point| point.value.is_none()));
        fs::write(root.path().join("proc/stat"), "cpu  40 0 20 140 0 0 0 0 0 0\n").expect("written");
        std::thread::sleep(OVER_AT_LEAST);
        let sample = host.sample();
        let number = |number| Some(PointValue::Number(number));
        assert_eq!(value(&sample, "cpu"), number(40.0));
        assert_eq!(value(&sample, "memory"), number(75.0));
        assert_eq!(value(&sample, "load"), number(0.3));
        assert_eq!(value(&sample, "uptime"), number(86_400.0));
        assert_eq!(value(&sample, "resident"), number(2_048_000.0));
        assert_eq!(value(&sample, "thermal_zone0"), number(48.3));
        let places = |sample: &HostSample| -> Vec<(u16, u16)> {
            sample.points.iter().map(|point| (point.object, point.instance)).collect()
        };
        assert_eq!(places(&sample), places(&outline));
        let (free, total) = sample.storage.expect("the folder is on a disk");
        assert!(0 < free && free <= total);
        assert!(sample.time > 1_700_000_000);
    }

    #[test]
    fn what_a_machine_does_not_tell_is_not_known() {
        let root = made_up(&[("proc/stat", "cpu x\n"), ("proc/meminfo", "MemTotal: 0 kB\nMemAvailable: 0 kB\n")]);
        let sample = Host::new(root.path(), &root.path().join("gone")).sample();
        assert!(sample.points.iter().all(|point| point.value.is_none()), "{:?}", sample.points);
        assert_eq!((sample.storage, sample.points.len()), (None, 6));
    }

    #[test]
    fn this_machine_tells_its_load_and_memory() {
        let state = tempfile::tempdir().expect("a folder");
        let mut host = Host::new(Path::new("/"), state.path());
        let sample = host.sample();
        for key in ["cpu", "memory", "storage"] {
            let Some(PointValue::Number(percent)) = value(&sample, key) else { panic!("{key} is not known") };
            assert!((0.0..=100.0).contains(&percent), "{key}: {percent}");
        }
        assert!(value(&sample, "resident").is_some());
    }
}
