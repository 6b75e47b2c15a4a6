//! The mirror against a broker in memory.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
    time::Instant,
};

use super::*;
use crate::{
    model::{Checkpoint, Fingerprint},
    runtime::tenure::Tenure,
};

#[derive(Default)]
struct Held {
    members: usize,
    offsets: BTreeMap<TopicPartition, (i64, String)>,
    commits: usize,
    is_away: bool,
    /// Partitions that the topic no longer has.
    gone: Vec<TopicPartition>,
}

#[derive(Default)]
struct Memory(Mutex<Held>);

impl Memory {
    fn held(&self) -> MutexGuard<'_, Held> {
        self.0.lock().unwrap()
    }

    fn answer(&self) -> Result<MutexGuard<'_, Held>, LogError> {
        let held = self.held();
        match held.is_away {
            true => Err(LogError::Unavailable { what: "asking".into(), reason: "gone".into() }),
            false => Ok(held),
        }
    }
}

#[async_trait]
impl GroupOffsets for Memory {
    async fn members(&self, _: &str) -> Result<usize, LogError> {
        Ok(self.answer()?.members)
    }

    async fn shown(&self, _: &str, partitions: Option<&[TopicPartition]>) -> Result<Vec<Shown>, LogError> {
        let held = self.answer()?;
        let is_asked = |partition: &TopicPartition| partitions.is_none_or(|asked| asked.contains(partition));
        let asked = held.offsets.iter().filter(|(partition, _)| is_asked(partition));
        let shown = |(partition, (offset, note)): (&TopicPartition, &(i64, String))| Shown {
            partition: partition.clone(),
            offset: *offset,
            note: note.clone(),
        };
        Ok(asked.map(shown).collect())
    }

    async fn commit(&self, _: &str, offsets: &[Mirrored], note: &str) -> Result<Vec<Result<(), LogError>>, LogError> {
        let mut held = self.answer()?;
        held.commits += 1;
        let mut answers = Vec::new();
        for Mirrored { partition, offset, .. } in offsets {
            if held.gone.contains(partition) {
                answers.push(Err(LogError::Unknown { what: partition.to_string() }));
            } else {
                held.offsets.insert(partition.clone(), (*offset, note.to_owned()));
                answers.push(Ok(()));
            }
        }
        Ok(answers)
    }
}

struct World {
    broker: Arc<Memory>,
    tenures: Arc<Tenures>,
    health: Arc<Health>,
    mirror: Mirror,
}

fn at(offset: i64) -> Checkpoint {
    Checkpoint { offset, fingerprint: Fingerprint(1), ..Checkpoint::default() }
}

fn partition(number: i32) -> TopicPartition {
    TopicPartition::new("t", number)
}

impl World {
    fn new() -> Self {
        let (broker, tenures, health) =
            (Arc::<Memory>::default(), Arc::<Tenures>::default(), Arc::new(Health::new(Instant::now())));
        let offsets = Arc::clone(&broker) as Arc<dyn GroupOffsets>;
        let mirror = Mirror::new(offsets, "g".into(), "me", Arc::clone(&tenures), Arc::clone(&health));
        Self { broker, tenures, health, mirror }
    }

    fn hold(&self, number: i32, stored: Option<i64>) -> Arc<Tenure> {
        let tenure = Tenure::begin(partition(number), Fingerprint(1), stored.map(at), 0);
        self.tenures.add(&tenure);
        tenure
    }

    fn commit(&self, number: i32, offset: i64, note: &str) {
        self.broker.held().offsets.insert(partition(number), (offset, note.to_owned()));
    }

    /// What the broker has, as `partition: offset note`.
    fn shown(&self) -> Vec<String> {
        let held = self.broker.held();
        held.offsets
            .iter()
            .map(|(partition, (offset, note))| format!("{}: {offset} {note}", partition.partition))
            .collect()
    }

    fn reason(&self) -> Option<String> {
        let (_, parts) = self.health.report(Instant::now());
        parts.into_iter().find(|part| part.name == MIRROR_PART).map(|part| part.reason)
    }
}

