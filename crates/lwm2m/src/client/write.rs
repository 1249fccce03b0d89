//! Write, replacing or partial: payloads to settings of an account (object 1), to orders for the firmware (object 5), to values of
//! points, and to the period of object 7.
//!
//! Everything is checked before anything is changed.

use coap::Code;

use super::commands::Order;
use super::dispatch::{Effect, Reply};
use super::read::locate;
use super::{FirmwareOrder, push};
use crate::access::Rights;
use crate::format::{self, ContentFormat, DecodeError};
use crate::model::ObjectModel;
use crate::objects::{self, CollectionOrder, Tree};
use crate::path::Path;
use crate::record::Record;
use crate::value::Value;

/// State in which nothing of the firmware may be changed.
const UPDATING: u8 = 3;

/// How a Write treats what it does not name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// PUT: the rest of an instance goes back to its defaults.
    Replace,
    /// POST: the rest stays.
    Partial,
}

/// What a Write comes to.
///
/// # Errors
/// The code to answer.
pub(super) fn write(
    tree: &Tree<'_>,
    path: Path,
    content_format: Option<u16>,
    payload: &[u8],
    mode: Mode,
) -> Result<Reply, Code> {
    let model = locate(tree, path, Rights::WRITE)?;
    if path.instance().is_none() {
        return Err(Code::METHOD_NOT_ALLOWED);
    }
    check_target(tree, model, path)?;
    let records = decode(model, path, content_format, payload).map_err(|code| state_first(tree, path, code))?;
    for record in &records {
        check_target(tree, model, record.path)?;
    }
    match model.id {
        1 => write_account(tree, model, path, &records, mode),
        5 => write_firmware(tree, model, records),
        7 => write_statistics(model, &records),
        _ if tree.point(model.id, 0).is_some() => write_point(tree, model, records),
        _ => Err(Code::METHOD_NOT_ALLOWED),
    }
}

/// Whether a resource can be written at all. An instance can, as far as its resources can.
fn check_target(tree: &Tree<'_>, model: &ObjectModel, path: Path) -> Result<(), Code> {
    let (Some(instance), Some(resource)) = (path.instance(), path.resource()) else { return Ok(()) };
    let definition = model.resource(resource).ok_or(Code::NOT_FOUND)?;
    // A point may be written before it has told a value: a button never tells one.
    let writable = tree.point(model.id, instance).is_some_and(|point| point.writable);
    if tree.content(model.id, instance, resource) == objects::Content::Absent && !writable {
        return Err(Code::NOT_FOUND);
    }
    if !definition.operations.write {
        return Err(Code::METHOD_NOT_ALLOWED);
    }
    if path.resource_instance().is_some() && !definition.multiple {
        return Err(Code::NOT_FOUND);
    }
    Ok(())
}

fn decode(
    model: &'static ObjectModel,
    path: Path,
    content_format: Option<u16>,
    payload: &[u8],
) -> Result<Vec<Record>, Code> {
    let number = content_format.ok_or(Code::BAD_REQUEST)?;
    let format = ContentFormat::from_number(number).ok_or(Code::UNSUPPORTED_CONTENT_FORMAT)?;
    let kinds = |path: Path| model.resource(path.resource()?)?.kind;
    let records = format::decode(format, path, payload, &kinds).map_err(|error| match error {
        DecodeError::UnknownResource(_) => Code::NOT_FOUND,
        DecodeError::Unsupported => Code::UNSUPPORTED_CONTENT_FORMAT,
        DecodeError::TooMuch => Code::REQUEST_ENTITY_TOO_LARGE,
        DecodeError::Malformed(_) | DecodeError::WrongKind { .. } | DecodeError::OutsideBase(_) => Code::BAD_REQUEST,
    })?;
    if path.resource().is_some() && records.len() != 1 { Err(Code::BAD_REQUEST) } else { Ok(records) }
}

/// Object 1: the settings of the server's own account.
fn write_account(
    tree: &Tree<'_>,
    model: &ObjectModel,
    path: Path,
    records: &[Record],
    mode: Mode,
) -> Result<Reply, Code> {
    let replaces_all = mode == Mode::Replace && path.resource().is_none();
    let mut settings = if replaces_all { tree.settings().without_optional() } else { tree.settings() };
    for record in records {
        let resource = record.path.resource().ok_or(Code::BAD_REQUEST)?;
        if !is_acceptable(model, record) || !settings.set(resource, &record.value) {
            return Err(Code::BAD_REQUEST);
        }
    }
    Ok(Reply::Changed(Effect::Settings(settings)))
}

