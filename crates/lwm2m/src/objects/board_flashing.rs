//! Object 26300, Board Flashing: how far a flash is, for servers that want more than object 5 tells.
//!
//! A passive view like object 5: it shows what it was last told and decides nothing.

use super::Content;

/// What servers read of a flash. Texts are `""` when there is nothing to say; whoever tells them keeps them to the
/// lengths of the object's definition.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FlashingView {
    /// 26300/0/0.
    pub board: String,
    /// 26300/0/1: the flash tool that runs or ran last.
    pub tool: String,
    /// 26300/0/2.
    pub phase: String,
    /// 26300/0/3, of the phase.
    pub percent: u8,
    /// 26300/0/4: why it waits or failed.
    pub reason: String,
    /// 26300/0/5.
    pub format: String,
    /// 26300/0/6, the newest line last.
    pub log: String,
}

/// What a resource holds.
pub(super) fn content(view: &FlashingView, resource: u16) -> Content {
    match resource {
        0 => Content::text(&view.board),
        1 => Content::text(&view.tool),
        2 => Content::text(&view.phase),
        3 => Content::integer(view.percent),
        4 => Content::text(&view.reason),
        5 => Content::text(&view.format),
        6 => Content::text(&view.log),
        _ => Content::Absent,
    }
}
