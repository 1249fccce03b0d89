//! Why a device is taken for what it is: what `nuncio why` shows.

use std::fmt;

use crate::device::{Access, BoardId, DeviceId, Identity, Link, Sureness};

/// The whole explanation for one link and the device on it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Why {
    /// The link.
    pub link: Link,
    /// Whether it can be used.
    pub access: Access,
    /// The device on it, where one was made out.
    pub device: Option<DeviceId>,
    /// What it is recognised by.
    pub identity: Option<Identity>,
    /// Its endpoint name.
    pub endpoint: Option<String>,
    /// Its board.
    pub board: Option<BoardId>,
    /// What the board is known by.
    pub sureness: Sureness,
    /// What was looked at, in this order.
    pub steps: Vec<WhyStep>,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct WhyStep {
    /// What: a board, a question, a piece of evidence.
    pub what: String,
    /// What came of it.
    pub verdict: Verdict,
    /// Why.
    pub detail: String,
}

/// What came of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It speaks for this board.
    Matched,
    /// It rules this board out.
    Excluded,
    /// The question was asked.
    Asked,
    /// The question was not asked.
    NotAsked,
    /// It decides nothing.
    Noted,
    /// It contradicts what was decided.
    Contradicts,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Matched => "matched",
            Self::Excluded => "excluded",
            Self::Asked => "asked",
            Self::NotAsked => "not asked",
            Self::Noted => "noted",
            Self::Contradicts => "contradicts",
        })
    }
}

impl WhyStep {
    pub(super) fn new(what: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self { what: what.into(), verdict, detail: detail.into() }
    }
}
