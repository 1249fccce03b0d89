//! Read: what a path holds for a server, in the format that it asked for (lwm2m.md 5.3, 5.5).
//!
//! Observe and notifications use the same answers.

use coap::{Code, Response};

use crate::access::Rights;
use crate::format::{self, ContentFormat};
use crate::model::{ObjectModel, ResourceModel, Version};
use crate::objects::{self, Content, Tree};
use crate::path::Path;
use crate::record::Record;
use crate::value::{Kind, Value};

/// The answer to a Read.
#[derive(Debug)]
pub(super) struct Answer {
    /// 2.05 with the payload.
    pub(super) response: Response,
    /// The value where it is a single number, for `gt`, `lt` and `st`.
    pub(super) number: Option<f64>,
}

/// Reads a path.
///
/// # Errors
/// The code to answer: 4.00, 4.01, 4.04, 4.05 or 4.06.
pub(super) fn read(tree: &Tree<'_>, path: Path, accept: Option<u16>) -> Result<Answer, Code> {
    let selection = select(tree, path)?;
    let (number, format) = choose(accept, &selection, tree.version())?;
    let payload = format::encode(format, path, &selection.records).map_err(|_| Code::NOT_ACCEPTABLE)?;
    let value = selection.single.then(|| selection.records.first()?.value.as_number()).flatten();
    Ok(Answer { response: Response::new(Code::CONTENT).with_payload(number, payload), number: value })
}

/// Finds the object of a path and checks that the server may do `wanted` with the instance, if the path names one.
///
/// # Errors
/// 4.00 without an object, 4.01 for what is refused, 4.04 for what does not exist.
pub(super) fn locate(tree: &Tree<'_>, path: Path, wanted: Rights) -> Result<&'static ObjectModel, Code> {
    let object = path.object().ok_or(Code::BAD_REQUEST)?;
    if objects::is_hidden(object) {
        return Err(Code::UNAUTHORIZED);
    }
    let model = tree.model(object).ok_or(Code::NOT_FOUND)?;
    let Some(instance) = path.instance() else { return Ok(model) };
    if !tree.exists(object, instance) {
        return Err(Code::NOT_FOUND);
    }
    if !tree.rights(object, instance).contains(wanted) {
        return Err(Code::UNAUTHORIZED);
    }
    Ok(model)
}

/// The values that a path stands for.
struct Selection {
    records: Vec<Record>,
    /// One value of one resource, or of one resource instance.
    single: bool,
}

fn select(tree: &Tree<'_>, path: Path) -> Result<Selection, Code> {
    let model = locate(tree, path, Rights::READ)?;
    let Some(instance) = path.instance() else {
        let records =
            tree.instances(model.id).flat_map(|instance| instance_records(tree, model.id, instance)).collect();
        return Ok(Selection { records, single: false });
    };
    match path.resource() {
        None => Ok(Selection { records: instance_records(tree, model.id, instance).collect(), single: false }),
        Some(resource) => select_resource(tree, model, instance, resource, path),
    }
}

fn select_resource(
    tree: &Tree<'_>,
    model: &ObjectModel,
    instance: u16,
    resource: u16,
    path: Path,
) -> Result<Selection, Code> {
    let definition = model.resource(resource).ok_or(Code::NOT_FOUND)?;
    let single = !definition.multiple || path.resource_instance().is_some();
    let records = match tree.content(model.id, instance, resource) {
        Content::Absent if definition.operations.execute => return Err(Code::METHOD_NOT_ALLOWED),
        Content::Absent => return Err(Code::NOT_FOUND),
        Content::Silent => return Err(Code::METHOD_NOT_ALLOWED),
        content => {
            records(path.truncated(3), content).filter(|record| record.path.starts_with(path)).collect::<Vec<_>>()
        }
    };
    if path.resource_instance().is_some() && records.is_empty() {
        return Err(Code::NOT_FOUND);
    }
    Ok(Selection { records, single })
}

fn instance_records<'a>(tree: &'a Tree<'_>, object: u16, instance: u16) -> impl Iterator<Item = Record> + 'a {
    tree.resources(object, instance).flat_map(move |(resource, content): (&ResourceModel, Content)| {
        records(Path::new([object, instance, resource.id]), content)
    })
}

fn records(resource: Path, content: Content) -> impl Iterator<Item = Record> {
    let (single, multiple) = match content {
        Content::Absent | Content::Silent => (None, Vec::new()),
        Content::Single(value) => (Some(value), Vec::new()),
        Content::Multiple(values) => (None, values),
    };
    let instances = multiple.into_iter().filter_map(move |(id, value)| Some(Record::new(resource.child(id)?, value)));
    single.into_iter().map(move |value| Record::new(resource, value)).chain(instances)
}

/// The format and the number to answer with: the number that was asked for, also where it is one of the old ones.
fn choose(accept: Option<u16>, selection: &Selection, version: Version) -> Result<(u16, ContentFormat), Code> {
    let format = match accept {
        Some(number) => ContentFormat::from_number(number).ok_or(Code::NOT_ACCEPTABLE)?,
        None => default_format(selection, version),
    };
    match format {
        ContentFormat::SenmlEtchCbor | ContentFormat::SenmlEtchJson => Err(Code::NOT_ACCEPTABLE),
        ContentFormat::Text | ContentFormat::Opaque | ContentFormat::Cbor if !selection.single => {
            Err(Code::NOT_ACCEPTABLE)
        }
        format => Ok((accept.unwrap_or(format.number()), format)),
    }
}

fn default_format(selection: &Selection, version: Version) -> ContentFormat {
    match selection.records.first().map(|record: &Record| Value::kind(&record.value)) {
        Some(Kind::Opaque) if selection.single => ContentFormat::Opaque,
        _ if selection.single => ContentFormat::Text,
        // A list that is empty just now: there are servers that take TLV of no bytes, and fail at SenML of no records.
        None => ContentFormat::Tlv,
        _ if version < Version::V1_1 => ContentFormat::Tlv,
        _ => ContentFormat::SenmlCbor,
    }
}
