//! The contract of `Store`: functions over a fresh store, run on every implementation.
//!
//! `store_contract_tests!(make)` makes a test of each; `make` is an async function that returns a [`Fixture`].
//! `store_contract_tests!(make, members only)` is for a store of which only heartbeats are asked, and
//! `store_contract_tests!(make, sharded)` for one of three shards.

pub mod by_time;
pub mod claims;
pub mod days;
pub mod exchange;
pub mod kinds;
pub mod member_limits;
pub mod members;
pub mod moved;
pub mod random;
pub mod sections;
pub mod shards;
pub mod statuses;

use std::{any::Any, pin::Pin};

use streamgauge::{
    core::shards::{shard_of, split},
    model::{
        Answer, Checkpoint, Delta, Fingerprint, Key, Kind, LogIdentity, Membership, Origin, Outcome, Presence,
        Presences, Query, RecentEntry, Refusal, RefusalReason, Section, ShardId, TopicPartition,
    },
    store::Store,
};

/// A command sent to the server behind the store's back: what it answered, flattened to texts.
pub type Raw = Box<dyn Fn(Vec<String>) -> Pin<Box<dyn Future<Output = Vec<String>> + Send>> + Send + Sync>;

/// A store that holds nothing yet.
pub struct Fixture {
    /// The store.
    pub store: Box<dyn Store>,
    /// Sends commands to the server; absent where there is no server. Keys are given with their prefix.
    pub raw: Option<Raw>,
    /// Stands before each key.
    pub prefix: String,
    /// What has to live as long as the store.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Fixture {
    /// Sends a command; `@` at the beginning of a word stands for the prefix.
    pub async fn raw(&self, command: &str) -> Vec<String> {
        let words = command.split(' ').map(|word| match word.strip_prefix('@') {
            Some(key) => format!("{}{key}", self.prefix),
            None => word.to_owned(),
        });
        (self.raw.as_ref().unwrap())(words.collect()).await
    }

    /// Removes what a test left on the server.
    pub async fn clean(self) {
        if let Some(raw) = &self.raw {
            for key in self.raw("KEYS @*").await {
                raw(vec!["UNLINK".to_owned(), key]).await;
            }
        }
        drop(self.keep);
    }

    /// How many shards the store has.
    pub async fn shards(&self) -> ShardId {
        self.store.positions(&[partition(0)]).await.unwrap()[0].len() as ShardId
    }

    /// Applies a section to each shard, with the keys that lie there. All answer the same.
    pub async fn apply_one(&self, section: Section) -> Outcome {
        let mut all = Vec::new();
        for part in split(&section, self.shards().await) {
            all.extend(self.store.apply(all.len() as ShardId, &[part]).await.unwrap());
        }
        assert!(all.windows(2).all(|pair| pair[0] == pair[1]), "{all:?}");
        all.swap_remove(0)
    }

    pub async fn ask(&self, query: Query) -> Answer {
        self.store.read(&[query]).await.unwrap().remove(0)
    }

    pub async fn counter(&self, name: &str) -> Option<i64> {
        match self.ask(Query::Counter(name.to_owned())).await {
            Answer::Counter(number) => number,
            other => panic!("{other:?}"),
        }
    }

    /// Sweeps until a counter is gone.
    pub async fn until_gone(&self, name: &str) {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
        while self.counter(name).await.is_some() {
            assert!(std::time::Instant::now() < deadline, "{name} outlives its time");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            self.store.sweep().await.unwrap();
        }
    }

    pub async fn checkpoint(&self, partition: &TopicPartition) -> Option<Checkpoint> {
        self.store.positions(std::slice::from_ref(partition)).await.unwrap()[0][0].checkpoint
    }
}

pub fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("video.views", number)
}

pub fn checkpoint(offset: i64) -> Checkpoint {
    Checkpoint { offset, fingerprint: Fingerprint(7), ..Checkpoint::default() }
}

/// A section of partition `number` that leads from one offset to another; below 0 is "none stored".
pub fn section(number: i32, from: i64, to: i64, deltas: Vec<(Key, Delta)>) -> Section {
    Section {
        partition: partition(number),
        expect: (from >= 0).then(|| checkpoint(from)),
        next: checkpoint(to),
        gap: None,
        log_identity: LogIdentity::default(),
        switches: None,
        deltas,
        statuses: Vec::new(),
    }
}

pub fn count(name: &str, amount: i64) -> (Key, Delta) {
    (Key::new(Kind::Count, name), Delta::Count(amount))
}

pub fn count_until(name: &str, expire_at_ms: i64, sum: i64) -> (Key, Delta) {
    (Key::new(Kind::Count, name), Delta::CountUntil { expire_at_ms, sum })
}

pub fn max(name: &str, value: i64) -> (Key, Delta) {
    (Key::new(Kind::Max, name), Delta::Max(value))
}

pub fn origin(number: i32, offset: i64) -> Origin {
    Origin { topic: 5, partition: number, offset, effect: 0 }
}

pub fn last(name: &str, time_ms: i64, origin: Origin, value: i64) -> (Key, Delta) {
    (Key::new(Kind::Last, name), Delta::Last { time_ms, origin, value })
}

pub fn unique(name: &str, expire_at_ms: Option<i64>, elements: impl IntoIterator<Item = String>) -> (Key, Delta) {
    let elements = elements.into_iter().map(String::into_boxed_str).collect();
    (Key::new(Kind::Unique, name), Delta::Unique { expire_at_ms, elements })
}

pub fn recent(name: &str, cap: usize, entries: &[(i64, Origin, &str)]) -> (Key, Delta) {
    let entry = |(time_ms, origin, element): &(i64, Origin, &str)| RecentEntry {
        time_ms: *time_ms,
        origin: *origin,
        element: (*element).into(),
    };
    (Key::new(Kind::Recent, name), Delta::Recent { cap, entries: entries.iter().map(entry).collect() })
}

