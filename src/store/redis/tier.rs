//! The persistent tier: `counters:persistent` beside the totals in this Redis, written by its own script; and the same totals
//! on their way to a tier elsewhere and back. `copy_totals.lua` and `put_back.lua` have the rules.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use async_trait::async_trait;
use fred::types::Value;

use super::{
    RedisStore,
    lanes::{Call, Purpose},
    layout::Layout,
    pack, positions,
    reading::{corrupt, list, number, optional_text, text},
};
use crate::{
    model::{ShardId, TopicPartition},
    store::{Copied, Kept, Positions, PutBack, Step, StoreError, Taken, Tier, Total, Totals},
};

/// Totals that one step copies: it takes Redis about 5 ms, in which it answers nobody else.
const STEP_TOTALS: usize = 5_000;
/// Steps after which the next ones are larger: what changes as fast as it is copied would never be whole.
const STEPS_BEFORE_LARGER: u32 = 64;
/// Steps over one shard in one call at most, without those that go over all totals; the last ones take what there is.
const MAX_STEPS: u32 = 512;
/// Longest wait for a step: the larger ones, and a whole shard that is put back.
const STEP_DEADLINE: Duration = Duration::from_secs(60);

/// The head of a counter that is not put back, since it is made again with the sets that move it (`put_back.lua`).
const MADE_AGAIN: &str = "m";

/// Who copies within this server: everybody under one name, since they go on where another stopped.
const HERE: &str = "here";

impl RedisStore {
    fn layout_of(&self, doing: &str, shard: ShardId) -> Result<&Layout, StoreError> {
        let reason = || format!("the store has {} shards", self.layouts.count());
        let refused = || StoreError::Refused { doing: format!("{doing} of shard {shard}"), reason: reason() };
        self.layouts.shard(shard).ok_or_else(refused)
    }

    async fn step(
        &self,
        shard: ShardId,
        place: &str,
        who: &str,
        most: usize,
        patience: Duration,
    ) -> Result<Vec<Value>, StoreError> {
        let doing = "copying totals";
        let layout = self.layout_of(doing, shard)?;
        let args = [place.to_owned(), who.to_owned(), most.to_string(), patience.as_millis().to_string()];
        let keys = keys(layout);
        let keys: Vec<&String> = keys.iter().collect();
        let args = args.into_iter().map(Value::from).collect();
        Ok(list(self.copy_totals.run(&self.lanes, doing, &keys, args, STEP_DEADLINE).await?))
    }

    /// Copies a shard until its copy is whole. Returns how many totals were written, and whether it is.
    async fn copy_shard(&self, shard: ShardId, patience: Duration) -> Result<(u64, bool), StoreError> {
        let doing = "copying totals";
        let (mut totals, mut steps) = (0, 0);
        while steps < MAX_STEPS {
            let most = STEP_TOTALS << (steps / STEPS_BEFORE_LARGER);
            let answer = self.step(shard, HERE, HERE, most, patience).await?;
            let [tag, rest @ ..] = answer.as_slice() else { return Err(corrupt(doing, "the script answered nothing")) };
            let tag = text(doing, tag)?;
            totals += rest.get(2).and_then(Value::as_u64).unwrap_or(0);
            match tag.as_str() {
                "W" => return Ok((totals, true)),
                // Going over all totals ends by itself.
                "P" => steps += u32::from(rest.get(3).and_then(Value::as_u64) == Some(0)),
                _ => break,
            }
        }
        Ok((totals, false))
    }

    async fn put(&self, shard: ShardId, what: &str, version: u64, packed: bytes::Bytes) -> Result<PutBack, StoreError> {
        let doing = "putting totals back";
        let layout = self.layout_of(doing, shard)?;
        let keys = keys(layout);
        let keys: Vec<&String> = keys.iter().collect();
        let args = vec![Value::from(what), Value::from(version.to_string()), Value::Bytes(packed)];
        let answer = self.put_back.run(&self.lanes, doing, &keys, args, STEP_DEADLINE).await?;
        match text(doing, &answer)?.as_str() {
            "D" => Ok(PutBack::Done),
            "U" => Ok(PutBack::InUse),
            "C" => Ok(PutBack::Changed),
            other => Err(corrupt(doing, format!("the script answered {other:?}"))),
        }
    }
}

