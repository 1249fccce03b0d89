//! An event by HTTP: a POST of its JSON, signed where there is a secret. No redirect is ever followed: what posts here was
//! told where to, and nobody else says so.

use std::error::Error;
use std::path::PathBuf;
use std::time::Duration;

use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::header::{CONTENT_TYPE, USER_AGENT};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, StatusCode, Url};
use sha2::Sha256;

use super::event::Event;
use super::settings::HookSettings;
use crate::control::Secret;

const EVENT: &str = "x-nuncio-event";
const NUMBER: &str = "x-nuncio-number";
const SIGNATURE: &str = "x-nuncio-signature";

/// Why an event was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NotTaken {
    /// Another try may help.
    Now(String),
    /// None will.
    Ever(String),
}

/// Where events go.
pub(super) struct Webhook {
    client: Client,
    url: Url,
    secret: Option<Secret>,
    secret_file: Option<PathBuf>,
}

impl Webhook {
    /// Blocking: reads certificates.
    pub(super) fn new(settings: &HookSettings, url: &Secret) -> Result<Self, String> {
        let url = Url::parse(url.reveal()).map_err(|error| format!("its url: {error}"))?;
        let mut client = Client::builder().redirect(Policy::none()).timeout(settings.timeout);
        for file in &settings.ca {
            let unusable = |error: &dyn Error| format!("ca {} cannot be used: {error}", file.display());
            let text = std::fs::read(file).map_err(|error| unusable(&error))?;
            let certificates = Certificate::from_pem_bundle(&text).map_err(|error| unusable(&error))?;
            client = certificates.into_iter().fold(client, reqwest::ClientBuilder::add_root_certificate);
        }
        let client = client.build().map_err(|error| chain(&error))?;
        let (secret, secret_file) = (settings.secret.clone(), settings.secret_file.clone());
        Ok(Self { client, url, secret, secret_file })
    }

    /// Posts an event once.
    pub(super) async fn post(&self, event: &Event) -> Result<(), NotTaken> {
        let body = event.json();
        let mut request = self
            .client
            .post(self.url.clone())
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("nuncio/", env!("CARGO_PKG_VERSION")))
            .header(EVENT, event.name())
            .header(NUMBER, event.number);
        if let Some(secret) = self.secret().await? {
            request = request.header(SIGNATURE, signature(secret.reveal(), &body));
        }
        match request.body(body).send().await {
            Ok(answer) => judged(answer.status()),
            Err(error) => Err(NotTaken::Now(chain(&error.without_url()))),
        }
    }

    /// Read anew each time: it may have been changed.
    async fn secret(&self) -> Result<Option<Secret>, NotTaken> {
        let Some(file) = self.secret_file.clone() else { return Ok(self.secret.clone()) };
        let read = tokio::task::spawn_blocking(move || Secret::read(&file)).await;
        let read = read.unwrap_or_else(|error| Err(error.to_string()));
        read.map(Some).map_err(|error| NotTaken::Now(format!("no secret to sign with: {error}")))
    }
}

fn judged(status: StatusCode) -> Result<(), NotTaken> {
    let answered = || format!("it was answered with {status}");
    match status {
        _ if status.is_success() => Ok(()),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(NotTaken::Now(answered()))
        }
        _ if status.is_server_error() => Err(NotTaken::Now(answered())),
        _ if status.is_redirection() => Err(NotTaken::Ever(format!("{}, and redirects are not followed", answered()))),
        _ => Err(NotTaken::Ever(answered())),
    }
}

/// HMAC-SHA256 of the body (RFC 2104), in hex.
fn signature(secret: &str, body: &[u8]) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("a key of any length will do");
    mac.update(body);
    let digest = mac.finalize().into_bytes();
    digest.iter().fold("sha256=".to_owned(), |text, byte| format!("{text}{byte:02x}"))
}

/// How long to wait before the next try, of which this many went before.
pub(super) fn pause(tries: u32) -> Duration {
    Duration::from_secs(1 << tries.saturating_sub(1).min(6))
}

/// An error with its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let causes = std::iter::successors(Some(error), |&error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_that_of_rfc_4231() {
        // Test case 2.
        let expected = "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        assert_eq!(signature("Jefe", b"what do ya want for nothing?"), expected);
    }

    #[test]
    fn answers_are_sorted_by_what_can_be_done() {
        for (status, wanted) in [(200, None), (204, None), (301, Some(false)), (307, Some(false)), (404, Some(false))] {
            let judged = judged(StatusCode::from_u16(status).expect("a status"));
            assert_eq!(judged.err().map(|not| matches!(not, NotTaken::Now(_))), wanted, "{status}");
        }
        for status in [408, 429, 500, 503] {
            assert!(
                matches!(judged(StatusCode::from_u16(status).expect("a status")), Err(NotTaken::Now(_))),
                "{status}"
            );
        }
        assert_eq!(pause(1), Duration::from_secs(1));
        assert_eq!(pause(20), Duration::from_secs(64));
    }
}
