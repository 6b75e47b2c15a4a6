//! The exchange of two files. Every write is a transaction of the live one; the shadow is only read, so a step may be done twice.
//!
//! Longer than most files, since what each kind of key takes with it is read side by side.

use std::sync::Arc;

use async_trait::async_trait;
use redb::{ReadTransaction, ReadableDatabase, ReadableTable, TableHandle};

use super::{
    EmbeddedStore, expiry,
    failure::store_error,
    inventory, presences,
    tables::{
        CHECKPOINTS, COUNTER_EXPIRIES, COUNTERS, EXCHANGE, LAST, MEMBERS, PRESENCES, RECENT_SIZES, RECENTS,
        TOP_EXPIRIES, TOPS, Tables, UNIQUES,
    },
};
use crate::{
    model::{
        Checkpoint, ExchangePlan, ExchangeState, ExchangeStep, Fingerprint, Kind, NotBegun, Phase, ShardId, Target,
        TopicPartition,
    },
    store::{Exchange, Half, KeyPage, StoreError, exchange::state_of},
};

/// Names of one page.
const PAGE: usize = 1_000;

/// A store and its shadow, where that is there.
pub struct EmbeddedExchange {
    live: Arc<EmbeddedStore>,
    shadow: Option<Arc<EmbeddedStore>>,
}

impl EmbeddedExchange {
    /// Of two files that are open.
    pub fn new(live: Arc<EmbeddedStore>, shadow: Option<Arc<EmbeddedStore>>) -> Self {
        Self { live, shadow }
    }

    fn shadow(&self, doing: &str) -> Result<ReadTransaction, StoreError> {
        let gone = || StoreError::Refused {
            doing: doing.to_owned(),
            reason: "the shadow that was recounted is gone".to_owned(),
        };
        let shadow = self.shadow.as_ref().ok_or_else(gone)?;
        shadow.writer.database().begin_read().map_err(|error| store_error(doing, &error.into()))
    }
}

#[async_trait]
impl Exchange for EmbeddedExchange {
    fn shards(&self) -> ShardId {
        1
    }

    async fn state(&self, _shard: ShardId) -> Result<Option<ExchangeState>, StoreError> {
        let doing = "looking for an exchange";
        let fields: Vec<(String, String)> = self.live.reading(doing, |transaction| {
            let table = transaction.open_table(EXCHANGE)?;
            table
                .iter()?
                .map(|row| row.map(|(field, value)| (field.value().to_owned(), value.value().to_owned())))
                .collect::<Result<_, _>>()
                .map_err(Into::into)
        })?;
        if fields.is_empty() {
            return Ok(None);
        }
        let reason = || "what is noted cannot be read".to_owned();
        let state = state_of(fields, self.shadow.is_some());
        state.map(Some).ok_or_else(|| StoreError::Corrupt { doing: doing.to_owned(), reason: reason() })
    }

    async fn begin(
        &self,
        shard: ShardId,
        plan: &ExchangePlan,
        instead_of: Option<&str>,
    ) -> Result<Result<(), NotBegun>, StoreError> {
        let doing = "beginning the exchange";
        let shadow = self.shadow(doing)?;
        let (plan, instead_of) = (plan.clone(), instead_of.map(str::to_owned));
        let begin = move |transaction: &redb::WriteTransaction| {
            let mut tables = Tables::open(transaction)?;
            begin(&mut tables, &shadow, &plan, instead_of.as_deref(), shard)
        };
        self.live.writer.write(doing.to_owned(), begin).await
    }

