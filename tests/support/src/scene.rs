//! The scene most end-to-end tests play in: one device, the two shared Leshans, a file server, the daemon.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use crate::wait::eventually;
use crate::{Daemon, DaemonBuilder, Events, HttpFiles, Leshan, World};

/// Ten times what the longest flash of these tests takes.
const FLASH: Duration = Duration::from_secs(240);

/// Server `factory` (short id 123) is the first Leshan, `cloud` (234, which is shown object 5 in version 1.0) the second.
pub struct Scene {
    /// The daemon, registered at both servers.
    pub daemon: Daemon,
    /// Where images are pulled from; allowed in the configuration.
    pub files: HttpFiles,
    /// The device's name and endpoint name.
    pub name: String,
    /// The world around it.
    pub world: World,
}

/// State and result as a server reads them from 5/0/3 and 5/0/5.
pub type Firmware = (String, String);

impl Scene {
    /// Starts the daemon for one device, and returns once both servers know it.
    pub fn new(world: World, board: &str, link: &str) -> Self {
        Self::with(world, board, link, |daemon| daemon)
    }

    /// The same with a further configuration.
    pub fn with(
        world: World,
        board: &str,
        link: &str,
        configure: impl FnOnce(DaemonBuilder<'_>) -> DaemonBuilder<'_>,
    ) -> Self {
        Self::between(world, board, link, ["", ""], configure)
    }

    /// The same with further lines for the two servers, e.g. `firmware = "any"`.
    pub fn between(
        world: World,
        board: &str,
        link: &str,
        [factory, cloud]: [&str; 2],
        configure: impl FnOnce(DaemonBuilder<'_>) -> DaemonBuilder<'_>,
    ) -> Self {
        let (a, b) = Leshan::pair();
        let (name, files) = (world.name(board), world.http());
        let daemon = world
            .daemon()
            .server("factory", &a.uri(), 123, &format!("lifetime = \"30s\"\n{factory}"))
            .server("cloud", &b.uri(), 234, &format!("lifetime = \"30s\"\nfirmware_object = \"1.0\"\n{cloud}"))
            .device(&name, board, link, "")
            .allow(&files.base());
        let daemon = configure(daemon).start();
        let scene = Self { daemon, files, name, world };
        for server in [a, b] {
            server.await_client(&scene.name);
        }
        scene
    }

    /// The first server, `factory`.
    pub fn factory(&self) -> &'static Leshan {
        &Leshan::pair().0
    }

    /// The second server, `cloud`.
    pub fn cloud(&self) -> &'static Leshan {
        &Leshan::pair().1
    }

    /// Both servers observe 5/0/3; the streams tell what they are notified of.
    pub fn observe_state(&self) -> [Events; 2] {
        [self.factory(), self.cloud()].map(|server| {
            let events = server.events(&self.name);
            let answer = server.observe(&self.name, "5/0/3");
            assert_eq!(answer.code, 205, "{answer:?}");
            events
        })
    }

    /// What a server reads.
    pub fn firmware(&self, server: &Leshan) -> Firmware {
        (server.read(&self.name, "5/0/3").text(), server.read(&self.name, "5/0/5").text())
    }

    /// Waits until a server reads this state and result.
    pub fn await_firmware(&self, server: &Leshan, state: &str, result: &str) {
        let wanted = (state.to_owned(), result.to_owned());
        eventually(&format!("5/0/3 = {state}, 5/0/5 = {result}, not {:?}", self.firmware(server)), FLASH, || {
            (self.firmware(server) == wanted).then_some(())
        });
    }

    /// A server names an image; `fragment` is what follows the URI, e.g. `#version=1.3.0`.
    pub fn offer(&self, server: &Leshan, image: &Path, fragment: &str) {
        let name = image.file_name().and_then(|name| name.to_str()).expect("an image has a name");
        let bytes = fs::read(image).unwrap_or_else(|error| panic!("{}: {error}", image.display()));
        let uri = self.files.put(name, bytes);
        let answer = server.write_uri(&self.name, &format!("{uri}{fragment}"));
        assert_eq!(answer.code, 204, "{answer:?}");
    }

    /// A server names an image that is refused before the board is touched.
    pub fn refused(&self, server: &Leshan, image: &Path, result: &str) {
        self.offer(server, image, "");
        self.await_firmware(server, "0", result);
    }

    /// Waits until nuncio says that the device is plugged in.
    pub fn await_device_present(&self) {
        self.daemon.await_device(&self.name, "is present", |device| device.present().then_some(()));
    }

    /// A server executes 5/0/2.
    pub fn execute(&self, server: &Leshan) {
        let answer = server.execute(&self.name, "5/0/2");
        assert_eq!(answer.code, 204, "{answer:?}");
    }

    /// A whole update by pull, proven, and the version that the device is said to have then.
    pub fn update(&self, server: &Leshan, image: &Path, version: &str) {
        self.offer(server, image, &format!("#version={version}"));
        self.await_firmware(server, "2", "0");
        self.execute(server);
        self.await_firmware(server, "0", "1");
        assert_eq!(server.read(&self.name, "3/0/3").text(), version);
    }

    /// A server stages an image and executes it, and the flash or its proof fails: the image is kept.
    pub fn fails(&self, server: &Leshan, image: &Path) {
        self.offer(server, image, "");
        self.await_firmware(server, "2", "0");
        self.execute(server);
        self.await_firmware(server, "2", "8");
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if thread::panicking() {
            self.factory().print();
            self.cloud().print();
        }
    }
}
