//! Object 4, Connectivity Monitoring: the device's own link.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 4 as of LwM2M 1.0; later versions only add resources of cellular networks.
pub const CONNECTIVITY: ObjectModel = ObjectModel {
    id: 4,
    name: "Connectivity Monitoring",
    version: Version::V1_0,
    multiple: false,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "Network Bearer", Operations::READ, Kind::Integer).mandatory().between(0, 50),
        ResourceModel::new(1, "Available Network Bearer", Operations::READ, Kind::Integer)
            .multiple()
            .mandatory()
            .between(0, 50),
        ResourceModel::new(2, "Radio Signal Strength", Operations::READ, Kind::Integer).mandatory(),
        ResourceModel::new(3, "Link Quality", Operations::READ, Kind::Integer),
        ResourceModel::new(4, "IP Addresses", Operations::READ, Kind::String).multiple().mandatory(),
        ResourceModel::new(5, "Router IP Addresses", Operations::READ, Kind::String).multiple(),
        ResourceModel::new(6, "Link Utilization", Operations::READ, Kind::Integer).between(0, 100),
        ResourceModel::new(7, "APN", Operations::READ, Kind::String).multiple(),
        ResourceModel::new(8, "Cell ID", Operations::READ, Kind::Integer),
        ResourceModel::new(9, "SMNC", Operations::READ, Kind::Integer).between(0, 999),
        ResourceModel::new(10, "SMCC", Operations::READ, Kind::Integer).between(0, 999),
    ],
};
