//! One GET, its redirects and its answer, sorted by what can be done about it.

use std::error::Error;
use std::time::Duration;

use reqwest::header::{ACCEPT_ENCODING, HeaderMap, HeaderValue, LOCATION};
use reqwest::{Client, Method, Response, StatusCode};
use tokio::time::timeout;
use url::Url;

use crate::device::masked_uri;
use crate::update::policy::{ForbiddenAddress, Policy};
use crate::update::table::{Refusal, Refused};
use crate::update::uri::ImageUri;

/// Why a request brought nothing, or not all.
#[derive(Debug)]
pub(super) enum Stop {
    /// Another try may help.
    Broken(String),
    /// None will.
    Refused(Refused),
}

impl From<Refused> for Stop {
    fn from(refused: Refused) -> Self {
        Self::Refused(refused)
    }
}

/// The client and the rules under which it is used.
#[derive(Debug, Clone)]
pub(super) struct Http {
    pub(super) client: Client,
    /// For what the gateway serves itself.
    pub(super) own: Option<Client>,
    pub(super) policy: Policy,
    pub(super) redirects: u32,
    pub(super) stalled: Duration,
}

impl Http {
    /// Asks for a URI and follows redirects, each checked like a first URI. The answer is 2xx, 404, 410, 412 or 416.
    pub(super) async fn get(&self, uri: &Url, headers: &HeaderMap) -> Result<Response, Stop> {
        let mut target = uri.clone();
        for _ in 0..=self.redirects {
            let response = self.ask(&target, headers).await?;
            if !response.status().is_redirection() || response.status() == StatusCode::NOT_MODIFIED {
                return sorted(response, &target);
            }
            target = redirected(&target, &response)?;
            self.policy.check(&target)?;
        }
        let reason = format!("{} leads through more than {} redirects", masked_uri(uri.as_str()), self.redirects);
        Err(Stop::Refused(Refused::new(Refusal::BadUri, reason)))
    }

    async fn ask(&self, target: &Url, headers: &HeaderMap) -> Result<Response, Stop> {
        let own = self.own.as_ref().filter(|_| self.policy.is_own(target));
        let request = own.unwrap_or(&self.client).request(Method::GET, target.clone()).headers(headers.clone());
        let request = request.header(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match timeout(self.stalled, request.send()).await {
            Ok(Ok(response)) => Ok(response),
            Ok(Err(error)) => Err(unanswered(error, target)),
            Err(_) => Err(self.silent(target)),
        }
    }

    /// The next piece of an answer; `None` at its end.
    pub(super) async fn piece(&self, response: &mut Response, uri: &Url) -> Result<Option<Vec<u8>>, Stop> {
        match timeout(self.stalled, response.chunk()).await {
            Ok(Ok(piece)) => Ok(piece.map(|bytes| bytes.to_vec())),
            Ok(Err(error)) => {
                Err(Stop::Broken(format!("{}: {}", masked_uri(uri.as_str()), chain(&error.without_url()))))
            }
            Err(_) => Err(self.silent(uri)),
        }
    }

    fn silent(&self, uri: &Url) -> Stop {
        let patience = humantime::format_duration(self.stalled);
        Stop::Broken(format!("{}: nothing came for {patience}", masked_uri(uri.as_str())))
    }
}

fn redirected(from: &Url, response: &Response) -> Result<Url, Stop> {
    let location = response.headers().get(LOCATION).and_then(|value| value.to_str().ok());
    let nowhere = || Refused::new(Refusal::BadUri, format!("{} redirects to no URI", masked_uri(from.as_str())));
    let target = location.and_then(|location| from.join(location).ok()).ok_or_else(nowhere)?;
    Ok(ImageUri::parse(target.as_str())?.request)
}

fn sorted(response: Response, uri: &Url) -> Result<Response, Stop> {
    let status = response.status();
    let answered = || format!("{} answered {status}", masked_uri(uri.as_str()));
    match status {
        _ if status.is_success() => Ok(response),
        StatusCode::NOT_FOUND
        | StatusCode::GONE
        | StatusCode::PRECONDITION_FAILED
        | StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            Err(Stop::Broken(answered()))
        }
        _ if status.is_server_error() => Err(Stop::Broken(answered())),
        _ => Err(Stop::Refused(Refused::new(Refusal::ConnectionLost, answered()))),
    }
}

/// A request without an answer: forbidden by policy, or worth another try.
fn unanswered(error: reqwest::Error, uri: &Url) -> Stop {
    let error = error.without_url();
    let reason = format!("{}: {}", masked_uri(uri.as_str()), chain(&error));
    match causes(&error).find_map(|cause| cause.downcast_ref::<ForbiddenAddress>()).is_some() {
        true => Stop::Refused(Refused::new(Refusal::BadUri, reason)),
        false => Stop::Broken(reason),
    }
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error| error.source())
}

/// An error with its causes in one line.
fn chain(error: &(dyn Error + 'static)) -> String {
    let texts: Vec<String> = causes(error).map(ToString::to_string).collect();
    texts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_that_resolves_to_the_gateway_is_refused_where_the_connection_is_made() {
        let policy = Policy::default();
        let client = Client::builder().dns_resolver(policy.resolver()).no_proxy().build().expect("a client");
        let http = Http { client, own: None, policy, redirects: 0, stalled: Duration::from_secs(20) };
        let uri = Url::parse("http://localhost:9/a.bin").expect("a URI");
        let stop = http.get(&uri, &HeaderMap::new()).await.expect_err("refused");
        assert!(matches!(&stop, Stop::Refused(refused) if refused.why == Refusal::BadUri), "{stop:?}");
    }
}
