//! The REST API and the page: what `control` offers, over HTTP.
//!
//! Two ways in. The Unix socket, where the permissions of the file decide, and whoever gets through may do everything. And
//! TCP, with a token: in the `Authorization` header, or in the cookie that the page's login sets; over TLS where other
//! machines reach it. Below `/api/v1` JSON is spoken, described by `/api/v1/openapi.json`; all else is the page, made here
//! as HTML, which works without scripts and is livelier with them.
//!
//! It knows nothing of the gateway's inside: it asks through a [`Door`] and hears through a [`Feed`], as the Unix socket of
//! the command line does. Driven by `gateway`, which starts it, and by who connects.

mod access;
mod api;
mod body;
mod events;
mod listen;
mod metrics;
mod page;
mod problem;
mod rate;
mod settings;
mod tls;
mod tokens;
mod upload;

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use tokio::sync::mpsc;

use crate::control::{Door, Feed};

pub use settings::WebSettings;
pub use tokens::{MintError, Tokens};

/// How often one peer may ask: a page with its parts at once, then ten a second.
const RATE: (u32, Duration) = (200, Duration::from_millis(100));
/// How often one peer may be wrong about its token.
const WRONG: (u32, Duration) = (10, Duration::from_secs(6));

/// What this room is given.
#[derive(Debug)]
pub struct Setup {
    /// `[web]`.
    pub settings: WebSettings,
    /// The state folder: a certificate that was made, images on their way in, the socket where no other is named.
    pub state: PathBuf,
    /// Largest image, in bytes.
    pub max_image: u64,
    /// The gateway's name, for the certificate.
    pub name: String,
    /// The way in.
    pub door: Door,
    /// What happens.
    pub feed: Feed,
    /// Who may.
    pub tokens: Tokens,
    /// What keeps it from listening, in words; `None` when nothing does any more.
    pub trouble: mpsc::Sender<Option<String>>,
}

/// What all handlers know.
#[derive(Debug, Clone)]
struct Context(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    door: Door,
    feed: Feed,
    tokens: Tokens,
    uploads: upload::Uploads,
    counts: metrics::Counts,
    rate: rate::Rate,
    wrong: rate::Rate,
    /// One token that is not known by heart is looked at a time: guesses that come at once count one by one.
    guessing: tokio::sync::Mutex<()>,
    followers: Arc<tokio::sync::Semaphore>,
}

/// Listens, if it shall. What cannot be bound is tried again and told meanwhile; nothing here keeps a gateway from starting.
///
/// # Errors
/// When the folder for images cannot be emptied.
pub fn spawn(setup: Setup) -> anyhow::Result<()> {
    let Setup { settings, state, max_image, name, door, feed, tokens, trouble } = setup;
    if !settings.enabled {
        return Ok(());
    }
    let largest = usize::try_from(max_image).unwrap_or(usize::MAX).saturating_add(upload::MAX_AROUND);
    let context = Context(Arc::new(Shared {
        door,
        tokens,
        uploads: upload::Uploads::new(&state.join("uploads"), max_image)?,
        counts: metrics::Counts::follow(&feed),
        feed,
        rate: rate::Rate::new(RATE.0, RATE.1),
        wrong: rate::Rate::new(WRONG.0, WRONG.1),
        guessing: tokio::sync::Mutex::default(),
        followers: Arc::new(tokio::sync::Semaphore::new(events::MAX_FOLLOWERS)),
    }));
    listen::spawn(&settings, &state, &name, &router(context, largest), trouble);
    Ok(())
}

/// Where the page is, for a person: at the address that most browsers reach.
pub fn page_url(settings: &WebSettings) -> Option<String> {
    let address = settings.listen.iter().min_by_key(|address| address.ip().is_loopback())?;
    let scheme = if listen::needs_tls(address) { "https" } else { "http" };
    let mut shown = *address;
    if address.ip().is_unspecified() {
        shown.set_ip(listen::outward(address).unwrap_or_else(|| Ipv4Addr::LOCALHOST.into()));
    }
    Some(format!("{scheme}://{shown}")).filter(|_| settings.enabled)
}

/// `largest`: a form with an image has at most so many bytes.
fn router(context: Context, largest: usize) -> Router {
    let open = api::open_routes().merge(page::open_routes());
    let closed = api::routes(largest).merge(page::routes(largest));
    let closed = closed.layer(axum::middleware::from_fn_with_state(context.clone(), access::authorize));
    let all = open.merge(closed).fallback(page::not_found).method_not_allowed_fallback(problem::wrong_method);
    all.layer(axum::middleware::from_fn_with_state(context.clone(), access::guard)).with_state(context)
}

fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
