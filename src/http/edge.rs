//! What is around every route: metrics, the cap on requests in flight, the deadline, problem answers.

use std::{any::Any, time::Instant};

use axum::{
    body::to_bytes,
    extract::{MatchedPath, Request, State},
    http::{HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};
use tower_http::cors::{AllowOrigin, Any as AnyOf, CorsLayer};

use super::{AppState, Problem, REQUEST_TIMEOUT, problem};

/// Most bytes of a plain error text that are taken into a problem's detail.
const MAX_DETAIL_BYTES: usize = 4_096;

/// Runs a request within the limits, and counts it.
pub(super) async fn edge(
    State(state): State<AppState>,
    matched: Option<MatchedPath>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let response = within_limits(&state, uri.path(), request, next).await;
    let response = as_problem(response, uri.path()).await;
    let route = matched.as_ref().map_or("unmatched", MatchedPath::as_str);
    state.0.metrics.answered(route, &method, response.status(), started.elapsed());
    response
}

async fn within_limits(state: &AppState, path: &str, request: Request, next: Next) -> Response {
    // A busy process must still answer the ones that ask whether it lives.
    let is_probe = matches!(path, "/livez" | "/readyz" | "/metrics" | "/health" | "/api/health");
    let slot = state.0.slots.try_acquire();
    if slot.is_err() && !is_probe {
        return Problem::named(StatusCode::SERVICE_UNAVAILABLE, "overloaded", "too many requests are in flight")
            .into_response();
    }
    match tokio::time::timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            let seconds = REQUEST_TIMEOUT.as_secs();
            let detail = format!("not finished within {seconds} s; what was published may or may not be stored");
            Problem::named(StatusCode::SERVICE_UNAVAILABLE, "timeout", detail).into_response()
        }
    }
}

/// Writes problems, and makes one of every other error that is not JSON: axum's own and the layers'.
async fn as_problem(mut response: Response, path: &str) -> Response {
    let status = response.status();
    let known = match response.extensions_mut().remove::<Problem>() {
        Some(problem) => problem,
        None if !(status.is_client_error() || status.is_server_error()) || is_json(&response) => return response,
        None => {
            let body = std::mem::take(response.body_mut());
            let text = to_bytes(body, MAX_DETAIL_BYTES).await.unwrap_or_default();
            Problem::of(status, detail_of(status, &String::from_utf8_lossy(&text)))
        }
    };
    let rendered = known.at(path).render();
    let (parts, body) = rendered.into_parts();
    // Headers that layers added stay: Allow, Access-Control-Allow-Origin.
    response.headers_mut().remove(header::CONTENT_LENGTH);
    for (name, value) in &parts.headers {
        response.headers_mut().insert(name, value.clone());
    }
    *response.body_mut() = body;
    response
}

fn detail_of(status: StatusCode, text: &str) -> String {
    match status {
        StatusCode::METHOD_NOT_ALLOWED => {
            "the route does not take this method; the header allow names those it takes".to_owned()
        }
        StatusCode::UNSUPPORTED_MEDIA_TYPE if text.is_empty() => {
            "the content-encoding must be gzip or absent".to_owned()
        }
        _ if text.is_empty() => status.canonical_reason().unwrap_or("the request failed").to_owned(),
        _ => text.to_owned(),
    }
}

fn is_json(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    content_type.is_some_and(|value| value.starts_with("application/json") || value.starts_with(problem::MEDIA_TYPE))
}

/// Answers for a handler that panicked: a defect, which ends its request and nothing else.
pub(super) fn panicked(payload: Box<dyn Any + Send + 'static>) -> Response {
    let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| payload.downcast_ref::<String>().cloned()).unwrap_or_default();
    tracing::error!(panic = text, "a request failed by a defect; please report it");
    Problem::of(StatusCode::INTERNAL_SERVER_ERROR, "a defect of streamgauge; its log says more").into_response()
}

/// Lets browsers call from these origins: `*`, or a list separated by commas. `None` where there are none.
pub(super) fn cors(origins: Option<&str>) -> Option<CorsLayer> {
    let origins: Vec<&str> = origins?.split(',').map(str::trim).filter(|origin| !origin.is_empty()).collect();
    let allowed = match origins.as_slice() {
        [] => return None,
        ["*"] => AllowOrigin::any(),
        list => AllowOrigin::list(list.iter().filter_map(|origin| HeaderValue::from_str(origin).ok())),
    };
    Some(CorsLayer::new().allow_origin(allowed).allow_methods(AnyOf).allow_headers(AnyOf))
}
