//! Who counts what.

use std::collections::BTreeMap;

use axum::{Json, extract::State};
use serde::Serialize;
use utoipa::ToSchema;

use super::{
    AppState, Problem,
    extract::{None as NoParams, Params},
};
use crate::{
    core::card::Card,
    model::{MemberId, Roster},
};

/// The counting group.
#[derive(Serialize, ToSchema)]
pub(super) struct MembersAnswer {
    success: bool,
    data: GroupData,
}

/// The counting group as this member saw it with its last heartbeat.
#[derive(Serialize, ToSchema)]
pub(super) struct GroupData {
    group: String,
    /// The member that answers.
    member: String,
    /// Those that are alive; empty where the member that answers does not count, or was not heard by the store yet.
    members: Vec<MemberData>,
}

/// A member.
#[derive(Default, Serialize, ToSchema)]
pub(super) struct MemberData {
    member: String,
    /// Its machine.
    host: String,
    /// Version of its program.
    version: String,
    /// What it holds, as `topic:partition`: what it counts, or delivers.
    partitions: Vec<String>,
    /// What it has made ready to take over.
    next: Vec<String>,
}

/// The members of the counting group, and which of them counts which partition.
#[utoipa::path(get, path = "/api/members", tag = "service", responses(
    (status = 200, description = "Who counts what", body = MembersAnswer),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn list(
    State(state): State<AppState>,
    Params(NoParams {}): Params<NoParams>,
) -> Result<Json<MembersAnswer>, Problem> {
    let membership = &state.parts().membership;
    let data = GroupData {
        group: membership.group.clone(),
        member: membership.me.to_string(),
        members: members_of(&membership.roster()),
    };
    Ok(Json(MembersAnswer { success: true, data }))
}

/// The members of a group, each with what it holds.
pub(super) fn members_of(roster: &Roster) -> Vec<MemberData> {
    let describe = |(id, about): (&MemberId, &Vec<u8>)| {
        let Card { host, program, .. } = Card::read(about).unwrap_or_default();
        (MemberId::clone(id), MemberData { member: id.to_string(), host, version: program, ..MemberData::default() })
    };
    let mut members: BTreeMap<MemberId, MemberData> = roster.members.iter().map(describe).collect();
    for (partition, lease) in &roster.leases {
        if let Some(holder) = members.get_mut(&lease.holder) {
            holder.partitions.push(partition.to_string());
        }
        if let Some(next) = lease.next.as_ref().and_then(|next| members.get_mut(next)) {
            next.next.push(partition.to_string());
        }
    }
    members.into_values().collect()
}
