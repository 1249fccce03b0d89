//! Tokens: made, checked, made worthless.
//!
//! A token is `nuncio.NAME.SECRET`, the secret 256 random bits. Kept is only Argon2id of the secret; since that takes time
//! and memory on purpose, what was found right once is remembered by its SHA-256, in memory alone.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use argon2::password_hash::phc::PasswordHash;
use argon2::{Algorithm, Argon2, Params, PasswordHasher, PasswordVerifier, Version};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

use super::unix_now;
use crate::device::{Role, TokenRecord};

/// What every token begins with, so that scanners of repositories and logs find one that got lost.
const PREFIX: &str = "nuncio.";
/// Longest name of a token.
const MAX_NAME: usize = 32;
/// Longest token that is looked at, in bytes.
const MAX_TOKEN: usize = 128;
/// So many tokens there may be.
const MAX_TOKENS: usize = 256;
/// Memory in KiB and passes of Argon2id: the least that OWASP's password storage sheet names for one lane.
const COST: (u32, u32) = (7 * 1024, 5);

/// All tokens. Its clones are the same.
#[derive(Debug, Clone)]
pub struct Tokens(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    records: BTreeMap<String, TokenRecord>,
    /// SHA-256 of tokens that were found right, and what their record was then.
    found: BTreeMap<[u8; 32], TokenRecord>,
}

/// Who holds a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub(super) name: String,
    pub(super) role: Role,
}

/// Why no token was made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MintError {
    /// Its name is none.
    #[error("`{0}` is no name for a token: 1 to {MAX_NAME} lower-case letters, digits, `-` and `_`")]
    Name(String),
    /// There is one of this name.
    #[error("there is a token `{0}` already")]
    Taken(String),
    /// There are too many.
    #[error("there are {MAX_TOKENS} tokens already")]
    TooMany,
    /// The system gave no randomness, or the hash failed.
    #[error("no token can be made: {0}")]
    System(String),
}

impl Tokens {
    /// Those on record.
    pub fn new(records: Vec<TokenRecord>) -> Self {
        let records = records.into_iter().map(|record| (record.name.clone(), record)).collect();
        Self(Arc::new(Mutex::new(Known { records, found: BTreeMap::new() })))
    }

