//! Outcomes: applied, done before, conflict, refused; each section by itself.

use super::*;
use streamgauge::model::Gap;

pub async fn applied_and_again_changes_nothing(f: &Fixture) {
    let deltas = || {
        vec![
            count("c", 3),
            max("m", 9),
            last("l", 5, origin(0, 1), 8),
            unique("u", None, ["a".to_owned(), "b".to_owned()]),
            recent("r", 2, &[(1, origin(0, 1), "x"), (2, origin(0, 2), "y")]),
            top("t", None, &[("x", 2), ("y", -1)]),
            member("s", "members", &[("e", true), ("e", false), ("e", true), ("g", false)]),
        ]
    };
    let queries = [
        Query::Counter("c".into()),
        Query::Counter("m".into()),
        Query::Counter("l".into()),
        Query::Counter("members".into()),
        Query::Counter("nothing".into()),
        Query::Unique("u".into()),
        Query::Unique("nothing".into()),
        Query::Recent { key: "r".into(), limit: 10 },
        Query::Top { key: "t".into(), limit: 10 },
        Query::IsMember { key: "s".into(), element: "e".into() },
        Query::IsMember { key: "s".into(), element: "g".into() },
        Query::IsMember { key: "nothing".into(), element: "g".into() },
        Query::Members { key: "s".into(), cursor: String::new(), limit: 10 },
    ];
    assert_eq!(f.apply_one(section(0, -1, 10, deltas())).await, Outcome::Applied);
    let first = f.store.read(&queries).await.unwrap();
    assert_eq!(first[..5], [Some(3), Some(9), Some(8), Some(1), None].map(Answer::Counter));
    assert_eq!(first[5..7], [Answer::Unique(Some(2)), Answer::Unique(None)]);
    assert_eq!(first[9], Answer::IsMember { exists: true, member: true });
    assert_eq!(first[10], Answer::IsMember { exists: true, member: false });
    assert_eq!(first[11], Answer::IsMember { exists: false, member: false });
    assert_eq!(first[12], Answer::Members { elements: vec!["e".into()], cursor: None });
    for _ in 0..2 {
        assert_eq!(f.apply_one(section(0, -1, 10, deltas())).await, Outcome::AlreadyApplied);
        assert_eq!(f.store.read(&queries).await.unwrap(), first);
    }
    assert_eq!(f.checkpoint(&partition(0)).await, Some(checkpoint(10)));
}

pub async fn conflicts_tell_what_is_stored(f: &Fixture) {
    assert_eq!(f.apply_one(section(0, -1, 10, vec![count("c", 1)])).await, Outcome::Applied);
    let other_rules = Checkpoint { fingerprint: Fingerprint(8), ..checkpoint(10) };
    let other_life = Checkpoint { incarnation: 1, ..checkpoint(10) };
    for expect in [None, Some(checkpoint(9)), Some(checkpoint(11)), Some(other_rules), Some(other_life)] {
        let late = Section { expect, ..section(0, 0, 20, vec![count("c", 5), member("s", "n", &[("e", true)])]) };
        assert_eq!(f.apply_one(late).await, Outcome::Conflict { stored: Some(checkpoint(10)) }, "{expect:?}");
    }
    assert_eq!(f.apply_one(section(1, 3, 5, vec![count("c", 5)])).await, Outcome::Conflict { stored: None });
    assert_eq!((f.counter("c").await, f.counter("n").await), (Some(1), None));
    assert_eq!(f.checkpoint(&partition(0)).await, Some(checkpoint(10)));
}

pub async fn sections_stand_by_themselves(f: &Fixture) {
    f.apply_one(section(9, -1, 1, vec![count("full", i64::MAX)])).await;
    let sections = [
        section(0, -1, 5, vec![count("c", 1)]),
        section(1, 4, 5, vec![count("c", 10)]),
        section(2, -1, 5, vec![count("c", 100), count("full", 1)]),
        section(3, -1, 5, vec![count("c", 1_000)]),
        section(0, 5, 6, vec![count("c", 10_000)]),
    ];
    let outcomes = f.store.apply(0, &sections).await.unwrap();
    let expected = [
        Outcome::Applied,
        Outcome::Conflict { stored: None },
        refused("full", RefusalReason::Overflow),
        Outcome::Applied,
        Outcome::Applied,
    ];
    assert_eq!(outcomes, expected);
    assert_eq!(f.counter("c").await, Some(11_001));
    assert_eq!(f.checkpoint(&partition(2)).await, None);
    assert_eq!(f.store.apply(0, &[]).await.unwrap(), []);
}

