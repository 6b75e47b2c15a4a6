//! How partitions stand: what is stored, what the log has, who holds them.

use std::{collections::BTreeMap, sync::Arc};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};

use crate::{
    app::Parts,
    catalog::{
        nearest,
        plan::{Catalog, Topic},
    },
    config::{Config, OffsetReset},
    core::card,
    log::{At, LogError},
    model::{Checkpoint, MemberId, StoredPosition, TopicPartition},
};

/// Partitions of which the log is asked at once.
const ASKED_AT_ONCE: usize = 16;

/// A living member that holds a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// Its name.
    pub member: MemberId,
    /// The machine that it runs on, as it says.
    pub host: String,
}

/// How a partition stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The partition.
    pub partition: TopicPartition,
    /// Its topic in the catalogue.
    pub topic: Arc<Topic>,
    /// What each shard of the store has.
    pub shards: Vec<StoredPosition>,
    /// The first offset that the broker holds.
    pub log_start: i64,
    /// One past the last readable record.
    pub log_end: i64,
    /// Who counts it now.
    pub holder: Option<Holder>,
}

impl Standing {
    /// The lowest checkpoint over the shards; `None` where one has none.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        let all: Option<Vec<Checkpoint>> = self.shards.iter().map(|shard| shard.checkpoint).collect();
        all?.into_iter().min_by_key(|checkpoint| checkpoint.offset)
    }

    /// The group's first offset, where it was fixed.
    pub fn origin(&self) -> Option<i64> {
        self.shards.iter().find_map(|shard| shard.origin)
    }

    /// Where a member would count from, if it began now.
    pub fn begin(&self, reset: OffsetReset) -> i64 {
        let known = self.checkpoint().map(|checkpoint| checkpoint.offset).or(self.origin());
        let begin = known.unwrap_or(match reset {
            OffsetReset::Earliest => self.log_start,
            OffsetReset::Latest => self.log_end,
        });
        begin.max(self.log_start)
    }

    /// Offsets that are yet to be counted; `None` while the group has not begun.
    pub fn lag(&self) -> Option<i64> {
        let known = self.checkpoint().map(|checkpoint| checkpoint.offset).or(self.origin())?;
        Some((self.log_end - known.max(self.log_start)).max(0))
    }
}

/// The topics that a command is about: those named, or all that are counted here. What is named must be in the catalogue.
pub fn chosen(config: &Config, catalog: &Catalog, named: &[String]) -> anyhow::Result<Vec<Arc<Topic>>> {
    if named.is_empty() {
        let counting = &config.counting;
        let is_counted = |topic: &&Arc<Topic>| {
            let is_listed = counting.topics.as_ref().is_none_or(|names| names.iter().any(|name| **name == *topic.name));
            is_listed && counting.partitions.as_ref().is_none_or(|by_hand| by_hand.contains_key(&*topic.name))
        };
        return Ok(catalog.topics.iter().filter(is_counted).cloned().collect());
    }
    let find = |name: &String| match catalog.topic(name) {
        Some(topic) => Ok(Arc::clone(topic)),
        None => {
            let known = catalog.topics.iter().map(|topic| &*topic.name);
            let hint = nearest(name, known).map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            bail!("no catalogue in force has the topic {name:?}{hint}")
        }
    };
    named.iter().map(find).collect()
}

/// How the partitions of these topics stand, in order. Topics that the log does not have are left out, and named beside.
pub async fn read(
    config: &Config,
    parts: &Parts,
    topics: &[Arc<Topic>],
) -> anyhow::Result<(Vec<Standing>, Vec<String>)> {
    let counts: BTreeMap<String, i32> =
        parts.log.topics().await?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
    let (mut partitions, mut absent) = (Vec::new(), Vec::new());
    for topic in topics {
        let Some(count) = counts.get(&*topic.name) else {
            absent.push(topic.name.to_string());
            continue;
        };
        let by_hand = config.counting.partitions.as_ref().and_then(|by_hand| by_hand.get(&*topic.name));
        let numbers = (0..*count).filter(|number| by_hand.is_none_or(|by_hand| by_hand.contains(number)));
        partitions
            .extend(numbers.map(|number| (Arc::clone(topic), TopicPartition::new(Arc::clone(&topic.name), number))));
    }
    let names: Vec<TopicPartition> = partitions.iter().map(|(_, partition)| partition.clone()).collect();
    let stored = parts.store.positions(&names).await?;
    let roster = parts.store.roster(&config.kafka.group).await?;
    let cards = card::cards(&roster);
    let limits = |partition: TopicPartition| async move {
        let start = parts.log.offset_at(&partition, At::Start).await?;
        Ok::<_, LogError>((start, parts.log.offset_at(&partition, At::End).await?))
    };
    let limits: Vec<(i64, i64)> =
        stream::iter(names).map(limits).buffered(ASKED_AT_ONCE).try_collect().await.context("asking the log")?;
    let standing = |(((topic, partition), shards), (log_start, log_end))| {
        let holder = roster.leases.get(&partition).map(|lease| Holder {
            member: MemberId::clone(&lease.holder),
            host: cards.get(&lease.holder).map(|card| card.host.clone()).unwrap_or_default(),
        });
        Standing { partition, topic, shards, log_start, log_end, holder }
    };
    Ok((partitions.into_iter().zip(stored).zip(limits).map(standing).collect(), absent))
}
