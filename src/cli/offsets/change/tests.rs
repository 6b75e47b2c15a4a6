//! Tables of what moves do, and of what is said before.

use std::sync::Arc;

use super::*;
use crate::{
    catalog::{CatalogChoice, plan::Catalog},
    cli::offsets::{
        show::{self, Plan},
        standing::Holder,
    },
    model::{Fingerprint, StoredPosition, Switch, TopicPartition},
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
            ..Checkpoint::default()
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
fn what_is_being_rebuilt_is_not_moved() {
    let mut exchanged = change(&[Some((150, 1))], None, 100);
    exchanged.standing.shards[0].checkpoint.as_mut().unwrap().fingerprint = Fingerprint::EXCHANGE;
    let said = obstacle(&[exchanged], 10_000).unwrap();
    assert!(said.contains("video.views:3") && said.contains("counters rebuild"), "{said}");
}

#[test]
fn a_dry_run_says_everything_and_that_nothing_is_done() {
    let changes = vec![change(&[Some((150, 0))], None, 100), change(&[Some((150, 0))], None, 190)];
    let plan = Plan { changes, notes: vec!["a note".into()], from_group: None };
    let said = |json| {
        let mut out = Vec::new();
        show::plan(&plan, OffsetReset::Earliest, None, json, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let text = said(false);
    for part in [
        "Up to 50 records are counted AGAIN",
        "run `streamgauge counters rebuild --topic video.views`",
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

#[test]
fn what_another_group_has_counted_is_not_called_lost() {
    let said = |checkpoint| {
        let plan =
            Plan { changes: vec![change(&[checkpoint], None, 140)], notes: Vec::new(), from_group: Some("old".into()) };
        let mut out = Vec::new();
        show::plan(&plan, OffsetReset::Earliest, None, false, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    };
    let new = said(None);
    assert!(new.contains("Up to 40 records are not counted here, since group \"old\" has counted them"), "{new}");
    assert!(new.contains("`streamgauge counters import`") && !new.contains("SKIPPED"), "{new}");
    // Who has begun leaves records out by such a move.
    assert!(said(Some((120, 0))).contains("Up to 20 records are SKIPPED"));
}

#[test]
fn a_partition_whose_rules_are_being_changed_is_not_moved() {
    let table = Switches::only(Fingerprint(1)).with(Switch { fingerprint: Fingerprint(2), from: 150 });
    let before = change(&[Some((120, 0)), Some((150, 0))], Some(0), 100);
    assert!(check_rules(std::slice::from_ref(&before)).is_ok());
    // In each shard: whether it knows of the switch, and which entry is in force.
    let at = |shards: [Option<usize>; 2]| {
        let mut change = before.clone();
        for (shard, in_force) in change.standing.shards.iter_mut().zip(shards) {
            let (Some(checkpoint), Some(in_force)) = (&mut shard.checkpoint, in_force) else { continue };
            checkpoint.rules = table.mark(in_force);
            checkpoint.fingerprint = table.0[in_force].fingerprint;
            shard.switches = Some(table.clone());
        }
        change
    };
    for shards in [[Some(0), None], [Some(0), Some(0)], [Some(1), Some(0)], [None, Some(1)]] {
        let error = check_rules(&[at(shards)]).unwrap_err().to_string();
        assert!(error.contains("video.views:3") && error.contains("Run a member"), "{error}");
    }
    assert!(check_rules(&[at([Some(1), Some(1)])]).is_ok());
}
