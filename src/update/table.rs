//! What every server reads of an update: the one place that maps where it stands to 5/0/3 and 5/0/5.
//!
//! The law is `docs/decisions.md` section 2. Driven by the machine alone; nobody else makes a state or a result.

use crate::device::{FirmwareState, UpdateResult};

/// Where the update of a device stands, as far as servers can tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Nothing staged; the last one ended so.
    Idle(Ending),
    /// A download or push is under way, or its bytes are being checked.
    Receiving,
    /// Staged and checked.
    Staged {
        /// A flash or its proof has failed before.
        failed: bool,
    },
    /// Execute was accepted, but something holds it up.
    Deferred,
    /// Being flashed or proven.
    Updating,
}

/// How the last update of an idle device ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// There was none, or it was reset.
    Nothing,
    /// What arrived was refused, or never arrived.
    Refused(Refusal),
    /// The tool found another chip than the image is for.
    WrongChip,
    /// Proven.
    Proven,
    /// Cancelled.
    Cancelled,
}

/// Why an image was not staged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// The connection was lost for good, or the push fell silent.
    ConnectionLost,
    /// Over the size cap or the board's room, or the gateway's disk is full.
    NoRoom,
    /// A digest is wrong or the image is damaged.
    Damaged,
    /// Not an image for this board.
    WrongBoard,
    /// The URI is unparsable, refused by policy, or there is nothing behind it.
    BadUri,
    /// The URI's scheme is unknown.
    UnknownScheme,
}

/// A refusal with its reason: step, why, what to do, in one line without credentials.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct Refused {
    /// Class.
    pub why: Refusal,
    /// For people.
    pub reason: String,
}

impl Refused {
    /// 5/0/5 after it.
    pub fn result(&self) -> UpdateResult {
        refused(self.why)
    }

    /// Puts both together.
    pub fn new(why: Refusal, reason: impl Into<String>) -> Self {
        Self { why, reason: reason.into() }
    }
}

/// 5/0/3 and 5/0/5.
pub fn told(standing: Standing) -> (FirmwareState, UpdateResult) {
    match standing {
        Standing::Idle(Ending::Nothing) => (FirmwareState::Idle, UpdateResult::Initial),
        Standing::Idle(Ending::Refused(why)) => (FirmwareState::Idle, refused(why)),
        Standing::Idle(Ending::WrongChip) => (FirmwareState::Idle, UpdateResult::UnsupportedPackage),
        Standing::Idle(Ending::Proven) => (FirmwareState::Idle, UpdateResult::Success),
        Standing::Idle(Ending::Cancelled) => (FirmwareState::Idle, UpdateResult::Cancelled),
        Standing::Receiving => (FirmwareState::Downloading, UpdateResult::Initial),
        Standing::Staged { failed: false } => (FirmwareState::Downloaded, UpdateResult::Initial),
        Standing::Staged { failed: true } => (FirmwareState::Downloaded, UpdateResult::Failed),
        Standing::Deferred => (FirmwareState::Downloaded, UpdateResult::Deferred),
        Standing::Updating => (FirmwareState::Updating, UpdateResult::Initial),
    }
}

fn refused(why: Refusal) -> UpdateResult {
    match why {
        Refusal::ConnectionLost => UpdateResult::ConnectionLost,
        Refusal::NoRoom => UpdateResult::NotEnoughFlash,
        Refusal::Damaged => UpdateResult::IntegrityFailure,
        Refusal::WrongBoard => UpdateResult::UnsupportedPackage,
        Refusal::BadUri => UpdateResult::InvalidUri,
        Refusal::UnknownScheme => UpdateResult::UnsupportedProtocol,
    }
}

/// The way back, for a closed update that is read from the journal: how an idle device came to show this result.
pub fn ending_of(result: UpdateResult) -> Ending {
    match result {
        UpdateResult::Success => Ending::Proven,
        UpdateResult::Cancelled => Ending::Cancelled,
        UpdateResult::ConnectionLost => Ending::Refused(Refusal::ConnectionLost),
        UpdateResult::NotEnoughFlash => Ending::Refused(Refusal::NoRoom),
        UpdateResult::IntegrityFailure => Ending::Refused(Refusal::Damaged),
        UpdateResult::UnsupportedPackage => Ending::Refused(Refusal::WrongBoard),
        UpdateResult::InvalidUri => Ending::Refused(Refusal::BadUri),
        UpdateResult::UnsupportedProtocol => Ending::Refused(Refusal::UnknownScheme),
        UpdateResult::Initial | UpdateResult::OutOfRam | UpdateResult::Failed | UpdateResult::Deferred => {
            Ending::Nothing
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: [(Standing, u8, u8); 16] = [
        (Standing::Idle(Ending::Nothing), 0, 0),
        (Standing::Receiving, 1, 0),
        (Standing::Idle(Ending::Refused(Refusal::ConnectionLost)), 0, 4),
        (Standing::Idle(Ending::Refused(Refusal::NoRoom)), 0, 2),
        (Standing::Idle(Ending::Refused(Refusal::Damaged)), 0, 5),
        (Standing::Idle(Ending::Refused(Refusal::WrongBoard)), 0, 6),
        (Standing::Idle(Ending::Refused(Refusal::BadUri)), 0, 7),
        (Standing::Idle(Ending::Refused(Refusal::UnknownScheme)), 0, 9),
        (Standing::Staged { failed: false }, 2, 0),
        (Standing::Deferred, 2, 11),
        (Standing::Updating, 3, 0),
        (Standing::Staged { failed: true }, 2, 8),
        (Standing::Idle(Ending::WrongChip), 0, 6),
        (Standing::Idle(Ending::Proven), 0, 1),
        (Standing::Idle(Ending::Cancelled), 0, 10),
        (Standing::Idle(Ending::Nothing), 0, 0),
    ];

    #[test]
    fn states_and_results_are_those_of_the_decided_table() {
        for (standing, state, result) in TABLE {
            let (told_state, told_result) = told(standing);
            assert_eq!((told_state as u8, told_result as u8), (state, result), "{standing:?}");
        }
    }

    #[test]
    fn what_an_idle_device_showed_is_shown_again_after_a_restart() {
        for (standing, _, _) in TABLE {
            let (state, result) = told(standing);
            if state == FirmwareState::Idle {
                assert_eq!(told(Standing::Idle(ending_of(result))), (state, result), "{standing:?}");
            }
        }
    }
}
