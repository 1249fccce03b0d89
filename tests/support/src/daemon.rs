//! The daemon under test: configured by a file, started as a process, asked through its own command line.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process::{Process, User};
use crate::status::DeviceView;
use crate::wait::eventually;
use crate::{World, process};

/// Ten times what the daemon takes for anything but a flash.
const PATIENCE: Duration = Duration::from_secs(60);

/// A daemon that is being configured.
pub struct DaemonBuilder<'a> {
    world: &'a World,
    allow: Vec<String>,
    tables: String,
    serial: String,
    download: String,
    env: Vec<(String, String)>,
    path: Vec<PathBuf>,
    disk: Option<String>,
    /// Whether the control socket lies in the state folder, which is all that may be written.
    read_only: bool,
    around: Option<Command>,
    own_endpoint: String,
}

impl<'a> DaemonBuilder<'a> {
    pub(crate) fn new(world: &'a World) -> Self {
        let (tables, serial, download) = (String::new(), String::new(), String::new());
        Self {
            world,
            allow: Vec::new(),
            tables,
            serial,
            download,
            env: Vec::new(),
            path: Vec::new(),
            disk: None,
            read_only: false,
            around: None,
            own_endpoint: world.own_endpoint(),
        }
    }

    /// `[gateway] endpoint`, in place of [`World::own_endpoint`].
    #[must_use]
    pub fn own_endpoint(mut self, name: &str) -> Self {
        self.own_endpoint = name.to_owned();
        self
    }

    /// A `[[server]]`; `extra` are further lines, e.g. `lifetime = "30s"`.
    #[must_use]
    pub fn server(mut self, name: &str, uri: &str, short_id: u16, extra: &str) -> Self {
        // Shorter than the default, so that no test waits for a retry.
        let retry = if extra.contains("retry") { "" } else { "retry = \"2s\"\nretry_max = \"2s\"\n" };
        write!(self.tables, "\n[[server]]\nname = {name:?}\nuri = {uri:?}\nshort_id = {short_id}\n{retry}{extra}\n")
            .expect("a String takes everything");
        self
    }

    /// A `[[device]]` with its endpoint name; `extra` are further lines.
    #[must_use]
    pub fn device(mut self, name: &str, board: &str, link: &str, extra: &str) -> Self {
        write!(
            self.tables,
            "\n[[device]]\nname = {name:?}\nboard = {board:?}\nlink = {link:?}\nendpoint = {name:?}\n{extra}\n"
        )
        .expect("a String takes everything");
        self
    }

    /// The built-in server, enabled on this port.
    #[must_use]
    pub fn builtin(self, port: u16, extra: &str) -> Self {
        self.toml(&format!("[builtin_server]\nenabled = true\nport = {port}\n{extra}"))
    }

    /// Any further tables, e.g. `[executors]`.
    #[must_use]
    pub fn toml(mut self, text: &str) -> Self {
        self.tables.push_str(&format!("\n{text}\n"));
        self
    }

    /// Further lines of `[serial]`, e.g. `watch = [...]`.
    #[must_use]
    pub fn serial(mut self, lines: &str) -> Self {
        self.serial.push_str(&format!("{lines}\n"));
        self
    }

    /// Further lines of `[download]`, e.g. `max_size = 20000`.
    #[must_use]
    pub fn download(mut self, lines: &str) -> Self {
        self.download.push_str(&format!("{lines}\n"));
        self
    }

    /// It tells Home Assistant of its devices at this broker; `extra` are further lines of `[mqtt]`.
    #[must_use]
    pub fn mqtt(self, broker: &crate::Mosquitto, extra: &str) -> Self {
        self.toml(&format!("[mqtt]\nenabled = true\nbroker = {:?}\n{extra}", broker.uri()))
    }

    /// A prefix of `[download] allow`.
    #[must_use]
    pub fn allow(mut self, prefix: &str) -> Self {
        self.allow.push(prefix.to_owned());
        self
    }

