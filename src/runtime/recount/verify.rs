//! The comparison: every key that the log makes, and every key that is stored.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{Arc, atomic::Ordering},
};

use super::{
    Recount, RecountError,
    moment::patiently,
    snapshot::LeftAside,
    values::{self, KeyName, Value},
};
use crate::{
    catalog::{Feeds, plan::Topic},
    model::{Kind, TopicPartition},
};

/// Differences after which no more are looked for.
pub const MAX_DIFFERENCES: usize = 100_000;
/// Keys that could not be compared, of which the names are kept.
pub const MAX_UNCOMPARED: usize = 10_000;
/// Names of counters read at once.
const NUMBERS_PER_PAGE: usize = 1_000;
/// Other keys compared at once: they may be large.
const OTHERS_PER_PAGE: usize = 50;
/// How often a key must differ before it does: between two looks its day or window may have ended.
const CONFIRMATIONS: usize = 2;

/// A key that does not hold what the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its full name, without prefix.
    pub key: String,
    /// What it holds.
    pub kind: Kind,
    /// What is stored.
    pub stored: Value,
    /// What the log says.
    pub recounted: Value,
}

/// What a verification found.
#[derive(Clone, Debug, Default)]
pub struct Verified {
    /// Ordered by key.
    pub differences: Vec<Difference>,
    /// There may be more: it stopped at [`MAX_DIFFERENCES`].
    pub is_cut: bool,
    /// Keys that were compared.
    pub compared: u64,
    /// Keys that could not be: they moved each time they were looked at, or are too large. At most [`MAX_UNCOMPARED`] names.
    pub uncompared: BTreeSet<String>,
    /// Counters that were not compared, since a snapshot does not say enough of them.
    pub left_aside: u64,
    /// Partitions of which the log has lost a part of the duplicate window before the snapshot: duplicates of what lay there are
    /// recounted as if they were none.
    pub cut_windows: BTreeSet<TopicPartition>,
    /// Offsets that were recounted.
    pub recounted: u64,
    /// The positions at which the last keys were compared.
    pub positions: BTreeMap<TopicPartition, i64>,
}

/// A counter that names a day is not compared when it expires within this time or has expired, milliseconds: it may be gone in
/// one of the stores already.
const EXPIRY_SLACK_MS: i64 = 5 * 60_000;

/// What is gathered while keys are compared.
#[derive(Default)]
struct Found {
    feeds: Feeds,
    left_aside: LeftAside,
    left_asides: u64,
    differences: BTreeMap<(String, u8), Difference>,
    uncompared: BTreeSet<String>,
}

impl Found {
    fn is_full(&self) -> bool {
        self.differences.len() >= MAX_DIFFERENCES
    }

    /// Whether a stored counter is to be compared.
    fn takes(&mut self, name: &str) -> bool {
        let is_left_aside = self.left_aside.has(name);
        self.left_asides += u64::from(is_left_aside);
        !is_left_aside
    }

    fn has_expired(&self, kind: Kind, name: &str) -> bool {
        let soon_ms = chrono::Utc::now().timestamp_millis() + EXPIRY_SLACK_MS;
        kind == Kind::Count && self.feeds.expires_at_ms(name).is_some_and(|expires_at_ms| expires_at_ms <= soon_ms)
    }

    fn uncompared(&mut self, name: String) {
        if self.uncompared.len() < MAX_UNCOMPARED {
            self.uncompared.insert(name);
        }
    }
}

