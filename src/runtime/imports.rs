//! Imports: totals that were counted before us, added once.
//!
//! A part of an import is a section like any other, of a partition that no log has (`import:ID`, which is no topic's name):
//! it expects no checkpoint and leaves one, in the same atomic step as its totals. So it is added once, whoever sends it and
//! however often. What a part holds is kept in the store for ever, so that a recount can add it too.
//!
//! Longer than most files, since what an import leaves and how that is read again are judged together.

use serde::{Deserialize, Serialize};

use crate::{
    core::shards::split,
    model::{
        Checkpoint, Delta, Fingerprint, Key, Kind, LogIdentity, Outcome, Refusal, Section, ShardId, Swap, SwapOutcome,
        TopicPartition,
    },
    store::{Store, StoreError},
};

/// Totals of one part: such a section takes Redis about 5 ms.
pub const PART_TOTALS: usize = 4_000;
/// Most imports of one store.
pub const MAX_IMPORTS: usize = 1_000;
/// The document that lists the imports.
const INDEX: &str = "imports";
/// How often the list is read again because somebody else added to it.
const MAX_TRIES: usize = 16;

/// A total that was counted elsewhere.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Total {
    /// The counter.
    pub name: String,
    /// The total.
    pub value: i64,
    /// It is a highest value, not a sum.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_max: bool,
    /// When the counter expires by the catalogue's rules, milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expire_at_ms: Option<i64>,
}

/// An import, as the store lists it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Import {
    /// Hash of the file, as 32 hexadecimal digits in the store.
    #[serde(with = "hex")]
    pub id: u128,
    /// Number of its parts.
    pub parts: i32,
}

mod hex {
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &u128, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{id:032x}"))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u128, D::Error> {
        u128::from_str_radix(&String::deserialize(from)?, 16).map_err(D::Error::custom)
    }
}

/// Why an import was not done, or not to its end.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A part could not be added.
    #[error(
        "part {part} of {parts}: {refusal}; the parts before it were added. Mend the counter and import the same file again"
    )]
    Refused {
        /// The part, from 1.
        part: i32,
        /// Of so many.
        parts: i32,
        /// Why.
        refusal: Refusal,
    },
    /// What the store has of imports is not what was put there.
    #[error("the store's document {0:?} is not what an import leaves: something else writes to it")]
    Document(String),
    /// Counters are being exchanged for rebuilt ones.
    #[error(
        "the counters are being exchanged for rebuilt ones, or that was broken off: wait until `streamgauge counters rebuild` is \
         done, or run it again; then import"
    )]
    Closed,
    /// At the cap.
    #[error("the store has taken {MAX_IMPORTS} imports already; join files before they are imported")]
    TooMany,
}

