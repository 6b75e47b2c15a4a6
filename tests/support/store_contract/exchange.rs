//! The contract of `Exchange`: a store and its shadow of as many shards, both empty.

use super::*;
use streamgauge::{
    model::{ExchangePlan, ExchangeStep, Gap, NotBegun, Phase, Target},
    store::{Exchange, Half, StoreError},
};

const LATER_S: i64 = 3_600;

/// What a step is done with.
type Names = Vec<(Kind, String)>;

async fn put(store: &dyn Store, shards: ShardId, section: Section) -> Vec<Outcome> {
    let mut all = Vec::new();
    for (shard, part) in (0..).zip(split(&section, shards)) {
        all.extend(store.apply(shard, &[part]).await.unwrap());
    }
    all
}

/// A key of each kind, and what differs between both halves.
fn deltas(amount: i64, elements: &[&str]) -> Vec<(Key, Delta)> {
    let origin = origin(0, amount);
    let members: Vec<(&str, bool)> = elements.iter().map(|element| (*element, true)).collect();
    let sums: Vec<(&str, i64)> = elements.iter().map(|element| (*element, amount)).collect();
    let entries: Vec<_> = elements.iter().map(|element| (amount, origin, *element)).collect();
    let expire_at_ms = Some(from_now_ms(LATER_S));
    vec![
        count("both", amount),
        last("latest", amount, origin, amount),
        member("set", "moved", &members),
        recent("history", 10, &entries),
        top("window", expire_at_ms, &sums),
        unique("unique", expire_at_ms, elements.iter().map(ToString::to_string)),
        by_time("timed", LATER_S * 1_000, &[(elements[0], 10, origin, true, "timed number")]),
    ]
}

async fn names(exchange: &dyn Exchange, shard: ShardId, half: Half) -> Names {
    let (mut names, mut cursor) = (Names::new(), Some(String::new()));
    while let Some(from) = cursor {
        let page = exchange.names(shard, half, &from).await.unwrap();
        names.extend(page.keys.into_iter().map(|(name, kind)| (kind, name)));
        cursor = page.cursor;
    }
    names
}

