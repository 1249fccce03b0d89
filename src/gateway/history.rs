//! Looking back: `nuncio history` and `nuncio show`, and the store kept to its size.

use std::time::Duration;

use super::{Gateway, start};
use crate::control::{Answer, Failure, FailureCode, HistoryList};
use crate::device::{DeviceId, HistoryQuery, Retention, UpdateEvidence, UpdateId};
use crate::store::{HistorySettings, Store};

/// How often the history is looked over.
const EVERY: Duration = Duration::from_secs(3600);
/// Between two steps of forgetting, so that what an update writes goes first.
const PAUSE: Duration = Duration::from_millis(20);

/// Forgets what is too old or too much, now and every hour, in small steps, as long as the store is open.
pub(super) fn keep_tidy(store: Store, settings: HistorySettings) {
    tokio::spawn(async move {
        let mut every = tokio::time::interval(EVERY);
        loop {
            every.tick().await;
            let keep = i64::try_from(settings.keep.as_secs()).unwrap_or(i64::MAX);
            let not_before = start::unix_now().saturating_sub(keep);
            let retention = Retention { not_before, max_size: settings.max_size };
            match tidied(&store, retention).await {
                Ok(()) => {}
                Err(crate::store::StoreError::Closed) => return,
                Err(error) => tracing::warn!(%error, "old updates could not be forgotten"),
            }
        }
    });
}

async fn tidied(store: &Store, retention: Retention) -> Result<(), crate::store::StoreError> {
    while store.tidy(retention).await? {
        tokio::time::sleep(PAUSE).await;
    }
    Ok(())
}

impl Gateway {
    /// A device that is gone has its history still, under the name it had.
    pub(super) fn tell_history(
        &self,
        word: Option<String>,
        failed: bool,
        limit: Option<u32>,
        reply: Answer<HistoryList>,
    ) {
        let found = word.as_ref().and_then(|word| self.find(word)).map(|info| info.id.clone());
        let unknown = word.as_ref().filter(|_| found.is_none()).map(|word| self.unknown(word));
        let device = found.or_else(|| word.map(DeviceId::new));
        let (store, notes) = (self.store.clone(), self.notes.clone());
        tokio::spawn(async move {
            let history = store.history(HistoryQuery { device, failed, limit }).await;
            let answer = match (history, unknown) {
                (Ok(history), Some(unknown)) if history.updates.is_empty() => Err(unknown),
                (Ok(history), _) => Ok(HistoryList { updates: history.updates, more: history.more, notes }),
                (Err(error), _) => Err(unreadable(&error)),
            };
            drop(reply.send(answer));
        });
    }

    pub(super) fn tell_update(&self, word: String, reply: Answer<UpdateEvidence>) {
        let store = self.store.clone();
        tokio::spawn(async move {
            let answer = match store.find(word.clone()).await {
                Ok((_, Some(evidence))) => Ok(evidence),
                Ok((ids, None)) => Err(not_one(&word, &ids)),
                Err(error) => Err(unreadable(&error)),
            };
            drop(reply.send(answer));
        });
    }
}

fn not_one(word: &str, ids: &[UpdateId]) -> Failure {
    if ids.is_empty() {
        return Failure::new(FailureCode::NoSuchUpdate, format!("there is no update `{word}`")).with_hint(
            "`nuncio history` lists them; an id may be cut to its beginning or its end, of at least four digits",
        );
    }
    let some: Vec<String> = ids.iter().map(ToString::to_string).collect();
    let message = format!("`{word}` means several updates: {}", some.join(", "));
    Failure::new(FailureCode::NoSuchUpdate, message).with_hint("give more digits of its id")
}

fn unreadable(error: &crate::store::StoreError) -> Failure {
    let source = std::error::Error::source(error).map(|source| format!(": {source}")).unwrap_or_default();
    Failure::new(FailureCode::Failed, format!("the history cannot be read: {error}{source}"))
        .with_hint("is the disk full or failing? the daemon's log tells more")
}
