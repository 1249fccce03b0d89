//! REST: paths, what each asks of the gateway, and the document that describes them.

mod asked;
mod devices;
mod gateway;
mod updates;

use axum::Router;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header::CONTENT_TYPE;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{OpenApi, RefOr, ResponseBuilder};
use utoipa::{OpenApi as _, ToSchema as _};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{Context, body, events, metrics};
use crate::control::Failure;

pub(super) use asked::{Asked, Named};
pub(super) use devices::status as device_status;
pub(super) use updates::{Begun, First, begin_flash, begin_rollback};

/// Largest body that is no form with an image, in bytes.
const MAX_BODY: usize = 64 << 10;
/// Where all of it is.
const BASE: &str = "/api/v1";

#[derive(utoipa::OpenApi)]
#[openapi(info(
    title = "Nuncio",
    description = "What a gateway sees and can be asked, in the words of its command line. Over TCP each request carries \
                   `Authorization: Bearer TOKEN` (`nuncio token add` makes one); over the Unix socket the permissions of its \
                   file decide. A refusal is a `Failure` with a `hint` where there is a remedy.",
    license(name = "MIT OR Apache-2.0", identifier = "MIT OR Apache-2.0"),
))]
struct Document;

/// What takes a token, and the description of all of it.
pub(super) fn routes(largest: usize) -> Router<Context> {
    let (routes, document) = documented(largest).split_for_parts();
    let metrics_too = Router::new().route("/metrics", axum::routing::get(metrics::metrics));
    // As text it takes a hundredth of what it takes as a tree. It always serialises: it is made of maps with names and texts.
    let text = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    let told = move || std::future::ready(([(CONTENT_TYPE, "application/json")], text.clone()));
    let described = Router::new().route(&format!("{BASE}/openapi.json"), axum::routing::get(told));
    routes.merge(metrics_too).merge(described)
}

/// What is open to everybody: whether the gateway lives, and nothing else of it.
pub(super) fn open_routes() -> Router<Context> {
    Router::new().route("/healthz", axum::routing::get(gateway::health))
}

fn documented(largest: usize) -> OpenApiRouter<Context> {
    let all = OpenApiRouter::new()
        .routes(routes!(gateway::gateway))
        .routes(routes!(gateway::status))
        .routes(routes!(gateway::machine))
        .routes(routes!(gateway::reload))
        .routes(routes!(metrics::metrics))
        .routes(routes!(events::events))
        .routes(routes!(devices::devices))
        .routes(routes!(devices::device, devices::forget))
        .routes(routes!(devices::rename))
        .routes(routes!(devices::approve))
        .routes(routes!(devices::why))
        .routes(routes!(devices::points))
        .routes(routes!(devices::who))
        .routes(routes!(devices::identify))
        .routes(routes!(updates::history_of))
        .routes(routes!(updates::history))
        .routes(routes!(updates::update))
        .routes(routes!(updates::rollback))
        .routes(routes!(updates::cancel))
        .routes(routes!(updates::brakes, updates::brake))
        .layer(axum::middleware::from_fn(body::in_time))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .merge(
            OpenApiRouter::new()
                .routes(routes!(updates::flash))
                .routes(routes!(updates::plan))
                .layer(DefaultBodyLimit::max(largest)),
        );
    let mut nested = OpenApiRouter::with_openapi(Document::openapi()).nest(BASE, all);
    describe(nested.get_openapi_mut());
    nested
}

/// What holds for every operation: a token, and how it is refused.
fn describe(document: &mut OpenApi) {
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).build();
    let components = document.components.get_or_insert_default();
    components.add_security_scheme("token", SecurityScheme::Http(token));
    let mut schemas = vec![(Failure::name().into_owned(), <Failure as utoipa::PartialSchema>::schema())];
    Failure::schemas(&mut schemas);
    components.schemas.extend(schemas);
    document.security = Some(vec![SecurityRequirement::new("token", [] as [&str; 0])]);
    for operation in operations(document) {
        for (status, why) in REFUSALS {
            let refusal = ResponseBuilder::new().description(*why).content(
                "application/json",
                utoipa::openapi::ContentBuilder::new()
                    .schema(Some(RefOr::Ref(utoipa::openapi::Ref::from_schema_name(Failure::name()))))
                    .build(),
            );
            let known = &mut operation.responses.responses;
            known.entry((*status).to_owned()).or_insert_with(|| RefOr::T(refusal.build()));
        }
    }
}

const REFUSALS: &[(&str, &str)] = &[
    ("400", "The request is malformed"),
    ("401", "No token, or one that is worth nothing"),
    ("403", "The token may only read, or another site asked"),
    ("404", "There is no such thing"),
    ("408", "It took too long to come"),
    ("409", "Not now: another update is under way, or the board cannot be updated"),
    ("413", "It is larger than may be"),
    ("429", "Asked too often; `Retry-After` says when again"),
    ("500", "The gateway failed"),
    ("503", "Too much to do, or stopping"),
];

fn operations(document: &mut OpenApi) -> impl Iterator<Item = &mut utoipa::openapi::path::Operation> {
    document.paths.paths.values_mut().flat_map(|item| {
        [&mut item.get, &mut item.post, &mut item.put, &mut item.delete, &mut item.patch].into_iter().flatten()
    })
}
