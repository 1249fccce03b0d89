//! What operators ask over the control socket.

use tokio::sync::mpsc;

use super::Gateway;
use super::flash::Session;
use super::views;
use crate::control::{Answer, ControlRequest, DeviceList, DeviceStatus, Failure, FailureCode, Status, Verdict, Why};
use crate::device::{
    BuiltinView, DeviceId, DeviceInfo, FirmwareOrder, FirmwareReply, FirmwareRight, Link, Requester, UpdateEvent,
};

/// Events that wait for one `nuncio flash`.
const FLASH_EVENTS: usize = 256;

impl Gateway {
    pub(super) async fn handle_operator(&mut self, request: ControlRequest) {
        match request {
            ControlRequest::Devices { reply } => self.tell_devices(reply),
            ControlRequest::Status { device, reply } => self.tell_status(device.as_deref(), reply),
            ControlRequest::Device { device, reply } => drop(reply.send(self.device(&device))),
            ControlRequest::Why { device, reply } => drop(reply.send(self.why(&device))),
            ControlRequest::Flash { device, image, version, now, events, verdict } => {
                self.flash(&device, FirmwareOrder::Stage { path: image, version }, now, events, verdict);
            }
            ControlRequest::Install { device, by, reply } => self.install(&device, by, reply),
            ControlRequest::Plan { device, image, version, now, reply } => {
                self.plan(&device, image, version, now, reply);
            }
            ControlRequest::Rollback { device, events, verdict } => {
                self.flash(&device, FirmwareOrder::Rollback, true, events, verdict);
            }
            ControlRequest::Brake { order, reply } => self.brake(order, reply),
            ControlRequest::Join { order, reply } => drop(reply.send(self.join(order).await)),
            ControlRequest::Identify { device, reply } => self.identify(&device, reply),
            ControlRequest::Record { lines } => self.begin_tape(lines),
            ControlRequest::Points { device, reply } => drop(reply.send(self.points(&device))),
            ControlRequest::Write { device, key, value, by, reply } => self.write(&device, &key, &value, by, reply),
            ControlRequest::Who { device, reply } => drop(reply.send(self.who(&device))),
            ControlRequest::Cancel { device, reply } => self.cancel(&device, reply),
            ControlRequest::History { device, failed, limit, reply } => self.tell_history(device, failed, limit, reply),
            ControlRequest::Show { update, reply } => self.tell_update(update, reply),
            ControlRequest::Gateway { reply } => drop(reply.send(Ok(self.gateway_status()))),
            ControlRequest::Health { reply } => self.tell_health(reply),
            ControlRequest::Tokens { order, reply } => self.order_tokens(order, reply),
            ControlRequest::Builtin { reply } => self.tell_builtin(reply),
            ControlRequest::Reload { reply } => {
                let waiting = self.waiting_for_restart();
                let outcome = self.reload().await;
                drop(reply.send(outcome.map(|()| waiting).map_err(|error| Failure::new(FailureCode::Failed, error))));
            }
        }
    }

    fn tell_devices(&self, reply: Answer<DeviceList>) {
        let (devices, links) = (self.collect(self.registry.devices()), self.links());
        drop(reply.send(Ok(DeviceList { devices, links })));
    }

    fn tell_status(&self, word: Option<&str>, reply: Answer<Status>) {
        let wanted = match word.map(|word| self.find(word).ok_or_else(|| self.unknown(word))).transpose() {
            Ok(wanted) => wanted,
            Err(unknown) => return drop(reply.send(Err(unknown))),
        };
        // What the servers have is counted over all devices, whichever was asked for.
        let all = self.collect(self.registry.devices());
        let servers = self.config.servers.iter().map(|server| views::server(server, &all)).collect();
        let devices = match wanted {
            Some(info) => self.collect(std::iter::once(info)),
            None => all,
        };
        let (mut gateway, update) = (self.gateway_status(), self.update.clone());
        tokio::spawn(async move {
            gateway.notes.extend(views::brakes(&update.brakes().await));
            drop(reply.send(Ok(Status { gateway, servers, devices })));
        });
    }

