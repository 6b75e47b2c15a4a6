//! Recounting: the log from where the group began, by the same fetcher, decoder, worker and flusher as counting, into a
//! shadow store; the comparison of what is stored with that ([`verify`]); and its exchange for that (`rebuild`, `exchanging`).
//!
//! The shadow is ours alone, so it stands at any checkpoints that we want. That makes the comparison exact while counting
//! goes on: stored values and the checkpoints they belong to are read as of one moment, the shadow is counted on to exactly
//! these checkpoints, and then both must be equal (invariant 0).
//!
//! Longer than most files, since a recount's parts, its errors and its way are read together.

mod exchanging;
mod lane;
mod moment;
mod rebuild;
mod snapshot;
mod stretches;
mod values;
pub mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use self::lane::Lane;
use super::{
    LOG_PART, STORE_PART,
    decoding::Decoding,
    fetcher::Fetcher,
    flusher::Flusher,
    generation::Generations,
    health::Health,
    imports::{Import, ImportError, imports},
    outside::Outside,
    schemas::Schemas,
    tenure::Tenure,
};
use crate::{
    catalog::plan::Topic,
    core::dedupe::IdentitySecret,
    log::{FetchLimits, Log, LogError},
    model::{Fingerprint, StoredPosition, TopicPartition},
    store::{Inventory, Store, StoreError},
};

pub use exchanging::{Exchanged, feeds_of, finish, is_under_way};
pub use rebuild::{RebuildPlan, Rebuilt, note_recounted, open_for_imports};
pub use snapshot::Snapshot;
pub use values::Value;
pub use verify::{Difference, Verified};

/// How long the log or the shadow may bring nothing before it is given up.
const STALLED_AFTER: Duration = Duration::from_secs(120);
/// How long its end is waited for.
const END_WITHIN: Duration = Duration::from_secs(10);
/// How often what was recounted is flushed.
const FLUSH_INTERVAL: Duration = Duration::from_millis(100);

/// A store with both its faces.
#[derive(Clone)]
pub struct Side {
    /// Results and checkpoints.
    pub store: Arc<dyn Store>,
    /// Keys that are no counters, by name.
    pub keys: Arc<dyn Inventory>,
}

impl Side {
    /// Of one store.
    pub fn new<S: Store + Inventory>(store: Arc<S>) -> Self {
        Self { store: Arc::clone(&store) as _, keys: store }
    }
}

/// What a recount is made of.
pub struct RecountParts {
    /// The log.
    pub log: Arc<dyn Log>,
    /// What is verified. Nothing of it is changed.
    pub live: Side,
    /// Whose counts they are (`KAFKA_CONSUMER_GROUP`).
    pub group: Arc<str>,
    /// What is noted outside of it.
    pub outside: Arc<dyn Outside>,
    /// An empty store.
    pub shadow: Side,
    /// What is recounted; with each topic those that share keys with it.
    pub topics: Vec<Arc<Topic>>,
    /// These are not all topics, so keys that other topics make are left out.
    pub is_part: bool,
    /// Where the log no longer holds the group's beginning, the recount begins where the log does; else it cannot be done.
    pub accepts_loss: bool,
    /// Earlier totals to begin at.
    pub snapshot: Option<Snapshot>,
    /// How to fetch.
    pub limits: FetchLimits,
    /// Bytes of blocks that are held at most (`KAFKA_FETCH_MAX_BYTES`).
    pub fetch_max_bytes: usize,
    /// `BATCH_SIZE`.
    pub batch_events: usize,
    /// The key of identities.
    pub secret: Arc<IdentitySecret>,
}

