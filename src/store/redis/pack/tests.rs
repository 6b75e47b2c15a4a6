//! What is packed together, and how it weighs.

use super::*;
use crate::model::{Checkpoint, Kind, LogIdentity, Origin, TopicPartition};

fn section(weight: usize) -> Section {
    let next = Checkpoint { offset: 1, ..Checkpoint::default() };
    let deltas = (1..weight).map(|i| (Key::new(Kind::Count, format!("k{i}")), Delta::Count(1))).collect();
    let partition = TopicPartition::new("t", 0);
    Section {
        partition,
        expect: None,
        next,
        gap: None,
        log_identity: LogIdentity::default(),
        switches: None,
        deltas,
        statuses: Vec::new(),
    }
}

#[test]
fn calls_hold_whole_sections_up_to_the_cap() {
    let cases: &[(&[usize], usize)] = &[
        (&[1], 1),
        (&[CALL_WEIGHT], 1),
        (&[CALL_WEIGHT + 1, 1], 1),
        (&[10, CALL_WEIGHT], 1),
        (&[10, CALL_WEIGHT - 10, 1], 2),
    ];
    for (weights, count) in cases {
        let sections: Vec<Section> = weights.iter().map(|w| section(*w)).collect();
        assert_eq!(next_call(&sections), *count, "{weights:?}");
    }
}

#[test]
fn heads_of_last_sort_as_their_pairs() {
    let origin = |offset| Origin { topic: 1, partition: 0, offset, effect: 0 };
    let mut pairs = Vec::new();
    for time in [i64::MIN, -1, 0, 1, 1_700_000_000_000, i64::MAX] {
        for offset in [0, 9, 10, i64::MAX] {
            pairs.push((time, origin(offset)));
        }
    }
    assert!(pairs.is_sorted());
    let heads: Vec<String> = pairs.iter().map(|(time, origin)| last_head(*time, *origin)).collect();
    assert!(heads.is_sorted_by(|a, b| a < b && a.len() == b.len()));
}
