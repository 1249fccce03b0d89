//! Object 3, Device: what the device is and how it fares.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 3 as of LwM2M 1.1.
pub const DEVICE: ObjectModel = ObjectModel {
    id: 3,
    name: "Device",
    version: Version::V1_1,
    multiple: false,
    mandatory: true,
    resources: &[
        ResourceModel::new(0, "Manufacturer", Operations::READ, Kind::String),
        ResourceModel::new(1, "Model Number", Operations::READ, Kind::String),
        ResourceModel::new(2, "Serial Number", Operations::READ, Kind::String),
        ResourceModel::new(3, "Firmware Version", Operations::READ, Kind::String),
        ResourceModel::executable(4, "Reboot").mandatory(),
        ResourceModel::executable(5, "Factory Reset"),
        ResourceModel::new(6, "Available Power Sources", Operations::READ, Kind::Integer).multiple().between(0, 7),
        ResourceModel::new(7, "Power Source Voltage", Operations::READ, Kind::Integer).multiple(),
        ResourceModel::new(8, "Power Source Current", Operations::READ, Kind::Integer).multiple(),
        ResourceModel::new(9, "Battery Level", Operations::READ, Kind::Integer).between(0, 100),
        ResourceModel::new(10, "Memory Free", Operations::READ, Kind::Integer),
        ResourceModel::new(11, "Error Code", Operations::READ, Kind::Integer).multiple().mandatory().between(0, 8),
        ResourceModel::executable(12, "Reset Error Code"),
        ResourceModel::new(13, "Current Time", Operations::READ_WRITE, Kind::Time),
        ResourceModel::new(14, "UTC Offset", Operations::READ_WRITE, Kind::String),
        ResourceModel::new(15, "Timezone", Operations::READ_WRITE, Kind::String),
        ResourceModel::new(16, "Supported Binding and Modes", Operations::READ, Kind::String).mandatory(),
        ResourceModel::new(17, "Device Type", Operations::READ, Kind::String),
        ResourceModel::new(18, "Hardware Version", Operations::READ, Kind::String),
        ResourceModel::new(19, "Software Version", Operations::READ, Kind::String),
        ResourceModel::new(20, "Battery Status", Operations::READ, Kind::Integer).between(0, 6),
        ResourceModel::new(21, "Memory Total", Operations::READ, Kind::Integer),
        ResourceModel::new(22, "ExtDevInfo", Operations::READ, Kind::ObjectLink).multiple(),
    ],
};