impl Recount {
    /// Recounts up to what is stored and compares every key, while counting goes on.
    ///
    /// # Errors
    /// Nothing can be said: the log or store does not answer, or lacks what a recount needs.
    pub async fn verify(&mut self) -> Result<Verified, RecountError> {
        self.look_around().await?;
        self.begin_at_snapshot().await?;
        // The long way first, so that what is compared is near what is stored.
        let former = self.catch_up().await?;
        let topics: Vec<Arc<Topic>> = self.parts.topics.iter().cloned().chain(former).collect();
        let feeds = Feeds::of(&topics);
        let mut found = Found { feeds: feeds.clone(), ..Found::default() };
        let has_totals_only = self.parts.snapshot.is_some();
        if has_totals_only {
            found.left_aside = LeftAside::of(&topics);
        }
        self.shadow_numbers(&feeds, &mut found).await?;
        self.stored_numbers(&feeds, &mut found).await?;
        if !has_totals_only {
            self.shadow_others(&mut found).await?;
            self.stored_others(&feeds, &mut found).await?;
        }
        let progress = &self.machine.progress;
        Ok(Verified {
            is_cut: found.is_full(),
            differences: found.differences.into_values().collect(),
            uncompared: found.uncompared,
            left_aside: found.left_asides,
            cut_windows: self.cut_windows(),
            compared: progress.compared.load(Ordering::Relaxed),
            recounted: progress.read.load(Ordering::Relaxed),
            positions: self.lanes.iter().map(|(name, lane)| (name.clone(), lane.counted_to())).collect(),
        })
    }

    fn cut_windows(&self) -> BTreeSet<TopicPartition> {
        self.lanes.iter().filter(|(_, lane)| lane.has_cut_window).map(|(name, _)| name.clone()).collect()
    }

    /// Recounts to what is stored now, and returns the topics under former rules. No results are read, so any position of any
    /// partition will do.
    async fn catch_up(&mut self) -> Result<Vec<Arc<Topic>>, RecountError> {
        let partitions = self.positioned();
        let store = &*self.parts.live.store;
        let positions = patiently(|| store.positions(&partitions)).await?;
        let lowest = |mut shards: Vec<crate::model::StoredPosition>| {
            shards.sort_by_key(|shard| shard.checkpoint.map(|checkpoint| checkpoint.offset));
            shards.into_iter().next().unwrap_or_default()
        };
        let positions: Vec<_> = partitions.iter().cloned().zip(positions.into_iter().map(lowest)).collect();
        self.follow(&positions).await?;
        Ok(self.former.values().cloned().collect())
    }

    /// Counters that the log makes.
    async fn shadow_numbers(&mut self, feeds: &Feeds, found: &mut Found) -> Result<(), RecountError> {
        let mut cursor = Some(String::new());
        while let Some(from) = cursor.filter(|_| !found.is_full()) {
            let store = &*self.parts.shadow.store;
            let page = patiently(|| store.scan("", &from, NUMBERS_PER_PAGE)).await?;
            cursor = page.cursor;
            let names = page.counters.into_iter().map(|(name, _)| name).filter(|name| !found.left_aside.has(name));
            let keys = names.filter_map(|name| self.number(feeds, name)).collect();
            self.compare(keys, found).await?;
        }
        Ok(())
    }

    /// Counters that are stored and that the log does not make.
    async fn stored_numbers(&mut self, feeds: &Feeds, found: &mut Found) -> Result<(), RecountError> {
        let mut cursor = Some(String::new());
        while let Some(from) = cursor.filter(|_| !found.is_full()) {
            let store = &*self.parts.live.store;
            let page = patiently(|| store.scan("", &from, NUMBERS_PER_PAGE)).await?;
            cursor = page.cursor;
            let names = page.counters.into_iter().map(|(name, _)| name).filter(|name| found.takes(name));
            let keys = names.filter_map(|name| self.number(feeds, name)).collect();
            self.compare_surplus(keys, found).await?;
        }
        Ok(())
    }

    /// A counter's kind. Where not all topics are recounted, what none of them makes is nothing that could be judged.
    fn number(&self, feeds: &Feeds, name: String) -> Option<KeyName> {
        match feeds.kind(&name) {
            Some(kind) => Some((kind, name)),
            None => (!self.parts.is_part).then_some((Kind::Count, name)),
        }
    }

    async fn shadow_others(&mut self, found: &mut Found) -> Result<(), RecountError> {
        let mut cursor = Some(String::new());
        while let Some(from) = cursor.filter(|_| !found.is_full()) {
            let inventory = &*self.parts.shadow.keys;
            let page = patiently(|| inventory.keys(&from, NUMBERS_PER_PAGE)).await?;
            cursor = page.cursor;
            let keys: Vec<KeyName> = page.keys.into_iter().map(|(name, kind)| (kind, name)).collect();
            for keys in keys.chunks(OTHERS_PER_PAGE) {
                self.compare(keys.to_vec(), found).await?;
            }
        }
        Ok(())
    }