pub fn top(name: &str, expire_at_ms: Option<i64>, sums: &[(&str, i64)]) -> (Key, Delta) {
    let sums = sums.iter().map(|(element, sum)| ((*element).into(), *sum)).collect();
    (Key::new(Kind::Top, name), Delta::Top { expire_at_ms, sums })
}

/// Operations on elements of a set, in order; each moves the counter by +1 or -1 where it changes something.
pub fn member(name: &str, counter: &str, operations: &[(&str, bool)]) -> (Key, Delta) {
    let mut delta = Delta::Member { elements: Default::default() };
    for (element, is_add) in operations {
        let moves = Some((counter.into(), if *is_add { 1 } else { -1 }));
        let one = [((*element).into(), Membership::new(*is_add, moves))].into_iter().collect();
        delta.merge(Delta::Member { elements: one }).unwrap();
    }
    (Key::new(Kind::Member, name), delta)
}

/// What the latest events say of a set's elements: element, time, in or out, counter.
pub fn by_time(name: &str, tombstones_ms: i64, events: &[(&str, i64, Origin, bool, &str)]) -> (Key, Delta) {
    let mut presences = Presences { tombstones_ms, ..Presences::default() };
    for (element, time_ms, origin, is_in, counter) in events {
        let counter = (!counter.is_empty()).then(|| (*counter).into());
        let presence = Presence { time_ms: *time_ms, origin: *origin, is_in: *is_in, counter };
        presences.take((*element).into(), presence);
    }
    (Key::new(Kind::Member, name), Delta::MemberByTime(Box::new(presences)))
}

pub fn refused(key: &str, reason: RefusalReason) -> Outcome {
    Outcome::Refused(Refusal { key: key.to_owned(), reason })
}

/// Milliseconds since 1970, `seconds` from now.
pub fn from_now_ms(seconds: i64) -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    now.as_millis() as i64 + seconds * 1_000
}

/// A seed of this run's own, unless `STORE_CONTRACT_SEED` gives one again.
pub fn seed() -> u64 {
    let given = std::env::var("STORE_CONTRACT_SEED").ok().and_then(|seed| seed.parse().ok());
    given.unwrap_or_else(|| std::process::id() as u64 ^ from_now_ms(0) as u64)
}

/// Makes a test of every function of the contract.
#[macro_export]
macro_rules! store_contract_tests {
    ($make:path; $($room:ident: $($name:ident),+;)+) => { $($(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let fixture = $make().await;
            $crate::support::store_contract::$room::$name(&fixture).await;
            fixture.clean().await;
        }
    )+)+ };
    ($make:path, members only) => {
        $crate::store_contract_tests! { $make;
            members: members_come_and_go_and_are_told_what_changed, leases_are_claimed_waited_for_and_handed_over,
                the_dead_let_go_and_come_back_as_new, a_store_that_was_away_takes_nobody_for_dead,
                positions_come_with_a_beat, any_beats_mean_what_the_rule_says,
                a_group_is_read_without_taking_part;
            member_limits: what_cannot_be_a_member_is_refused, members_and_leases_have_caps,
                a_group_that_was_lost_begins_anew;
        }
    };
    ($make:path, sharded) => {
        $crate::store_contract_tests! { $make, members only }
        $crate::store_contract_tests! { $make;
            sections: applied_and_again_changes_nothing, none_is_not_zero;
            kinds: highest_and_latest, members_as_a_table, histories_keep_the_newest, rankings_sum_per_window,
                uniques_are_estimated, counters_are_scanned_in_pages;
            by_time: the_latest_event_decides_whoever_says_it;
            shards: each_shard_stands_by_itself, first_offsets_are_the_same_in_every_shard,
                counters_are_the_sum_of_their_pieces;
            moved: a_table_of_rules_stands_beside_the_checkpoint;
            statuses: statuses_come_with_their_section_or_not_at_all, other_groups_note_theirs_beside;
        }
    };
    ($make:path) => {
        $crate::store_contract_tests! { $make, members only }
        $crate::store_contract_tests! { $make;
            sections: applied_and_again_changes_nothing, conflicts_tell_what_is_stored, sections_stand_by_themselves,
                none_is_not_zero, gaps_and_the_log_are_noted, edges_of_64_bits, large_sections_at_the_cap,
                a_section_twice_in_one_call, wrong_types_are_refused, numbers_that_are_none_are_refused,
                a_forgotten_script_is_sent_again, results_are_plain;
            kinds: highest_and_latest, members_as_a_table, cursors_that_no_page_gave_are_refused,
                histories_keep_the_newest, rankings_sum_per_window, uniques_are_estimated, expired_keys_leave_no_trace, counters_are_scanned_in_pages;
            by_time: the_latest_event_decides_whoever_says_it, what_was_taken_out_is_remembered_for_its_time,
                a_set_that_the_log_ordered_goes_on_by_time;
            days: counters_of_a_day_are_removed_when_it_is_over, a_late_event_brings_no_removed_counter_back,
                many_that_expire_at_once_go_in_steps;
            claims: topics_belong_to_one_group, first_offsets_are_fixed_once, documents_compare_and_set;
            moved: a_moved_checkpoint_voids_late_sections, a_first_checkpoint_set_by_hand_voids_late_sections,
                a_table_of_rules_stands_beside_the_checkpoint;
            statuses: statuses_come_with_their_section_or_not_at_all, other_groups_note_theirs_beside,
                statuses_are_kept_for_their_time;
            random: any_history_equals_the_naive_fold;
        }
    };
}
