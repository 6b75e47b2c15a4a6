//! The tables of the file. Collections have one row per element, so that a flush touches only what it changes.

use redb::{Database, Table, TableDefinition, WriteTransaction};

use crate::model::TopicPartition;

/// An expiry that never comes.
pub(super) const NEVER: i64 = i64::MAX;

/// Name to number: counts, highest, latest, counters that members move.
pub(super) const COUNTERS: TableDefinition<&str, i64> = TableDefinition::new("counters");
/// Name of a counter to its expiry in ms, where it has one.
pub(super) const COUNTER_EXPIRIES: TableDefinition<&str, i64> = TableDefinition::new("counter_expiries");
/// Name to the (time in ms, origin) that the number of a `last` belongs to.
pub(super) const LAST: TableDefinition<&str, (i64, &str)> = TableDefinition::new("last");
/// Name to (expiry in ms, registers).
pub(super) const UNIQUES: TableDefinition<&str, (i64, &[u8])> = TableDefinition::new("uniques");
/// (Name, time in ms, origin and element).
pub(super) const RECENTS: TableDefinition<(&str, i64, &str), ()> = TableDefinition::new("recents");
/// Name to its number of rows in [`RECENTS`].
pub(super) const RECENT_SIZES: TableDefinition<&str, u64> = TableDefinition::new("recent_sizes");
/// (Name of a window, element) to sum.
pub(super) const TOPS: TableDefinition<(&str, &str), i64> = TableDefinition::new("tops");
/// Name of a window to its expiry in ms. A window without a row here does not exist.
pub(super) const TOP_EXPIRIES: TableDefinition<&str, i64> = TableDefinition::new("top_expiries");
/// (Name, element).
pub(super) const MEMBERS: TableDefinition<(&str, &str), ()> = TableDefinition::new("members");
/// (Name, element) to what its latest event says, where that decides: (time in ms, origin, whether it is in, counter or
/// nothing, when it is forgotten in ms).
pub(super) const PRESENCES: TableDefinition<(&str, &str), PresenceRow<'static>> = TableDefinition::new("presences");
/// A row of [`PRESENCES`].
pub(super) type PresenceRow<'r> = (i64, &'r str, bool, &'r str, i64);
/// Name to (expiry in ms, content).
pub(super) const DOCUMENTS: TableDefinition<&str, (i64, &[u8])> = TableDefinition::new("documents");
/// Event id to (expiry in ms, statuses by group).
pub(super) const STATUSES: TableDefinition<&str, (i64, &[u8])> = TableDefinition::new("statuses");
/// What expires when: (expiry in ms, table, name).
pub(super) const EXPIRIES: TableDefinition<(i64, &str, &str), ()> = TableDefinition::new("expiries");
/// Partition to checkpoint.
pub(super) const CHECKPOINTS: TableDefinition<&str, &str> = TableDefinition::new("checkpoints");
/// Partition to the group's first offset.
pub(super) const ORIGINS: TableDefinition<&str, i64> = TableDefinition::new("origins");
/// `topic:partition:from` to the end of a gap.
pub(super) const GAPS: TableDefinition<&str, i64> = TableDefinition::new("gaps");
/// Owners of topics, what the log says of itself, and tables of switches.
pub(super) const META: TableDefinition<&str, &str> = TableDefinition::new("meta");

/// What an exchange that is under way has noted (`super::exchange`).
pub(super) const EXCHANGE: TableDefinition<&str, &str> = TableDefinition::new("exchange");

/// Field of [`META`] for the group that counts a topic.
pub(super) fn group_field(topic: &str) -> String {
    format!("group:{topic}")
}

/// The table of switches, among what stands beside a checkpoint.
pub(super) const SWITCHES_PART: &str = "switches";

/// Field of [`META`] for a part of what the log says of itself, or for another thing that stands beside a checkpoint.
pub(super) fn identity_field(partition: &TopicPartition, part: &str) -> String {
    format!("log:{partition}:{part}")
}

/// The tables that sections and documents change.
pub(super) struct Tables<'t> {
    pub(super) counters: Table<'t, &'static str, i64>,
    pub(super) counter_expiries: Table<'t, &'static str, i64>,
    pub(super) last: Table<'t, &'static str, (i64, &'static str)>,
    pub(super) uniques: Table<'t, &'static str, (i64, &'static [u8])>,
    pub(super) recents: Table<'t, (&'static str, i64, &'static str), ()>,
    pub(super) recent_sizes: Table<'t, &'static str, u64>,
    pub(super) tops: Table<'t, (&'static str, &'static str), i64>,
    pub(super) top_expiries: Table<'t, &'static str, i64>,
    pub(super) members: Table<'t, (&'static str, &'static str), ()>,
    pub(super) presences: Table<'t, (&'static str, &'static str), PresenceRow<'static>>,
    pub(super) documents: Table<'t, &'static str, (i64, &'static [u8])>,
    pub(super) statuses: Table<'t, &'static str, (i64, &'static [u8])>,
    pub(super) expiries: Table<'t, (i64, &'static str, &'static str), ()>,
    pub(super) checkpoints: Table<'t, &'static str, &'static str>,
    pub(super) gaps: Table<'t, &'static str, i64>,
    pub(super) meta: Table<'t, &'static str, &'static str>,
    pub(super) exchange: Table<'t, &'static str, &'static str>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, redb::Error> {
        Ok(Self {
            counters: transaction.open_table(COUNTERS)?,
            counter_expiries: transaction.open_table(COUNTER_EXPIRIES)?,
            last: transaction.open_table(LAST)?,
            uniques: transaction.open_table(UNIQUES)?,
            recents: transaction.open_table(RECENTS)?,
            recent_sizes: transaction.open_table(RECENT_SIZES)?,
            tops: transaction.open_table(TOPS)?,
            top_expiries: transaction.open_table(TOP_EXPIRIES)?,
            members: transaction.open_table(MEMBERS)?,
            presences: transaction.open_table(PRESENCES)?,
            documents: transaction.open_table(DOCUMENTS)?,
            statuses: transaction.open_table(STATUSES)?,
            expiries: transaction.open_table(EXPIRIES)?,
            checkpoints: transaction.open_table(CHECKPOINTS)?,
            gaps: transaction.open_table(GAPS)?,
            meta: transaction.open_table(META)?,
            exchange: transaction.open_table(EXCHANGE)?,
        })
    }
}

/// Makes every table, so that a reader finds them all.
pub(super) fn create(database: &Database) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    drop(Tables::open(&transaction)?);
    transaction.open_table(ORIGINS)?;
    transaction.commit()?;
    Ok(())
}
