//! `[web]`.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The page and the REST API.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebSettings {
    /// Whether there is any of it.
    pub enabled: bool,
    /// Addresses over TCP. Behind one that other machines reach, TLS is spoken.
    pub listen: Vec<SocketAddr>,
    /// The Unix socket; `None`: `http.sock` in the state folder.
    pub socket: Option<PathBuf>,
    /// Certificate chain in PEM; `None`: one is made.
    pub certificate: Option<PathBuf>,
    /// Its private key in PEM.
    pub key: Option<PathBuf>,
}