impl Import {
    /// The import of a file with these bytes, and its parts. `totals` as the file says, each name once.
    pub fn of<'t>(file: &[u8], totals: &'t [Total]) -> (Self, Vec<&'t [Total]>) {
        let parts: Vec<&[Total]> = totals.chunks(PART_TOTALS).collect();
        let id = xxhash_rust::xxh3::xxh3_128(file);
        (Self { id, parts: i32::try_from(parts.len()).unwrap_or(i32::MAX) }, parts)
    }

    /// The partitions that stand for its parts.
    pub fn partitions(&self) -> Vec<TopicPartition> {
        let topic: std::sync::Arc<str> = format!("import:{:032x}", self.id).into();
        (0..self.parts).map(|part| TopicPartition { topic: std::sync::Arc::clone(&topic), partition: part }).collect()
    }

    /// The name of the document that has what a part holds.
    fn document(&self, part: i32) -> String {
        format!("import:{:032x}:{part}", self.id)
    }

    /// The section that adds a part.
    fn section(&self, partition: TopicPartition, totals: &[Total]) -> Section {
        let delta = |total: &Total| match (total.is_max, total.expire_at_ms) {
            (true, _) => (Key::new(Kind::Max, total.name.as_str()), Delta::Max(total.value)),
            (false, None) => (Key::new(Kind::Count, total.name.as_str()), Delta::Count(total.value)),
            (false, Some(expire_at_ms)) => {
                let delta = Delta::CountUntil { expire_at_ms, sum: total.value };
                (Key::new(Kind::Count, total.name.as_str()), delta)
            }
        };
        let offset = i64::try_from(totals.len()).unwrap_or(i64::MAX);
        Section {
            partition,
            expect: None,
            next: Checkpoint { offset, fingerprint: Fingerprint(self.id), ..Checkpoint::default() },
            gap: None,
            log_identity: LogIdentity::default(),
            switches: None,
            deltas: totals.iter().map(delta).collect(),
            statuses: Vec::new(),
        }
    }

    /// How many of its parts were added already, to every shard.
    ///
    /// # Errors
    /// The store.
    pub async fn added(&self, store: &dyn Store) -> Result<usize, StoreError> {
        let positions = store.positions(&self.partitions()).await?;
        Ok(positions.iter().filter(|shards| shards.iter().all(|shard| shard.checkpoint.is_some())).count())
    }

    /// Adds what was not added yet and says how many parts that were. What is added, and that it will be, is written down
    /// first: a recount must never miss what stands in the counters.
    ///
    /// # Errors
    /// The store, or a counter that cannot take its total. Doing the same again goes on where it stopped.
    pub async fn add(&self, store: &dyn Store, parts: &[&[Total]]) -> Result<usize, ImportError> {
        for (part, totals) in (0..).zip(parts) {
            let name = self.document(part);
            let text = serde_json::to_vec(totals).map_err(|_| ImportError::Document(name.clone()))?;
            let swap = Swap { name: name.clone(), expect: None, next: Some(text), ttl_ms: None };
            match store.swap(&[swap]).await?.pop() {
                Some(SwapOutcome::Swapped) => {}
                Some(SwapOutcome::Differs(Some(there))) if is_same(&there, totals) => {}
                _ => return Err(ImportError::Document(name)),
            }
        }
        self.list(store).await?;
        let mut added = 0;
        for (partition, totals) in self.partitions().into_iter().zip(parts) {
            let part = partition.partition + 1;
            match self.add_part(store, partition, totals).await? {
                Some(Outcome::Applied) => added += 1,
                Some(Outcome::AlreadyApplied) => {}
                Some(Outcome::Refused(refusal)) => {
                    return Err(ImportError::Refused { part, parts: self.parts, refusal });
                }
                _ => return Err(ImportError::Document("counters:checkpoints".to_owned())),
            }
        }
        Ok(added)
    }

    /// Adds a part to each shard, with the counters that lie there; the first answer that is no success, if there is one.
    async fn add_part(
        &self,
        store: &dyn Store,
        partition: TopicPartition,
        totals: &[Total],
    ) -> Result<Option<Outcome>, StoreError> {
        let positions = store.positions(std::slice::from_ref(&partition)).await?;
        let shards = positions.first().map_or(1, |shards| shards.len() as ShardId);
        let mut whole = Some(Outcome::AlreadyApplied);
        for (shard, section) in (0..).zip(split(&self.section(partition, totals), shards)) {
            match store.apply(shard, &[section]).await?.pop() {
                Some(Outcome::AlreadyApplied) => {}
                applied @ Some(Outcome::Applied) => whole = applied,
                other => return Ok(other),
            }
        }
        Ok(whole)
    }

    async fn list(&self, store: &dyn Store) -> Result<(), ImportError> {
        let document = || ImportError::Document(INDEX.to_owned());
        for _ in 0..MAX_TRIES {
            let there = index(store).await?;
            let Index { mut imports, closed } = parse(there.as_deref())?;
            if closed {
                return Err(ImportError::Closed);
            }
            if imports.contains(self) {
                return Ok(());
            }
            if imports.len() >= MAX_IMPORTS {
                return Err(ImportError::TooMany);
            }
            imports.push(*self);
            let next = Some(serde_json::to_vec(&imports).map_err(|_| document())?);
            let swap = Swap { name: INDEX.to_owned(), expect: there, next, ttl_ms: None };
            if store.swap(&[swap]).await?.pop() == Some(SwapOutcome::Swapped) {
                return Ok(());
            }
        }
        Err(document())
    }

    /// How many of its parts some shard of the store lacks.
    pub(super) async fn missing(&self, store: &dyn Store) -> Result<usize, StoreError> {
        let positions = store.positions(&self.partitions()).await?;
        Ok(positions.iter().filter(|shards| shards.iter().any(|shard| shard.checkpoint.is_none())).count())
    }

    /// Adds one part to another store, from what this one has written down of it.
    pub(super) async fn repeat(&self, from: &dyn Store, to: &dyn Store, part: i32) -> Result<(), ImportError> {
        let name = self.document(part);
        let text = read(from, &name).await?.ok_or_else(|| ImportError::Document(name.clone()))?;
        let totals: Vec<Total> = serde_json::from_slice(&text).map_err(|_| ImportError::Document(name.clone()))?;
        let partition = self.partitions().into_iter().nth(part.unsigned_abs() as usize);
        let partition = partition.ok_or_else(|| ImportError::Document(name.clone()))?;
        match self.add_part(to, partition, &totals).await? {
            Some(Outcome::Applied | Outcome::AlreadyApplied) => Ok(()),
            Some(Outcome::Refused(refusal)) => Err(ImportError::Refused { part: part + 1, parts: self.parts, refusal }),
            _ => Err(ImportError::Document(name)),
        }
    }
}

