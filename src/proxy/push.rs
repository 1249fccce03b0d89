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
        /// The push that this one begins anew. Kept until the permission is there: dropped before, it would be told as
        /// one that broke off.
        former: Option<Box<dyn ImageWriter>>,
    },
    /// Bytes go to staging.
    Writing(Box<dyn ImageWriter>),
}

impl Push {
    /// The first block is here, and has to wait for the permission to begin.
    pub(super) fn ask(&mut self, payload: Vec<u8>, more: bool) {
        let former = match std::mem::take(self) {
            Self::Writing(writer) => Some(writer),
            Self::Asking { former, .. } => former,
            Self::Idle => None,
        };
        *self = Self::Asking { payload, more, former };
    }

    /// The permission was given: writes what waited.
    pub(super) fn begin(&mut self, writer: Box<dyn ImageWriter>) -> Result<(), Refusal> {
        let Self::Asking { payload, more, .. } = std::mem::take(self) else { return Err(Refusal::Incomplete) };
        *self = Self::Writing(writer);
        self.write(&payload, more)
    }

    /// The permission was not given, or whatever was asked was no push.
    pub(super) fn refused(&mut self) {
        if let Self::Asking { .. } = self {
            *self = Self::Idle;
        }
    }

    /// Takes the bytes of one block.
    pub(super) fn write(&mut self, payload: &[u8], more: bool) -> Result<(), Refusal> {
        let Self::Writing(mut writer) = std::mem::take(self) else { return Err(Refusal::Incomplete) };
        if let Err(error) = writer.write(payload) {
            return refusal(&error);
        }
        if more {
            *self = Self::Writing(writer);
        } else {
            writer.finish();
        }
        Ok(())
    }
}

/// What a server is answered when its bytes cannot be stored. A disk that fails shows in 5/0/5 alone (decisions.md §2);
/// the next block is then 4.08.
fn refusal(error: &WriteError) -> Result<(), Refusal> {
    // The update tells the operator, once; a server may try as often as it likes.
    tracing::debug!(%error, "a pushed block cannot be stored");
    match error {
        WriteError::TooLarge(_) => Err(Refusal::TooLarge),
        WriteError::Ended => Err(Refusal::Incomplete),
        WriteError::Failed(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Counts what was written to it, and at its end.
    struct Counting(Arc<AtomicUsize>);

    impl ImageWriter for Counting {
        fn write(&mut self, bytes: &[u8]) -> Result<(), WriteError> {
            self.0.fetch_add(bytes.len(), Ordering::Relaxed);
            Ok(())
        }

        fn finish(self: Box<Self>) {}
    }

    impl Drop for Counting {
        fn drop(&mut self) {
            self.0.fetch_add(1000, Ordering::Relaxed);
        }
    }

    fn counting() -> (Box<dyn ImageWriter>, Arc<AtomicUsize>) {
        let count = Arc::new(AtomicUsize::new(0));
        (Box::new(Counting(Arc::clone(&count))), count)
    }

    #[test]
    fn a_push_that_begins_anew_keeps_the_former_one_until_it_may() {
        let mut push = Push::Idle;
        let (first, first_count) = counting();
        push.ask(b"abc".to_vec(), true);
        push.begin(first).expect("taken");
        push.ask(b"de".to_vec(), true);
        push.ask(b"f".to_vec(), true);
        assert_eq!(first_count.load(Ordering::Relaxed), 3, "it is still open");
        let (second, second_count) = counting();
        push.begin(second).expect("taken");
        assert_eq!(first_count.load(Ordering::Relaxed), 1003, "it is over");
        push.write(b"gh", false).expect("the last block");
        assert_eq!(second_count.load(Ordering::Relaxed), 1003);
        assert_eq!(push.write(b"i", false), Err(Refusal::Incomplete));
    }

    #[test]
    fn a_refused_push_keeps_nothing() {
        let mut push = Push::Idle;
        let (first, first_count) = counting();
        push.ask(Vec::new(), true);
        push.begin(first).expect("taken");
        push.ask(b"x".to_vec(), true);
        push.refused();
        assert_eq!(first_count.load(Ordering::Relaxed), 1000);
        assert!(matches!(push, Push::Idle));
    }
}
