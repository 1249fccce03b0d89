//! Object 5, Firmware Update.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 5, version 1.1.
pub const FIRMWARE_UPDATE: ObjectModel = ObjectModel {
    id: 5,
    name: "Firmware Update",
    version: Version::V1_1,
    multiple: false,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "Package", Operations::WRITE, Kind::Opaque).mandatory(),
        ResourceModel::new(1, "Package URI", Operations::READ_WRITE, Kind::String).mandatory().length(0, 255),
        ResourceModel::executable(2, "Update").mandatory(),
        ResourceModel::new(3, "State", Operations::READ, Kind::Integer).mandatory().between(0, 3),
        ResourceModel::new(5, "Update Result", Operations::READ, Kind::Integer).mandatory().between(0, 11),
        ResourceModel::new(6, "PkgName", Operations::READ, Kind::String).length(0, 255),
        ResourceModel::new(7, "PkgVersion", Operations::READ, Kind::String).length(0, 255),
        ResourceModel::new(8, "Firmware Update Protocol Support", Operations::READ, Kind::Integer)
            .multiple()
            .between(0, 5),
        ResourceModel::new(9, "Firmware Update Delivery Method", Operations::READ, Kind::Integer)
            .mandatory()
            .between(0, 2),
        ResourceModel::executable(10, "Cancel"),
        ResourceModel::new(11, "Severity", Operations::READ_WRITE, Kind::Integer).between(0, 2),
        ResourceModel::new(12, "Last State Change Time", Operations::READ, Kind::Time),
        ResourceModel::new(13, "Maximum Defer Period", Operations::READ_WRITE, Kind::Unsigned),
    ],
};

/// Object 5, version 1.0: no Cancel, results 0 to 9.
pub const FIRMWARE_UPDATE_1_0: ObjectModel = ObjectModel {
    id: 5,
    name: "Firmware Update",
    version: Version::V1_0,
    multiple: false,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "Package", Operations::WRITE, Kind::Opaque).mandatory(),
        ResourceModel::new(1, "Package URI", Operations::READ_WRITE, Kind::String).mandatory().length(0, 255),
        ResourceModel::executable(2, "Update").mandatory(),
        ResourceModel::new(3, "State", Operations::READ, Kind::Integer).mandatory().between(0, 3),
        ResourceModel::new(5, "Update Result", Operations::READ, Kind::Integer).mandatory().between(0, 9),
        ResourceModel::new(6, "PkgName", Operations::READ, Kind::String).length(0, 255),
        ResourceModel::new(7, "PkgVersion", Operations::READ, Kind::String).length(0, 255),
        ResourceModel::new(8, "Firmware Update Protocol Support", Operations::READ, Kind::Integer)
            .multiple()
            .between(0, 5),
        ResourceModel::new(9, "Firmware Update Delivery Method", Operations::READ, Kind::Integer)
            .mandatory()
            .between(0, 2),
    ],
};
