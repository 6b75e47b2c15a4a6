//! `Store` in Redis, through fred.
//!
//! Results are plain: `redis-cli hgetall counters:aggregated` shows names and numbers; with several shards it is one such
//! hash for each ([`layout`]). What is ours lies under `counters:checkpoints`, `counters:origins`, `counters:gaps`, `counters:last`, `counters:meta`, `counters:exchange`, `counters:changed`, `counters:days`, `counters:persistent` and `sg:`; the prefix stands
//! before each key. Works with Redis 6.2, 7 and Valkey (SMISMEMBER and ZMSCORE came with 6.2).

mod beat;
mod documents;
mod exchange;
mod failure;
mod hosts;
mod inventory;
mod lanes;
mod layout;
mod marks;
mod options;
mod pack;
mod positions;
mod reading;
mod script;
mod sharding;
mod statuses;
mod tier;
mod tls;

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use async_trait::async_trait;
use fred::types::Value;

pub use exchange::RedisExchange;
pub use options::{Password, RedisOptions};

use self::{
    failure::store_error,
    hosts::Node,
    lanes::{Call, Lanes, Purpose},
    layout::{Layout, Layouts},
    marks::{Found, Marks},
    reading::{corrupt, list},
    script::Script,
};
use super::{Store, StoreError};
use crate::model::{
    Answer, Beat, Beaten, GroupStatus, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap,
    SwapOutcome, TopicPartition,
};

/// Longest wait for the answer to one exchange of commands; see [`flush_deadline`] for sections.
const CALL_DEADLINE: Duration = Duration::from_secs(5);
/// Weight that is granted one more second: a section cannot be split, and a deadline that it can never meet would stop its
/// partition for good. Redis does more than ten times as much.
const WEIGHT_PER_SECOND: usize = 50_000;
/// Most queries in one exchange; fewer with several shards, each of which is asked for its piece of a counter.
const READ_MAX: usize = 1_000;
/// Most names that one page of a scan looks at.
const SCAN_MAX: usize = 10_000;
/// Counters that one step of a sweep removes at most: it takes Redis about 5 ms, in which it answers nobody else.
const SWEEP_MAX: usize = 1_000;

/// Time that a call with sections of this weight gets.
fn flush_deadline(weight: usize) -> Duration {
    CALL_DEADLINE + Duration::from_secs((weight / WEIGHT_PER_SECOND) as u64)
}

/// A store in a Redis, in one or more shards: in one server, in the one that sentinels name, or in a cluster.
///
/// A call while the server is away fails at once or within its deadline with [`StoreError::Unavailable`]; the next call
/// tries to connect again (at most every second after repeated failures), for ever.
pub struct RedisStore {
    layouts: Layouts,
    allow_eviction: bool,
    lanes: Lanes,
    flush: Script,
    claim: Script,
    swap: Script,
    beat: Script,
    roster: Script,
    copy_totals: Script,
    put_back: Script,
    sweep: Script,
    status: Script,
    /// It was opened by this process: an emptied store is noticed by its missing claim.
    is_open: AtomicBool,
    marks: Marks,
}

impl RedisStore {
    /// Prepares a store. Nothing is connected before the first call, so Redis may be down.
    pub fn connect(options: &RedisOptions) -> Self {
        Self {
            layouts: Layouts::new(&options.key_prefix, options.shards, options.servers.is_cluster()),
            allow_eviction: options.allow_eviction,
            lanes: Lanes::new(options),
            flush: Script::new(include_str!("flush.lua")),
            claim: Script::new(include_str!("claim.lua")),
            swap: Script::new(include_str!("swap.lua")),
            beat: Script::new(include_str!("beat.lua")),
            roster: Script::new(include_str!("roster.lua")),
            copy_totals: Script::new(include_str!("copy_totals.lua")),
            put_back: Script::new(include_str!("put_back.lua")),
            sweep: Script::new(include_str!("sweep.lua")),
            status: Script::new(include_str!("status.lua")),
            is_open: AtomicBool::new(false),
            marks: Marks::new(options.shards.max(1)),
        }
    }

    /// Runs commands whose errors are errors of the whole.
    async fn run(&self, purpose: Purpose, doing: &str, calls: Vec<Call>) -> Result<Vec<Value>, StoreError> {
        let answers = self.lanes.run(purpose, doing, calls, CALL_DEADLINE).await?;
        answers.into_iter().map(|answer| answer.map_err(|error| store_error(doing, &error))).collect()
    }

    /// What a server may evict. Hosted servers often forbid CONFIG, but not INFO.
    async fn eviction_policy(&self, doing: &str, node: &Node) -> Result<String, StoreError> {
        let call = Call::at(node, "CONFIG", ["GET", "maxmemory-policy"]);
        let answer = self.lanes.run(Purpose::Read, doing, vec![call], CALL_DEADLINE).await?.pop();
        if let Some(Ok(value)) = answer
            && let Some(policy) = list(value).get(1).and_then(Value::as_string)
        {
            return Ok(policy);
        }
        let info = self.run(Purpose::Read, doing, vec![Call::at(node, "INFO", ["memory"])]).await?;
        let info = info.first().and_then(Value::as_string).unwrap_or_default();
        let policy = info.lines().find_map(|line| line.strip_prefix("maxmemory_policy:"));
        Ok(policy.map_or("unknown", str::trim).to_owned())
    }

