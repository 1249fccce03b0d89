//! The way in: a token becomes a cookie.

use axum::extract::{Form, Query, State};
use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::{Extension, extract::rejection::FormRejection};
use maud::html;
use serde::Deserialize;

use super::layout::whole;
use super::problem;
use crate::control::FailureCode;
use crate::web::Context;
use crate::web::access::{self, COOKIE_NAME};
use crate::web::listen::Way;
use crate::web::problem::Problem;

/// How long a browser keeps the cookie, in seconds; the token's own time may be over before.
const COOKIE_TIME: u32 = 400 * 24 * 3600;

/// Where to go afterwards.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Next {
    #[serde(default)]
    next: String,
}

/// What is sent.
#[derive(Debug, Deserialize)]
pub(super) struct Credentials {
    token: String,
    #[serde(default)]
    next: String,
}

pub(super) async fn page(next: Query<Next>) -> Response {
    form(&next.0.next, None).into_response()
}

fn form(next: &str, wrong: Option<&str>) -> maud::Markup {
    let main = html! {
        h1 { "Nuncio" }
        @if let Some(wrong) = wrong { p.problem role="alert" { (wrong) } }
        form.login method="post" action="/login" data-login {
            input type="hidden" name="next" value=(next);
            // For password managers, which keep what they keep under a name.
            input type="text" name="user" value="nuncio" autocomplete="username" hidden;
            p { label for="token" { "Token" } }
            input type="password" id="token" name="token" required autofocus autocomplete="current-password" maxlength="128";
            button.main { "Log in" }
            p.hint { "On the gateway, " code { "nuncio login" } " prints a link that fills this in, and " code { "nuncio token add NAME --role operator" } " makes a token to keep." }
        }
    };
    whole("Log in", None, None, &main)
}

pub(super) async fn login(
    State(context): State<Context>,
    Extension(way): Extension<Way>,
    head: HeaderMap,
    sent: Result<Form<Credentials>, FormRejection>,
) -> Response {
    if !access::is_same_site(&head) {
        return problem(&Problem::new(FailureCode::Forbidden, "another site asked for this in your name"), None);
    }
    let Ok(Form(Credentials { token, next })) = sent else {
        return problem(&Problem::new(FailureCode::BadRequest, "no token was sent"), None);
    };
    let token = token.trim();
    match access::check_login(&context, way, token).await {
        Err(Some(later)) => later,
        Err(None) => {
            let mut response = form(&next, Some("That token is worth nothing, or nothing any more.")).into_response();
            *response.status_mut() = StatusCode::UNAUTHORIZED;
            response
        }
        Ok(_) => {
            let mut response = Redirect::to(inside(&next)).into_response();
            // A token that was found right has no character that a cookie must not have.
            if let Ok(cookie) = HeaderValue::from_str(&cookie(way, token, COOKIE_TIME)) {
                response.headers_mut().insert(SET_COOKIE, cookie);
            }
            response
        }
    }
}

pub(super) async fn logout(Extension(way): Extension<Way>, head: HeaderMap) -> Response {
    if !access::is_same_site(&head) {
        return problem(&Problem::new(FailureCode::Forbidden, "another site asked for this in your name"), None);
    }
    let mut response = Redirect::to("/login").into_response();
    if let Ok(cookie) = HeaderValue::from_str(&cookie(way, "", 0)) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

fn cookie(way: Way, token: &str, seconds: u32) -> String {
    let secure = if matches!(way, Way::Tcp { tls: true, .. }) { "; Secure" } else { "" };
    format!("{COOKIE_NAME}={token}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}")
}

/// A path of ours; `//host` and `/\host` are another site's to browsers.
fn inside(next: &str) -> &str {
    let elsewhere = !next.starts_with('/') || next.starts_with("//") || next.contains('\\');
    if elsewhere || next.chars().any(char::is_control) { "/" } else { next }
}

#[cfg(test)]
mod tests {
    use super::inside;

    #[test]
    fn nobody_is_sent_to_another_site() {
        for (next, to) in [
            ("/devices/press-3", "/devices/press-3"),
            ("", "/"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/a\r\nSet-Cookie: x", "/"),
        ] {
            assert_eq!(inside(next), to, "{next}");
        }
    }
}