    fn with<T>(&self, act: impl FnOnce(&mut Known) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Those that are worth something, by name, and the names of those that are not any more.
    pub fn list(&self) -> (Vec<TokenRecord>, Vec<String>) {
        let now = unix_now();
        let (good, over): (Vec<_>, Vec<_>) =
            self.with(|known| known.records.values().cloned().partition(|record| is_valid(record, now)));
        (good, over.into_iter().map(|record| record.name).collect())
    }

    /// Makes a token, which is to be remembered before it is [taken](Self::take) in; with it the text that only its holder
    /// will have. Takes some tenths of a second on this thread.
    ///
    /// # Errors
    /// When its name is none, or taken.
    pub fn mint(
        &self,
        name: Option<String>,
        role: Role,
        lifetime_s: Option<u64>,
    ) -> Result<(TokenRecord, String), MintError> {
        let name = match name {
            Some(name) => name,
            None => format!("page-{}", hex(&random::<4>()?)),
        };
        self.may_be_called(&name)?;
        let secret = URL_SAFE_NO_PAD.encode(random::<32>()?);
        let system = |error: argon2::password_hash::Error| MintError::System(error.to_string());
        let hash = hasher().hash_password_with_salt(secret.as_bytes(), &random::<16>()?).map_err(system)?.to_string();
        let since = unix_now();
        let expires = lifetime_s.map(|seconds| since.saturating_add(i64::try_from(seconds).unwrap_or(i64::MAX)));
        let token = format!("{PREFIX}{name}.{secret}");
        Ok((TokenRecord { name, role, hash, since, expires }, token))
    }

    fn may_be_called(&self, name: &str) -> Result<(), MintError> {
        let is_right = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
        if name.is_empty() || name.len() > MAX_NAME || !name.chars().all(is_right) {
            return Err(MintError::Name(name.to_owned()));
        }
        self.with(|known| {
            let taken = known.records.get(name).is_some_and(|record| is_valid(record, unix_now()));
            match (taken, known.records.len() >= MAX_TOKENS) {
                (true, _) => Err(MintError::Taken(name.to_owned())),
                (false, true) => Err(MintError::TooMany),
                (false, false) => Ok(()),
            }
        })
    }

    /// From now on it is worth something.
    pub fn take(&self, record: TokenRecord) {
        self.with(|known| known.records.insert(record.name.clone(), record));
    }

    /// From now on it is worth nothing; whether there was one.
    pub fn revoke(&self, name: &str) -> bool {
        self.with(|known| {
            known.found.retain(|_, record| record.name != name);
            known.records.remove(name).is_some()
        })
    }

    /// What is on record of a token of this name.
    pub(super) fn record(&self, name: &str) -> Option<TokenRecord> {
        self.with(|known| known.records.get(name).cloned())
    }

    /// Whether a record still is what it was, and its time not over.
    pub(super) fn still_holds(&self, record: &TokenRecord) -> bool {
        is_valid(record, unix_now()) && self.with(|known| known.records.get(&record.name) == Some(record))
    }

    /// Whose token that is, where it was found right before: costs next to nothing.
    pub(super) fn remembered(&self, token: &str) -> Option<Holder> {
        let name = parts(token)?.0;
        let digest: [u8; 32] = Sha256::digest(token).into();
        let record = self.with(|known| {
            let record = known.records.get(name)?;
            (known.found.get(&digest) == Some(record)).then(|| record.clone())
        });
        let record = record.filter(|record| is_valid(record, unix_now()))?;
        Some(Holder { name: record.name, role: record.role })
    }

    /// Whose token that is; `None` when it is nobody's, or worth nothing any more. Whoever asks sees to it that one is looked at
    /// at a time: several at once would only need more memory.
    pub(super) async fn holder(&self, token: &str) -> Option<Holder> {
        if let Some(holder) = self.remembered(token) {
            return Some(holder);
        }
        let (name, secret) = parts(token)?;
        let record = self.record(name).filter(|record| is_valid(record, unix_now()))?;
        let (secret, hash) = (secret.to_owned(), record.hash.clone());
        if !tokio::task::spawn_blocking(move || is_it(&secret, &hash)).await.unwrap_or(false) {
            return None;
        }
        self.with(|known| {
            // It may have been made worthless while it was looked at.
            if known.records.get(name) == Some(&record) {
                known.found.retain(|_, other| other.name != name);
                known.found.insert(Sha256::digest(token).into(), record.clone());
            }
        });
        Some(Holder { name: record.name, role: record.role })
    }
}

/// Name and secret.
fn parts(token: &str) -> Option<(&str, &str)> {
    token.strip_prefix(PREFIX).filter(|_| token.len() <= MAX_TOKEN)?.rsplit_once('.')
}

fn hasher() -> Argon2<'static> {
    let params = Params::new(COST.0, COST.1, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn is_it(secret: &str, hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| hasher().verify_password(secret.as_bytes(), &hash).is_ok())
}

fn is_valid(record: &TokenRecord, now: i64) -> bool {
    record.expires.is_none_or(|end| now < end)
}

fn random<const N: usize>() -> Result<[u8; N], MintError> {
    let mut bytes = [0; N];
    match getrandom(&mut bytes, GetRandomFlags::empty()) {
        // Up to 256 bytes come whole.
        Ok(length) if length == N => Ok(bytes),
        Ok(_) => Err(MintError::System("too little randomness".to_owned())),
        Err(error) => Err(MintError::System(error.to_string())),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_token_is_worth_what_its_record_says_and_nothing_else_is() {
        let tokens = Tokens::new(Vec::new());
        let (record, token) = tokens.mint(Some("phone".to_owned()), Role::ReadOnly, Some(60)).expect("made");
        assert!(!record.hash.contains(token.rsplit_once('.').expect("a secret").1), "the secret is kept");
        assert_eq!(tokens.holder(&token).await, None, "not taken in yet");
        tokens.take(record.clone());
        let holder = Some(Holder { name: "phone".to_owned(), role: Role::ReadOnly });
        assert_eq!((tokens.remembered(&token), tokens.holder(&token).await), (None, holder.clone()), "checked");
        assert_eq!((tokens.remembered(&token), tokens.holder(&token).await), (holder.clone(), holder), "remembered");
        for wrong in ["", "nuncio.", "nuncio.phone.", "nuncio.phone.x", &token[1..], &format!("{token}x"), "phone.é"] {
            assert_eq!(tokens.holder(wrong).await, None, "{wrong}");
        }
        let taken = MintError::Taken("phone".to_owned());
        assert_eq!(tokens.mint(Some("phone".to_owned()), Role::Operator, None), Err(taken));
        assert!(tokens.still_holds(&record));
        assert!(tokens.revoke("phone"));
        assert!(!tokens.still_holds(&record), "of what is revoked");
        assert_eq!((tokens.remembered(&token), tokens.holder(&token).await), (None, None), "worthless now");

        let over = TokenRecord { expires: Some(unix_now() - 1), ..record };
        tokens.take(over.clone());
        assert!(!tokens.still_holds(&over), "of what is over");
        assert_eq!(tokens.holder(&token).await, None, "its time is over");
        assert_eq!(tokens.list(), (Vec::new(), vec!["phone".to_owned()]));
    }

    #[test]
    fn names_stay_harmless() {
        let tokens = Tokens::new(Vec::new());
        for name in ["", "A", "a.b", "a b", "ä", &"a".repeat(MAX_NAME + 1)] {
            assert!(
                matches!(tokens.mint(Some(name.to_owned()), Role::Operator, None), Err(MintError::Name(_))),
                "{name}"
            );
        }
    }
}
