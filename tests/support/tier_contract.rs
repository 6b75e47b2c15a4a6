//! The contract of `Tier`: functions over a store that holds nothing yet and its tier, run on every implementation.
//!
//! `tier_contract_tests!(make)` makes a test of each; `make` is an async function that returns a [`Tiered`].

use std::{any::Any, pin::Pin, sync::Arc, time::Duration};

use streamgauge::{
    core::{recovery::begin_again, shards::split},
    model::{Answer, Outcome, Query, RestoredTotals, Section, ShardId, StoredPosition},
    store::{Kept, PutBack, Store, Tier},
};

use super::store_contract::{
    by_time, checkpoint, count, count_until, from_now_ms, last, max, member, origin, partition, section,
};

/// A store and its tier.
pub struct Tiered {
    pub store: Arc<dyn Store>,
    pub tier: Arc<dyn Tier>,
    /// Takes everything from the store, and nothing from the tier.
    pub empty: Box<dyn Fn() -> Pin<Box<dyn Future<Output = ()> + Send>> + Send + Sync>,
    /// What has to live as long.
    pub keep: Box<dyn Any + Send + Sync>,
}

impl Tiered {
    async fn shards(&self) -> ShardId {
        self.store.positions(&[partition(0)]).await.unwrap()[0].len() as ShardId
    }

    async fn apply(&self, section: Section) {
        for (shard, part) in (0..).zip(split(&section, self.shards().await)) {
            assert_eq!(self.store.apply(shard, &[part]).await.unwrap(), [Outcome::Applied]);
        }
    }

    async fn counters(&self) -> Vec<(String, i64)> {
        let mut counters = self.store.scan("", "", 1_000).await.unwrap().counters;
        let mut cursor = self.store.scan("", "", 1_000).await.unwrap().cursor;
        while let Some(next) = cursor {
            let page = self.store.scan("", &next, 1_000).await.unwrap();
            counters.extend(page.counters);
            cursor = page.cursor;
        }
        counters.sort();
        counters
    }

    async fn positions(&self, number: i32) -> Vec<StoredPosition> {
        self.store.positions(&[partition(number)]).await.unwrap().remove(0)
    }

    /// Copies, whoever has copied before.
    async fn copy(&self) -> u64 {
        let copied = self.tier.copy(Duration::ZERO).await.unwrap();
        assert_eq!(copied.shards, self.shards().await);
        copied.totals
    }

    async fn kept(&self) -> Vec<Option<Kept>> {
        let mut kept = Vec::new();
        for shard in 0..self.shards().await {
            kept.push(self.tier.kept(shard).await.unwrap());
        }
        kept
    }

    /// Puts every shard back; all topics have only totals, or more.
    async fn put_back(&self, has_more: bool) -> Vec<PutBack> {
        let mut done = Vec::new();
        for (shard, kept) in (0..).zip(self.kept().await) {
            let kept = kept.unwrap();
            let positions = begin_again(&kept.positions, |_| has_more);
            done.push(self.tier.put_back(shard, &kept, &positions).await.unwrap());
        }
        done
    }
}

fn owned(counters: &[(&str, i64)]) -> Vec<(String, i64)> {
    counters.iter().map(|(name, value)| ((*name).to_owned(), *value)).collect()
}

/// Every kind of total, of two partitions, one of which has only begun.
async fn begin(tiered: &Tiered) {
    tiered.store.fix_origins(&[(partition(0), 2), (partition(1), 7)]).await.unwrap();
    let deltas = vec![
        count("a", 3),
        count("b", i64::MAX),
        max("m", 9),
        last("l", 50, origin(0, 1), 5),
        member("set", "moved", &[("x", true), ("y", true)]),
    ];
    tiered.apply(section(0, -1, 10, deltas)).await;
}

const BEGUN: &[(&str, i64)] = &[("a", 3), ("b", i64::MAX), ("l", 5), ("m", 9), ("moved", 2)];

