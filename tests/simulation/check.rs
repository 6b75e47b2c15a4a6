//! Quiescence, and everything compared with the naive fold.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use streamgauge::{
    catalog::plan::dead_letter_topic,
    core::shards::shard_of,
    model::{ShardId, TopicPartition},
    runtime::tenure::Tenure,
};

use crate::{
    faults::Fault,
    store::Shard,
    support::{
        memory_store::Held,
        oracle::{Dead, Record, fold_where},
    },
    world::{State, World},
};

/// Counting must have come to the log's end by then, milliseconds after the last fault.
const PATIENCE_MS: u64 = 600_000;
/// A partition that is stopped for so long is not about to go on.
const STOPPED_MS: u64 = 5_000;

impl World {
    /// Lets the members count to the log's end, with no more faults.
    ///
    /// # Errors
    /// They do not.
    pub fn settle(&mut self) -> Result<(), String> {
        self.shared.with(|state| {
            state.faults.is_calm = true;
            state.store.is_up_again();
        });
        if self.below(2) == 0 {
            self.crash_all();
        }
        for member in &mut self.members {
            member.paused_until_ms = 0;
        }
        self.shared.with(|state| state.leases.still_until_ms.clear());
        self.append_behind_lost_tails();
        let mut calm_ms = 0;
        loop {
            self.start_members();
            let has_lost_records = self.shared.with(|state| state.store.has_lost_records);
            if !has_lost_records && self.is_counted() && self.wrong_shares().is_none() {
                return Ok(());
            }
            if has_lost_records || (calm_ms >= STOPPED_MS && self.has_stopped()) {
                self.count_anew();
                calm_ms = 0;
            }
            if calm_ms > PATIENCE_MS {
                let stopped: Vec<_> = self.members.iter().map(|member| (member.number, member.stopped())).collect();
                let (places, shares) = (self.shared.with(|state| state.places()), self.wrong_shares());
                return Err(format!("stalled: {places}; stopped: {stopped:?}; shares: {shares:?}"));
            }
            self.run_for(250);
            calm_ms += 250;
            self.bury()?;
        }
    }

    fn is_counted(&self) -> bool {
        let begun: Vec<_> = self.members.iter().flat_map(|member| member.counting.tenures.alive()).collect();
        self.shared.with(|state| state.is_counted(&begun))
    }

    /// Whether a log that lost its tail has stopped a partition, as it must.
    fn has_stopped(&self) -> bool {
        let mut stopped = self.members.iter().flat_map(|member| member.stopped());
        stopped.any(|(place, why)| {
            self.shared.with(|state| {
                let is_due = state.has_lost_tail(&place);
                if is_due {
                    state.trace.say(|| format!("{place} has stopped: {why}"));
                }
                is_due
            })
        })
    }

    /// As an operator does then: under another prefix.
    fn count_anew(&mut self) {
        self.crash_all();
        self.shared.with(|state| {
            state.faults.saw(Fault::CountedAnew);
            state.trace.say(|| "counted anew under another prefix".to_owned());
            state.store.begin_anew();
        });
    }

    /// Compares everything.
    pub fn check(&self) {
        let catalog = &self.setting.catalog;
        self.shared.with(|state| {
            assert!(state.store.wrong.is_empty(), "wrong gaps: {:?}", state.store.wrong);
            let records: BTreeMap<(String, i32), Vec<Record>> = state
                .log
                .partitions
                .iter()
                .filter(|(place, _)| catalog.topic(&place.topic).is_some())
                .map(|(place, held)| ((place.topic.to_string(), place.partition), held.records()))
                .collect();
            let shards = state.store.count();
            let left_out: Vec<LeftOut> = state.store.shards().iter().map(|shard| left_out(state, shard)).collect();
            let counts_in = |shard: ShardId, place: &(String, i32), offset: i64| {
                let left_out = left_out[usize::from(shard)].get(place);
                !left_out.is_some_and(|parts| parts.iter().any(|(from, to)| (*from..*to).contains(&offset)))
            };
            let counts = |place: &(String, i32), offset: i64, key: Option<&str>| match key {
                Some(key) => counts_in(shard_of(key, shards), place, offset),
                None => (0..shards).any(|shard| counts_in(shard, place, offset)),
            };
            let (expected, others) = fold_where(catalog, &records, &counts);
            let held = Held::together(state.store.shards().iter().map(|shard| shard.held.clone()).collect());
            held.assert_equals(&expected, "after quiescence");

            let has_lost_tail = state.log.partitions.values().any(|partition| partition.has_lost_tail);
            let (letters, forwards) = state.sent();
            let missing: Vec<_> = expected.dead.difference(&letters).collect();
            assert!(missing.is_empty(), "dead letters are missing: {missing:?}");
            let wanted: BTreeSet<_> = expected.forwards.iter().map(|forward| forward.origin.clone()).collect();
            let missing: Vec<_> = wanted.difference(&forwards).collect();
            assert!(missing.is_empty(), "forwards are missing: {missing:?}");
            if !has_lost_tail {
                let surplus: Vec<_> = letters
                    .iter()
                    .filter(|dead| !expected.dead.contains(dead) && !others.dead.contains(dead))
                    .collect();
                assert!(surplus.is_empty(), "dead letters of nothing: {surplus:?}");
                let all: BTreeSet<_> =
                    wanted.into_iter().chain(others.forwards.into_iter().map(|forward| forward.origin)).collect();
                let surplus: Vec<_> = forwards.difference(&all).collect();
                assert!(surplus.is_empty(), "forwards of nothing: {surplus:?}");
            }
        });
    }
}

