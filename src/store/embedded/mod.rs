//! `Store` in a file, through redb.
//!
//! One process has the file; a second one is refused. Writes run one after the other on a thread of the store's own, each in
//! one transaction that is on the disk before it is answered. Reads look at the last committed state and wait for no write.

mod apply;
mod collections;
mod exchange;
mod expiry;
mod failure;
mod hyperloglog;
mod inventory;
mod presences;
mod reading;
mod statuses;
mod tables;
mod writer;

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use redb::{ReadableDatabase, ReadableTable, TableHandle};

pub use exchange::EmbeddedExchange;

use self::{
    failure::{open_error, store_error},
    tables::{CHECKPOINTS, DOCUMENTS, META, NEVER, ORIGINS, Tables},
    writer::Writer,
};
use super::{Store, StoreError};
use crate::{
    core::roster::Group,
    model::{
        Answer, Beat, Beaten, GroupStatus, Outcome, Query, Roster, ScanPage, Section, ShardId, StoredPosition, Swap,
        SwapOutcome, TopicPartition,
    },
};

/// Memory that redb may use for pages; its own default is 1 GiB.
const CACHE_BYTES: usize = 16 * 1024 * 1024;
/// Most names that one page of a scan looks at.
const SCAN_MAX: usize = 10_000;

/// Most groups whose members are kept; a process has one.
const MAX_GROUPS: usize = 16;

/// Now, in milliseconds since 1970. Expiry is the one thing here that depends on the clock.
fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

/// A store in one file.
pub struct EmbeddedStore {
    writer: Writer,
    /// In memory only: members live no longer than the process that has the file.
    groups: Mutex<BTreeMap<Arc<str>, Group>>,
}

