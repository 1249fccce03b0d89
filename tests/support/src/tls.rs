//! A certificate authority for one test, made by the openssl program.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::World;
use crate::tools::system;

/// A certificate authority and a server certificate for `localhost` and 127.0.0.1.
pub struct Authority {
    dir: PathBuf,
}

impl Authority {
    /// Makes both in the world's folder.
    pub fn new(world: &World, name: &str) -> Self {
        let dir = world.home().join(name);
        fs::create_dir_all(&dir).expect("a writable folder");
        fs::write(dir.join("server.ext"), "subjectAltName=DNS:localhost,IP:127.0.0.1\nextendedKeyUsage=serverAuth\n")
            .expect("a writable folder");
        let key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"];
        let openssl = |args: &[&str]| system("tls", "openssl", args, &dir);
        openssl(&[&["req", "-x509", "-days", "2", "-subj", "/CN=nuncio test CA"], &key[..], &CA].concat());
        openssl(&[&["req", "-subj", "/CN=localhost"], &key[..], &REQUEST].concat());
        openssl(&SIGN);
        Self { dir }
    }

    /// The authority's certificate, PEM: what a configuration's `ca` names.
    pub fn certificate(&self) -> PathBuf {
        self.dir.join("ca.pem")
    }

    /// The server's certificate and its key, PEM.
    pub fn server(&self) -> (PathBuf, PathBuf) {
        (self.dir.join("server.pem"), self.dir.join("server.key"))
    }

    pub(crate) fn server_config(&self) -> Arc<ServerConfig> {
        let file = |name: &str| -> PathBuf { Path::join(&self.dir, name) };
        let chain = vec![CertificateDer::from_pem_file(file("server.pem")).expect("openssl wrote a certificate")];
        let key = PrivateKeyDer::from_pem_file(file("server.key")).expect("openssl wrote a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider knows TLS 1.2 and 1.3")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("the key fits the certificate");
        Arc::new(config)
    }
}

const CA: [&str; 4] = ["-keyout", "ca.key", "-out", "ca.pem"];
const REQUEST: [&str; 4] = ["-keyout", "server.key", "-out", "server.csr"];
const SIGN: [&str; 16] = [
    "x509",
    "-req",
    "-in",
    "server.csr",
    "-CA",
    "ca.pem",
    "-CAkey",
    "ca.key",
    "-CAcreateserial",
    "-days",
    "2",
    "-extfile",
    "server.ext",
    "-out",
    "server.pem",
    "-sha256",
];
