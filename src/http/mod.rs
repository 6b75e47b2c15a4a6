//! The API (SPEC 6): routes, the edge around them, and serving.
//!
//! A request passes the edge (metrics, a cap on requests in flight, a deadline, problem answers), then CORS, gzip and the
//! body's limit, then its handler. Handlers only translate: what is done lives in [`crate::runtime`].

mod after;
mod batch;
mod counters;
mod deliveries;
mod dlq;
mod document;
mod edge;
mod events;
mod extract;
mod groups;
mod health;
mod members;
mod metrics;
mod problem;
mod processed;
mod results;
mod routes;
mod serve;
mod stream;
mod topics;

use std::{sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;

use crate::{
    catalog::plan::Catalog,
    runtime::{
        changes::Changes, counted::Counted, dead_letters::DeadLetters, delivery::Delivery, groups::Groups,
        health::Health, membership::Membership, publish::Publisher, reads::Reads, tracking::Tracking,
    },
};

pub use problem::Problem;
pub use routes::{probes, router};
pub use serve::{serve, serve_probes};

/// Most bytes of a request's body, before and after decompression.
pub const MAX_BODY_BYTES: usize = 8 * 1024 * 1024;
/// Most events of one batch.
pub const MAX_BATCH_EVENTS: usize = 10_000;
/// Most counters of one query, and most items of one answer.
pub const MAX_ITEMS: usize = 1_000;
/// Most bytes of a key in a request.
pub const MAX_KEY_BYTES: usize = 1_024;
/// Most requests in flight; beyond it the answer is 503. Probes and metrics are let through.
pub const MAX_REQUESTS: usize = 4_096;
/// Most open connections; further ones wait in the listener's backlog.
pub const MAX_CONNECTIONS: usize = 4_096;
/// How long a client may take to send a request's head, and how long an idle connection stays open.
pub const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to send a request's body.
pub const BODY_READ_TIMEOUT: Duration = Duration::from_secs(15);
/// How long a request may take as a whole.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// What `Retry-After` says, seconds.
pub const RETRY_AFTER_S: u32 = 1;
/// The service's name in answers.
pub const SERVICE: &str = "streamgauge";

/// What handlers work with. Cheap to clone.
#[derive(Clone)]
pub struct AppState(Arc<Shared>);

/// The parts of an [`AppState`].
pub struct Parts {
    /// Publishes events; absent where this process does not (`ROLES`).
    pub publisher: Option<Publisher>,
    /// Reads results.
    pub reads: Arc<Reads>,
    /// Knows whether an event is counted.
    pub counted: Arc<Counted>,
    /// Tells what became of events.
    pub tracking: Arc<Tracking>,
    /// Lets counters be followed.
    pub changes: Arc<Changes>,
    /// The service takes no more requests: answers that have no end end now.
    pub ending: CancellationToken,
    /// Dead letters.
    pub dead_letters: Arc<DeadLetters>,
    /// What is configured.
    pub catalog: Arc<Catalog>,
    /// How the process is.
    pub health: Arc<Health>,
    /// Who counts what.
    pub membership: Arc<Membership>,
    /// The groups that read the log.
    pub groups: Arc<Groups>,
    /// Deliveries to subscriptions; absent where this process has none.
    pub delivery: Option<Arc<Delivery>>,
    /// The metrics as Prometheus' text.
    pub render_metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Origins that browsers may call from: `*`, or a list separated by commas (`CORS_ORIGIN`); `None` allows none.
    pub cors_origin: Option<String>,
}

struct Shared {
    parts: Parts,
    metrics: metrics::HttpMetrics,
    /// Requests in flight.
    slots: tokio::sync::Semaphore,
}

impl AppState {
    /// Wires the handlers to their parts. Make it after the metrics recorder is installed: handles are taken here.
    pub fn new(parts: Parts) -> Self {
        let metrics = metrics::HttpMetrics::new(&parts.catalog);
        Self(Arc::new(Shared { parts, metrics, slots: tokio::sync::Semaphore::new(MAX_REQUESTS) }))
    }

    fn parts(&self) -> &Parts {
        &self.0.parts
    }

    fn publisher(&self) -> Result<&Publisher, Problem> {
        self.parts().publisher.as_ref().ok_or_else(|| {
            let detail = "this process does not publish (ROLES): send events to one that does";
            Problem::named(StatusCode::FORBIDDEN, "role-is-off", detail)
        })
    }
}