#[async_trait]
impl Tier for RedisStore {
    fn name(&self) -> &'static str {
        "counters:persistent"
    }

    async fn copy(&self, interval: Duration) -> Result<Copied, StoreError> {
        let patience = interval / 2;
        let mut copied = Copied::default();
        for shard in 0..self.layouts.count() {
            let (totals, is_whole) = self.copy_shard(shard, patience).await?;
            copied.totals += totals;
            copied.shards += ShardId::from(is_whole);
        }
        Ok(copied)
    }

    async fn kept(&self, shard: ShardId) -> Result<Option<Kept>, StoreError> {
        let doing = "reading what counters:persistent belongs to";
        let [.., checkpoints, origins, meta, state, _, _] = keys(self.layout_of(doing, shard)?);
        let mut calls = vec![Call::new("HMGET", [state.as_str(), "state", "version", "at_ms", "totals", "who"])];
        calls.extend([checkpoints, origins, meta].map(|key| Call::new("HGETALL", [key])));
        let answers = self.run(Purpose::Read, doing, calls).await?;
        let [state, checkpoints, origins, meta]: [Value; 4] =
            answers.try_into().map_err(|_| corrupt(doing, "answers are missing"))?;
        let state = list(state).iter().map(|value| optional_text(doing, value)).collect::<Result<Vec<_>, _>>()?;
        let number = |at: usize| state.get(at).and_then(|text| text.as_ref()?.parse::<u64>().ok()).unwrap_or(0);
        let is_ours = |at: usize, wanted| state.get(at).and_then(Option::as_deref) == Some(wanted);
        if !is_ours(0, "whole") || !is_ours(4, HERE) {
            return Ok(None);
        }
        Ok(Some(Kept {
            version: number(1),
            at_ms: i64::try_from(number(2)).unwrap_or(i64::MAX),
            totals: number(3),
            positions: positions_of(doing, checkpoints, origins, meta)?,
        }))
    }

    async fn put_back(&self, shard: ShardId, kept: &Kept, positions: &Positions) -> Result<PutBack, StoreError> {
        self.put(shard, "here", kept.version, pack_positions(positions)).await
    }
}

#[async_trait]
impl Totals for RedisStore {
    fn shards(&self) -> ShardId {
        self.layouts.count()
    }

    async fn take(&self, shard: ShardId, who: &str, most: usize, patience: Duration) -> Result<Taken, StoreError> {
        let doing = "taking totals";
        let mut answer = self.step(shard, "away", who, most, patience).await?.into_iter();
        let tag = answer.next().map(|tag| text(doing, &tag)).transpose()?;
        let mut next = || answer.next().ok_or_else(|| corrupt(doing, "the script's answer is too short"));
        match tag.as_deref() {
            Some("N") => return Ok(Taken::Nothing),
            Some("B") => return Ok(Taken::ByOther),
            Some("P" | "W") => {}
            other => return Err(corrupt(doing, format!("the script answered {other:?}"))),
        }
        let version = number(doing, "version", &next()?)?.unsigned_abs();
        let at_ms = number(doing, "time", &next()?)?;
        next()?;
        let begins_sweep = number(doing, "sweep", &next()?)? == 2;
        let (names, values, heads) = (list(next()?), list(next()?), list(next()?));
        let (mut totals, mut gone) = (Vec::with_capacity(names.len()), Vec::new());
        for ((name, value), head) in names.iter().zip(values).zip(heads) {
            let name = text(doing, name)?;
            // It has expired.
            if value.is_null() {
                gone.push(name);
            } else {
                totals.push(Total { value: number(doing, &name, &value)?, head: optional_text(doing, &head)?, name });
            }
        }
        let step = Step { totals, gone, version, begins_sweep };
        if tag.as_deref() != Some("W") {
            return Ok(Taken::Part(step));
        }
        let positions = positions_of(doing, next()?, next()?, next()?)?;
        Ok(Taken::Whole(step, Kept { version, at_ms, totals: 0, positions }))
    }