    /// Others may keep keys in the same place, so only those count that a rule could have made.
    async fn stored_others(&mut self, feeds: &Feeds, found: &mut Found) -> Result<(), RecountError> {
        let mut cursor = Some(String::new());
        while let Some(from) = cursor.filter(|_| !found.is_full()) {
            let inventory = &*self.parts.live.keys;
            let page = patiently(|| inventory.keys(&from, NUMBERS_PER_PAGE)).await?;
            cursor = page.cursor;
            let keys = page.keys.into_iter().map(|(name, kind)| (kind, name));
            let keys: Vec<KeyName> = keys.filter(|(kind, name)| feeds.kind(name) == Some(*kind)).collect();
            for keys in keys.chunks(OTHERS_PER_PAGE) {
                self.compare_surplus(keys.to_vec(), found).await?;
            }
        }
        Ok(())
    }

    /// Compares those of the keys that the shadow does not have; the others were compared already.
    async fn compare_surplus(&mut self, keys: Vec<KeyName>, found: &mut Found) -> Result<(), RecountError> {
        let store = &*self.parts.shadow.store;
        let known = patiently(|| values::exist(store, &keys)).await?;
        let surplus = keys.into_iter().zip(known).filter(|(_, known)| !known).map(|(key, _)| key).collect();
        self.compare(surplus, found).await
    }

    /// Compares keys, all as of one moment; where they move too much for that, in smaller and smaller parts.
    async fn compare(&mut self, keys: Vec<KeyName>, found: &mut Found) -> Result<(), RecountError> {
        let mut open = vec![keys];
        while let Some(mut keys) = open.pop() {
            if keys.is_empty() || found.is_full() {
                continue;
            }
            let Some(differing) = self.differing(&keys, found).await? else {
                match keys.len() {
                    1 => keys.into_iter().for_each(|(_, name)| found.uncompared(name)),
                    many => {
                        open.push(keys.split_off(many / 2));
                        open.push(keys);
                    }
                }
                continue;
            };
            self.machine.progress.compared.fetch_add(keys.len() as u64, Ordering::Relaxed);
            self.confirm(differing, found).await?;
        }
        Ok(())
    }

    /// Looks again at keys that differ. By now there may be partitions that were not there when it began.
    async fn confirm(&mut self, mut differing: Vec<Difference>, found: &mut Found) -> Result<(), RecountError> {
        for _ in 1..CONFIRMATIONS {
            if differing.is_empty() {
                return Ok(());
            }
            self.look_around().await?;
            let mut still = Vec::new();
            for keys in differing.chunks(OTHERS_PER_PAGE) {
                let keys: Vec<KeyName> = keys.iter().map(|differs| (differs.kind, differs.key.clone())).collect();
                match self.differing(&keys, found).await? {
                    Some(more) => still.extend(more),
                    None => keys.into_iter().for_each(|(_, name)| found.uncompared(name)),
                }
            }
            differing = still;
        }
        for difference in differing {
            found.differences.insert((difference.key.clone(), difference.kind as u8), difference);
        }
        Ok(())
    }

    /// Those of the keys that differ. `None` where they could not be read as of one moment.
    async fn differing(
        &mut self,
        keys: &[KeyName],
        found: &mut Found,
    ) -> Result<Option<Vec<Difference>>, RecountError> {
        let Some(moment) = self.moment(keys).await? else { return Ok(None) };
        self.follow(&moment.positions).await?;
        let store = &*self.parts.shadow.store;
        let recounted = patiently(|| values::read(store, keys)).await?;
        let mut differing = Vec::new();
        for (((kind, key), stored), recounted) in keys.iter().zip(moment.values).zip(recounted) {
            if stored == Value::TooLarge || recounted == Value::TooLarge {
                found.uncompared(key.clone());
            } else if stored != recounted && !found.has_expired(*kind, key) {
                differing.push(Difference { key: key.clone(), kind: *kind, stored, recounted });
            }
        }
        Ok(Some(differing))
    }
}
