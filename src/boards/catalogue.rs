//! The board catalogue: the built-in files and a folder of the user's laid over them, checked against each other.
//!
//! It knows boards, not devices: which board a device is, is [`super::registry`]'s. Loaded by `gateway` at start and on
//! SIGHUP, and by `nuncio check`; names no tool.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::announced::{BleMatch, DiscoveredMatch, Facts, ServiceMatch};
use super::file::{self, BoardFile, BoardText, Clue, FlashText, Labels, Light, Strength, UsbMatch, VersionText};
use super::points::PointsText;
use crate::device::{
    BoardId, Enter, Exclusive, FileError, FlashProfile, ImageRules, ListenQuestion, Point, ProgramQuestion,
    RebootMethod, RetryRules, RollbackPolicy, ServiceType, ShownPoint, VersionQuestion, WayBack,
};

/// The files that are part of the binary, by name.
const EMBEDDED: &[(&str, &str)] = &include!("../../config/boards.d/embedded.rs");

/// Largest board file that is read, in bytes.
const MAX_FILE: u64 = 256 * 1024;
/// At most so many files are read from one folder.
const MAX_FILES: usize = 1000;
/// How long a device that is not flashed may be away: said where nobody asks.
const AWAY: Duration = Duration::from_secs(10);
/// Where embedded files are said to come from.
const BUILT_IN: &str = "(built in) boards.d";

/// Said of boards whose files have no `[board.ID.flash]`.
pub const NOT_FLASHED: &str = "its board file does not say how this type of board is flashed";

/// All boards.
#[derive(Debug, Default)]
pub struct Catalogue {
    boards: BTreeMap<BoardId, Board>,
}

/// One board, checked.
#[derive(Debug)]
pub(super) struct Board {
    pub(super) name: String,
    pub(super) labels: Labels,
    pub(super) usb: Vec<UsbMatch>,
    pub(super) never_reset: bool,
    pub(super) services: Vec<ServiceMatch>,
    pub(super) discovered: Vec<DiscoveredMatch>,
    pub(super) ble: Vec<BleMatch>,
    /// What its web server is asked for.
    pub(super) http: Option<String>,
    /// The UDP port of its SMP server.
    pub(super) smp: Option<u16>,
    pub(super) light: Option<Light>,
    pub(super) facts: Facts,
    pub(super) points: PointsText,
    pub(super) clues: Vec<Clue>,
    /// The usual profile first, then the alternatives in the order of trying.
    profiles: Vec<Arc<FlashProfile>>,
    file: PathBuf,
    /// Where its file begins to speak of it; the message is still to be said.
    place: FileError,
}

/// A board as found, with what an error needs to point at it.
struct Found {
    text: Arc<Source>,
    board: toml::Spanned<BoardText>,
}

struct Source {
    file: PathBuf,
    text: String,
}

impl Catalogue {
    /// Reads the built-in files and those in `overlay`, the `boards.d` beside the configuration file.
    ///
    /// # Errors
    /// Everything that is wrong, with file, line and key.
    pub fn load(overlay: Option<&Path>) -> Result<Self, Vec<FileError>> {
        let mut errors = Vec::new();
        let own = overlay.map_or_else(Vec::new, |folder| sources(folder, &mut errors));
        let replaced = |name: &str| own.iter().any(|source| source.file.file_name() == Some(name.as_ref()));
        let built_in = EMBEDDED
            .iter()
            .filter(|(name, _)| !replaced(name))
            .map(|(name, text)| Source { file: Path::new(BUILT_IN).join(name), text: (*text).to_owned() });
        let mut found = collect(built_in.collect(), &mut errors);
        found.extend(collect(own, &mut errors));
        errors.extend(conflicts(&found));
        if !errors.is_empty() {
            return Err(errors);
        }
        Ok(Self { boards: found.into_iter().map(|(id, found)| (id.clone(), Board::new(&id, found))).collect() })
    }

    /// What an update must know of a board: the usual profile.
    pub fn profile(&self, board: &BoardId) -> Option<Arc<FlashProfile>> {
        self.profiles(board).first().map(Arc::clone)
    }

    /// The usual profile of a board and then its alternatives, in the order of trying; empty for an unknown board.
    pub fn profiles(&self, board: &BoardId) -> &[Arc<FlashProfile>] {
        self.boards.get(board).map_or(&[], |board| &board.profiles)
    }

    /// Every board, sorted.
    pub fn boards(&self) -> impl Iterator<Item = &BoardId> {
        self.boards.keys()
    }

    /// The file a board came from, `(built in) ...` for an embedded one.
    pub fn source(&self, board: &BoardId) -> Option<&Path> {
        self.boards.get(board).map(|board| board.file.as_path())
    }

    /// An error that points at a board in its file.
    pub fn error_at(&self, board: &BoardId, message: impl Into<String>) -> Option<FileError> {
        let mut error = self.boards.get(board)?.place.clone();
        error.message = message.into();
        Some(error)
    }

