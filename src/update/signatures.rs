//! Signed images: `IMAGE.minisig` beside the image, as minisign(1) writes it, against the public keys of this site.
//!
//! Only prehashed signatures (minisign's own default) are taken: they are verified piece by piece, in constant memory.
//! Blocking.

mod keys;

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use minisign_verify::{Error, PublicKey, Signature};
use serde::Serialize as _;

use super::settings::UpdateSettings;
use super::table::{Refusal, Refused};
use crate::device::FileError;
use keys::Key;

/// Bytes at once.
const PIECE: usize = 64 * 1024;

/// `[update] signatures`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignaturePolicy {
    /// Nobody looks for signatures.
    Off,
    /// An image may have none; one that is there must be right.
    IfPresent,
    /// No image without a right one.
    Required,
}

impl fmt::Display for SignaturePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(f)
    }
}

/// A site's policy and keys.
#[derive(Debug, Clone)]
pub struct Signatures {
    policy: SignaturePolicy,
    keys: Vec<Key>,
}

impl Signatures {
    /// Takes the policy and reads the keys; none where nobody looks for signatures.
    ///
    /// # Errors
    /// Everything that is wrong in the folder of keys.
    pub fn load(settings: &UpdateSettings) -> Result<Self, Vec<FileError>> {
        let policy = settings.signatures;
        let keys = if policy == SignaturePolicy::Off { Vec::new() } else { keys::load(&settings.keys)? };
        Ok(Self { policy, keys })
    }

    /// The policy.
    pub fn policy(&self) -> SignaturePolicy {
        self.policy
    }

    /// The ids of the keys, as minisign tells them.
    pub fn keys(&self) -> impl ExactSizeIterator<Item = &str> {
        self.keys.iter().map(|key| key.id.as_str())
    }

    /// Whether a signature is worth asking for.
    pub(super) fn wanted(&self) -> bool {
        self.policy != SignaturePolicy::Off
    }

    /// Whether an image may be staged, and the id of the key that signed it. `signature`: the text of `IMAGE.minisig`, where
    /// there is one.
    ///
    /// # Errors
    /// Result 5, with the policy's name and the key's.
    pub(super) fn check(&self, image: &Path, signature: Option<&str>) -> Result<Option<String>, Refused> {
        let refused = |why: String| Refused::new(Refusal::Damaged, format!("signatures = \"{}\": {why}", self.policy));
        let Some(text) = signature.filter(|_| self.wanted()) else {
            return match self.policy {
                SignaturePolicy::Required => Err(refused(
                    "the image has no signature: it takes IMAGE.minisig beside it, and a push cannot bring one"
                        .to_owned(),
                )),
                SignaturePolicy::Off | SignaturePolicy::IfPresent => Ok(None),
            };
        };
        let no_signature =
            |why: String| refused(format!("its .minisig is no signature: {why}; sign it with `minisign -S`"));
        let decoded = Signature::decode(text).map_err(|error| no_signature(error.to_string()))?;
        let id = keys::id(text).ok_or_else(|| no_signature("it names no key".to_owned()))?;
        let known = self.keys.iter().find(|key| key.id == id).ok_or_else(|| {
            refused(format!("key {id} is unknown here: put its public key into the folder of [update] keys"))
        })?;
        verify(&known.key, &decoded, image).map_err(|error| match error {
            Error::UnsupportedLegacyMode => {
                refused(format!("key {id} signed it the old way, unhashed: sign it with `minisign -S`, without -l"))
            }
            error => refused(format!("not what key {id} signed: {error}")),
        })?;
        Ok(Some(id))
    }
}

fn verify(key: &PublicKey, signature: &Signature, image: &Path) -> Result<(), Error> {
    let mut verifier = key.verify_stream(signature)?;
    let mut file = File::open(image)?;
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece)? {
            0 => return verifier.finalize(),
            length => verifier.update(&piece[..length]),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A folder with an image, its signatures by Debian's minisign (new and old), and that key.
    fn signed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("image"), vec![7; 200_000]).expect("written");
        for arguments in [
            &["-G", "-W", "-p", "keys.pub", "-s", "key"][..],
            &["-S", "-s", "key", "-m", "image", "-x", "image.minisig"],
            &["-S", "-l", "-s", "key", "-m", "image", "-x", "legacy"],
        ] {
            let ran = Command::new("minisign").args(arguments).current_dir(folder.path()).output();
            let ran = ran.expect("Debian's minisign: tests/peers/install.sh tls");
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
        }
        folder
    }

    #[test]
    fn an_image_signed_by_minisign_is_taken_and_any_other_is_refused_by_name_of_policy_and_key() {
        let (here, elsewhere) = (signed(), tempfile::tempdir().expect("a folder"));
        let image = here.path().join("image");
        let text = std::fs::read_to_string(here.path().join("image.minisig")).expect("signed");
        let id = keys::id(&text).expect("an id");
        assert!(
            std::fs::read_to_string(here.path().join("keys.pub")).expect("a key").contains(&id),
            "as minisign tells it"
        );
        let load = |policy, folder: &tempfile::TempDir| {
            let keys = keys::load(folder.path()).unwrap_or_else(|errors| panic!("{}", errors[0]));
            Signatures { policy, keys }
        };
        let required = load(SignaturePolicy::Required, &here);
        assert_eq!(required.check(&image, Some(&text)).expect("right"), Some(id.clone()));
        let refused = |signatures: &Signatures, signature: Option<&str>, parts: &[&str]| {
            let refused = signatures.check(&image, signature).expect_err("refused");
            assert_eq!(refused.why, Refusal::Damaged);
            assert!(parts.iter().all(|part| refused.reason.contains(part)), "{}", refused.reason);
        };
        assert_eq!(required.keys().collect::<Vec<_>>(), [id.as_str()]);
        refused(&required, None, &["signatures = \"required\"", "push"]);
        let legacy = std::fs::read_to_string(here.path().join("legacy")).expect("signed");
        refused(&required, Some(&legacy), &[&id, "the old way", "without -l"]);
        let present = load(SignaturePolicy::IfPresent, &elsewhere);
        refused(&present, Some(&text), &["signatures = \"if-present\"", &id, "unknown"]);
        refused(&present, Some("rubbish"), &["no signature", "minisign -S"]);
        assert_eq!(present.check(&image, None).expect("may have none"), None);
        assert_eq!(load(SignaturePolicy::Off, &here).check(&image, Some("rubbish")).expect("nobody looks"), None);
        std::fs::write(&image, vec![8; 200_000]).expect("written");
        refused(&required, Some(&text), &["not what key", &id]);
    }
}
