//! The brake on an image: why no further board of a type gets it.

use super::{BoardId, DeviceId, Sha256Digest};

/// One record: failures of an image on a board type, and whether it is held back.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct Brake {
    /// The board type.
    pub board: BoardId,
    /// The image; `None`: every image.
    pub image: Option<Sha256Digest>,
    /// Whether it holds; before that it only counts.
    pub on: bool,
    /// Set by an operator.
    pub by_hand: bool,
    /// Seconds since 1970 of the first failure, or since it holds.
    pub since: i64,
    /// Failures since the image last proved itself.
    pub count: u32,
    /// The newest of them, at most 16.
    pub failures: Vec<BrakeFailure>,
}

/// One failure of an image.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct BrakeFailure {
    /// On this device.
    pub device: DeviceId,
    /// Seconds since 1970.
    pub at: i64,
    /// One line.
    pub reason: String,
}
