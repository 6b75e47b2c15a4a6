//! A rebuild in memory, the ways in which it can break, and hands that meddle with what is stored.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use streamgauge::{
    catalog::{Feeds, plan::Topic},
    core::{
        dedupe::{IdentitySecret, SECRET_BYTES},
        shards::split,
    },
    log::FetchLimits,
    model::{
        Checkpoint, Delta, Key, Kind, LogIdentity, Membership, Origin, Outcome, RecentEntry, Section, ShardId,
        TopicPartition,
    },
    runtime::recount::{self, Progress, Rebuilt, Recount, RecountError, RecountParts, Side},
    store::{Store, StoreError},
};

use crate::{
    fixture::World,
    support::{
        breaking::{Breaking, Fate, Fated},
        events::{Published, Random},
        faulty_store::FaultyStore,
        memory_store::{Held, MemoryStore, exchange::MemoryExchange},
    },
};

impl AsRef<MemoryStore> for FaultyStore {
    fn as_ref(&self) -> &MemoryStore {
        &self.inner
    }
}

/// A recount with the store that it goes into.
pub struct Rebuild {
    pub recount: Recount,
    exchange: MemoryExchange<FaultyStore>,
    id: String,
    topics: Vec<Arc<Topic>>,
}

impl Rebuild {
    pub fn of(world: &World, topics: Vec<Arc<Topic>>) -> Self {
        let shadow = Arc::new(MemoryStore::of(world.store.inner.shards()));
        let limits = FetchLimits {
            max_wait: Duration::from_millis(20),
            min_bytes: 1,
            max_partition_bytes: 1_000_000,
            max_bytes: 8_000_000,
        };
        let recount = Recount::new(RecountParts {
            log: Arc::clone(&world.log) as _,
            live: Side { store: Arc::clone(&world.store) as _, keys: Arc::new(MemoryStore::default()) },
            group: "g".into(),
            outside: world.outside(),
            shadow: Side::new(Arc::clone(&shadow)),
            is_part: topics.len() < world.catalog.topics.len(),
            topics: topics.clone(),
            accepts_loss: false,
            snapshot: None,
            limits,
            fetch_max_bytes: 1_000_000,
            batch_events: 50,
            secret: Arc::new(IdentitySecret([7; SECRET_BYTES])),
        });
        let id = uuid::Uuid::new_v4().to_string();
        Self { recount, exchange: MemoryExchange { live: Arc::clone(&world.store), shadow }, id, topics }
    }

    pub async fn run(&mut self) -> Result<Rebuilt, RecountError> {
        self.recount.rebuild(&self.exchange, &self.id, None).await
    }

    /// Runs until so many writes of the exchange were done, then drops everything as a kill would, before or after the write that
    /// comes next. `false` where it was done before that.
    pub async fn run_until_broken(&mut self, writes: usize, after: bool) -> bool {
        let breaking = Fated { inner: &self.exchange, fate: Breaking::new(writes, after) };
        tokio::select! {
            biased;
            () = breaking.fate.broken.notified() => true,
            done = self.recount.rebuild(&breaking, &self.id, None) => {
                done.unwrap();
                false
            }
        }
    }

    pub async fn run_amid_faults(&mut self, world: &World, random: &mut Random) -> Result<Rebuilt, RecountError> {
        let (random, copies) = (Mutex::new(Random::new(random.next())), Mutex::new(Vec::new()));
        let faulty = Fated { inner: &self.exchange, fate: Faulty { world, random, copies } };
        self.recount.rebuild(&faulty, &self.id, None).await
    }

    pub async fn is_under_way(&self) -> bool {
        recount::is_under_way(&self.exchange).await.unwrap()
    }

    /// What the command does when it finds an exchange that was broken off.
    pub async fn end_as_the_next_one(&self, world: &World) {
        let feeds = Feeds::of(&self.topics);
        recount::finish(&self.exchange, &feeds, &Progress::default()).await.unwrap();
        recount::open_for_imports(&*world.store).await.unwrap();
        assert!(!self.is_under_way().await);
    }
}

/// Loses calls and answers, and puts a shard back to what it was some writes ago.
struct Faulty<'a> {
    world: &'a World,
    random: Mutex<Random>,
    copies: Mutex<Vec<Vec<Held>>>,
}

