//! The certificate: the operator's own, or one that is made once and kept.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::WebSettings;

/// Where certificate chain and private key are, in PEM.
#[derive(Debug, Clone)]
pub(super) struct Files {
    pub(super) certificate: PathBuf,
    pub(super) key: PathBuf,
    /// Whether it is the gateway that makes them.
    ours: bool,
}

impl Files {
    /// The operator's own, or those in the state folder.
    pub(super) fn of(settings: &WebSettings, state: &Path) -> Self {
        match (&settings.certificate, &settings.key) {
            (Some(certificate), Some(key)) => Self { certificate: certificate.clone(), key: key.clone(), ours: false },
            _ => {
                let folder = state.join("tls");
                Self { certificate: folder.join("certificate.pem"), key: folder.join("key.pem"), ours: true }
            }
        }
    }

    /// Makes them where that is the gateway's to do.
    ///
    /// # Errors
    /// When they cannot be written.
    pub(super) fn make_missing(&self, names: &[String], title: &str) -> anyhow::Result<()> {
        if !self.ours || self.certificate.exists() && self.key.exists() {
            return Ok(());
        }
        self.make(names, title).with_context(|| format!("no certificate in {}", self.certificate.display()))
    }

    /// What speaks TLS with peers.
    ///
    /// # Errors
    /// When the files cannot be read or do not fit.
    pub(super) fn acceptor(&self) -> anyhow::Result<TlsAcceptor> {
        let Self { certificate, key, .. } = self;
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .with_context(|| format!("no certificate in {}", certificate.display()))?;
        let Some(first) = chain.first() else { bail!("no certificate in {}", certificate.display()) };
        let sha256 = fingerprint(first);
        let private =
            PrivateKeyDer::from_pem_file(key).with_context(|| format!("no private key in {}", key.display()))?;
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, private)
            .with_context(|| format!("{} is no key for {}", key.display(), certificate.display()))?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        tracing::info!(sha256, certificate = %certificate.display(), "the page's certificate");
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Makes one for the names that this machine goes by. Browsers warn of it once.
    fn make(&self, names: &[String], title: &str) -> anyhow::Result<()> {
        let mut parameters = rcgen::CertificateParams::new(names)?;
        parameters.distinguished_name.push(rcgen::DnType::CommonName, title);
        let key = rcgen::KeyPair::generate()?;
        let certificate = parameters.self_signed(&key)?;
        if let Some(folder) = self.key.parent() {
            std::fs::create_dir_all(folder)?;
        }
        write(&self.key, &key.serialize_pem())?;
        write(&self.certificate, &certificate.pem())
    }
}

/// The names that this machine goes by.
pub(super) fn names(settings: &WebSettings) -> Vec<String> {
    names_of(&rustix::system::uname().nodename().to_string_lossy(), settings)
}

fn names_of(host: &str, settings: &WebSettings) -> Vec<String> {
    // A certificate has no place for others than these.
    let host = Some(host).filter(|host| !host.is_empty() && host.chars().all(|c| c.is_ascii_graphic()));
    let named = host.into_iter().flat_map(|host| [host.to_owned(), format!("{host}.local")]);
    let numbers = settings.listen.iter().map(std::net::SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    named.chain(["localhost".to_owned()]).chain(numbers.map(|ip| ip.to_string())).collect()
}

/// As browsers show it.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// The whole, or nothing; for this user alone.
fn write(path: &Path, text: &str) -> anyhow::Result<()> {
    let part = path.with_extension("part");
    let mut file = std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&part, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_of_any_name_gets_a_certificate() {
        let settings = WebSettings {
            enabled: true,
            listen: vec!["0.0.0.0:1".parse().expect("an address"), "[::1]:1".parse().expect("an address")],
            socket: None,
            certificate: None,
            key: None,
        };
        assert_eq!(names_of("pi", &settings), ["pi", "pi.local", "localhost", "::1"]);
        for host in ["w\u{f6}rkshop", "", "a b"] {
            let names = names_of(host, &settings);
            assert_eq!(names, ["localhost", "::1"], "{host}");
            assert!(rcgen::CertificateParams::new(names).is_ok());
        }
    }
}
