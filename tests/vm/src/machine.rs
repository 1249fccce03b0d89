//! One virtual machine: QEMU as a process, its monitor (QMP), and the agent in the guest.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use world::Process;

use crate::channel::Channel;

/// A whole Debian boots in 13 to 80 s without KVM, as busy as the host is.
const BOOT: Duration = Duration::from_secs(400);
/// A command of the guest that is expected to take about no time.
const COMMAND: Duration = Duration::from_secs(120);
/// Beyond the guest's own limit: it has to say that it has run out of time.
const GRACE: Duration = Duration::from_secs(60);

/// A running machine. It is killed with its value; when the test fails, what it has logged is printed.
pub struct Machine {
    folder: tempfile::TempDir,
    monitor: Channel,
    agent: Channel,
    asked: u64,
    /// Last: the sockets above lead to it.
    _qemu: Process,
}

/// What a command in the guest came to.
#[derive(Debug, Clone)]
pub struct Shell {
    /// Its exit code; 124 when it ran out of time.
    pub code: i64,
    /// Both of its outputs.
    pub output: String,
}

/// How a machine is started.
pub(crate) struct Start<'a> {
    /// Kernel and initrd.
    pub(crate) image: &'a Path,
    /// Its disk (qcow2), written to.
    pub(crate) disk: PathBuf,
    /// A snapshot in it to go on from.
    pub(crate) snapshot: Option<&'a str>,
    pub(crate) folder: tempfile::TempDir,
}

/// Whether a stock kernel runs under KVM here. `/dev/kvm` alone says nothing: a host with PVM opens it and hangs.
pub(crate) fn kvm() -> bool {
    let usable = fs::OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
    usable && !Path::new("/sys/module/kvm_pvm").exists()
}

/// What is the same for every machine of one snapshot. One processor: with two, TCG is slower.
pub(crate) fn hardware() -> Vec<String> {
    let speed = if kvm() { "-accel kvm -cpu host" } else { "-accel tcg,thread=multi -cpu max" };
    let rest = "-nodefaults -display none -no-reboot -machine q35 -m 768 -smp 1 -device virtio-rng-pci \
                -netdev user,id=net -device virtio-net-pci,netdev=net -device virtio-serial-pci \
                -device virtserialport,chardev=agent,name=agent -device virtserialport,chardev=usb,name=usb \
                -device virtio-blk-pci,drive=disk";
    speed.split_whitespace().chain(rest.split_whitespace()).map(str::to_owned).collect()
}

