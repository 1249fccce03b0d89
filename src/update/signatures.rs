//! Signed images: `IMAGE.minisig` beside the image, as minisign(1) writes it, against the public keys of this site.
//!
//! Keys are read once, at the start. Only prehashed signatures (minisign's own default) are taken: they are verified
//! piece by piece, in constant memory. Blocking.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use minisign_verify::{PublicKey, Signature};

use super::table::{Refusal, Refused};

/// Most keys of a site.
const MAX_KEYS: usize = 256;
/// Longest key file in bytes.
const MAX_KEY: u64 = 4096;
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

impl SignaturePolicy {
    fn told(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::IfPresent => "if-present",
            Self::Required => "required",
        }
    }
}

/// A key file that is none.
#[derive(Debug, thiserror::Error)]
#[error("{path} of [update] keys: {why}; expected a file that `minisign -G` wrote as public key (minisign.pub)")]
pub struct KeyError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong.
    pub why: String,
}

/// A site's policy and keys.
#[derive(Debug, Clone)]
pub(super) struct Signatures {
    policy: SignaturePolicy,
    keys: Vec<(String, PublicKey)>,
}

impl Signatures {
    /// Reads every `*.pub` of a folder; a folder that is not there holds no key.
    ///
    /// # Errors
    /// The first file that is no public key, and a folder that cannot be read.
    pub(super) fn load(policy: SignaturePolicy, folder: &Path) -> Result<Self, KeyError> {
        let failed = |path: &Path, why: String| KeyError { path: path.to_owned(), why };
        let mut keys = Vec::new();
        let entries = match std::fs::read_dir(folder) {
            _ if policy == SignaturePolicy::Off => return Ok(Self { policy, keys }),
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self { policy, keys }),
            Err(error) => return Err(failed(folder, error.to_string())),
        };
        let paths = entries.flatten().map(|entry| entry.path());
        for path in paths.filter(|path| path.extension().is_some_and(|extension| extension == "pub")) {
            if keys.len() == MAX_KEYS {
                return Err(failed(folder, format!("more than {MAX_KEYS} keys")));
            }
            let text = read(&path).map_err(|error| failed(&path, error.to_string()))?;
            let key = PublicKey::decode(text.trim_end()).map_err(|error| failed(&path, error.to_string()))?;
            keys.push((key_id(&text).unwrap_or_default(), key));
        }
        Ok(Self { policy, keys })
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
        let refused =
            |why: String| Refused::new(Refusal::Damaged, format!("signatures = \"{}\": {why}", self.policy.told()));
        let Some(text) = signature.filter(|_| self.wanted()) else {
            return match self.policy {
                SignaturePolicy::Required => Err(refused(
                    "the image has no signature: it takes IMAGE.minisig beside it, and a push cannot bring one"
                        .to_owned(),
                )),
                SignaturePolicy::Off | SignaturePolicy::IfPresent => Ok(None),
            };
        };
        let decoded = Signature::decode(text).map_err(|error| refused(format!("its .minisig is none: {error}")))?;
        let id = key_id(text).ok_or_else(|| refused("its .minisig is none: it names no key".to_owned()))?;
        let (_, key) = (self.keys.iter().find(|(known, _)| *known == id)).ok_or_else(|| {
            refused(format!("key {id} is unknown here: put its public key into the folder of [update] keys"))
        })?;
        verify(key, &decoded, image).map_err(|error| refused(format!("not what key {id} signed: {error}")))?;
        Ok(Some(id))
    }
}

fn verify(key: &PublicKey, signature: &Signature, image: &Path) -> Result<(), minisign_verify::Error> {
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

fn read(path: &Path) -> std::io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(MAX_KEY).read_to_string(&mut text)?;
    Ok(text)
}

/// The id that stands in the second line of keys and signatures: 8 bytes after the 2 of the algorithm, the lowest first
/// (minisign(1), "file format"), told as `minisign -G` does: without leading zeros.
fn key_id(text: &str) -> Option<String> {
    let bytes = base64::engine::general_purpose::STANDARD.decode(text.lines().nth(1)?.trim()).ok()?;
    let id = bytes.get(2..10)?.try_into().ok()?;
    Some(format!("{:X}", u64::from_le_bytes(id)))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// A folder with an image, its signature by Debian's minisign, and that key.
    fn signed() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("image"), vec![7; 200_000]).expect("written");
        for arguments in [
            &["-G", "-W", "-p", "keys.pub", "-s", "key"][..],
            &["-S", "-s", "key", "-m", "image", "-x", "image.minisig"],
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
        let id = key_id(&text).expect("an id");
        assert!(
            std::fs::read_to_string(here.path().join("keys.pub")).expect("a key").contains(&id),
            "as minisign tells it"
        );
        let load = |policy, folder: &tempfile::TempDir| Signatures::load(policy, folder.path()).expect("keys");
        let required = load(SignaturePolicy::Required, &here);
        assert_eq!(required.check(&image, Some(&text)).expect("right"), Some(id.clone()));
        let refused = |signatures: &Signatures, signature: Option<&str>, parts: &[&str]| {
            let refused = signatures.check(&image, signature).expect_err("refused");
            assert_eq!(refused.why, Refusal::Damaged);
            assert!(parts.iter().all(|part| refused.reason.contains(part)), "{}", refused.reason);
        };
        refused(&required, None, &["signatures = \"required\"", "push"]);
        let present = load(SignaturePolicy::IfPresent, &elsewhere);
        refused(&present, Some(&text), &["signatures = \"if-present\"", &id, "unknown"]);
        refused(&present, Some("no signature"), &["none"]);
        assert_eq!(present.check(&image, None).expect("may have none"), None);
        assert_eq!(load(SignaturePolicy::Off, &here).check(&image, Some("rubbish")).expect("nobody looks"), None);
        std::fs::write(&image, vec![8; 200_000]).expect("written");
        refused(&required, Some(&text), &["not what key", &id]);
        std::fs::write(here.path().join("bad.pub"), "no key").expect("written");
        let error = Signatures::load(SignaturePolicy::Required, here.path()).expect_err("no key");
        assert!(error.to_string().contains("bad.pub") && error.to_string().contains("minisign -G"), "{error}");
    }
}
