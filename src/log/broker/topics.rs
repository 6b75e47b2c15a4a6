//! The broker's topics: which there are, kept in one small file, and their partitions.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, RwLock},
    thread,
};

use serde::{Deserialize, Serialize};

use super::{BrokerError, index::write_atomically, partition::Partition, segment::sync_dir};

/// Most partitions of all topics together: each holds a file open.
pub const MAX_PARTITIONS: usize = 512;
/// Longest topic name, as in Kafka.
pub const MAX_TOPIC_NAME_BYTES: usize = 249;
/// Partitions of a topic whose creator leaves the number to the broker.
pub const DEFAULT_PARTITIONS: i32 = 1;

const METADATA_FILE_NAME: &str = "broker.json";
const FORMAT_VERSION: u32 = 1;

/// A topic's partitions by number.
pub type TopicPartitions = Arc<Vec<Arc<Partition>>>;

/// Why a topic was not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateError {
    /// It is there.
    #[error("the topic exists already")]
    Exists,
    /// Not a name that Kafka allows.
    #[error("a topic's name has 1 to {MAX_TOPIC_NAME_BYTES} letters, digits, '.', '_' and '-'")]
    InvalidName,
    /// No such number of partitions.
    #[error("the embedded broker holds 1 to {MAX_PARTITIONS} partitions, all topics together")]
    InvalidPartitions,
    /// The folders could not be made.
    #[error(transparent)]
    Storage(#[from] BrokerError),
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    version: u32,
    cluster_id: String,
    /// Partition count by name.
    topics: BTreeMap<String, i32>,
}

/// All topics.
#[derive(Debug)]
pub struct Topics {
    dir: PathBuf,
    segment_bytes: u64,
    cluster_id: String,
    by_name: RwLock<BTreeMap<Arc<str>, TopicPartitions>>,
    /// Held while a topic is made, so that readers of the map do not wait for the disk.
    creating: Mutex<()>,
}

/// Threads that open partitions: each partition syncs what it recovered, and syncs that run together share the disk's
/// work, so that a start with many partitions is quick.
const OPENING_THREADS: usize = 16;

/// Opens partitions, in order; one result each.
fn open_together(dir: &Path, all: &[(&str, i32)], segment_bytes: u64) -> Vec<Result<Partition, BrokerError>> {
    let open = |(name, number): &(&str, i32)| {
        Partition::open(name, *number, &partition_dir(dir, name, *number), segment_bytes)
    };
    let share = all.len().div_ceil(OPENING_THREADS).max(1);
    thread::scope(|scope| {
        let threads: Vec<_> =
            all.chunks(share).map(|part| scope.spawn(move || part.iter().map(open).collect::<Vec<_>>())).collect();
        let failed = || vec![Err(BrokerError::Thread { thread: "opening", reason: "has panicked".to_owned() })];
        threads.into_iter().flat_map(|thread| thread.join().unwrap_or_else(|_| failed())).collect()
    })
}

impl Topics {
    /// Opens all logs of the folder, or begins an empty one.
    pub fn open(dir: &Path, segment_bytes: u64) -> Result<Self, BrokerError> {
        let metadata = load(dir)?;
        let all: Vec<(&str, i32)> = metadata
            .topics
            .iter()
            .flat_map(|(name, partitions)| (0..*partitions).map(|number| (name.as_str(), number)))
            .collect();
        let mut by_name: BTreeMap<Arc<str>, Vec<Arc<Partition>>> = BTreeMap::new();
        for ((name, _), partition) in all.iter().zip(open_together(dir, &all, segment_bytes)) {
            by_name.entry(Arc::from(*name)).or_default().push(Arc::new(partition?));
        }
        let by_name = by_name.into_iter().map(|(name, partitions)| (name, Arc::new(partitions))).collect();
        Ok(Self {
            dir: dir.into(),
            segment_bytes,
            cluster_id: metadata.cluster_id,
            by_name: RwLock::new(by_name),
            creating: Mutex::new(()),
        })
    }

    /// The cluster's id, drawn when the folder was begun.
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// A topic.
    pub fn get(&self, name: &str) -> Option<TopicPartitions> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// A partition.
    pub fn partition(&self, name: &str, number: i32) -> Option<Arc<Partition>> {
        self.get(name)?.get(usize::try_from(number).ok()?).cloned()
    }

