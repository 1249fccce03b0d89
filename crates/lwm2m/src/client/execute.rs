//! Execute, and the grammar of its arguments (lwm2m.md 5.10).

use coap::Code;

use super::dispatch::{Effect, Reply};
use super::read::locate;
use super::{FirmwareOrder, commands::Order};
use crate::access::Rights;
use crate::format::ContentFormat;
use crate::objects::{CollectionOrder, Content, Tree};
use crate::path::Path;

/// State in which 5/0/2 may be asked for.
const DOWNLOADED: u8 = 2;
/// State in which nothing of the firmware may be changed.
const UPDATING: u8 = 3;

/// What an Execute comes to.
///
/// # Errors
/// The code to answer.
pub(super) fn execute(
    tree: &Tree<'_>,
    path: Path,
    content_format: Option<u16>,
    arguments: &[u8],
) -> Result<Reply, Code> {
    let model = locate(tree, path, Rights::EXECUTE)?;
    let [object, instance, resource] = *path.levels() else { return Err(Code::METHOD_NOT_ALLOWED) };
    let definition = model.resource(resource).ok_or(Code::NOT_FOUND)?;
    let there = tree.content(object, instance, resource) != Content::Absent;
    if !definition.operations.execute || !there {
        return Err(if definition.operations.execute || there { Code::METHOD_NOT_ALLOWED } else { Code::NOT_FOUND });
    }
    let text = matches!(content_format.map(ContentFormat::from_number), None | Some(Some(ContentFormat::Text)));
    if !text || !are_arguments(arguments) {
        return Err(refusal_of_arguments(tree, object, resource));
    }
    reply(object, resource).ok_or(Code::METHOD_NOT_ALLOWED)
}

fn reply(object: u16, resource: u16) -> Option<Reply> {
    match (object, resource) {
        (1, 4) => Some(Reply::Changed(Effect::Disable)),
        (1, 8) => Some(Reply::Changed(Effect::Update)),
        (3, 4) => Some(Reply::Ask(Order::Reboot)),
        (5, 2) => Some(Reply::Ask(Order::firmware(FirmwareOrder::Execute))),
        (5, 10) => Some(Reply::Ask(Order::firmware(FirmwareOrder::Cancel))),
        (7, 6) => Some(Reply::Collect(CollectionOrder::Start)),
        (7, 7) => Some(Reply::Collect(CollectionOrder::Stop)),
        _ => None,
    }
}

/// State goes before value (decisions.md §2), and an order with bad arguments can't be handed up without being obeyed.
fn refusal_of_arguments(tree: &Tree<'_>, object: u16, resource: u16) -> Code {
    let state = tree.firmware().state;
    match (object, resource) {
        (5, 2) if state != DOWNLOADED => Code::METHOD_NOT_ALLOWED,
        (5, 10) if state == 0 || state == UPDATING => Code::METHOD_NOT_ALLOWED,
        _ => Code::BAD_REQUEST,
    }
}

/// `arg *("," arg)` with `arg = DIGIT ["=" "'" *CHAR "'"]`; nothing at all is fine too.
fn are_arguments(text: &[u8]) -> bool {
    let mut rest = text;
    if rest.is_empty() {
        return true;
    }
    loop {
        let Some(after) = argument(rest) else { return false };
        match after {
            [] => return true,
            [b',', more @ ..] => rest = more,
            _ => return false,
        }
    }
}

fn argument(text: &[u8]) -> Option<&[u8]> {
    let [b'0'..=b'9', rest @ ..] = text else { return None };
    let [b'=', b'\'', value @ ..] = rest else { return Some(rest) };
    let end = value.iter().position(|byte| !is_value_character(*byte))?;
    value[end..].strip_prefix(b"'")
}

fn is_value_character(byte: u8) -> bool {
    matches!(byte, 0x21 | 0x23..=0x26 | 0x28..=0x5b | 0x5d..=0x7e)
}

#[cfg(test)]
mod tests {
    use super::are_arguments;

    #[test]
    fn arguments_follow_the_grammar() {
        for good in ["", "0", "5", "2='10.3'", "7,0='https://www.oma.org'", "0=''", "0,1,2='a',3"] {
            assert!(are_arguments(good.as_bytes()), "{good}");
        }
        for bad in
            ["a", "10", "0=", "0=a", "0='a", "0='a',", ",0", "0 ", "0='a b'", "0='a'b", "0='\\'", "0=\"a\"", "0,,1"]
        {
            assert!(!are_arguments(bad.as_bytes()), "{bad}");
        }
    }
}
