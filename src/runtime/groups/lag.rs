//! How far a group is behind: its positions held against where the log ends.

use std::{collections::BTreeMap, time::Duration};

use futures::{StreamExt, stream};
use tokio::time::{Instant, timeout};

use super::{Group, GroupError, Groups, Kind, LOOK_WITHIN};
use crate::{
    core::{
        card::{self, Card},
        delivery::Position,
    },
    log::{At, FetchLimits, FetchPosition, LogError},
    model::{MemberId, StoredPosition, Swap, SwapOutcome, TopicPartition},
    runtime::delivery,
};

/// Partitions whose ends are asked for at once.
const ASKED_AT_ONCE: usize = 16;
/// Positions of deliveries that are read at once.
const READ_AT_ONCE: usize = 500;
/// How long the first records behind positions are looked for. What has not come by then is told without its time.
const FIRST_WITHIN: Duration = Duration::from_secs(3);
/// How that is read: little of each partition, since one record is wanted.
const LIMITS: FetchLimits = FetchLimits {
    max_wait: Duration::from_millis(500),
    min_bytes: 1,
    max_partition_bytes: 16 * 1024,
    max_bytes: 1024 * 1024,
};

/// How a partition stands in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The partition.
    pub partition: TopicPartition,
    /// Who holds it, and the machine that it runs on.
    pub holder: Option<(MemberId, String)>,
    /// The lowest offset that is not finished; `None` where the group has not begun.
    pub position: Option<i64>,
    /// One past the last readable record; `None` where the log does not say.
    pub end: Option<i64>,
    /// Records that are not finished; `None` where position or end is unknown.
    pub lag: Option<i64>,
    /// How old the first of them is, ms; 0 where there is none.
    pub lag_ms: Option<i64>,
}

/// How far a group is behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lag {
    /// Its partitions, in order.
    pub partitions: Vec<Standing>,
    /// Topics of the group that the log does not have.
    pub absent: Vec<String>,
}

/// How far a partition is finished.
#[derive(Clone, Copy, Debug)]
struct Place {
    /// The lowest offset that is not finished.
    from: i64,
    /// From here on nothing is finished.
    to: i64,
    /// What is not finished between them.
    unfinished: usize,
}

impl Place {
    fn at(offset: i64) -> Self {
        Self { from: offset, to: offset, unfinished: 0 }
    }

    fn lag(&self, end: i64) -> i64 {
        let unfinished = i64::try_from(self.unfinished).unwrap_or(i64::MAX);
        end.saturating_sub(self.to).max(0).saturating_add(unfinished)
    }
}

impl Groups {
    /// How far a group is behind in each of its partitions.
    ///
    /// # Errors
    /// The store or the log do not answer.
    pub async fn lag(&self, group: &Group) -> Result<Lag, GroupError> {
        let look = async {
            let _turn = self.turn.lock().await;
            self.look(group).await
        };
        timeout(LOOK_WITHIN, look).await.map_err(|_| GroupError::Slow)?
    }

    async fn look(&self, group: &Group) -> Result<Lag, GroupError> {
        let counts: BTreeMap<String, i32> =
            self.log.topics().await?.into_iter().map(|topic| (topic.name, topic.partitions)).collect();
        let (mut partitions, mut absent) = (Vec::new(), Vec::new());
        for topic in &group.topics {
            let Some(count) = counts.get(&**topic) else {
                absent.push(topic.to_string());
                continue;
            };
            let only = group.only.get(&**topic);
            let numbers = (0..*count).filter(|number| only.is_none_or(|only| only.contains(number)));
            partitions.extend(numbers.map(|number| TopicPartition::new(topic.clone(), number)));
        }
        let roster = self.roster(group).await?;
        let places = match group.kind {
            Kind::Counting => self.store.positions(&partitions).await?.iter().map(|shards| counted(shards)).collect(),
            Kind::Delivery => self.delivered(&group.name, &partitions).await?,
        };
        let ends = self.ends(&partitions).await;
        let behind = partitions.iter().zip(&places).zip(&ends).filter_map(|((partition, place), end)| {
            let place = (*place)?;
            (place.lag((*end)?) > 0).then(|| FetchPosition { partition: partition.clone(), offset: place.from })
        });
        let ages = self.ages(behind.collect()).await;
        let cards = card::cards(&roster);
        let standing = |((partition, place), end): ((TopicPartition, Option<Place>), Option<i64>)| {
            let holder = roster.leases.get(&partition).map(|lease| {
                let host = cards.get(&lease.holder).map(|Card { host, .. }| host.clone()).unwrap_or_default();
                (MemberId::clone(&lease.holder), host)
            });
            let lag = place.zip(end).map(|(place, end)| place.lag(end));
            let lag_ms = if lag == Some(0) { Some(0) } else { ages.get(&partition).copied() };
            Standing { partition, holder, position: place.map(|place| place.from), end, lag, lag_ms }
        };
        Ok(Lag { partitions: partitions.into_iter().zip(places).zip(ends).map(standing).collect(), absent })
    }

