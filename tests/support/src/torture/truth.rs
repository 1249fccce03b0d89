//! One case from the order of its update to a board that was flashed again, and what must hold on the way.

use std::path::Path;
use std::time::{Duration, Instant};

use super::case::{Case, Victim};
use super::chip::Image;
use super::claim::Claim;
use super::killer::{self, Strike};
use super::report::{Kind, Violation};
use super::rest::{self, Rest};
use super::stand::{Broken, Ordered, Orders, Stand};
use super::watch::{self, Told};
use crate::Leftovers;

/// Ten times what a daemon takes to tidy up behind an update.
const TIDY: Duration = Duration::from_secs(10);
/// A server's orders get so long to come through when the link is back.
const ORDERS: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(100);
/// The servers' answers to Execute may get lost on a loaded machine.
const TRIES: u32 = 3;

/// What a case came to.
#[derive(Debug, Clone)]
pub(super) struct Outcome {
    pub(super) strike: Strike,
    /// What the servers read when it had come to rest.
    pub(super) told: Told,
    /// Why the update failed, as the daemon says it.
    pub(super) why: String,
    /// From the restart, or the return of the link, or the tool's death, to the truth at both servers.
    pub(super) truth: Duration,
    /// How long an undisturbed update takes on this stand.
    pub(super) usual: Duration,
    /// How long the flash after it took, from its order to the truth at both servers.
    pub(super) again: Duration,
    /// Whether the board came back as another device node.
    pub(super) renamed: bool,
    /// How often the flash after it had to be ordered.
    pub(super) tries: u32,
    pub(super) violations: Vec<Violation>,
}

/// Runs one case on a stand whose board is sound.
pub(super) fn run(stand: &mut Stand, case: &Case) -> Result<Outcome, Broken> {
    stand.earlier.clear();
    let marks = stand.watches.each_ref().map(|watch| watch.events.mark());
    let target = other_than(stand, held(stand).as_ref());
    let orders = stand.order(case.asker, &target);
    let strike = killer::strike(stand, case, &orders)?;
    let (since, renamed) = mend(stand, case)?;
    let ordered = finish(stand, case.victim, orders)?;
    let rest = rest::await_rest(stand)?;
    let claim = Claim { told: &rest.told[0], target: &target, held: held(stand), marks: &marks, ordered };
    let mut violations = claim.untruths(stand, case.victim);
    violations.extend(leftovers(stand, &rest)?);
    let why =
        stand.scene.daemon.device(&stand.scene.name).map_or_else(String::new, |device| device.message().to_owned());
    let began = Instant::now();
    let tries = flash(stand, case.asker, rest.told[0].clone())?;
    if tries > TRIES {
        let text = format!("cannot be flashed again: {:?}", stand.scene.daemon.device(&stand.scene.name));
        violations.push(Violation::new(Kind::Lost, text));
    }
    let (told, truth, again) = (rest.told[0].clone(), rest.at - since, began.elapsed());
    let usual = stand.usual.update;
    Ok(Outcome { strike, told, why, truth, usual, again, renamed, tries, violations })
}

/// What was killed comes back; gives when, and whether as another device node.
fn mend(stand: &mut Stand, case: &Case) -> Result<(Instant, bool), Broken> {
    let pause = case.pause();
    match case.victim {
        Victim::Daemon => {
            stand.breathe(pause)?;
            let since = Instant::now();
            stand.scene.daemon.launch();
            Ok((since, false))
        }
        Victim::Tool => Ok((Instant::now(), false)),
        Victim::Link => {
            stand.breathe(pause)?;
            let renamed = stand.chip.plug(stand.node.clone().as_deref(), case.renamed);
            stand.node = stand.chip.node();
            Ok((Instant::now(), renamed))
        }
    }
}

/// Waits for the answers to the orders; those that a kill has made vain are given up.
fn finish(stand: &mut Stand, victim: Victim, orders: Orders) -> Result<Ordered, Broken> {
    let began = Instant::now();
    while victim != Victim::Daemon && !orders.are_given() && began.elapsed() < ORDERS {
        stand.breathe(PAUSE)?;
    }
    orders.give_up();
    if victim == Victim::Daemon {
        // The servers wait for the dead one's answers as long as they like; the truth is not to wait for them.
        return Ok(orders.so_far());
    }
    Ok(orders.join())
}

/// The image that the board holds now, if it is one of the two.
fn held(stand: &Stand) -> Option<Image> {
    stand.images.iter().find(|image| stand.chip.holds(image)).cloned()
}

fn other_than(stand: &Stand, image: Option<&Image>) -> Image {
    let [first, second] = &stand.images;
    if image == Some(second) { first.clone() } else { second.clone() }
}

/// What is left over once the update has come to rest.
fn leftovers(stand: &Stand, rest: &Rest) -> Result<Vec<Violation>, Broken> {
    let staged = usize::from(rest.told[0].state == "2");
    let began = Instant::now();
    loop {
        let found = Leftovers::of(&stand.state_folder(), stand.chip.port()).complaints(staged);
        if found.is_empty() || began.elapsed() >= TIDY {
            return Ok(found.into_iter().map(|text| Violation::new(Kind::Leftover, text)).collect());
        }
        stand.breathe(PAUSE)?;
    }
}

/// Execute again, or an update to the other version; gives how often it had to be tried, more than [`TRIES`] for in vain.
pub(super) fn flash(stand: &mut Stand, asker: usize, mut told: Told) -> Result<u32, Broken> {
    for attempt in 1..=TRIES {
        let proven = if told.state == "2" {
            let server = stand.watches[asker].server;
            watch::execute(server, &stand.scene.name) == 204 && is_proven(stand)?
        } else {
            let image = other_than(stand, held(stand).as_ref());
            stand.update(asker, &image)?
        };
        if proven {
            return Ok(attempt);
        }
        told = rest::await_rest(stand)?.told[0].clone();
    }
    Ok(TRIES + 1)
}

fn is_proven(stand: &mut Stand) -> Result<bool, Broken> {
    let told = rest::await_rest(stand)?.told[0].clone();
    let held = held(stand);
    let version = held.as_ref().map(|image| image.version);
    Ok(told.is_success() && version.is_some() && told.version.as_deref() == version)
}

/// All that helps to understand what went wrong, written into the stand's folder, which is kept.
pub(super) fn write_down(stand: &mut Stand, case: &Case) -> std::path::PathBuf {
    let daemon = format!("{}{}", stand.earlier, stand.scene.daemon.log());
    let [first, second] = stand.watches.each_ref().map(|watch| {
        let lines = watch.events.all().into_iter().map(|(kind, data)| format!("{kind} {data}\n"));
        lines.collect::<String>()
    });
    let name = format!("{}-{}-{}", case.tool.name(), case.victim.name(), case.number);
    let file = |ending: &str, text: &str| stand.scene.world.file(&format!("{name}.{ending}"), text);
    file("board.log", &stand.chip.output());
    file("factory.events", &first);
    file("cloud.events", &second);
    let log = file("daemon.log", &daemon);
    stand.scene.world.keep();
    log
}

/// The last lines of a file.
pub(super) fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
