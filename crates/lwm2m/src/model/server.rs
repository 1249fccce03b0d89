//! Object 1, LwM2M Server: how to behave towards one server.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 1 as of LwM2M 1.1. Resources 13 to 20 have no operation: they are for bootstrap servers.
pub const SERVER: ObjectModel = ObjectModel {
    id: 1,
    name: "LwM2M Server",
    version: Version::V1_1,
    multiple: true,
    mandatory: true,
    resources: &[
        ResourceModel::new(0, "Short Server ID", Operations::READ, Kind::Integer).mandatory().between(1, 65_534),
        ResourceModel::new(1, "Lifetime", Operations::READ_WRITE, Kind::Integer).mandatory(),
        ResourceModel::new(2, "Default Minimum Period", Operations::READ_WRITE, Kind::Integer),
        ResourceModel::new(3, "Default Maximum Period", Operations::READ_WRITE, Kind::Integer),
        ResourceModel::executable(4, "Disable"),
        ResourceModel::new(5, "Disable Timeout", Operations::READ_WRITE, Kind::Integer),
        ResourceModel::new(6, "Notification Storing When Disabled or Offline", Operations::READ_WRITE, Kind::Boolean)
            .mandatory(),
        ResourceModel::new(7, "Binding", Operations::READ_WRITE, Kind::String).mandatory(),
        ResourceModel::executable(8, "Registration Update Trigger").mandatory(),
        ResourceModel::executable(9, "Bootstrap-Request Trigger"),
        ResourceModel::new(10, "APN Link", Operations::READ_WRITE, Kind::ObjectLink),
        ResourceModel::new(11, "TLS-DTLS Alert Code", Operations::READ, Kind::Unsigned).between(0, 255),
        ResourceModel::new(12, "Last Bootstrapped", Operations::READ, Kind::Time),
        ResourceModel::new(13, "Registration Priority Order", Operations::NONE, Kind::Unsigned),
        ResourceModel::new(14, "Initial Registration Delay Timer", Operations::NONE, Kind::Unsigned),
        ResourceModel::new(15, "Registration Failure Block", Operations::NONE, Kind::Boolean),
        ResourceModel::new(16, "Bootstrap on Registration Failure", Operations::NONE, Kind::Boolean),
        ResourceModel::new(17, "Communication Retry Count", Operations::NONE, Kind::Unsigned),
        ResourceModel::new(18, "Communication Retry Timer", Operations::NONE, Kind::Unsigned),
        ResourceModel::new(19, "Communication Sequence Delay Timer", Operations::NONE, Kind::Unsigned),
        ResourceModel::new(20, "Communication Sequence Retry Count", Operations::NONE, Kind::Unsigned),
        ResourceModel::new(21, "Trigger", Operations::READ_WRITE, Kind::Boolean),
        ResourceModel::new(22, "Preferred Transport", Operations::READ_WRITE, Kind::String),
        ResourceModel::new(23, "Mute Send", Operations::READ_WRITE, Kind::Boolean),
    ],
};
