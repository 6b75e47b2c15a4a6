//! The broker's topics: which there are, kept in one small file, and their partitions.
//!
//! Longer than most files, since all that changes the list does so under one lock and in one order: file first, then memory.

mod files;
mod saved;

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
};

use uuid::Uuid;

use self::{
    files::{finish_deletions, open_together, partition_dir},
    saved::{Saved, SavedTopic},
};
use super::{BrokerError, partition::Partition, segment::sync_dir, settings::Settings};

/// Most partitions of all topics together: each holds a file open.
pub const MAX_PARTITIONS: usize = 512;
/// Longest topic name, as in Kafka.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;
/// Partitions of a topic whose creator leaves the number to the broker.
pub const DEFAULT_PARTITIONS: i32 = 1;
/// Producer ids that are set aside at once, so that not each one waits for the disk; a restart skips what is left of them.
const PRODUCER_ID_BLOCK: i64 = 1_000;

/// A topic as it is now. A change of it is a new one in its place.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Another one after the topic was deleted and created again.
    pub id: Uuid,
    /// What was set.
    pub settings: Settings,
    /// By number.
    pub partitions: Vec<Arc<Partition>>,
}

/// Why a topic was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum TopicError {
    /// It is there.
    #[error("the topic exists already")]
    Exists,
    /// It is not there.
    #[error("there is no such topic")]
    Unknown,
    /// Not a name that Kafka allows.
    #[error("a topic's name has 1 to {MAX_TOPIC_NAME_BYTES} letters, digits, '.', '_' and '-'")]
    InvalidName,
    /// No such number of partitions.
    #[error("the embedded broker holds 1 to {MAX_PARTITIONS} partitions, all topics together")]
    InvalidPartitions,
    /// Not more partitions than there are.
    #[error("the topic has {0} partitions; their number can only grow")]
    NotMorePartitions(usize),
    /// The files could not be made or written.
    #[error(transparent)]
    Storage(#[from] BrokerError),
}

/// All topics.
#[derive(Debug)]
pub struct Topics {
    dir: PathBuf,
    segment_bytes: u64,
    cluster_id: String,
    known: RwLock<Known>,
    /// What is in the file. Held while topics change, so that readers of `known` do not wait for the disk.
    saved: Mutex<Saved>,
    producer_ids: Mutex<Range<i64>>,
}

#[derive(Debug, Default)]
struct Known {
    by_name: BTreeMap<Arc<str>, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Known {
    fn insert(&mut self, topic: Topic) {
        let topic = Arc::new(topic);
        self.by_id.insert(topic.id, topic.clone());
        self.by_name.insert(topic.name.clone(), topic);
    }

    fn remove(&mut self, name: &str) -> Option<Arc<Topic>> {
        let topic = self.by_name.remove(name)?;
        self.by_id.remove(&topic.id);
        Some(topic)
    }
}

impl Topics {
    /// Opens all logs of the folder, or begins an empty one.
    pub fn open(dir: &Path, segment_bytes: u64) -> Result<Self, BrokerError> {
        let mut saved = saved::load(dir)?;
        finish_deletions(dir, &mut saved)?;
        let all: Vec<(&str, i32)> = saved
            .topics
            .iter()
            .flat_map(|(name, topic)| (0..topic.partitions).map(|number| (name.as_str(), number)))
            .collect();
        let mut known = Known::default();
        let mut opened = open_together(dir, &all, segment_bytes).into_iter();
        for (name, topic) in &saved.topics {
            let count = usize::try_from(topic.partitions).unwrap_or(0);
            let partitions = opened.by_ref().take(count).map(|one| one.map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
            let topic =
                Topic { name: Arc::from(name.as_str()), id: topic.id, settings: topic.settings.clone(), partitions };
            topic.apply_settings(segment_bytes);
            known.insert(topic);
        }
        Ok(Self {
            dir: dir.into(),
            segment_bytes,
            cluster_id: saved.cluster_id.clone(),
            known: RwLock::new(known),
            saved: Mutex::new(saved),
            producer_ids: Mutex::new(0..0),
        })
    }

    /// The cluster's id, drawn when the folder was begun.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Where the logs lie.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// When a segment is full unless the topic says it, bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.segment_bytes
    }

    /// A topic.
    pub fn get(&self, name: &str) -> Option<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.get(name).cloned()
    }

