//! Who may speak to the gateway from elsewhere.

/// What the holder of a token may do.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize, utoipa::ToSchema,
)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Look.
    ReadOnly,
    /// Look, and order: flash, roll back, approve, rename.
    Operator,
}

impl Role {
    /// The word in JSON, on the command line and in the store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ReadOnly => "read-only",
            Self::Operator => "operator",
        }
    }
}

/// A token as it is kept: who has the secret cannot be told from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenRecord {
    /// Its name, unique, which is part of the token.
    pub name: String,
    /// What it is good for.
    pub role: Role,
    /// Argon2id of the secret, in the PHC string format.
    pub hash: String,
    /// Seconds since 1970.
    pub since: i64,
    /// Seconds since 1970 from which on it is worth nothing; `None`: never.
    pub expires: Option<i64>,
}
