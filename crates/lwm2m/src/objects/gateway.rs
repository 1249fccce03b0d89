//! What only a gateway's own client has, beside what every client has.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use super::attached_devices::AttachedDevice;
use super::statistics::Collection;
use crate::path::Path;

/// What object 3 tells of a gateway alone: what changes by itself, so that it is asked for when somebody looks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HostFacts {
    /// 3/0/13, seconds since 1970.
    pub time: Option<i64>,
    /// 3/0/10, kilobytes: storage, not working memory (OMA registry, object 3).
    pub storage_free: Option<u64>,
    /// 3/0/21, kilobytes.
    pub storage_total: Option<u64>,
    /// 3/0/19.
    pub software_version: Option<String>,
}

/// The facts of a gateway.
#[derive(Debug)]
pub(crate) struct GatewayFacts {
    /// Part of object 3.
    pub(crate) host: HostFacts,
    /// Object 7.
    pub(crate) collection: Collection,
    /// Object 26301, by number.
    pub(crate) attached: BTreeMap<u16, AttachedDevice>,
    /// When what changes by itself was last asked for, and whether it was told.
    pub(crate) looked: Option<(Instant, bool)>,
    /// It is being asked for.
    pub(crate) looking: bool,
    /// For so long it is good.
    pub(crate) fresh_for: Duration,
}

impl GatewayFacts {
    /// Nothing is known yet.
    pub(crate) fn new(fresh_for: Duration) -> Self {
        Self {
            host: HostFacts::default(),
            collection: Collection::default(),
            attached: BTreeMap::new(),
            looked: None,
            looking: false,
            fresh_for,
        }
    }

    /// Whether what changes by itself may be told as it is known.
    pub(crate) fn is_fresh(&self, now: Instant) -> bool {
        self.looked.is_some_and(|(at, told)| told && now < at + self.fresh_for)
    }

    /// When it is to be asked for again by itself, while somebody observes it.
    pub(crate) fn next_look(&self) -> Option<Instant> {
        self.looked.filter(|_| !self.looking).map(|(at, _)| at + self.fresh_for)
    }
}

/// Whether a path of a gateway shows what changes by itself; points are not looked at here.
pub(crate) fn changes_by_itself(path: Path) -> bool {
    match path.object() {
        Some(3) => matches!(path.resource(), None | Some(10 | 13 | 21)),
        Some(4 | 7) => true,
        _ => false,
    }
}
