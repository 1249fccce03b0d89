//! What keeps this room from its work, all of it in one note.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::{Mutex, mpsc};

/// The troubles of all listeners and of the certificate. Its clones are the same.
#[derive(Debug, Clone)]
pub(super) struct Troubles(Arc<Mutex<Inner>>);

#[derive(Debug)]
struct Inner {
    known: BTreeMap<String, String>,
    out: mpsc::Sender<Option<String>>,
}

impl Troubles {
    pub(super) fn new(out: mpsc::Sender<Option<String>>) -> Self {
        Self(Arc::new(Mutex::new(Inner { known: BTreeMap::new(), out })))
    }

    /// What keeps a part from its work now; `None` when nothing does. Told on where that is news.
    pub(super) async fn set(&self, part: &str, what: Option<String>) {
        let mut inner = self.0.lock().await;
        let is_news = match what {
            Some(what) => inner.known.insert(part.to_owned(), what.clone()) != Some(what),
            None => inner.known.remove(part).is_some(),
        };
        if is_news {
            let all: Vec<_> = inner.known.values().cloned().collect();
            // The gateway may end just now.
            let _ = inner.out.send(Some(all.join("; ")).filter(|all| !all.is_empty())).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn one_that_recovers_hides_no_other_and_what_changes_is_told_again() {
        let (out, mut told) = mpsc::channel(8);
        let troubles = Troubles::new(out);
        troubles.set("a", Some("a is taken by 1".to_owned())).await;
        troubles.set("b", Some("b is taken".to_owned())).await;
        troubles.set("a", Some("a is taken by 1".to_owned())).await;
        troubles.set("a", Some("a is taken by 2".to_owned())).await;
        troubles.set("a", None).await;
        troubles.set("a", None).await;
        troubles.set("b", None).await;
        drop(troubles);
        let mut all = Vec::new();
        while let Some(one) = told.recv().await {
            all.push(one.unwrap_or_else(|| "-".to_owned()));
        }
        let wanted =
            ["a is taken by 1", "a is taken by 1; b is taken", "a is taken by 2; b is taken", "b is taken", "-"];
        assert_eq!(all, wanted);
    }
}
