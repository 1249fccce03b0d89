//! Who may do what: the rights that object 2 shows and the dispatcher asks for (decisions.md §3).
//!
//! The entries are made from the configuration and owned by nobody that speaks (65535), so no server changes them. Not
//! here: who staged a firmware image, and which operations a resource has at all.

use crate::client::{Access, FirmwareRight, ServerConfig};
use crate::objects::{ATTACHED, FLASHING, Facts};

/// Owner of an entry that no server owns.
pub(crate) const NO_OWNER: u16 = 65_535;

/// A set of rights, with the bits of 2/x/2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rights(u8);

impl Rights {
    /// Nothing.
    pub(crate) const NONE: Self = Self(0);
    /// Read, Observe, Write-Attributes.
    pub(crate) const READ: Self = Self(1);
    /// Write.
    pub(crate) const WRITE: Self = Self(2);
    /// Execute.
    pub(crate) const EXECUTE: Self = Self(4);
    /// Read, write and execute: all that can be given here, where no server creates or deletes.
    pub(crate) const USE: Self = Self(7);

    /// The bits of 2/x/2.
    pub(crate) fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `wanted` is in it.
    pub(crate) fn contains(self, wanted: Self) -> bool {
        self.0 & wanted.0 == wanted.0
    }
}

/// One instance of object 2: the object instance that it is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry {
    /// 2/x/0.
    pub(crate) object: u16,
    /// 2/x/1.
    pub(crate) instance: u16,
}

/// How many instances object 2 has: one for each server account, one for each object of one instance that is there and that any
/// server is shown, and one for each point.
pub(crate) fn entry_count(facts: &Facts) -> u16 {
    let objects = u16::try_from(single_objects(facts).count()).unwrap_or(u16::MAX);
    let points = u16::try_from(facts.points.len()).unwrap_or(u16::MAX);
    account_count(&facts.servers).saturating_add(objects).saturating_add(points)
}

/// In the order of their entries, which is older than some of them.
fn single_objects(facts: &Facts) -> impl Iterator<Item = u16> + use<> {
    let gateway = facts.gateway.is_some();
    let flashing = !gateway && facts.servers.iter().any(|server| server.flashing_object);
    let shown = [
        (3, true),
        (5, !gateway),
        (FLASHING, flashing),
        (4, facts.connectivity.is_some()),
        (7, gateway),
        (ATTACHED, gateway),
    ];
    shown.into_iter().filter_map(|(object, shown)| shown.then_some(object))
}

/// Instance `index` of object 2.
pub(crate) fn entry(facts: &Facts, index: u16) -> Option<Entry> {
    let servers = &facts.servers;
    let Some(further) = index.checked_sub(account_count(servers)) else {
        return Some(Entry { object: 1, instance: index });
    };
    let objects = single_objects(facts).map(|object| Entry { object, instance: 0 });
    let points = facts.points.iter().map(|point| Entry { object: point.object, instance: point.instance });
    objects.chain(points).nth(further.into())
}

/// 2/x/2: short server id and rights, for each server that has any.
pub(crate) fn acl(servers: &[ServerConfig], entry: Entry) -> impl Iterator<Item = (u16, Rights)> {
    servers.iter().enumerate().filter_map(move |(index, server)| {
        let rights = rights(server, index, entry.object, entry.instance);
        (rights != Rights::NONE).then_some((server.short_id, rights))
    })
}

/// The rights of the server with this index on an object instance. Object 2 itself may be read by all.
pub(crate) fn rights(server: &ServerConfig, index: usize, object: u16, instance: u16) -> Rights {
    match object {
        0 => Rights::NONE,
        1 if usize::from(instance) == index => Rights::USE,
        1 => Rights::NONE,
        2 => Rights::READ,
        5 if server.firmware == FirmwareRight::None => Rights::READ,
        5 => Rights::USE,
        FLASHING if !server.flashing_object => Rights::NONE,
        // Nothing of these can be written or executed.
        4 | FLASHING | ATTACHED => Rights::READ,
        _ => match server.access {
            Access::Full => Rights::USE,
            Access::Read => Rights::READ,
        },
    }
}

/// How many server accounts the object tree can number.
pub(crate) fn account_count(servers: &[ServerConfig]) -> u16 {
    u16::try_from(servers.len()).unwrap_or(u16::MAX - 3)
}