/// Whether a document holds these totals. When they expire is what the catalogue said when they were written down.
fn is_same(document: &[u8], totals: &[Total]) -> bool {
    let Ok(there) = serde_json::from_slice::<Vec<Total>>(document) else { return false };
    let plain = |total: &Total| Total { expire_at_ms: None, ..total.clone() };
    there.iter().map(plain).eq(totals.iter().map(plain))
}

/// The imports of a store, also those that have begun only.
///
/// # Errors
/// The store.
pub async fn imports(store: &dyn Store) -> Result<Vec<Import>, ImportError> {
    Ok(parse(index(store).await?.as_deref())?.imports)
}

/// Closes a store for imports, or opens it again: while counters are exchanged, what is added to them could be lost. It is part
/// of the list, which an import must have come into before it adds anything.
///
/// # Errors
/// The store.
pub(super) async fn close(store: &dyn Store, closed: bool) -> Result<(), ImportError> {
    let document = || ImportError::Document(INDEX.to_owned());
    for _ in 0..MAX_TRIES {
        let there = index(store).await?;
        let known = parse(there.as_deref())?;
        if known.closed == closed {
            return Ok(());
        }
        let next = match closed {
            true => serde_json::to_vec(&Index { closed, ..known }),
            false => serde_json::to_vec(&known.imports),
        };
        let next = Some(next.map_err(|_| document())?);
        let swap = Swap { name: INDEX.to_owned(), expect: there, next, ttl_ms: None };
        if store.swap(&[swap]).await?.pop() == Some(SwapOutcome::Swapped) {
            return Ok(());
        }
    }
    Err(document())
}

/// The list of imports as it is kept: while the store is closed for them in an object, else by itself.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Index {
    imports: Vec<Import>,
    closed: bool,
}

async fn index(store: &dyn Store) -> Result<Option<Vec<u8>>, StoreError> {
    read(store, INDEX).await
}

fn parse(text: Option<&[u8]>) -> Result<Index, ImportError> {
    let Some(text) = text else { return Ok(Index::default()) };
    let plain = serde_json::from_slice(text).map(|imports| Index { imports, closed: false });
    plain.or_else(|_| serde_json::from_slice(text)).map_err(|_| ImportError::Document(INDEX.to_owned()))
}

/// A document as it stands.
async fn read(store: &dyn Store, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
    let swap = Swap { name: name.to_owned(), expect: None, next: None, ttl_ms: None };
    Ok(match store.swap(&[swap]).await?.pop() {
        Some(SwapOutcome::Differs(there)) => there,
        _ => None,
    })
}