    async fn send(
        &self,
        shard: ShardId,
        layout: &Layout,
        sections: &[Section],
        packed: Packed,
    ) -> Result<Vec<Outcome>, StoreError> {
        let doing = format!("applying {} sections, the first of {}", sections.len(), sections[0].partition);
        let Layout { checkpoints, aggregated, last, gaps, meta, exchange, changed, copy_state, days, .. } = layout;
        let keys = [checkpoints, aggregated, last, gaps, meta, exchange, changed, copy_state, days];
        let belief = self.marks.belief(shard, packed.voids);
        let is_open = if self.is_open.load(Ordering::Acquire) { "1" } else { "0" };
        let args = vec![
            Value::from(layout.prefix.as_str()),
            Value::Bytes(packed.sections),
            Value::from(is_open),
            Value::from(belief.epoch),
            Value::from(self.marks.me()),
            Value::from(belief.before.to_string()),
            Value::from(belief.number.to_string()),
        ];
        let deadline = flush_deadline(sections.iter().map(pack::weight).sum());
        let mut answer = list(self.flush.run(&self.lanes, &doing, &keys, args, deadline).await?).into_iter();
        let mut told = || answer.next().map(|told| reading::text(&doing, &told)).transpose();
        let (epoch, is_as_believed) = (told()?.unwrap_or_default(), told()?.as_deref() == Some("1"));
        let found = Found { epoch, is_as_believed, number: belief.number };
        if answer.len() != sections.len() {
            return Err(corrupt(&doing, "the script answered another number of outcomes than sections"));
        }
        let outcomes = answer.map(|outcome| script::outcome(&doing, outcome)).collect::<Result<Vec<_>, _>>()?;
        self.marks.settle(shard, sections, &outcomes, found);
        Ok(outcomes)
    }

    fn pack(&self, shard: ShardId, sections: &[Section]) -> Packed {
        let voids = self.marks.voids(shard);
        Packed { sections: pack::sections(sections, |section| self.marks.unmarked(shard, section)), voids }
    }
}

/// Sections on their way.
struct Packed {
    sections: bytes::Bytes,
    /// [`Marks::voids`] before it was seen which names are not marked yet.
    voids: u64,
}

#[async_trait]
impl Store for RedisStore {
    async fn open(&self, group: &str, topics: &[String]) -> Result<(), StoreError> {
        let doing = "asking Redis for its maxmemory-policy";
        for node in self.lanes.nodes(doing).await? {
            let policy = self.eviction_policy(doing, &node).await?;
            if policy != "noeviction" {
                if !self.allow_eviction {
                    return Err(StoreError::MayEvict { policy });
                }
                tracing::warn!(
                    policy,
                    "the store may evict keys, so counts may be wrong (REDIS_ALLOW_EVICTION is set)"
                );
            }
        }
        self.claim(group, topics).await?;
        self.is_open.store(true, Ordering::Release);
        Ok(())
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        if partitions.is_empty() {
            return Ok(Vec::new());
        }
        let doing = "reading checkpoints";
        let answers = self.run(Purpose::Read, doing, positions::calls(&self.layouts, partitions)).await?;
        positions::answer(doing, self.layouts.count(), partitions, answers)
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        sharding::fix_origins(self, origins).await
    }

    async fn apply(&self, shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        let layout = self.layouts.shard(shard).ok_or_else(|| StoreError::Refused {
            doing: format!("applying sections to shard {shard}"),
            reason: format!("the store has {} shards", self.layouts.count()),
        })?;
        let mut outcomes = Vec::with_capacity(sections.len());
        let (mut now, mut rest) = sections.split_at(pack::next_call(sections));
        let mut packed = self.pack(shard, now);
        // One call after the other: a later section may build on an earlier one, and a failed call must stop the rest.
        while !now.is_empty() {
            let (next, after) = rest.split_at(pack::next_call(rest));
            // The next call is packed while Redis works.
            let (answer, next_packed) =
                tokio::join!(self.send(shard, layout, now, packed), async { self.pack(shard, next) });
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
        for part in queries.chunks(READ_MAX.div_ceil(usize::from(self.layouts.count()))) {
            let mut calls = Vec::new();
            let mut counts = Vec::with_capacity(part.len());
            for query in part {
                let asked = reading::calls(&self.layouts, query)?;
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

    async fn note(&self, statuses: &[(Box<str>, GroupStatus)]) -> Result<(), StoreError> {
        statuses::note(self, statuses).await
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        sharding::scan(self, prefix, cursor, limit.clamp(1, SCAN_MAX)).await
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        let doing = "removing counters that have expired";
        let mut is_more = false;
        for Layout { days, aggregated, last, changed, .. } in self.layouts.all() {
            let args = vec![Value::from(SWEEP_MAX as i64)];
            let keys = [days, aggregated, last, changed];
            let looked_at = self.sweep.run(&self.lanes, doing, &keys, args, CALL_DEADLINE).await?;
            is_more |= looked_at.as_i64() == Some(SWEEP_MAX as i64);
        }
        Ok(is_more)
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        documents::swap(self, swaps).await
    }
}
