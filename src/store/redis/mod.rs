//! `Store` in Redis, through fred.
//!
//! Results are plain: `redis-cli hgetall counters:aggregated` shows names and numbers. What is ours lies under
//! `counters:checkpoints`, `counters:origins`, `counters:gaps`, `counters:last`, `counters:meta` and `sg:`; the prefix stands
//! before each key. Works with Redis 6.2, 7 and Valkey (SMISMEMBER and ZMSCORE came with 6.2).

mod beat;
mod failure;
mod inventory;
mod lanes;
mod options;
mod pack;
mod positions;
mod reading;
mod script;

use std::time::Duration;

use async_trait::async_trait;
use fred::types::Value;

pub use options::{Password, RedisOptions};

use self::{
    failure::store_error,
    lanes::{Call, Lanes, Purpose},
    reading::{corrupt, list, number, text},
    script::Script,
};
use super::{Store, StoreError};
use crate::model::{
    Answer, Beat, Beaten, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap, SwapOutcome,
    TopicPartition,
};

/// Longest wait for the answer to one exchange of commands; see [`flush_deadline`] for sections.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Weight that is granted one more second: a section cannot be split, and a deadline that it can never meet would stop its
/// partition for good. Redis does more than ten times as much.
const WEIGHT_PER_SECOND: usize = 50_000;
/// Most queries in one exchange.
const READ_MAX: usize = 1_000;
/// Most names that one page of a scan looks at.
const SCAN_MAX: usize = 10_000;

/// Names of the keys, prefix included.
struct Layout {
    prefix: String,
    aggregated: String,
    last: String,
    checkpoints: String,
    origins: String,
    gaps: String,
    meta: String,
}