pub async fn none_is_not_zero(f: &Fixture) {
    assert_eq!(f.apply_one(section(0, 0, 5, vec![count("c", 1)])).await, Outcome::Conflict { stored: None });
    assert_eq!(f.apply_one(section(0, -1, 0, vec![])).await, Outcome::Applied);
    assert_eq!(
        f.apply_one(section(0, -1, 5, vec![count("c", 1)])).await,
        Outcome::Conflict { stored: Some(checkpoint(0)) }
    );
    assert_eq!(f.apply_one(section(0, 0, 5, vec![count("c", 1)])).await, Outcome::Applied);
    assert_eq!(f.counter("c").await, Some(1));
}

pub async fn gaps_and_the_log_are_noted(f: &Fixture) {
    let id = uuid::Uuid::from_u128(3);
    let known = LogIdentity { cluster_id: Some("abc".into()), topic_id: Some(id), leader_epoch: Some(4) };
    let gap = Some(Gap { from: 10, to: 30 });
    let first = Section { gap, log_identity: known.clone(), ..section(0, -1, 40, vec![]) };
    assert_eq!(f.apply_one(first).await, Outcome::Applied);
    let stored = || async { f.store.positions(&[partition(0)]).await.unwrap()[0][0].log_identity.clone() };
    assert_eq!(stored().await, known);
    // What is not known leaves what is stored; what has changed replaces it.
    assert_eq!(f.apply_one(section(0, 40, 41, vec![])).await, Outcome::Applied);
    assert_eq!(stored().await, known);
    let newer = LogIdentity { leader_epoch: Some(5), ..LogIdentity::default() };
    assert_eq!(f.apply_one(Section { log_identity: newer, ..section(0, 41, 42, vec![]) }).await, Outcome::Applied);
    assert_eq!(stored().await, LogIdentity { leader_epoch: Some(5), ..known });
    if f.raw.is_some() {
        assert_eq!(f.raw("HGETALL @counters:gaps").await, ["video.views:0:10", "30"]);
    }
}

pub async fn edges_of_64_bits(f: &Fixture) {
    const HUGE: i64 = (1 << 53) + 1;
    // (stored, added, what is stored afterwards: None is refused)
    let cases = [
        (i64::MAX - 1, 1, Some(i64::MAX)),
        (i64::MAX, 1, None),
        (i64::MAX, 0, Some(i64::MAX)),
        (i64::MAX, i64::MIN, Some(-1)),
        (i64::MIN + 1, -1, Some(i64::MIN)),
        (i64::MIN, -1, None),
        (i64::MIN, i64::MIN, None),
        (i64::MIN, i64::MAX, Some(-1)),
        (HUGE, 1, Some(HUGE + 1)),
        (-HUGE, -1, Some(-HUGE - 1)),
        (HUGE, -HUGE, Some(0)),
        (999_999_999_999_999, 1, Some(1_000_000_000_000_000)),
        (1_000_000_000_000_000, -1, Some(999_999_999_999_999)),
        (9_000_000_000_000_000_000, 223_372_036_854_775_807, Some(i64::MAX)),
        (9_000_000_000_000_000_000, 223_372_036_854_775_808, None),
        (-5, 5, Some(0)),
        (-1_000_000_000, 1, Some(-999_999_999)),
        (1_000_000_000_000_000_000, -1_000_000_000, Some(999_999_999_000_000_000)),
    ];
    for (i, (stored, added, expected)) in cases.into_iter().enumerate() {
        let (name, number) = (format!("n{i}"), i as i32);
        assert_eq!(f.apply_one(section(number, -1, 1, vec![count(&name, stored)])).await, Outcome::Applied);
        let outcome = f.apply_one(section(number, 1, 2, vec![count("other", 1), count(&name, added)])).await;
        match expected {
            Some(_) => assert_eq!(outcome, Outcome::Applied, "{stored} + {added}"),
            None => assert_eq!(outcome, refused(&name, RefusalReason::Overflow), "{stored} + {added}"),
        }
        assert_eq!(f.counter(&name).await, expected.or(Some(stored)), "{stored} + {added}");
    }
    let applied = cases.iter().filter(|(_, _, expected)| expected.is_some()).count() as i64;
    assert_eq!(f.counter("other").await, Some(applied));
    // A count and members that move the same counter are one sum; only the whole of it has to fit.
    let both = vec![count("n1", -2), member("s", "n1", &[("e", true), ("g", true)])];
    assert_eq!(f.apply_one(section(1, 1, 2, both)).await, Outcome::Applied);
    assert_eq!(f.counter("n1").await, Some(i64::MAX));
    let beyond = vec![member("s", "n1", &[("h", true)])];
    assert_eq!(f.apply_one(section(1, 2, 3, beyond)).await, refused("n1", RefusalReason::Overflow));
    assert_eq!(
        f.ask(Query::IsMember { key: "s".into(), element: "h".into() }).await,
        Answer::IsMember { exists: true, member: false }
    );
    // Sums of a ranking stay exact or are refused.
    let edge = streamgauge::store::TOP_SUM_MAX;
    let top_cases = [(edge - 1, 1, true), (edge, 1, false), (-edge, -1, false), (edge, -1, true), (0, edge + 1, false)];
    for (i, (stored, added, fits)) in top_cases.into_iter().enumerate() {
        let (name, number) = (format!("t{i}"), 100 + i as i32);
        f.apply_one(section(number, -1, 1, vec![top(&name, None, &[("e", stored)])])).await;
        let outcome = f.apply_one(section(number, 1, 2, vec![top(&name, None, &[("e", added)])])).await;
        let expected = if fits { Outcome::Applied } else { refused(&name, RefusalReason::Overflow) };
        assert_eq!(outcome, expected, "{stored} + {added}");
        let sum = if fits { stored + added } else { stored };
        let item = streamgauge::model::TopItem { element: "e".into(), sum };
        assert_eq!(f.ask(Query::Top { key: name, limit: 5 }).await, Answer::Top(vec![item]));
    }
}

