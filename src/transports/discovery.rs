//! Devices that programs of others find: Arduino's pluggable discoveries, one subprocess each, whatever they speak to devices.
//!
//! What they say is as good as what a network says: bounded, escaped, and never more than news of links. Serial ports that
//! they tell of are passed over, since the gateway looks after those itself and opens none that it was not told to own.
//! Driven by `gateway`. Questions cannot be asked over these links, nor flashes done.

mod program;
mod protocol;

use std::collections::BTreeMap;

use tokio::sync::mpsc;
use tracing::{debug, info};

use super::telling::Telling;
use super::{DiscoverySettings, Event};
use crate::device::{Link, LinkReport};

/// News that wait to be taken up.
const WAITING: usize = 64;
/// Most devices that one program may tell of.
const MAX_LINKS: usize = 1000;

/// What a program tells, or what is told of it.
#[derive(Debug)]
enum News {
    /// It has been started and answers.
    Works,
    There(LinkReport),
    Gone(Link),
    /// It ended, for this reason; it is started again.
    Ended(String),
}

/// Starts the programs. They end when nobody takes the events.
pub fn spawn(programs: Vec<DiscoverySettings>, events: mpsc::Sender<Event>) {
    if programs.is_empty() {
        return;
    }
    let (sender, news) = mpsc::channel(WAITING);
    let names = programs.iter().map(|program| program.name.clone()).collect();
    for (number, settings) in programs.into_iter().enumerate() {
        tokio::spawn(program::keep(number, settings, sender.clone()));
    }
    tokio::spawn(gather(names, news, events));
}

async fn gather(names: Vec<String>, mut news: mpsc::Receiver<(usize, News)>, events: mpsc::Sender<Event>) {
    let mut telling = Telling::new("discovery");
    let mut links: BTreeMap<Link, usize> = BTreeMap::new();
    let mut troubles: BTreeMap<usize, String> = BTreeMap::new();
    loop {
        let one = tokio::select! {
            one = news.recv() => one,
            () = events.closed() => None,
        };
        let Some((number, one)) = one else { return };
        match one {
            News::Works => drop(troubles.remove(&number)),
            News::There(report) => {
                let count = links.values().filter(|by| **by == number).count();
                if links.contains_key(&report.link) || count < MAX_LINKS {
                    links.insert(report.link.clone(), number);
                    telling.put(report);
                } else {
                    debug!(link = %report.link, "one discovery tells of more than {MAX_LINKS} devices");
                }
            }
            News::Gone(link) => {
                links.remove(&link);
                telling.remove(&link);
            }
            News::Ended(why) => {
                let theirs = |(link, by): (&Link, &usize)| (*by == number).then(|| link.clone());
                let gone: Vec<Link> = links.iter().filter_map(theirs).collect();
                for link in gone {
                    links.remove(&link);
                    telling.remove(&link);
                }
                troubles.insert(number, format!("the discovery `{}` {why}; it is started again", names[number]));
            }
        }
        let all: Vec<&str> = troubles.values().map(String::as_str).collect();
        telling.set_trouble((!all.is_empty()).then(|| all.join("; ")));
        if telling.tell_all(&events, log).await.is_err() {
            return;
        }
    }
}

fn log(event: &Event) {
    match event {
        Event::Appeared(report) => info!(link = %report.link, "discovered"),
        Event::Vanished(link) => info!(%link, "not discovered any more"),
        Event::Changed(_) | Event::Trouble { .. } => {}
    }
}
