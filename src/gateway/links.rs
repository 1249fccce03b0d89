//! Links and devices: from what transports report to clients, through the registry's decisions.

use std::collections::BTreeMap;

use super::{Event, Gateway};
use crate::boards::{Decision, NOT_FLASHED};
use crate::builtin::Device;
use crate::control::News;
use crate::device::{
    Answer, BoardId, DeviceId, DeviceInfo, Evidence, FirmwareView, Link, LinkReport, Question, QuestionFailed,
};
use crate::store::Ack;
use crate::transports;
use crate::update::Adoption;

/// What a lease for a question is called.
const ASKING: &str = "finding out what it is";
/// So many reasons why a board cannot be updated are warned of.
const TROUBLES_TOLD: usize = 256;

impl Gateway {
    pub(super) async fn handle_link(&mut self, event: transports::Event) {
        self.note_link(&event);
        self.let_join().await;
        let mut changed = None;
        let decisions = match event {
            transports::Event::Appeared(report) | transports::Event::Changed(report) => {
                changed = Some(report.link.clone());
                self.leases.set_host(&report.link, host(&report));
                self.registry.handle_link(report)
            }
            transports::Event::Vanished(link) => {
                self.leases.set_host(&link, None);
                self.registry.handle_vanished(&link)
            }
            transports::Event::Trouble { transport, what } => {
                return self.handle_trouble(transport.to_owned(), what).await;
            }
        };
        self.carry_out(decisions).await;
        self.feed.tell(News::LinksChanged);
        // It may be elsewhere now.
        if let Some(link) = changed {
            self.watch_link(&link);
        }
    }

    /// Something keeps a part of the gateway from its work, or does not any more.
    pub(super) async fn handle_trouble(&mut self, part: String, what: Option<String>) {
        match what {
            Some(what) => {
                tracing::warn!(part, "{what}");
                self.obstacles.insert(part, what);
            }
            None => {
                if self.obstacles.remove(&part).is_some() {
                    tracing::info!(part, "works again");
                }
            }
        }
        self.tell_own_trouble().await;
    }

    pub(super) async fn handle_answer(
        &mut self,
        link: &Link,
        question: &Question,
        outcome: Result<Answer, QuestionFailed>,
    ) {
        self.note_answer(link, question, &outcome);
        let decisions = self.registry.handle_answer(link, question, outcome);
        self.carry_out(decisions).await;
        self.watch_link(link);
    }

    pub(super) async fn handle_released(&mut self, link: Link) {
        let decisions = self.registry.handle_released(&link);
        self.carry_out(decisions).await;
        self.update.lease_released(link.clone()).await;
        self.watch_link(&link);
    }

    /// What waits for a link may have missed that it came back.
    pub(super) async fn handle_free(&mut self, link: Link) {
        if self.leases.holder(&link).is_none() {
            self.handle_released(link).await;
        }
    }

    pub(super) async fn handle_troubles(&mut self, troubles: BTreeMap<BoardId, String>) {
        let decisions = self.registry.set_troubles(troubles);
        self.carry_out(decisions).await;
    }

    pub(super) async fn carry_out(&mut self, decisions: Vec<Decision>) {
        for decision in decisions {
            match decision {
                Decision::Ask { link, question } => self.ask(link, question),
                Decision::DeviceReady(info) => self.device_ready(info).await,
                Decision::DeviceChanged(info) => self.device_changed(info).await,
                Decision::DeviceAway(device) => self.device_away(device).await,
                Decision::DeviceReturned(info) => self.device_returned(info).await,
                Decision::DeviceGone(device) => self.device_gone(&device).await,
                Decision::Remember(record) => {
                    written(self.store.remember_identity(record), "a device's names are not remembered");
                }
                Decision::Forget { identity, ban } => {
                    written(self.store.forget(identity, ban), "a restart would know a forgotten device again");
                }
                Decision::Unban(identity) => {
                    written(self.store.unban(identity), "a restart would keep an approved device out again");
                }
            }
        }
    }

    fn ask(&mut self, link: Link, question: Question) {
        let lease = match self.leases.take(&link, ASKING) {
            Ok(lease) => Some(lease),
            Err(_) if self.leases.yields(&link) => None,
            Err(held) => {
                tracing::debug!(%held, "a question has to wait");
                return self.registry.handle_held(&link, &question);
            }
        };
        let leases = self.leases.clone();
        let (serial, ble, http) = (self.serial.clone(), self.ble.clone(), self.http.clone());
        let (esphome, smp) = (self.esphome.clone(), self.smp.clone());
        let (player, events) = (self.player.clone(), self.events.clone());
        tokio::spawn(async move {
            let lease = match lease {
                Some(lease) => Ok(lease),
                None => leases.preempt(&link, ASKING).await,
            };
            let Ok(lease) = lease else { return drop(events.send(Event::Held { link, question }).await) };
            if let Some(player) = player {
                let outcome = player.answer(&link, &question);
                drop(lease);
                let _ = events.send(Event::Answered { link, question, outcome }).await;
                return;
            }
            let (lease, outcome) = match &link {
                Link::Ble(_) => ble.ask(lease, question.clone()).await,
                Link::Service(_) if matches!(question, Question::Esphome { .. }) => {
                    esphome.ask(lease, question.clone()).await
                }
                Link::Service(_) if matches!(question, Question::SmpUdp { .. }) => {
                    smp.ask(lease, question.clone()).await
                }
                Link::Service(_) => http.ask(lease, question.clone()).await,
                Link::Discovered(_) => (lease, Err(QuestionFailed::Unsupported)),
                Link::Serial(_) | Link::Tcp { .. } => serial.ask(lease, question.clone()).await,
            };
            drop(lease);
            let _ = events.send(Event::Answered { link, question, outcome }).await;
        });
    }

