//! Firmware images as the gateway stages and inspects them.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The format of an image, told by its first bytes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum ImageFormat {
    /// Intel HEX.
    Ihex,
    /// ELF.
    Elf,
    /// Espressif application image.
    EspImage,
    /// Raw binary; accepted only where the board says so.
    Raw,
}

impl ImageFormat {
    /// The name used in board and tool files.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ihex => "ihex",
            Self::Elf => "elf",
            Self::EspImage => "esp-image",
            Self::Raw => "raw",
        }
    }
}

impl fmt::Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A SHA-256 digest, written as 64 hex digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Sha256Digest(pub [u8; 32]);

impl fmt::Display for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256Digest({self})")
    }
}

impl FromStr for Sha256Digest {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "a SHA-256 digest is 64 hex digits";
        if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong);
        }
        let mut bytes = [0; 32];
        for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| wrong)?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| wrong)?;
        }
        Ok(Self(bytes))
    }
}

impl serde::Serialize for Sha256Digest {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Sha256Digest {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What looking into an image told.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct ImageInfo {
    /// Its format.
    pub format: ImageFormat,
    /// Bytes that the tool will write and must verify: data bytes of a HEX or ELF, the file's length otherwise.
    pub flash_bytes: u64,
    /// Address ranges `[start, end)` that will be written, merged and sorted; empty where the format has none.
    pub ranges: Vec<(u64, u64)>,
    /// The version the image itself names (ESP application descriptor).
    pub version: Option<String>,
    /// The project the image itself names.
    pub project: Option<String>,
}

/// What is wrong with an image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    /// It does not fit the board: another format, chip, machine or address. Result 6.
    #[error("not for this board: {0}")]
    WrongTarget(String),
    /// It is broken: a checksum, a digest, a truncated record. Result 5.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// It is larger than the program area or the configured cap. Result 2.
    #[error("too large: {0}")]
    TooLarge(String),
}

/// A file in staging.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize, utoipa::ToSchema)]
pub struct StagedImage {
    /// Where it lies.
    #[schema(value_type = String)]
    pub path: PathBuf,
    /// Length in bytes.
    pub size: u64,
    /// Digest of the whole file, computed while it was written.
    pub sha256: Sha256Digest,
    /// Expected version: the URI's `#version=`, else the image's own, else a sidecar's; never the file name.
    pub version: Option<String>,
    /// What the checks told.
    pub info: ImageInfo,
    /// Id of the key whose signature was found right; `None` where there was none, or nobody looked.
    #[serde(default)]
    pub signed_by: Option<String>,
}
