//! IPSO objects: single values that a device tells or takes. What it has not told is not there.

use super::Content;
use crate::model::{ObjectModel, ResourceModel, object};
use crate::value::{Kind, Value};

/// Sensor Units, e.g. `Cel`.
const UNITS: u16 = 5701;
/// Application Type: what the point's user calls it.
const APPLICATION_TYPE: u16 = 5750;

/// One instance of an IPSO object.
#[derive(Debug, Clone, PartialEq)]
pub struct PointFacts {
    /// The object, one of [`IPSO`](crate::model::IPSO).
    pub object: u16,
    /// Its instance; those of one object are numbered without gaps from 0.
    pub instance: u16,
    /// What its main resource holds, of that resource's type: [`main_resource`].
    pub value: Option<Value>,
    /// 5701, where the object has it.
    pub unit: Option<String>,
    /// 5750.
    pub name: Option<String>,
    /// Whether the device takes a value; the object must allow it too.
    pub writable: bool,
}

/// The resource that holds the value of a point of this object, and its type; `None` for what is no IPSO object known here.
pub fn main_resource(id: u16) -> Option<(u16, Kind)> {
    let resource = main_of(object(id).filter(|object| object.multiple && object.id >= 3200)?)?;
    Some((resource.id, resource.kind?))
}

/// Whether a server may write the value of a point of this object.
pub fn takes_values(id: u16) -> bool {
    object(id).and_then(main_of).is_some_and(|resource| resource.operations.write)
}

/// Whether it may be this one: of the right type and in range.
pub fn accepts_value(id: u16, value: &Value) -> bool {
    takes_values(id) && object(id).and_then(main_of).is_some_and(|resource| resource.accepts(value))
}

fn main_of(model: &'static ObjectModel) -> Option<&'static ResourceModel> {
    model.resources.iter().find(|resource| resource.mandatory)
}

/// What a resource holds.
pub(super) fn content(facts: &PointFacts, resource: u16) -> Content {
    match resource {
        UNITS => Content::known(facts.unit.as_deref()),
        APPLICATION_TYPE => Content::known(facts.name.as_deref()),
        _ if main_resource(facts.object).is_some_and(|(main, _)| main == resource) => {
            facts.value.clone().map_or(Content::Absent, Content::Single)
        }
        _ => Content::Absent,
    }
}
