//! Which device is which: who has its link, and what makes it visible.

use super::Gateway;
use crate::control::{Answer, Failure, FailureCode, Identified, Who};
use crate::device::PointOut;

impl Gateway {
    pub(super) fn who(&self, word: &str) -> Result<Who, Failure> {
        let link = self.find(word).map(|info| info.link.clone()).or_else(|| self.find_link(word));
        let link = link.ok_or_else(|| self.unknown(word))?;
        let (report, device) =
            self.registry.links().find(|(report, _)| report.link == link).ok_or_else(|| self.unknown(word))?;
        Ok(Who { holder: self.leases.holder(&link), device: device.cloned(), access: report.access.clone(), link })
    }

    /// Makes it visible which board a device is. Its update, a question to it or another such wish comes first.
    pub(super) fn identify(&self, word: &str, reply: Answer<Identified>) {
        let found = self.find(word).ok_or_else(|| self.unknown(word)).and_then(|info| {
            let no_way = || {
                let text = format!("{}: nothing is known of it that could blink", info.id);
                Failure::new(FailureCode::NotNow, text)
                    .with_hint("a board file says so by `light` or `reboot` (config/boards.d/README.md)")
            };
            let how = self.registry.point_out(&info.id).ok_or_else(no_way)?;
            Ok((info.id.clone(), how, info.link.clone()))
        });
        let (device, how, link) = match found {
            Ok(found) => found,
            Err(failure) => return drop(reply.send(Err(failure))),
        };
        let (serial, leases) = (self.serial.clone(), self.leases.clone());
        tokio::spawn(async move {
            let lease = match leases.preempt(&link, "making it blink").await {
                Ok(lease) => lease,
                Err(held) => return drop(reply.send(Err(Failure::new(FailureCode::NotNow, held.to_string())))),
            };
            let (lease, outcome) = serial.point_out(lease, how).await;
            drop(lease);
            let by = match how {
                PointOut::Firmata { pin, .. } => format!("its light on pin {pin} blinked, by Firmata"),
                PointOut::Restart(_) => "it was restarted three times: its boot loader's light blinked".to_owned(),
            };
            let answer = outcome.map(|()| Identified { device, by });
            drop(reply.send(answer.map_err(|error| Failure::new(FailureCode::Failed, error.to_string()))));
        });
    }
}