/// The whole way, with what is late, wrong or done twice at every stage.
pub async fn results_give_way_to_those_of_the_shadow(live: &dyn Store, shadow: &dyn Store, exchange: &dyn Exchange) {
    let shards = exchange.shards();
    let mut before = deltas(1, &["old", "both"]);
    before.extend([count("only live", 5), member("live set", "moved", &[("x", true)]), count("stranger", 9)]);
    let gone = |set: &str, time_ms| by_time(set, LATER_S * 1_000, &[("x", time_ms, origin(3, 3), false, "")]);
    before.push(gone("emptied live", 20));
    put(live, shards, section(0, -1, 10, before)).await;
    put(live, shards, section(1, -1, 4, vec![])).await;
    let other =
        Section { partition: TopicPartition::new("other", 0), ..section(0, -1, 3, vec![count("of others", 2)]) };
    put(live, shards, other.clone()).await;
    let mut after = deltas(7, &["new", "both"]);
    after.extend([count("only shadow", 6), max("highest", -4), gone("emptied shadow", 20)]);
    put(shadow, shards, section(0, -1, 9, after)).await;

    let target = |offset, incarnation| Target {
        partition: partition(0),
        checkpoint: Checkpoint { incarnation, ..checkpoint(offset) },
        gap: Some(Gap { from: 0, to: 2 }),
    };
    let plan = |id: &str, target| ExchangePlan {
        id: id.to_owned(),
        topics: vec!["video.views".to_owned()],
        targets: vec![target],
    };
    let good = plan("one", target(9, 1));
    for shard in 0..shards {
        assert_eq!(exchange.state(shard).await.unwrap(), None);
        for (wrong, why) in [
            (target(8, 1), NotBegun::Shadow("video.views:0".to_owned())),
            (
                target(9, 0),
                NotBegun::Moved { partition: "video.views:0".to_owned(), stored: checkpoint(10).to_string() },
            ),
        ] {
            assert_eq!(exchange.begin(shard, &plan("one", wrong), None).await.unwrap(), Err(why), "{shard}");
        }
        let nothing_gives_way = exchange.begin(shard, &good, Some("none")).await.unwrap();
        assert_eq!(nothing_gives_way, Err(NotBegun::UnderWay { shard }));
        assert_eq!(exchange.begin(shard, &good, None).await.unwrap(), Ok(()));
        assert_eq!(exchange.begin(shard, &good, None).await.unwrap(), Ok(()), "the answer was lost");
        let another = plan("two", target(9, 2));
        assert_eq!(exchange.begin(shard, &another, None).await.unwrap(), Err(NotBegun::UnderWay { shard }));
        let state = exchange.state(shard).await.unwrap().unwrap();
        assert_eq!((&state.plan, state.phase, state.step, state.has_shadow), (&good, Phase::Removing, 0, true));
    }
    // Nobody counts on: not from the old checkpoint, not from none, not from a partition that has no target.
    let conflicts = |outcomes: Vec<Outcome>| outcomes.iter().all(|outcome| matches!(outcome, Outcome::Conflict { .. }));
    assert!(conflicts(put(live, shards, section(0, 10, 11, vec![count("both", 1)])).await));
    assert!(conflicts(put(live, shards, section(1, 4, 5, vec![])).await));
    assert!(conflicts(put(live, shards, section(7, -1, 1, vec![count("both", 1)])).await));
    let positions = live.positions(&[partition(0), partition(1)]).await.unwrap();
    assert!(positions.iter().flatten().all(|shard| shard.checkpoint.unwrap().is_exchanged()));
    let next = Section { expect: Some(other.next), next: checkpoint(4), ..other };
    assert!(put(live, shards, next).await.iter().all(|outcome| *outcome == Outcome::Applied), "others are not held up");

    for shard in 0..shards {
        let step = |phase, number, is_last| ExchangeStep { shard, phase, number, names: &[], is_last };
        assert!(!exchange.step(&step(Phase::Taking, 0, false)).await.unwrap(), "not yet");
        assert!(!exchange.step(&step(Phase::Removing, 1, false)).await.unwrap(), "not this one");
        assert!(!exchange.finish(shard, 0).await.unwrap(), "not yet");
        let mut all = names(exchange, shard, Half::Live).await;
        all.retain(|(_, name)| !["stranger", "of others"].contains(&name.as_str()));
        assert!(exchange.step(&ExchangeStep { names: &all, ..step(Phase::Removing, 0, false) }).await.unwrap());
        assert!(!exchange.step(&step(Phase::Removing, 0, false)).await.unwrap(), "done already");
        assert!(exchange.step(&step(Phase::Removing, 1, true)).await.unwrap());
        assert_eq!(
            exchange.state(shard).await.unwrap().map(|state| (state.phase, state.step)),
            Some((Phase::Taking, 2))
        );
        let all = names(exchange, shard, Half::Shadow).await;
        for number in [2, 3] {
            assert!(exchange.step(&ExchangeStep { names: &all, ..step(Phase::Taking, number, false) }).await.unwrap());
        }
        assert!(!exchange.finish(shard, 3).await.unwrap(), "not this one");
        assert!(exchange.finish(shard, 4).await.unwrap());
        assert!(!exchange.finish(shard, 4).await.unwrap(), "done already");
        assert_eq!(exchange.state(shard).await.unwrap(), None);
    }
    is_exchanged(live, shards).await;
    // What the shadow remembers of what was taken out is remembered on, and nothing else is.
    let late = |set: &str| {
        by_time(set, LATER_S * 1_000, &[("x", 10, origin(4, 4), true, ""), ("y", 1, origin(4, 5), true, "")])
    };
    put(live, shards, section(8, -1, 1, vec![late("emptied live"), late("emptied shadow")])).await;
    for (set, present) in [("emptied live", &["x", "y"][..]), ("emptied shadow", &["y"])] {
        let query = Query::Members { key: set.to_owned(), cursor: String::new(), limit: 10 };
        let Answer::Members { mut elements, .. } = live.read(&[query]).await.unwrap().remove(0) else { panic!() };
        elements.sort_unstable();
        assert_eq!(elements, present, "{set}");
    }
}

async fn is_exchanged(live: &dyn Store, shards: ShardId) {
    let positions = live.positions(&[partition(0), partition(1)]).await.unwrap();
    let raised = Checkpoint { incarnation: 1, ..checkpoint(9) };
    assert!(positions[0].iter().all(|shard| shard.checkpoint == Some(raised)), "{positions:?}");
    assert!(positions[1].iter().all(|shard| shard.checkpoint.is_none()), "it was not recounted: {positions:?}");
    let ask = async |query| live.read(&[query]).await.unwrap().remove(0);
    for (name, value) in [
        ("both", Some(7)),
        ("latest", Some(7)),
        ("moved", Some(2)),
        ("timed number", Some(1)),
        ("only shadow", Some(6)),
        ("highest", Some(-4)),
        ("only live", None),
        ("stranger", Some(9)),
        ("of others", Some(4)),
    ] {
        assert_eq!(ask(Query::Counter(name.to_owned())).await, Answer::Counter(value), "{name}");
    }
    let set = |key: &str| Query::Members { key: key.to_owned(), cursor: String::new(), limit: 10 };
    let Answer::Members { mut elements, .. } = ask(set("set")).await else { panic!("no set") };
    elements.sort_unstable();
    assert_eq!(elements, ["both", "new"]);
    assert_eq!(ask(set("timed")).await, Answer::Members { elements: vec!["new".to_owned()], cursor: None });
    assert_eq!(ask(set("live set")).await, Answer::Members { elements: vec![], cursor: None });
    let Answer::Recent(items) = ask(Query::Recent { key: "history".to_owned(), limit: 10 }).await else { panic!() };
    assert_eq!(items.len(), 2, "{items:?}");
    let Answer::Top(items) = ask(Query::Top { key: "window".to_owned(), limit: 10 }).await else { panic!() };
    assert_eq!(items.iter().map(|item| item.sum).collect::<Vec<_>>(), [7, 7]);
    assert_eq!(ask(Query::Unique("unique".to_owned())).await, Answer::Unique(Some(2)));
    // What a member of the former life still sends conflicts; what counts on from here does not, also for `last`.
    let late = put(live, shards, section(0, 9, 12, vec![count("both", 100)])).await;
    assert!(late.iter().all(|outcome| *outcome == Outcome::Conflict { stored: Some(raised) }), "{late:?}");
    let deltas = vec![count("both", 1), last("latest", 5, origin(0, 5), 5)];
    let on = Section { expect: Some(raised), next: Checkpoint { offset: 12, ..raised }, ..section(0, 9, 12, deltas) };
    assert!(put(live, shards, on).await.iter().all(|outcome| *outcome == Outcome::Applied));
    assert_eq!(ask(Query::Counter("both".to_owned())).await, Answer::Counter(Some(8)));
    assert_eq!(ask(Query::Counter("latest".to_owned())).await, Answer::Counter(Some(7)), "an earlier one loses");
}

