//! Each kind of rule, applied and read back.

use super::*;
use streamgauge::{
    model::{RecentItem, TopItem},
    store::StoreError,
};

pub async fn highest_and_latest(f: &Fixture) {
    for (offset, (value, expected)) in
        [(-5, -5), (-7, -5), (-3, -3), (0, 0), (-1, 0), (9, 9), (10, 10), (i64::MAX, i64::MAX), (i64::MIN, i64::MAX)]
            .into_iter()
            .enumerate()
    {
        let offset = offset as i64;
        assert_eq!(f.apply_one(section(0, offset - 1, offset, vec![max("m", value)])).await, Outcome::Applied);
        assert_eq!(f.counter("m").await, Some(expected));
    }
    let cases = [
        (100, origin(1, 5), 1, 1),
        (99, origin(1, 6), 2, 1),
        (100, origin(1, 4), 3, 1),
        (100, origin(1, 6), -4, -4),
        (100, origin(0, 99), 5, -4),
        (101, origin(0, 0), 6, 6),
        (-1, origin(9, 9), 7, 6),
        (101, origin(0, 10), i64::MIN, i64::MIN),
    ];
    for (offset, (time_ms, origin, value, expected)) in cases.into_iter().enumerate() {
        let offset = offset as i64;
        let deltas = vec![last("l", time_ms, origin, value)];
        assert_eq!(f.apply_one(section(1, offset - 1, offset, deltas)).await, Outcome::Applied);
        assert_eq!(f.counter("l").await, Some(expected), "{time_ms} {origin:?}");
    }
    // Before 1970 as well.
    for (offset, (time_ms, value)) in [(-50, 1), (-60, 2), (-40, 3)].into_iter().enumerate() {
        let offset = offset as i64;
        f.apply_one(section(2, offset - 1, offset, vec![last("old", time_ms, origin(0, 0), value)])).await;
    }
    assert_eq!(f.counter("old").await, Some(3));
}

pub async fn members_as_a_table(f: &Fixture) {
    let sequences: [&[bool]; 8] = [
        &[true],
        &[false],
        &[true, true],
        &[true, false],
        &[false, true],
        &[false, false],
        &[true, false, true],
        &[false, true, false],
    ];
    let (mut number, mut offset) = (0_i64, -1_i64);
    for present in [false, true] {
        for operations in sequences {
            let element = format!("{present}{operations:?}");
            if present {
                f.apply_one(section(0, offset, offset + 1, vec![member("s", "n", &[(&element, true)])])).await;
                (offset, number) = (offset + 1, number + 1);
            }
            let list: Vec<(&str, bool)> = operations.iter().map(|is_add| (element.as_str(), *is_add)).collect();
            let delta = vec![member("s", "n", &list)];
            assert_eq!(f.apply_one(section(0, offset, offset + 1, delta)).await, Outcome::Applied);
            offset += 1;
            let after = operations[operations.len() - 1];
            number += i64::from(after) - i64::from(present);
            assert_eq!(f.counter("n").await.unwrap_or(0), number, "{element}");
            let asked = f.ask(Query::IsMember { key: "s".into(), element: element.clone() }).await;
            let Answer::IsMember { member, .. } = asked else { panic!("{asked:?}") };
            assert_eq!(member, after, "{element}");
        }
    }
    // Pages hold every element once.
    let elements: Vec<String> = (0..2_000).map(|i| format!("m{i:04}")).collect();
    let list: Vec<(&str, bool)> = elements.iter().map(|e| (e.as_str(), true)).collect();
    f.apply_one(section(1, -1, 1, vec![member("big", "b", &list), member("big2", "b", &[("x", true)])])).await;
    let (mut found, mut cursor) = (Vec::new(), String::new());
    loop {
        let page = f.ask(Query::Members { key: "big".into(), cursor, limit: 300 }).await;
        let Answer::Members { elements, cursor: next } = page else { panic!("{page:?}") };
        found.extend(elements);
        let Some(next) = next else { break };
        cursor = next;
    }
    found.sort();
    assert_eq!(found, elements);
}

pub async fn cursors_that_no_page_gave_are_refused(f: &Fixture) {
    for cursor in ["x", "-1", "0x", "18446744073709551616", "é"] {
        let query = Query::Members { key: "set".into(), cursor: cursor.to_owned(), limit: 300 };
        let asked = f.store.read(&[query]).await;
        assert!(matches!(asked, Err(StoreError::NoCursor { .. })), "{cursor}: {asked:?}");
        let asked = f.store.scan("", cursor, 300).await;
        assert!(matches!(asked, Err(StoreError::NoCursor { .. })), "{cursor}: {asked:?}");
    }
}

pub async fn histories_keep_the_newest(f: &Fixture) {
    let items = |list: &[(&str, i64)]| {
        Answer::Recent(list.iter().map(|(e, t)| RecentItem { element: (*e).to_owned(), time_ms: *t }).collect())
    };
    let ask = |limit| Query::Recent { key: "r".into(), limit };
    let first = [(10, origin(0, 1), "a"), (10, origin(0, 2), "b"), (5, origin(0, 3), "c")];
    f.apply_one(section(0, -1, 1, vec![recent("r", 3, &first), recent("r2", 3, &first)])).await;
    assert_eq!(f.ask(ask(10)).await, items(&[("b", 10), ("a", 10), ("c", 5)]));
    assert_eq!(f.ask(ask(2)).await, items(&[("b", 10), ("a", 10)]));
    assert_eq!(f.ask(ask(0)).await, items(&[]));
    // The same element twice is two entries; one that is older than all is dropped; ties go by origin, then element.
    let later = [(10, origin(0, 0), "z"), (10, origin(1, 0), "a"), (1, origin(0, 9), "old"), (10, origin(1, 0), "b")];
    f.apply_one(section(1, -1, 1, vec![recent("r", 3, &later)])).await;
    assert_eq!(f.ask(ask(10)).await, items(&[("b", 10), ("a", 10), ("b", 10)]));
    assert_eq!(f.ask(Query::Recent { key: "r2".into(), limit: 1 }).await, items(&[("b", 10)]));
    assert_eq!(f.ask(Query::Recent { key: "none".into(), limit: 1 }).await, items(&[]));
}

