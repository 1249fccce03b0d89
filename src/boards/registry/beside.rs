//! Devices that show a disk beside a tty: one USB device, two links. What the disk's files tell is told of the tty too, which
//! is the link to go by where there are both: it can be asked and flashed, and it stays when the disk is unmounted.

use super::{Decision, Registry, Seen};
use crate::boards::identify;
use crate::device::{DeviceInfo, Evidence, Link, LinkReport, UsbIds};

impl Registry {
    /// A link came or changed: the tty and the disk of one USB device learn of each other.
    pub(super) fn introduce(&mut self, link: &Link, decisions: &mut Vec<Decision>) {
        let Some(Seen { report, .. }) = self.links.get(link) else { return };
        let Some(usb) = identify::usb(report) else { return };
        match (link, told(report)) {
            (Link::Discovered(_), Some(told)) => {
                let (usb, told) = (usb.clone(), told.clone());
                let ttys = self.links.iter().filter(|(_, other)| self.is_first_tty(other, &usb));
                let news = ttys.filter(|(_, other)| other.beside.as_ref() != Some(&told));
                let news: Vec<Link> = news.map(|(link, _)| link.clone()).collect();
                for tty in news {
                    if let Some(seen) = self.links.get_mut(&tty) {
                        seen.beside = Some(told.clone());
                    }
                    self.settle(&tty, decisions);
                }
            }
            (Link::Serial(_), _) if self.links.get(link).is_some_and(|seen| self.is_first_tty(seen, usb)) => {
                let disk = self.links.values().find(|other| {
                    matches!(other.report.link, Link::Discovered(_))
                        && identify::usb(&other.report).is_some_and(|theirs| same_device(usb, theirs))
                });
                let told = disk.and_then(|disk| told(&disk.report)).cloned();
                if let (Some(told), Some(seen)) = (told, self.links.get_mut(link)) {
                    seen.beside = Some(told);
                }
            }
            _ => {}
        }
    }

    /// The USB device of these ids has this tty, and none of a lower interface number.
    fn is_first_tty(&self, seen: &Seen, usb: &UsbIds) -> bool {
        let of = |seen: &Seen| {
            let theirs = identify::usb(&seen.report).filter(|theirs| same_device(usb, theirs));
            theirs.filter(|_| matches!(seen.report.link, Link::Serial(_))).map(|theirs| theirs.interface)
        };
        of(seen).is_some_and(|own| self.links.values().filter_map(of).all(|other| other >= own))
    }

    /// Whether a tty takes its device over from the disk beside it.
    pub(super) fn is_better(&self, link: &Link, than: &DeviceInfo) -> bool {
        let beside = self.links.get(link).is_some_and(|seen| seen.beside.is_some());
        beside && matches!(than.link, Link::Discovered(_))
    }

    /// Brings a link's device up to date; one that only moves here from another link never went.
    pub(super) fn settle_moving(&mut self, link: &Link, decisions: &mut Vec<Decision>) {
        let before = self.double(link).and_then(|id| self.devices.get(id)).map(|device| device.info.clone());
        let mut news = Vec::new();
        self.settle(link, &mut news);
        if let Some(before) = before {
            let same = |one: &Decision| {
                matches!(one, Decision::DeviceReady(info)
                    if (&info.id, &info.endpoint, &info.board) == (&before.id, &before.endpoint, &before.board))
            };
            if let Some(at) = news.iter().position(same)
                && let Decision::DeviceReady(info) = news[at].clone()
            {
                news[at] = Decision::DeviceChanged(info);
                news.retain(|one| *one != Decision::DeviceGone(before.id.clone()));
            }
        }
        decisions.append(&mut news);
    }
}

/// What the files of a disk tell.
fn told(report: &LinkReport) -> Option<&Evidence> {
    report.evidence.iter().find(|evidence| matches!(evidence, Evidence::Discovered { .. }))
}

/// Whether two links are functions of one USB device.
fn same_device(one: &UsbIds, other: &UsbIds) -> bool {
    (one.vid, one.pid, &one.serial, &one.path) == (other.vid, other.pid, &other.serial, &other.path)
}
