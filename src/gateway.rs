//! The wiring and the one event loop: the only place where the rooms meet.
//!
//! Events come in from transports, clients, updates, operators and the process; each arm is a call into the room whose
//! business it is. Nothing here decides about boards or updates, packets and image bytes never pass through, and nothing
//! is waited for in the loop: what takes time is a task that comes back as an event or answers by itself.

mod backup;
mod brakes;
mod calling;
mod data;
mod effects;
mod flash;
mod flashing;
mod history;
mod joining;
mod ledger;
mod links;
mod operators;
mod own;
mod plan;
mod power;
mod recorder;
mod reload;
mod restore;
mod start;
mod tapes;
mod tokens;
mod views;
mod watching;
mod which;
mod worked;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::boards::Registry;
use crate::builtin;
use crate::config::Config;
use crate::control::{
    CheckItem, Companion, ControlRequest, Ending, Feed, Lifecycle, LifecycleOrder, LogControl, Trouble,
};
use crate::device::{Answer, BoardId, DeviceId, Link, PointsSeen, Question, QuestionFailed};
use crate::executors::Executor;
use crate::hooks;
use crate::leases;
use crate::mqtt;
use crate::proxy::{self, Proxy};
use crate::store::Store;
use crate::transports::{self, ble, esphome, http, hub, mdns, serial, smp};
use crate::update::{self, Effect};
use crate::web::Tokens;

pub use backup::back_up;
pub use restore::{Taken, Wish, restore};

use flashing::Flashings;
use ledger::Ledger;
use own::Own;
use recorder::Recorder;
use watching::Watches;

/// How long the de-registration of all devices may take.
const DEREGISTRATION: Duration = Duration::from_secs(5);
/// How long tools that were told to end at once may take to be gone: each has two seconds before it is killed.
const STOP_NOW: Duration = Duration::from_secs(5);
/// How long those who go along may take to come to their end.
const FAREWELL: Duration = Duration::from_secs(5);
/// Events of one kind that wait for the loop.
const EVENTS_WAITING: usize = 4096;