pub async fn rankings_sum_per_window(f: &Fixture) {
    let hours: Vec<String> = (0..30).map(|hour| format!("trending:1h:2100-01-01T{hour:02}")).collect();
    for offset in 0..3 {
        let deltas = hours.iter().map(|hour| top(hour, Some(from_now_ms(9_999)), &[("a", 1), ("b", 2), ("c", -1)]));
        assert_eq!(f.apply_one(section(0, offset - 1, offset, deltas.collect())).await, Outcome::Applied);
    }
    let item = |element: &str, sum| TopItem { element: element.to_owned(), sum };
    for hour in hours {
        assert_eq!(
            f.ask(Query::Top { key: hour.clone(), limit: 9 }).await,
            Answer::Top(vec![item("b", 6), item("a", 3), item("c", -3)])
        );
        assert_eq!(f.ask(Query::Top { key: hour, limit: 1 }).await, Answer::Top(vec![item("b", 6)]));
    }
    f.apply_one(section(1, -1, 1, vec![top("ties", None, &[("x", 1), ("z", 1), ("y", 1)])])).await;
    let two = f.ask(Query::Top { key: "ties".into(), limit: 2 }).await;
    assert_eq!(two, Answer::Top(vec![item("z", 1), item("y", 1)]));
}

pub async fn uniques_are_estimated(f: &Fixture) {
    for (number, count) in [1_usize, 10, 500, 5_000, 60_000].into_iter().enumerate() {
        let name = format!("u{number}");
        let halves = [0..count * 2 / 3, count / 3..count];
        for (offset, half) in halves.into_iter().enumerate() {
            let delta = unique(&name, Some(from_now_ms(3_600)), half.map(|i| format!("user-{i}")));
            let offset = offset as i64;
            let outcome = f.apply_one(section(number as i32, offset - 1, offset, vec![delta])).await;
            assert_eq!(outcome, Outcome::Applied);
        }
        let Answer::Unique(Some(estimate)) = f.ask(Query::Unique(name)).await else { panic!("{count}") };
        assert!(estimate.abs_diff(count as u64) as f64 <= count as f64 * 0.02, "{count}: {estimate}");
    }
}

pub async fn expired_keys_leave_no_trace(f: &Fixture) {
    let past = Some(from_now_ms(-10));
    let old = vec![unique("u", past, ["a".to_owned()]), top("t", past, &[("e", 1)]), count("c", 1)];
    assert_eq!(f.apply_one(section(0, -1, 1, old)).await, Outcome::Applied);
    let both = [Query::Unique("u".into()), Query::Top { key: "t".into(), limit: 5 }];
    let nothing = [Answer::Unique(None), Answer::Top(vec![])];
    assert_eq!(f.store.read(&both).await.unwrap(), nothing);
    assert_eq!(f.counter("c").await, Some(1));
    // A key that expires while it stands begins anew.
    let soon = Some(from_now_ms(0) + 40);
    let short = vec![unique("u", soon, ["a".to_owned()]), top("t", soon, &[("e", 1), ("f", 9)])];
    assert_eq!(f.apply_one(section(0, 1, 2, short)).await, Outcome::Applied);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(5);
    while f.store.read(&both).await.unwrap() != nothing {
        assert!(std::time::Instant::now() < deadline, "the keys outlived their time");
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let later = Some(from_now_ms(3_600));
    let anew = vec![unique("u", later, ["b".to_owned()]), top("t", later, &[("e", 5)])];
    assert_eq!(f.apply_one(section(0, 2, 3, anew)).await, Outcome::Applied);
    let item = TopItem { element: "e".into(), sum: 5 };
    assert_eq!(f.store.read(&both).await.unwrap(), [Answer::Unique(Some(1)), Answer::Top(vec![item])]);
}

pub async fn counters_are_scanned_in_pages(f: &Fixture) {
    let mut deltas: Vec<_> = (0..1_500).map(|i| count(&format!("video:{i:04}:views"), i)).collect();
    deltas.extend([count("video*", 1), count("vid?o", 2), count("other[1]", 3), count("zz", 4)]);
    f.apply_one(section(0, -1, 1, deltas)).await;
    for (prefix, expected) in
        [("video:", 1_500), ("video", 1_501), ("video*", 1), ("vid?", 1), ("other[1", 1), ("", 1_504)]
    {
        let (mut found, mut cursor, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = f.store.scan(prefix, &cursor, 200).await.unwrap();
            found.extend(page.counters);
            pages += 1;
            let Some(next) = page.cursor else { break };
            cursor = next;
        }
        found.sort();
        found.dedup();
        assert_eq!(found.len(), expected, "{prefix:?}");
        assert!(found.iter().all(|(name, _)| name.starts_with(prefix)));
        assert!(expected < 1_000 || pages > 1, "{prefix:?} came in one page");
    }
}