pub async fn nothing_is_kept_of_nothing(tiered: &Tiered) {
    assert!(tiered.kept().await.iter().all(Option::is_none));
    let copied = tiered.tier.copy(Duration::ZERO).await.unwrap();
    assert_eq!((copied.totals, copied.shards), (0, 0));
    assert!(tiered.kept().await.iter().all(Option::is_none));
}

pub async fn totals_and_positions_come_back_as_they_were_copied(tiered: &Tiered) {
    begin(tiered).await;
    tiered.copy().await;
    for kept in tiered.kept().await {
        let positions = kept.unwrap().positions;
        assert_eq!(positions[&partition(0)].checkpoint, Some(checkpoint(10)));
        assert_eq!((positions[&partition(0)].origin, positions[&partition(1)].origin), (Some(2), Some(7)));
    }
    // What is counted later is not in it.
    tiered.apply(section(0, 10, 12, vec![count("a", 1), count("later", 1)])).await;
    tiered.apply(section(1, -1, 8, vec![count("a", 1)])).await;
    (tiered.empty)().await;
    assert_eq!(tiered.counters().await, []);
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(BEGUN));
    let begun = StoredPosition { checkpoint: Some(checkpoint(10)), origin: Some(2), ..StoredPosition::default() };
    assert!(tiered.positions(0).await.iter().all(|position| *position == begun));
    let only_origin = StoredPosition { origin: Some(7), ..StoredPosition::default() };
    assert!(tiered.positions(1).await.iter().all(|position| *position == only_origin));
    // It goes on from there: an older value than the latest is still the older one.
    tiered.apply(section(0, 10, 12, vec![count("a", 1), last("l", 40, origin(0, 11), 1), max("m", 8)])).await;
    tiered.apply(section(1, -1, 8, vec![count("a", 1)])).await;
    let expected = [("a", 5), ("b", i64::MAX), ("l", 5), ("m", 9), ("moved", 2)];
    assert_eq!(tiered.counters().await, owned(&expected));
    // And is copied again, whole.
    tiered.copy().await;
    (tiered.empty)().await;
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(&expected));
}

pub async fn what_is_more_than_totals_begins_again_beside_them(tiered: &Tiered) {
    begin(tiered).await;
    tiered.copy().await;
    (tiered.empty)().await;
    assert!(tiered.put_back(true).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(BEGUN));
    for position in tiered.positions(0).await {
        let begun = position.checkpoint.unwrap();
        assert_eq!((begun.offset, begun.incarnation), (2, 1));
        assert_eq!(position.restored, Some(RestoredTotals { offset: 10, incarnation: 1 }));
        assert_eq!(position.totals_from(), Some(10));
    }
    // How far the totals reach is copied as well.
    tiered.copy().await;
    (tiered.empty)().await;
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(BEGUN));
    for position in tiered.positions(0).await {
        assert_eq!((position.checkpoint.unwrap().offset, position.restored.and(position.totals_from())), (10, None));
    }
}

/// What a set ordered by time lacks would be counted a second time, so its counter is not put back.
pub async fn counters_that_sets_by_time_move_are_made_again(tiered: &Tiered) {
    begin(tiered).await;
    let event = |time_ms| [("x", time_ms, origin(0, time_ms), true, "online")];
    tiered.apply(section(0, 10, 11, vec![by_time("room", 9_999_999, &event(10))])).await;
    assert_eq!(tiered.copy().await, BEGUN.len() as u64 + 1);
    (tiered.empty)().await;
    assert!(tiered.put_back(true).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(BEGUN));
    // A later event comes first, from a partition that is read sooner.
    tiered.apply(section(3, -1, 1, vec![by_time("room", 9_999_999, &event(20))])).await;
    tiered.apply(section(4, -1, 1, vec![by_time("room", 9_999_999, &event(10))])).await;
    let expected: Vec<_> = BEGUN.iter().copied().chain([("online", 1)]).collect();
    assert_eq!(tiered.counters().await, owned(&expected));
}

