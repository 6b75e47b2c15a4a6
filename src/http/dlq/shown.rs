//! What answers show.

use std::collections::BTreeMap;

use serde::Serialize;
use utoipa::ToSchema;

use crate::{
    core::{
        letter::{Letter, Standing},
        masking::Masking,
        time::rfc3339,
    },
    runtime::dead_letters::{Purged, Replayed},
};

/// In place of a value in which something may be sensitive.
const WITHHELD: &str =
    "(not shown: this topic has sensitive fields, and the value is no JSON in which they could be masked)";

/// A dead letter.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct LetterData {
    /// Where it lies: topic, partition and offset.
    letter: String,
    /// `waiting`, `parked` (replayed as often as may be) or `unreplayable`.
    state: &'static str,
    /// Why it cannot be replayed.
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<&'static str>,
    /// When it was written, RFC 3339: the time of the last attempt.
    written_at: String,
    /// The event's type, as far as the record names one.
    event_type: Option<String>,
    /// Why the record could not be processed: a code.
    reason: String,
    /// The same in words.
    message: String,
    /// The group that failed.
    group: String,
    /// How often it tried.
    attempts: String,
    /// When it tried first, RFC 3339.
    first_attempt_at: String,
    /// The target's last answer; null when counting.
    status: Option<u16>,
    /// Where the original lies: topic, partition and offset.
    origin: Option<String>,
    /// The original's key, as text.
    key: Option<String>,
    /// How often the record was replayed before.
    replays: u32,
    /// When the original happened, RFC 3339. Only where asked for in full, as what follows.
    #[serde(skip_serializing_if = "Option::is_none")]
    original_at: Option<String>,
    /// The original's headers.
    #[serde(skip_serializing_if = "Option::is_none")]
    headers: Option<Vec<HeaderData>>,
    /// The original's value, as text.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<String>,
}

/// A header.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct HeaderData {
    name: String,
    value: String,
}

impl LetterData {
    pub(super) fn of(letter: &Letter, masking: &Masking<'_>, max_replays: u32, is_full: bool) -> Self {
        let (state, why) = match letter.standing(max_replays) {
            Standing::Waiting => ("waiting", None),
            Standing::Parked => ("parked", None),
            Standing::Never(why) => ("unreplayable", Some(why)),
        };
        let header =
            |(name, value): &(String, Vec<u8>)| HeaderData { name: name.clone(), value: masking.header(name, value) };
        let value = letter.value.as_deref().filter(|_| is_full);
        Self {
            letter: letter.place(),
            state,
            why,
            written_at: rfc3339(letter.written_ms),
            event_type: letter.event_type(),
            reason: letter.reason.clone(),
            message: letter.message.clone(),
            group: letter.group.clone(),
            attempts: letter.attempts.clone(),
            first_attempt_at: letter.first_attempt_at.clone(),
            status: letter.status,
            origin: letter.source.as_ref().map(|(topic, partition, offset)| format!("{topic}:{partition}:{offset}")),
            key: letter.key.as_deref().map(|key| masking.key(key)),
            replays: letter.replays,
            original_at: letter.original_ms.filter(|_| is_full).map(rfc3339),
            headers: is_full.then(|| letter.headers.iter().map(header).collect()),
            value: value.map(|value| masking.value(value).unwrap_or_else(|| WITHHELD.to_owned())),
        }
    }
}

/// What a call has replayed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct ReplayedData {
    /// Dead letters whose record was sent again; in a dry run, would be.
    replayed: u64,
    /// Left out, since they were replayed as often as may be.
    parked: u64,
    /// Left out, since they cannot be replayed: how many for each reason.
    unreplayable: BTreeMap<&'static str, u64>,
    /// Not taken by the topic; they wait on.
    refused: u64,
    /// Some of those that were not taken.
    refusals: Vec<RefusalData>,
    /// Dead letters that were looked at.
    looked_at: u64,
    /// Where the next call goes on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

/// A dead letter whose record its topic did not take.
#[derive(Serialize, ToSchema)]
pub(in crate::http) struct RefusalData {
    letter: String,
    why: String,
}

impl From<Replayed> for ReplayedData {
    fn from(told: Replayed) -> Self {
        Self {
            replayed: told.replayed,
            parked: told.parked,
            unreplayable: told.never,
            refused: told.refused,
            refusals: told.refusals.into_iter().map(|(letter, why)| RefusalData { letter, why }).collect(),
            looked_at: told.looked_at,
            cursor: told.cursor.map(|cursor| cursor.to_string()),
        }
    }
}

/// What a call has purged.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(in crate::http) struct PurgedData {
    /// Dead letters that were purged; in a dry run, would be.
    purged: u64,
    /// Those of them that are gone from the broker.
    deleted: u64,
    /// Those of them that lie there still and are left out everywhere, since something that is not purged lies before them.
    hidden: u64,
    /// Offsets that the broker deleted, with those of dead letters that were replayed or purged before.
    trimmed: u64,
    /// Why the broker did not delete what it could have.
    #[serde(skip_serializing_if = "Option::is_none")]
    undeleted: Option<String>,
    /// Dead letters that were looked at one by one.
    looked_at: u64,
    /// Where the next call goes on; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
}

impl From<Purged> for PurgedData {
    fn from(told: Purged) -> Self {
        let Purged { purged, deleted, hidden, trimmed, undeleted, looked_at, cursor } = told;
        let cursor = cursor.map(|cursor| cursor.to_string());
        Self { purged, deleted, hidden, trimmed, undeleted, looked_at, cursor }
    }
}
