//! The exchange in Redis: a script for each of its writes, over keys of one shard and of its shadow, which lie in one slot.

use std::sync::Arc;

use async_trait::async_trait;
use fred::types::Value;

use super::{
    CALL_DEADLINE, RedisStore,
    inventory::{OURS, OUT},
    lanes::{Call, Purpose},
    layout::{Layout, Layouts},
    pack,
    reading::{self, corrupt, list, text},
    script::Script,
};
use crate::{
    model::{Checkpoint, ExchangePlan, ExchangeState, ExchangeStep, Fingerprint, Kind, NotBegun, Phase, ShardId},
    store::{Exchange, Half, KeyPage, StoreError, exchange::state_of},
};

/// Names that a page looks at.
const PAGE: &str = "1000";

/// A store and the place of its shadow.
pub struct RedisExchange {
    live: Arc<RedisStore>,
    shadow: Layouts,
    begin: Script,
    step: Script,
    finish: Script,
}

impl RedisExchange {
    /// Of a store and a shadow with this prefix behind the store's own, in as many shards.
    pub fn new(live: Arc<RedisStore>, shadow_prefix: &str) -> Self {
        let in_cluster = live.lanes.is_cluster();
        let shadow = Layouts::new(&live.layouts.common.key(shadow_prefix), live.layouts.count(), in_cluster);
        Self {
            live,
            shadow,
            begin: Script::new(include_str!("exchange_begin.lua")),
            step: Script::new(include_str!("exchange_step.lua")),
            finish: Script::new(include_str!("exchange_finish.lua")),
        }
    }

    fn layouts(&self, shard: ShardId, doing: &str) -> Result<(&Layout, &Layout), StoreError> {
        self.live.layouts.shard(shard).zip(self.shadow.shard(shard)).ok_or_else(|| StoreError::Refused {
            doing: doing.to_owned(),
            reason: format!("the store has {} shards", self.shards()),
        })
    }

    async fn call(
        &self,
        script: &Script,
        doing: &str,
        keys: &[&String],
        args: Vec<Value>,
    ) -> Result<Value, StoreError> {
        script.run(&self.live.lanes, doing, keys, args, CALL_DEADLINE).await
    }
}

#[async_trait]
impl Exchange for RedisExchange {
    fn shards(&self) -> ShardId {
        self.live.layouts.count()
    }

    async fn state(&self, shard: ShardId) -> Result<Option<ExchangeState>, StoreError> {
        let doing = format!("looking for an exchange in shard {shard}");
        let (live, shadow) = self.layouts(shard, &doing)?;
        let calls = vec![Call::new("HGETALL", [&live.exchange]), Call::new("EXISTS", [&shadow.checkpoints])];
        let mut answers = self.live.run(Purpose::Read, &doing, calls).await?.into_iter();
        let noted = list(answers.next().unwrap_or(Value::Null));
        let has_shadow = answers.next().and_then(|found| found.as_i64()) == Some(1);
        let pairs = noted.as_chunks::<2>().0.iter();
        let fields = pairs.map(|[field, value]| Ok((text(&doing, field)?, text(&doing, value)?)));
        let fields: Vec<(String, String)> = fields.collect::<Result<_, StoreError>>()?;
        if fields.is_empty() {
            return Ok(None);
        }
        state_of(fields, has_shadow).map(Some).ok_or_else(|| corrupt(&doing, "what is noted cannot be read"))
    }

    async fn begin(
        &self,
        shard: ShardId,
        plan: &ExchangePlan,
        instead_of: Option<&str>,
    ) -> Result<Result<(), NotBegun>, StoreError> {
        let doing = format!("beginning the exchange in shard {shard}");
        let (live, shadow) = self.layouts(shard, &doing)?;
        let keys = [&live.checkpoints, &live.exchange, &shadow.checkpoints];
        let stray = Checkpoint { fingerprint: Fingerprint::EXCHANGE, ..Checkpoint::default() };
        let args = vec![Value::Bytes(pack::plan(plan, instead_of)), Value::from(stray.to_string())];
        let answer = list(self.call(&self.begin, &doing, &keys, args).await?);
        let part = |at: usize| answer.get(at).map_or_else(|| Ok(String::new()), |part| text(&doing, part));
        Ok(match part(0)?.as_str() {
            "" => Ok(()),
            "U" => Err(NotBegun::UnderWay { shard }),
            "S" => Err(NotBegun::Shadow(part(1)?)),
            "M" => Err(NotBegun::Moved { partition: part(1)?, stored: part(2)? }),
            other => return Err(corrupt(&doing, format!("the script answered {other:?}"))),
        })
    }

