//! LwM2M clients that we did not write, for the server that we did.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use crate::cache::{peer, program, repository};
use crate::process::Process;

/// Ten times what they take to start on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(120);

/// A running client; it goes when this does.
pub struct ForeignClient {
    process: Process,
}

impl ForeignClient {
    /// Leshan's client library, LwM2M 1.1, with objects 3 and 5: see `tests/peers/leshan-client`.
    pub fn leshan(port: u16, endpoint: &str) -> Self {
        let classes = peer("leshan", "leshan-client/FirmwareClient.class");
        let folder: PathBuf = classes.parent().expect("a file lies in a folder").to_owned();
        let mut command = Command::new(program("leshan", "java"));
        command.args(["-Xmx96m", "-XX:TieredStopAtLevel=1", "-cp"]);
        command.arg(format!("{0}:{0}/*", folder.display())).arg("FirmwareClient").arg(port.to_string()).arg(endpoint);
        // It keeps a file with Californium's settings where it runs.
        command.current_dir(std::env::temp_dir());
        Self::start("leshan client", &command, "started")
    }

    /// lwm2m-node-lib's client, LwM2M 1.0, which tells resources and no instances: see `tests/peers/lwm2m-node-client.js`.
    pub fn node(port: u16, endpoint: &str) -> Self {
        let modules = peer("node", "node/node_modules");
        let mut command = Command::new(program("node", "node"));
        command.arg(repository().join("tests/peers/lwm2m-node-client.js")).arg(port.to_string()).arg(endpoint);
        command.current_dir(modules.parent().expect("node_modules lies in a folder"));
        Self::start("lwm2m-node-lib client", &command, "\"registered\"")
    }

    fn start(name: &str, command: &Command, ready: &str) -> Self {
        let mut process = Process::start(name, command, None);
        process.line_after(0, PATIENCE, |line| line.contains(ready).then_some(()));
        Self { process }
    }

    /// Says a line to it.
    pub fn tell(&mut self, line: &str) {
        self.process.tell(line);
    }

    /// Waits for a line with these words, from the start.
    pub fn await_line(&mut self, words: &str) -> String {
        self.process.line_after(0, PATIENCE, |line| line.contains(words).then(|| line.to_owned()))
    }

    /// All that it has said.
    pub fn output(&self) -> String {
        self.process.output()
    }

    /// Ends it without a word to anybody.
    pub fn kill(mut self) {
        self.process.kill();
    }
}