    /// A topic by its id.
    pub fn get_by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_id.get(&id).cloned()
    }

    /// A partition.
    pub fn partition(&self, name: &str, number: i32) -> Option<Arc<Partition>> {
        self.get(name)?.partition(number)
    }

    /// All topics by name.
    pub fn all(&self) -> Vec<Arc<Topic>> {
        self.known.read().unwrap_or_else(PoisonError::into_inner).by_name.values().cloned().collect()
    }

    /// Creates a topic, or with `dry_run` only says whether it could be. It is durable when this returns: a few syncs of small
    /// files in the caller's thread, which is bearable for so rare a call.
    pub fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: Settings,
        dry_run: bool,
    ) -> Result<Option<Arc<Topic>>, TopicError> {
        let mut saved = self.saved();
        if !is_valid_name(name) {
            return Err(TopicError::InvalidName);
        }
        if saved.topics.contains_key(name) {
            return Err(TopicError::Exists);
        }
        check_room(&saved, partitions)?;
        if dry_run {
            return Ok(None);
        }
        if saved.deleting.contains_key(name) {
            finish_deletions(&self.dir, &mut saved)?;
        }
        let topic = Topic {
            name: Arc::from(name),
            id: Uuid::new_v4(),
            partitions: self.open_new(name, 0..partitions)?,
            settings,
        };
        self.keep(&mut saved, topic)?;
        tracing::debug!(topic = name, partitions, "created a topic");
        Ok(self.get(name))
    }

    /// Gives a topic more partitions, `partitions` in all.
    pub fn grow(&self, name: &str, partitions: i32, dry_run: bool) -> Result<(), TopicError> {
        let mut saved = self.saved();
        let topic = self.get(name).ok_or(TopicError::Unknown)?;
        let present = topic.partitions.len() as i32;
        if partitions <= present {
            return Err(TopicError::NotMorePartitions(topic.partitions.len()));
        }
        check_room(&saved, partitions - present)?;
        if dry_run {
            return Ok(());
        }
        let mut topic = (*topic).clone();
        topic.partitions.extend(self.open_new(name, present..partitions)?);
        self.keep(&mut saved, topic)
    }

    /// Sets what a topic is to keep.
    pub fn set(&self, name: &str, settings: Settings) -> Result<(), TopicError> {
        let mut saved = self.saved();
        let topic = self.get(name).ok_or(TopicError::Unknown)?;
        self.keep(&mut saved, Topic { settings, ..(*topic).clone() })
    }

    /// Deletes a topic: durably out of the list first, then its files. A crash between the two is made good on opening.
    pub fn delete(&self, name: &str) -> Result<(), TopicError> {
        let mut saved = self.saved();
        let mut next = saved.clone();
        let topic = next.topics.remove(name).ok_or(TopicError::Unknown)?;
        next.deleting.insert(name.to_owned(), topic.partitions);
        saved::save(&self.dir, &next)?;
        *saved = next;
        let topic = self.known.write().unwrap_or_else(PoisonError::into_inner).remove(name);
        topic.iter().flat_map(|topic| &topic.partitions).for_each(|partition| partition.retire());
        tracing::info!(topic = name, "deleted a topic");
        if let Err(error) = finish_deletions(&self.dir, &mut saved) {
            tracing::warn!(topic = name, %error, "files of a deleted topic are left until the next start");
        }
        Ok(())
    }

    /// An id for an idempotent producer, which no other gets in this folder's life.
    pub fn new_producer_id(&self) -> Result<i64, BrokerError> {
        let mut ids = self.producer_ids.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = ids.next() {
            return Ok(id);
        }
        let mut saved = self.saved();
        let mut next = saved.clone();
        next.next_producer_id = saved.next_producer_id.saturating_add(PRODUCER_ID_BLOCK);
        saved::save(&self.dir, &next)?;
        *ids = saved.next_producer_id + 1..next.next_producer_id;
        let id = saved.next_producer_id;
        *saved = next;
        Ok(id)
    }

    /// Deletes what the topics no longer keep.
    pub fn retain(&self, now_ms: i64) {
        for topic in self.all() {
            let retention = topic.settings.retention();
            for partition in &topic.partitions {
                if let Err(error) = partition.retain(retention, now_ms) {
                    tracing::warn!(%partition, %error, "old records are kept for now");
                }
            }
        }
    }

    fn saved(&self) -> MutexGuard<'_, Saved> {
        self.saved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_new(&self, name: &str, numbers: Range<i32>) -> Result<Vec<Arc<Partition>>, BrokerError> {
        for number in numbers.clone() {
            let dir = partition_dir(&self.dir, name, number);
            fs::create_dir_all(&dir).map_err(|source| BrokerError::io("cannot make the folder", &dir, source))?;
        }
        let all: Vec<(&str, i32)> = numbers.map(|number| (name, number)).collect();
        let opened = open_together(&self.dir, &all, self.segment_bytes).into_iter();
        let opened = opened.map(|partition| partition.map(Arc::new)).collect();
        // The folders first: a topic in the list has its logs.
        sync_dir(&self.dir).map_err(|source| BrokerError::io("cannot sync", &self.dir, source))?;
        opened
    }

    /// Writes the topic to the file, and then puts it in the place of what was there.
    fn keep(&self, saved: &mut Saved, topic: Topic) -> Result<(), TopicError> {
        let mut next = saved.clone();
        let partitions = topic.partitions.len() as i32;
        let entry = SavedTopic { id: topic.id, partitions, settings: topic.settings.clone() };
        next.topics.insert(topic.name.to_string(), entry);
        saved::save(&self.dir, &next)?;
        *saved = next;
        topic.apply_settings(self.segment_bytes);
        self.known.write().unwrap_or_else(PoisonError::into_inner).insert(topic);
        Ok(())
    }
}

impl Topic {
    /// A partition by its number.
    pub fn partition(&self, number: i32) -> Option<Arc<Partition>> {
        self.partitions.get(usize::try_from(number).ok()?).cloned()
    }

    fn apply_settings(&self, segment_bytes: u64) {
        let settings = &self.settings;
        let (segment_bytes, max_batch_bytes) = (settings.segment_bytes(segment_bytes), settings.max_batch_bytes());
        for partition in &self.partitions {
            partition.set_limits(segment_bytes, max_batch_bytes, settings.compression());
        }
    }
}

fn check_room(saved: &Saved, more: i32) -> Result<(), TopicError> {
    let present: usize = saved.topics.values().map(|topic| usize::try_from(topic.partitions).unwrap_or(0)).sum();
    let room = MAX_PARTITIONS.saturating_sub(present);
    let fits = usize::try_from(more).is_ok_and(|count| count > 0 && count <= room);
    if fits { Ok(()) } else { Err(TopicError::InvalidPartitions) }
}

/// Whether Kafka allows the name.
pub fn is_valid_name(name: &str) -> bool {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    !name.is_empty()
        && name.len() <= MAX_TOPIC_NAME_BYTES
        && name != "."
        && name != ".."
        && name.chars().all(is_allowed)
}