    /// A variable of the daemon's environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl AsRef<Path>) -> Self {
        self.env.push((key.to_owned(), value.as_ref().display().to_string()));
        self
    }

    /// Modem lines for the daemon's own questions to a chip; its tools get theirs from a wrapper.
    #[must_use]
    pub fn modem_lines(self, chip: &crate::EspFake) -> Self {
        chip.modem_lines().into_iter().fold(self, |daemon, (key, value)| daemon.env(key, value))
    }

    /// The daemon's state folder lies on this disk.
    #[must_use]
    pub fn disk(self, disk: &crate::Disk) -> Self {
        disk.variables().into_iter().fold(self, |daemon, (key, value)| daemon.env(key, value))
    }

    /// The daemon and its tools see this bus's ports as all that there are. Only root can do this.
    #[must_use]
    pub fn bus(mut self, bus: &crate::UsbBus) -> Self {
        self.around = Some(bus.around());
        self
    }

    /// The daemon lives in this network and listens to mDNS there; `extra` are further lines of `[mdns]`. Only root can do
    /// this.
    #[must_use]
    pub fn lan(mut self, gateway: &crate::Gateway, extra: &str) -> Self {
        self.around = Some(gateway.around());
        self.toml(&format!("[mdns]\nenabled = true\n{extra}"))
    }

    /// The daemon has a table of mounts of its own: see [`Daemon::among_mounts`]. Only root can do this.
    #[must_use]
    pub fn own_mounts(mut self) -> Self {
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "--propagation", "private"]);
        self.around = Some(outer);
        self
    }

    /// The daemon sees this folder as `/sys/class/thermal`. Only root can do this.
    #[must_use]
    pub fn thermal(mut self, folder: &Path) -> Self {
        let mut outer = Command::new("unshare");
        outer.args(["--mount", "sh", "-c", "mount --bind \"$0\" /sys/class/thermal && exec \"$@\""]).arg(folder);
        self.around = Some(outer);
        self
    }

    /// strace writes these calls of the daemon and its tools into a file, one a line: `PID call(FD<path>, ...) = result`.
    #[must_use]
    pub fn traced(mut self, log: &Path, calls: &str) -> Self {
        let mut strace = Command::new(crate::cache::program("disaster", "strace"));
        // The tracer stands beside: the daemon stays our child. Strings are as long as a page of the database.
        strace.args(["-D", "-f", "-y", "--seccomp-bpf", "-qq", "-s", "4096", "-e"]).arg(format!("trace={calls}"));
        strace.arg("-o").arg(log).arg("--");
        self.around = Some(strace);
        self
    }

    /// The daemon's wall clock is this one.
    #[must_use]
    pub fn clock(self, clock: &crate::WallClock) -> Self {
        clock.variables().into_iter().fold(self, |daemon, (key, value)| daemon.env(key, value))
    }

    /// A folder that comes first on the daemon's PATH.
    #[must_use]
    pub fn path(mut self, dir: &Path) -> Self {
        self.path.push(dir.to_owned());
        self
    }

    /// Puts the state folder on a file system of its own of this size, e.g. `1m`, which only the daemon sees. Only root
    /// can do this; what the daemon keeps is gone with it.
    #[must_use]
    pub fn small_disk(mut self, size: &str) -> Self {
        self.disk = Some(size.to_owned());
        self
    }

    /// The daemon and its tools may write nothing but the state folder, `/run` and devices: all else is mounted read-only. Only
    /// root can do this.
    #[must_use]
    pub fn read_only(mut self) -> Self {
        self.read_only = true;
        self.around = Some(read_only(&self.world.home().join("state")));
        self
    }

    /// Writes the configuration and starts `nuncio run`; returns once it answers.
    pub fn start(self) -> Daemon {
        let mut daemon = self.prepare();
        daemon.run();
        daemon
    }

    /// Writes the configuration only.
    pub fn prepare(self) -> Daemon {
        let home = self.world.home();
        let state = home.join("state");
        let socket = if self.read_only { state.join("control.sock") } else { home.join("control.sock") };
        let passive = if self.serial.contains("questions") { "" } else { "questions = \"passive\"\n" };
        let watch = if self.serial.contains("watch") { "" } else { "watch = []\n" };
        // This machine's network and its disks are nobody's world.
        let quiet = |section: &str| match self.tables.contains(&format!("[{section}]")) {
            true => String::new(),
            false => format!("[{section}]\nenabled = false\n"),
        };
        let quiet = quiet("mdns") + &quiet("ble") + &quiet("disk");
        let text = format!(
            "[gateway]\nname = \"world\"\nendpoint = {:?}\nstate = {state:?}\nsocket = {socket:?}\nlog = \"debug\"\n\n[serial]\npoll = \"200ms\"\n{passive}{watch}{}\n\
             [download]\nallow = {:?}\n{}{}{quiet}",
            self.own_endpoint, self.serial, self.allow, self.download, self.tables
        );
        let config = self.world.file("config/nuncio.toml", text);
        if let Some(user) = self.world.user() {
            user.own(&config);
        }
        let path = std::env::var("PATH").unwrap_or_default();
        let path: String = self.path.iter().map(|dir| format!("{}:", dir.display())).chain([path]).collect();
        let mut env = self.env;
        if env.iter().all(|(key, _)| key != "PATH") {
            env.push(("PATH".to_owned(), path));
        }
        let around = self.disk.map(|size| small_disk(&size, &state)).or(self.around);
        Daemon {
            nuncio: self.world.nuncio(),
            config,
            env,
            around,
            user: self.world.user().cloned(),
            process: None,
            recorder: None,
        }
    }
}

