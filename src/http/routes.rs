//! Which path leads where. Every route is written down with its description, so that document and service agree.

use axum::{
    Extension, Router, body::Bytes, extract::DefaultBodyLimit, http::header, middleware::from_fn_with_state,
    response::IntoResponse,
};
use tower_http::{catch_panic::CatchPanicLayer, decompression::RequestDecompressionLayer};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    AppState, MAX_BODY_BYTES, batch, counters, deliveries, dlq, document, edge, events, extract, groups, health,
    members, processed, results, stream, topics,
};

/// The API.
pub fn router(state: AppState) -> Router {
    let (routes, mut document) = documented().split_for_parts();
    document::complete(&mut document);
    // Plain values: writing them to memory cannot fail.
    let document = Bytes::from(serde_json::to_vec(&document).unwrap_or_default());
    finish(routes.layer(Extension(OpenApiText(document))), state)
}

/// `/metrics`, `/livez` and `/readyz` alone, for probes and scrapers (`METRICS_ADDR`).
pub fn probes(state: AppState) -> Router {
    let (routes, _) = probe_routes().split_for_parts();
    finish(routes, state)
}

/// The document, written once.
#[derive(Clone)]
struct OpenApiText(Bytes);

/// This document: OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "service", responses(
    (status = 200, description = "OpenAPI 3.1", body = Object, content_type = "application/json"),
))]
async fn openapi(Extension(OpenApiText(text)): Extension<OpenApiText>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json")], text)
}

fn documented() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(document::empty())
        .routes(routes!(events::publish))
        .routes(routes!(batch::publish_batch))
        .routes(routes!(processed::get))
        .routes(routes!(counters::get))
        .routes(routes!(counters::query))
        .routes(routes!(results::uniques))
        .routes(routes!(results::history))
        .routes(routes!(results::sets))
        .routes(routes!(results::trending))
        .routes(routes!(stream::follow))
        .routes(routes!(topics::list))
        .routes(routes!(dlq::topics))
        .routes(routes!(dlq::list))
        .routes(routes!(dlq::replay))
        .routes(routes!(dlq::purge))
        .routes(routes!(members::list))
        .routes(routes!(groups::list))
        .routes(routes!(groups::lag))
        .routes(routes!(deliveries::list))
        .routes(routes!(health::api_health))
        .routes(routes!(health::health))
        .routes(routes!(openapi))
        .merge(probe_routes())
}

fn probe_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(health::livez)).routes(routes!(health::readyz)).routes(routes!(health::metrics))
}

/// Around the routes, the outermost layer first. All in one call: each further one would box every request once more.
fn finish(routes: Router<AppState>, state: AppState) -> Router {
    let routes = routes.fallback(extract::not_found);
    let edge = from_fn_with_state(state.clone(), edge::edge);
    let panics = CatchPanicLayer::custom(edge::panicked);
    let body = (RequestDecompressionLayer::new(), DefaultBodyLimit::max(MAX_BODY_BYTES));
    match edge::cors(state.parts().cors_origin.as_deref()) {
        Some(cors) => routes.layer((edge, panics, cors, body)),
        None => routes.layer((edge, panics, body)),
    }
    .with_state(state)
}
