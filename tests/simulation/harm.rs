//! Records are appended, and what happens to the log.

use std::sync::Arc;

use streamgauge::{core::partitioner::partition_for_key, log::OutRecord, model::TopicPartition};

use crate::{
    events,
    faults::Fault,
    log::Partition,
    world::{State, World},
};

impl World {
    /// Appends an event: a new one, or one that was there before.
    pub fn append(&mut self) {
        self.records_left -= 1;
        let topic = self.topics[self.below(self.topics.len())];
        let number = self.made.len();
        let (catalog, made) = (&self.setting.catalog, &self.made);
        let made = self.shared.with(|state| {
            let random = &mut state.random;
            let earlier = (random.below(5) == 0 && number > 0).then(|| {
                // Often one of the last few, so that it lies inside the window.
                let reach = [6, 30, number][random.below(3)].min(number);
                let back = 1 + random.below(reach);
                events::again(&made[number - back], random)
            });
            let mut event = earlier.unwrap_or_else(|| events::event(topic, number, random));
            let dedupe = catalog.topic(event.topic).unwrap().dedupe;
            let place = place(&event, number, state.log.partitions_per_topic);
            let partition = state.log.partitions.get_mut(&place).unwrap();
            if state.random.below(30) == 0 {
                partition.leave_out();
            }
            // Whether it is a duplicate must not hang on records that retention took: that would be inexact by promise.
            let (offset, start) = (partition.end(), partition.start);
            if is_duplicate(partition, offset, &event.identity, dedupe, 0)
                != is_duplicate(partition, offset, &event.identity, dedupe, start)
            {
                event = events::event(event.topic, number + 1_000_000, &mut state.random);
            }
            let place = self::place(&event, number, state.log.partitions_per_topic);
            let partition = state.log.partitions.get_mut(&place).unwrap();
            let key = event.key.clone().map(String::into_bytes);
            let record = OutRecord { key, value: event.value.clone(), headers: Vec::new(), timestamp_ms: Some(7) };
            partition.append(record, event.identity.clone());
            event
        });
        self.made.push(made);
        self.shared.appended.notify_waiters();
    }

    /// A new leader shows itself with the first record behind what was read only.
    pub fn append_behind_lost_tails(&self) {
        self.shared.with(|state| {
            for partition in state.log.partitions.values_mut().filter(|partition| partition.has_lost_tail) {
                while partition.end() <= partition.lost_end {
                    partition.append(OutRecord { timestamp_ms: Some(7), ..OutRecord::default() }, None);
                }
            }
        });
        self.shared.appended.notify_waiters();
    }

    /// Leaders, retention, lost tails.
    pub fn harm_log(&mut self) {
        let catalog = Arc::clone(&self.setting.catalog);
        self.shared.with(|state| {
            let places: Vec<_> =
                state.log.partitions.keys().filter(|place| catalog.topic(&place.topic).is_some()).cloned().collect();
            let place = &places[state.random.below(places.len())];
            if state.happens(Fault::LeaderChange) {
                let partition = state.log.partitions.get_mut(place).unwrap();
                partition.elect(partition.end());
                let (epoch, end) = (partition.epoch, partition.end());
                state.trace.say(|| format!("{place}: leader epoch {epoch} from {end}"));
            }
            if state.happens(Fault::Retention) {
                let dedupe = catalog.topic(&place.topic).unwrap().dedupe;
                let partition = &state.log.partitions[place];
                let (start, end) = (partition.start, partition.end());
                let to = start + 1 + state.random.below((end - start).max(1) as usize) as i64;
                if to <= end && is_clean_cut(partition, to, dedupe) {
                    state.log.partitions.get_mut(place).unwrap().start = to;
                    state.trace.say(|| format!("{place}: begins at {to}"));
                } else {
                    state.faults.did_not(Fault::Retention);
                }
            }
            for fault in [Fault::TailLost, Fault::CountedTailLost] {
                if state.happens(fault) && !state.lose_tail(place, fault) {
                    state.faults.did_not(fault);
                }
            }
        });
    }
}

impl State {
    /// Another leader that lacks a part of the log's end.
    fn lose_tail(&mut self, place: &TopicPartition, fault: Fault) -> bool {
        let counted = self.store.furthest(place).unwrap_or(0);
        let partition = self.log.partitions.get_mut(place).unwrap();
        let (lowest, highest) = match fault {
            Fault::CountedTailLost => (partition.start, counted.min(partition.end()) - 1),
            _ => (counted.max(partition.start), partition.end() - 1),
        };
        if lowest > highest {
            return false;
        }
        let end = lowest + self.random.below((highest - lowest + 1) as usize) as i64;
        partition.elect(end);
        let epoch = partition.epoch;
        self.trace.say(|| format!("{place}: leader epoch {epoch} has it up to {end}, counted is {counted}"));
        true
    }
}

fn place(event: &events::Made, number: usize, partitions: i32) -> TopicPartition {
    let number =
        event.key.as_ref().map_or(number as i32 % partitions, |key| partition_for_key(key.as_bytes(), partitions));
    TopicPartition::new(event.topic, number)
}

/// The rule, looking back no further than `from`.
fn is_duplicate(
    partition: &Partition,
    offset: i64,
    identity: &Option<(String, i64)>,
    dedupe: streamgauge::catalog::plan::DedupeWindow,
    from: i64,
) -> bool {
    let Some((identity, time_ms)) = identity else { return false };
    let first = from.max(offset - dedupe.offsets).max(0) as usize;
    let earlier = &partition.slots[first.min(offset as usize)..offset as usize];
    earlier
        .iter()
        .filter_map(|slot| slot.identity.as_ref())
        .any(|(known, known_ms)| known == identity && (known_ms - time_ms).abs() <= dedupe.window_ms)
}

/// Whether what lies before a cut changes nothing of what lies behind it.
fn is_clean_cut(partition: &Partition, cut: i64, dedupe: streamgauge::catalog::plan::DedupeWindow) -> bool {
    let reach = partition.end().min(cut + dedupe.offsets);
    (cut..reach).all(|offset| {
        let identity = &partition.slots[offset as usize].identity;
        is_duplicate(partition, offset, identity, dedupe, 0) == is_duplicate(partition, offset, identity, dedupe, cut)
    })
}
