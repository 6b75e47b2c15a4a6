//! Statuses of events: a hash each, by group, in the shard of the event's id.

use std::collections::BTreeMap;

use fred::types::Value;

use super::{
    CALL_DEADLINE, RedisStore,
    lanes::Call,
    layout::Layouts,
    pack,
    reading::{corrupt, list, text},
};
use crate::{
    core::shards::shard_of,
    model::{Answer, GroupStatus, ShardId, Status},
    store::StoreError,
};

/// Stands before the id in a status's key.
const STATUS: &str = "sg:status:";
/// Most statuses of one script call.
const AT_ONCE: usize = 1_000;

type Noted = (Box<str>, GroupStatus);

/// Writes statuses, for each shard by itself.
pub(super) async fn note(store: &RedisStore, statuses: &[Noted]) -> Result<(), StoreError> {
    let shards = store.layouts.count();
    let mut by_shard: BTreeMap<ShardId, Vec<&Noted>> = BTreeMap::new();
    for noted in statuses {
        by_shard.entry(shard_of(&noted.0, shards)).or_default().push(noted);
    }
    for (shard, statuses) in by_shard {
        let Some(layout) = store.layouts.shard(shard) else { continue };
        for part in statuses.chunks(AT_ONCE) {
            let doing = format!("noting what became of {} events, the first {:?}", part.len(), part[0].0);
            let args = vec![Value::from(layout.prefix.as_str()), Value::Bytes(pack::statuses(part))];
            let first = layout.key(&format!("{STATUS}{}", part[0].0));
            store.status.run(&store.lanes, &doing, &[&first], args, CALL_DEADLINE).await?;
        }
    }
    Ok(())
}

/// The commands that read an event's statuses and its mark.
pub(super) fn calls(layouts: &Layouts, event_id: &str, mark: &str) -> Vec<Call> {
    let statuses = layouts.of(event_id).key(&format!("{STATUS}{event_id}"));
    vec![Call::new("HGETALL", [statuses]), Call::new("GET", [layouts.common.key(&format!("sg:doc:{mark}"))])]
}

/// What they answered.
pub(super) fn answer(doing: &str, statuses: Value, mark: Value) -> Result<Answer, StoreError> {
    let fields = match statuses {
        Value::Map(map) => map.inner().into_iter().flat_map(|(group, status)| [Value::from(group), status]).collect(),
        other => list(other),
    };
    let (pairs, _) = fields.as_chunks::<2>();
    let group = |[group, status]: &[Value; 2]| {
        let (group, status) = (text(doing, group)?, text(doing, status)?);
        let status = Status::parse(&status).ok_or_else(|| corrupt(doing, "what is stored is no status"))?;
        Ok(GroupStatus { group: group.into(), status })
    };
    let groups = pairs.iter().map(group).collect::<Result<_, StoreError>>()?;
    Ok(Answer::Status { groups, mark: if mark.is_null() { None } else { mark.into_owned_bytes() } })
}
