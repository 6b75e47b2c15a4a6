//! How the process is, for people, probes and scrapers. Probes take any query: they are called by many tools.

use std::{collections::BTreeMap, time::Instant};

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use serde::Serialize;
use utoipa::ToSchema;

use super::{AppState, Problem, SERVICE};
use crate::{
    core::time,
    runtime::health::{Level, Stalled},
};

/// How the process is.
#[derive(Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `ok`, `degraded` or `down`: the worst of the parts.
    status: &'static str,
    service: &'static str,
    /// RFC 3339.
    timestamp: String,
    parts: BTreeMap<&'static str, PartAnswer>,
}

/// How a part is.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartAnswer {
    status: &'static str,
    /// Why it is not ok.
    #[serde(skip_serializing_if = "String::is_empty")]
    reason: String,
    /// Since when it has had this status, RFC 3339.
    since: String,
}

/// A probe's good answer.
#[derive(Serialize, ToSchema)]
pub(super) struct ProbeAnswer {
    status: &'static str,
}

/// How the process and its parts are.
#[utoipa::path(get, path = "/api/health", tag = "service", responses(
    (status = 200, description = "ok or degraded", body = HealthAnswer),
    (status = 503, description = "down", body = HealthAnswer),
))]
pub(super) async fn api_health(state: State<AppState>) -> Response {
    health(state).await
}

/// How the process and its parts are.
#[utoipa::path(get, path = "/health", tag = "service", responses(
    (status = 200, description = "ok or degraded", body = HealthAnswer),
    (status = 503, description = "down", body = HealthAnswer),
))]
pub(super) async fn health(State(state): State<AppState>) -> Response {
    let now_ms = chrono::Utc::now().timestamp_millis();
    let (level, parts) = state.parts().health.report(Instant::now());
    let parts = parts.into_iter().map(|part| {
        let lasting_ms = i64::try_from(part.lasting.as_millis()).unwrap_or(i64::MAX);
        let since = time::rfc3339(now_ms.saturating_sub(lasting_ms));
        (part.name, PartAnswer { status: part.level.name(), reason: part.reason, since })
    });
    let status = if level == Level::Down { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let timestamp = time::rfc3339(now_ms);
    let body = HealthAnswer { status: level.name(), service: SERVICE, timestamp, parts: parts.collect() };
    (status, Json(body)).into_response()
}

/// Whether every loop of the process still turns.
#[utoipa::path(get, path = "/livez", tag = "service", responses(
    (status = 200, description = "All loops turn", body = ProbeAnswer),
    (status = 503, description = "A loop hangs; the detail names it", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn livez(State(state): State<AppState>) -> Result<Json<ProbeAnswer>, Problem> {
    let stalled = state.parts().health.stalled(Instant::now());
    if stalled.is_empty() {
        return Ok(Json(ProbeAnswer { status: "ok" }));
    }
    let names = stalled.iter().map(|Stalled { name, silent, allowed }| {
        format!("{name} silent for {} ms (allowed {})", silent.as_millis(), allowed.as_millis())
    });
    Err(refuse("stalled", names.collect()))
}

/// Whether the process can accept events.
#[utoipa::path(get, path = "/readyz", tag = "service", responses(
    (status = 200, description = "It can accept", body = ProbeAnswer),
    (status = 503, description = "It cannot; the detail says why", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn readyz(State(state): State<AppState>) -> Result<Json<ProbeAnswer>, Problem> {
    match state.parts().health.obstacles() {
        none if none.is_empty() => Ok(Json(ProbeAnswer { status: "ready" })),
        obstacles => Err(refuse("not-ready", obstacles)),
    }
}

/// The metrics.
#[utoipa::path(get, path = "/metrics", tag = "service", responses(
    (status = 200, description = "Prometheus' text format", body = String, content_type = "text/plain"),
))]
pub(super) async fn metrics(State(state): State<AppState>) -> Response {
    const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], (state.parts().render_metrics)()).into_response()
}

fn refuse(code: &str, reasons: Vec<String>) -> Problem {
    Problem::named(StatusCode::SERVICE_UNAVAILABLE, code, reasons.join("; "))
}