/// Object 7: the period of the next collection.
fn write_statistics(model: &ObjectModel, records: &[Record]) -> Result<Reply, Code> {
    let Some(record) = records.last() else { return Ok(Reply::Changed(Effect::None)) };
    let seconds = match record.value {
        Value::Integer(seconds) if is_acceptable(model, record) => u32::try_from(seconds),
        _ => return Err(Code::BAD_REQUEST),
    };
    seconds.map(|seconds| Reply::Collect(CollectionOrder::Period(seconds))).map_err(|_| Code::BAD_REQUEST)
}

/// A point: its value, where object and device let it be written. What people call it is the device's own affair.
fn write_point(tree: &Tree<'_>, model: &ObjectModel, records: Vec<Record>) -> Result<Reply, Code> {
    let mut value = None;
    for record in records {
        let [object, instance, resource] = *record.path.levels() else { return Err(Code::BAD_REQUEST) };
        let writable = tree.point(object, instance).is_some_and(|point| point.writable);
        let is_main = objects::main_resource(object).is_some_and(|(main, _)| main == resource);
        if !writable || !is_main {
            return Err(Code::METHOD_NOT_ALLOWED);
        }
        if !is_acceptable(model, &record) {
            return Err(Code::BAD_REQUEST);
        }
        value = Some((object, instance, record.value));
    }
    match value {
        Some((object, instance, value)) => Ok(Reply::Ask(Order::Point { object, instance, value })),
        None => Ok(Reply::Changed(Effect::None)),
    }
}

/// Object 5: one order for each value, the values that only the answer may refuse included.
fn write_firmware(tree: &Tree<'_>, model: &ObjectModel, records: Vec<Record>) -> Result<Reply, Code> {
    let mut orders = Vec::new();
    let mut flaw = None;
    for record in records {
        let good = is_acceptable(model, &record);
        let (order, code) = order(tree, record, good)?;
        orders.push(order);
        flaw = flaw.or(code);
    }
    if orders.is_empty() {
        return Ok(Reply::Changed(Effect::None));
    }
    Ok(Reply::Ask(Order::Firmware { orders, flaw }))
}

/// The order for one value. Where the value is no good but harmless to hand up, the order changes nothing and comes with
/// the code; where it is not harmless, the state that was last told decides between 4.05 and 4.00.
fn order(tree: &Tree<'_>, record: Record, good: bool) -> Result<(FirmwareOrder, Option<Code>), Code> {
    let (view, path) = (tree.firmware(), record.path);
    let bad = Some(Code::BAD_REQUEST);
    match (path.resource(), record.value) {
        (Some(11), Value::Integer(number)) => match u8::try_from(number) {
            Ok(severity) if good => Ok((FirmwareOrder::SetSeverity(severity), None)),
            _ => Ok((FirmwareOrder::SetSeverity(view.severity), bad)),
        },
        (Some(13), Value::Unsigned(number)) => match u32::try_from(number) {
            Ok(seconds) => Ok((FirmwareOrder::SetMaxDefer(seconds), None)),
            Err(_) => Ok((FirmwareOrder::SetMaxDefer(view.max_defer), bad)),
        },
        (Some(1), Value::String(uri)) if uri.is_empty() => Ok((FirmwareOrder::Reset, None)),
        // However long: right and state go before value, and what is too long is for the answer to say.
        (Some(1), Value::String(uri)) => Ok((FirmwareOrder::WriteUri(uri), None)),
        (Some(0), Value::Opaque(image)) if good => Ok((push::whole_order(image), None)),
        _ => Err(state_first(tree, path, Code::BAD_REQUEST)),
    }
}

/// State goes before value (decisions.md §2): while updating, package and URI answer 4.05 whatever was written.
pub(super) fn state_first(tree: &Tree<'_>, path: Path, code: Code) -> Code {
    let is_image = path.object() == Some(5) && matches!(path.resource(), Some(0 | 1));
    if is_image && tree.firmware().state == UPDATING { Code::METHOD_NOT_ALLOWED } else { code }
}

fn is_acceptable(model: &ObjectModel, record: &Record) -> bool {
    let definition = record.path.resource().and_then(|id| model.resource(id));
    definition.is_some_and(|definition| definition.accepts(&record.value))
}