/// What the shadow gave expires where it went; what was given up for it does not come back.
pub async fn counters_of_a_day_expire_where_they_went(live: &dyn Store, shadow: &dyn Store, exchange: &dyn Exchange) {
    let (shards, later) = (exchange.shards(), from_now_ms(LATER_S));
    let soon = from_now_ms(1);
    let before = vec![count_until("soon", later, 1), count_until("later", soon, 1), count_until("only live", soon, 1)];
    put(live, shards, section(0, -1, 10, before)).await;
    put(shadow, shards, section(0, -1, 9, vec![count_until("soon", soon, 7), count_until("later", later, 7)])).await;
    let checkpoint = Checkpoint { incarnation: 1, ..checkpoint(9) };
    let targets = vec![Target { partition: partition(0), checkpoint, gap: None }];
    let plan = ExchangePlan { id: "days".to_owned(), topics: vec!["video.views".to_owned()], targets };
    for shard in 0..shards {
        assert_eq!(exchange.begin(shard, &plan, None).await.unwrap(), Ok(()));
        for (number, phase, half) in [(0, Phase::Removing, Half::Live), (1, Phase::Taking, Half::Shadow)] {
            let names = names(exchange, shard, half).await;
            let step = ExchangeStep { shard, phase, number, names: &names, is_last: phase == Phase::Removing };
            assert!(exchange.step(&step).await.unwrap());
        }
        assert!(exchange.finish(shard, 2).await.unwrap());
    }
    let counter = async |name: &str| live.read(&[Query::Counter(name.to_owned())]).await.unwrap().remove(0);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(9);
    while counter("soon").await != Answer::Counter(None) {
        assert!(std::time::Instant::now() < deadline, "it outlives its time");
        live.sweep().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    assert_eq!(counter("later").await, Answer::Counter(Some(7)));
    assert_eq!(counter("only live").await, Answer::Counter(None));
    assert!(!live.sweep().await.unwrap());
}

/// A shadow that is gone takes nothing with it; another one may take its place.
pub async fn for_the_lack_of_a_shadow_nothing_is_removed(
    live: &dyn Store,
    shadow: &dyn Store,
    exchange: &dyn Exchange,
    lost: &dyn Exchange,
) {
    let shards = exchange.shards();
    put(live, shards, section(0, -1, 5, vec![count("kept", 3)])).await;
    put(shadow, shards, section(0, -1, 5, vec![count("kept", 4)])).await;
    let target = |incarnation| Target {
        partition: partition(0),
        checkpoint: Checkpoint { incarnation, ..checkpoint(5) },
        gap: None,
    };
    let plan = |id: &str, incarnation| ExchangePlan {
        id: id.to_owned(),
        topics: vec!["video.views".to_owned()],
        targets: vec![target(incarnation)],
    };
    for shard in 0..shards {
        exchange.begin(shard, &plan("one", 1), None).await.unwrap().unwrap();
        assert!(!lost.state(shard).await.unwrap().unwrap().has_shadow);
        let names = [(Kind::Count, "kept".to_owned())];
        let step = ExchangeStep { shard, phase: Phase::Removing, number: 0, names: &names, is_last: false };
        let error = lost.step(&step).await.unwrap_err();
        assert!(matches!(error, StoreError::Refused { .. }), "{error}");
        assert_eq!(exchange.begin(shard, &plan("two", 2), Some("one")).await.unwrap(), Ok(()));
        let state = exchange.state(shard).await.unwrap().unwrap();
        assert_eq!((state.plan.id.as_str(), state.step), ("two", 0));
    }
    assert_eq!(live.read(&[Query::Counter("kept".to_owned())]).await.unwrap(), [Answer::Counter(Some(3))]);
}