    /// The cursor is the number of the kind and the last name that was seen.
    async fn names(&self, _shard: ShardId, half: Half, cursor: &str) -> Result<KeyPage, StoreError> {
        const COUNTERS_FIRST: [Kind; 2] = [Kind::Count, Kind::Last];
        let doing = "listing names";
        let store = match half {
            Half::Live => &self.live,
            Half::Shadow => self.shadow.as_ref().unwrap_or(&self.live),
        };
        let kinds: Vec<Kind> = COUNTERS_FIRST.into_iter().chain(inventory::KINDS).collect();
        let (number, after) = cursor.split_once('>').unwrap_or(("0", ""));
        let number: usize = number.parse().unwrap_or(kinds.len());
        let Some(kind) = kinds.get(number).copied() else {
            let reason = format!("{cursor:?} is no cursor that an earlier page gave");
            return Err(StoreError::Refused { doing: doing.to_owned(), reason });
        };
        let names = store.reading(doing, |transaction| inventory::names(transaction, kind, after, PAGE))?;
        let next = match names.last() {
            Some(last) if names.len() == PAGE => Some(format!("{number}>{last}")),
            _ => (number + 1 < kinds.len()).then(|| format!("{}>", number + 1)),
        };
        Ok(KeyPage { keys: names.into_iter().map(|name| (name, kind)).collect(), cursor: next })
    }

    async fn step(&self, step: &ExchangeStep<'_>) -> Result<bool, StoreError> {
        let ExchangeStep { phase, number, names, is_last, .. } = *step;
        let doing = format!("exchanging {} names", names.len());
        let shadow = self.shadow(&doing)?;
        let names = names.to_vec();
        let act = move |transaction: &redb::WriteTransaction| {
            let mut tables = Tables::open(transaction)?;
            if !is_at(&tables, phase, number)? {
                return Ok(false);
            }
            for (kind, name) in &names {
                let is_there = take(&mut tables, &shadow, *kind, name, phase == Phase::Taking)?;
                if phase == Phase::Removing && !is_there {
                    remove(&mut tables, *kind, name)?;
                }
            }
            tables.exchange.insert("step", (number + 1).to_string().as_str())?;
            if is_last && phase == Phase::Removing {
                tables.exchange.insert("phase", Phase::Taking.name())?;
            }
            Ok(true)
        };
        self.live.writer.write(doing, act).await
    }

    async fn finish(&self, _shard: ShardId, step: u64) -> Result<bool, StoreError> {
        let act = move |transaction: &redb::WriteTransaction| {
            let mut tables = Tables::open(transaction)?;
            if !is_at(&tables, Phase::Taking, step)? {
                return Ok(false);
            }
            let mut fields = Vec::new();
            for row in tables.exchange.iter()? {
                let (field, value) = row?;
                fields.push((field.value().to_owned(), value.value().to_owned()));
            }
            let unreadable = || redb::Error::Corrupted("what an exchange has noted cannot be read".to_owned());
            let plan = state_of(fields, true).ok_or_else(unreadable)?.plan;
            for partition in exchanged(&tables, &plan)? {
                tables.checkpoints.remove(partition.as_str())?;
            }
            for Target { partition, checkpoint, gap } in &plan.targets {
                tables.checkpoints.insert(partition.to_string().as_str(), checkpoint.to_string().as_str())?;
                if let Some(gap) = gap {
                    tables.gaps.insert(format!("{partition}:{}", gap.from).as_str(), gap.to)?;
                }
            }
            tables.exchange.retain(|_, _| false)?;
            Ok(true)
        };
        self.live.writer.write("ending the exchange".to_owned(), act).await
    }
}

/// Whether a section may not be applied for an exchange of its topic: only one that expects no checkpoint must ask.
pub(super) fn is_exchanged(tables: &Tables<'_>, partition: &TopicPartition) -> Result<bool, redb::Error> {
    Ok(tables.exchange.get(format!("topic:{}", partition.topic).as_str())?.is_some())
}

fn is_at(tables: &Tables<'_>, phase: Phase, step: u64) -> Result<bool, redb::Error> {
    let is = |field: &str, value: &str| -> Result<bool, redb::Error> {
        Ok(tables.exchange.get(field)?.is_some_and(|stored| stored.value() == value))
    };
    Ok(is("phase", phase.name())? && is("step", &step.to_string())?)
}