#[tokio::test]
async fn what_is_stored_and_held_is_shown_and_only_what_changed_is_sent() {
    let mut world = World::new();
    world.mirror.round().await;
    assert_eq!((world.broker.held().commits, world.reason()), (0, None), "nothing is held");
    let (first, second) = (world.hold(0, Some(5)), world.hold(1, None));
    world.mirror.round().await;
    assert_eq!(world.shown(), ["0: 5 streamgauge me"]);
    world.mirror.round().await;
    assert_eq!(world.broker.held().commits, 1, "nothing has changed");
    second.advance(0, at(3));
    world.mirror.round().await;
    assert_eq!(world.shown(), ["0: 5 streamgauge me", "1: 3 streamgauge me"]);
    // Another member has it now, and has shown more.
    first.let_go();
    world.commit(0, 9, "streamgauge other");
    second.advance(0, at(4));
    world.mirror.round().await;
    assert_eq!(world.shown(), ["0: 9 streamgauge other", "1: 4 streamgauge me"]);
    // It comes back, from where an operator has put it.
    world.hold(0, Some(2));
    world.mirror.round().await;
    assert_eq!(world.shown()[0], "0: 2 streamgauge me");
    assert_eq!(world.reason().as_deref(), Some(""));
}

#[tokio::test]
async fn a_group_of_others_is_left_alone_until_it_is_ours() {
    type Meddle = fn(&World);
    let cases: [(&str, Meddle, Meddle, &str); 4] = [
        (
            "a consumer that runs",
            |world| world.broker.held().members = 1,
            |world| world.broker.held().members = 0,
            "1 running",
        ),
        (
            "a partition that we hold",
            |world| world.commit(0, 77, ""),
            |world| world.broker.held().offsets.clear(),
            "t:0",
        ),
        ("one that we do not", |world| world.commit(8, 77, "x"), |world| world.broker.held().offsets.clear(), "t:8"),
        (
            "nearly our note",
            |world| world.commit(0, 77, "streamgauged"),
            |world| world.broker.held().offsets.clear(),
            "t:0",
        ),
    ];
    for (case, meddle, mend, said) in cases {
        let mut world = World::new();
        world.hold(0, Some(5));
        meddle(&world);
        for _ in 0..3 {
            world.mirror.round().await;
        }
        assert_eq!(world.broker.held().commits, 0, "{case}");
        let reason = world.reason().unwrap();
        for part in [said, "\"g\"", "MIRROR_OFFSETS=false", "KAFKA_CONSUMER_GROUP"] {
            assert!(reason.contains(part), "{case}: {part} is missing in {reason}");
        }
        mend(&world);
        for _ in 0..=ROUNDS_ASIDE {
            world.mirror.round().await;
        }
        assert_eq!(
            (world.shown().concat(), world.reason().as_deref()),
            ("0: 5 streamgauge me".into(), Some("")),
            "{case}"
        );
    }
}

#[tokio::test]
async fn others_that_come_later_are_left_alone() {
    let mut world = World::new();
    let tenure = world.hold(0, Some(5));
    world.mirror.round().await;
    world.commit(0, 1, "");
    tenure.advance(0, at(6));
    world.mirror.round().await;
    assert_eq!(world.shown(), ["0: 1 "]);
}

#[tokio::test]
async fn a_broker_that_is_away_is_said_and_tried_again() {
    let mut world = World::new();
    world.hold(0, Some(5));
    world.broker.held().is_away = true;
    world.mirror.round().await;
    assert!(world.reason().unwrap().contains("gone"), "{:?}", world.reason());
    world.broker.held().is_away = false;
    world.mirror.round().await;
    assert_eq!((world.shown().concat(), world.reason().as_deref()), ("0: 5 streamgauge me".into(), Some("")));
    // One partition that is refused holds up no other.
    world.broker.held().gone.push(partition(1));
    world.hold(1, Some(1));
    world.hold(2, Some(2));
    world.mirror.round().await;
    assert_eq!(world.shown()[1..], ["2: 2 streamgauge me"]);
    assert!(world.reason().unwrap().contains("t:1"));
}

#[tokio::test]
async fn the_end_shows_what_was_counted_last() {
    let world = World::new();
    let tenures: Vec<_> = (0..4).map(|number| world.hold(number, Some(5))).collect();
    let stop = CancellationToken::new();
    world.commit(2, 9, "streamgauge other");
    let running = tokio::spawn(world.mirror.run(stop.clone()));
    tenures[0].advance(0, at(8));
    // It was let go with the process; another member has it and is further; what met a conflict knows nothing.
    tenures[1].let_go();
    tenures[2].let_go();
    tenures[3].end(crate::runtime::tenure::Verdict::Conflict("another one wrote".into()));
    stop.cancel();
    running.await.unwrap();
    let held = world.broker.held();
    let shown = |number| held.offsets.get(&partition(number)).map(|(offset, _)| *offset);
    assert_eq!([0, 1, 2, 3].map(shown), [Some(8), Some(5), Some(9), None]);
}
