//! Object 26300, Board Flashing: our own, unregistered; its definition stands in `docs/26300.xml`.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 26300, version 1.0.
pub const BOARD_FLASHING: ObjectModel = ObjectModel {
    id: 26_300,
    name: "Board Flashing",
    version: Version::V1_0,
    multiple: false,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "Board Type", Operations::READ, Kind::String).mandatory().length(0, 63),
        ResourceModel::new(1, "Tool", Operations::READ, Kind::String).mandatory().length(0, 63),
        ResourceModel::new(2, "Phase", Operations::READ, Kind::String).mandatory().length(0, 31),
        ResourceModel::new(3, "Percent", Operations::READ, Kind::Integer).mandatory().between(0, 100),
        ResourceModel::new(4, "Reason", Operations::READ, Kind::String).mandatory().length(0, 255),
        ResourceModel::new(5, "Image Format", Operations::READ, Kind::String).mandatory().length(0, 31),
        ResourceModel::new(6, "Last Log Lines", Operations::READ, Kind::String).mandatory().length(0, 1024),
    ],
};
