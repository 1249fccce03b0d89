//! Object 1, Server: the account of one server, and what that server wrote to it.
//!
//! Not for what follows from a Write (an Update, other report times): the session sees to that.

use super::Content;
use crate::client::ServerConfig;
use crate::value::Value;

/// 1/x/5 until it is written: a day (registry).
const DISABLE_TIMEOUT: u32 = 86_400;
/// The only transport there is.
pub(crate) const BINDING: &str = "U";

/// The writable part of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerSettings {
    /// 1/x/1, seconds; 0 never ends.
    pub(crate) lifetime: u32,
    /// 1/x/2, seconds.
    pub(crate) pmin: u32,
    /// 1/x/3, seconds; 0 is none.
    pub(crate) pmax: u32,
    /// 1/x/5, seconds.
    pub(crate) disable_timeout: u32,
    /// 1/x/6.
    pub(crate) notification_storing: bool,
}

impl ServerSettings {
    /// What the configuration says.
    pub(crate) fn new(server: &ServerConfig) -> Self {
        Self {
            lifetime: server.lifetime,
            pmin: 0,
            pmax: 0,
            disable_timeout: DISABLE_TIMEOUT,
            notification_storing: server.notification_storing,
        }
    }

    /// These settings with the optional ones back at their defaults: the ground for a Write that replaces all.
    pub(crate) fn without_optional(self) -> Self {
        Self { pmin: 0, pmax: 0, disable_timeout: DISABLE_TIMEOUT, ..self }
    }

    /// Takes one written value; `false` when it is out of range.
    pub(crate) fn set(&mut self, resource: u16, value: &Value) -> bool {
        match (resource, value) {
            (1, Value::Integer(seconds)) => store(&mut self.lifetime, *seconds),
            (2, Value::Integer(seconds)) => store(&mut self.pmin, *seconds),
            (3, Value::Integer(seconds)) => store(&mut self.pmax, *seconds),
            (5, Value::Integer(seconds)) => store(&mut self.disable_timeout, *seconds),
            (6, Value::Boolean(storing)) => {
                self.notification_storing = *storing;
                true
            }
            (7, Value::String(binding)) => binding == BINDING,
            _ => false,
        }
    }
}

fn store(field: &mut u32, seconds: i64) -> bool {
    match u32::try_from(seconds) {
        Ok(seconds) => *field = seconds,
        Err(_) => return false,
    }
    true
}

/// What a resource of the account holds. Resources 9 and up are absent: there is no bootstrap, and nothing that they would do.
pub(super) fn content(server: &ServerConfig, settings: &ServerSettings, resource: u16) -> Content {
    match resource {
        0 => Content::integer(server.short_id),
        1 => Content::integer(settings.lifetime),
        2 => Content::integer(settings.pmin),
        3 => Content::integer(settings.pmax),
        4 | 8 => Content::Silent,
        5 => Content::integer(settings.disable_timeout),
        6 => Content::Single(Value::Boolean(settings.notification_storing)),
        7 => Content::text(BINDING),
        _ => Content::Absent,
    }
}