fn begin(
    tables: &mut Tables<'_>,
    shadow: &ReadTransaction,
    plan: &ExchangePlan,
    instead_of: Option<&str>,
    shard: ShardId,
) -> Result<Result<(), NotBegun>, redb::Error> {
    let under_way = tables.exchange.get("id")?.map(|id| id.value().to_owned());
    if under_way.as_deref() == Some(&plan.id) {
        return Ok(Ok(()));
    }
    if under_way.as_deref() != instead_of {
        return Ok(Err(NotBegun::UnderWay { shard }));
    }
    let counted = shadow.open_table(CHECKPOINTS)?;
    for target in &plan.targets {
        let name = target.partition.to_string();
        let in_shadow = target.in_shadow().to_string();
        if counted.get(name.as_str())?.is_none_or(|stored| stored.value() != in_shadow) {
            return Ok(Err(NotBegun::Shadow(name)));
        }
        let Some(stored) = tables.checkpoints.get(name.as_str())?.map(|stored| stored.value().to_owned()) else {
            continue;
        };
        let follows = |stored: Checkpoint| {
            stored.incarnation < target.checkpoint.incarnation && stored.offset >= target.checkpoint.offset
        };
        if !stored.parse().is_ok_and(follows) {
            return Ok(Err(NotBegun::Moved { partition: name, stored }));
        }
    }
    let stray = Checkpoint { fingerprint: Fingerprint::EXCHANGE, ..Checkpoint::default() }.to_string();
    for partition in exchanged(tables, plan)? {
        tables.checkpoints.insert(partition.as_str(), stray.as_str())?;
    }
    tables.exchange.retain(|_, _| false)?;
    let mut note = |field: &str, value: &str| tables.exchange.insert(field, value).map(drop);
    note("id", &plan.id)?;
    note("phase", Phase::Removing.name())?;
    note("step", "0")?;
    plan.topics.iter().try_for_each(|topic| note(&format!("topic:{topic}"), "1"))?;
    for target in &plan.targets {
        note(&format!("to:{}", target.partition), &target.checkpoint.to_string())?;
        if let Some(gap) = target.gap {
            note(&format!("gap:{}", target.partition), &format!("{}:{}", gap.from, gap.to))?;
        }
    }
    for target in &plan.targets {
        tables.checkpoints.insert(target.partition.to_string().as_str(), target.mark().to_string().as_str())?;
    }
    Ok(Ok(()))
}

/// The stored partitions of the plan's topics.
fn exchanged(tables: &Tables<'_>, plan: &ExchangePlan) -> Result<Vec<String>, redb::Error> {
    let mut names = Vec::new();
    for row in tables.checkpoints.iter()? {
        let (name, _) = row?;
        let partition = TopicPartition::parse(name.value());
        if partition.is_some_and(|partition| plan.topics.iter().any(|topic| **topic == *partition.topic)) {
            names.push(name.value().to_owned());
        }
    }
    Ok(names)
}