/// Why nothing can be said.
#[derive(Debug, thiserror::Error)]
pub enum RecountError {
    /// The store, or the shadow.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The log.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What was imported.
    #[error(transparent)]
    Import(#[from] ImportError),
    /// Partitions whose counts cannot be made again, each with the reason.
    #[error("cannot verify: {}", .0.join("; "))]
    CannotVerify(Vec<String>),
    /// What is in the way of a rebuild, each with the way out.
    #[error("cannot rebuild: {}", .0.join("; "))]
    CannotRebuild(Vec<String>),
    /// Nothing came for a long time.
    #[error("{doing}: nothing has come for {} s{}", STALLED_AFTER.as_secs(), if .why.is_empty() { String::new() } else { format!(" ({why})") })]
    Stalled {
        /// What was being done.
        doing: String,
        /// What health says.
        why: String,
    },
    /// The shadow did not take what was recounted.
    #[error("recounting {partition} failed: {why}")]
    Shadow {
        /// The partition.
        partition: TopicPartition,
        /// Why.
        why: String,
    },
    /// A task has failed: a defect of ours.
    #[error("a task of the recount has failed ({0}): report this")]
    Task(#[from] JoinError),
}

/// How far a recount is.
#[derive(Debug, Default)]
pub struct Progress {
    /// Offsets to read, as far as is known.
    pub offsets: AtomicU64,
    /// Offsets that were read.
    pub read: AtomicU64,
    /// Keys that were compared.
    pub compared: AtomicU64,
    /// The results are being exchanged: members wait.
    pub is_exchanging: AtomicBool,
    /// Names that were exchanged.
    pub exchanged: AtomicU64,
}

/// What recounting shares over its partitions.
struct Machine {
    fetcher: Arc<Fetcher>,
    decoding: Arc<Decoding>,
    generations: Arc<Generations>,
    health: Arc<Health>,
    progress: Arc<Progress>,
}

/// A recount under way. Dropping it ends it.
pub struct Recount {
    parts: RecountParts,
    machine: Arc<Machine>,
    /// Those that have begun.
    lanes: BTreeMap<TopicPartition, Lane>,
    /// The topics under former rules, by which some offsets were counted.
    former: BTreeMap<(Arc<str>, Fingerprint), Arc<Topic>>,
    /// The partitions that the log has.
    partitions: Vec<TopicPartition>,
    imports: Vec<Import>,
    /// Parts of imports that the shadow has.
    repeated: BTreeSet<TopicPartition>,
    loops: JoinSet<()>,
    stop: CancellationToken,
}

impl Drop for Recount {
    fn drop(&mut self) {
        self.stop.cancel();
        self.loops.abort_all();
    }
}

impl Recount {
    /// Values that name a schema are read by those that `schemas` knows.
    pub fn read_by(&self, schemas: Arc<dyn Schemas>) {
        self.machine.decoding.read_by(schemas, Arc::clone(&self.machine.health));
    }

    /// Prepares a recount; nothing is read yet.
    pub fn new(parts: RecountParts) -> Self {
        let health = Arc::new(Health::new(Instant::now()));
        for part in [LOG_PART, STORE_PART] {
            health.add_part(part, true, Instant::now());
        }
        let machine = Arc::new(Machine {
            fetcher: Fetcher::new(Arc::clone(&parts.log), parts.limits, parts.fetch_max_bytes, Arc::clone(&health)),
            decoding: Arc::default(),
            generations: Arc::default(),
            health: Arc::clone(&health),
            progress: Arc::default(),
        });
        let flusher = Flusher {
            generations: Arc::clone(&machine.generations),
            store: Arc::clone(&parts.shadow.store),
            outside: None,
            health,
            interval: FLUSH_INTERVAL,
        };
        let (stop, mut loops) = (CancellationToken::new(), JoinSet::new());
        loops.spawn(Arc::clone(&machine.fetcher).run(stop.clone()));
        // Never abandoned: what was sent to the shadow must not arrive behind its removal.
        loops.spawn(flusher.run(stop.clone(), CancellationToken::new()));
        Self {
            parts,
            machine,
            lanes: BTreeMap::new(),
            former: BTreeMap::new(),
            partitions: Vec::new(),
            imports: Vec::new(),
            repeated: BTreeSet::new(),
            loops,
            stop,
        }
    }

    /// Ends it: when this returns nothing is written to the shadow any more.
    pub async fn end(mut self) {
        self.stop.cancel();
        let ended = async { while self.loops.join_next().await.is_some() {} };
        // A shadow that does not answer is left to whoever removes it.
        let _ = tokio::time::timeout(END_WITHIN, ended).await;
    }

    /// How far it is.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.machine.progress)
    }

    /// Looks which partitions the log has and which imports the store.
    async fn look_around(&mut self) -> Result<(), RecountError> {
        let topics = self.parts.log.topics().await?;
        let count =
            |topic: &Arc<Topic>| topics.iter().find(|found| found.name == *topic.name).map_or(0, |t| t.partitions);
        let numbered = |topic: &Arc<Topic>| {
            let name = Arc::clone(&topic.name);
            (0..count(topic)).map(move |partition| TopicPartition { topic: Arc::clone(&name), partition })
        };
        self.partitions = self.parts.topics.iter().flat_map(numbered).collect();
        self.imports = imports(&*self.parts.live.store).await?;
        Ok(())
    }

    /// Everything that has a checkpoint: the partitions of the log, and the parts of imports.
    fn positioned(&self) -> Vec<TopicPartition> {
        let parts = self.imports.iter().flat_map(Import::partitions);
        self.partitions.iter().cloned().chain(parts).collect()
    }

    /// Counts the shadow on to exactly these positions.
    async fn follow(&mut self, positions: &[(TopicPartition, StoredPosition)]) -> Result<(), RecountError> {
        self.repeat_imports(positions).await?;
        let (mut moving, mut wrong) = (JoinSet::new(), Vec::new());
        for (partition, position) in positions {
            let Some(topic) = self.parts.topics.iter().find(|topic| topic.name == partition.topic) else { continue };
            let Some(checkpoint) = position.checkpoint else { continue };
            if !self.lanes.contains_key(partition) {
                match Lane::begin(&self.parts, topic, partition, position).await? {
                    Ok(lane) => {
                        let former = lane.former().map(|topic| ((Arc::clone(&topic.name), topic.fingerprint), topic));
                        self.former.extend(former.map(|(name, topic)| (name, Arc::clone(topic))));
                        self.lanes.insert(partition.clone(), lane);
                    }
                    Err(why) => {
                        wrong.push(format!("{partition}: {why}"));
                        continue;
                    }
                }
            }
            let Some(lane) = self.lanes.get(partition) else { continue };
            match lane.way_to(checkpoint) {
                Ok(0) => {}
                Ok(offsets) => {
                    self.machine.progress.offsets.fetch_add(offsets, Ordering::Relaxed);
                    if let Some(lane) = self.lanes.remove(partition) {
                        moving.spawn(lane.advance(Arc::clone(&self.machine), checkpoint.offset));
                    }
                }
                Err(why) => wrong.push(format!("{partition}: {why}")),
            }
        }
        if !wrong.is_empty() {
            return Err(RecountError::CannotVerify(wrong));
        }
        let mut moved: Vec<Arc<Tenure>> = Vec::with_capacity(moving.len());
        while let Some(lane) = moving.join_next().await {
            let lane = lane??;
            moved.push(Arc::clone(&lane.tenure));
            self.lanes.insert(lane.tenure.partition.clone(), lane);
        }
        for tenure in moved {
            self.machine.flushed(&tenure).await?;
        }
        Ok(())
    }

    async fn repeat_imports(&mut self, positions: &[(TopicPartition, StoredPosition)]) -> Result<(), RecountError> {
        for import in &self.imports {
            for partition in import.partitions() {
                let was_added = |(known, position): &(TopicPartition, StoredPosition)| {
                    *known == partition && position.checkpoint.is_some()
                };
                if !self.repeated.contains(&partition) && positions.iter().any(was_added) {
                    let (live, shadow) = (&*self.parts.live.store, &*self.parts.shadow.store);
                    import.repeat(live, shadow, partition.partition).await?;
                    self.repeated.insert(partition);
                }
            }
        }
        Ok(())
    }
}

impl Machine {
    /// Waits until the shadow has all that a tenure brought.
    async fn flushed(&self, tenure: &Tenure) -> Result<(), RecountError> {
        let flushed = tokio::time::timeout(STALLED_AFTER, self.generations.flushed(tenure)).await;
        flushed.map_err(|_| self.stalled("writing what was recounted"))?;
        match tenure.is_alive() {
            true => Ok(()),
            false => Err(lane::void(tenure)),
        }
    }

    fn stalled(&self, doing: &str) -> RecountError {
        RecountError::Stalled { doing: doing.to_owned(), why: self.health.obstacles().join(", ") }
    }
}