    async fn device_ready(&mut self, info: DeviceInfo) {
        self.tell_trouble(&info);
        let taken_up = self.adopt(&info).await;
        let (device, view) = (info.id.clone(), taken_up.unwrap_or_else(|| self.ledger.view(&info.id)));
        let board = info.board.clone();
        self.name_to_builtin(&info).await;
        self.list(&info).await;
        self.proxy.add(info, view.clone()).await;
        self.feed.tell(News::DeviceJoined { device: device.clone(), board });
        self.show_view(&device, view).await;
        if let Some(view) = self.flashings.view(&device) {
            self.proxy.set_flashing(&device, view);
        }
        self.watch(&device);
    }

    /// One warning for each reason, not for each of a thousand devices; `nuncio status` has it of every one.
    fn tell_trouble(&mut self, info: &DeviceInfo) {
        let Some(reason) = &info.not_updatable else { return };
        let (device, board) = (&info.id, &info.board);
        if reason == NOT_FLASHED {
            return tracing::debug!(%device, %board, reason, "cannot be updated");
        }
        if self.troubles_told.len() < TROUBLES_TOLD && self.troubles_told.insert((board.clone(), reason.clone())) {
            tracing::warn!(%device, %board, reason, "cannot be updated, nor can others for the same reason");
        } else {
            tracing::debug!(%device, %board, reason, "cannot be updated");
        }
    }

    async fn device_changed(&mut self, info: DeviceInfo) {
        self.adopt(&info).await;
        self.list(&info).await;
        let device = info.id.clone();
        self.name_to_builtin(&info).await;
        self.proxy.set_device(info).await;
        self.feed.tell(News::DeviceChanged { device: device.clone() });
        // Its link may be another one.
        self.watch(&device);
    }

    async fn device_away(&mut self, device: DeviceId) {
        self.update.link_gone(device.clone()).await;
        if let Some(info) = self.registry.device(&device).cloned() {
            self.list(&info).await;
        }
        self.feed.tell(News::DeviceChanged { device });
    }

    async fn device_returned(&mut self, info: DeviceInfo) {
        if let Some(waiting) = self.returning.remove(&info.id) {
            // An update that gave up waiting has said so already.
            let _ = waiting.send(info.link.clone());
        }
        self.device_changed(info).await;
    }

    async fn device_gone(&mut self, device: &DeviceId) {
        tracing::info!(%device, "gone");
        self.forget_points(device);
        self.update.link_gone(device.clone()).await;
        self.proxy.remove(device).await;
        self.unlist(device).await;
        self.feed.tell(News::DeviceLeft { device: device.clone() });
        if let Some(builtin) = &self.builtin {
            builtin.device_gone(device.clone()).await;
        }
    }

    /// Before its client registers there: the built-in server's folders go by the gateway's names.
    async fn name_to_builtin(&self, info: &DeviceInfo) {
        if let Some(builtin) = &self.builtin {
            let (id, endpoint, board) = (info.id.clone(), info.endpoint.clone(), info.board.clone());
            builtin.device_is(Device { id, endpoint, board }).await;
        }
    }

    /// What servers read of its update, where that is only known now.
    async fn adopt(&self, info: &DeviceInfo) -> Option<FirmwareView> {
        let profile = self.registry.profile(&info.id)?;
        let (device, link, version) = (info.id.clone(), info.link.clone(), info.version.clone());
        let (worked, hub) = (self.worked_at(&info.id), self.registry.hub(&info.id));
        let power_cycle = self.may_power_cycle(&info.id);
        self.update.adopt(Adoption { device, profile, link, version, worked, hub, power_cycle }).await
    }
}

/// The host that a service runs on.
fn host(report: &LinkReport) -> Option<&str> {
    report.evidence.iter().find_map(|evidence| match evidence {
        Evidence::Service(seen) => Some(seen.host.as_str()),
        _ => None,
    })
}

/// Nobody waits for it; where it could not be written down, that is told.
pub(super) fn written(ack: Ack<()>, otherwise: &'static str) {
    tokio::spawn(async move {
        if let Err(error) = ack.await {
            tracing::error!(%error, "not written down: {otherwise}");
        }
    });
}
