//! Groups: who holds what, and how far each is behind.

use axum::{Json, extract::State, http::StatusCode};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    document::values::Key,
    extract::{KeyPath, None as NoParams, Params},
    members::{MemberData, members_of},
};
use crate::runtime::{
    groups::{GroupError, Standing},
    reads::ReadError,
};

/// The groups.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupsAnswer {
    success: bool,
    data: Vec<ReadingGroupData>,
}

/// A group that reads the log.
#[derive(Serialize, ToSchema)]
pub(super) struct ReadingGroupData {
    group: String,
    /// counting or delivery.
    kind: &'static str,
    topics: Vec<String>,
    /// Those that are alive, as the store has them now.
    members: Vec<MemberData>,
}

/// How far a group is behind.
#[derive(Serialize, ToSchema)]
pub(super) struct LagAnswer {
    success: bool,
    data: LagData,
}

/// How far a group is behind, over all of its partitions.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct LagData {
    group: String,
    /// counting or delivery.
    kind: &'static str,
    /// Records that are not finished, over the partitions of which it is known.
    lag: i64,
    /// The longest over the partitions of which it is known.
    lag_seconds: Option<f64>,
    partitions: Vec<PartitionLagData>,
    /// Topics of the group that the log does not have.
    absent_topics: Vec<String>,
}

/// How far a group is behind in a partition.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct PartitionLagData {
    topic: String,
    partition: i32,
    /// The member that holds it.
    member: Option<String>,
    /// The machine of that.
    host: Option<String>,
    /// The lowest offset that is not finished; null where the group has not begun.
    position: Option<i64>,
    /// One past the last readable record; null where the log does not say.
    end: Option<i64>,
    /// Records that are not finished; null where position or end is unknown.
    lag: Option<i64>,
    /// How long ago the first of them was written; 0 where there is none, null where it is unknown.
    lag_seconds: Option<f64>,
}

/// The groups that this configuration names: counting's, and one for each subscription. Who is in them, and who holds what.
#[utoipa::path(get, path = "/api/groups", tag = "service", responses(
    (status = 200, description = "Groups and their members", body = GroupsAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 500, description = "Somebody must mend something", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<GroupsAnswer>, Problem> {
    let groups = state.parts().groups.members().await?;
    let data = groups.into_iter().map(|(group, roster)| ReadingGroupData {
        group: group.name.clone(),
        kind: group.kind.name(),
        topics: group.topics.iter().map(ToString::to_string).collect(),
        members: members_of(&roster),
    });
    Ok(Json(GroupsAnswer { success: true, data: data.collect() }))
}

/// How far a group is behind, in records and seconds, as store and log say it now.
#[utoipa::path(get, path = "/api/groups/{group}/lag", tag = "service",
    params(("group" = inline(Key), Path, description = "The group")), responses(
    (status = 200, description = "Where it stands in each partition", body = LagAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 404, description = "No such group is configured", body = Problem, content_type = "application/problem+json"),
    (status = 500, description = "Somebody must mend something", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "Log or store do not answer", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn lag(
    State(state): State<AppState>,
    KeyPath(group): KeyPath,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<LagAnswer>, Problem> {
    let groups = &state.parts().groups;
    let group = groups.group(&group)?;
    let told = groups.lag(group).await?;
    let data = LagData {
        group: group.name.clone(),
        kind: group.kind.name(),
        lag: told.partitions.iter().filter_map(|standing| standing.lag).fold(0, i64::saturating_add),
        lag_seconds: told.partitions.iter().filter_map(|standing| standing.lag_ms).max().map(seconds),
        partitions: told.partitions.into_iter().map(partition).collect(),
        absent_topics: told.absent,
    };
    Ok(Json(LagAnswer { success: true, data }))
}

fn partition(standing: Standing) -> PartitionLagData {
    let Standing { partition, holder, position, end, lag, lag_ms } = standing;
    let (member, host) = holder.unzip();
    PartitionLagData {
        topic: partition.topic.to_string(),
        partition: partition.partition,
        member: member.map(|member| member.to_string()),
        host,
        position,
        end,
        lag,
        lag_seconds: lag_ms.map(seconds),
    }
}

fn seconds(ms: i64) -> f64 {
    ms as f64 / 1_000.0
}

impl From<GroupError> for Problem {
    fn from(error: GroupError) -> Self {
        let detail = error.to_string();
        match error {
            GroupError::Unknown { nearest, .. } => {
                Self::named(StatusCode::NOT_FOUND, "unknown-group", detail).near(nearest)
            }
            GroupError::Store(error) => ReadError::Store(error).into(),
            GroupError::Log(error) if !error.is_retriable() => {
                Self::named(StatusCode::INTERNAL_SERVER_ERROR, "log-refused", detail)
            }
            GroupError::Log(_) | GroupError::Slow => {
                Self::named(StatusCode::SERVICE_UNAVAILABLE, "log-unavailable", detail)
            }
            GroupError::Corrupt(_) => Self::named(StatusCode::INTERNAL_SERVER_ERROR, "position-unreadable", detail),
        }
    }
}
