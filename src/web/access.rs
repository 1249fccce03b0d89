//! Who may: before a request comes to its handler, and what every answer tells the browser.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use axum::Extension;
use axum::extract::{Request, State};
use axum::http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_SECURITY_POLICY, COOKIE, HOST, ORIGIN, REFERRER_POLICY, RETRY_AFTER,
    WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use axum::http::{HeaderMap, HeaderValue, Method, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::listen::Way;
use super::problem::Problem;
use super::tokens::Holder;
use super::{Context, page};
use crate::control::FailureCode;
use crate::device::Role;

/// The cookie that holds a browser's token.
pub(super) const COOKIE_NAME: &str = "nuncio";

/// So much of a path is logged, in characters.
const MAX_PATH: usize = 128;

/// No script but our own file, nothing from elsewhere, nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      form-action 'self'; base-uri 'none'; frame-ancestors 'none'";

/// Who asks, as handlers see it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Caller {
    /// The token's name; `None` for the Unix socket.
    pub(super) name: Option<String>,
    /// What it may do.
    pub(super) role: Role,
}

impl Caller {
    pub(super) fn is_operator(&self) -> bool {
        self.role == Role::Operator
    }
}

impl From<Holder> for Caller {
    fn from(holder: Holder) -> Self {
        Self { name: Some(holder.name), role: holder.role }
    }
}

