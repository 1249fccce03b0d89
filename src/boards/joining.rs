//! Which of the devices that were found may join: become clients that register. Pure; how fast further ones may join is told
//! by whoever has a clock.

use std::collections::BTreeSet;
use std::fmt;

use globset::GlobMatcher;

use super::file::glob;
use super::settings::{JoinPolicy, JoinSettings};
use crate::device::{Identity, Link};

/// Why a device that was found does not join.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeptOut {
    /// An operator said so.
    Forgotten,
    /// `[join] deny` names it.
    Denied,
    /// `[join] allow` does not name it.
    NotAllowed,
    /// An operator has to approve it first.
    Unapproved,
    /// Too many came at once; it joins when its turn comes.
    Flood,
}

impl KeptOut {
    /// Whether an operator's word is enough to let it join: only the configuration is stronger.
    pub fn yields_to_approval(self) -> bool {
        self != Self::Denied
    }

    /// What it means and what can be done about it.
    pub fn remark(self, link: &Link) -> String {
        match self {
            Self::Forgotten => format!("kept out by `nuncio forget --deny`; `nuncio approve {link}` lets it join"),
            Self::Denied => "`[join] deny` keeps it out".to_owned(),
            Self::NotAllowed => "`[join] allow` does not name it".to_owned(),
            Self::Unapproved => format!("waits for approval: `nuncio approve {link}`"),
            Self::Flood => "too many devices came at once ([join] burst, per_minute); it joins in its turn".to_owned(),
        }
    }
}

impl fmt::Display for KeptOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Forgotten => "an operator keeps it out",
            Self::Denied => "`[join] deny` keeps it out",
            Self::NotAllowed => "`[join] allow` does not name it",
            Self::Unapproved => "it waits for approval",
            Self::Flood => "too many devices came at once: it joins in its turn",
        })
    }
}

/// The rules, and how many further devices may join just now.
#[derive(Debug)]
pub(super) struct Joining {
    policy: JoinPolicy,
    allow: Vec<GlobMatcher>,
    deny: Vec<GlobMatcher>,
    banned: BTreeSet<Identity>,
    approved: BTreeSet<Identity>,
    burst: u32,
    places: u32,
}

impl Joining {
    pub(super) fn new(settings: &JoinSettings, banned: Vec<Identity>) -> Self {
        // Patterns were checked with the configuration.
        let compile = |texts: &[String]| texts.iter().filter_map(|text| glob(text).ok()).collect();
        Self {
            policy: settings.policy,
            allow: compile(&settings.allow),
            deny: compile(&settings.deny),
            banned: banned.into_iter().collect(),
            approved: BTreeSet::new(),
            burst: settings.burst,
            places: settings.burst,
        }
    }

    /// Whether a device may join. `known`: it had its names before; those do not count as a flood.
    pub(super) fn ask(&mut self, identity: &Identity, endpoint: &str, known: bool) -> Result<(), KeptOut> {
        if self.denies(endpoint) {
            return Err(KeptOut::Denied);
        }
        if self.banned.contains(identity) {
            return Err(KeptOut::Forgotten);
        }
        if known || self.approved.contains(identity) {
            return Ok(());
        }
        if !self.allow.is_empty() && !self.allow.iter().any(|pattern| pattern.is_match(endpoint)) {
            return Err(KeptOut::NotAllowed);
        }
        if self.policy == JoinPolicy::Approve {
            return Err(KeptOut::Unapproved);
        }
        self.places = self.places.checked_sub(1).ok_or(KeptOut::Flood)?;
        Ok(())
    }

    /// Whether the configuration keeps a device out, whatever operators say.
    pub(super) fn denies(&self, endpoint: &str) -> bool {
        self.deny.iter().any(|pattern| pattern.is_match(endpoint))
    }

    /// So many more may join, up to the burst.
    pub(super) fn refill(&mut self, places: u32) {
        self.places = self.places.saturating_add(places).min(self.burst);
    }

    /// An operator's word; whether it was banned before.
    pub(super) fn approve(&mut self, identity: Identity) -> bool {
        let banned = self.banned.remove(&identity);
        self.approved.insert(identity);
        banned
    }

    /// It is as if it had never been here; `ban`: nor may it come again.
    pub(super) fn forget(&mut self, identity: &Identity, ban: bool) {
        self.approved.remove(identity);
        if ban {
            self.banned.insert(identity.clone());
        }
    }

    /// Whether what is not known joins by itself.
    pub(super) fn is_automatic(&self) -> bool {
        self.policy == JoinPolicy::Automatic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> JoinSettings {
        let base = "policy = \"automatic\"\nallow = []\ndeny = []\nburst = 2\nper_minute = 60\n";
        let lines = base.lines().filter(|line| !text.contains(line.split(' ').next().expect("a key")));
        toml::from_str(&format!("{}\n{text}", lines.collect::<Vec<_>>().join("\n"))).expect("settings")
    }

    fn mac(text: &str) -> Identity {
        Identity::Mac(text.to_owned())
    }

    #[test]
    fn a_flood_is_held_back_and_what_is_known_is_not() {
        let mut joining = Joining::new(&settings(""), Vec::new());
        assert_eq!(joining.ask(&mac("a"), "mac-a", false), Ok(()));
        assert_eq!(joining.ask(&mac("b"), "mac-b", false), Ok(()));
        assert_eq!(joining.ask(&mac("c"), "mac-c", false), Err(KeptOut::Flood));
        assert_eq!(joining.ask(&mac("d"), "mac-d", true), Ok(()));
        joining.refill(1);
        assert_eq!(joining.ask(&mac("c"), "mac-c", false), Ok(()));
        joining.refill(1000);
        assert_eq!((joining.places, joining.burst), (2, 2));
    }

    #[test]
    fn deny_comes_before_approval_and_approval_before_allow() {
        let text = "policy = \"approve\"\nallow = [\"mac-a*\"]\ndeny = [\"mac-ab*\"]\n";
        let mut joining = Joining::new(&settings(text), vec![mac("banned")]);
        assert_eq!(joining.ask(&mac("ab"), "mac-ab", true), Err(KeptOut::Denied));
        assert_eq!(joining.ask(&mac("banned"), "mac-ab", true), Err(KeptOut::Denied), "approval would not help");
        assert_eq!(joining.ask(&mac("b"), "mac-b", false), Err(KeptOut::NotAllowed));
        assert_eq!(joining.ask(&mac("ac"), "mac-ac", false), Err(KeptOut::Unapproved));
        joining.approve(mac("b"));
        assert_eq!(joining.ask(&mac("b"), "mac-b", false), Ok(()));
        assert_eq!(joining.ask(&mac("banned"), "mac-a1", true), Err(KeptOut::Forgotten));
        assert!(joining.approve(mac("banned")));
        assert_eq!(joining.ask(&mac("banned"), "mac-a1", false), Ok(()));
        joining.forget(&mac("banned"), true);
        assert_eq!(joining.ask(&mac("banned"), "mac-a1", false), Err(KeptOut::Forgotten));
    }
}
