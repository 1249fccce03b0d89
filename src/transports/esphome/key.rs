//! The key of an encrypted native API: a secret, shown to nobody.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::de::{self, Deserialize, Deserializer};

/// 32 bytes, which a device's YAML has in base64 under `api: encryption: key:`.
#[derive(Clone, PartialEq, Eq)]
pub struct Key([u8; 32]);

impl Key {
    pub(super) fn bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = STANDARD.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok());
        // Without the text: it may be a key with a slip in it.
        bytes.map(Self).ok_or_else(|| {
            de::Error::custom("no key: expected 32 bytes in base64, as `api: encryption: key:` has them in its YAML")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Holder {
        key: Key,
    }

    #[test]
    fn a_key_is_32_bytes_and_never_shown() {
        let text = STANDARD.encode([7_u8; 32]);
        let holder: Holder = toml::from_str(&format!("key = \"{text}\"")).expect("a key");
        assert_eq!(holder.key.bytes(), &[7; 32]);
        assert!(!format!("{holder:?}").contains(&text[..8]), "{holder:?}");
        for wrong in ["", "c2hvcnQ=", "no base64!"] {
            let error = toml::from_str::<Holder>(&format!("key = \"{wrong}\"")).expect_err(wrong);
            assert!(error.message().contains("32 bytes"), "{error}");
        }
    }
}
