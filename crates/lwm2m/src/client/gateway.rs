//! The gateway's own client: what it has beside a device's, and when what changes by itself is asked for.
//!
//! Nothing is asked for while nobody looks. A Read or an Observe of what is no longer fresh waits for [`Client::looked`], as a command
//! waits for its answer; an observation keeps asking at the same pace.

use std::time::Instant;

use coap::{Code, Incoming};

use super::{Client, Event, Refusal};
use crate::objects::{ATTACHED, AttachedDevice, CollectionOrder, HostFacts, Traffic, changes_by_itself};
use crate::path::Path;

impl Client {
    /// Tells what object 3 has of a gateway alone; observers are notified of what changed.
    pub fn set_host(&mut self, facts: HostFacts, now: Instant) {
        if let Some(gateway) = &mut self.facts.gateway
            && gateway.host != facts
        {
            gateway.host = facts;
            self.report(3, now);
        }
    }

    /// Tells what the counters of object 7 stand at. To be told before datagrams and timeouts are handed in, and with each look;
    /// observers hear of it with the looks.
    pub fn count(&mut self, traffic: Traffic, now: Instant) {
        if let Some(gateway) = &mut self.facts.gateway {
            gateway.collection.count(traffic, now);
        }
    }

    /// Tells of a device that hangs on the gateway, or, with `None`, that the one with this number does no more. Observers are
    /// notified at most once a second.
    pub fn set_attached(&mut self, number: u16, device: Option<AttachedDevice>, now: Instant) {
        let Some(gateway) = &mut self.facts.gateway else { return };
        if gateway.attached.get(&number) == device.as_ref() {
            return;
        }
        match device {
            Some(device) => drop(gateway.attached.insert(number, device)),
            None => drop(gateway.attached.remove(&number)),
        }
        self.report(ATTACHED, now);
    }

    /// What [`Event::Look`] asked for was told before this, or could not be had: who waits for it is answered.
    pub fn looked(&mut self, outcome: Result<(), Refusal>, now: Instant) {
        let Some(gateway) = &mut self.facts.gateway else { return };
        gateway.looking = false;
        gateway.looked = Some((now, outcome.is_ok()));
        self.finish_looks(outcome, now);
        if outcome.is_ok() {
            self.report(7, now);
        }
    }

    /// Whether a request looks at what has to be asked for.
    pub(super) fn must_look_for(&self, request: &Incoming, now: Instant) -> bool {
        let Some(gateway) = &self.facts.gateway else { return false };
        // What object 7 shows is counted at any time.
        let asked = |path: Path| self.is_live(path) && path.object() != Some(7);
        request.method == Code::GET && !gateway.is_fresh(now) && Path::from_segments(&request.path).is_ok_and(asked)
    }

    /// The event that asks, unless it is asked already.
    pub(super) fn look(&mut self) -> Option<Event> {
        let gateway = self.facts.gateway.as_mut()?;
        let asked = std::mem::replace(&mut gateway.looking, true);
        (!asked).then_some(Event::Look)
    }

    /// Ends a collection whose time is over, and asks where an observer waits for it.
    pub(super) fn handle_gateway_timeout(&mut self, now: Instant) {
        if let Some(gateway) = &mut self.facts.gateway {
            gateway.collection.expire(now);
        }
        if self.next_look().is_some_and(|due| due <= now) {
            let event = self.look();
            self.events.extend(event);
        }
    }

    /// Does what a server ordered of object 7.
    pub(super) fn collect(&mut self, order: CollectionOrder, now: Instant) {
        if let Some(gateway) = &mut self.facts.gateway {
            gateway.collection.obey(order, now);
            self.report(7, now);
        }
    }

    /// When there is something to do that is no session's.
    pub(super) fn gateway_timeout(&self) -> Option<Instant> {
        let gateway = self.facts.gateway.as_ref()?;
        gateway.collection.deadline().into_iter().chain(self.next_look()).min()
    }

    fn next_look(&self) -> Option<Instant> {
        let due = self.facts.gateway.as_ref()?.next_look()?;
        let observed = |path| self.is_live(path);
        self.sessions.iter().any(|session| session.observes(observed)).then_some(due)
    }

    fn is_live(&self, path: Path) -> bool {
        changes_by_itself(path) || path.object().is_some_and(|object| self.facts.point(object, 0).is_some())
    }
}
