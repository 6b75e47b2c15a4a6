//! Several shards: each with its own checkpoints, and read as one.

use std::collections::BTreeMap;

use super::*;
use streamgauge::model::StoredPosition;

/// A name of this beginning that lies in a shard.
fn name_in(shard: ShardId, shards: ShardId, begin: &str) -> String {
    (0..).map(|n| format!("{begin}{n}")).find(|name| shard_of(name, shards) == shard).unwrap()
}

pub async fn each_shard_stands_by_itself(f: &Fixture) {
    let shards = f.shards().await;
    assert_eq!(shards, 3);
    let names: Vec<String> = (0..shards).map(|shard| name_in(shard, shards, "c")).collect();
    let one = |shard: ShardId, from, to| section(0, from, to, vec![count(&names[usize::from(shard)], 1)]);
    for (shard, to) in [(0, 10), (1, 20), (2, 5)] {
        assert_eq!(f.store.apply(shard, &[one(shard, -1, to)]).await.unwrap(), [Outcome::Applied]);
    }
    // What stands in another shard neither helps nor hinders.
    let conflict = |offset| Outcome::Conflict { stored: Some(checkpoint(offset)) };
    assert_eq!(f.store.apply(0, &[one(0, 20, 30)]).await.unwrap(), [conflict(10)]);
    assert_eq!(f.store.apply(1, &[one(1, 20, 30)]).await.unwrap(), [Outcome::Applied]);
    assert_eq!(
        f.store.apply(2, &[one(2, -1, 5), one(2, -1, 6)]).await.unwrap(),
        [Outcome::AlreadyApplied, conflict(5)]
    );
    let asked = [partition(0), partition(1)];
    let at = |positions: &[StoredPosition]| positions.iter().map(|one| one.checkpoint).collect::<Vec<_>>();
    let positions = f.store.positions(&asked).await.unwrap();
    assert_eq!(at(&positions[0]), [10, 30, 5].map(|offset| Some(checkpoint(offset))));
    assert_eq!(at(&positions[1]), [None; 3]);
    let (_, with_a_beat) = f.store.beat(&members::beat("a"), &asked).await.unwrap();
    assert_eq!(with_a_beat, positions);
    let read: Vec<_> = names.iter().map(|name| f.counter(name)).collect();
    assert_eq!(futures::future::join_all(read).await, [Some(1), Some(2), Some(1)]);
}

pub async fn first_offsets_are_the_same_in_every_shard(f: &Fixture) {
    let origins = async |number| -> Vec<Option<i64>> {
        f.store.positions(&[partition(number)]).await.unwrap()[0].iter().map(|position| position.origin).collect()
    };
    let fixed = f.store.fix_origins(&[(partition(0), 5), (partition(1), 0)]).await.unwrap();
    assert_eq!((fixed, origins(0).await, origins(1).await), (vec![5, 0], vec![Some(5); 3], vec![Some(0); 3]));
    assert_eq!(f.store.fix_origins(&[(partition(2), 7), (partition(0), 9)]).await.unwrap(), [7, 5]);
    assert_eq!(origins(0).await, [Some(5); 3]);
    assert_eq!(f.store.fix_origins(&[]).await.unwrap(), Vec::<i64>::new());
    // A shard that was emptied gets what the others keep, the first one too.
    if f.raw.is_some() {
        for emptied in ["{0}:", "{2}:"] {
            f.raw(&format!("DEL @{emptied}counters:origins")).await;
            assert_eq!(f.store.fix_origins(&[(partition(0), 77), (partition(3), 1)]).await.unwrap(), [5, 1]);
            assert_eq!((origins(0).await, origins(3).await), (vec![Some(5); 3], vec![Some(1); 3]));
        }
    }
}

pub async fn counters_are_the_sum_of_their_pieces(f: &Fixture) {
    let shards = f.shards().await;
    let sets: Vec<String> = (0..shards).map(|shard| name_in(shard, shards, "set")).collect();
    let elements = [("a", true), ("b", true)];
    let mut deltas: Vec<_> = sets.iter().map(|set| member(set, "moved", &elements)).collect();
    deltas.push(count("moved", 100));
    // Pieces in the last two shards only; one that falls back to 0; plain counters everywhere.
    deltas.extend(sets[1..].iter().map(|set| member(&format!("{set}-"), "unused", &[("a", false)])));
    deltas.push(member(&name_in(2, shards, "late"), "late", &[("a", true)]));
    deltas.extend((0..50).map(|n| count(&format!("plain{n}"), n)));
    assert_eq!(f.apply_one(section(0, -1, 1, deltas)).await, Outcome::Applied);
    assert_eq!(f.counter("moved").await, Some(106));
    let mut expected: BTreeMap<String, i64> = (0..50).map(|n| (format!("plain{n}"), n)).collect();
    expected.extend([("moved".to_owned(), 106), ("late".to_owned(), 1)]);
    for limit in [1, 7, 1_000] {
        let (mut found, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = f.store.scan("", &cursor, limit).await.unwrap();
            found.extend(page.counters);
            let Some(next) = page.cursor else { break };
            cursor = next;
        }
        let listed = found.len();
        let found: BTreeMap<_, _> = found.into_iter().collect();
        assert_eq!((&found, listed), (&expected, expected.len()), "limit {limit}");
    }
    // Too much for 64 bits is said, not shown.
    let full: Vec<_> = sets[..2].iter().map(|set| pieces_of(set, "full")).collect();
    assert_eq!(f.apply_one(section(1, -1, 1, full)).await, Outcome::Applied);
    if f.raw.is_some() {
        let error = f.store.read(&[Query::Counter("full".to_owned())]).await.unwrap_err();
        assert!(error.to_string().contains("do not fit 64 bits together"), "{error}");
    }
}

/// An element that moves a counter by nearly all that fits.
fn pieces_of(set: &str, counter: &str) -> (Key, Delta) {
    let membership = Membership::new(true, Some((counter.into(), i64::MAX)));
    let elements = [("huge".into(), membership)].into_iter().collect();
    (Key::new(Kind::Member, set), Delta::Member { elements })
}
