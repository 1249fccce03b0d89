//! Bringing an image in by HTTP or HTTPS.
//!
//! One [`Downloader`] serves the whole gateway; one [`Downloader::fetch`] is one file, for however many devices. A
//! broken connection is resumed by strong ETag, `Range` and `If-Range`; where the server will not, or the file has
//! changed meanwhile, it begins again once. The digest is always that of the whole file. The files beside the image
//! (`IMAGE.sha256`, `IMAGE.version`) are asked for here too. Not here: which device wants it, and whether it fits.

mod http;
mod sidecar;
mod sink;
mod transfer;

use std::path::PathBuf;
use std::time::Duration;

use reqwest::Certificate;
use url::Url;

use super::policy::Policy;
use super::settings::DownloadSettings;
use super::staging::Stored;
use super::table::{Refusal, Refused};
use super::uri::ImageUri;
use http::Http;
pub(super) use sidecar::{MAX_SIDECAR, digest_in, version_in};
use transfer::Transfer;

/// How long a connection may take to come about.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(30);
/// Idle connections are kept for the files beside an image, not longer.
const KEEP_IDLE: Duration = Duration::from_secs(5);

/// Why downloads cannot be set up: the configuration is wrong.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// `[download] allow`.
    #[error("{0}")]
    Allow(String),
    /// `[download] ca`: the file cannot be read.
    #[error("cannot read the certificate authority {path} of [download] ca")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// `[download] ca`: no certificate in it.
    #[error("{path} of [download] ca holds no PEM certificate")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The HTTP client refused all of it.
    #[error("cannot set up HTTP")]
    Client(#[source] reqwest::Error),
}

/// Where a download that a crash cut off goes on. Where its file is gone (another device that shared it was quicker)
/// it is fetched whole; either way only while its ETag is the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// The file.
    pub part: PathBuf,
    /// So many of its bytes are good.
    pub synced: u64,
    /// The answer they came from.
    pub etag: String,
}

/// Where a download's bytes go.
#[derive(Debug, Clone)]
pub struct Destination {
    /// While it grows.
    pub part: PathBuf,
    /// Once it is complete.
    pub image: PathBuf,
    /// Set when it goes on where an earlier gateway stopped.
    pub resume: Option<Resume>,
}

/// How far a download is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Progress {
    /// Bytes so far.
    pub bytes: u64,
    /// Of so many, where known.
    pub total: Option<u64>,
    /// So many of them are on the disk.
    pub synced: u64,
    /// Strong ETag of the answer they come from.
    pub etag: Option<String>,
}

/// A complete file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Downloaded {
    /// The file.
    pub stored: Stored,
    /// What `IMAGE.version` says; asked only when neither the URI nor the image names one.
    pub sidecar_version: Option<String>,
    /// What `IMAGE.minisig` says.
    pub signature: Option<String>,
}

/// Downloads under one configuration.
#[derive(Debug, Clone)]
pub struct Downloader {
    http: Http,
    max_size: u64,
    retries: u32,
    /// Whether `IMAGE.minisig` is asked for.
    signatures: bool,
}

impl Downloader {
    /// Reads certificates, sets up TLS with the system's roots and those of the configuration, takes the proxy from
    /// the environment.
    ///
    /// # Errors
    /// What is wrong with the configuration.
    pub fn new(settings: &DownloadSettings) -> Result<Self, SetupError> {
        let policy = Policy::new(&settings.allow).map_err(SetupError::Allow)?;
        let mut roots = Vec::new();
        for path in &settings.ca {
            roots.extend(certificates(path)?);
        }
        let client = client(&policy, &roots).map_err(SetupError::Client)?;
        let http = Http { client, own: None, policy, redirects: settings.redirects, stalled: settings.stalled };
        Ok(Self { http, max_size: settings.max_size, retries: settings.retries, signatures: false })
    }

    /// The same, and what the gateway serves itself, by what its URIs begin with: that is taken whatever `allow` says, and no
    /// proxy stands before it.
    ///
    /// # Errors
    /// When there is no HTTP client to be had.
    pub fn with_own(mut self, own: Option<Url>) -> Result<Self, SetupError> {
        self.http.own = own.as_ref().map(|_| direct(&self.http.policy)).transpose().map_err(SetupError::Client)?;
        self.http.policy = self.http.policy.with_own(own);
        Ok(self)
    }

    /// Whether the downloads that begin from now on ask for `IMAGE.minisig`, too.
    pub fn seek_signatures(&mut self, signatures: bool) {
        self.signatures = signatures;
    }

    /// Largest image that is taken, in bytes; the same for what is pushed.
    pub fn max_size(&self) -> u64 {
        self.max_size
    }

    /// Which URIs are taken.
    pub fn policy(&self) -> &Policy {
        &self.http.policy
    }

    /// Downloads one image, checks its digest where one is told, and reads the files beside it.
    /// `progress` is called for every piece that comes in, and must be quick.
    ///
    /// # Errors
    /// Why there is no image. Its partial file stays, for the caller to remove.
    pub async fn fetch(
        &self,
        uri: &ImageUri,
        destination: &Destination,
        progress: &(dyn Fn(&Progress) + Send + Sync),
    ) -> Result<Downloaded, Refused> {
        self.http.policy.check(&uri.request)?;
        let stored = Transfer::begin(self, uri, destination, progress).await?.run().await?;
        let expected = match uri.sha256 {
            Some(digest) => Some(digest),
            None => sidecar::digest(self, uri).await?,
        };
        if let Some(expected) = expected.filter(|&expected| expected != stored.sha256) {
            let reason = format!("{} has the SHA-256 {}, expected is {expected}", uri.masked(), stored.sha256);
            return Err(Refused::new(Refusal::Damaged, reason));
        }
        let sidecar_version = sidecar::version(self, uri, &stored).await?;
        let signature = if self.signatures { sidecar::text(self, &uri.sidecar(".minisig")).await? } else { None };
        Ok(Downloaded { stored, sidecar_version, signature })
    }
}

fn certificates(path: &PathBuf) -> Result<Vec<Certificate>, SetupError> {
    let pem = std::fs::read(path).map_err(|source| SetupError::Read { path: path.clone(), source })?;
    match Certificate::from_pem_bundle(&pem) {
        Ok(found) if !found.is_empty() => Ok(found),
        _ => Err(SetupError::NoCertificate { path: path.clone() }),
    }
}

/// For what the gateway serves itself.
fn direct(policy: &Policy) -> Result<reqwest::Client, reqwest::Error> {
    let builder = reqwest::Client::builder().user_agent(concat!("nuncio/", env!("CARGO_PKG_VERSION"))).no_proxy();
    let builder = builder.redirect(reqwest::redirect::Policy::none()).dns_resolver(policy.resolver());
    builder.connect_timeout(CONNECT_TIMEOUT).pool_idle_timeout(KEEP_IDLE).tls_certs_only([]).build()
}

/// A machine without any certificate authority can still download by plain HTTP, or from those of the configuration.
fn client(policy: &Policy, roots: &[Certificate]) -> Result<reqwest::Client, reqwest::Error> {
    let builder = || {
        reqwest::Client::builder()
            .user_agent(concat!("nuncio/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .dns_resolver(policy.resolver())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(KEEP_IDLE)
            .pool_max_idle_per_host(1)
    };
    builder().tls_certs_merge(roots.iter().cloned()).build().or_else(|error| {
        tracing::warn!(%error, "no certificate authorities on this system: HTTPS needs those of [download] ca");
        builder().tls_certs_only(roots.iter().cloned()).build()
    })
}