impl EmbeddedStore {
    /// Opens the file, and makes it where it is missing. Its folder must exist. After a crash redb repairs itself here.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where another process has the file or it may not be written, [`StoreError::Corrupt`] where it
    /// is no file of ours.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, StoreError> {
        let path = path.as_ref();
        let doing = format!("opening the store {}", path.display());
        let mut builder = redb::Database::builder();
        builder.set_cache_size(CACHE_BYTES);
        let database = builder.create(path).map_err(|error| open_error(&doing, &error))?;
        tables::create(&database).map_err(|error| store_error(&doing, &error))?;
        let writer = Writer::start(database).map_err(|reason| StoreError::Refused { doing, reason })?;
        Ok(Self { writer, groups: Mutex::default() })
    }

    fn reading<T>(
        &self,
        doing: &str,
        read: impl FnOnce(&redb::ReadTransaction) -> Result<T, redb::Error>,
    ) -> Result<T, StoreError> {
        let transaction = self.writer.database().begin_read().map_err(|error| store_error(doing, &error.into()))?;
        read(&transaction).map_err(|error| store_error(doing, &error))
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn open(&self, group: &str, topics: &[String]) -> Result<(), StoreError> {
        let (group, topics) = (group.to_owned(), topics.to_vec());
        let doing = format!("claiming topics for group {group:?}");
        let other = self
            .writer
            .write(doing, move |transaction| {
                let mut meta = transaction.open_table(META)?;
                for topic in &topics {
                    let owner = meta.get(tables::group_field(topic).as_str())?.map(|owner| owner.value().to_owned());
                    if let Some(owner) = owner.filter(|owner| *owner != group) {
                        return Ok(Some((topic.clone(), owner)));
                    }
                }
                for topic in &topics {
                    meta.insert(tables::group_field(topic).as_str(), group.as_str())?;
                }
                Ok(None)
            })
            .await?;
        other.map_or(Ok(()), |(topic, owner)| Err(StoreError::ClaimedByOther { topic, owner }))
    }

    async fn positions(&self, partitions: &[TopicPartition]) -> Result<Vec<Vec<StoredPosition>>, StoreError> {
        let doing = "reading checkpoints";
        let rows = self.reading(doing, |transaction| {
            let (checkpoints, origins) = (transaction.open_table(CHECKPOINTS)?, transaction.open_table(ORIGINS)?);
            let meta = transaction.open_table(META)?;
            let mut rows = Vec::with_capacity(partitions.len());
            for partition in partitions {
                let name = partition.to_string();
                let checkpoint = checkpoints.get(name.as_str())?.map(|text| text.value().to_owned());
                let origin = origins.get(name.as_str())?.map(|offset| offset.value());
                rows.push((
                    checkpoint,
                    origin,
                    reading::log_identity(&meta, partition)?,
                    reading::switches(&meta, partition)?,
                ));
            }
            Ok(rows)
        })?;
        let position = |(checkpoint, origin, log_identity, switches): (Option<String>, _, _, _)| {
            let checkpoint = checkpoint.map(|text| text.parse()).transpose();
            let checkpoint = checkpoint.map_err(|error: crate::model::CheckpointError| StoreError::Corrupt {
                doing: doing.to_owned(),
                reason: error.to_string(),
            })?;
            Ok(vec![StoredPosition { checkpoint, origin, log_identity, switches, restored: None }])
        };
        rows.into_iter().map(position).collect()
    }

    async fn fix_origins(&self, origins: &[(TopicPartition, i64)]) -> Result<Vec<i64>, StoreError> {
        let origins = origins.to_vec();
        self.writer
            .write("fixing first offsets".to_owned(), move |transaction| {
                let mut table = transaction.open_table(ORIGINS)?;
                let mut fixed = Vec::with_capacity(origins.len());
                for (partition, offset) in &origins {
                    let name = partition.to_string();
                    let stored = table.get(name.as_str())?.map(|stored| stored.value());
                    if stored.is_none() {
                        table.insert(name.as_str(), offset)?;
                    }
                    fixed.push(stored.unwrap_or(*offset));
                }
                Ok(fixed)
            })
            .await
    }

    async fn apply(&self, _shard: ShardId, sections: &[Section]) -> Result<Vec<Outcome>, StoreError> {
        let Some(first) = sections.first() else { return Ok(Vec::new()) };
        let doing = format!("applying {} sections, the first of {}", sections.len(), first.partition);
        let sections = sections.to_vec();
        self.writer
            .write(doing, move |transaction| {
                let mut tables = Tables::open(transaction)?;
                let now_ms = now_ms();
                let outcomes = sections.iter().map(|section| apply::section(&mut tables, section, now_ms)).collect();
                expiry::sweep(&mut tables, now_ms)?;
                outcomes
            })
            .await
    }

    async fn beat(
        &self,
        beat: &Beat,
        partitions: &[TopicPartition],
    ) -> Result<(Beaten, Vec<Vec<StoredPosition>>), StoreError> {
        let beaten = {
            let mut groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
            if groups.len() >= MAX_GROUPS && !groups.contains_key(&beat.group) {
                let doing = format!("beating for group {:?}", beat.group);
                return Err(StoreError::Refused { doing, reason: format!("the process has {MAX_GROUPS} groups") });
            }
            let group = groups.entry(beat.group.clone()).or_default();
            group.beat(beat, now_ms().unsigned_abs()).map_err(|error| StoreError::refused_beat(beat, error))?
        };
        Ok((beaten, self.positions(partitions).await?))
    }

    async fn roster(&self, group: &str) -> Result<Roster, StoreError> {
        let groups = self.groups.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(groups.get(group).map(|group| group.roster_at(now_ms().unsigned_abs())).unwrap_or_default())
    }

    async fn read(&self, queries: &[Query]) -> Result<Vec<Answer>, StoreError> {
        let (doing, now_ms) = ("reading results", now_ms());
        for query in queries {
            if let Query::Members { cursor, .. } = query {
                reading::check_cursor(doing, cursor)?;
            }
        }
        self.reading(doing, |transaction| {
            queries.iter().map(|query| reading::answer(transaction, query, now_ms)).collect()
        })
    }

    async fn note(&self, statuses: &[(Box<str>, GroupStatus)]) -> Result<(), StoreError> {
        let noted = statuses.to_vec();
        self.writer
            .write("noting what became of events".to_owned(), move |transaction| {
                let mut tables = Tables::open(transaction)?;
                let now_ms = now_ms();
                noted.iter().try_for_each(|(id, noted)| statuses::write(&mut tables, id, noted, now_ms))
            })
            .await
    }

    async fn scan(&self, prefix: &str, cursor: &str, limit: usize) -> Result<ScanPage, StoreError> {
        let doing = "listing counters";
        reading::check_cursor(doing, cursor)?;
        self.reading(doing, |transaction| reading::scan(transaction, prefix, cursor, limit.clamp(1, SCAN_MAX)))
    }

    async fn sweep(&self) -> Result<bool, StoreError> {
        let doing = "removing what has expired";
        let now_ms = now_ms();
        if !self.reading(doing, |transaction| expiry::is_due(transaction, now_ms))? {
            return Ok(false);
        }
        let sweep = move |transaction: &redb::WriteTransaction| expiry::sweep(&mut Tables::open(transaction)?, now_ms);
        self.writer.write(doing.to_owned(), sweep).await?;
        self.reading(doing, |transaction| expiry::is_due(transaction, now_ms))
    }

    async fn swap(&self, swaps: &[Swap]) -> Result<Vec<SwapOutcome>, StoreError> {
        let swaps = swaps.to_vec();
        self.writer
            .write("comparing and setting documents".to_owned(), move |transaction| {
                let mut tables = Tables::open(transaction)?;
                let now_ms = now_ms();
                swaps.iter().map(|swap| swap_one(&mut tables, swap, now_ms)).collect()
            })
            .await
    }
}

fn swap_one(tables: &mut Tables<'_>, swap: &Swap, now_ms: i64) -> Result<SwapOutcome, redb::Error> {
    let name = swap.name.as_str();
    let row = tables.documents.get(name)?.map(|row| (row.value().0, row.value().1.to_vec()));
    let old_expiry = row.as_ref().map(|(expire_at_ms, _)| *expire_at_ms);
    let stored = row.filter(|(expire_at_ms, _)| *expire_at_ms > now_ms).map(|(_, document)| document);
    if stored != swap.expect {
        return Ok(SwapOutcome::Differs(stored));
    }
    let ttl_ms = swap.ttl_ms.map(|ttl| i64::try_from(ttl).unwrap_or(NEVER));
    let expire_at_ms = ttl_ms.map_or(NEVER, |ttl| now_ms.saturating_add(ttl));
    match &swap.next {
        Some(document) => {
            tables.documents.insert(name, (expire_at_ms, document.as_slice()))?;
        }
        None => {
            tables.documents.remove(name)?;
        }
    }
    let new_expiry = swap.next.as_ref().map(|_| expire_at_ms);
    expiry::reschedule(tables, DOCUMENTS.name(), name, old_expiry, new_expiry)?;
    Ok(SwapOutcome::Swapped)
}
