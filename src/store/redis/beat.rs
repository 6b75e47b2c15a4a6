//! Heartbeats: `beat.lua`, and the positions in the same exchange; and a group as it is without taking part: `roster.lua`.

use std::collections::{BTreeMap, BTreeSet};

use fred::types::Value;

use super::{
    CALL_DEADLINE, RedisStore,
    failure::store_error,
    lanes::Purpose,
    positions,
    reading::{corrupt, list, number, text},
};
use crate::{
    core::roster::{self, BeatError, MAX_LEASES, MAX_MEMBERS, MAX_STEPS},
    model::{Beat, Beaten, Lease, LeaseStep, MemberId, Roster, StoredPosition, TopicPartition},
    store::{Store, StoreError},
};

/// Takes a beat in and reads positions, in one exchange.
pub(super) async fn run(
    store: &RedisStore,
    beat: &Beat,
    partitions: &[TopicPartition],
) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
    roster::check(beat).map_err(|error| StoreError::refused_beat(beat, error))?;
    let doing = format!("beating for group {:?}", beat.group);
    let keys = keys(&store.layouts.common.prefix, &beat.group);
    // In a cluster the shards lie on other servers, which know nothing of an order: they are asked behind the beat.
    let at_once = !partitions.is_empty() && !store.lanes.is_cluster();
    let reads = || if at_once { positions::calls(&store.layouts, partitions) } else { Vec::new() };
    let keys: Vec<&String> = keys.iter().collect();
    // Not among the flushes: a heartbeat that waits behind a long one could cost the session.
    let lane = (&store.lanes, Purpose::Read);
    let mut answers = store.beat.run_before(lane, &doing, &keys, args(beat), reads, CALL_DEADLINE).await?.into_iter();
    let beaten = answers.next().unwrap_or(Ok(Value::Null)).map_err(|error| store_error(&doing, &error))?;
    let beaten = list(beaten);
    if beaten.is_empty() {
        return Err(StoreError::refused_beat(beat, BeatError::Full));
    }
    let beaten = read(&doing, beaten)?;
    if partitions.is_empty() {
        return Ok((beaten, Vec::new()));
    }
    let doing = "reading checkpoints with a heartbeat";
    if !at_once {
        return Ok((beaten, store.positions(partitions).await?));
    }
    let values = answers.collect::<Result<Vec<Value>, _>>().map_err(|error| store_error(doing, &error))?;
    Ok((beaten, positions::answer(doing, store.layouts.count(), partitions, values)?))
}

/// Reads the group without taking part.
pub(super) async fn roster(store: &RedisStore, group: &str) -> Result<Roster, StoreError> {
    let doing = format!("reading the members of group {group:?}");
    let keys = keys(&store.layouts.common.prefix, group);
    let keys: Vec<&String> = keys.iter().collect();
    let lane = (&store.lanes, Purpose::Read);
    let answers = store.roster.run_before(lane, &doing, &keys, Vec::new(), Vec::new, CALL_DEADLINE).await?;
    let answer = answers.into_iter().next().unwrap_or(Ok(Value::Null)).map_err(|error| store_error(&doing, &error))?;
    let parts: [Value; 4] = list(answer).try_into().map_err(|_| corrupt(&doing, "the script answered no roster"))?;
    let [version, alive, members, leases] = parts;
    let alive = list(alive).iter().map(|member| text(&doing, member)).collect::<Result<BTreeSet<String>, _>>()?;
    let version = number(&doing, "version", &version)?.unsigned_abs();
    let all = Roster { version, members: members_of(&doing, members)?, leases: leases_of(&doing, leases)? };
    Ok(roster::living(all, |member| alive.contains(&**member)))
}

/// The group's keys. What stands in braces is what Redis Cluster hashes, so they lie in one slot (invariant 8); it is never
/// empty, whatever the group is called.
fn keys(prefix: &str, group: &str) -> [String; 4] {
    ["sessions", "members", "leases", "version"].map(|name| format!("{prefix}sg:{{group:{group}}}:{name}"))
}

fn args(beat: &Beat) -> Vec<Value> {
    let mut args = vec![
        Value::from(&*beat.member),
        Value::from(beat.session_timeout_ms.to_string()),
        Value::from(if beat.about.is_some() { "stays" } else { "goes" }),
        Value::Bytes(beat.about.clone().unwrap_or_default().into()),
        Value::from(beat.known_version.map(|version| version.to_string()).unwrap_or_default()),
        Value::from(MAX_MEMBERS.to_string()),
        Value::from(MAX_LEASES.to_string()),
    ];
    for (partition, step) in beat.steps.iter().take(MAX_STEPS) {
        let step = match step {
            LeaseStep::Claim => "claim",
            LeaseStep::Wait => "wait",
            LeaseStep::Withdraw => "withdraw",
            LeaseStep::Release => "release",
        };
        args.extend([Value::from(partition.to_string()), Value::from(step)]);
    }
    args
}

fn read(doing: &str, answer: Vec<Value>) -> Result<Beaten, StoreError> {
    let mut parts = answer.into_iter();
    let (Some(is_new), Some(version)) = (parts.next(), parts.next()) else {
        return Err(corrupt(doing, "the script answered no version"));
    };
    let is_new = number(doing, "is new", &is_new)? == 1;
    let version = number(doing, "version", &version)?.unsigned_abs();
    let roster = match (parts.next(), parts.next()) {
        (Some(members), Some(leases)) => {
            Some(Roster { version, members: members_of(doing, members)?, leases: leases_of(doing, leases)? })
        }
        _ => None,
    };
    Ok(Beaten { is_new, version, roster })
}

fn members_of(doing: &str, value: Value) -> Result<BTreeMap<MemberId, Vec<u8>>, StoreError> {
    let mut members = BTreeMap::new();
    let mut fields = list(value).into_iter();
    while let (Some(member), Some(about)) = (fields.next(), fields.next()) {
        members.insert(text(doing, &member)?.into(), about.into_owned_bytes().unwrap_or_default());
    }
    Ok(members)
}

/// A field that is no lease is nobody's, to the script too.
fn leases_of(doing: &str, value: Value) -> Result<BTreeMap<TopicPartition, Lease>, StoreError> {
    let mut leases = BTreeMap::new();
    for [partition, lease] in list(value).as_chunks::<2>().0 {
        let (partition, lease) = (text(doing, partition)?, text(doing, lease)?);
        let (holder, next) =
            lease.split_once(' ').map_or((&*lease, None), |(holder, next)| (holder, Some(next.into())));
        if let Some(partition) = TopicPartition::parse(&partition) {
            leases.insert(partition, Lease { holder: holder.into(), next });
        }
    }
    Ok(leases)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_groups_keys_lie_in_one_slot_whatever_it_is_called() {
        for (prefix, group) in [("", "g"), ("p:", "}"), ("p:", ""), ("app:", "g{}"), ("p:", "g}h"), ("a:", "{x}")] {
            let slots = keys(prefix, group).map(|key| fred::util::redis_keyslot(key.as_bytes()));
            assert!(slots.iter().all(|slot| *slot == slots[0]), "{prefix:?} {group:?}: {slots:?}");
        }
    }
}
