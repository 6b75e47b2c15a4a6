//! Deliveries to subscriptions, on the member that answers.

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    extract::{None as NoParams, Params},
};
use crate::runtime::delivery::{Shown, ShownPartition};

/// The subscriptions.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveriesAnswer {
    success: bool,
    data: Vec<DeliveryData>,
}

/// A subscription on the member that answers.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct DeliveryData {
    group: String,
    topics: Vec<String>,
    /// Where its events go: scheme, host and port; `handlers of GROUP` where handlers in this process take them.
    target: String,
    /// closed: events go; open: the target has failed many times in a row and is left alone; half-open: one event shows
    /// whether it answers again.
    breaker: &'static str,
    /// Requests under way.
    in_flight: usize,
    /// How many requests the target gets at once now, over all subscriptions; fewer while it slows down.
    target_limit: u32,
    /// Records of these partitions that were not read, and events that are not finished.
    lag: i64,
    /// Events that were read and are not finished.
    unfinished: usize,
    /// The partitions that this member delivers; others have the rest.
    partitions: Vec<DeliveryPartition>,
}

/// A partition that this member delivers.
#[derive(Serialize, ToSchema)]
pub(super) struct DeliveryPartition {
    topic: String,
    partition: i32,
    /// The lowest offset that is not finished.
    offset: i64,
    lag: i64,
    unfinished: usize,
    /// It takes no more, since too much is unfinished.
    waiting: bool,
}

/// The subscriptions of the member that answers, and how they are. Empty where it does not deliver.
#[utoipa::path(get, path = "/api/deliveries", tag = "service", responses(
    (status = 200, description = "Subscriptions, their lag and their breakers", body = DeliveriesAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<DeliveriesAnswer>, Problem> {
    let shown = state.parts().delivery.as_ref().map(|delivery| delivery.shown()).unwrap_or_default();
    Ok(Json(DeliveriesAnswer { success: true, data: shown.into_iter().map(data).collect() }))
}

fn data(shown: Shown) -> DeliveryData {
    DeliveryData {
        group: shown.group,
        topics: shown.topics,
        target: shown.target,
        breaker: shown.breaker.name(),
        in_flight: shown.in_flight,
        target_limit: shown.target_limit,
        lag: shown.partitions.iter().map(|partition| partition.lag).sum(),
        unfinished: shown.partitions.iter().map(|partition| partition.unfinished).sum(),
        partitions: shown.partitions.into_iter().map(partition).collect(),
    }
}

fn partition(shown: ShownPartition) -> DeliveryPartition {
    DeliveryPartition {
        topic: shown.partition.topic.to_string(),
        partition: shown.partition.partition,
        offset: shown.offset,
        lag: shown.lag,
        unfinished: shown.unfinished,
        waiting: shown.is_waiting,
    }
}
