//! One push of an image over a session: from the first block's permission to the last byte.

use lwm2m::client::Refusal;

use crate::device::{ImageWriter, WriteError};

/// What a session's push is doing.
#[derive(Default)]
pub(super) enum Push {
    /// Nothing.
    #[default]
    Idle,
    /// The first block waits for the permission to begin.
    Asking {
        /// Its bytes.
        payload: Vec<u8>,
        /// Whether more blocks follow.
        more: bool,
    },
    /// Bytes go to staging.
    Writing(Box<dyn ImageWriter>),
}

impl Push {
    /// The permission was given: writes what waited.
    pub(super) fn begin(&mut self, writer: Box<dyn ImageWriter>) -> Result<(), Refusal> {
        let Self::Asking { payload, more } = std::mem::take(self) else { return Err(Refusal::Incomplete) };
        *self = Self::Writing(writer);
        self.write(&payload, more)
    }

    /// Takes the bytes of one block.
    pub(super) fn write(&mut self, payload: &[u8], more: bool) -> Result<(), Refusal> {
        let Self::Writing(mut writer) = std::mem::take(self) else { return Err(Refusal::Incomplete) };
        writer.write(payload).map_err(|error| refusal(&error))?;
        if more {
            *self = Self::Writing(writer);
        } else {
            writer.finish();
        }
        Ok(())
    }
}

fn refusal(error: &WriteError) -> Refusal {
    tracing::warn!(%error, "a pushed block cannot be stored");
    match error {
        WriteError::TooLarge(_) => Refusal::TooLarge,
        WriteError::Ended => Refusal::Incomplete,
        WriteError::Failed(_) => Refusal::Failed,
    }
}
