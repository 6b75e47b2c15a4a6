//! What goes over all shards: the claim, first offsets, listing counters.

use fred::types::Value;

use super::{
    CALL_DEADLINE, RedisStore,
    lanes::{Call, Purpose},
    layout::Layout,
    reading::{self, corrupt, list, number, text},
};
use crate::{
    model::{ScanPage, ShardId, TopicPartition},
    store::StoreError,
};

/// Field of a shard's `counters:meta` for the number of shards that it was one of.
const SHARDS_FIELD: &str = "shards";

impl RedisStore {
    /// Claims topics and notes the number of shards, also in each shard: one that lives on while what is common was lost
    /// would else be taken for one of another number.
    pub(super) async fn claim(&self, group: &str, topics: &[String]) -> Result<(), StoreError> {
        let doing = format!("claiming topics for group {group:?}");
        let asked = self.layouts.count();
        self.look_at_shards("looking at the number of shards", asked).await?;
        let before = [group.to_owned(), asked.to_string()];
        let args = before.iter().chain(topics).map(|text| Value::from(text.as_str())).collect();
        let answer = self.claim.run(&self.lanes, &doing, &[&self.layouts.common.meta], args, CALL_DEADLINE).await?;
        match list(answer).as_slice() {
            [] => {}
            [noted] => return Err(StoreError::OtherShards { noted: text(&doing, noted)?, asked }),
            [topic, owner] => {
                return Err(StoreError::ClaimedByOther { topic: text(&doing, topic)?, owner: text(&doing, owner)? });
            }
            _ => return Err(corrupt(&doing, "the script answered something else than a topic and its owner")),
        }
        let note =
            |layout: &Layout| Call::new("HSETNX", [layout.meta.clone(), SHARDS_FIELD.to_owned(), asked.to_string()]);
        let notes = self.layouts.all().iter().map(note).collect();
        self.run(Purpose::Write, "noting the number of shards", notes).await?;
        Ok(())
    }

    /// What shards say of how many they are; before anything is written.
    async fn look_at_shards(&self, doing: &str, asked: ShardId) -> Result<(), StoreError> {
        let read = |layout: &Layout| Call::new("HGET", [layout.meta.as_str(), SHARDS_FIELD]);
        let mut reads: Vec<Call> = self.layouts.all().iter().map(read).collect();
        reads.push(read(&self.layouts.first_of_several()));
        for noted in self.run(Purpose::Read, doing, reads).await? {
            let noted = reading::optional_text(doing, &noted)?;
            if let Some(noted) = noted.filter(|noted| *noted != asked.to_string()) {
                return Err(StoreError::OtherShards { noted, asked });
            }
        }
        Ok(())
    }
}

/// Fixes first offsets. With several shards: what any of them keeps, the first one before the others, else what is asked.
/// The first shard decides between two who ask at once; the others are given what it keeps.
pub(super) async fn fix_origins(store: &RedisStore, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
    let doing = "fixing first offsets";
    let Some((first, others)) = store.layouts.all().split_first() else { return Ok(Vec::new()) };
    if origins.is_empty() {
        return Ok(Vec::new());
    }
    let mut wanted = origins.to_vec();
    if !others.is_empty() {
        let names = origins.iter().map(|(partition, _)| partition.to_string());
        let names: Vec<String> = names.collect();
        let read = |layout: &Layout| Call::new("HMGET", std::iter::once(&layout.origins).chain(&names));
        let reads = store.layouts.all().iter().map(read).collect();
        // The last first, so that the first shard has the last word.
        for kept in store.run(Purpose::Read, doing, reads).await?.into_iter().rev() {
            for ((partition, offset), kept) in wanted.iter_mut().zip(list(kept)) {
                if !kept.is_null() {
                    *offset = number(doing, &partition.to_string(), &kept)?;
                }
            }
        }
    }
    let mut calls = Vec::with_capacity(2 * wanted.len());
    for (partition, offset) in &wanted {
        calls.push(fix_in(first, partition, *offset));
        calls.push(Call::new("HGET", [first.origins.clone(), partition.to_string()]));
    }
    let answers = store.run(Purpose::Write, doing, calls).await?;
    let stored = answers.as_chunks::<2>().0.iter().zip(origins);
    let stored = stored.map(|([_, value], (partition, _))| number(doing, &partition.to_string(), value));
    let fixed = stored.collect::<Result<Vec<i64>, StoreError>>()?;
    let pairs = || origins.iter().zip(&fixed);
    let in_shard = |layout| pairs().map(move |((partition, _), offset)| fix_in(layout, partition, *offset));
    let calls: Vec<Call> = others.iter().flat_map(in_shard).collect();
    if !calls.is_empty() {
        store.run(Purpose::Write, doing, calls).await?;
    }
    Ok(fixed)
}

