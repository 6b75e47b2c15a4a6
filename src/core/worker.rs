//! The second half of counting: a partition's decoded records in order, duplicates left out, deltas gathered into batches.

use std::sync::Arc;

use super::{
    batch::{Batch, apply},
    change::Change,
    decode::{Decoded, Decoder, Entry, What},
    dedupe::{IdentitySecret, Window},
    keys::{KeyIndex, Keys},
    shards::{Standings, shard_of},
};
use crate::{
    catalog::plan::Topic,
    log::{Block, LogError},
    model::{Delta, Kind, Origin, Overflow, TopicPartition},
};

/// Records whose places in the duplicate window are asked for together.
const PREFETCHED: usize = 32;

/// One partition tenure's way from records to batches: a state machine of values.
pub struct Worker {
    decoder: Arc<Decoder>,
    partition: TopicPartition,
    window: Window,
    /// Records below this offset only fill the window: they are counted already.
    count_from: i64,
    batch_events: usize,
    standings: Standings,
    gathered: Gathered,
}

/// The deltas of the batch at hand, by the block's key.
#[derive(Default)]
struct Gathered {
    /// Of keys that are counted: a small piece of memory for what is nearly all of the work.
    sums: Vec<Option<i64>>,
    /// Of the others.
    deltas: Vec<Option<Delta>>,
    /// Those that are there.
    touched: Vec<KeyIndex>,
    /// Which records count, by the block's key. Filled only for a block that some shard of the store has a part of.
    from: Vec<From>,
}

/// From which offset on records count for a key.
#[derive(Clone, Copy)]
struct From {
    key: i64,
    /// For counters that its members move.
    moves: i64,
}

impl Worker {
    /// A worker that counts for a group from `count_from` on and cuts batches after `batch_events` events (`BATCH_SIZE`).
    pub fn new(
        topic: Arc<Topic>,
        partition: TopicPartition,
        group: Arc<str>,
        secret: Arc<IdentitySecret>,
        count_from: i64,
        batch_events: usize,
    ) -> Self {
        Self {
            window: Window::new(topic.dedupe),
            decoder: Arc::new(Decoder::new(topic, group, secret)),
            partition,
            count_from,
            batch_events,
            standings: Standings::new([count_from]),
            gathered: Gathered::default(),
        }
    }

    /// Counts from the lowest offset on; what lies before it only fills the duplicate window. A record counts only for the
    /// shards that lack it, which is decided for each record before it is added up (EXACTLY_ONCE, "Sections").
    pub fn count_on(&mut self, standings: Standings) {
        self.count_from = standings.lowest();
        self.standings = standings;
    }

    /// Tells of each event that has an id what became of it.
    pub fn track(mut self) -> Self {
        if let Some(decoder) = Arc::get_mut(&mut self.decoder) {
            decoder.track();
        }
        self
    }

    /// These rules count from an offset on ([`Decoder::rules_begin_at`]).
    pub fn rules_begin_at(&self, offset: i64) {
        self.decoder.rules_begin_at(offset);
    }

    /// What decodes the blocks of this worker.
    pub fn decoder(&self) -> &Arc<Decoder> {
        &self.decoder
    }

    /// The first offset that counts.
    pub fn count_from(&self) -> i64 {
        self.count_from
    }

    /// Decodes a block and works through it.
    ///
    /// # Errors
    /// The block cannot be read to its end. What could be read before must not be used.
    pub fn step(&mut self, block: &Block, decoded: &mut Decoded) -> Result<Vec<Batch>, LogError> {
        self.decoder.block(block, self.count_from, decoded)?;
        Ok(self.count(decoded, block.next_offset))
    }

    /// Fills the duplicate window with the records of a decoded block that lie before `up_to`, and counts none.
    pub fn remember(&mut self, decoded: &Decoded, up_to: i64) {
        let before = decoded.entries.partition_point(|entry| entry.offset < up_to);
        for run in decoded.entries[..before].chunks(PREFETCHED) {
            self.window.prefetch(run.iter().filter(|entry| entry.has_identity).map(|entry| entry.identity));
            for entry in run.iter().filter(|entry| entry.has_identity) {
                self.window.insert(entry.offset, entry.time_ms, entry.identity);
            }
        }
    }

