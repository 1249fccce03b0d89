//! The sole right to use a link, as a value.

use std::fmt;
use std::sync::Arc;

use super::Link;

/// Gives a link back to the table.
pub type GiveBack = Box<dyn FnOnce(&Link) + Send + Sync>;

/// The sole right to use a link. Made only by the table in `leases.rs`; whoever opens a link takes one by value, and
/// dropping it gives the link back.
pub struct Lease {
    link: Link,
    holder: Arc<str>,
    on_drop: Option<GiveBack>,
}

impl Lease {
    /// For the table only: `on_drop` gives the link back.
    pub fn new(link: Link, holder: impl Into<Arc<str>>, on_drop: GiveBack) -> Self {
        Self { link, holder: holder.into(), on_drop: Some(on_drop) }
    }

    /// Which link it is for.
    pub fn link(&self) -> &Link {
        &self.link
    }

    /// Who holds it, as the operator reads it: `update of press-3`.
    pub fn holder(&self) -> &str {
        &self.holder
    }
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease").field("link", &self.link).field("holder", &self.holder).finish()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(give_back) = self.on_drop.take() {
            give_back(&self.link);
        }
    }
}
