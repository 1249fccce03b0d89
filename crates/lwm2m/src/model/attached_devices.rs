//! Object 26301, Attached Devices: our own, unregistered; its definition stands in `docs/26301.xml`.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 26301, version 1.0.
pub const ATTACHED_DEVICES: ObjectModel = ObjectModel {
    id: 26_301,
    name: "Attached Devices",
    version: Version::V1_0,
    multiple: false,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "Count", Operations::READ, Kind::Integer).mandatory(),
        ResourceModel::new(1, "Endpoint Name", Operations::READ, Kind::String).multiple().mandatory().length(1, 255),
        ResourceModel::new(2, "Board Type", Operations::READ, Kind::String).multiple().mandatory().length(0, 63),
        ResourceModel::new(3, "Link", Operations::READ, Kind::String).multiple().mandatory().length(0, 255),
        ResourceModel::new(4, "Present", Operations::READ, Kind::Boolean).multiple().mandatory(),
        ResourceModel::new(5, "Version", Operations::READ, Kind::String).multiple().mandatory().length(0, 255),
    ],
};