impl Fate for Faulty<'_> {
    async fn write<T: Send>(
        &self,
        act: impl Future<Output = Result<T, StoreError>> + Send,
        _is_done: fn(&T) -> bool,
    ) -> Result<T, StoreError> {
        let lost = || StoreError::Unavailable { doing: "exchanging".to_owned(), reason: "lost".to_owned() };
        let fate = self.random.lock().unwrap().below(200);
        let store = &self.world.store.inner;
        self.copies.lock().unwrap().push((0..store.shards()).map(|shard| store.shard(shard)).collect());
        match fate {
            0..3 => Err(lost()),
            3..6 => act.await.and_then(|_| Err(lost())),
            6 | 7 => {
                let done = act.await;
                let copies = self.copies.lock().unwrap();
                let mut random = self.random.lock().unwrap();
                let shard = random.below(usize::from(store.shards()));
                let older = &copies[copies.len() - 1 - random.below(copies.len().min(6))];
                store.put_back_shard(shard as ShardId, older[shard].clone());
                done
            }
            _ => act.await,
        }
    }
}

/// Publishes as a client would, by key.
pub fn publish(world: &World, events: &[Published]) {
    publish_among(world, events, world.log.partitions_per_topic());
}

/// The same, to the first partitions of each topic only.
pub fn publish_among(world: &World, events: &[Published], partitions: i32) {
    events.iter().for_each(|event| world.log.publish(event, partitions));
}

/// Writes results that no record has brought.
pub async fn apply(world: &World, deltas: Vec<(Key, Delta)>) {
    let section = Section {
        partition: TopicPartition::new(format!("somebody:{}", uuid::Uuid::new_v4()), 0),
        expect: None,
        next: Checkpoint { offset: 1, ..Checkpoint::default() },
        gap: None,
        log_identity: LogIdentity::default(),
        switches: None,
        deltas,
        statuses: Vec::new(),
    };
    for (shard, section) in (0..).zip(split(&section, world.store.inner.shards())) {
        assert_eq!(world.store.inner.apply(shard, &[section]).await.unwrap(), [Outcome::Applied]);
    }
}

/// Changes, makes and removes keys of every kind behind everybody's back, in each shard.
pub async fn tamper(world: &World) {
    let before = world.held();
    let counters: Vec<&String> = before.counters.keys().filter(|name| name.ends_with(":views")).collect();
    let origin = Origin { topic: 1, partition: 0, offset: 1, effect: 0 };
    let entry = || RecentEntry { time_ms: 9_999_999_999_999, origin, element: "stranger".into() };
    let mut deltas: Vec<(Key, Delta)> = Vec::new();
    for name in counters.iter().step_by(2) {
        deltas.push((Key::new(Kind::Count, name.as_str()), Delta::Count(3)));
    }
    for number in 0..8 {
        let add = |deltas: &mut Vec<_>, kind: Kind, name: String, delta| deltas.push((Key::new(kind, name), delta));
        let of = format!("nobody{number}");
        add(&mut deltas, Kind::Count, format!("video:{of}:views"), Delta::Count(5));
        let elements = [(Box::from("x"), Membership::new(true, None))].into_iter().collect();
        add(&mut deltas, Kind::Member, format!("user:{of}:subscriptions"), Delta::Member { elements });
        let recent = Delta::Recent { cap: 100, entries: [entry()].into() };
        add(&mut deltas, Kind::Recent, format!("user:{of}:history"), recent);
        let unique = Delta::Unique { expire_at_ms: None, elements: [Box::from("x")].into_iter().collect() };
        add(&mut deltas, Kind::Unique, format!("video:{of}:viewers:2026-11-21"), unique);
        let top = Delta::Top { expire_at_ms: None, sums: [(Box::from("x"), 7)].into_iter().collect() };
        add(&mut deltas, Kind::Top, format!("trending:videos:1h:2026-11-2{number}T10"), top);
    }
    apply(world, deltas).await;
    let mut removed = 0;
    for shard in 0..world.store.inner.shards() {
        let mut held = world.store.inner.shard(shard);
        let gone: Vec<String> = held.counters.keys().filter(|name| counters.contains(name)).take(3).cloned().collect();
        removed += gone.len();
        held.counters.retain(|name, _| !gone.contains(name));
        world.store.inner.put_back_shard(shard, held);
    }
    assert!(removed > 0, "nothing was removed: the test tries nothing");
}
