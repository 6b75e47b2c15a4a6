//! What the store of the simulation does with sections, now and late, and what must not be among them.

use streamgauge::model::{Checkpoint, Outcome, Section, ShardId, TopicPartition};

use crate::{
    faults::Fault,
    store::{Late, Planted, Sent},
    world::State,
};

/// A checkpoint in the trace.
pub fn told(checkpoint: Option<Checkpoint>) -> String {
    checkpoint.map_or_else(|| "none".to_owned(), |checkpoint| checkpoint.offset.to_string())
}

impl State {
    pub fn apply(&mut self, who: &str, shard: ShardId, sent: &Sent) -> Outcome {
        let section = &sent.section;
        let planted = self.store.planted;
        let compared = self.store.shard(shard).held.compare(section);
        let outcome = match compared {
            Some(Outcome::Conflict { .. }) if planted == Some(Planted::CompareDropped) => None,
            compared => compared,
        };
        let outcome = outcome.unwrap_or_else(|| {
            self.check_gap(shard, section);
            self.check_beginning(shard, sent);
            // What it counted itself up to there; who takes a checkpoint over is told before, unless the shard fell back since.
            let has_own = sent.began.is_some() && sent.began < section.expect.map(|checkpoint| checkpoint.offset);
            let fell_since = self.store.falls[usize::from(shard)] > sent.read_after;
            if fell_since || (has_own && self.store.has_forgotten[usize::from(shard)]) {
                self.look_for_lost_records(shard, &section.partition);
            }
            let shard = self.store.shard_mut(shard);
            if let (None, Some(began)) = (section.expect, sent.began) {
                shard.began.insert(section.partition.clone(), began);
            }
            shard.held.recents_are_pushed = planted == Some(Planted::RecentPushed);
            shard.held.put(section)
        });
        let Section { partition, expect, next, gap, deltas, .. } = section;
        self.trace.say(|| {
            let (expect, next, keys) = (told(*expect), next.offset, deltas.len());
            let gap = gap.map_or_else(String::new, |gap| format!(" gap {}..{}", gap.from, gap.to));
            format!("{who} flushes {partition}, shard {shard}, {expect}->{next}{gap} {keys} keys: {outcome:?}")
        });
        match outcome {
            Outcome::Conflict { .. } => self.faults.saw(Fault::Conflict),
            Outcome::AlreadyApplied => {
                self.faults.saw(Fault::AlreadyApplied);
                self.look_for_lost_records(shard, &section.partition);
            }
            Outcome::Applied if who == "late" => self.faults.saw(Fault::LateAndFitting),
            Outcome::Applied if sent.was_ahead => self.faults.saw(Fault::ShardAhead),
            _ => {}
        }
        outcome
    }

    /// A gap begins at what is stored and ends where the log began once.
    fn check_gap(&mut self, shard: ShardId, section: &Section) {
        let Some(gap) = section.gap else { return };
        self.faults.saw(Fault::Gap);
        let stored = self.store.shard(shard).held.position(&section.partition);
        let from = stored.checkpoint.map(|checkpoint| checkpoint.offset).or(stored.origin);
        let start = self.log.partitions[&section.partition].start;
        let may_differ = stored.checkpoint.is_none() && self.store.has_forgotten[usize::from(shard)];
        if (from != Some(gap.from) && !may_differ) || gap.to > start {
            self.store
                .wrong
                .push(format!("{} in shard {shard}: {gap:?}, stored {from:?}, log start {start}", section.partition));
        }
    }

    /// A first section counts from the origin that is stored, or from the end of the gap behind it.
    fn check_beginning(&mut self, shard: ShardId, sent: &Sent) {
        let Sent { section, began, .. } = sent;
        let partition = &section.partition;
        let Some(began) = began else {
            self.store.wrong.push(format!("{partition}: a void tenure has flushed (invariant 4)"));
            return;
        };
        let origin = self.store.shard(shard).held.origins.get(partition).copied();
        let from = section.gap.map_or(*began, |gap| gap.from);
        if section.expect.is_none() && origin != Some(from) && !self.store.has_forgotten[usize::from(shard)] {
            self.store
                .wrong
                .push(format!("{partition} in shard {shard}: counted from {from}, where the origin is {origin:?}"));
        }
    }

    /// What another member counted of records that a leader then lacked is told from what this one counted of those in their
    /// place by nothing but the epoch beside the checkpoint, which is not compared: neither where a section is applied already,
    /// nor where the store falls back to a copy of before with the very offset of one's own. It is outside the promise, and
    /// rare: such a store is counted anew at the end.
    fn look_for_lost_records(&mut self, shard: ShardId, partition: &TopicPartition) {
        let stored = self.store.shard(shard).held.position(partition);
        let log = &self.log.partitions[partition];
        let (Some(checkpoint), Some(epoch)) = (stored.checkpoint, stored.log_identity.leader_epoch) else { return };
        if log.has_lost_tail && log.epoch_end(epoch) < checkpoint.offset {
            self.store.has_lost_records = true;
            self.faults.saw(Fault::LostRecordsKept);
        }
    }

    fn do_late(&mut self, late: &Late) {
        match late {
            Late::Sections(shard, sections) => sections.iter().for_each(|sent| {
                self.apply("late", *shard, sent);
            }),
            Late::Beat(beat) => drop(self.beat(beat)),
            Late::Origins(shard, origins) => {
                let fixed = self.store.shard_mut(*shard).held.fix_origins(origins);
                self.trace.say(|| format!("late origins {origins:?} in shard {shard}: {fixed:?}"));
            }
        }
    }

    /// Does what comes now.
    pub fn do_what_is_due(&mut self) {
        let now_ms = self.now_ms;
        let (due, later): (Vec<_>, Vec<_>) =
            std::mem::take(&mut self.store.late).into_iter().partition(|(at, ..)| *at <= now_ms);
        self.store.late = later;
        for (_, prefix, late) in due {
            if prefix == self.store.prefix {
                self.do_late(&late);
            }
        }
    }
}