    /// The cursor is the first letter of what is listed and Redis' own.
    async fn names(&self, shard: ShardId, half: Half, cursor: &str) -> Result<KeyPage, StoreError> {
        let doing = format!("listing names in shard {shard}");
        let (live, shadow) = self.layouts(shard, &doing)?;
        let layout = if half == Half::Live { live } else { shadow };
        let (part, within) = match cursor.split_at_checked(1) {
            // Of the keys it is a cursor of listing keys, which in a cluster says the node.
            Some(("k", within)) => ("k", within.to_owned()),
            Some((part, within)) => (part, reading::cursor(&doing, within)?),
            None => ("a", "0".to_owned()),
        };
        let hash = match part {
            "a" => Some((&layout.aggregated, Kind::Count, "l")),
            "l" => Some((&layout.last, Kind::Last, "k")),
            "k" => None,
            _ => return Err(StoreError::no_cursor(&doing, cursor)),
        };
        let Some((hash, kind, following)) = hash else {
            let (next, keys) = self.live.page_of(&doing, &layout.prefix, &within, 1_000).await?;
            let name = |key: String| key.strip_prefix(&layout.prefix).map(str::to_owned);
            let mut names: Vec<String> = keys.into_iter().filter_map(name).collect();
            // Of a set from which all was taken out, this alone may be left.
            let emptied =
                names.iter().filter_map(|name| name.strip_prefix(OUT)).map(|set| (set.to_owned(), Kind::Member));
            let emptied: Vec<_> = emptied.collect();
            names.retain(|name| !OURS.iter().any(|ours| name.starts_with(ours)));
            let mut keys = self.live.kinds(&doing, names, |name| layout.key(name)).await?;
            keys.extend(emptied);
            return Ok(KeyPage { keys, cursor: next.map(|next| format!("k{next}")) });
        };
        let call = Call::new("HSCAN", [hash.as_str(), &within, "COUNT", PAGE]);
        let answer = self.live.run(Purpose::Read, &doing, vec![call]).await?.pop();
        let (next, items) = reading::page(&doing, answer.unwrap_or(Value::Null))?;
        let pairs = items.as_chunks::<2>().0.iter();
        let keys = pairs.map(|[name, _]| Ok((text(&doing, name)?, kind))).collect::<Result<_, StoreError>>()?;
        let next = next.map_or_else(|| following.to_owned(), |next| format!("{part}{next}"));
        Ok(KeyPage { keys, cursor: Some(next) })
    }

    async fn step(&self, step: &ExchangeStep<'_>) -> Result<bool, StoreError> {
        let ExchangeStep { shard, phase, number, names, is_last } = *step;
        let doing = format!("exchanging {} names in shard {shard}", names.len());
        let (live, shadow) = self.layouts(shard, &doing)?;
        let Layout { exchange, aggregated, last, days, .. } = live;
        let keys = [exchange, aggregated, last, &shadow.checkpoints, &shadow.aggregated, &shadow.last, days];
        let next = if is_last && phase == Phase::Removing { Phase::Taking.name() } else { "" };
        let args = vec![
            Value::from(live.prefix.as_str()),
            Value::from(shadow.prefix.as_str()),
            Value::from(phase.name()),
            Value::from(number.to_string()),
            Value::from(next),
            Value::Bytes(pack::names(names)),
        ];
        match self.call(&self.step, &doing, &keys, args).await?.as_i64() {
            Some(1) => Ok(true),
            Some(0) => Ok(false),
            _ => Err(StoreError::Refused { doing, reason: "the shadow that was recounted is gone".to_owned() }),
        }
    }

    async fn finish(&self, shard: ShardId, step: u64) -> Result<bool, StoreError> {
        let doing = format!("ending the exchange in shard {shard}");
        let (live, _) = self.layouts(shard, &doing)?;
        let keys = [&live.exchange, &live.checkpoints, &live.gaps, &live.copy_state];
        let answer = self.call(&self.finish, &doing, &keys, vec![Value::from(step.to_string())]).await?;
        Ok(answer.as_i64() == Some(1))
    }
}