fn fix_in(layout: &Layout, partition: &TopicPartition, offset: i64) -> Call {
    Call::new("HSETNX", [layout.origins.clone(), partition.to_string(), offset.to_string()])
}

/// A page of counters: of one shard after the other. The cursor of several shards is `shard-cursor`.
pub(super) async fn scan(store: &RedisStore, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
    let doing = format!("listing counters that begin with {prefix:?}");
    let count = store.layouts.count();
    let (shard, within) = place(&doing, count, cursor)?;
    let layout = &store.layouts.all()[usize::from(shard)];
    let (pattern, limit) = (reading::prefix_pattern(prefix), limit.to_string());
    let args = [layout.aggregated.as_str(), &within, "MATCH", &pattern, "COUNT", &limit];
    let answer = store.run(Purpose::Read, &doing, vec![Call::new("HSCAN", args)]).await?.pop();
    let (next, items) = reading::page(&doing, answer.unwrap_or(Value::Null))?;
    let pair = |[name, value]: &[Value; 2]| {
        let name = text(&doing, name)?;
        let value = number(&doing, &name, value)?;
        Ok((name, value))
    };
    let mut counters = items.as_chunks::<2>().0.iter().map(pair).collect::<Result<Vec<_>, StoreError>>()?;
    if count == 1 {
        return Ok(ScanPage { counters, cursor: next });
    }
    add_pieces(store, &doing, shard, &mut counters).await?;
    let behind = (shard + 1 < count).then(|| format!("{}-0", shard + 1));
    Ok(ScanPage { counters, cursor: next.map(|next| format!("{shard}-{next}")).or(behind) })
}

/// The shard that a cursor stands in, and the cursor within it.
fn place(doing: &str, shards: ShardId, cursor: &str) -> Result<(ShardId, String), StoreError> {
    if shards == 1 || cursor.is_empty() {
        return Ok((0, reading::cursor(doing, cursor)?));
    }
    let parts = cursor.split_once('-').and_then(|(shard, within)| Some((shard.parse().ok()?, within)));
    match parts.filter(|(shard, within)| *shard < shards && !within.is_empty()) {
        Some((shard, within)) => Ok((shard, reading::cursor(doing, within)?)),
        None => Err(StoreError::no_cursor(doing, cursor)),
    }
}

/// Adds what other shards have of a shard's counters. Those that an earlier shard has are left to it.
async fn add_pieces(
    store: &RedisStore,
    doing: &str,
    shard: ShardId,
    counters: &mut Vec<(String, i64)>,
) -> Result<(), StoreError> {
    if counters.is_empty() {
        return Ok(());
    }
    let others: Vec<(ShardId, &Layout)> = (0..).zip(store.layouts.all()).filter(|(other, _)| *other != shard).collect();
    let names: Vec<String> = counters.iter().map(|(name, _)| name.clone()).collect();
    let call = |(_, layout): &(ShardId, &Layout)| Call::new("HMGET", std::iter::once(&layout.aggregated).chain(&names));
    let answers = store.run(Purpose::Read, doing, others.iter().map(call).collect()).await?;
    let mut is_listed = vec![true; counters.len()];
    for ((other, _), pieces) in others.into_iter().zip(answers) {
        for (((name, sum), is_listed), piece) in counters.iter_mut().zip(&mut is_listed).zip(list(pieces)) {
            if !piece.is_null() {
                *is_listed &= other > shard;
                *sum = reading::sum(doing, name, [*sum, number(doing, name, &piece)?])?;
            }
        }
    }
    let mut listed = is_listed.into_iter();
    counters.retain(|_| listed.next().unwrap_or(true));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_its_shard() {
        let place = |shards, cursor| place("listing", shards, cursor).ok();
        let at = |shard, within: &str| Some((shard, within.to_owned()));
        assert_eq!(
            [place(1, ""), place(1, "17"), place(3, ""), place(3, "2-17")],
            [at(0, "0"), at(0, "17"), at(0, "0"), at(2, "17")]
        );
        for (shards, wrong) in [(1, "0-17"), (3, "17"), (3, "3-17"), (3, "1-"), (3, "-1-0"), (3, "1-x"), (3, "99999-0")]
        {
            assert_eq!(place(shards, wrong), None, "{wrong}");
        }
    }
}
