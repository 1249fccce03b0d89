//! The parameters of an endpoint (RFC 7252 §4.8) and the bounds of its tables.

use std::time::Duration;

/// Timers, sizes and bounds. The defaults are those of RFC 7252 §4.8; one `Config` serves any number of endpoints.
#[derive(Debug, Clone)]
pub struct Config {
    /// ACK_TIMEOUT: the first retransmission comes after this, times a random factor. 2 s.
    pub ack_timeout: Duration,
    /// ACK_RANDOM_FACTOR: upper end of that factor, at least 1. 1.5.
    pub ack_random_factor: f32,
    /// MAX_RETRANSMIT: retransmissions after the first sending. 4.
    pub max_retransmit: u32,
    /// EXCHANGE_LIFETIME: how long a duplicate of a confirmable message is known for one. 247 s.
    pub exchange_lifetime: Duration,
    /// NON_LIFETIME: the same for a non-confirmable one. 145 s.
    pub non_lifetime: Duration,
    /// A confirmable request that is not answered by then gets its empty ACK. 100 ms.
    pub ack_delay: Duration,
    /// Size exponent of the blocks that this side sends and asks for, 0 to 6. 6 (1024 bytes).
    pub preferred_szx: u8,
    /// The largest body put together from blocks. 64 KiB; beyond it a peer gets 4.13, a request fails.
    pub max_body: usize,
    /// An unfinished block transfer is dropped after this long without a block. 60 s.
    pub max_body_idle: Duration,
    /// Messages of the peer that are remembered to recognise duplicates. 64.
    pub max_dedup: usize,
    /// Own requests that wait or are under way, and requests of the peer that wait for an answer (each). 16.
    pub max_outstanding: usize,
    /// Bodies that are received, and bodies that are served, block by block at a time (each). 4.
    pub max_transfers: usize,
    /// Request paths (`"5/0/0"`) whose Block1 bodies are handed up part by part and never put together.
    pub stream_paths: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            ack_timeout: Duration::from_secs(2),
            ack_random_factor: 1.5,
            max_retransmit: 4,
            exchange_lifetime: Duration::from_secs(247),
            non_lifetime: Duration::from_secs(145),
            ack_delay: Duration::from_millis(100),
            preferred_szx: 6,
            max_body: 64 * 1024,
            max_body_idle: Duration::from_secs(60),
            max_dedup: 64,
            max_outstanding: 16,
            max_transfers: 4,
            stream_paths: Vec::new(),
        }
    }
}

impl Config {
    /// The preferred size exponent, never above 6 whatever was configured.
    pub(crate) fn szx(&self) -> u8 {
        self.preferred_szx.min(6)
    }

    /// Whether bodies sent to this path are handed up part by part.
    pub(crate) fn streams(&self, path: &[String]) -> bool {
        self.stream_paths.iter().any(|stream| stream.split('/').eq(path.iter().map(String::as_str)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stream_paths_match_whole_paths_only() {
        let config = Config { stream_paths: vec!["5/0/0".to_owned()], ..Config::default() };
        let path = |text: &str| text.split('/').map(str::to_owned).collect::<Vec<_>>();
        assert!(config.streams(&path("5/0/0")));
        assert!(!config.streams(&path("5/0")));
        assert!(!config.streams(&path("5/0/0/1")));
        assert!(!config.streams(&[]));
    }
}
