//! Object 5, Firmware Update: a passive view of an update that somebody else carries out.
//!
//! It keeps what it was last told and decides nothing; Writes and Executes become commands of the client.

use super::Content;
use crate::value::Value;

/// Highest result that version 1.0 of the object knows; above it stands "initial" there (decisions.md §2).
const LAST_RESULT_1_0: u8 = 9;
/// Mandatory, the default of the registry.
const SEVERITY_MANDATORY: u8 = 1;
/// Both ways, by 5/0/9.
const DELIVERY_BOTH: u8 = 2;

/// What servers read of an update.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FirmwareView {
    /// 5/0/3: 0 idle, 1 downloading, 2 downloaded, 3 updating.
    pub state: u8,
    /// 5/0/5, by the numbers of version 1.1.
    pub result: u8,
    /// 5/0/1.
    pub uri: String,
    /// 5/0/6, `""` when unknown.
    pub package_name: String,
    /// 5/0/7, `""` when unknown.
    pub package_version: String,
    /// 5/0/11: 0 critical, 1 mandatory, 2 optional.
    pub severity: u8,
    /// 5/0/12, seconds since 1970.
    pub last_change: i64,
    /// 5/0/13, seconds.
    pub max_defer: u32,
    /// 5/0/8: 2 HTTP, 3 HTTPS, ...
    pub protocols: &'static [u8],
    /// 5/0/9: 0 pull, 1 push, 2 both.
    pub delivery: u8,
}

impl Default for FirmwareView {
    fn default() -> Self {
        Self {
            state: 0,
            result: 0,
            uri: String::new(),
            package_name: String::new(),
            package_version: String::new(),
            severity: SEVERITY_MANDATORY,
            last_change: 0,
            max_defer: 0,
            protocols: &[2, 3],
            delivery: DELIVERY_BOTH,
        }
    }
}

/// What a resource holds; `old` shows version 1.0 of the object.
pub(super) fn content(view: &FirmwareView, resource: u16, old: bool) -> Content {
    match resource {
        0 | 2 => Content::Silent,
        1 => Content::text(&view.uri),
        3 => Content::integer(view.state),
        5 if old && view.result > LAST_RESULT_1_0 => Content::integer(0),
        5 => Content::integer(view.result),
        6 => Content::text(&view.package_name),
        7 => Content::text(&view.package_version),
        8 => protocols(view.protocols),
        9 => Content::integer(view.delivery),
        10..=13 if old => Content::Absent,
        10 => Content::Silent,
        11 => Content::integer(view.severity),
        12 => Content::Single(Value::Time(view.last_change)),
        13 => Content::Single(Value::Unsigned(view.max_defer.into())),
        _ => Content::Absent,
    }
}

fn protocols(numbers: &[u8]) -> Content {
    Content::Multiple((0_u16..).zip(numbers).map(|(id, number)| (id, Value::Integer((*number).into()))).collect())
}