    /// All topics by name.
    pub fn all(&self) -> BTreeMap<Arc<str>, TopicPartitions> {
        self.by_name.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Creates a topic, or with `dry_run` only says whether it could be. It is durable when this returns: a few syncs of small
    /// files in the caller's thread, which is bearable for so rare a call.
    pub fn create(&self, name: &str, partitions: i32, dry_run: bool) -> Result<(), CreateError> {
        let _guard = self.creating.lock().unwrap_or_else(PoisonError::into_inner);
        if !is_valid_name(name) {
            return Err(CreateError::InvalidName);
        }
        let mut topics: BTreeMap<String, i32> =
            self.all().iter().map(|(name, partitions)| (name.to_string(), partitions.len() as i32)).collect();
        if topics.contains_key(name) {
            return Err(CreateError::Exists);
        }
        let present: usize = topics.values().map(|count| *count as usize).sum();
        if !usize::try_from(partitions)
            .is_ok_and(|count| count > 0 && count <= MAX_PARTITIONS - present.min(MAX_PARTITIONS))
        {
            return Err(CreateError::InvalidPartitions);
        }
        if dry_run {
            return Ok(());
        }
        for number in 0..partitions {
            let dir = partition_dir(&self.dir, name, number);
            fs::create_dir_all(&dir).map_err(|source| BrokerError::io("cannot make the folder", &dir, source))?;
        }
        let all: Vec<(&str, i32)> = (0..partitions).map(|number| (name, number)).collect();
        let opened = open_together(&self.dir, &all, self.segment_bytes).into_iter();
        let opened = opened.map(|partition| partition.map(Arc::new)).collect::<Result<Vec<_>, _>>()?;
        // The folders first: a topic in the list has its logs.
        sync_dir(&self.dir).map_err(|source| BrokerError::io("cannot sync", &self.dir, source))?;
        topics.insert(name.into(), partitions);
        let metadata = Metadata { version: FORMAT_VERSION, cluster_id: self.cluster_id.clone(), topics };
        save(&self.dir, &metadata)?;
        self.by_name.write().unwrap_or_else(PoisonError::into_inner).insert(name.into(), Arc::new(opened));
        tracing::debug!(topic = name, partitions, "created a topic");
        Ok(())
    }
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

fn partition_dir(dir: &Path, topic: &str, number: i32) -> PathBuf {
    dir.join(format!("{topic}-{number}"))
}

fn load(dir: &Path) -> Result<Metadata, BrokerError> {
    let path = dir.join(METADATA_FILE_NAME);
    let unusable = |reason: String| BrokerError::MetadataUnusable { path: path.clone(), reason };
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let mut entries = fs::read_dir(dir).map_err(|source| BrokerError::io("cannot list", dir, source))?;
            if entries.any(|entry| entry.is_ok_and(|entry| entry.path().is_dir())) {
                return Err(unusable("is missing, though there are logs beside it".into()));
            }
            let cluster_id = uuid::Uuid::new_v4().to_string();
            let metadata = Metadata { version: FORMAT_VERSION, cluster_id, topics: BTreeMap::new() };
            save(dir, &metadata)?;
            return Ok(metadata);
        }
        Err(source) => return Err(BrokerError::io("cannot read", path, source)),
    };
    let metadata: Metadata =
        serde_json::from_slice(&text).map_err(|error| unusable(format!("cannot be read: {error}")))?;
    if metadata.version != FORMAT_VERSION {
        return Err(unusable(format!("has format {}, this version knows {FORMAT_VERSION}", metadata.version)));
    }
    if let Some(name) = metadata.topics.keys().find(|name| !is_valid_name(name)) {
        return Err(unusable(format!("holds the invalid topic name {name:?}")));
    }
    Ok(metadata)
}

fn save(dir: &Path, metadata: &Metadata) -> Result<(), BrokerError> {
    let path = dir.join(METADATA_FILE_NAME);
    let text = serde_json::to_vec_pretty(metadata).map_err(std::io::Error::other);
    text.and_then(|text| write_atomically(&path, &text)).map_err(|source| BrokerError::io("cannot write", path, source))
}
