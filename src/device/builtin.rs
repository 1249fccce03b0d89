//! What the built-in server knows: its clients as it sees them over LwM2M, and what it has to offer them.

use std::path::PathBuf;

use super::Sha256Digest;

/// All of it.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BuiltinView {
    /// Where it listens.
    pub uri: String,
    /// Why it does not, with the remedy.
    pub trouble: Option<String>,
    /// Its drop folder.
    pub drop: PathBuf,
    /// Who is registered, sorted by endpoint name.
    pub clients: Vec<BuiltinClient>,
    /// What is offered now, the oldest first, and what was of late.
    pub offers: Vec<BuiltinOffer>,
}

/// One registration.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BuiltinClient {
    /// The endpoint name.
    pub endpoint: String,
    /// The device of this gateway that it is, if it is one.
    pub device: Option<String>,
    /// LwM2M version.
    pub version: String,
    /// Lifetime in seconds.
    pub lifetime_s: u32,
    /// Seconds since 1970 when it registered.
    pub registered: i64,
    /// What it last told, by path.
    pub values: Vec<BuiltinValue>,
}

/// One value as it was read or notified.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BuiltinValue {
    /// `/3/0/0`.
    pub path: String,
    /// The registry's name of the resource.
    pub name: Option<String>,
    /// As text.
    pub value: String,
}

/// One image that was dropped.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BuiltinOffer {
    /// Its file name.
    pub image: String,
    /// The folder that it was laid into, below the drop folder.
    pub folder: String,
    /// Length in bytes; `None` where nobody looked.
    pub size: Option<u64>,
    /// Its digest; `None` where nobody looked.
    pub sha256: Option<Sha256Digest>,
    /// Seconds since 1970 when it was taken up.
    pub since: i64,
    /// Whether it is over.
    pub over: bool,
    /// What there is to say of the whole.
    pub says: String,
    /// To whom, sorted by name.
    pub devices: Vec<BuiltinTarget>,
}

/// What becomes of an image at one device.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct BuiltinTarget {
    /// The device, or the endpoint name of one that is not the gateway's.
    pub device: String,
    /// How far it is.
    pub state: OfferState,
    /// Why, or what came of it.
    pub says: String,
    /// The version that the device told afterwards.
    pub version: Option<String>,
}

/// How far an image is at a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OfferState {
    /// Not offered yet.
    Waiting,
    /// The device was told where it is.
    Offered,
    /// The device was told to take it.
    Executed,
    /// It runs there, proven.
    Done,
    /// It does not.
    Failed,
}