    /// Works through a decoded block that ends before `next_offset`. Batches come in order; the last one ends where the block
    /// ends, also if it holds nothing.
    pub fn count(&mut self, decoded: &mut Decoded, next_offset: i64) -> Vec<Batch> {
        let mut batches = Vec::new();
        let mut batch = Batch::default();
        let mut outgoing = std::mem::take(&mut decoded.outgoing).into_iter();
        let mut tracked = std::mem::take(&mut decoded.tracked).into_iter();
        let mut changes_begin = 0;
        self.gathered.begin(decoded.effects.keys.len(), decoded.effects.has_others());
        if decoded.entries.first().is_some_and(|entry| entry.offset < self.standings.highest()) {
            self.gathered.note_shards(&decoded.effects.keys, &self.standings);
        }
        for run in decoded.entries.chunks(PREFETCHED) {
            self.window.prefetch(run.iter().filter(|entry| entry.has_identity).map(|entry| entry.identity));
            for entry in run {
                let changes = changes_begin..entry.changes_end as usize;
                changes_begin = entry.changes_end as usize;
                let duplicate = entry.has_identity && self.window.insert(entry.offset, entry.time_ms, entry.identity);
                if entry.what == What::Remembered {
                    continue;
                }
                while outgoing.as_slice().first().is_some_and(|sent| sent.offset == entry.offset)
                    && let Some(sent) = outgoing.next()
                {
                    if !duplicate && entry.offset >= self.standings.sent_to() {
                        batch.outgoing.push(sent);
                    }
                }
                while tracked.as_slice().first().is_some_and(|tracked| tracked.offset <= entry.offset)
                    && let Some(tracked) = tracked.next()
                {
                    let shard = shard_of(&tracked.event_id, self.standings.shards());
                    if !duplicate && entry.offset >= self.standings.of(shard) {
                        batch.tracked.push(tracked);
                    }
                }
                batch.next_offset = entry.offset + 1;
                self.tally(entry, duplicate, &mut batch);
                if !duplicate {
                    self.gather(entry, changes, decoded, &mut batch);
                }
                if batch.tally.events >= self.batch_events as u64 || batch.overflow.is_some() {
                    batch.tally.newest_ms = decoded.newest_ms;
                    self.gathered.drain(decoded, &mut batch);
                    batches.push(std::mem::take(&mut batch));
                }
            }
        }
        if next_offset > self.count_from {
            batch.next_offset = next_offset;
            batch.tally.newest_ms = decoded.newest_ms;
            self.gathered.drain(decoded, &mut batch);
            batches.push(batch);
        }
        batches
    }

    fn tally(&self, entry: &Entry, duplicate: bool, batch: &mut Batch) {
        let tally = &mut batch.tally;
        tally.records += 1;
        match entry.what {
            _ if duplicate => tally.duplicates += 1,
            What::CountedBefore => tally.duplicates += 1,
            What::Tombstone => tally.tombstones += 1,
            What::OthersReplay => tally.others_replays += 1,
            What::DeadLetter => tally.dead_letters += 1,
            What::Event { is_critical, shape } => {
                tally.events += 1;
                tally.shapes[shape as usize] += 1;
                batch.is_critical |= is_critical;
            }
            What::Remembered => {}
        }
    }

    fn gather(&mut self, entry: &Entry, changes: std::ops::Range<usize>, decoded: &Decoded, batch: &mut Batch) {
        let effects = &decoded.effects;
        let Gathered { sums, deltas, touched, from } = &mut self.gathered;
        let some_have_it = entry.offset < self.standings.highest();
        for key_change in &effects.changes[changes] {
            let at = key_change.key as usize;
            let from = if some_have_it { from.get(at) } else { None };
            if from.is_some_and(|from| entry.offset < from.key) {
                continue;
            }
            let mut change = effects.change_of(key_change);
            if let (Some(From { moves: from, .. }), Change::Member { moves, .. }) = (from, &mut change)
                && entry.offset < *from
            {
                // The restored counter has the move already; the set has not.
                *moves = None;
            }
            if let Change::Count(amount) = change {
                let sum = &mut sums[at];
                let Some(before) = *sum else {
                    *sum = Some(amount);
                    touched.push(key_change.key);
                    continue;
                };
                match before.checked_add(amount) {
                    Some(after) => *sum = Some(after),
                    None => batch.overflow = Some(effects.keys.key(key_change.key).name),
                }
                continue;
            }
            let origin = Origin {
                topic: self.decoder.topic().hash,
                partition: self.partition.partition,
                offset: entry.offset,
                effect: key_change.effect,
            };
            match &mut deltas[at] {
                Some(delta) => {
                    if let Err(Overflow) = apply(delta, &change, &effects.keys, entry.time_ms, origin) {
                        batch.overflow = Some(effects.keys.key(key_change.key).name);
                    }
                }
                delta @ None => {
                    *delta = Some(change.delta(&effects.keys, entry.time_ms, origin));
                    touched.push(key_change.key);
                }
            }
        }
    }
}

impl Gathered {
    /// Makes room for the keys of a block. `has_others` says that not all of them are counted.
    fn begin(&mut self, keys: usize, has_others: bool) {
        self.touched.clear();
        self.sums.clear();
        self.sums.resize(keys, None);
        self.deltas.clear();
        self.deltas.resize_with(if has_others { keys } else { 0 }, || None);
    }

    fn note_shards(&mut self, keys: &Keys, standings: &Standings) {
        let from = |key: KeyIndex| {
            let shard = shard_of(keys.name(key), standings.shards());
            let totals = standings.totals_of(shard);
            let is_total = matches!(keys.kind(key), Kind::Count | Kind::Max | Kind::Last);
            From { key: if is_total { totals } else { standings.of(shard) }, moves: totals }
        };
        self.from.clear();
        self.from.extend((0..keys.len() as KeyIndex).map(from));
    }

    fn drain(&mut self, decoded: &Decoded, batch: &mut Batch) {
        batch.deltas.reserve_exact(self.touched.len());
        for key in self.touched.drain(..) {
            let sum = self.sums[key as usize].take().map(Delta::Count);
            let delta = sum.or_else(|| self.deltas.get_mut(key as usize)?.take());
            if let Some(delta) = delta {
                batch.deltas.push((decoded.effects.keys.key(key), delta));
            }
        }
    }
}
