//! From the gateway's news to the hooks: one queue and one worker for each, so that a slow one delays no other and its own
//! events keep their order.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::event::Event;
use super::program::{self, Called};
use super::settings::{HookEvent, HookSettings};
use super::webhook::{NotTaken, Webhook, pause};
use crate::control::{Follower, Heard, Trouble, Wires};

/// Events that wait for one hook; what comes beyond is lost, and told.
const WAITING: usize = 64;
/// Programs that run at once, of all hooks.
const PROGRAMS_MAX: usize = 4;

/// All hooks.
pub(super) struct Run {
    gateway: String,
    news: Follower,
    queues: Vec<Queue>,
    workers: JoinSet<()>,
}

struct Queue {
    name: String,
    on: Vec<HookEvent>,
    events: mpsc::Sender<Event>,
    /// So many were lost since one was taken.
    lost: u64,
}

impl Run {
    /// To be called in a runtime.
    pub(super) fn new(settings: &[HookSettings], wires: &Wires, stop: &CancellationToken) -> Self {
        let programs = Arc::new(Semaphore::new(PROGRAMS_MAX));
        let (mut queues, mut workers) = (Vec::new(), JoinSet::new());
        for hook in settings {
            let (events, inbox) = mpsc::channel(WAITING);
            queues.push(Queue { name: hook.name.clone(), on: hook.on.clone(), events, lost: 0 });
            let worker = Worker {
                settings: hook.clone(),
                wires: wires.clone(),
                programs: Arc::clone(&programs),
                webhook: None,
                trouble: None,
                stop: stop.clone(),
            };
            workers.spawn(worker.run(inbox));
        }
        Self { gateway: wires.gateway.clone(), news: wires.feed.follow(), queues, workers }
    }

    /// Runs until it is told to stop, and then until all that has happened was handed on.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                heard = self.news.next() => match heard {
                    Some(heard) => self.hand_on(heard),
                    None => break,
                },
            }
        }
        while let Some(heard) = self.news.ready() {
            self.hand_on(heard);
        }
        self.queues.clear();
        while self.workers.join_next().await.is_some() {}
    }

    fn hand_on(&mut self, heard: Heard) {
        let told = match heard {
            Heard::Told(told) => told,
            Heard::Missed(missed) => return warn!(missed, "too much happened at once: hooks do not hear of all of it"),
        };
        let Some(event) = Event::of(&told, &self.gateway) else { return };
        for queue in self.queues.iter_mut().filter(|queue| queue.on.contains(&event.event)) {
            match queue.events.try_send(event.clone()) {
                Ok(()) if queue.lost > 0 => {
                    warn!(hook = queue.name, events = queue.lost, "it is too slow: events were lost");
                    queue.lost = 0;
                }
                Ok(()) => {}
                Err(_) => queue.lost += 1,
            }
        }
    }
}

/// Calls one hook.
struct Worker {
    settings: HookSettings,
    wires: Wires,
    programs: Arc<Semaphore>,
    /// Made when it is first needed.
    webhook: Option<Webhook>,
    /// What keeps it from its work, as it was last told.
    trouble: Option<String>,
    stop: CancellationToken,
}

impl Worker {
    async fn run(mut self, mut inbox: mpsc::Receiver<Event>) {
        while let Some(event) = inbox.recv().await {
            let outcome = match self.settings.program.clone() {
                Some(program) => self.call(&program, &event).await,
                None => self.post(&event).await,
            };
            let (hook, what, device) = (&self.settings.name, event.name(), &event.device);
            match &outcome {
                Ok(()) => debug!(hook, event = what, %device, "called"),
                Err(reason) => debug!(hook, event = what, %device, reason, "an event is lost"),
            }
            let name = &self.settings.name;
            self.tell_trouble(outcome.err().map(|reason| format!("hook {name}: {reason}; such events are lost"))).await;
        }
    }

    /// Once for each reason, not once for each event.
    async fn tell_trouble(&mut self, what: Option<String>) {
        if self.trouble != what {
            self.trouble.clone_from(&what);
            let of = format!("hook {}", self.settings.name);
            // The gateway may have ended.
            let _ = self.wires.troubles.send(Trouble { of, what }).await;
        }
    }

    async fn call(&self, program: &[String], event: &Event) -> Result<(), String> {
        let _place = self.programs.acquire().await.map_err(|error| error.to_string())?;
        let Called { outcome, printed } = program::call(program, event, self.settings.timeout).await;
        let (hook, event) = (&self.settings.name, event.name());
        for line in &printed {
            match &outcome {
                Ok(()) => debug!(hook, event, line, "it said"),
                Err(_) => info!(hook, event, line, "it said"),
            }
        }
        outcome
    }

    async fn post(&mut self, event: &Event) -> Result<(), String> {
        let mut tries = 0;
        loop {
            tries += 1;
            let reason = match self.post_once(event).await {
                Ok(()) => return Ok(()),
                Err(NotTaken::Ever(reason)) => return Err(reason),
                Err(NotTaken::Now(reason)) => reason,
            };
            if tries > self.settings.retries || self.stop.is_cancelled() {
                return Err(match tries {
                    1 => reason,
                    _ => format!("{reason}, after {tries} tries"),
                });
            }
            debug!(hook = self.settings.name, reason, tries, "it is tried again");
            tokio::select! {
                () = tokio::time::sleep(jittered(pause(tries))) => {}
                () = self.stop.cancelled() => {}
            }
        }
    }

    async fn post_once(&mut self, event: &Event) -> Result<(), NotTaken> {
        if self.webhook.is_none() {
            let settings = self.settings.clone();
            let made = tokio::task::spawn_blocking(move || match &settings.url {
                Some(url) => Webhook::new(&settings, url),
                None => Err("it has no url".to_owned()),
            });
            let made = made.await.unwrap_or_else(|error| Err(error.to_string()));
            self.webhook = Some(made.map_err(NotTaken::Now)?);
        }
        match &self.webhook {
            Some(webhook) => webhook.post(event).await,
            None => Ok(()),
        }
    }
}

fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + 0.5 * fastrand::f64())
}
