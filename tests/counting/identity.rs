//! The log that was counted, and the log that is there: what is adopted, and what stops a partition loudly.

use streamgauge::{
    model::{LogIdentity, ShardId, TopicPartition},
    runtime::counting::Counting,
};
use uuid::Uuid;

use crate::{
    fixture::{World, until},
    support::memory_store::Held,
    view, views,
};

/// What the log says of itself in most of these tests.
fn identity(cluster: &str, topic: u128, epoch: i32) -> LogIdentity {
    LogIdentity {
        cluster_id: Some(cluster.to_owned()),
        topic_id: Some(Uuid::from_u128(topic)),
        leader_epoch: Some(epoch),
    }
}

/// Ten views of one video, by users from `from` on.
fn append(world: &World, from: u32) {
    for user in from..from + 10 {
        world.append(&views(0), &view("v", user));
    }
}

fn stored(world: &World) -> LogIdentity {
    world.held().identities.get(&views(0)).cloned().unwrap_or_default()
}

/// A change of the log while nobody counts, and what the next member makes of it: nothing, or words that it must say.
struct Case {
    what: &'static str,
    change: fn(&World, &TopicPartition),
    says: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case { what: "the same log", change: |_, _| {}, says: &[] },
    Case { what: "a new leader that has everything", change: |w, p| w.log.elect(p, 7, 10), says: &[] },
    Case {
        what: "a new leader that has everything, and one more before it",
        change: |w, p| {
            append(w, 10);
            w.log.elect(p, 6, 15);
            w.log.elect(p, 9, 12);
        },
        says: &[],
    },
    Case {
        what: "the topic made again, empty",
        change: |w, p| w.log.make_again(p, identity("c", 2, 0)),
        says: &["made again", "00000000-0000-0000-0000-000000000002", "REDIS_KEY_PREFIX", "DATA_DIR"],
    },
    Case {
        what: "the topic made again, with more records than before",
        change: |w, p| {
            w.log.make_again(p, identity("c", 2, 0));
            append(w, 50);
            append(w, 60);
        },
        says: &["made again", "00000000-0000-0000-0000-000000000001"],
    },
    Case {
        what: "another cluster with a topic of this name",
        change: |w, p| w.log.is(p, identity("d", 2, 5)),
        says: &["another Kafka cluster (c; this one is d)", "REDIS_KEY_PREFIX"],
    },
    Case {
        what: "a leader of a lower epoch",
        change: |w, p| {
            w.log.make_again(p, identity("c", 1, 3));
            append(w, 50);
            append(w, 60);
        },
        says: &["lost its tail", "leader knows nothing of leader epoch 5", "REDIS_KEY_PREFIX"],
    },
    Case {
        what: "an unclean leader that lacks records, and has grown beyond the checkpoint since",
        change: |w, p| {
            w.log.elect(p, 6, 4);
            append(w, 50);
        },
        says: &["lost its tail", "offsets up to 10 were counted", "leader epoch 5 ends at offset 4 now"],
    },
    Case {
        what: "an unclean leader that lacks records, and nothing since",
        change: |w, p| w.log.elect(p, 6, 4),
        says: &["lost its tail", "ends at offset 4"],
    },
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_log_under_the_same_name_stops_the_partition_and_the_same_one_goes_on() {
    for Case { what, change, says } in CASES {
        let world = World::video(1);
        world.log.is(&views(0), identity("c", 1, 5));
        append(&world, 0);
        let member = world.member();
        world.until_counted().await;
        member.stop().await;
        let before = world.held();
        assert_eq!(stored(&world), identity("c", 1, 5), "{what}: adopted with the first flush");
        change(&world, &views(0));
        append(&world, 90);

        let member = world.member();
        if says.is_empty() {
            world.until_counted().await;
            member.stop().await;
            world.held().assert_equals(&world.expected(), what);
            let epoch = world.log.epoch(&views(0));
            assert_eq!(stored(&world), LogIdentity { leader_epoch: epoch, ..identity("c", 1, 0) }, "{what}: adopted");
            continue;
        }
        until(what, || member.stopped(&views(0)).is_some()).await;
        let why = member.stopped(&views(0)).unwrap();
        says.iter().for_each(|said| assert!(why.contains(said), "{what}: {why}"));
        member.stop().await;
        let after = world.held();
        assert_eq!((after.checkpoints, after.counters), (before.checkpoints, before.counters), "{what}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_log_or_the_store_does_not_know_is_no_difference() {
    let known = identity("c", 1, 5);
    let cases = [
        (LogIdentity::default(), known.clone(), known.clone()),
        (known.clone(), LogIdentity::default(), known.clone()),
        (LogIdentity { topic_id: None, ..known.clone() }, known.clone(), known.clone()),
    ];
    for (first, second, kept) in cases {
        let world = World::video(1);
        world.log.is(&views(0), first.clone());
        append(&world, 0);
        let member = world.member();
        world.until_counted().await;
        member.stop().await;
        assert_eq!(stored(&world), first);
        world.log.is(&views(0), second);
        append(&world, 10);
        let member = world.member();
        world.until_counted().await;
        member.stop().await;
        assert_eq!((stored(&world), world.counter("video:v:views")), (kept, 20));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_made_again_while_it_is_counted_is_noticed() {
    let world = World::video(1);
    world.log.is(&views(0), identity("c", 1, 5));
    append(&world, 0);
    let member = world.member();
    world.until_counted().await;
    // Fewer records than were counted: the next fetch lies beyond the end.
    world.log.make_again(&views(0), identity("c", 2, 0));
    world.append(&views(0), &view("v", 99));
    until("the partition stops", || member.stopped(&views(0)).is_some()).await;
    let why = member.stopped(&views(0)).unwrap();
    assert!(why.contains("made again"), "{why}");
    member.stop().await;
    assert_eq!((world.checkpoint(&views(0)), world.counter("video:v:views")), (Some(10), 10));
}

/// Tenures that began, and those that were replaced.
fn tenures(counting: &Counting) -> Vec<u64> {
    counting.tenures.alive().iter().filter(|tenure| tenure.partition == views(0)).map(|tenure| tenure.id).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_change_without_loss_is_followed_within_the_tenure() {
    let world = World::video(1);
    world.log.is(&views(0), identity("c", 1, 5));
    append(&world, 0);
    let member = world.member();
    world.until_counted().await;
    let began = tenures(&member.counting);
    world.log.elect(&views(0), 8, 10);
    append(&world, 10);
    world.until_counted().await;
    assert_eq!(tenures(&member.counting), began);
    member.stop().await;
    assert_eq!((stored(&world), world.counter("video:v:views")), (identity("c", 1, 8), 20));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_election_is_noticed_although_the_log_has_grown_past_what_was_counted() {
    let world = World::video(1);
    world.log.is(&views(0), identity("c", 1, 5));
    append(&world, 0);
    let member = world.member();
    world.until_counted().await;
    // All at once, as between two fetches: six records are gone, ten others stand from there on.
    let others: Vec<String> = (0..10).map(|user| view("w", user)).collect();
    world.log.elect_with(&views(0), 6, 4, &others);
    until("the partition stops", || member.stopped(&views(0)).is_some()).await;
    let why = member.stopped(&views(0)).unwrap();
    assert!(why.contains("lost its tail") && why.contains("leader epoch 5 ends at offset 4"), "{why}");
    member.stop().await;
    assert_eq!((world.checkpoint(&views(0)), world.counter("video:w:views")), (Some(10), 0));
}

/// A shard that lacks what the others have is counted by reading again from where the log has changed since: what the others
/// counted is gone all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_unclean_election_is_noticed_also_while_one_shard_is_counted_again() {
    const EMPTIED: ShardId = 2;
    let world = World::video(1).in_shards(4);
    world.log.is(&views(0), identity("c", 1, 5));
    append(&world, 0);
    let member = world.member();
    world.until_counted().await;
    member.stop().await;
    world.store.inner.put_back_shard(EMPTIED, Held::default());
    world.log.withhold(Some(&views(0)));
    let member = world.member();
    until("it has looked at the log", || !tenures(&member.counting).is_empty()).await;
    let others: Vec<String> = (0..10).map(|user| view("w", user)).collect();
    world.log.elect_with(&views(0), 6, 4, &others);
    world.log.withhold(None);
    until("the partition stops", || member.stopped(&views(0)).is_some()).await;
    let why = member.stopped(&views(0)).unwrap();
    assert!(why.contains("lost its tail") && why.contains("leader epoch 5 ends at offset 4"), "{why}");
    member.stop().await;
    let reached = world.store.inner.shard(EMPTIED).checkpoints.get(&views(0)).map_or(0, |checkpoint| checkpoint.offset);
    assert!(reached <= 4, "counted up to {reached}");
    assert_eq!(world.counter("video:w:views"), 0);
}