/// By partition: the offsets, from and to, that a shard does not count.
type LeftOut = BTreeMap<(String, i32), Vec<(i64, i64)>>;

fn left_out(state: &State, shard: &Shard) -> LeftOut {
    let Shard { held, began, .. } = shard;
    let mut left_out = LeftOut::new();
    let name = |place: &TopicPartition| (place.topic.to_string(), place.partition);
    for place in state.log.partitions.keys() {
        let began = held.checkpoints.get(place).map_or(i64::MAX, |_| began.get(place).copied().unwrap_or(0));
        left_out.entry(name(place)).or_default().push((0, began));
    }
    for (place, gap) in &held.gaps {
        left_out.entry(name(place)).or_default().push((gap.from, gap.to));
    }
    left_out
}

impl State {
    /// Whether everything was counted, and a member holds each partition: where its log has changed, none does.
    fn is_counted(&self, begun: &[Arc<Tenure>]) -> bool {
        let mut places = self.log.partitions.iter().filter(|(place, _)| is_input(&place.topic));
        self.store.late.is_empty()
            && places.all(|(place, partition)| {
                let mut tenures = begun.iter().filter(|tenure| tenure.partition == *place);
                let is_at_end = |tenure: &Tenure| {
                    (0..).zip(self.store.shards()).all(|(number, shard)| {
                        let at = shard.checkpoint(place).unwrap_or_else(|| tenure.found(number).from);
                        at == partition.end()
                    })
                };
                tenures.any(|tenure| is_at_end(tenure))
            })
    }

    fn has_lost_tail(&self, place: &str) -> bool {
        self.log.partitions.iter().any(|(name, partition)| name.to_string() == place && partition.has_lost_tail)
    }

    fn places(&self) -> String {
        let inputs = self.log.partitions.iter().filter(|(place, _)| is_input(&place.topic));
        let told = inputs.map(|(place, partition)| {
            let at: Vec<_> = self.store.shards().iter().map(|shard| shard.checkpoint(place)).collect();
            format!("{place} at {at:?} of {}..{}", partition.start, partition.end())
        });
        told.collect::<Vec<_>>().join(", ")
    }

    /// The dead letters, and the origins of the forwards.
    fn sent(&self) -> (BTreeSet<Dead>, BTreeSet<(String, i32, i64)>) {
        let (mut letters, mut forwards) = (BTreeSet::new(), BTreeSet::new());
        for (place, partition) in &self.log.partitions {
            for record in partition.slots.iter().filter_map(|slot| slot.record.as_ref()) {
                let header = |name: &str| {
                    let found = record.headers.iter().find(|(header, _)| header == name);
                    found.map(|(_, value)| String::from_utf8(value.clone()).unwrap())
                };
                if &*place.topic == "audit" {
                    let origin = header("origin").unwrap();
                    let mut parts = origin.split(':');
                    let mut next = || parts.next().unwrap();
                    forwards.insert((next().to_owned(), next().parse().unwrap(), next().parse().unwrap()));
                } else if !is_input(&place.topic) && &*place.topic != streamgauge::runtime::outside::TOPIC {
                    let topic = header("dlq-topic").unwrap();
                    assert_eq!(dead_letter_topic(&topic), *place.topic);
                    let reason = streamgauge_reason(&header("dlq-reason").unwrap());
                    let (partition, offset) = (header("dlq-partition").unwrap(), header("dlq-offset").unwrap());
                    let (partition, offset) = (partition.parse().unwrap(), offset.parse().unwrap());
                    letters.insert(Dead { topic, partition, offset, reason });
                }
            }
        }
        (letters, forwards)
    }
}

pub fn is_input(topic: &str) -> bool {
    crate::events::TOPICS.contains(&topic)
}

/// The reason as the oracle names it.
fn streamgauge_reason(code: &str) -> &'static str {
    const REASONS: [&str; 7] =
        ["not-json", "no-shape", "unknown-type", "missing-field", "bad-field", "bad-time", "bad-amount"];
    REASONS.into_iter().find(|reason| *reason == code).unwrap_or("another")
}
