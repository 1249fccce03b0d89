//! Object 2, LwM2M Access Control: which server may do what with which instance.

use super::{ObjectModel, Operations, ResourceModel, Version};
use crate::value::Kind;

/// Object 2 as of LwM2M 1.0 and 1.1. The range of the ACL bits is that of version 1.1: R 1, W 2, E 4, D 8, C 16.
pub const ACCESS_CONTROL: ObjectModel = ObjectModel {
    id: 2,
    name: "LwM2M Access Control",
    version: Version::V1_0,
    multiple: true,
    mandatory: false,
    resources: &[
        ResourceModel::new(0, "Object ID", Operations::READ, Kind::Integer).mandatory().between(1, 65_534),
        ResourceModel::new(1, "Object Instance ID", Operations::READ, Kind::Integer).mandatory().between(0, 65_535),
        ResourceModel::new(2, "ACL", Operations::READ_WRITE, Kind::Integer).multiple().between(0, 31),
        ResourceModel::new(3, "Access Control Owner", Operations::READ_WRITE, Kind::Integer)
            .mandatory()
            .between(0, 65_535),
    ],
};