/// What the gateway's own tasks come back with.
#[derive(Debug)]
enum Event {
    /// A question of the registry was answered.
    Answered { link: Link, question: Question, outcome: Result<Answer, QuestionFailed> },
    /// A question could not be asked, for somebody took the link first.
    Held { link: Link, question: Question },
    /// Somebody waited for a link in vain: it may be free now.
    Waits(Link),
    /// A watch of points has ended.
    Unwatched { link: Link, number: u64, outcome: Result<(), QuestionFailed>, stopped: bool },
    /// A link whose watch failed was left alone for long enough.
    WatchAgain { link: Link, number: u64 },
    /// Over which link a device is there just now, with its USB product id, for who calls its boot loader.
    Where { device: DeviceId, reply: oneshot::Sender<Option<(Link, Option<u16>)>> },
    /// No flash is running any more: the way to stop is free.
    Drained,
    /// A device whose link went away in an update that has ended since had its time to come back.
    Waited(DeviceId),
    /// A server restarts the gateway, and has its answer.
    Restart,
    /// What keeps a room from its work, by its section; nothing, any more.
    Trouble { room: &'static str, what: Option<String> },
    /// Tools were looked for: why boards cannot be updated.
    Troubles(BTreeMap<BoardId, String>),
}

/// The gateway's rooms and the channels between them.
struct Gateway {
    config: Config,
    started: i64,
    notes: Vec<String>,
    registry: Registry,
    leases: leases::Table,
    serial: serial::Handle,
    hubs: hub::Hubs,
    /// Devices whose USB port was switched off and on for a server, until they are awaited no more.
    restarting: BTreeSet<DeviceId>,
    mdns: mdns::Handle,
    ble: ble::Handle,
    http: http::Handle,
    esphome: esphome::Handle,
    smp: smp::Handle,
    recordings: tapes::Recordings,
    /// Answers questions in place of all transports.
    player: Option<tapes::Player>,
    /// What keeps a transport or a companion from its work, by its section.
    obstacles: BTreeMap<String, String>,
    proxy: Proxy,
    /// One of the servers, where it is enabled.
    builtin: Option<builtin::Handle>,
    /// The endpoint that is the gateway itself, where there is one.
    own: Option<Own>,
    /// The program begins anew when it has ended.
    restarts: bool,
    update: update::Handle,
    executor: Arc<Executor>,
    store: Store,
    ledger: Ledger,
    turns: joining::Turns,
    /// When ports may be opened once more to ask.
    reopenings: joining::Turns,
    /// What works on which port.
    worked: worked::Worked,
    recorder: Recorder,
    flashings: Flashings,
    /// Updates that wait for their device to come back.
    returning: HashMap<DeviceId, oneshot::Sender<Link>>,
    /// Devices whose points are read.
    watches: Watches,
    points: mpsc::Sender<(Link, PointsSeen)>,
    /// Why boards cannot be updated, as far as the log has it.
    troubles_told: BTreeSet<(BoardId, String)>,
    log: LogControl,
    /// Who may ask over HTTP.
    tokens: Tokens,
    /// Who follows what happens here.
    feed: Feed,
    /// Rooms that go along with it.
    companions: Vec<Companion>,
    events: mpsc::Sender<Event>,
    /// Cancelled when tools shall end at once.
    stop_now: CancellationToken,
}

/// The receiving ends.
struct Inbox {
    links: mpsc::Receiver<transports::Event>,
    clients: mpsc::Receiver<proxy::Event>,
    effects: mpsc::Receiver<Effect>,
    operators: mpsc::Receiver<ControlRequest>,
    releases: leases::Releases,
    points: mpsc::Receiver<(Link, PointsSeen)>,
    troubles: mpsc::Receiver<Trouble>,
    lifecycle: mpsc::Receiver<LifecycleOrder>,
    own: mpsc::Receiver<Event>,
}

/// Runs the gateway until it is told to stop, or to begin anew.
///
/// # Errors
/// When it cannot start: the state folder is in use, a file of boards or tools is wrong, the socket cannot be bound.
pub async fn run(config: Config, lifecycle: Lifecycle) -> anyhow::Result<Ending> {
    let Lifecycle { orders, ready, log } = lifecycle;
    let (mut gateway, mut inbox) = start::start(config, orders, log).await?;
    // Whoever waits for it may have been told to stop meanwhile.
    let _ = ready.send(());
    gateway.turn(&mut inbox).await;
    let ending = if gateway.restarts { Ending::Restart } else { Ending::Stop };
    gateway.end(inbox).await;
    Ok(ending)
}

/// What boards, tools and those who go along have to say to `nuncio check`. Blocking; starts no runtime.
pub fn check(config: &Config) -> Vec<CheckItem> {
    let companions = mqtt::check(&config.mqtt).into_iter().chain(hooks::check(&config.hooks));
    data::check(config).into_iter().chain(companions).collect()
}

/// The boards that can be flashed by a port, and their names for people; none where their files are wrong. Blocking; starts no
/// runtime.
pub fn boards(config: &Config) -> Vec<(BoardId, String)> {
    data::boards(config)
}

impl Gateway {
    /// The event loop.
    async fn turn(&mut self, inbox: &mut Inbox) {
        // Goes on while other things happen, unlike a time that is waited for anew in each round.
        let mut ticks = tokio::time::interval(joining::TURN);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = inbox.links.recv() => self.handle_link(event).await,
                Some(event) = inbox.clients.recv() => self.handle_client(event).await,
                Some(effect) = inbox.effects.recv() => self.handle_effect(effect).await,
                Some(request) = inbox.operators.recv() => self.handle_operator(request).await,
                Some((link, seen)) = inbox.points.recv() => self.handle_points(&link, seen).await,
                Some(trouble) = inbox.troubles.recv() => self.handle_trouble(trouble.of, trouble.what).await,
                link = inbox.releases.next() => self.handle_released(link).await,
                _ = ticks.tick(), if self.somebody_waits() => self.let_join().await,
                Some(event) = inbox.own.recv() => match event {
                    Event::Answered { link, question, outcome } => self.handle_answer(&link, &question, outcome).await,
                    Event::Held { link, question } => {
                        self.registry.handle_held(&link, &question);
                        self.handle_free(link).await;
                    }
                    Event::Waits(link) => self.handle_free(link).await,
                    Event::Unwatched { link, number, outcome, stopped } => self.handle_unwatched((link, number), &outcome, stopped),
                    Event::WatchAgain { link, number } => self.watch_again(&link, number),
                    Event::Trouble { room, what } => self.handle_trouble(room.to_owned(), what).await,
                    Event::Troubles(troubles) => self.handle_troubles(troubles).await,
                    Event::Restart => self.restart(),
                    Event::Where { device, reply } => self.tell_where(&device, reply),
                    Event::Waited(device) => {
                        self.restarting.remove(&device);
                        self.let_go(&device).await;
                    }
                    Event::Drained => {
                        // What an update came to is told to servers and operators before they are left.
                        while let Ok(effect) = inbox.effects.try_recv() {
                            self.handle_effect(effect).await;
                        }
                        return;
                    }
                },
                order = inbox.lifecycle.recv() => match order {
                    Some(LifecycleOrder::Stop) => {
                        self.restarts = false;
                        self.stop(None);
                    }
                    Some(LifecycleOrder::StopNow) | None => {
                        self.restarts = false;
                        // First: the end of a tool that is ended here is no failure of its update.
                        self.update.halt().await;
                        self.stop_now.cancel();
                        self.stop(Some(STOP_NOW));
                    }
                    Some(LifecycleOrder::Reload { done }) => drop(done.send(self.reload().await)),
                    Some(LifecycleOrder::Beat { done }) => drop(done.send(())),
                },
            }
        }
    }

    /// No further flash begins; the loop goes on until the running ones are through, with their proof, or `limit` is
    /// over. What is cut off then stands in the journal, and is taken up by the next start.
    fn stop(&self, limit: Option<Duration>) {
        let (update, events) = (self.update.clone(), self.events.clone());
        tokio::spawn(async move {
            if tokio::time::timeout(limit.unwrap_or(Duration::MAX), update.drain()).await.is_err() {
                tracing::warn!("a tool does not end: the next start ends it");
            }
            // The loop may have ended by an earlier stop.
            let _ = events.send(Event::Drained).await;
        });
    }

    /// Leaves the servers and closes the journal.
    async fn end(mut self, inbox: Inbox) {
        drop(inbox);
        self.stop_all_watches();
        let companions = join_all(self.companions.drain(..).map(|companion| companion.stop(FAREWELL)));
        tokio::join!(companions, self.proxy.shut_down(DEREGISTRATION));
        if let Err(error) = self.store.close().await {
            tracing::warn!(%error, "the store did not close cleanly");
        }
    }
}