    async fn give(&self, shard: ShardId, totals: &[Total]) -> Result<PutBack, StoreError> {
        let totals = || totals.iter().filter(|total| total.head.as_deref() != Some(MADE_AGAIN));
        let numbers: Vec<String> = totals().flat_map(|total| [total.name.clone(), total.value.to_string()]).collect();
        let head = |total: &Total| Some([total.name.clone(), total.head.clone()?]);
        let heads: Vec<String> = totals().filter_map(head).flatten().collect();
        self.put(shard, "totals", 0, pack::lists([&numbers, &heads])).await
    }

    async fn begin(&self, shard: ShardId, positions: &Positions) -> Result<PutBack, StoreError> {
        self.put(shard, "positions", 0, pack_positions(positions)).await
    }
}

/// The keys of both scripts, in their order.
fn keys(layout: &Layout) -> [String; 14] {
    let Layout { checkpoints, origins, meta, aggregated, last, changed, .. } = layout;
    let [checkpoints, origins, meta, aggregated, last, changed] =
        [checkpoints, origins, meta, aggregated, last, changed].map(Clone::clone);
    let [totals, heads, their_checkpoints, their_origins, their_meta, state] =
        ["", ":last", ":checkpoints", ":origins", ":meta", ":state"]
            .map(|part| layout.key(&format!("counters:persistent{part}")));
    [
        checkpoints,
        origins,
        meta,
        aggregated,
        last,
        changed,
        totals,
        heads,
        their_checkpoints,
        their_origins,
        their_meta,
        state,
        layout.exchange.clone(),
        layout.days.clone(),
    ]
}

/// Positions from whole hashes. What names no partition is none of ours.
fn positions_of(doing: &str, checkpoints: Value, origins: Value, meta: Value) -> Result<Positions, StoreError> {
    let (checkpoints, origins, meta) = (fields(doing, checkpoints)?, fields(doing, origins)?, fields(doing, meta)?);
    let names: BTreeSet<&String> = checkpoints.keys().chain(origins.keys()).collect();
    let of = |fields: &HashMap<String, Value>, name: &str| fields.get(name).cloned().unwrap_or(Value::Null);
    let mut found = BTreeMap::new();
    for (name, partition) in names.into_iter().filter_map(|name| Some((name, TopicPartition::parse(name)?))) {
        let parts = positions::PARTS.map(|part| of(&meta, &positions::identity_field(&partition, part)));
        let position = positions::position(doing, &partition, &of(&checkpoints, name), &of(&origins, name), &parts)?;
        found.insert(partition, position);
    }
    Ok(found)
}

fn fields(doing: &str, value: Value) -> Result<HashMap<String, Value>, StoreError> {
    let pairs: Vec<(Value, Value)> = match value {
        // As the server's third protocol has it; the second has one flat list.
        Value::Map(map) => map.inner().into_iter().map(|(key, value)| (Value::from(key), value)).collect(),
        other => list(other).as_chunks::<2>().0.iter().map(|[key, value]| (key.clone(), value.clone())).collect(),
    };
    pairs.into_iter().map(|(key, value)| Ok((text(doing, &key)?, value))).collect()
}

fn pack_positions(positions: &Positions) -> bytes::Bytes {
    let (mut checkpoints, mut origins, mut meta) = (Vec::new(), Vec::new(), Vec::new());
    for (partition, position) in positions {
        let name = partition.to_string();
        checkpoints
            .extend(position.checkpoint.into_iter().flat_map(|checkpoint| [name.clone(), checkpoint.to_string()]));
        origins.extend(position.origin.into_iter().flat_map(|origin| [name.clone(), origin.to_string()]));
        let identity = &position.log_identity;
        let values = [
            identity.cluster_id.clone(),
            identity.topic_id.map(|id| id.to_string()),
            identity.leader_epoch.map(|epoch| epoch.to_string()),
            position.switches.as_ref().map(ToString::to_string),
            position.restored.map(|restored| restored.to_string()),
        ];
        for (part, value) in positions::PARTS.iter().zip(values) {
            meta.extend(value.into_iter().flat_map(|value| [positions::identity_field(partition, part), value]));
        }
    }
    pack::lists([&checkpoints, &origins, &meta])
}
