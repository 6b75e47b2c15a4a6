//! The persistent tier in PostgreSQL: the totals of a store, taken from it and written in batches.
//!
//! A round takes what has changed from each shard and writes it in one transaction with the moment that it belongs to, so
//! that what the database has is always of one moment. Rows carry the version of the step that took them, and an older one
//! never replaces a newer one: neither does that of a member that was paused in the middle. Whoever copies for the first time
//! gets all totals, and so does one that has lost a transaction: what was taken for it is gone from the store's list of
//! changes.

mod connection;
mod positions;
mod statements;
mod tls;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use tokio_postgres::{IsolationLevel, Transaction};

pub use self::connection::PostgresOptions;
use self::{
    connection::{Connections, store_error},
    statements as sql,
};
use super::{Copied, Kept, Positions, PutBack, StoreError, Taken, Tier, Total, Totals};
use crate::model::ShardId;

/// Totals in one statement, and in one step of taking them.
const BATCH_TOTALS: usize = 5_000;
/// Steps over one shard in one round at most, while others change it as fast; what is left is for the next round.
const MAX_STEPS: u32 = 4_096;
/// Intervals after which another member copies in place of one that is silent.
const SILENT_INTERVALS: u32 = 3;

/// The tier of a store, in a database.
///
/// A call while the database is away fails within its deadline with [`StoreError::Unavailable`]; the next one connects again.
pub struct PostgresTier {
    store: Arc<dyn Totals>,
    /// The store's `REDIS_KEY_PREFIX`.
    prefix: String,
    connections: Connections,
    /// The name under which totals are taken: another one after each failure.
    who: Mutex<String>,
}

impl PostgresTier {
    /// Prepares the tier of a store. Nothing is connected before the first call, so the database may be down.
    ///
    /// # Errors
    /// The URL is none, or its certificates cannot be used. The URL is not repeated: it may hold a password.
    pub fn new(store: Arc<dyn Totals>, prefix: &str, options: PostgresOptions) -> Result<Self, StoreError> {
        let connections = Connections::new(options)?;
        Ok(Self { store, prefix: prefix.to_owned(), connections, who: Mutex::new(new_name()) })
    }

    fn who(&self) -> String {
        self.who.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Copies a shard in one transaction. Returns how many totals were written, and whether the copy is whole.
    async fn copy_shard(&self, shard: ShardId, patience: Duration) -> Result<(u64, bool), StoreError> {
        let doing = "copying totals to PostgreSQL";
        // The first step without a connection: where another member copies there is nothing to do.
        let who = self.who();
        let first = self.store.take(shard, &who, BATCH_TOTALS, patience).await?;
        let mut next = match first {
            Taken::Nothing | Taken::ByOther => return Ok((0, false)),
            taken => Some(taken),
        };
        let mut client = self.connections.client(doing).await?;
        let transaction = client.transaction().await.map_err(|error| store_error(doing, &error))?;
        let (mut written, mut sweep_from) = (0, None);
        for _ in 0..MAX_STEPS {
            let taken = match next.take() {
                Some(taken) => taken,
                None => self.store.take(shard, &who, BATCH_TOTALS, patience).await?,
            };
            let (step, whole) = match taken {
                Taken::Part(step) => (step, None),
                Taken::Whole(step, kept) => (step, Some(kept)),
                Taken::Nothing | Taken::ByOther => break,
            };
            sweep_from = if step.begins_sweep { Some(step.version) } else { sweep_from };
            self.write(&transaction, shard, step.version, &step.totals).await?;
            self.remove(&transaction, shard, step.version, &step.gone).await?;
            written += step.totals.len() as u64;
            if let Some(kept) = whole {
                let is_newest = self.note(&transaction, shard, &kept, sweep_from).await?;
                if !is_newest {
                    break;
                }
                transaction.commit().await.map_err(|error| store_error(doing, &error))?;
                return Ok((written, true));
            }
        }
        // Another one took over, the store was emptied, or it changes too fast: nothing is kept of this round.
        transaction.rollback().await.map_err(|error| store_error(doing, &error))?;
        let reason = "the store's totals could not be taken whole: another member has taken over, or the database has a newer \
                      copy; the next round begins again";
        Err(StoreError::Unavailable { doing: doing.to_owned(), reason: reason.to_owned() })
    }

    async fn write(
        &self,
        transaction: &Transaction<'_>,
        shard: ShardId,
        version: u64,
        totals: &[Total],
    ) -> Result<(), StoreError> {
        if totals.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = totals.iter().map(|total| total.name.as_str()).collect();
        let values: Vec<i64> = totals.iter().map(|total| total.value).collect();
        let heads: Vec<Option<&str>> = totals.iter().map(|total| total.head.as_deref()).collect();
        let (shard, version) = (number(shard), version as i64);
        let written = transaction.execute(sql::WRITE, &[&self.prefix, &shard, &names, &values, &heads, &version]).await;
        written.map_err(|error| store_error("writing totals to PostgreSQL", &error))?;
        Ok(())
    }

    async fn remove(
        &self,
        transaction: &Transaction<'_>,
        shard: ShardId,
        version: u64,
        names: &[String],
    ) -> Result<(), StoreError> {
        if !names.is_empty() {
            let (shard, version) = (number(shard), version as i64);
            let removed = transaction.execute(sql::REMOVE, &[&self.prefix, &shard, &names, &version]).await;
            removed.map_err(|error| store_error("removing totals from PostgreSQL", &error))?;
        }
        Ok(())
    }

    /// Notes what the totals of a shard belong to; `false` where the database has something newer. After all totals were gone
    /// over, rows that were not met are of none any more.
    async fn note(
        &self,
        transaction: &Transaction<'_>,
        shard: ShardId,
        kept: &Kept,
        sweep_from: Option<u64>,
    ) -> Result<bool, StoreError> {
        let doing = "noting what the totals in PostgreSQL belong to";
        let failed = |error| store_error(doing, &error);
        let (shards, version) = (number(self.store.shards()), kept.version as i64);
        let shard = number(shard);
        if let Some(from) = sweep_from {
            transaction.execute(sql::FORGET, &[&self.prefix, &shard, &(from as i64)]).await.map_err(failed)?;
        }
        let positions = positions::write(&kept.positions);
        let noted = transaction
            .execute(sql::NOTE, &[&self.prefix, &shard, &shards, &version, &kept.at_ms, &positions])
            .await
            .map_err(failed)?;
        Ok(noted == 1)
    }

    /// The moment of a shard, as a transaction sees it.
    async fn moment(&self, transaction: &Transaction<'_>, shard: ShardId) -> Result<Option<Kept>, StoreError> {
        let doing = "reading what the totals in PostgreSQL belong to";
        let row = transaction.query_opt(sql::MOMENT, &[&self.prefix, &number(shard)]).await;
        let Some(row) = row.map_err(|error| store_error(doing, &error))? else { return Ok(None) };
        let (shards, version, at_ms, text): (i16, i64, i64, String) = (row.get(0), row.get(1), row.get(2), row.get(3));
        if shards != number(self.store.shards()) {
            return Err(StoreError::OtherShards { noted: shards.to_string(), asked: self.store.shards() });
        }
        let count = transaction.query_one(sql::COUNT, &[&self.prefix, &number(shard)]).await;
        let totals: i64 = count.map_err(|error| store_error(doing, &error))?.get(0);
        let positions = positions::read(doing, &text)?;
        Ok(Some(Kept { version: version.unsigned_abs(), at_ms, totals: totals.unsigned_abs(), positions }))
    }
}

#[async_trait]
impl Tier for PostgresTier {
    fn name(&self) -> &'static str {
        "PostgreSQL"
    }

