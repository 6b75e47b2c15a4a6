//! Purging: what goes, and what can only be hidden.

use streamgauge::{
    core::letter::{Filter, Spot},
    model::TopicPartition,
    runtime::dead_letters::{PurgeOptions, Purged, ReplayOptions},
};

use crate::world::{DLQ, Faults, TOPIC, World, replay_all};

/// What a purge says, and where the partitions begin afterwards.
async fn purge(world: &World, filter: Filter, options: PurgeOptions) -> (Purged, [i64; 2], usize) {
    use streamgauge::log::{At, Log};
    let (letters, _) = world.process(Faults::default());
    let topic = letters.topic(TOPIC).unwrap();
    let told = letters.purge(topic, &filter, None, options).await.unwrap();
    let mut starts = [0; 2];
    for (start, number) in starts.iter_mut().zip(0..) {
        *start = world.log.offset_at(&TopicPartition::new(DLQ, number), At::Start).await.unwrap();
    }
    let left = letters.list(topic, &Filter::default(), None, 100).await.unwrap().letters.len();
    (told, starts, left)
}

#[tokio::test(start_paused = true)]
async fn all_the_old_those_before_an_offset_and_some() {
    let key = |key: &str| Filter { key: Some(key.to_owned()), ..Filter::default() };
    let until = |ms| Filter { until_ms: Some(ms), ..Filter::default() };
    let before = PurgeOptions { before: Some(Spot { partition: 1, offset: 4 }), ..PurgeOptions::default() };
    let error = Filter { error: Some("not-json".to_owned()), ..Filter::default() };
    let any = PurgeOptions::default;
    // Twenty dead letters, ten in each partition, written at 0 to 19 ms, whose keys are their numbers: every third has none.
    // Then: purged, deleted, hidden; where the partitions begin, and how many are left.
    for (filter, options, expected, starts, left) in [
        (Filter::default(), any(), [20, 20, 0], [10, 10], 0),
        (until(5), any(), [5, 5, 0], [3, 2], 15),
        (Filter::default(), before, [4, 4, 0], [0, 4], 16),
        (key("k2"), any(), [1, 0, 1], [0, 0], 19),
        (key("k1"), any(), [1, 1, 0], [0, 1], 19),
        // All of the even numbers lie in the first partition.
        (error, any(), [10, 10, 0], [10, 0], 10),
        (key("none"), any(), [0, 0, 0], [0, 0], 20),
    ] {
        let world = World::with(20);
        let dry = PurgeOptions { is_dry_run: true, ..options };
        let (told, untouched, all) = purge(&world, filter.clone(), dry).await;
        assert_eq!((told.purged, untouched, all), (expected[0], [0, 0], 20), "dry, {filter:?}");
        let (told, begin, rest) = purge(&world, filter.clone(), options).await;
        assert_eq!([told.purged, told.deleted, told.hidden], expected, "{filter:?}");
        assert_eq!((begin, rest), (starts, left), "{filter:?}");
        let (again, ..) = purge(&world, filter.clone(), options).await;
        assert_eq!(again.purged, 0, "{filter:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_hidden_goes_when_all_before_it_is_done_with() {
    let world = World::with(20);
    let key = |key: &str| Filter { key: Some(key.to_owned()), ..Filter::default() };
    purge(&world, key("k2"), PurgeOptions::default()).await;
    purge(&world, key("k4"), PurgeOptions::default()).await;
    // The first of the partition is replayed, so all of its first three are done with.
    let (letters, _) = world.process(Faults::default());
    let first = Filter { letter: Some(Spot { partition: 0, offset: 0 }), ..Filter::default() };
    assert_eq!(replay_all(&letters, &first, ReplayOptions::default()).await.unwrap().replayed, 1);
    let (told, begin, left) = purge(&world, key("k8"), PurgeOptions::default()).await;
    assert_eq!((told.purged, told.deleted, told.hidden, told.trimmed), (1, 0, 1, 3));
    assert_eq!((begin, left), ([3, 0], 16));
}