/// What holds for every request: how often, and what the answer's head says.
pub(super) async fn guard(State(context): State<Context>, request: Request, next: Next) -> Response {
    let way = request.extensions().get::<Way>().copied();
    if let Some(Way::Tcp { peer, .. }) = way
        && let Err(wait) = context.0.rate.take(peer, Instant::now())
    {
        context.0.counts.answered(429);
        return later("too many requests", wait);
    }
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let mut response = next.run(request).await;
    let status = response.status();
    context.0.counts.answered(status.as_u16());
    if status.is_client_error() || status.is_server_error() {
        let path: String = uri.path().chars().take(MAX_PATH).collect();
        tracing::debug!(%method, path, status = status.as_u16(), ?way, "not done what somebody asked for");
    }
    let head = response.headers_mut();
    head.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    head.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    head.insert(X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    head.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    head.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// What holds for all but what is open to everybody: who asks, and whether that one may.
pub(super) async fn authorize(
    State(context): State<Context>,
    Extension(way): Extension<Way>,
    mut request: Request,
    next: Next,
) -> Response {
    let is_api = is_api(request.uri());
    let caller = match caller(&context, way, request.headers()).await {
        Ok(caller) => caller,
        Err(Refused::Wait(wait)) => return later("too many wrong tokens", wait),
        Err(Refused::Who) if is_api => return who_are_you(),
        Err(Refused::Who) => {
            return Redirect::to(&page::login_for(!is_safe(request.method()), request.uri())).into_response();
        }
    };
    if !is_safe(request.method()) {
        if way != Way::Socket && !is_same_site(request.headers()) {
            return refuse(is_api, "another site asked for this in your name");
        }
        if !caller.is_operator() {
            return refuse(is_api, "this takes a token of an operator, and yours may only read");
        }
    }
    request.extensions_mut().insert(caller);
    next.run(request).await
}

enum Refused {
    Who,
    Wait(Duration),
}

async fn caller(context: &Context, way: Way, head: &HeaderMap) -> Result<Caller, Refused> {
    let Way::Tcp { peer, .. } = way else { return Ok(Caller { name: None, role: Role::Operator }) };
    let token = token(head).ok_or(Refused::Who)?;
    check(context, peer, token).await
}

/// Whose a token is; a peer that is wrong too often has to wait.
async fn check(context: &Context, peer: IpAddr, token: &str) -> Result<Caller, Refused> {
    // Somebody else behind the same address may be wrong all the time.
    if let Some(holder) = context.0.tokens.remembered(token) {
        return Ok(holder.into());
    }
    // In a task of its own: it counts also for a peer that does not wait for its answer.
    let (context, token) = (context.clone(), token.to_owned());
    let guess = tokio::spawn(async move { guess(&context, peer, &token).await });
    guess.await.unwrap_or(Err(Refused::Who))
}

async fn guess(context: &Context, peer: IpAddr, token: &str) -> Result<Caller, Refused> {
    let _turn = context.0.guessing.lock().await;
    context.0.wrong.has_some(peer, Instant::now()).map_err(Refused::Wait)?;
    match context.0.tokens.holder(token).await {
        Some(holder) => Ok(holder.into()),
        None => {
            tracing::info!(%peer, "refused: a token that is worth nothing");
            context.0.wrong.take(peer, Instant::now()).map_err(Refused::Wait)?;
            Err(Refused::Who)
        }
    }
}

/// For the login: whether a token is good, and else the answer.
pub(super) async fn check_login(context: &Context, way: Way, token: &str) -> Result<Caller, Option<Response>> {
    let Way::Tcp { peer, .. } = way else { return Ok(Caller { name: None, role: Role::Operator }) };
    check(context, peer, token).await.map_err(|refused| match refused {
        Refused::Who => None,
        Refused::Wait(wait) => Some(later("too many wrong tokens", wait)),
    })
}

fn token(head: &HeaderMap) -> Option<&str> {
    let bearer = || head.get(AUTHORIZATION)?.to_str().ok()?.strip_prefix("Bearer ");
    bearer().or_else(|| cookie(head))
}

fn cookie(head: &HeaderMap) -> Option<&str> {
    let cookies = head.get_all(COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE_NAME).map(|(_, value)| value)
}

fn is_safe(method: &Method) -> bool {
    matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// Browsers say where a request comes from (Fetch Metadata, and Origin where they do not know that); programs say nothing.
pub(super) fn is_same_site(head: &HeaderMap) -> bool {
    let text = |value: Option<&HeaderValue>| value.and_then(|value| value.to_str().ok()).map(str::to_owned);
    if let Some(site) = text(head.get("sec-fetch-site")) {
        return matches!(site.as_str(), "same-origin" | "none");
    }
    match (text(head.get(ORIGIN)), text(head.get(HOST))) {
        (Some(origin), Some(host)) => origin.split_once("://").is_some_and(|(_, from)| from == host),
        (Some(_), None) => false,
        (None, _) => true,
    }
}

fn who_are_you() -> Response {
    let mut problem = Problem::new(FailureCode::Unauthorized, "no token, or one that is worth nothing (any more)");
    problem.0.hint = Some("`nuncio token add NAME` makes one; send it as `Authorization: Bearer TOKEN`".to_owned());
    let mut response = problem.into_response();
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"nuncio\""));
    response
}

fn refuse(is_api: bool, why: &str) -> Response {
    answer(is_api, Problem::new(FailureCode::Forbidden, why))
}

/// A refusal for a program, or for a person.
pub(super) fn answer(is_api: bool, problem: Problem) -> Response {
    if is_api { problem.into_response() } else { page::problem(&problem, None) }
}

/// Whether a program asks, which wants JSON.
pub(super) fn is_api(uri: &Uri) -> bool {
    uri.path().starts_with("/api/") || uri.path() == "/metrics"
}

fn later(why: &str, wait: Duration) -> Response {
    let seconds = wait.as_secs().saturating_add(1);
    let mut response = Problem::new(FailureCode::TooOften, format!("{why}: again in {seconds} s")).into_response();
    response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(seconds));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.parse().expect("a name"), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn a_request_of_another_site_is_known_by_what_browsers_say() {
        assert!(is_same_site(&head(&[])), "a program");
        assert!(is_same_site(&head(&[("sec-fetch-site", "same-origin")])));
        for site in ["cross-site", "same-site", "nonsense"] {
            assert!(!is_same_site(&head(&[("sec-fetch-site", site)])), "{site}");
        }
        assert!(is_same_site(&head(&[("origin", "http://pi:8080"), ("host", "pi:8080")])));
        assert!(!is_same_site(&head(&[("origin", "http://pi:80"), ("host", "pi:8080")])), "another port");
        assert!(!is_same_site(&head(&[("origin", "null"), ("host", "pi:8080")])));
    }

    #[test]
    fn a_token_is_found_in_either_place() {
        assert_eq!(token(&head(&[("authorization", "Bearer a.b")])), Some("a.b"));
        assert_eq!(token(&head(&[("cookie", "x=1; nuncio=nuncio.a.b ; y=2")])), Some("nuncio.a.b"));
        assert_eq!(token(&head(&[("authorization", "Basic eDp5")])), None);
    }
}