    fn tell_builtin(&self, reply: Answer<BuiltinView>) {
        let Some(builtin) = self.builtin.clone() else {
            let none = Failure::new(FailureCode::NotNow, "there is no built-in server")
                .with_hint("[builtin_server] enabled = true, and a restart");
            return drop(reply.send(Err(none)));
        };
        tokio::spawn(async move {
            // A reply that is dropped says that the daemon is stopping.
            if let Some(view) = builtin.look().await {
                drop(reply.send(Ok(view)));
            }
        });
    }

    fn device(&self, word: &str) -> Result<DeviceStatus, Failure> {
        let info = self.find(word).ok_or_else(|| self.unknown(word))?;
        self.collect(std::iter::once(info)).pop().ok_or_else(|| self.unknown(word))
    }

    fn why(&self, word: &str) -> Result<Why, Failure> {
        let why = match self.find(word) {
            Some(info) => self.registry.why_device(&info.id),
            None => self.find_link(word).and_then(|link| self.registry.why_link(&link)),
        };
        why.map(views::why).ok_or_else(|| self.unknown(word))
    }

    fn flash(
        &mut self,
        word: &str,
        stage: FirmwareOrder,
        now: bool,
        events: mpsc::Sender<UpdateEvent>,
        verdict: Answer<Verdict>,
    ) {
        let device = match self.flashable(word) {
            Ok(device) => device,
            Err(failure) => return drop(verdict.send(Err(failure))),
        };
        let (follower, happening) = mpsc::channel(FLASH_EVENTS);
        let entry = self.ledger.entry(&device);
        entry.follow(follower);
        let before = entry.status.id;
        let session = Session { device, stage, now, before, happening, events, update: self.update.clone() };
        tokio::spawn(async move { drop(verdict.send(session.run().await)) });
    }

    fn flashable(&self, word: &str) -> Result<DeviceId, Failure> {
        let info = self.find(word).ok_or_else(|| self.unknown(word))?;
        match &info.not_updatable {
            Some(reason) => Err(Failure::new(FailureCode::NotNow, format!("{} cannot be updated: {reason}", info.id))
                .with_hint("`nuncio check` looks again")),
            None => Ok(info.id.clone()),
        }
    }

    fn cancel(&self, word: &str, reply: Answer<()>) {
        self.order(word, FirmwareOrder::Cancel, "nothing to give up, or it is being flashed already", reply);
    }

    /// What is staged begins as if a server had executed it: it may have to wait for the window or its turn.
    fn install(&self, word: &str, by: &str, reply: Answer<()>) {
        if let Some(info) = self.find(word) {
            tracing::info!(device = %info.id, by, "what is staged is to be installed");
        }
        self.order(word, FirmwareOrder::Execute, "nothing is staged for it, or it is being flashed already", reply);
    }

    /// An operator's order on a device's firmware, and how it was answered.
    fn order(&self, word: &str, order: FirmwareOrder, in_the_way: &'static str, reply: Answer<()>) {
        let Some(info) = self.find(word) else {
            return drop(reply.send(Err(self.unknown(word))));
        };
        let (device, update) = (info.id.clone(), self.update.clone());
        tokio::spawn(async move {
            let answer = update.order(device, Requester::Local, FirmwareRight::Any, order).await;
            let outcome = match answer {
                FirmwareReply::Done | FirmwareReply::Writer(_) => Ok(()),
                _ => Err(Failure::new(FailureCode::NotNow, in_the_way)),
            };
            drop(reply.send(outcome));
        });
    }

    /// The device that an operator's word means: its name, its endpoint name, or its link.
    pub(super) fn find(&self, word: &str) -> Option<&DeviceInfo> {
        self.registry
            .devices()
            .find(|info| info.id.as_str() == word || info.endpoint == word || means_link(&info.link, word))
    }

    pub(super) fn unknown(&self, word: &str) -> Failure {
        match self.absent().find(|device| device.name == word || means_link(&device.link, word)) {
            Some(device) => {
                let message = format!("{} is configured, but {} is not there now", device.name, device.link);
                Failure::new(FailureCode::NoSuchDevice, message).with_hint("is it plugged in, and powered?")
            }
            None => Failure::no_such_device(word),
        }
    }

    pub(super) fn find_link(&self, word: &str) -> Option<Link> {
        self.registry.links().map(|(report, _)| &report.link).find(|link| means_link(link, word)).cloned()
    }
}

fn means_link(link: &Link, word: &str) -> bool {
    link.to_string() == word || link.serial_path().is_some_and(|path| path.to_str() == Some(word))
}
