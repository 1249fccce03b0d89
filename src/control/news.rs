//! What has happened in the gateway, for whoever follows it: the page, servers of events, programs that wait for something.
//!
//! Each piece of news has a number, one more than the one before. Nobody is waited for: who does not keep up is told that
//! something was missed, and asks for the whole again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};
use utoipa::ToSchema;

use crate::device::{BoardId, DeviceId, FirmwareState, UpdateEvent, UpdateId, UpdateResult};

/// So many pieces wait for a follower that is slow.
const WAITING: usize = 1024;

/// One piece of news.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Told {
    /// One more than the last one's; begins anew with the gateway.
    pub number: u64,
    /// Seconds since 1970.
    pub at: i64,
    /// What.
    #[serde(flatten)]
    pub news: News,
}

/// What has happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "news", rename_all = "kebab-case")]
pub enum News {
    /// A device is a client of the servers from now on.
    DeviceJoined {
        /// Its name.
        device: DeviceId,
        /// Its type.
        board: BoardId,
    },
    /// Something about it is another than before: its link, its version, whether it can be updated.
    DeviceChanged {
        /// Its name.
        device: DeviceId,
    },
    /// It is gone, and may come back.
    DeviceLeft {
        /// The name it had.
        device: DeviceId,
    },
    /// It is as if it had never been here, by an operator's order.
    DeviceForgotten {
        /// The name it had.
        device: DeviceId,
        /// The endpoint name it had.
        endpoint: String,
    },
    /// A server knows it now, or does not any more.
    Registration {
        /// The device.
        device: DeviceId,
        /// The server's name.
        server: String,
        /// Whether it knows it.
        registered: bool,
    },
    /// Its firmware object says something else to servers.
    Firmware {
        /// The device.
        device: DeviceId,
        /// 5/0/3.
        state: FirmwareState,
        /// 5/0/5.
        result: UpdateResult,
    },
    /// Something happened in one of its updates; what tools print is left out.
    Update {
        /// The device.
        device: DeviceId,
        /// Which update.
        update: UpdateId,
        /// What.
        what: UpdateEvent,
    },
    /// Values of its points, or the points themselves, are others than before.
    PointsChanged {
        /// The device.
        device: DeviceId,
    },
    /// A link that is no device is there, gone, or another than before.
    LinksChanged,
}

impl News {
    /// The device that it is about.
    pub fn device(&self) -> Option<&DeviceId> {
        match self {
            Self::DeviceJoined { device, .. }
            | Self::DeviceChanged { device }
            | Self::DeviceLeft { device }
            | Self::DeviceForgotten { device, .. }
            | Self::Registration { device, .. }
            | Self::Firmware { device, .. }
            | Self::Update { device, .. }
            | Self::PointsChanged { device } => Some(device),
            Self::LinksChanged => None,
        }
    }
}

/// Where news comes from. Its clones are the same.
#[derive(Debug, Clone)]
pub struct Feed {
    sender: broadcast::Sender<Arc<Told>>,
    number: Arc<AtomicU64>,
}

impl Default for Feed {
    fn default() -> Self {
        Self { sender: broadcast::channel(WAITING).0, number: Arc::default() }
    }
}

impl Feed {
    /// Tells all who follow. Costs next to nothing where nobody does.
    pub fn tell(&self, news: News) {
        let number = self.number.fetch_add(1, Ordering::Relaxed) + 1;
        if self.is_followed() {
            let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
            let told = Told { number, at: i64::try_from(at).unwrap_or(i64::MAX), news };
            // The last follower may have left just now.
            let _ = self.sender.send(Arc::new(told));
        }
    }

    /// Whether anybody follows.
    pub fn is_followed(&self) -> bool {
        self.sender.receiver_count() > 0
    }

    /// Everything from now on.
    pub fn follow(&self) -> Follower {
        Follower(self.sender.subscribe())
    }
}

/// One who follows.
#[derive(Debug)]
pub struct Follower(broadcast::Receiver<Arc<Told>>);

/// What a follower gets.
#[derive(Debug, Clone, PartialEq)]
pub enum Heard {
    /// The next piece.
    Told(Arc<Told>),
    /// So many pieces came too fast and are lost: ask for the whole.
    Missed(u64),
}

impl Follower {
    /// Waits for what comes next; `None` when the gateway ends. Can be cancelled without loss.
    pub async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(told) => Some(Heard::Told(told)),
            Err(RecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(RecvError::Closed) => None,
        }
    }

    /// What has come already, without waiting.
    pub fn ready(&mut self) -> Option<Heard> {
        match self.0.try_recv() {
            Ok(told) => Some(Heard::Told(told)),
            Err(TryRecvError::Lagged(missed)) => Some(Heard::Missed(missed)),
            Err(TryRecvError::Empty | TryRecvError::Closed) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_slow_follower_is_told_how_much_it_missed_and_goes_on() {
        let feed = Feed::default();
        let mut follower = feed.follow();
        for _ in 0..WAITING + 5 {
            feed.tell(News::LinksChanged);
        }
        assert_eq!(follower.next().await, Some(Heard::Missed(5)));
        let Some(Heard::Told(told)) = follower.next().await else { panic!("nothing after it") };
        assert_eq!(told.number, 6);
        assert!(matches!(follower.ready(), Some(Heard::Told(told)) if told.number == 7));
        drop(feed);
        while let Some(heard) = follower.next().await {
            assert!(matches!(heard, Heard::Told(_)));
        }
        assert_eq!(follower.ready(), None);
    }

    #[test]
    fn news_is_one_flat_object() {
        let told = Told { number: 1, at: 2, news: News::LinksChanged };
        let text = serde_json::to_string(&told).expect("written");
        assert_eq!(text, r#"{"number":1,"at":2,"news":"links-changed"}"#);
        assert_eq!(serde_json::from_str::<Told>(&text).expect("read"), told);
    }
}
