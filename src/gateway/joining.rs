//! Devices that join, in their turn and by operators' word.

use std::time::{Duration, Instant};

use super::Gateway;
use crate::boards::JoinError;
use crate::control::{Failure, FailureCode, JoinOrder, JoinReport, News};
use crate::device::{DeviceId, FirmwareState};

/// How often it is looked whether time has passed that something waits for.
pub(super) const TURN: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
/// Longest name that an operator may give, as `[[device]]` has it.
const MAX_NAME: usize = 63;

/// When more of something may happen: further devices join, ports are opened again.
#[derive(Debug)]
pub(super) struct Turns {
    every: Option<Duration>,
    last: Instant,
}

impl Turns {
    pub(super) fn per_minute(turns: u32) -> Self {
        Self { every: MINUTE.checked_div(turns), last: Instant::now() }
    }

    pub(super) fn every(period: Duration) -> Self {
        Self { every: Some(period), last: Instant::now() }
    }

    /// How many turns have come since this was asked last.
    fn take(&mut self, now: Instant) -> u32 {
        let Some(every) = self.every.filter(|every| !every.is_zero()) else { return 0 };
        let passed = now.saturating_duration_since(self.last);
        let turns = u32::try_from(passed.as_nanos() / every.as_nanos()).unwrap_or(u32::MAX);
        // What is left of a turn counts for the next one.
        self.last += every.saturating_mul(turns);
        turns
    }
}

impl Gateway {
    /// Time has passed: what waits for its turn may join or be asked.
    pub(super) async fn let_join(&mut self) {
        let turns = self.turns.take(Instant::now());
        if turns > 0 {
            let decisions = self.registry.refill(turns);
            self.carry_out(decisions).await;
        }
        let reopenings = self.reopenings.take(Instant::now());
        if reopenings > 0 {
            let decisions = self.registry.refill_budgets(reopenings);
            self.carry_out(decisions).await;
        }
    }

    /// Whether something waits for time to pass.
    pub(super) fn somebody_waits(&self) -> bool {
        self.registry.is_flooded() || self.registry.is_exhausted()
    }

    pub(super) async fn join(&mut self, order: JoinOrder) -> Result<JoinReport, Failure> {
        match order {
            JoinOrder::Approve { device } => self.approve(&device).await,
            JoinOrder::Forget { device, deny } => {
                let names = self.registry.names(&device).map(|(id, endpoint)| (id.clone(), endpoint.to_owned()));
                let decisions = self.registry.forget(&device, deny).map_err(|error| refused(&device, &error))?;
                self.carry_out(decisions).await;
                if let Some((device, endpoint)) = names {
                    if let Some(builtin) = &self.builtin {
                        builtin.device_forgotten(device.clone()).await;
                    }
                    self.feed.tell(News::DeviceForgotten { device, endpoint });
                }
                let done = if deny { "forgotten, and kept out from now on" } else { "forgotten" };
                Ok(JoinReport { device: None, endpoint: None, done: format!("{device} is {done}.") })
            }
            JoinOrder::Rename { device, name } => self.rename(&device, &name).await,
        }
    }

    async fn approve(&mut self, word: &str) -> Result<JoinReport, Failure> {
        if let Some(info) = self.find(word) {
            return Err(refused(word, &JoinError::Joined(info.id.clone())));
        }
        let link = self.find_link(word).ok_or_else(|| self.unknown(word))?;
        let decisions = self.registry.approve(&link).map_err(|error| refused(word, &error))?;
        self.carry_out(decisions).await;
        let joined = self.registry.devices().find(|info| info.link == link);
        let (device, endpoint) = joined.map(|info| (info.id.clone(), info.endpoint.clone())).unzip();
        let done = match &device {
            Some(device) => format!("{device} has joined."),
            None => format!("What is on {link} may join."),
        };
        Ok(JoinReport { device, endpoint, done })
    }

    async fn rename(&mut self, word: &str, name: &str) -> Result<JoinReport, Failure> {
        let plain = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '.' | '_' | '-');
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(plain) {
            let failure = Failure::new(FailureCode::BadRequest, format!("`{}` is no name", name.escape_debug()));
            return Err(failure.with_hint("letters, digits, `.`, `_` and `-`, at most 63"));
        }
        let busy = self.find(word).filter(|info| self.ledger.view(&info.id).state != FirmwareState::Idle);
        if let Some(info) = busy {
            return Err(refused(info.id.as_str(), &JoinError::Updating));
        }
        let decisions = self.registry.rename(word, name).map_err(|error| refused(word, &error))?;
        self.carry_out(decisions).await;
        let device = DeviceId::new(name);
        let endpoint = self.registry.device(&device).map(|info| info.endpoint.clone());
        let done = format!(
            "{word} is called {name} now; its endpoint name stays, and so does its history under the old name."
        );
        Ok(JoinReport { device: Some(device), endpoint, done })
    }
}

fn refused(word: &str, error: &JoinError) -> Failure {
    let (code, hint) = match error {
        JoinError::Unknown => return Failure::no_such_device(word),
        JoinError::NoBoard | JoinError::Configured | JoinError::Denied => (FailureCode::BadRequest, None),
        JoinError::Joined(_) | JoinError::Taken(_) => (FailureCode::BadRequest, Some("`nuncio devices` lists them")),
        JoinError::Updating => (FailureCode::NotNow, Some("`nuncio status` tells how far it is")),
        JoinError::WouldRejoin => (FailureCode::NotNow, Some("`--deny` keeps it out; or unplug it first")),
    };
    let failure = Failure::new(code, format!("{word}: {error}"));
    match hint {
        Some(hint) => failure.with_hint(hint),
        None => failure,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_come_evenly_and_none_is_lost() {
        let mut turns = Turns::per_minute(60);
        let begin = turns.last;
        let at = |millis| begin + Duration::from_millis(millis);
        let taken: Vec<u32> = [400, 900, 1100, 1900, 3050].into_iter().map(|millis| turns.take(at(millis))).collect();
        assert_eq!(taken, [0, 0, 1, 0, 2]);
        assert_eq!(Turns::per_minute(0).take(at(1_000_000)), 0);
    }
}