impl Machine {
    pub(crate) fn start(start: Start<'_>) -> Self {
        let folder = start.folder;
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new("qemu-system-x86_64");
        for name in ["agent", "usb"] {
            command.arg("-chardev").arg(format!("socket,id={name},path={},server=on,wait=off", at(name)));
        }
        fs::create_dir(folder.path().join("share")).expect("a writable folder");
        command.arg("-drive").arg(format!("file={},format=qcow2,if=none,id=disk", start.disk.display()));
        command
            .arg("-virtfs")
            .arg(format!("local,path={},mount_tag=share,security_model=none,readonly=on", at("share")));
        command.args(hardware()).arg("-kernel").arg(start.image.join("vmlinuz"));
        command.arg("-initrd").arg(start.image.join("initrd.zst")).arg("-append");
        command.arg("console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 systemd.show_status=0 mitigations=off");
        command.arg("-serial").arg(format!("file:{}", at("console")));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", at("monitor")));
        command.args(start.snapshot.iter().flat_map(|name| ["-loadvm", name]));
        let qemu = Process::start("qemu", &command, None);
        let mut monitor = Channel::open(&folder.path().join("monitor"));
        monitor.line(BOOT).expect("QEMU greets");
        let agent = Channel::open(&folder.path().join("agent"));
        let mut machine = Self { folder, monitor, agent, asked: 0, _qemu: qemu };
        machine.monitor("qmp_capabilities", &json!({}));
        if start.snapshot.is_some() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            machine.must(&format!("date -s @{}", now.as_secs()));
        } else {
            machine.agent.line(BOOT).unwrap_or_else(|| panic!("the guest did not boot:\n{}", machine.console()));
        }
        machine
    }

    /// An order to QEMU itself, and its answer.
    pub(crate) fn monitor(&mut self, command: &str, arguments: &Value) -> Value {
        self.monitor.send(&json!({ "execute": command, "arguments": arguments }).to_string());
        loop {
            let line = self.monitor.line(BOOT).unwrap_or_else(|| panic!("QEMU does not answer {command}"));
            let answer: Value = serde_json::from_str(&line).expect("QMP is JSON");
            if answer.get("event").is_none() {
                assert!(answer.get("error").is_none(), "QEMU on {command}: {answer}");
                return answer["return"].clone();
            }
        }
    }

    /// Runs a command of the guest's bash.
    pub fn shell(&mut self, command: &str) -> Shell {
        self.shell_within(command, COMMAND)
    }

    /// The same for one that takes its time.
    pub fn shell_within(&mut self, command: &str, within: Duration) -> Shell {
        self.asked += 1;
        let id = self.asked;
        self.agent.send(&json!({ "id": id, "sh": command, "timeout": within.as_secs() }).to_string());
        loop {
            let line = self.agent.line(within + GRACE).unwrap_or_else(|| panic!("the guest is silent: {command}"));
            let answer: Value = serde_json::from_str(&line).expect("the agent speaks JSON");
            if answer["id"] == id {
                let output = answer["out"].as_str().unwrap_or_default().to_owned();
                return Shell { code: answer["rc"].as_i64().unwrap_or(-1), output };
            }
        }
    }

    /// Runs a command that has to succeed, and gives what it printed.
    pub fn must(&mut self, command: &str) -> String {
        let done = self.shell(command);
        assert_eq!(done.code, 0, "in the guest: {command}\n{}", done.output);
        done.output
    }

    /// Brings a file of the host into the guest, executable.
    pub fn copy(&mut self, from: &Path, to: &str) {
        let share = self.folder.path().join("share/file");
        // Another name for the same file costs nothing; across file systems there is none.
        if fs::hard_link(from, &share).is_err() {
            fs::copy(from, &share).expect("a copy for the guest");
        }
        self.must(&format!(
            "mkdir -p /share && (mountpoint -q /share || mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 share /share) && \
             install -m 755 -D /share/file {to}"
        ));
        fs::remove_file(share).expect("our own file");
    }

    /// Writes a file of the guest.
    pub fn file(&mut self, path: &str, text: &str) {
        // A word that ends no file of ours.
        self.must(&format!("mkdir -p $(dirname {path}) && cat >{path} <<'END-OF-FILE'\n{text}\nEND-OF-FILE"));
    }

    /// The socket of a virtio port other than the agent's.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What the guest's kernel has said.
    pub fn console(&self) -> String {
        let bytes = fs::read(self.folder.path().join("console")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if thread::panicking() {
            self.report();
        }
    }
}

impl Machine {
    /// What the guest knows of a failure. The guest may be the failure: nothing here is waited for long.
    #[expect(clippy::print_stderr, reason = "a failed case shows what its machine said")]
    fn report(&mut self) {
        eprintln!("---- the guest's console:\n{}", self.console());
        let wanted = json!({ "id": 0, "timeout": 20, "sh": "journalctl -b -o short-monotonic --no-pager | tail -150" });
        self.agent.send(&wanted.to_string());
        let Some(line) = self.agent.line(Duration::from_secs(30)) else {
            eprintln!("---- the guest's agent is silent");
            return;
        };
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        eprintln!("---- the guest's journal, its last lines:\n{}", answer["out"].as_str().unwrap_or(&line));
    }
}
