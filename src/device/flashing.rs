//! How far a flash is, for servers that want more than a state.

/// What is shown of a device's flash; texts are empty when there is nothing to say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlashingView {
    /// The flash tool that runs or ran last.
    pub tool: String,
    /// What is being done.
    pub phase: FlashingPhase,
    /// How much of the phase, 0 to 100.
    pub percent: u8,
    /// Why it waits or failed, one line.
    pub reason: String,
    /// The image's format.
    pub format: String,
    /// The last lines that the tool printed, the newest last, at most 1024 bytes.
    pub log: String,
}

/// What is being done to a board.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum FlashingPhase {
    /// Nothing.
    #[default]
    Idle,
    /// An image is coming in.
    Downloading,
    /// An image is there and was checked.
    Staged,
    /// Something holds the update up.
    Waiting,
    /// What the board holds is read first.
    Saving,
    /// The tool has begun.
    Preparing,
    /// The tool writes.
    Writing,
    /// The tool compares.
    Verifying,
    /// The tool failed and is run again.
    Retrying,
    /// The board is to come back and tell its version.
    Proving,
    /// The last good image is put back.
    Restoring,
    /// It failed.
    Failed,
}

impl FlashingPhase {
    /// The word that servers read.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Downloading => "downloading",
            Self::Staged => "staged",
            Self::Waiting => "waiting",
            Self::Saving => "saving",
            Self::Preparing => "preparing",
            Self::Writing => "writing",
            Self::Verifying => "verifying",
            Self::Retrying => "retrying",
            Self::Proving => "proving",
            Self::Restoring => "restoring",
            Self::Failed => "failed",
        }
    }
}
