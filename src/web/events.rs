//! What happens, as server-sent events (WHATWG HTML, "Server-sent events"): the name of the news is the event's, its JSON
//! the data.

#![expect(unused_qualifications, reason = "utoipa names parameters as it likes")]

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::extract::State;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use serde::Deserialize;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;
use utoipa::IntoParams;

use super::Context;
use super::access::Caller;
use super::api::Asked;
use super::problem::Problem;
use super::tokens::Tokens;
use crate::control::{FailureCode, Follower, Heard, Told};
use crate::device::TokenRecord;

/// So many follow at once.
pub(super) const MAX_FOLLOWERS: usize = 32;
/// Something is sent at least so often, so that a connection that is dead is found.
const KEEP_ALIVE: Duration = Duration::from_secs(20);

/// Whether who follows still may is looked at before each piece, and at least so often.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What to follow.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    /// Only what is about this device, by its name.
    device: Option<String>,
}

/// What happens from now on, as server-sent events
///
/// Each event is named like its `news`; one named `missed` says that some were lost because they were not read in time: ask
/// for the whole again.
#[utoipa::path(get, path = "/events", params(Wanted), tag = "events", responses(
    (status = 200, content_type = "text/event-stream", body = Told),
))]
pub(super) async fn events(
    State(context): State<Context>,
    Extension(caller): Extension<Caller>,
    Asked(wanted): Asked<Wanted>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let place = Arc::clone(&context.0.followers).try_acquire_owned();
    let place = place
        .map_err(|_| Problem::new(FailureCode::Overloaded, format!("{MAX_FOLLOWERS} follow what happens already")))?;
    let worthless = || Problem::new(FailureCode::Unauthorized, "the token has just become worth nothing");
    let token = caller.name.map(|name| context.0.tokens.record(&name).ok_or_else(worthless)).transpose()?;
    let (follower, tokens) = (context.0.feed.follow(), context.0.tokens.clone());
    let following = Following { follower, device: wanted.device, token, tokens, _place: place };
    let stream = unfold(following, |mut following| async { Some((Ok(following.next().await?), following)) });
    Ok(Sse::new(stream).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

struct Following {
    follower: Follower,
    device: Option<String>,
    /// By which it may follow; `None` for the Unix socket.
    token: Option<TokenRecord>,
    tokens: Tokens,
    _place: OwnedSemaphorePermit,
}

impl Following {
    async fn next(&mut self) -> Option<Event> {
        loop {
            let heard = match timeout(LOOK_AGAIN, self.follower.next()).await {
                Ok(heard) => Some(heard?),
                Err(_) => None,
            };
            if self.token.as_ref().is_some_and(|token| !self.tokens.still_holds(token)) {
                return None;
            }
            match heard {
                Some(Heard::Missed(pieces)) => return Some(Event::default().event("missed").data(pieces.to_string())),
                Some(Heard::Told(told)) if self.wants(&told) => return Some(event(&told)),
                Some(Heard::Told(_)) | None => {}
            }
        }
    }

    fn wants(&self, told: &Told) -> bool {
        self.device.as_ref().is_none_or(|device| told.news.device().is_some_and(|about| about.as_str() == device))
    }
}

fn event(told: &Told) -> Event {
    let json = serde_json::to_value(told).unwrap_or_default();
    let name = json.get("news").and_then(|news| news.as_str()).unwrap_or("news").to_owned();
    Event::default().event(name).id(told.number.to_string()).data(json.to_string())
}