    /// Whether a board's file says how it is flashed.
    pub fn is_flashable(&self, board: &BoardId) -> bool {
        self.boards.get(board).is_some_and(|board| !board.profiles[0].image.formats.is_empty())
    }

    /// The types of services by which boards are known.
    pub fn service_types(&self) -> BTreeSet<ServiceType> {
        self.boards.values().flat_map(|board| &board.services).map(|service| service.kind.clone()).collect()
    }

    /// A board's name for people.
    pub fn name(&self, board: &BoardId) -> Option<&str> {
        self.boards.get(board).map(|board| board.name.as_str())
    }

    /// The IPSO objects that a board's points become.
    pub fn point_objects(&self, board: &BoardId) -> BTreeSet<u16> {
        self.boards.get(board).map(|board| board.points.objects()).unwrap_or_default()
    }

    /// What servers are shown of a device's points.
    pub fn shown(&self, board: &BoardId, points: &[Point]) -> Vec<ShownPoint> {
        self.boards.get(board).map(|board| board.points.shown(points)).unwrap_or_default()
    }

    pub(super) fn get(&self, board: &BoardId) -> Option<&Board> {
        self.boards.get(board)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&BoardId, &Board)> {
        self.boards.iter()
    }
}

impl Board {
    fn new(id: &BoardId, found: Found) -> Self {
        let Found { text, board } = found;
        let place = file::error_at(&text.file, &text.text, board.span(), String::new());
        let BoardText {
            name,
            lwm2m,
            usb,
            never_reset,
            mdns,
            discovered,
            ble,
            http,
            smp,
            light,
            facts,
            points,
            identify,
            flash,
        } = board.into_inner();
        Self {
            name,
            labels: lwm2m,
            usb: usb.into_iter().map(toml::Spanned::into_inner).collect(),
            never_reset,
            services: mdns,
            discovered,
            ble: ble.into_iter().map(toml::Spanned::into_inner).collect(),
            http,
            smp,
            light,
            facts,
            points: points.map(toml::Spanned::into_inner).unwrap_or_default(),
            clues: identify.into_iter().map(toml::Spanned::into_inner).collect(),
            profiles: flash.map_or_else(|| vec![Arc::new(unflashable(id))], |flash| profiles(id, flash)),
            file: text.file.clone(),
            place,
        }
    }

    /// How it tells its version; the same in all its profiles.
    pub(super) fn version_ladder(&self) -> &[VersionQuestion] {
        &self.profiles[0].version
    }

    /// The profile that a bootloader which answered at this speed belongs to, if the speed says anything.
    pub(super) fn profile_at(&self, baud: u32) -> Option<&Arc<FlashProfile>> {
        let baud = baud.to_string();
        self.profiles.iter().find(|profile| profile.vars.get("baud") == Some(&baud))
    }

    /// The usual profile first, then the alternatives.
    pub(super) fn profiles(&self) -> &[Arc<FlashProfile>] {
        &self.profiles
    }
}

/// The profile of a board that is not flashed: no image fits, which no file can say of itself.
fn unflashable(id: &BoardId) -> FlashProfile {
    FlashProfile {
        board: id.clone(),
        image: ImageRules::default(),
        vars: BTreeMap::new(),
        expect_return: AWAY,
        soak: Duration::ZERO,
        version: Vec::new(),
        reboot: RebootMethod::None,
        enter: Enter::Tool,
        timeout: AWAY,
        retries: RetryRules::default(),
        alternatives: Vec::new(),
        rollback: RollbackPolicy::Never,
        way_back: WayBack::PreviousImage,
        exclusive: Exclusive::Port,
    }
}

fn profiles(id: &BoardId, flash: FlashText) -> Vec<Arc<FlashProfile>> {
    let image = flash.image.into_inner();
    let usual = FlashProfile {
        board: id.clone(),
        image: ImageRules {
            formats: image.formats,
            max_size: image.max_size,
            min_address: image.min_address,
            elf_machine: image.elf_machine,
            elf_flags: image.elf_flags,
            esp_chip_id: image.esp_chip_id,
            esp8266_header: image.esp8266_header,
        },
        vars: flash.vars,
        expect_return: flash.expect_return,
        soak: flash.soak,
        version: flash.version.into_iter().map(|version| version_question(version.into_inner())).collect(),
        reboot: flash.reboot,
        enter: flash.enter,
        timeout: flash.timeout,
        retries: flash.retries.into_inner(),
        alternatives: flash.alternatives.into_iter().map(toml::Spanned::into_inner).collect(),
        rollback: flash.rollback.into_inner(),
        way_back: flash.way_back.into_inner(),
        exclusive: flash.exclusive,
    };
    let alternatives = usual.alternatives.iter().map(|alternative| {
        let mut profile = usual.clone();
        profile.vars.extend(alternative.vars.clone());
        profile
    });
    let alternatives: Vec<FlashProfile> = alternatives.collect();
    std::iter::once(usual).chain(alternatives).map(Arc::new).collect()
}

