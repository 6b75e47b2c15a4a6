//! The table outside as a topic of the log: one partition, kept for ever, to which everybody appends notes.
//!
//! A process reads it once from its beginning, and then only what is new: mostly that is one question, where it ends.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use tokio::{sync::Mutex, time::Instant};
use uuid::Uuid;

use super::Outside;
use crate::{
    core::register::{Note, Register, Scope},
    log::{At, FetchLimits, FetchPosition, Log, LogError, TopicSpec},
    model::TopicPartition,
};

/// The topic.
pub const TOPIC: &str = "streamgauge.switches";
/// How it must be set: nothing in it may ever be removed.
const SETTINGS: [(&str, &str); 3] = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
/// How long reading may bring nothing new before it is given up.
const STALLED_AFTER: Duration = Duration::from_secs(30);
/// Bytes of one block. A note has some 200, a text of rules a few thousand.
const BLOCK_BYTES: i32 = 1024 * 1024;
const LIMITS: FetchLimits = FetchLimits {
    max_wait: Duration::from_millis(500),
    min_bytes: 1,
    max_partition_bytes: BLOCK_BYTES,
    max_bytes: BLOCK_BYTES,
};

/// The table outside, in a log.
pub struct LogOutside {
    log: Arc<dyn Log>,
    scope: Scope,
    /// The topic may be made where it is missing (`TOPICS_AUTO_APPLY`).
    may_create: bool,
    partition: TopicPartition,
    /// How often reading has begun.
    begun: AtomicU64,
    reading: Mutex<Reading>,
}

/// How far it was read.
#[derive(Default)]
struct Reading {
    register: Arc<Register>,
    /// The next offset to read; `None` before anything was.
    next: Option<i64>,
    /// Number of the last time that it was read to its end.
    number: u64,
}

impl LogOutside {
    /// The notes of this scope. Nothing is read before it is asked for; the log may be down.
    pub fn new(log: Arc<dyn Log>, scope: Scope, may_create: bool) -> Self {
        let partition = TopicPartition::new(TOPIC, 0);
        Self { log, scope, may_create, partition, begun: AtomicU64::new(0), reading: Mutex::default() }
    }

