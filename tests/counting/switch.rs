//! Rules that change: each record is counted by the rules that are in force at its offset, in every shard, whatever happens.
//!
//! Longer than most files, since versions of a catalogue are put through one thing after another.

use std::{collections::BTreeMap, sync::Arc};

use streamgauge::{
    catalog::plan::Catalog,
    model::{Checkpoint, Fingerprint, RulesMark, ShardId, Switches, TopicPartition},
    runtime::outside::TOPIC,
};

use crate::{
    copies,
    fixture::{Member, World, until},
    seeds,
    support::{events::Random, memory_store::Held},
};

pub const SHARDS: ShardId = 4;
const OLD: &str = "{ count = \"n:{id}\" }";
const NEW: &str = "{ count = \"n:{id}\", by = 1000 }, { count = \"new:{id}\" }";

/// A world with a second version of its catalogue.
pub struct Versions {
    pub world: World,
    catalogs: [Arc<Catalog>; 2],
}

impl Versions {
    pub fn new(partitions: i32, shards: ShardId) -> Self {
        let of = |rules| World::with_rules(rules, partitions).in_shards(shards);
        let (world, newer) = (of(OLD), of(NEW));
        let catalogs = [Arc::clone(&world.catalog), newer.catalog];
        Self { world, catalogs }
    }

    pub fn fingerprint(&self, version: usize) -> Fingerprint {
        self.catalogs[version].topics[0].fingerprint
    }

    /// Starts a member of a version.
    pub fn member(&mut self, version: usize) -> Member {
        self.world.catalog = Arc::clone(&self.catalogs[version]);
        self.world.member()
    }

    pub fn append(&self, partition: i32, ids: std::ops::Range<u32>) {
        for id in ids {
            self.world.append(&t(partition), &format!("{{\"type\":\"e\",\"id\":\"{}\"}}", id % 20));
        }
    }

    /// The switches of a partition, as they are noted outside of the store.
    pub async fn noted(&self, partition: i32) -> Switches {
        self.world.outside().read().await.unwrap().noted(&t(partition), None).switches()
    }

    /// The switches that count a partition: noted outside, and where there is one shard, beside its checkpoint.
    pub async fn table(&self, partition: i32) -> Switches {
        let noted = self.noted(partition).await;
        let held = self.world.store.inner.shard(0);
        match (self.world.store.inner.shards(), held.checkpoints.get(&t(partition))) {
            (1, Some(stored)) if stored.rules == RulesMark::default() => Switches::only(stored.fingerprint),
            (1, Some(_)) => held.switches[&t(partition)].clone(),
            _ => noted,
        }
    }

    /// What every counter must be, record by record.
    async fn expected(&self) -> BTreeMap<String, i64> {
        let mut counters = BTreeMap::new();
        for ((_, partition), records) in self.world.log.records_of(["t"].into_iter()) {
            let table = self.table(partition).await;
            for record in records {
                let value = String::from_utf8(record.value.unwrap()).unwrap();
                let id = value.split('"').nth(7).unwrap();
                let rules = table.0.iter().rfind(|rules| rules.from <= record.offset).unwrap();
                let is_new = rules.fingerprint == self.fingerprint(1);
                *counters.entry(format!("n:{id}")).or_insert(0) += if is_new { 1000 } else { 1 };
                *counters.entry(format!("new:{id}")).or_insert(0) += i64::from(is_new);
            }
        }
        counters.retain(|_, sum| *sum != 0);
        counters
    }

