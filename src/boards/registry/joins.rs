//! Which devices join: in their turn, and by operators' wishes.

use tracing::info;

use super::{Decision, Registry};
use crate::boards::joining::KeptOut;
use crate::device::{BoardId, DeviceId, Link};

/// Why an operator's wish about joining cannot be fulfilled.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JoinError {
    /// No such device or link.
    #[error("there is no such device")]
    Unknown,
    /// Nothing is known of what hangs there.
    #[error("its board is not known: name it in a [[device]], or let the gateway ask")]
    NoBoard,
    /// It has joined already.
    #[error("it has joined already, as {0}")]
    Joined(DeviceId),
    /// The configuration names it.
    #[error("the configuration names it: change its [[device]]")]
    Configured,
    /// The configuration keeps it out.
    #[error("`[join] deny` keeps it out")]
    Denied,
    /// It is being updated.
    #[error("it is being updated")]
    Updating,
    /// It is here and would join again at once.
    #[error("it is here and would join again at once")]
    WouldRejoin,
    /// Somebody has or had this name.
    #[error("a device has or had the name `{0}`")]
    Taken(String),
}

impl Registry {
    /// So many further devices may join.
    pub fn refill(&mut self, places: u32) -> Vec<Decision> {
        self.joining.refill(places);
        let mut decisions = Vec::new();
        let waiting = self.links.values().filter(|seen| seen.kept_out == Some(KeptOut::Flood));
        let waiting: Vec<Link> = waiting.map(|seen| seen.report.link.clone()).take(places as usize).collect();
        waiting.iter().for_each(|link| self.settle(link, &mut decisions));
        decisions
    }

    /// Whether devices wait for others to have joined.
    pub fn is_flooded(&self) -> bool {
        self.links.values().any(|seen| seen.kept_out == Some(KeptOut::Flood))
    }

    /// An operator lets the device on a link join, whatever kept it out.
    ///
    /// # Errors
    /// When there is none, it has joined, or the configuration keeps it out.
    pub fn approve(&mut self, link: &Link) -> Result<Vec<Decision>, JoinError> {
        let seen = self.links.get(link).ok_or(JoinError::Unknown)?;
        if let Some(device) = &seen.device {
            return Err(JoinError::Joined(device.clone()));
        }
        if self.opinion(seen).board.is_none() {
            return Err(JoinError::NoBoard);
        }
        let identity = self.identity(seen);
        if self.joining.denies(&self.names.prospect(&identity)) {
            return Err(JoinError::Denied);
        }
        let mut decisions = Vec::new();
        if self.joining.approve(identity.clone()) {
            decisions.push(Decision::Unban(identity));
        }
        self.settle(link, &mut decisions);
        Ok(decisions)
    }

    /// The names of the device that an operator means, which need not be here now.
    pub fn names(&self, word: &str) -> Option<(&DeviceId, &str)> {
        self.names.find(word).map(|record| (&record.id, record.endpoint.as_str()))
    }

    /// A device is as if it had never been here: it leaves, and its names are free. `ban`: nor may it come again.
    ///
    /// # Errors
    /// When there is none, it is configured or being updated, or it would be back at once.
    pub fn forget(&mut self, word: &str, ban: bool) -> Result<Vec<Decision>, JoinError> {
        let identity = self.names.find(word).ok_or(JoinError::Unknown)?.identity.clone();
        let mut decisions = Vec::new();
        let here = self.devices.values().find(|device| device.info.identity == identity);
        if let Some(device) = here {
            if device.held {
                return Err(JoinError::Updating);
            }
            let link = device.info.link.clone();
            if self.links.get(&link).is_some_and(|seen| self.entry(&seen.report).is_some()) {
                return Err(JoinError::Configured);
            }
            if !ban && self.joining.is_automatic() {
                return Err(JoinError::WouldRejoin);
            }
            self.lose(&link, &mut decisions);
        }
        self.names.forget(&identity);
        self.joining.forget(&identity, ban);
        decisions.push(Decision::Forget { identity: identity.clone(), ban });
        let links: Vec<Link> = self.links.keys().filter(|link| self.leads_to(link, &identity)).cloned().collect();
        links.iter().for_each(|link| self.settle(link, &mut decisions));
        Ok(decisions)
    }

    /// A device gets another name inside this gateway; its endpoint name stays.
    ///
    /// # Errors
    /// When there is none, it is configured or being updated, or the name is taken.
    pub fn rename(&mut self, word: &str, name: &str) -> Result<Vec<Decision>, JoinError> {
        let identity = self.names.find(word).ok_or(JoinError::Unknown)?.identity.clone();
        let here = self.devices.values().find(|device| device.info.identity == identity);
        let here = here.map(|device| (device.held, device.info.link.clone()));
        let configured = |link: &Link| self.links.get(link).is_some_and(|seen| self.entry(&seen.report).is_some());
        match &here {
            Some((true, _)) => return Err(JoinError::Updating),
            Some((_, link)) if configured(link) => return Err(JoinError::Configured),
            _ => {}
        }
        let record = self.names.rename(&identity, name).ok_or_else(|| JoinError::Taken(name.to_owned()))?;
        let mut decisions = Vec::new();
        if let Some((_, link)) = &here {
            self.lose(link, &mut decisions);
        }
        decisions.push(Decision::Remember(record));
        if let Some((_, link)) = &here {
            self.settle(link, &mut decisions);
        }
        Ok(decisions)
    }

    /// Why what is on a link does not join.
    pub fn kept_out(&self, link: &Link) -> Option<KeptOut> {
        self.links.get(link)?.kept_out
    }

    /// Whether what was found on a link may not join, or not yet.
    pub(super) fn keeps_out(&mut self, link: &Link, board: &BoardId) -> bool {
        let Some(seen) = self.links.get(link).filter(|seen| seen.device.is_none()) else { return false };
        if self.entry(&seen.report).is_some() {
            return false;
        }
        let (identity, before) = (self.identity(seen), seen.kept_out);
        let known = self.names.knows(&identity);
        let kept_out = self.joining.ask(&identity, &self.names.prospect(&identity), known).err();
        if let Some(reason) = kept_out.filter(|_| kept_out != before) {
            info!(%link, %board, "found, and does not join: {reason}");
        }
        if let Some(seen) = self.links.get_mut(link) {
            seen.kept_out = kept_out;
        }
        kept_out.is_some()
    }
}
