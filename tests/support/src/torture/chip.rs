//! The board of a stand: a simulated AVR or an Espressif peer, asked what it really holds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::pty::{OpenptFlags, openpt};

use super::case::Tool;
use crate::esp::application;
use crate::process::Printed;
use crate::{EspFake, SimBoard, Tty, World, avr_image, esp_image};

/// Five times what a board takes to start and print its line.
const BANNER: Duration = Duration::from_secs(8);
/// The bootloader gives up when it runs four times as fast.
const SPEED: u32 = 2;

/// One of the two images of a board.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Image {
    pub(super) version: &'static str,
    pub(super) path: PathBuf,
}

impl Image {
    /// Two versions that differ in nearly every byte: a mixture of both is neither.
    pub(super) fn pair(tool: Tool) -> [Self; 2] {
        match tool {
            Tool::Avrdude => {
                ["1.2.0", "1.3.0"].map(|version| Self { version, path: avr_image(&format!("uno-{version}-4k.hex")) })
            }
            Tool::Esptool => {
                ["1.4.2", "1.5.0"].map(|version| Self { version, path: esp_image(&format!("esp32-{version}-4k.bin")) })
            }
        }
    }
}

/// A board that is plugged in, or just is not.
pub(super) enum Chip {
    Avr(SimBoard),
    Esp(EspFake),
}

impl Chip {
    pub(super) fn start(world: &World, tool: Tool, image: &Image) -> Self {
        match tool {
            Tool::Avrdude => Self::Avr(world.board(crate::Model::Uno).with(&image.path).speed(SPEED).start()),
            Tool::Esptool => Self::Esp(world.esp("esp32").with(&image.path).start()),
        }
    }

    pub(super) fn port(&self) -> &Path {
        match self {
            Self::Avr(board) => board.port(),
            Self::Esp(chip) => chip.port(),
        }
    }

    pub(super) fn link(&self) -> String {
        format!("serial:{}", self.port().display())
    }

    pub(super) fn printed(&self) -> Printed {
        match self {
            Self::Avr(board) => board.process().printed(),
            Self::Esp(chip) => chip.process().printed(),
        }
    }

    /// Everything that it has printed since it was started.
    pub(super) fn output(&self) -> String {
        match self {
            Self::Avr(board) => board.process().output(),
            Self::Esp(chip) => chip.process().output(),
        }
    }

    pub(super) fn unplug(&self) {
        match self {
            Self::Avr(board) => board.unplug(),
            Self::Esp(chip) => chip.unplug(),
        }
    }

    /// Plugs it in, powered up anew; `renamed`: as another device node, if that can be had. Gives whether it is one.
    pub(super) fn plug(&self, before: Option<&Path>, renamed: bool) -> bool {
        // The lowest free number goes to who comes first.
        let taken = renamed.then(|| openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a free pty"));
        match self {
            Self::Avr(board) => {
                board.plug();
                board.order("reset");
            }
            Self::Esp(chip) => chip.plug(),
        }
        drop(taken);
        self.node().as_deref() != before
    }

    /// The device node behind the link.
    pub(super) fn node(&self) -> Option<PathBuf> {
        fs::read_link(self.port()).ok()
    }

    /// Whether its flash is exactly this image where the image has bytes.
    pub(super) fn holds(&self, image: &Image) -> bool {
        match self {
            Self::Avr(board) => board.holds(&image.path),
            Self::Esp(chip) => {
                let bytes = fs::read(&image.path).expect("an image of ours");
                let at = application(chip.chip());
                chip.flash()[at..].starts_with(&bytes)
            }
        }
    }

    /// What it says when it starts; nothing when what it holds does not run.
    pub(super) fn says(&self) -> Option<String> {
        let mut tty = Tty::open(self.port(), 115_200);
        if let Self::Esp(chip) = self {
            chip.order("power");
        }
        tty.try_line("ID ", BANNER)
    }
}