pub async fn large_sections_at_the_cap(f: &Fixture) {
    let keys = |range: std::ops::Range<usize>| range.map(|i| count(&format!("k{i}"), i as i64)).collect::<Vec<_>>();
    let mut large = keys(0..100_000);
    large.push(unique("u", None, (0..9_000).map(|i| format!("e{i}"))));
    let elements: Vec<String> = (0..9_000).map(|i| format!("e{i}")).collect();
    large.push(top("t", None, &elements.iter().map(|e| (e.as_str(), 2)).collect::<Vec<_>>()));
    large.push(member("s", "members", &elements.iter().map(|e| (e.as_str(), true)).collect::<Vec<_>>()));
    let entries: Vec<_> =
        elements.iter().enumerate().map(|(i, e)| (i as i64, origin(0, i as i64), e.as_str())).collect();
    large.push(recent("r", 8_500, &entries));
    let sections = [
        section(0, -1, 1, keys(0..4_999)),
        section(1, -1, 1, keys(0..5_001)),
        section(2, -1, 1, large),
        section(3, -1, 1, vec![member("s", "members", &[("e1", false)])]),
    ];
    assert_eq!(f.store.apply(0, &sections).await.unwrap(), vec![Outcome::Applied; 4]);
    assert_eq!(f.counter("k4998").await, Some(3 * 4_998));
    assert_eq!(f.counter("k5000").await, Some(2 * 5_000));
    assert_eq!(f.counter("k99999").await, Some(99_999));
    assert_eq!(f.counter("members").await, Some(8_999));
    let Answer::Recent(items) = f.ask(Query::Recent { key: "r".into(), limit: 20_000 }).await else { panic!() };
    assert_eq!((items.len(), items[0].time_ms, items[8_499].time_ms), (8_500, 8_999, 500));
    let Answer::Top(items) = f.ask(Query::Top { key: "t".into(), limit: 20_000 }).await else { panic!() };
    assert_eq!(items.len(), 9_000);
    assert_eq!(f.store.apply(0, &sections[2..3]).await.unwrap(), vec![Outcome::AlreadyApplied]);
}

pub async fn a_section_twice_in_one_call(f: &Fixture) {
    let one = section(0, -1, 5, vec![count("c", 1), member("s", "n", &[("e", true)])]);
    let outcomes = f.store.apply(0, &[one.clone(), one.clone(), section(0, 5, 6, vec![count("c", 1)]), one]).await;
    let expected = [
        Outcome::Applied,
        Outcome::AlreadyApplied,
        Outcome::Applied,
        Outcome::Conflict { stored: Some(checkpoint(6)) },
    ];
    assert_eq!(outcomes.unwrap(), expected);
    assert_eq!((f.counter("c").await, f.counter("n").await), (Some(2), Some(1)));
}