    async fn copy(&self, interval: Duration) -> Result<Copied, StoreError> {
        let mut copied = Copied::default();
        for shard in 0..self.store.shards() {
            match self.copy_shard(shard, interval * SILENT_INTERVALS).await {
                Ok((totals, is_whole)) => {
                    copied.totals += totals;
                    copied.shards += ShardId::from(is_whole);
                }
                Err(error) => {
                    *self.who.lock().unwrap_or_else(PoisonError::into_inner) = new_name();
                    return Err(error);
                }
            }
        }
        Ok(copied)
    }

    async fn kept(&self, shard: ShardId) -> Result<Option<Kept>, StoreError> {
        let doing = "reading what the totals in PostgreSQL belong to";
        let mut client = self.connections.client(doing).await?;
        let transaction = client.transaction().await.map_err(|error| store_error(doing, &error))?;
        self.moment(&transaction, shard).await
    }

    async fn put_back(&self, shard: ShardId, kept: &Kept, positions: &Positions) -> Result<PutBack, StoreError> {
        let doing = "reading totals from PostgreSQL";
        let failed = |error| store_error(doing, &error);
        let mut client = self.connections.client(doing).await?;
        // One state of the database from the first page to the last.
        let transaction = client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true);
        let transaction = transaction.start().await.map_err(failed)?;
        if self.moment(&transaction, shard).await?.is_none_or(|now| now.version != kept.version) {
            return Ok(PutBack::Changed);
        }
        let mut after = String::new();
        loop {
            let limit = BATCH_TOTALS as i64;
            let rows = transaction.query(sql::PAGE, &[&self.prefix, &number(shard), &after, &limit]).await;
            let rows = rows.map_err(failed)?;
            let total = |row: &tokio_postgres::Row| Total { name: row.get(0), value: row.get(1), head: row.get(2) };
            let totals: Vec<Total> = rows.iter().map(total).collect();
            let Some(last) = totals.last() else { break };
            after.clone_from(&last.name);
            match self.store.give(shard, &totals).await? {
                PutBack::Done => {}
                other => return Ok(other),
            }
        }
        self.store.begin(shard, positions).await
    }
}

/// A shard's number as the database has it; there are at most [`crate::core::shards::MAX_SHARDS`].
fn number(shard: ShardId) -> i16 {
    i16::try_from(shard).unwrap_or(i16::MAX)
}

fn new_name() -> String {
    uuid::Uuid::new_v4().to_string()
}
