//! Object 0, LwM2M Security: where the servers are and what proves who we are. No server may touch it.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 0 as of LwM2M 1.1.
pub const SECURITY: ObjectModel = ObjectModel {
    id: 0,
    name: "LWM2M Security",
    version: Version::V1_1,
    multiple: true,
    mandatory: true,
    resources: &[
        ResourceModel::new(0, "LWM2M Server URI", Operations::NONE, Kind::String).mandatory().length(0, 255),
        ResourceModel::new(1, "Bootstrap-Server", Operations::NONE, Kind::Boolean).mandatory(),
        ResourceModel::new(2, "Security Mode", Operations::NONE, Kind::Integer).mandatory().between(0, 4),
        ResourceModel::new(3, "Public Key or Identity", Operations::NONE, Kind::Opaque).mandatory(),
        ResourceModel::new(4, "Server Public Key", Operations::NONE, Kind::Opaque).mandatory(),
        ResourceModel::new(5, "Secret Key", Operations::NONE, Kind::Opaque).mandatory(),
        ResourceModel::new(6, "SMS Security Mode", Operations::NONE, Kind::Integer).between(0, 255),
        ResourceModel::new(7, "SMS Binding Key Parameters", Operations::NONE, Kind::Opaque).length(6, 6),
        ResourceModel::new(8, "SMS Binding Secret Key(s)", Operations::NONE, Kind::Opaque),
        ResourceModel::new(9, "LwM2M Server SMS Number", Operations::NONE, Kind::String),
        ResourceModel::new(10, "Short Server ID", Operations::NONE, Kind::Integer).between(1, 65_534),
        ResourceModel::new(11, "Client Hold Off Time", Operations::NONE, Kind::Integer),
        ResourceModel::new(12, "Bootstrap-Server Account Timeout", Operations::NONE, Kind::Integer),
        ResourceModel::new(13, "Matching Type", Operations::NONE, Kind::Unsigned).between(0, 3),
        ResourceModel::new(14, "SNI", Operations::NONE, Kind::String),
        ResourceModel::new(15, "Certificate Usage", Operations::NONE, Kind::Unsigned).between(0, 3),
        ResourceModel::new(16, "DTLS/TLS Ciphersuite", Operations::NONE, Kind::Unsigned).multiple(),
        ResourceModel::new(17, "OSCORE Security Mode", Operations::NONE, Kind::ObjectLink),
    ],
};
