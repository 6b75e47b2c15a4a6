//! Dead letters: looked at, replayed, purged.
//!
//! They lie in the log, and what was done with them in the store, in a [`ledger`](crate::core::ledger) for each partition. Every call
//! ends within [`CALL_WITHIN`] and says where the next one goes on, so that nobody waits for ever and nothing is held in between.

mod books;
mod cursor;
mod error;
mod purge;
mod replay;
mod sending;
mod settle;
mod walk;
mod watch;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use tokio::time::Instant;

use self::{books::Books, walk::Walk};
pub use self::{
    cursor::Cursor,
    error::DeadLetterError,
    purge::{PurgeOptions, Purged},
    replay::{ReplayOptions, Replayed},
};
use crate::{
    catalog::{
        nearest,
        plan::{Catalog, Topic},
    },
    core::letter::{Filter, Letter},
    log::{Log, LogError},
    model::TopicPartition,
    store::Store,
};

/// How long a call goes on to look at dead letters, or to replay them. One that is under way then is finished.
pub const CALL_WITHIN: Duration = Duration::from_secs(8);
/// Most dead letters that a call looks at.
pub const MAX_LOOKED_AT: u64 = 50_000;
/// How often a change of a ledger is tried again that others were faster with.
const MAX_TRIES: usize = 20;
/// Most dead letters of a topic that are looked at to tell their reasons.
const MAX_REASONED: u64 = 5_000;

/// Deletes records where a partition begins. The seam of the log has no such call.
#[async_trait]
pub trait Trimming: Send + Sync + 'static {
    /// Deletes what lies before an offset, and returns where the partition begins now.
    async fn delete_before(&self, partition: &TopicPartition, offset: i64) -> Result<i64, LogError>;
}

/// What dead letters are looked at with.
pub struct DeadLetterParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// The store.
    pub store: Arc<dyn Store>,
    /// Deletes records.
    pub trimming: Arc<dyn Trimming>,
    /// Whose topics have dead letters.
    pub catalog: Arc<Catalog>,
    /// `DLQ_MAX_REPLAYS`.
    pub max_replays: u32,
    /// `KAFKA_REQUEST_TIMEOUT_MS`: for so long a record may be on its way.
    pub request_timeout: Duration,
}

/// The dead letters of all topics.
pub struct DeadLetters {
    parts: DeadLetterParts,
    books: Books,
    /// Whoever changes something: one call at a time.
    turn: tokio::sync::Mutex<()>,
}

/// How many dead letters a topic has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TopicLetters {
    /// The topic that they come from.
    pub topic: String,
    /// How many wait: those that lie there without those that are done with.
    pub waiting: i64,
    /// How many of them were found to have each reason.
    pub reasons: BTreeMap<String, u64>,
    /// All were looked at; else only the first [`MAX_REASONED`] offsets.
    pub is_whole: bool,
}

/// A page of dead letters.
#[derive(Clone, Debug, Default)]
pub struct Page {
    /// Those that are meant, without those that are done with.
    pub letters: Vec<Letter>,
    /// How many dead letters were looked at.
    pub looked_at: u64,
    /// Where to go on; `None` at the end.
    pub cursor: Option<Cursor>,
}

impl DeadLetters {
    /// Nothing is read before the first call.
    pub fn new(parts: DeadLetterParts) -> Self {
        let books = Books::new(Arc::clone(&parts.store));
        Self { parts, books, turn: tokio::sync::Mutex::default() }
    }

    /// How often a record is replayed at most.
    pub fn max_replays(&self) -> u32 {
        self.parts.max_replays
    }

    /// The catalogue's topic by its name, or by that of its dead letter topic.
    ///
    /// # Errors
    /// No catalogue has it.
    pub fn topic(&self, name: &str) -> Result<&Arc<Topic>, DeadLetterError> {
        let catalog = &self.parts.catalog;
        let found =
            catalog.topic(name).or_else(|| catalog.topics.iter().find(|topic| topic.dead_letter_topic() == name));
        found.ok_or_else(|| {
            let nearest = nearest(name, catalog.topics.iter().map(|topic| &*topic.name)).map(str::to_owned);
            DeadLetterError::UnknownTopic { topic: name.to_owned(), nearest }
        })
    }

    /// All topics, and how many dead letters wait in each; a topic whose dead letter topic is not there yet has none.
    ///
    /// # Errors
    /// The log or the store does not answer.
    pub async fn topics(&self) -> Result<Vec<TopicLetters>, DeadLetterError> {
        let (began, mut all) = (Instant::now(), Vec::new());
        for topic in &self.parts.catalog.topics {
            all.push(self.overview(topic, began.elapsed() < CALL_WITHIN).await?);
        }
        Ok(all)
    }

    /// How many wait, and for which reasons where there is time to look.
    async fn overview(&self, topic: &Topic, has_time: bool) -> Result<TopicLetters, DeadLetterError> {
        let mut told = TopicLetters { topic: topic.name.to_string(), is_whole: true, ..TopicLetters::default() };
        told.waiting = self.waiting(topic).await?;
        if told.waiting == 0 || !has_time {
            told.is_whole = told.waiting == 0;
            return Ok(told);
        }
        let mut walk = Walk::begin(self, topic, &Filter::default(), None).await?;
        while let Some(block) = walk.next_block().await? {
            for letter in block.waiting() {
                *told.reasons.entry(letter.reason.clone()).or_default() += 1;
            }
            if walk.looked_at() >= MAX_REASONED || walk.is_late() {
                told.is_whole = walk.is_at_end().await?;
                break;
            }
        }
        Ok(told)
    }

    /// How many dead letters of a topic wait. Offsets that hold no record are among them.
    async fn waiting(&self, topic: &Topic) -> Result<i64, DeadLetterError> {
        let mut waiting = 0;
        for partition in self.partitions(topic).await? {
            let (from, to) = walk::bounds(&*self.parts.log, &partition).await?;
            if from >= to {
                continue;
            }
            let ledger = self.ledger(&partition).await?.ledger;
            waiting += to - from - ledger.done.count_within(from, to);
        }
        Ok(waiting)
    }

    /// The partitions that a topic's dead letters lie in.
    async fn partitions(&self, topic: &Topic) -> Result<Vec<TopicPartition>, DeadLetterError> {
        let name = topic.dead_letter_topic();
        let count = self.partition_count(&name).await?;
        let name: Arc<str> = name.into();
        Ok((0..count).map(|number| TopicPartition::new(Arc::clone(&name), number)).collect())
    }

    /// How many partitions a topic of the log has; none where it is not there.
    async fn partition_count(&self, name: &str) -> Result<i32, DeadLetterError> {
        let topics = self.parts.log.topics().await?;
        Ok(topics.iter().find(|known| known.name == name).map_or(0, |known| known.partitions))
    }

    /// A page of the dead letters that a filter means, at most `limit` of them.
    ///
    /// # Errors
    /// The log or the store does not answer.
    pub async fn list(
        &self,
        topic: &Topic,
        filter: &Filter,
        cursor: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, DeadLetterError> {
        let mut page = Page::default();
        let mut walk = Walk::begin(self, topic, filter, cursor).await?;
        while let Some(block) = walk.next_block().await? {
            for letter in block.waiting() {
                if !walk.means(letter) {
                    continue;
                }
                page.letters.push(letter.clone());
                if page.letters.len() == limit {
                    walk.stop_behind(letter);
                    break;
                }
            }
            if page.letters.len() == limit || walk.is_enough() {
                break;
            }
        }
        page.looked_at = walk.looked_at();
        page.cursor = walk.cursor().await?;
        Ok(page)
    }
}
