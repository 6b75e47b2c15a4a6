//! The oracle itself, against results worked out by hand, and the generator against what it says of its events.

// What is wrong in a helper of a test fails the test.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use streamgauge::catalog::{self, CatalogChoice, Source, plan::Catalog};
use support::{
    events::events,
    oracle::{Record, Results, fold},
};

fn record(offset: i64, value: &str) -> Record {
    Record { offset, timestamp_ms: 7, key: Some(b"k".to_vec()), value: Some(value.into()), headers: Vec::new() }
}

/// Folds values that lie in partition 0 of a topic, offsets from 0.
fn fold_values(catalog: &Catalog, topic: &str, values: &[String]) -> Results {
    let records = values.iter().zip(0..).map(|(value, offset)| record(offset, value)).collect();
    fold(catalog, &BTreeMap::from([((topic.to_owned(), 0), records)]))
}

fn video() -> Catalog {
    Catalog::load(&CatalogChoice::default()).unwrap()
}

fn view(video: &str, user: &str, time: &str) -> String {
    format!("{{\"type\":\"video.view\",\"videoId\":{video},\"userId\":{user}{time}}}")
}

#[test]
fn views_feed_four_rules_and_equal_ones_count_once() {
    const T: &str = ",\"timestamp\":1700000000000";
    let values = [
        view("\"a:1\"", "5", T),
        view("\"a:1\"", "\"5\"", T),
        view("\"a:1\"", "6", T),
        view("\"a:1\"", "6", ""),
        view("\"a:1\"", "6", ""),
        view("\"\"", "6", T),
        view("1.5", "6", T),
        view("\"a\"", "null", T),
        "nonsense".to_owned(),
    ];
    let results = fold_values(&video(), "video.views", &values);
    assert_eq!((results.duplicates, results.counted), (1, 4));
    assert_eq!(results.counters, BTreeMap::from([("video:a%3A1:views".to_owned(), 4)]));
    let viewers = &results.uniques["video:a%3A1:viewers:2023-11-14"];
    assert_eq!(viewers.0, Some(1_700_006_400_000 + 35 * 86_400_000));
    assert_eq!(viewers.1, BTreeSet::from(["5".to_owned(), "6".to_owned()]));
    assert_eq!(results.recents["user:6:history"].len(), 3);
    assert_eq!(results.tops["trending:videos:1h:2023-11-14T22"].1, BTreeMap::from([("a%3A1".to_owned(), 2)]));
    assert_eq!(results.tops["trending:videos:1d:1970-01-01"].1, BTreeMap::from([("a%3A1".to_owned(), 2)]));
    let reasons: Vec<_> = results.dead.iter().map(|dead| (dead.offset, dead.reason)).collect();
    assert_eq!(reasons, [(5, "bad-field"), (6, "bad-field"), (7, "missing-field"), (8, "not-json")]);
}

#[test]
fn a_duplicate_lies_within_n_offsets_and_w_of_time() {
    let text = "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = [\"a\"]\nshape = [\"flat\"]\ndedupe = { window = \"1s\", offsets = 2 }\n[[topic.event]]\ntype = \"e\"\nrules = [{ count = \"n\" }]\n";
    let catalog = catalog::compile(&[Source { file: "c".to_owned(), text: text.to_owned() }]).unwrap();
    let at = |a: u32, ms: i64| format!("{{\"type\":\"e\",\"a\":{a},\"timestamp\":{ms}}}");
    for (events, duplicates) in [
        (vec![at(1, 0), at(1, 1000)], 1),
        (vec![at(1, 0), at(1, 1001)], 0),
        (vec![at(1, 1001), at(1, 0)], 0),
        (vec![at(1, 0), at(2, 0), at(1, 0)], 1),
        (vec![at(1, 0), at(2, 0), at(3, 0), at(1, 0)], 0),
        // A duplicate reaches on, whether or not it was counted itself.
        (vec![at(1, 0), at(1, 900), at(1, 1800)], 2),
        (vec![at(1, 0), at(2, 0), at(1, 0), at(2, 0), at(1, 0)], 3),
    ] {
        assert_eq!(fold_values(&catalog, "t", &events).duplicates, duplicates, "{events:?}");
    }
}

#[test]
fn subscriptions_move_their_counter_only_where_the_set_changed() {
    let event =
        |op: &str, user: u32| format!("{{\"type\":\"subscription.{op}\",\"userId\":{user},\"channelId\":\"c\"}}");
    let values = [event("delete", 1), event("create", 1), event("create", 1), event("create", 2), event("delete", 2)];
    let results = fold_values(&video(), "video.subscriptions", &values);
    assert_eq!(results.counters, BTreeMap::from([("channel:c:subscribers".to_owned(), 1)]));
    assert_eq!(results.sets, BTreeMap::from([("user:1:subscriptions".to_owned(), BTreeSet::from(["c".to_owned()]))]));
}

#[test]
fn generated_events_are_what_they_say() {
    for seed in 0..20 {
        let made = events(seed, 2_000, 40);
        assert_eq!(made, events(seed, 2_000, 40), "seed {seed}");
        let mut partitions: BTreeMap<(String, i32), Vec<Record>> = BTreeMap::new();
        for event in &made {
            let records = partitions.entry((event.topic.to_owned(), 0)).or_default();
            let value = Some(event.value.clone());
            let offset = records.len() as i64;
            records.push(Record { offset, timestamp_ms: 0, key: event.key.clone(), value, headers: Vec::new() });
        }
        let results = fold(&video(), &partitions);
        let mut expected: Vec<&str> = made.iter().filter_map(|event| event.dead).collect();
        let mut found: Vec<&str> = results.dead.iter().map(|dead| dead.reason).collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected, "seed {seed}");
        assert!(results.duplicates > 0 && !results.forwards.is_empty() && !results.sets.is_empty(), "seed {seed}");
        assert_eq!(results.counted + results.duplicates, 1_960, "seed {seed}");
    }
}
