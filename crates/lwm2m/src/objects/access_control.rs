//! Object 2, Access Control: the rights of [`access`] as a server reads them.

use super::{Content, Facts};
use crate::access::{self, NO_OWNER};
use crate::value::Value;

/// What a resource of an entry holds.
pub(super) fn content(facts: &Facts, instance: u16, resource: u16) -> Content {
    let servers = &facts.servers;
    let Some(entry) = access::entry(facts, instance) else { return Content::Absent };
    match resource {
        0 => Content::integer(entry.object),
        1 => Content::integer(entry.instance),
        2 => Content::Multiple(
            access::acl(servers, entry)
                .map(|(server, rights)| (server, Value::Integer(rights.bits().into())))
                .collect(),
        ),
        3 => Content::integer(NO_OWNER),
        _ => Content::Absent,
    }
}