/// Whether the shadow has a name; where `writes`, what it has is put in place of what is stored.
fn take(
    tables: &mut Tables<'_>,
    shadow: &ReadTransaction,
    kind: Kind,
    name: &str,
    writes: bool,
) -> Result<bool, redb::Error> {
    match kind {
        Kind::Count | Kind::Max | Kind::Last => {
            let number = shadow.open_table(COUNTERS)?.get(name)?.map(|number| number.value());
            let latest = shadow.open_table(LAST)?;
            let latest = latest.get(name)?;
            if writes {
                if let Some(number) = number {
                    tables.counters.insert(name, number)?;
                }
                expiry::forget_counter(tables, name)?;
                if let Some(expire_at_ms) = shadow.open_table(COUNTER_EXPIRIES)?.get(name)? {
                    expiry::note_counter(tables, name, expire_at_ms.value(), 0)?;
                }
                match &latest {
                    Some(latest) => drop(tables.last.insert(name, latest.value())?),
                    None => drop(tables.last.remove(name)?),
                }
            }
            return Ok(number.is_some() || latest.is_some());
        }
        Kind::Unique => {
            let table = shadow.open_table(UNIQUES)?;
            let Some(row) = table.get(name)? else { return Ok(false) };
            if writes {
                remove(tables, kind, name)?;
                tables.uniques.insert(name, row.value())?;
                expiry::reschedule(tables, UNIQUES.name(), name, None, Some(row.value().0))?;
            }
        }
        Kind::Recent => {
            let Some(size) = shadow.open_table(RECENT_SIZES)?.get(name)? else { return Ok(false) };
            if writes {
                remove(tables, kind, name)?;
                tables.recent_sizes.insert(name, size.value())?;
                for row in shadow.open_table(RECENTS)?.range((name, i64::MIN, "")..)? {
                    let (key, _) = row?;
                    if key.value().0 != name {
                        break;
                    }
                    tables.recents.insert(key.value(), ())?;
                }
            }
        }
        Kind::Top => {
            let Some(expire_at_ms) = shadow.open_table(TOP_EXPIRIES)?.get(name)? else { return Ok(false) };
            if writes {
                remove(tables, kind, name)?;
                tables.top_expiries.insert(name, expire_at_ms.value())?;
                expiry::reschedule(tables, TOPS.name(), name, None, Some(expire_at_ms.value()))?;
                for row in shadow.open_table(TOPS)?.range((name, "")..)? {
                    let (key, sum) = row?;
                    if key.value().0 != name {
                        break;
                    }
                    tables.tops.insert(key.value(), sum.value())?;
                }
            }
        }
        Kind::Member => {
            let table = shadow.open_table(MEMBERS)?;
            let mut rows = table
                .range((name, "")..)?
                .take_while(|row| row.as_ref().is_ok_and(|row| row.0.value().0 == name))
                .peekable();
            // Of a set from which all was taken out, what is remembered of that may be left.
            let kept = shadow.open_table(PRESENCES)?;
            let first = kept.range((name, "")..)?.next().transpose()?;
            if rows.peek().is_none() && first.is_none_or(|(key, _)| key.value().0 != name) {
                return Ok(false);
            }
            if writes {
                remove(tables, kind, name)?;
                for row in rows {
                    tables.members.insert(row?.0.value(), ())?;
                }
                presences::take(tables, &kept, name)?;
            }
        }
    }
    Ok(true)
}

fn remove(tables: &mut Tables<'_>, kind: Kind, name: &str) -> Result<(), redb::Error> {
    // The least text that is greater than the name.
    let behind = format!("{name}\0");
    match kind {
        Kind::Count | Kind::Max | Kind::Last => {
            tables.counters.remove(name)?;
            tables.last.remove(name)?;
            expiry::forget_counter(tables, name)?;
        }
        Kind::Unique => {
            let old_ms = tables.uniques.remove(name)?.map(|row| row.value().0);
            expiry::reschedule(tables, UNIQUES.name(), name, old_ms, None)?;
        }
        Kind::Recent => {
            tables.recent_sizes.remove(name)?;
            tables.recents.retain_in((name, i64::MIN, "")..(behind.as_str(), i64::MIN, ""), |_, ()| false)?;
        }
        Kind::Top => {
            expiry::drop_window(tables, name, usize::MAX)?;
            let old_ms = tables.top_expiries.remove(name)?.map(|row| row.value());
            expiry::reschedule(tables, TOPS.name(), name, old_ms, None)?;
        }
        Kind::Member => {
            tables.members.retain_in((name, "")..(behind.as_str(), ""), |_, ()| false)?;
            presences::remove(tables, name)?;
        }
    }
    Ok(())
}