/// `nuncio run` and its command line.
pub struct Daemon {
    nuncio: PathBuf,
    config: PathBuf,
    env: Vec<(String, String)>,
    /// The program that `nuncio run` is an argument of.
    around: Option<Command>,
    user: Option<User>,
    process: Option<Process>,
    /// Writes down what its transports see and say, where somebody collects that.
    recorder: Option<Process>,
}

/// What runs a command in a mount namespace of its own, with a small file system for the state folder.
fn small_disk(size: &str, at: &Path) -> Command {
    let mount = "mkdir -p \"$1\" && mount -t tmpfs -o size=\"$0\" world \"$1\" && shift && exec \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "sh", "-c", mount, size]).arg(at);
    outer
}

/// What runs a command in a mount namespace of its own, where nearly everything is mounted read-only.
fn read_only(but: &Path) -> Command {
    let remount = "mkdir -p \"$0\" && mount --bind \"$0\" \"$0\" || exit
        cut -d' ' -f5 /proc/self/mountinfo | while read -r at; do
            case $at in \"$0\" | /proc* | /sys* | /dev* | /run*) ;; *) mount -o remount,bind,ro \"$at\" || exit ;; esac
        done || exit
        exec \"$@\"";
    let mut outer = Command::new("unshare");
    outer.args(["--mount", "--propagation", "private", "sh", "-c", remount]).arg(but);
    outer
}

/// A command as the argument of another one.
fn wrapped(outer: &Command, inner: &Command) -> Command {
    let mut whole = Command::new(outer.get_program());
    whole.args(outer.get_args()).arg(inner.get_program()).args(inner.get_args());
    whole.envs(inner.get_envs().filter_map(|(key, value)| Some((key, value?))));
    whole
}

/// What a command of nuncio gave back.
#[derive(Debug, Clone)]
pub struct Cli {
    /// Its exit code; `None` after a signal.
    pub code: Option<i32>,
    /// Both of its outputs.
    pub output: String,
}

impl Cli {
    /// The line that begins like this, of a command that went well; panics where it did not.
    pub fn line(&self, beginning: &str) -> String {
        let found = self.output.lines().find(|line| line.starts_with(beginning));
        found.filter(|_| self.code == Some(0)).unwrap_or_else(|| panic!("{}", self.output)).trim().to_owned()
    }

    /// The first output line that is JSON and every line after it; null when there is none.
    pub fn json(&self) -> Value {
        let start = self.output.find(['{', '[']).unwrap_or(self.output.len());
        serde_json::from_str(&self.output[start..]).unwrap_or_default()
    }
}

impl Daemon {
    /// Starts `nuncio run` (again), and waits for nothing.
    pub(crate) fn launch(&mut self) {
        let command = self.command(&["run"]);
        let command = self.around.as_ref().map_or(command, |outer| wrapped(outer, &self.command(&["run"])));
        self.process = Some(Process::start("nuncio run", &command, self.user.as_ref()));
    }

    /// Starts `nuncio run` (again) and returns once it answers.
    pub fn run(&mut self) {
        self.launch();
        eventually("the daemon answers", PATIENCE, || {
            let ended = self.process.as_mut().and_then(Process::try_wait);
            assert!(ended.is_none(), "nuncio run ended with {ended:?}");
            self.cli(&["devices", "--json"]).json()["devices"].is_array().then_some(())
        });
        if let Some(folder) = std::env::var_os("NUNCIO_RECORD") {
            self.record(Path::new(&folder));
        }
    }

    /// A tape of this test, by its name: see `tests/tapes`.
    fn record(&mut self, folder: &Path) {
        let test = std::thread::current().name().unwrap_or("nameless").replace("::", "-");
        let tape = folder.join(format!("{test}.tape"));
        let tape = tape.to_str().expect("a path of ours");
        self.recorder = Some(Process::start("recorder", &self.command(&["record", tape]), self.user.as_ref()));
    }

