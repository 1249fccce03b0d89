//! One virtual machine: QEMU as a process, its monitor (QMP), and the agent in the guest.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};
use world::Process;

use crate::channel::Channel;

/// A whole Debian boots in 13 to 80 s without KVM, as busy as the host is.
pub(crate) const BOOT: Duration = Duration::from_secs(400);
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
    qemu: Process,
}

/// What a command in the guest came to.
#[derive(Debug, Clone)]
pub struct Shell {
    /// Its exit code; 124 when it ran out of time.
    pub code: i64,
    /// Both of its outputs.
    pub output: String,
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
                -device virtserialport,chardev=agent,name=agent -device virtserialport,chardev=usb,name=usb -device virtserialport,chardev=radio,name=radio \
                -device virtio-blk-pci,drive=disk";
    speed.split_whitespace().chain(rest.split_whitespace()).map(str::to_owned).collect()
}

impl Machine {
    /// `image` has kernel and initrd; `disk` (qcow2) is written to, and may have a snapshot to go on from.
    pub(crate) fn start(image: &Path, disk: &Path, snapshot: Option<&str>, folder: tempfile::TempDir) -> Self {
        let at = |name: &str| folder.path().join(name).display().to_string();
        let mut command = Command::new("qemu-system-x86_64");
        for name in ["agent", "usb", "radio"] {
            command.arg("-chardev").arg(format!("socket,id={name},path={},server=on,wait=off", at(name)));
        }
        fs::create_dir(folder.path().join("share")).expect("a writable folder");
        command.arg("-drive").arg(format!("file={},format=qcow2,if=none,id=disk", disk.display()));
        command
            .arg("-virtfs")
            .arg(format!("local,path={},mount_tag=share,security_model=none,readonly=on", at("share")));
        command.args(hardware()).arg("-kernel").arg(image.join("vmlinuz"));
        command.arg("-initrd").arg(image.join("initrd.zst")).arg("-append");
        command.arg("console=ttyS0 quiet loglevel=4 panic=-1 net.ifnames=0 systemd.show_status=0 mitigations=off");
        command.arg("-serial").arg(format!("file:{}", at("console")));
        command.arg("-qmp").arg(format!("unix:{},server=on,wait=off", at("monitor")));
        command.args(snapshot.iter().flat_map(|name| ["-loadvm", name]));
        let qemu = Process::start("qemu", &command, None);
        let mut monitor = Channel::open(&folder.path().join("monitor"));
        heard(monitor.line(BOOT), "QEMU greets");
        let agent = Channel::open(&folder.path().join("agent"));
        let mut machine = Self { folder, monitor, agent, asked: 0, qemu };
        machine.monitor("qmp_capabilities", &json!({}));
        if snapshot.is_some() {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
            machine.must(&format!("date -s @{}", now.as_secs()));
        } else {
            heard(machine.agent.line(BOOT), "the guest boots");
        }
        machine
    }

    /// Keeps what it is now as a snapshot of its disk, instead of the one before, and ends it.
    pub(crate) fn keep(mut self, name: &str) {
        // QEMU keeps no machine that has the share in use.
        self.must("! mountpoint -q /share || umount /share; sync");
        for order in ["delvm", "savevm"] {
            let said = self.monitor("human-monitor-command", &json!({ "command-line": format!("{order} {name}") }));
            let fine = said == "" || order == "delvm";
            assert!(fine, "QEMU on {order}: {said}");
        }
        self.monitor("quit", &json!({}));
        self.qemu.wait(COMMAND);
    }

    /// An order to QEMU itself, and its answer.
    fn monitor(&mut self, command: &str, arguments: &Value) -> Value {
        let order = json!({ "execute": command, "arguments": arguments }).to_string();
        heard(self.monitor.send(&order).map(Some), command);
        loop {
            let line = heard(self.monitor.line(BOOT), command);
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
        let order = json!({ "id": id, "sh": command, "timeout": within.as_secs() }).to_string();
        heard(self.agent.send(&order).map(Some), command);
        loop {
            let line = heard(self.agent.line(within + GRACE), command);
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

/// What came, or a failure that says what was waited for.
fn heard<T>(outcome: io::Result<Option<T>>, what: &str) -> T {
    match outcome {
        Ok(Some(heard)) => heard,
        Ok(None) => panic!("not in time: {what}"),
        Err(error) => panic!("QEMU has ended ({error}): {what}"),
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
        let asked = self.agent.send(&wanted.to_string());
        let Ok(Some(line)) = asked.and_then(|()| self.agent.line(Duration::from_secs(30))) else {
            return eprintln!("---- the guest is silent");
        };
        let answer: Value = serde_json::from_str(&line).unwrap_or_default();
        eprintln!("---- the guest's journal, its last lines:\n{}", answer["out"].as_str().unwrap_or(&line));
    }
}
