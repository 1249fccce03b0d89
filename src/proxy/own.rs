//! The gateway's own client: its words and the LwM2M client's, and the count of what all clients send and receive.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lwm2m::client::{AttachedDevice, ConnectivityFacts, DeviceFacts, HostFacts, Traffic};

use super::translate;
use crate::device::{Attached, HostSample, OwnInfo, Uplink};

/// What was sampled is good for so long, and is sampled so often while somebody observes it.
pub(super) const FRESH_FOR: Duration = Duration::from_secs(10);

/// 3/0/0.
const MANUFACTURER: &str = "Nuncio";
/// 3/0/17.
const DEVICE_TYPE: &str = "gateway";
/// 3/0/11 while something keeps the gateway from its work.
const PERIPHERAL_MALFUNCTION: u8 = 8;
/// Bytes of a kilobyte.
const KILOBYTE: u64 = 1000;
/// Longest texts of object 26301, in bytes, as its definition has them.
const MAX_TEXT: usize = 255;
const MAX_BOARD: usize = 63;

/// What all clients of this gateway have sent and received.
#[derive(Debug, Default)]
pub(super) struct Counters {
    sent: AtomicU64,
    received: AtomicU64,
    messages: AtomicU64,
}

impl Counters {
    /// A datagram left; its length with all headers.
    pub(super) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// A datagram came.
    pub(super) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
        self.messages.fetch_add(1, Ordering::Relaxed);
    }

    /// What they stand at.
    pub(super) fn traffic(&self) -> Traffic {
        let now = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic { sent: now(&self.sent), received: now(&self.received), messages: now(&self.messages) }
    }
}

/// What stays of object 3.
pub(super) fn device(info: &OwnInfo) -> DeviceFacts {
    DeviceFacts {
        manufacturer: Some(MANUFACTURER.to_owned()),
        model: info.model.clone(),
        serial: info.serial_number.clone(),
        firmware_version: Some(info.version.clone()),
        hardware_version: info.hardware_version.clone(),
        device_type: Some(DEVICE_TYPE.to_owned()),
        error_codes: if info.troubled { vec![PERIPHERAL_MALFUNCTION] } else { Vec::new() },
    }
}

/// What changes of object 3.
pub(super) fn host(version: &str, sample: &HostSample) -> HostFacts {
    HostFacts {
        time: Some(sample.time),
        storage_free: sample.storage.map(|(free, _)| free / KILOBYTE),
        storage_total: sample.storage.map(|(_, total)| total / KILOBYTE),
        software_version: Some(version.to_owned()),
    }
}

/// What object 4 shows of the machine's link.
pub(super) fn uplink(uplink: &Uplink) -> ConnectivityFacts {
    ConnectivityFacts {
        quality: uplink.quality,
        routers: uplink.routers.clone(),
        ..translate::connectivity(&uplink.connectivity)
    }
}

/// A device as the list has it.
pub(super) fn attached(device: Attached) -> AttachedDevice {
    AttachedDevice {
        endpoint: cut(device.endpoint, MAX_TEXT),
        board: cut(device.board, MAX_BOARD),
        link: cut(device.link, MAX_TEXT),
        present: device.present,
        version: cut(device.version, MAX_TEXT),
    }
}

fn cut(mut text: String, most: usize) -> String {
    text.truncate(text.floor_char_boundary(most));
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_cut_between_letters() {
        assert_eq!(cut("añb".to_owned(), 2), "a");
        assert_eq!(cut("añb".to_owned(), 3), "añ");
        assert_eq!(cut("a".to_owned(), 3), "a");
    }

    #[test]
    fn what_keeps_the_gateway_from_its_work_is_a_peripheral_malfunction() {
        let info = OwnInfo { troubled: true, ..OwnInfo::default() };
        assert_eq!(device(&info).error_codes, [8]);
        assert!(device(&OwnInfo::default()).error_codes.is_empty());
    }
}