impl Layout {
    fn new(prefix: &str) -> Self {
        let key = |name: &str| format!("{prefix}{name}");
        Self {
            aggregated: key("counters:aggregated"),
            last: key("counters:last"),
            checkpoints: key("counters:checkpoints"),
            origins: key("counters:origins"),
            gaps: key("counters:gaps"),
            meta: key("counters:meta"),
            prefix: prefix.to_owned(),
        }
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

/// Time that a call with sections of this weight gets.
fn flush_deadline(weight: usize) -> Duration {
    CALL_DEADLINE + Duration::from_secs((weight / WEIGHT_PER_SECOND) as u64)
}

/// A store in one Redis server.
///
/// A call while the server is away fails at once or within its deadline with [`StoreError::Unavailable`]; the next call
/// tries to connect again (at most every second after repeated failures), for ever.
pub struct RedisStore {
    layout: Layout,
    allow_eviction: bool,
    lanes: Lanes,
    flush: Script,
    claim: Script,
    swap: Script,
    beat: Script,
    roster: Script,
}

impl RedisStore {
    /// Prepares a store. Nothing is connected before the first call, so Redis may be down.
    pub fn connect(options: &RedisOptions) -> Self {
        Self {
            layout: Layout::new(&options.key_prefix),
            allow_eviction: options.allow_eviction,
            lanes: Lanes::new(options),
            flush: Script::new(include_str!("flush.lua")),
            claim: Script::new(include_str!("claim.lua")),
            swap: Script::new(include_str!("swap.lua")),
            beat: Script::new(include_str!("beat.lua")),
            roster: Script::new(include_str!("roster.lua")),
        }
    }

    /// Runs commands whose errors are errors of the whole.
    async fn run(&self, purpose: Purpose, doing: &str, calls: Vec<Call>) -> Result<Vec<Value>, StoreError> {
        let answers = self.lanes.run(purpose, doing, calls, CALL_DEADLINE).await?;
        answers.into_iter().map(|answer| answer.map_err(|error| store_error(doing, &error))).collect()
    }

    /// The server's maxmemory-policy. Hosted servers often forbid CONFIG, but not INFO.
    async fn eviction_policy(&self, doing: &str) -> Result<String, StoreError> {
        let call = Call::new("CONFIG", ["GET", "maxmemory-policy"]);
        let answer = self.lanes.run(Purpose::Read, doing, vec![call], CALL_DEADLINE).await?.pop();
        if let Some(Ok(value)) = answer
            && let Some(policy) = list(value).get(1).and_then(Value::as_string)
        {
            return Ok(policy);
        }
        let info = self.run(Purpose::Read, doing, vec![Call::new("INFO", ["memory"])]).await?;
        let info = info.first().and_then(Value::as_string).unwrap_or_default();
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        Ok(policy.map_or("unknown", str::trim).to_owned())
    }

    async fn send(&self, sections: &[Section], packed: bytes::Bytes) -> Result<Vec<Outcome>, StoreError> {
        let doing = format!("applying {} sections, the first of {}", sections.len(), sections[0].partition);
        let layout = &self.layout;
        let keys = [&layout.checkpoints, &layout.aggregated, &layout.last, &layout.gaps, &layout.meta];
        let args = vec![Value::from(layout.prefix.as_str()), Value::Bytes(packed)];
        let deadline = flush_deadline(sections.iter().map(pack::weight).sum());
        let answer = self.flush.run(&self.lanes, &doing, &keys, args, deadline).await?;
        let outcomes = list(answer);
        if outcomes.len() != sections.len() {
            return Err(corrupt(&doing, "the script answered another number of outcomes than sections"));
        }
        outcomes.into_iter().map(|outcome| script::outcome(&doing, outcome)).collect()
    }
}

#[async_trait]
impl Store for RedisStore {
    async fn open(&self, group: &str, topics: &[String]) -> Result<(), StoreError> {
        let policy = self.eviction_policy("asking Redis for its maxmemory-policy").await?;
        if policy != "noeviction" {
            if !self.allow_eviction {
                return Err(StoreError::MayEvict { policy });
            }
            tracing::warn!(policy, "the store may evict keys, so counts may be wrong (REDIS_ALLOW_EVICTION is set)");
        }
        let doing = format!("claiming topics for group {group:?}");
        let args = std::iter::once(group).chain(topics.iter().map(String::as_str)).map(Value::from).collect();
        let answer = self.claim.run(&self.lanes, &doing, &[&self.layout.meta], args, CALL_DEADLINE).await?;
        match list(answer).as_slice() {
            [] => Ok(()),
            [topic, owner] => {
                Err(StoreError::ClaimedByOther { topic: text(&doing, topic)?, owner: text(&doing, owner)? })
            }
            _ => Err(corrupt(&doing, "the script answered something else than a topic and its owner")),
        }
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "reading checkpoints";
        let answers = self.run(Purpose::Read, doing, positions::calls(&self.layout, partitions)).await?;
        positions::answer(doing, partitions, answers)
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        let doing = "fixing first offsets";
        let key = &self.layout.origins;
        let mut calls = Vec::with_capacity(2 * origins.len());
        for (partition, offset) in origins {
            calls.push(Call::new("HSETNX", [key.clone(), partition.to_string(), offset.to_string()]));
            calls.push(Call::new("HGET", [key.clone(), partition.to_string()]));
        }
        let answers = self.run(Purpose::Write, doing, calls).await?;
        let stored = answers.as_chunks::<2>().0.iter().zip(origins);
        stored.map(|([_, value], (partition, _))| number(doing, &partition.to_string(), value)).collect()
    }

    async fn apply(&self, _shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        let mut outcomes = Vec::with_capacity(sections.len());
        let (mut now, mut rest) = sections.split_at(pack::next_call(sections));
        let mut packed = pack::sections(now);
        // One call after the other: a later section may build on an earlier one, and a failed call must stop the rest.
        while !now.is_empty() {
            let (next, after) = rest.split_at(pack::next_call(rest));
            // The next call is packed while Redis works.
            let (answer, next_packed) = tokio::join!(self.send(now, packed), async { pack::sections(next) });
            outcomes.extend(answer?);
            (now, rest, packed) = (next, after, next_packed);
        }
        Ok(outcomes)
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        beat::run(self, beat, partitions).await
    }

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        beat::roster(self, group).await
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        let mut answers = Vec::with_capacity(queries.len());
        for part in queries.chunks(READ_MAX) {
            let mut calls = Vec::new();
            let mut counts = Vec::with_capacity(part.len());
            for query in part {
                let asked = reading::calls(&self.layout, query)?;
                counts.push(asked.len());
                calls.extend(asked);
            }
            let doing = format!("reading {} results", part.len());
            let mut values = match calls.is_empty() {
                true => Vec::new(),
                false => self.lanes.run(Purpose::Read, &doing, calls, CALL_DEADLINE).await?,
            }
            .into_iter();
            for (query, count) in part.iter().zip(counts) {
                let own: Result<Vec<Value>, _> = values.by_ref().take(count).collect();
                let own = own.map_err(|error| store_error(&reading::doing(query), &error))?;
                answers.push(reading::answer(query, own)?);
            }
        }
        Ok(answers)
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        let doing = format!("listing counters that begin with {prefix:?}");
        let cursor = reading::cursor(&doing, cursor)?;
        let (pattern, count) = (reading::prefix_pattern(prefix), limit.clamp(1, SCAN_MAX).to_string());
        let args = [self.layout.aggregated.as_str(), &cursor, "MATCH", &pattern, "COUNT", &count];
        let answer = self.run(Purpose::Read, &doing, vec![Call::new("HSCAN", args)]).await?.pop();
        let (cursor, items) = reading::page(&doing, answer.unwrap_or(Value::Null))?;
        let pair = |[name, value]: &[Value; 2]| {
            let name = text(&doing, name)?;
            let value = number(&doing, &name, value)?;
            Ok((name, value))
        };
        let counters = items.as_chunks::<2>().0.iter().map(pair).collect::<Result<_, StoreError>>()?;
        Ok(ScanPage { counters, cursor })
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        let Some(first) = swaps.first() else { return Ok(Vec::new()) };
        let doing = format!("comparing and setting {} documents, the first {:?}", swaps.len(), first.name);
        let args = vec![Value::from(self.layout.key("sg:doc:")), Value::Bytes(pack::swaps(swaps))];
        let answer = self.swap.run(&self.lanes, &doing, &[], args, CALL_DEADLINE).await?;
        list(answer).into_iter().map(|outcome| script::swap_outcome(&doing, outcome)).collect()
    }
}