    async fn read_on(&self, reading: &mut Reading) -> Result<(), LogError> {
        let end = self.end().await?;
        let mut next = match reading.next {
            // Somebody has made the topic again.
            Some(next) if next > end => self.begin(reading).await?,
            Some(next) => next,
            None => self.begin(reading).await?,
        };
        let mut since = Instant::now();
        while next < end {
            let position = FetchPosition { partition: self.partition.clone(), offset: next };
            match self.log.fetch(&[position], LIMITS).await.pop() {
                None if since.elapsed() < STALLED_AFTER => continue,
                None => {
                    let after_ms = u64::try_from(STALLED_AFTER.as_millis()).unwrap_or(u64::MAX);
                    return Err(LogError::TimedOut { what: format!("reading {TOPIC}"), after_ms });
                }
                Some((_, Ok(block))) => {
                    self.take_in(reading, next, &*block.records)?;
                    (next, since) = (block.next_offset.max(next), Instant::now());
                    reading.next = Some(next);
                }
                Some((_, Err(error))) => {
                    if matches!(error, LogError::Recreated { .. } | LogError::OffsetOutOfRange { .. }) {
                        reading.next = None;
                        let reason = format!("{error}; it is read anew");
                        return Err(LogError::Unavailable { what: format!("reading {TOPIC}"), reason });
                    }
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Where it ends; made, where it is not there.
    async fn end(&self) -> Result<i64, LogError> {
        match self.log.offset_at(&self.partition, At::End).await {
            Err(LogError::Unknown { .. }) => {
                self.create().await?;
                self.log.offset_at(&self.partition, At::End).await
            }
            answer => answer,
        }
    }

    async fn begin(&self, reading: &mut Reading) -> Result<i64, LogError> {
        let start = self.log.offset_at(&self.partition, At::Start).await?;
        (reading.register, reading.next) = (Arc::default(), Some(start));
        Ok(start)
    }

    async fn create(&self) -> Result<(), LogError> {
        let told: Vec<String> = SETTINGS.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let by_hand = format!("make it with one partition and {}", told.join(", "));
        if !self.may_create {
            let reason = format!("the topic is not there, and TOPICS_AUTO_APPLY=false leaves it to you: {by_hand}");
            return Err(LogError::Refused { what: TOPIC.to_owned(), reason });
        }
        let configs = SETTINGS.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let spec =
            TopicSpec { name: TOPIC.to_owned(), partitions: 1, replication: None, configs: BTreeMap::from(configs) };
        match self.log.create_topic(&spec).await {
            Ok(true) => tracing::info!(topic = TOPIC, "topic created, for what must not fall back with the store"),
            Ok(false) => {}
            Err(LogError::Refused { what, reason }) => {
                return Err(LogError::Refused { what, reason: format!("{reason}; or {by_hand}") });
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// The ids of the topics that notes are of.
    async fn topic_ids<'n>(&self, notes: &'n [Note]) -> Result<BTreeMap<&'n str, Option<Uuid>>, LogError> {
        let mut topic_ids = BTreeMap::new();
        for partition in notes.iter().filter_map(Note::partition) {
            if !topic_ids.contains_key(&*partition.topic) {
                topic_ids.insert(&*partition.topic, self.log.identity(partition).await?.topic_id);
            }
        }
        Ok(topic_ids)
    }

    fn take_in(&self, reading: &mut Reading, from: i64, records: &dyn crate::log::Records) -> Result<(), LogError> {
        let register = Arc::make_mut(&mut reading.register);
        let (mut first, mut count) = (None, 0_u64);
        records.visit(&mut |record| {
            if record.offset >= from
                && let Err(why) = register.take_in(&self.scope, record.key, record.value)
            {
                (first, count) = (first.or(Some((record.offset, why))), count + 1);
            }
        })?;
        if let Some((offset, why)) = first {
            tracing::warn!(
                topic = TOPIC,
                offset,
                count,
                "{count} notes are passed over, from offset {offset} on: {why}"
            );
        }
        Ok(())
    }
}

#[async_trait]
impl Outside for LogOutside {
    async fn read(&self) -> Result<Arc<Register>, LogError> {
        let asked = self.begun.load(Ordering::SeqCst);
        let mut reading = self.reading.lock().await;
        // Partitions are taken over together: who waited for a reading that has begun since needs none of its own.
        if reading.number <= asked {
            let number = self.begun.fetch_add(1, Ordering::SeqCst) + 1;
            self.read_on(&mut reading).await?;
            reading.number = number;
        }
        Ok(Arc::clone(&reading.register))
    }

    async fn add(&self, notes: &[Note]) -> Result<(), LogError> {
        if notes.is_empty() {
            return Ok(());
        }
        let topic_ids = self.topic_ids(notes).await?;
        let id =
            |note: &Note| note.partition().and_then(|partition| topic_ids.get(&*partition.topic).copied().flatten());
        let records = notes.iter().map(|note| note.record(&self.scope, id(note))).collect();
        let mut outcome = Ok(());
        for (note, answer) in notes.iter().zip(self.log.produce(&self.partition, records).await) {
            match (note, answer) {
                (_, Ok(_)) => {}
                (Note::Text(fingerprint, _), Err(error @ LogError::TooLarge { .. })) => {
                    tracing::warn!(%error, "the text of the rules {fingerprint} is kept in the store alone");
                }
                // Whoever adds has read: the topic was removed since.
                (_, Err(LogError::Unknown { .. })) => {
                    self.create().await?;
                    let reason = "it was made again just now".to_owned();
                    outcome = Err(LogError::Unavailable { what: format!("adding to {TOPIC}"), reason });
                }
                (_, Err(error)) => outcome = Err(error),
            }
        }
        outcome
    }
}