    /// What is delivered of partitions.
    async fn delivered(&self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Option<Place>>, GroupError> {
        let mut places = Vec::with_capacity(partitions.len());
        for partitions in partitions.chunks(READ_AT_ONCE) {
            let read =
                |partition| Swap { name: delivery::document(group, partition), expect: None, next: None, ttl_ms: None };
            let swaps: Vec<Swap> = partitions.iter().map(read).collect();
            for (outcome, Swap { name, .. }) in self.store.swap(&swaps).await?.into_iter().zip(swaps) {
                let SwapOutcome::Differs(Some(stored)) = outcome else {
                    places.push(None);
                    continue;
                };
                let position = Position::parse(&stored).ok_or(GroupError::Corrupt(name))?;
                let (from, to, unfinished) = (position.from(), position.to, position.unfinished.len());
                places.push(Some(Place { from, to, unfinished }));
            }
        }
        Ok(places)
    }

    /// Where partitions end, as far as the log says.
    async fn ends(&self, partitions: &[TopicPartition]) -> Vec<Option<i64>> {
        let end = |partition: TopicPartition| async move { self.log.offset_at(&partition, At::End).await };
        let ends = stream::iter(partitions.to_vec()).map(end).buffered(ASKED_AT_ONCE);
        ends.map(Result::ok).collect().await
    }

    /// How old the records at these places are, ms, as far as they come in time.
    async fn ages(&self, mut wanted: Vec<FetchPosition>) -> BTreeMap<TopicPartition, i64> {
        let until = Instant::now() + FIRST_WITHIN;
        let mut ages = BTreeMap::new();
        while !wanted.is_empty() && Instant::now() < until {
            for (partition, block) in self.log.fetch(&wanted, LIMITS).await {
                wanted.retain(|position| position.partition != partition);
                let mut first_ms = None;
                let visited = block.and_then(|block| {
                    block.records.visit(&mut |record| {
                        first_ms.get_or_insert(record.timestamp_ms);
                    })
                });
                match (visited, first_ms) {
                    (_, Some(first_ms)) => {
                        let age = chrono::Utc::now().timestamp_millis().saturating_sub(first_ms);
                        ages.insert(partition, age.max(0));
                    }
                    (Err(error), None) => note(&partition, &error),
                    (Ok(()), None) => {}
                }
            }
        }
        ages
    }
}

fn note(partition: &TopicPartition, error: &LogError) {
    tracing::debug!(topic = %partition.topic, partition = partition.partition, %error, "the age of its first record is not told");
}

/// What is counted of a partition: in all shards, or else nothing from the group's first offset on.
fn counted(shards: &[StoredPosition]) -> Option<Place> {
    let checkpoints: Option<Vec<i64>> =
        shards.iter().map(|shard| shard.checkpoint.map(|checkpoint| checkpoint.offset)).collect();
    let lowest = checkpoints.and_then(|offsets| offsets.into_iter().min());
    lowest.or_else(|| shards.iter().find_map(|shard| shard.origin)).map(Place::at)
}