pub async fn wrong_types_are_refused(f: &Fixture) {
    // Two types for one key in one section.
    let both = vec![unique("twice", None, ["a".to_owned()]), top("twice", None, &[("e", 1)])];
    if f.raw.is_none() {
        return;
    }
    assert_eq!(f.apply_one(section(7, -1, 1, both)).await, refused("twice", RefusalReason::WrongType));
    let hyperloglog_like = "SET @x HYLLabc";
    let cases: [(&str, (Key, Delta)); 10] = [
        ("SET @x 5", unique("x", None, ["a".to_owned()])),
        (hyperloglog_like, unique("x", None, ["a".to_owned()])),
        ("SADD @x a", unique("x", None, ["a".to_owned()])),
        ("SET @x 5", recent("x", 3, &[(1, origin(0, 1), "e")])),
        ("SADD @x a", recent("x", 3, &[(1, origin(0, 1), "e")])),
        ("SET @x 5", top("x", None, &[("e", 1)])),
        ("SET @x 5", member("x", "n", &[("e", true)])),
        ("ZADD @x 1 e", member("x", "n", &[("e", true)])),
        ("SET @counters:aggregated 5", count("c", 1)),
        ("SET @counters:last 5", last("l", 1, origin(0, 1), 1)),
    ];
    for (i, (spoil, delta)) in cases.into_iter().enumerate() {
        f.raw("DEL @x @counters:aggregated @counters:last").await;
        f.raw(spoil).await;
        let key = spoil.split(' ').nth(1).unwrap().trim_start_matches('@').to_owned();
        let outcome = f.apply_one(section(i as i32, -1, 1, vec![max("first", 1), delta])).await;
        assert_eq!(outcome, refused(&key, RefusalReason::WrongType), "{spoil}");
        assert_eq!(f.checkpoint(&partition(i as i32)).await, None, "{spoil}");
        f.raw("DEL @x @counters:last").await;
        if key != "counters:aggregated" {
            assert_eq!(f.counter("first").await, None, "{spoil}");
        }
    }
    f.raw("DEL @counters:aggregated").await;
    f.raw("HSET @counters:checkpoints video.views:50 abc").await;
    let outcome = f.apply_one(section(50, -1, 1, vec![])).await;
    assert_eq!(outcome, refused("counters:checkpoints", RefusalReason::WrongType));
}

pub async fn numbers_that_are_none_are_refused(f: &Fixture) {
    if f.raw.is_none() {
        return;
    }
    for (i, text) in ["abc", "1.5", "007", "-0", "+1", "9223372036854775808", "-9223372036854775809", "1e3", "0x10"]
        .into_iter()
        .enumerate()
    {
        f.raw(&format!("HSET @counters:aggregated x {text}")).await;
        for delta in [count("x", 1), max("x", 1), last("x", 1, origin(0, 1), 1), member("s", "x", &[("e", true)])] {
            let outcome = f.apply_one(section(i as i32, -1, 1, vec![count("first", 1), delta])).await;
            assert_eq!(outcome, refused("x", RefusalReason::NotANumber), "{text}");
        }
    }
    assert_eq!(f.counter("first").await, None);
    f.raw("ZADD @t 1.5 e").await;
    let outcome = f.apply_one(section(0, -1, 1, vec![top("t", None, &[("e", 1)])])).await;
    assert_eq!(outcome, refused("t", RefusalReason::NotANumber));
}

pub async fn a_forgotten_script_is_sent_again(f: &Fixture) {
    for offset in 0..3 {
        if f.raw.is_some() {
            f.raw("SCRIPT FLUSH").await;
        }
        assert_eq!(f.apply_one(section(0, offset - 1, offset, vec![count("c", 1)])).await, Outcome::Applied);
    }
    assert_eq!(f.counter("c").await, Some(3));
}

pub async fn results_are_plain(f: &Fixture) {
    let deltas = vec![
        count("video:1:views", 3),
        max("channel:1:peak", -4),
        last("product:1:stock", 5, origin(0, 1), 8),
        member("user:1:subscriptions", "channel:1:subscribers", &[("1", true)]),
        unique("viewers", None, ["a".to_owned()]),
    ];
    assert_eq!(f.apply_one(section(0, -1, 10, deltas)).await, Outcome::Applied);
    if f.raw.is_none() {
        return;
    }
    let mut all = f.raw("HGETALL @counters:aggregated").await.chunks(2).map(|pair| pair.join("=")).collect::<Vec<_>>();
    all.sort();
    assert_eq!(all, ["channel:1:peak=-4", "channel:1:subscribers=1", "product:1:stock=8", "video:1:views=3"]);
    assert_eq!(f.raw("SMEMBERS @user:1:subscriptions").await, ["1"]);
    assert_eq!(f.raw("HGET @counters:checkpoints video.views:0").await, [checkpoint(10).to_string()]);
}
