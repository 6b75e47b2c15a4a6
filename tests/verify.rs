//! `counters verify`, `export` and `import`, on the embedded log and store: what was counted has no difference, whatever
//! somebody else changed has one, also while counting goes on; and totals are imported once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // in its helpers too, a test fails by panicking

#[path = "verify/commands.rs"]
mod commands;
#[path = "verify/fixture.rs"]
mod fixture;
#[path = "verify/snapshot.rs"]
mod snapshot;
mod support;
#[path = "verify/switched.rs"]
mod switched;

use std::collections::{BTreeMap, BTreeSet};

use fixture::{Place, find};
use streamgauge::{
    catalog::{self, Source},
    model::{Delta, Key, Kind, Membership, Origin, RecentEntry},
    runtime::{
        imports::{Import, Total},
        recount::{RecountError, Value},
    },
};
use support::{
    events::{Published, events_of_these_days, fresh_seed},
    oracle::fold,
    results,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_run_nothing_differs_and_every_key_was_compared() {
    const EVENTS: usize = 3_000;
    let place = Place::new().await;
    place.publish(&events_of_these_days(fresh_seed(), EVENTS, 60)).await;
    place.count().await;
    let found = place.verify(&[]).await.unwrap();
    assert_eq!((found.differences.as_slice(), found.uncompared.len()), (&[][..], 0));
    assert_eq!(found.recounted, EVENTS as u64);
    let events = results::read_events(&*place.parts.log, &place.catalog).await;
    let expected = fold(&place.catalog, &events);
    let now_ms = chrono::Utc::now().timestamp_millis();
    let is_alive = |at: &Option<i64>| at.is_none_or(|at| at > now_ms);
    let keys = expected.counters.len()
        + expected.recents.len()
        + expected.sets.values().filter(|set| !set.is_empty()).count()
        + expected.uniques.values().filter(|(at, _)| is_alive(at)).count()
        + expected.tops.values().filter(|(at, _)| is_alive(at)).count();
    assert_eq!(found.compared, keys as u64, "each key once, and no other");
    assert!(place.left().is_empty(), "the shadow is gone: {:?}", place.left());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_of_any_kind_that_somebody_changed_made_or_removed_is_found() {
    let mut place = Place::new().await;
    place.publish(&events_of_these_days(fresh_seed(), 2_000, 0)).await;
    place.count().await;
    let events = results::read_events(&*place.parts.log, &place.catalog).await;
    let expected = fold(&place.catalog, &events);
    let now_ms = chrono::Utc::now().timestamp_millis();
    let later_ms = now_ms + 86_400_000;
    let first = |names: Vec<&String>| names.first().expect("a key of each kind").to_string();
    let alive = |at: &Option<i64>| at.is_none_or(|at| at > later_ms);
    let unique = first(expected.uniques.iter().filter(|(_, (at, _))| alive(at)).map(|(name, _)| name).collect());
    let top = first(expected.tops.iter().filter(|(_, (at, _))| alive(at)).map(|(name, _)| name).collect());
    let set = first(expected.sets.iter().filter(|(_, set)| !set.is_empty()).map(|(name, _)| name).collect());
    let recent = first(expected.recents.keys().collect());
    let counters: Vec<&String> = expected.counters.keys().filter(|name| name.ends_with(":views")).collect();
    let (changed, removed) = (counters[0].clone(), counters[1].clone());
    let day = chrono::Utc::now().format("%Y-%m-%d");
    let elements = || (0..500).map(|n| format!("stranger-{n}").into_boxed_str());
    let origin = Origin { topic: 1, partition: 0, offset: 1, effect: 0 };
    let entry = || RecentEntry { time_ms: later_ms, origin, element: "stranger".into() };
    let add = |of: Kind, name: &str, delta: Delta| (Key::new(of, name), delta);
    let sums = || [("stranger".into(), 7)].into_iter().collect();
    let expire_at_ms = Some(later_ms);
    let members = || [("stranger".into(), Membership::new(true, None))].into_iter().collect();
    place
        .tamper(vec![
            add(Kind::Count, &changed, Delta::Count(1)),
            add(Kind::Count, "video:nobody:views", Delta::Count(5)),
            add(Kind::Count, "made by nobody", Delta::Count(3)),
            add(Kind::Unique, &unique, Delta::Unique { expire_at_ms, elements: elements().collect() }),
            add(
                Kind::Unique,
                &format!("video:nobody:viewers:{day}"),
                Delta::Unique { expire_at_ms, elements: elements().collect() },
            ),
            add(Kind::Recent, &recent, Delta::Recent { cap: 100, entries: [entry()].into() }),
            add(Kind::Recent, "user:nobody:history", Delta::Recent { cap: 100, entries: [entry()].into() }),
            add(Kind::Top, &top, Delta::Top { expire_at_ms, sums: sums() }),
            add(Kind::Top, &format!("trending:videos:1d:{day}x"), Delta::Top { expire_at_ms, sums: sums() }),
            add(Kind::Member, &set, Delta::Member { elements: members() }),
            add(Kind::Member, "user:nobody:subscriptions", Delta::Member { elements: members() }),
        ])
        .await;
    // What is gone, in the file itself.
    place
        .in_file(|transaction| {
            let counters = redb::TableDefinition::<&str, i64>::new("counters");
            assert!(transaction.open_table(counters).unwrap().remove(removed.as_str()).unwrap().is_some());
        })
        .await;
    let found = place.verify(&[]).await.unwrap();
    let names: BTreeSet<&str> = found.differences.iter().map(|difference| difference.key.as_str()).collect();
    let surplus_unique = format!("video:nobody:viewers:{day}");
    let mut wanted: BTreeSet<&str> = [&changed, &removed, &unique, &recent, &top, &set].map(String::as_str).into();
    wanted.extend(["video:nobody:views", "made by nobody", "user:nobody:history", "user:nobody:subscriptions"]);
    wanted.insert(&surplus_unique);
    // The window with a day that is none is no key of ours: others may keep theirs beside it.
    assert_eq!(names, wanted);
    let value = |name: &str| find(&found, name);
    let views = expected.counters[&changed];
    assert_eq!(value(&changed), (Value::Number(Some(views + 1)), Value::Number(Some(views))));
    assert_eq!(value(&removed), (Value::Number(None), Value::Number(Some(expected.counters[&removed]))));
    assert_eq!(value("video:nobody:views"), (Value::Number(Some(5)), Value::Number(None)));
    let (stored, recounted) = value(&top);
    assert_eq!((stored.told_beside(&recounted).as_str(), recounted.is_absent()), ("stranger: 7", false));
}

/// A counter of a day that is over may be gone in one of the stores: it is no difference, and one that lives is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_of_a_day_are_compared_until_they_expire() {
    const DAY_MS: i64 = 86_400_000;
    let text = "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = []\nshape = [\"flat\"]\n[[topic.event]]\ntype = \"e\"\n\
                rules = [{ count = \"of:{day}\", retention = \"2d\" }, { count = \"all\" }]\n";
    let source = Source { file: "c.toml".to_owned(), text: text.to_owned() };
    let place = Place::of(catalog::compile(&[source]).unwrap_or_else(|findings| panic!("{findings:#?}"))).await;
    let now_ms = chrono::Utc::now().timestamp_millis();
    let event = |days: i64| Published {
        topic: "t",
        key: None,
        value: format!("{{\"type\":\"e\",\"timestamp\":{}}}", now_ms - days * DAY_MS).into_bytes(),
        dead: None,
    };
    place.publish(&[0, 1, 9, 10, 0].map(event)).await;
    place.count().await;
    let name = |days: i64| {
        let day = chrono::DateTime::from_timestamp_millis(now_ms - days * DAY_MS).unwrap();
        format!("of:{}", day.format("%Y-%m-%d"))
    };
    let counted: BTreeMap<String, i64> = [("all".to_owned(), 5), (name(0), 2), (name(1), 1)].into();
    assert_eq!(place.counters().await, counted, "what is over has left no trace");
    assert_eq!(place.verify(&[]).await.unwrap().differences, []);
    // As one that was not removed yet.
    let stays = |days: i64| (Key::new(Kind::Count, name(days)), Delta::Count(7));
    place.tamper(vec![stays(9), stays(1)]).await;
    let found = place.verify(&[]).await.unwrap();
    let names: Vec<&str> = found.differences.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(names, [name(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_differs_while_counting_goes_on_and_what_was_changed_is_still_found() {
    const FIRST: usize = 2_000;
    const PIECE: usize = 40;
    let place = Place::new().await;
    let events = events_of_these_days(fresh_seed(), 40_000, 300);
    place.publish(&events[..FIRST]).await;
    let counting = place.start_counting();
    place.counted().await;
    let traffic = async {
        for piece in events[FIRST..].chunks(PIECE) {
            place.publish(piece).await;
        }
        panic!("the events are used up before it is verified");
    };
    let found = async {
        let quiet = place.verify(&[]).await.unwrap();
        place.tamper(vec![(Key::new(Kind::Count, "video:nobody:views"), Delta::Count(5))]).await;
        (quiet, place.verify(&[]).await.unwrap())
    };
    let (quiet, changed) = tokio::select! {
        found = found => found,
        () = traffic => unreachable!(),
    };
    assert_eq!((quiet.differences.as_slice(), quiet.uncompared.len()), (&[][..], 0));
    assert!(quiet.recounted > FIRST as u64, "nothing was counted meanwhile: {}", quiet.recounted);
    let names: Vec<&str> = changed.differences.iter().map(|difference| difference.key.as_str()).collect();
    assert_eq!(names, ["video:nobody:views"]);
    counting.stop().await;
    let found = place.verify(&[]).await.unwrap();
    assert_eq!(found.differences.len(), 1, "and also when all is quiet");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_lies_behind_the_checkpoints_is_left_out_to_the_record() {
    const COUNTED: usize = 700;
    let place = Place::new().await;
    let events = events_of_these_days(fresh_seed(), 2_000, 50);
    place.publish(&events[..COUNTED]).await;
    place.count().await;
    // Blocks hold what was counted and what was not.
    place.publish(&events[COUNTED..]).await;
    let found = place.verify(&[]).await.unwrap();
    assert_eq!((found.differences.as_slice(), found.recounted), (&[][..], COUNTED as u64));
    place.count().await;
    assert_eq!(place.verify(&[]).await.unwrap().differences, []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_part_is_judged_by_itself_and_what_shares_its_counters_comes_with_it() {
    let place = Place::new().await;
    place.publish(&events_of_these_days(fresh_seed(), 2_000, 0)).await;
    place.count().await;
    let comments = place.catalog.with_shared_keys(&["video.comments".to_owned()]);
    assert!(comments.len() < place.catalog.topics.len());
    place.tamper(vec![(Key::new(Kind::Count, "channel:nobody:subscribers"), Delta::Count(5))]).await;
    let found = place.verify(&["video.comments"]).await.unwrap();
    assert_eq!(found.differences, [], "a subscription is none of its matters");
    let topics: BTreeSet<&str> = found.positions.keys().map(|partition| &*partition.topic).collect();
    assert_eq!(topics, comments.iter().map(|topic| &*topic.name).collect());
    assert!(found.compared > 0);
    let found = place.verify(&["video.subscriptions"]).await.unwrap();
    assert_eq!(found.differences.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_counted_again_is_said() {
    let place = Place::new().await;
    place.publish(&events_of_these_days(fresh_seed(), 500, 0)).await;
    place.count().await;
    let partition = place.a_partition_of("video.views").await;
    place.forget_before(&partition, 3).await;
    let said = place.verify(&[]).await.unwrap_err();
    assert!(matches!(&said, RecountError::CannotVerify(whys) if whys.len() == 1), "{said}");
    let said = said.to_string();
    assert!(said.contains(&format!("{partition}: log begins at 3, and the group began at 0")), "{said}");
    assert_eq!(place.verify(&["video.subscriptions"]).await.unwrap().differences, []);
    assert!(place.left().is_empty(), "the shadow is gone: {:?}", place.left());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_import_is_added_once_and_a_recount_knows_of_it() {
    let place = Place::new().await;
    place.publish(&events_of_these_days(fresh_seed(), 500, 0)).await;
    place.count().await;
    let before = place.counters().await;
    let known = before.keys().find(|name| name.ends_with(":views")).unwrap().clone();
    // More than one part; the last one has names that were never counted.
    let total = |name: String, value| Total { name, value, is_max: false, expire_at_ms: None };
    let mut totals: Vec<Total> = (0..9_000).map(|n| total(format!("video:old{n}:views"), n + 1)).collect();
    totals.push(total(known.clone(), 1_000));
    let (import, parts) = Import::of(b"the file", &totals);
    assert_eq!(parts.len(), 3);
    let store = &*place.parts.store;
    // Broken off: a part is there, and then all is done again.
    assert_eq!(import.add(store, &parts[..1]).await.unwrap(), 1);
    assert_eq!(place.verify(&[]).await.unwrap().differences, []);
    assert_eq!(import.add(store, &parts).await.unwrap(), 2);
    let after = place.counters().await;
    assert_eq!(after[&known], before[&known] + 1_000);
    assert_eq!(after["video:old8999:views"], 9_000);
    assert_eq!((import.added(store).await.unwrap(), import.add(store, &parts).await.unwrap()), (3, 0));
    assert_eq!(place.counters().await, after, "a second time adds nothing");
    // Another file with the same totals is another import.
    let (other, parts) = Import::of(b"another file", &totals);
    assert_eq!(other.add(store, &parts).await.unwrap(), 3);
    assert_eq!(place.counters().await[&known], before[&known] + 2_000);
    assert_eq!(place.verify(&[]).await.unwrap().differences, [], "what was imported is no difference");
    let sum = |counters: &BTreeMap<String, i64>| counters.values().sum::<i64>();
    assert_eq!(sum(&place.counters().await) - sum(&before), 2 * (9_000 * 9_001 / 2 + 1_000));
}
