//! The certificate as it is now: had when it can be had, and read again when it was renewed.

use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use tokio::sync::watch;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::troubles::Troubles;
use crate::web::WebSettings;
use crate::web::tls::{self, Files};

/// Whether a file has changed is looked at so often, and what failed tried again.
const LOOK_AGAIN: Duration = Duration::from_secs(15);

/// What speaks TLS with peers; `None` as long as there is no certificate.
pub(super) type Current = watch::Receiver<Option<TlsAcceptor>>;

/// Which files these are, and since when; `None` for one that is missing.
type Stamp = [Option<(SystemTime, u64)>; 2];

/// Has a certificate, and goes on to look after it. What keeps it from that is told; an older one serves meanwhile.
pub(super) fn keep(settings: &WebSettings, state: &Path, name: &str, troubles: Troubles) -> Current {
    let (out, current) = watch::channel(None);
    let files = Files::of(settings, state);
    let names = tls::names(settings);
    let title = format!("Nuncio on {name}");
    tokio::spawn(async move {
        let mut used = None;
        loop {
            let asked = (files.clone(), names.clone(), title.clone());
            let looked = spawn_blocking(move || look(&asked.0, &asked.1, &asked.2, used)).await;
            let trouble = match looked.context("[web]").and_then(|looked| looked) {
                Ok(None) => None,
                Ok(Some((stamp, acceptor))) => {
                    used = Some(stamp);
                    out.send_replace(Some(acceptor));
                    None
                }
                Err(error) => Some(format!("[web] {error:#}")),
            };
            troubles.set("certificate", trouble).await;
            sleep(LOOK_AGAIN).await;
        }
    });
    current
}

/// What there is now; `None` when that is what is used.
fn look(
    files: &Files,
    names: &[String],
    title: &str,
    used: Option<Stamp>,
) -> anyhow::Result<Option<(Stamp, TlsAcceptor)>> {
    files.make_missing(names, title)?;
    // Before they are read: what changes meanwhile is seen next time.
    let stamp = [&files.certificate, &files.key].map(|path| stamp(path));
    if used == Some(stamp) {
        return Ok(None);
    }
    Ok(Some((stamp, files.acceptor()?)))
}

fn stamp(path: &Path) -> Option<(SystemTime, u64)> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.modified().ok()?, found.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_was_renewed_is_read_again_and_one_that_is_broken_is_told() {
        let state = tempfile::tempdir().expect("a folder");
        let settings = WebSettings {
            enabled: true,
            listen: vec!["0.0.0.0:1".parse().expect("an address")],
            socket: None,
            certificate: None,
            key: None,
        };
        let made = Files::of(&settings, state.path());
        let names = ["localhost".to_owned()];
        let (stamp, _) = look(&made, &names, "one", None).expect("made").expect("fresh");
        assert!(look(&made, &names, "one", Some(stamp)).expect("read").is_none(), "nothing has changed");
        std::fs::remove_file(&made.certificate).expect("removed");
        let (renewed, _) = look(&made, &names, "other", Some(stamp)).expect("made").expect("another one");
        assert_ne!(renewed, stamp);

        let [certificate, key] = ["own.pem", "own.key"].map(|name| state.path().join(name));
        let own = WebSettings { certificate: Some(certificate.clone()), key: Some(key.clone()), ..settings };
        let own = Files::of(&own, state.path());
        let error = look(&own, &names, "own", None).err().expect("there is none");
        assert!(format!("{error:#}").contains("own.pem"), "{error:#}");
        assert!(!certificate.exists(), "the operator's own is nothing to be made");
        std::fs::copy(&made.certificate, &certificate).expect("copied");
        std::fs::write(&key, "no key").expect("written");
        let error = look(&own, &names, "own", None).err().expect("no key");
        assert!(format!("{error:#}").contains("own.key"), "{error:#}");
        std::fs::copy(&made.key, &key).expect("copied");
        assert!(look(&own, &names, "own", None).expect("both").is_some());
    }
}