/// They go from the copy as from the store, and one that was put back still expires. For stores that keep a clock.
pub async fn counters_of_a_day_expire_in_the_copy_too(tiered: &Tiered) {
    let (soon, later) = (from_now_ms(0) + 400, from_now_ms(3_600));
    let both = [("ever", 1), ("later", 2), ("soon", 3)];
    let deltas = vec![count("ever", 1), count_until("later", later, 2), count_until("soon", soon, 3)];
    tiered.apply(section(0, -1, 10, deltas)).await;
    tiered.copy().await;
    (tiered.empty)().await;
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(&both));
    let deadline = std::time::Instant::now() + Duration::from_secs(5);
    while tiered.counters().await != owned(&both[..2]) {
        assert!(std::time::Instant::now() < deadline, "{:?}", tiered.counters().await);
        tiered.store.sweep().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tiered.copy().await;
    (tiered.empty)().await;
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, owned(&both[..2]), "it is still in the copy");
}

pub async fn only_what_changed_is_copied_and_values_may_fall(tiered: &Tiered) {
    let many: Vec<_> = (0..12_000).map(|n| count(&format!("n{n}"), n)).collect();
    for (step, deltas) in (0..).zip(many.chunks(4_000)) {
        tiered.apply(section(0, step - 1, step, deltas.to_vec())).await;
    }
    assert!(tiered.copy().await >= 12_000);
    assert_eq!(tiered.copy().await, 0);
    tiered.apply(section(0, 2, 3, vec![count("n7", -100), count("n8", 1)])).await;
    assert_eq!(tiered.copy().await, 2);
    // Flushes that follow each other, with a copy between: every change is noticed.
    tiered.apply(section(0, 3, 4, vec![count("n8", 1)])).await;
    tiered.apply(section(0, 4, 5, vec![count("n8", 1), count("n9", 1)])).await;
    assert_eq!(tiered.copy().await, 2);
    tiered.apply(section(0, 5, 6, vec![member("set", "n9", &[("x", true)])])).await;
    assert_eq!(tiered.copy().await, 1);
    let before = tiered.counters().await;
    (tiered.empty)().await;
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::Done));
    assert_eq!(tiered.counters().await, before);
    let Answer::Counter(fallen) = tiered.store.read(&[Query::Counter("n7".to_owned())]).await.unwrap().remove(0) else {
        panic!("a counter is read as another kind")
    };
    assert_eq!((fallen, before.len()), (Some(-93), 12_000));
}

pub async fn a_store_in_use_and_one_that_was_emptied_change_nothing(tiered: &Tiered) {
    begin(tiered).await;
    tiered.copy().await;
    tiered.apply(section(0, 10, 12, vec![count("a", 1)])).await;
    assert!(tiered.put_back(false).await.iter().all(|done| *done == PutBack::InUse));
    let Answer::Counter(counted) = tiered.store.read(&[Query::Counter("a".to_owned())]).await.unwrap().remove(0) else {
        panic!("a counter is read as another kind")
    };
    assert_eq!(counted, Some(4));
    // An emptied store must not empty its copy.
    let kept = tiered.kept().await;
    (tiered.empty)().await;
    assert_eq!(tiered.tier.copy(Duration::ZERO).await.unwrap().shards, 0);
    assert_eq!(tiered.kept().await, kept);
    // What somebody has looked at before is not put back as what is there now.
    let now = kept[0].clone().unwrap();
    let old = Kept { version: now.version - 1, ..now };
    assert_eq!(tiered.tier.put_back(0, &old, &old.positions).await.unwrap(), PutBack::Changed);
    assert_eq!(tiered.positions(0).await[0].checkpoint, None);
}

/// Makes a test of every function of the contract.
#[macro_export]
macro_rules! tier_contract_tests {
    ($make:path; $($name:ident),+) => { $(
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            let tiered = $make().await;
            $crate::support::tier_contract::$name(&tiered).await;
            (tiered.empty)().await;
        }
    )+ };
    ($make:path) => {
        $crate::tier_contract_tests! { $make; nothing_is_kept_of_nothing, totals_and_positions_come_back_as_they_were_copied,
            what_is_more_than_totals_begins_again_beside_them, only_what_changed_is_copied_and_values_may_fall,
            a_store_in_use_and_one_that_was_emptied_change_nothing, counters_that_sets_by_time_move_are_made_again
        }
    };
}