fn version_question(version: VersionText) -> VersionQuestion {
    match version {
        VersionText::Listen(listen) => VersionQuestion::Listen(ListenQuestion {
            baud: listen.baud,
            banners: listen.banners,
            firmata: listen.firmata,
            reset: listen.reset,
            within: listen.within,
        }),
        VersionText::Improv(speed) => {
            VersionQuestion::Program(ProgramQuestion { baud: speed.baud, improv: true, ..ProgramQuestion::default() })
        }
        VersionText::Smp(speed) => {
            VersionQuestion::Program(ProgramQuestion { baud: speed.baud, smp: true, ..ProgramQuestion::default() })
        }
        VersionText::EspAppDesc(place) => VersionQuestion::EspAppDesc { baud: place.baud, offset: place.offset },
    }
}

/// The files of a folder, sorted by name. A folder that is not there has none.
fn sources(folder: &Path, errors: &mut Vec<FileError>) -> Vec<Source> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Vec::new(),
        Err(error) => {
            errors.push(FileError::whole(folder, format!("cannot read the folder: {error}")));
            return Vec::new();
        }
    };
    let paths = entries.flatten().map(|entry| entry.path());
    let mut paths: Vec<PathBuf> = paths.filter(|path| path.extension() == Some("toml".as_ref())).collect();
    paths.sort_unstable();
    if paths.len() > MAX_FILES {
        errors.push(FileError::whole(folder, format!("more than {MAX_FILES} files")));
        paths.truncate(MAX_FILES);
    }
    paths.into_iter().filter_map(|path| read(path).map_err(|error| errors.push(*error)).ok()).collect()
}

fn read(file: PathBuf) -> Result<Source, Box<FileError>> {
    let wrong = |reason: String| Box::new(FileError::whole(&file, reason));
    let length = fs::metadata(&file).map_err(|error| wrong(format!("cannot read it: {error}")))?.len();
    if length > MAX_FILE {
        return Err(wrong(format!("larger than {MAX_FILE} bytes: this is no board file")));
    }
    let text = fs::read_to_string(&file).map_err(|error| wrong(format!("cannot read it: {error}")))?;
    Ok(Source { file, text })
}

/// The boards of files that lie side by side: none may be there twice.
fn collect(sources: Vec<Source>, errors: &mut Vec<FileError>) -> BTreeMap<BoardId, Found> {
    let mut boards: BTreeMap<BoardId, Found> = BTreeMap::new();
    for source in sources.into_iter().map(Arc::new) {
        let parsed = match file::parse(&source.file, &source.text) {
            Ok(BoardFile { board, .. }) => board,
            Err(mut wrong) => {
                errors.append(&mut wrong);
                continue;
            }
        };
        for (id, board) in parsed {
            let id = BoardId::new(id);
            if let Some(other) = boards.get(&id) {
                let message = format!("board `{id}` is in {} too", other.text.file.display());
                errors.push(file::error_at(&source.file, &source.text, board.span(), message));
                continue;
            }
            boards.insert(id, Found { text: Arc::clone(&source), board });
        }
    }
    boards
}

/// Two boards must not claim that the same USB ids are theirs alone.
fn conflicts(boards: &BTreeMap<BoardId, Found>) -> Vec<FileError> {
    let mut claimed: BTreeMap<(u16, u16), (&BoardId, &Found)> = BTreeMap::new();
    let mut errors = Vec::new();
    // The user's files last, so that an error points at them.
    let (built_in, own): (Vec<_>, Vec<_>) = boards.iter().partition(|(_, found)| found.text.file.starts_with(BUILT_IN));
    for (id, found) in built_in.into_iter().chain(own) {
        for usb in found.board.get_ref().usb.iter().filter(|usb| usb.get_ref().strength == Strength::Strong) {
            let UsbMatch { vid, pid, .. } = *usb.get_ref();
            match claimed.get(&(vid, pid)) {
                None => {
                    claimed.insert((vid, pid), (id, found));
                }
                Some((other, place)) if *other != id => errors.push(conflict(found, usb, (id, other, place))),
                Some(_) => {}
            }
        }
    }
    errors
}

fn conflict(found: &Found, usb: &toml::Spanned<UsbMatch>, who: (&BoardId, &BoardId, &Found)) -> FileError {
    let (id, other, place) = who;
    let UsbMatch { vid, pid, .. } = usb.get_ref();
    let message = format!(
        "`{id}` and `{other}` ({}) both claim USB {vid:04x}:{pid:04x} as theirs alone",
        place.text.file.display()
    );
    file::error_at(&found.text.file, &found.text.text, usb.span(), message)
        .with_hint("give the id to one of them, or make it `strength = \"family\"` in both")
}
