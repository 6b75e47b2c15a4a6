//! Tables of what moves do, and of what is said before.

use std::sync::Arc;

use super::*;
use crate::{
    catalog::{CatalogChoice, plan::Catalog},
    cli::offsets::{
        show::{self, Plan},
        standing::Holder,
    },
    model::{Fingerprint, StoredPosition, TopicPartition},
};

/// Offset and incarnation of each shard's checkpoint.
type Shards = &'static [Option<(i64, u32)>];

/// A partition of a log that holds 100 to 200, with these checkpoints (one a shard) and this origin.
fn change(checkpoints: &[Option<(i64, u32)>], origin: Option<i64>, to: i64) -> Change {
    let topic = Arc::clone(Catalog::load(&CatalogChoice::default()).unwrap().topic("video.views").unwrap());
    let shard = |checkpoint: &Option<(i64, u32)>| StoredPosition {
        checkpoint: checkpoint.map(|(offset, incarnation)| Checkpoint {
            offset,
            incarnation,
            fingerprint: Fingerprint(1),
        }),
        origin,
        ..StoredPosition::default()
    };
    let partition = TopicPartition::new("video.views", 3);
    let shards = checkpoints.iter().map(shard).collect();
    Change { standing: Standing { partition, topic, shards, log_start: 100, log_end: 200, holder: None }, to }
}

#[test]
fn what_a_move_does_to_counts() {
    use OffsetReset::{Earliest, Latest};
    const AT_50: Option<(i64, u32)> = Some((50, 0));
    const AT_150: Option<(i64, u32)> = Some((150, 0));
    const AT_160: Option<(i64, u32)> = Some((160, 0));
    type Row = (Shards, Option<i64>, OffsetReset, i64, (i64, i64));
    let cases: [Row; 12] = [
        (&[AT_150], None, Earliest, 150, (0, 0)),
        (&[AT_150], None, Earliest, 120, (30, 0)),
        (&[AT_150], None, Earliest, 180, (0, 30)),
        // What the broker no longer holds is counted by nobody.
        (&[AT_150], None, Earliest, 20, (50, 0)),
        (&[AT_50], None, Earliest, 150, (0, 50)),
        // Not begun: nothing is counted again.
        (&[None], None, Earliest, 150, (0, 50)),
        (&[None], None, Latest, 150, (0, 0)),
        (&[None], Some(180), Earliest, 120, (0, 0)),
        (&[None], Some(120), Latest, 180, (0, 60)),
        // The lowest shard decides what is read.
        (&[AT_150, AT_160], None, Earliest, 155, (0, 5)),
        (&[AT_150, None], Some(100), Earliest, 140, (0, 40)),
        (&[AT_150, AT_160], None, Earliest, 100, (50, 0)),
    ];
    for (shards, origin, reset, to, (counted_again, skipped)) in cases {
        let effect = change(shards, origin, to).effect(reset);
        assert_eq!(effect, Effect { counted_again, skipped }, "{shards:?} {origin:?} {reset:?} to {to}");
    }
}

#[test]
fn a_moved_checkpoint_has_an_incarnation_that_no_shard_had() {
    let cases: [(Shards, u32, bool); 5] = [
        (&[None], 1, false),
        (&[Some((150, 0))], 1, true),
        (&[Some((120, 4))], 5, false),
        (&[Some((150, 2)), Some((150, 6))], 7, true),
        (&[Some((150, 2)), None], 3, false),
    ];
    for (shards, incarnation, is_idle) in cases {
        let change = change(shards, None, 150);
        assert_eq!((change.incarnation(), change.is_idle()), (incarnation, is_idle), "{shards:?}");
    }
}

#[test]
fn offsets_that_the_log_does_not_have_are_refused() {
    for (to, fits, fits_lenient) in [(99, false, true), (100, true, true), (200, true, true), (201, false, false)] {
        let changes = [change(&[None], None, to)];
        assert_eq!(check_range(&changes, true).is_ok(), fits_lenient, "{to}");
        match check_range(&changes, false) {
            Ok(()) => assert!(fits, "{to}"),
            Err(error) => {
                let said = error.to_string();
                assert!(!fits && said.contains(&format!("video.views:3: {to} (the log holds 100 to 200)")), "{said}");
            }
        }
    }
}

#[test]
fn holders_are_named_with_what_to_do() {
    let mut held = change(&[None], None, 150);
    assert_eq!(obstacle(std::slice::from_ref(&held), 10_000), None);
    held.standing.holder = Some(Holder { member: "m-1".into(), host: "box".into() });
    let said = obstacle(&[held, change(&[None], None, 150)], 10_000).unwrap();
    for part in ["video.views:3 by member m-1 on box", "Stop", "10000 ms", "SESSION_TIMEOUT_MS"] {
        assert!(said.contains(part), "{part} is missing in {said}");
    }
}

#[test]
fn a_dry_run_says_everything_and_that_nothing_is_done() {
    let changes = vec![change(&[Some((150, 0))], None, 100), change(&[Some((150, 0))], None, 190)];
    let plan = Plan { changes, notes: vec!["a note".into()] };
    let said = |json| {
        let mut out = Vec::new();
        show::plan(&plan, OffsetReset::Earliest, None, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = said(false);
    for part in [
        "Up to 50 records are counted AGAIN",
        "another REDIS_KEY_PREFIX",
        "`streamgauge counters verify`",
        "Up to 40 records are SKIPPED",
        "video.views feeds:",
        "count video:{videoId}:views by +1",
        "Note: a note.",
        "Nothing is changed yet: --execute does it.",
    ] {
        assert!(text.contains(part), "{part} is missing in:\n{text}");
    }
    let row: Vec<&str> = text.lines().find(|line| line.contains("190")).unwrap().split_whitespace().collect();
    assert_eq!(row, ["video.views", "3", "150", "190", "0", "40"]);
    let json: serde_json::Value = serde_json::from_str(&said(true)).unwrap();
    assert_eq!(json["executed"], false);
    assert_eq!(json["changes"][0]["countedAgain"], 50);
    assert_eq!((&json["changes"][1]["from"], &json["changes"][1]["to"]), (&150.into(), &190.into()));
    assert!(json["counters"]["video.views"].as_array().unwrap().len() > 3, "{json}");
}
