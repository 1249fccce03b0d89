//! The certificate: the operator's own, or one that is made once and kept.

use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context as _, bail};
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::WebSettings;

/// What speaks TLS with peers.
///
/// # Errors
/// When files cannot be read or do not fit, or none can be made.
pub(super) fn acceptor(settings: &WebSettings, state: &Path, name: &str) -> anyhow::Result<TlsAcceptor> {
    let (certificate, key) = match (&settings.certificate, &settings.key) {
        (Some(certificate), Some(key)) => (certificate.clone(), key.clone()),
        _ => {
            let folder = state.join("tls");
            let files = (folder.join("certificate.pem"), folder.join("key.pem"));
            if !files.0.exists() || !files.1.exists() {
                make(&folder, name, settings).with_context(|| format!("no certificate in {}", folder.display()))?;
            }
            files
        }
    };
    let chain: Vec<CertificateDer<'static>> =
        CertificateDer::pem_file_iter(&certificate)
            .and_then(Iterator::collect)
            .with_context(|| format!("no certificate in {}", certificate.display()))?;
    let Some(first) = chain.first() else { bail!("no certificate in {}", certificate.display()) };
    tracing::info!(sha256 = fingerprint(first), certificate = %certificate.display(), "the page's certificate");
    let private = PrivateKeyDer::from_pem_file(&key).with_context(|| format!("no private key in {}", key.display()))?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .with_context(|| format!("{} is no key for {}", key.display(), certificate.display()))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

/// As browsers show it.
fn fingerprint(certificate: &CertificateDer<'_>) -> String {
    let digest = Sha256::digest(certificate.as_ref());
    digest.iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

/// Makes one for the names that this machine goes by. Browsers warn of it once.
fn make(folder: &Path, name: &str, settings: &WebSettings) -> anyhow::Result<()> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let named = [host.clone(), format!("{host}.local"), "localhost".to_owned()];
    let numbers = settings.listen.iter().map(std::net::SocketAddr::ip).filter(|ip| !ip.is_unspecified());
    let names: Vec<String> = named.into_iter().chain(numbers.map(|ip| ip.to_string())).collect();
    let mut parameters = rcgen::CertificateParams::new(names)?;
    parameters.distinguished_name.push(rcgen::DnType::CommonName, format!("Nuncio on {name}"));
    let key = rcgen::KeyPair::generate()?;
    let certificate = parameters.self_signed(&key)?;
    std::fs::create_dir_all(folder)?;
    write(&folder.join("key.pem"), &key.serialize_pem())?;
    write(&folder.join("certificate.pem"), &certificate.pem())
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