    /// The configuration file.
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        self.process.as_mut().expect("the daemon was started")
    }

    /// Everything it has logged since it was started last.
    pub fn log(&self) -> String {
        self.process.as_ref().map(Process::output).unwrap_or_default()
    }

    /// Runs a command among the daemon's own mounts, e.g. `mount` or `umount`.
    ///
    /// # Panics
    /// When it fails.
    pub fn among_mounts(&mut self, command: &[&str]) {
        let pid = self.process().id().to_string();
        let output = Command::new("nsenter").args(["--mount", "--target", &pid, "--"]).args(command).output();
        let output = output.expect("nsenter is there");
        assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// SIGTERM, and its exit code.
    pub fn stop(&mut self, within: Duration) -> Option<i32> {
        self.process().signal(Signal::TERM);
        self.process().wait(within).code()
    }

    /// SIGKILL to the daemon itself: a crash. Its tools are not in its group.
    pub fn crash(&mut self) {
        self.process().signal(Signal::KILL);
        self.process().wait(PATIENCE);
    }

    /// The daemon and its tools stop where they are, all threads; gives the tools.
    pub fn freeze(&mut self) -> Vec<Pid> {
        self.process().freeze();
        let tools = process::children(self.process().id());
        tools.iter().for_each(|tool| process::freeze(*tool));
        tools
    }

    /// SIGKILL to the daemon and to these tools of it.
    pub fn crash_with(&mut self, tools: &[Pid]) {
        // One that is gone is as good.
        tools.iter().for_each(|tool| _ = kill_process(*tool, Signal::KILL));
        self.crash();
    }

    /// Runs another command of nuncio with this configuration, as the daemon's user.
    pub fn cli(&self, args: &[&str]) -> Cli {
        let limit = Duration::from_secs(300);
        let (status, output) = process::run_as("nuncio", &self.command(args), self.user.as_ref(), limit);
        Cli { code: status.code(), output }
    }

    /// A device of `nuncio status --json`.
    pub fn device(&self, name: &str) -> Option<DeviceView> {
        let answer = self.cli(&["status", "--json"]).json();
        DeviceView::all(&answer).into_iter().find(|device| device.id() == name)
    }

    /// The device that `nuncio devices --json` tells at a port.
    pub fn device_at(&self, port: &Path) -> Option<DeviceView> {
        let answer = self.cli(&["devices", "--json"]).json();
        let link = format!("serial:{}", port.display());
        DeviceView::all(&answer).into_iter().find(|device| device.link() == link)
    }

    /// `nuncio why --json` of a device or a port; null when it is not known.
    pub fn why(&self, subject: impl AsRef<Path>) -> Value {
        self.cli(&["why", "--json", &subject.as_ref().display().to_string()]).json()
    }

    /// Waits until `nuncio why` says something of a port, and gives all that it says.
    pub fn await_why(&self, port: &Path, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        eventually(&format!("nuncio why {}: {what}", port.display()), PATIENCE, || {
            Some(self.why(port)).filter(|why| wanted(why))
        })
    }

    /// Waits until `nuncio status` says something of a device.
    pub fn await_device<T>(&self, name: &str, what: &str, wanted: impl Fn(&DeviceView) -> Option<T>) -> T {
        eventually(&format!("{name}: {what}"), PATIENCE, || wanted(&self.device(name)?))
    }

    /// Waits until a device is registered at a server, and gives the registration id that nuncio tells.
    pub fn await_registered(&self, device: &str, server: &str) -> String {
        self.await_device(device, &format!("is registered at {server}"), |view| {
            let session = view.server(server).filter(|session| session.state() == "registered")?;
            Some(session.registration().to_owned())
        })
    }

    /// What the built-in server knows of an endpoint: its values by path.
    pub fn builtin_value(&self, endpoint: &str, path: &str) -> Option<String> {
        let view = self.cli(&["builtin", "--json"]).json();
        let client = view["clients"].as_array()?.iter().find(|client| client["endpoint"] == endpoint)?.clone();
        let value = client["values"].as_array()?.iter().find(|value| value["path"] == path)?["value"].clone();
        value.as_str().map(str::to_owned)
    }

    /// `nuncio flash DEVICE IMAGE`.
    pub fn flash(&self, device: &str, image: &Path) -> Cli {
        self.cli(&["flash", device, &image.display().to_string()])
    }

    /// Changes the configuration file as text; SIGHUP or a restart makes it known.
    pub fn edit_config(&self, edit: impl FnOnce(&str) -> String) {
        let text = fs::read_to_string(&self.config).expect("our own configuration");
        fs::write(&self.config, edit(&text)).expect("our own configuration");
    }

    /// A command of nuncio with this configuration, not yet run.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(&self.nuncio);
        command.args(args).arg("--config").arg(&self.config).envs(self.env.iter().map(|(key, value)| (key, value)));
        command
    }
}