    pub async fn until_noted(&self, what: &str, partition: i32, condition: impl Fn(&Switches) -> bool) {
        let began = std::time::Instant::now();
        while !condition(&self.noted(partition).await) {
            assert!(began.elapsed() < std::time::Duration::from_secs(30), "waited in vain: {what}");
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    }

    pub async fn assert_exact(&self, context: &str) {
        assert_eq!(self.world.held().counters, self.expected().await, "{context}");
    }
}

pub fn t(partition: i32) -> TopicPartition {
    TopicPartition::new("t", partition)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_shards_change_their_rules_at_one_offset_also_one_that_fell_back() {
    let mut versions = Versions::new(1, SHARDS);
    let old = versions.member(0);
    versions.append(0, 0..60);
    versions.world.until_counted().await;
    let before = versions.world.store.inner.shard(2);
    versions.append(0, 60..100);
    versions.world.until_counted().await;
    old.stop().await;
    // The new rules must not count what the shard lacks of the old ones.
    versions.world.store.inner.put_back_shard(2, before);
    let new = versions.member(1);
    versions.world.until_counted().await;
    versions.append(0, 100..150);
    versions.world.until_counted().await;
    let table = versions.table(0).await;
    assert_eq!((table.0.len(), table.end_of(0)), (2, Some(100)), "{table}");
    versions.assert_exact("after the switch").await;
    // Again, now that it lies behind: to before the switch, and emptied.
    for (emptied, end) in [(false, 200), (true, 250)] {
        let copy = if emptied { Held::default() } else { versions.world.store.inner.shard(3) };
        let copy = if emptied { copy } else { older_copy(&versions, copy) };
        versions.world.store.inner.put_back_shard(3, copy);
        versions.append(0, end - 50..end);
        versions.world.until_counted().await;
        versions.assert_exact(&format!("emptied: {emptied}")).await;
    }
    assert_eq!(versions.table(0).await, table);
    new.stop().await;
    // Back to the old rules: a switch like any other.
    let old = versions.member(0);
    versions.until_noted("the old rules are in force again", 0, |table| table.0.len() == 3).await;
    versions.append(0, 250..300);
    versions.world.until_counted().await;
    old.stop().await;
    versions.assert_exact("after the switch back").await;
    assert_eq!(versions.table(0).await.last().unwrap().fingerprint, versions.fingerprint(0));
}

/// A shard as it was when it had counted half of what the old rules count, and knew of no switch.
fn older_copy(versions: &Versions, shard: Held) -> Held {
    let mut older = Held::default();
    let expected = |id: u32| (0..50).filter(|record| record % 20 == id).count() as i64;
    for id in 0..20 {
        let name = format!("n:{id}");
        if shard.counters.contains_key(&name) {
            older.counters.insert(name, expected(id));
        }
    }
    let checkpoint = Checkpoint { offset: 50, fingerprint: versions.fingerprint(0), ..Checkpoint::default() };
    older.checkpoints.insert(t(0), checkpoint);
    older.origins = shard.origins;
    older
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_shard_changes_its_rules_where_it_stands() {
    let mut versions = Versions::new(1, 1);
    let old = versions.member(0);
    versions.append(0, 0..60);
    versions.world.until_counted().await;
    let before = versions.world.store.inner.shard(0);
    versions.append(0, 60..100);
    versions.world.until_counted().await;
    old.stop().await;
    versions.append(0, 100..130);
    let new = versions.member(1);
    versions.world.until_counted().await;
    assert_eq!(versions.table(0).await.end_of(0), Some(100), "{}", versions.table(0).await);
    versions.assert_exact("after the switch").await;
    new.stop().await;
    versions.world.store.inner.put_back(before);
    let new = versions.member(1);
    versions.world.until_counted().await;
    new.stop().await;
    assert_eq!(versions.table(0).await.end_of(0), Some(100), "it stood further before");
    versions.assert_exact("after it fell back to before the switch").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shard_that_was_counted_past_a_switch_by_the_old_rules_stops_loudly() {
    let mut versions = Versions::new(1, SHARDS);
    let old = versions.member(0);
    versions.append(0, 0..40);
    versions.world.until_counted().await;
    old.stop().await;
    let new = versions.member(1);
    versions.until_noted("the new rules are noted", 0, |table| table.end_of(0) == Some(40)).await;
    versions.append(0, 40..60);
    versions.world.until_counted().await;
    let mut past = versions.world.store.inner.shard(1);
    let fingerprint = versions.fingerprint(0);
    past.checkpoints.insert(t(0), Checkpoint { offset: 55, fingerprint, ..Checkpoint::default() });
    versions.world.store.inner.put_back_shard(1, past);
    until("the partition stops", || new.stopped(&t(0)).is_some()).await;
    let why = new.stopped(&t(0)).unwrap();
    assert!(why.contains("shard 1") && why.contains("offset 55") && why.contains("{1}:"), "{why}");
    // The way out.
    versions.world.store.inner.put_back_shard(1, Held::default());
    until("it goes on", || new.stopped(&t(0)).is_none()).await;
    versions.world.until_counted().await;
    new.stop().await;
    versions.assert_exact("after the shard was emptied").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rules_whose_text_is_gone_are_asked_for() {
    let mut versions = Versions::new(1, SHARDS);
    let old = versions.member(0);
    versions.append(0, 0..40);
    versions.world.until_counted().await;
    let before = versions.world.store.inner.shard(1);
    versions.append(0, 40..60);
    versions.world.until_counted().await;
    old.stop().await;
    versions.world.store.inner.put_back_shard(1, before);
    let text = versions.fingerprint(0).document();
    versions.world.store.inner.meddle(|held| assert!(held.documents.remove(&text).is_some()));
    versions.world.log.forget(TOPIC);
    let new = versions.member(1);
    until("the partition stops", || new.stopped(&t(0)).is_some()).await;
    let why = new.stopped(&t(0)).unwrap();
    assert!(why.contains(&versions.fingerprint(0).to_string()) && why.contains("catalogue of these rules"), "{why}");
    let old = versions.member(0);
    versions.world.until_counted().await;
    old.stop().await;
    new.stop().await;
    versions.assert_exact("after the text was brought").await;
}

/// Members of both versions come, go and die while records come and shards fall back or are emptied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_happens_every_record_is_counted_by_the_rules_of_its_offset() {
    for seed in seeds() {
        for shards in [SHARDS, 1] {
            both_versions(seed, shards).await;
        }
    }
}

async fn both_versions(seed: u64, shards: ShardId) {
    let mut random = Random::new(seed ^ 0x51c4);
    let mut versions = Versions::new(2, shards);
    let mut members = vec![versions.member(0), versions.member(1)];
    let mut older = copies(&versions.world);
    for round in 0..40_u32 {
        for partition in 0..2 {
            versions.append(partition, round * 7..round * 7 + random.below(14) as u32);
        }
        tokio::time::sleep(std::time::Duration::from_millis(random.below(60) as u64)).await;
        let inner = &versions.world.store.inner;
        match random.below(12) {
            0 => {
                let shard = random.below(usize::from(shards));
                let copy = if random.below(3) == 0 { Held::default() } else { older[shard].clone() };
                inner.put_back_shard(shard as ShardId, copy);
            }
            1 => (0..).zip(&older).for_each(|(shard, copy)| inner.put_back_shard(shard, copy.clone())),
            2 | 3 => older = copies(&versions.world),
            4 | 5 => inner.skip_ms(700),
            6..9 => {
                let chosen = random.below(members.len());
                members.remove(chosen).kill().await;
                members.push(versions.member(random.below(2)));
            }
            9 => {
                let chosen = random.below(members.len());
                members.remove(chosen).stop().await;
                members.push(versions.member(random.below(2)));
            }
            _ => {}
        }
    }
    for member in members {
        member.kill().await;
    }
    versions.world.store.inner.skip_ms(700);
    let last = versions.member(1);
    versions.append(0, 0..5);
    versions.append(1, 0..5);
    versions.world.until_counted().await;
    last.stop().await;
    versions
        .assert_exact(&format!(
            "COUNTING_SEED={seed}, {shards} shards, {} | {}",
            versions.table(0).await,
            versions.table(1).await
        ))
        .await;
}
