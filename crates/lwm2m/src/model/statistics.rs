//! Object 7, Connectivity Statistics: how much is sent and received.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 7, version 1.0.
pub const STATISTICS: ObjectModel = ObjectModel {
    id: 7,
    name: "Connectivity Statistics",
    version: Version::V1_0,
    multiple: false,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "SMS Tx Counter", Operations::READ, Kind::Integer),
        ResourceModel::new(1, "SMS Rx Counter", Operations::READ, Kind::Integer),
        ResourceModel::new(2, "Tx Data", Operations::READ, Kind::Integer),
        ResourceModel::new(3, "Rx Data", Operations::READ, Kind::Integer),
        ResourceModel::new(4, "Max Message Size", Operations::READ, Kind::Integer),
        ResourceModel::new(5, "Average Message Size", Operations::READ, Kind::Integer),
        ResourceModel::executable(6, "Start").mandatory(),
        ResourceModel::executable(7, "Stop").mandatory(),
        ResourceModel::new(8, "Collection Period", Operations::READ_WRITE, Kind::Integer),
    ],
};
