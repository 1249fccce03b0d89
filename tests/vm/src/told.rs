//! What the guest's devices tell of themselves: lines of `SECONDS WHO WHAT` over a virtio port.

use std::path::Path;
use std::time::Duration;

use world::eventually;

use crate::channel::Channel;

/// Ten times what the guest takes to do anything with a device.
const PATIENCE: Duration = Duration::from_secs(60);

/// One thing that was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// By the guest's clock, in seconds since what tells was started.
    pub at: f64,
    /// Of which device.
    pub who: String,
    /// What.
    pub what: String,
}

/// Everything that was told so far, and the way to who tells it.
pub(crate) struct Tellings {
    channel: Channel,
    all: Vec<Told>,
}

impl Tellings {
    pub(crate) fn open(socket: &Path) -> Self {
        Self { channel: Channel::open(socket), all: Vec::new() }
    }

    /// Gives an order.
    pub(crate) fn order(&mut self, order: &str) {
        self.channel.send(order).expect("the machine runs");
    }

    /// Gives an order, and waits until it is done.
    pub(crate) fn do_now(&mut self, order: &str, who: &str, done: &str) {
        let mark = self.mark();
        self.order(order);
        self.wait(mark, who, done, |what| what == done);
    }

    /// A place to look on from.
    pub(crate) fn mark(&mut self) -> usize {
        self.read();
        self.all.len()
    }

    /// What was told of a device since a mark.
    pub(crate) fn since(&mut self, mark: usize, who: &str) -> Vec<Told> {
        self.read();
        self.all.iter().skip(mark).filter(|told| told.who == who).cloned().collect()
    }

    /// Waits until something is told of a device after a mark.
    pub(crate) fn wait(&mut self, mark: usize, who: &str, words: &str, wanted: impl Fn(&str) -> bool) {
        eventually(&format!("{who}: {words}"), PATIENCE, || {
            let told = self.since(mark, who);
            if let Some(error) = told.iter().find(|told| told.what.starts_with("error")) {
                panic!("{who}: {}", error.what);
            }
            told.iter().any(|told| wanted(&told.what)).then_some(())
        });
    }

    fn read(&mut self) {
        while let Some(line) = self.channel.line(Duration::ZERO).expect("the machine runs") {
            let mut words = line.splitn(3, ' ').map(str::to_owned);
            let at = words.next().and_then(|word| word.parse().ok()).expect("a line begins with a time");
            let [who, what] = [words.next(), words.next()].map(Option::unwrap_or_default);
            self.all.push(Told { at, who, what });
        }
    }
}
