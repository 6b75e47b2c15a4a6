//! Rules that have changed: each offset is recounted by those that counted it.

use std::{collections::BTreeMap, sync::Arc};

use streamgauge::{
    catalog::{self, Source, plan::Catalog},
    model::{Delta, Key, Kind},
    runtime::recount::Value,
};

use crate::{
    fixture::{Place, find},
    support::events::{Published, Random, fresh_seed},
};

/// A topic of one event type with these rules.
fn catalog(rules: &str) -> Catalog {
    let text = format!(
        "name = \"c\"\n[[topic]]\nname = \"t\"\nshape = [\"flat\"]\nidentity = [\"id\"]\ndedupe = {{ window = \"1h\", offsets = 400 }}\n\
         [[topic.event]]\ntype = \"e\"\nrules = [{rules}]\n"
    );
    let source = Source { file: "c.toml".to_owned(), text };
    catalog::compile(&[source]).unwrap_or_else(|findings| panic!("{findings:#?}"))
}

/// Events of which each fifth has the id of one shortly before, so that windows reach over changes of rules.
fn events(count: usize, random: &mut Random, made: &mut u64) -> Vec<Published> {
    let event = |_| {
        let back = if *made > 20 && random.below(5) == 0 { random.below(20) as u64 } else { 0 };
        *made += u64::from(back == 0);
        let (id, kind) = (*made - back, random.below(7));
        let value = format!("{{\"type\":\"e\",\"id\":\"{id}\",\"kind\":{kind},\"timestamp\":1700000000000}}");
        // One key, so that equal ids lie in one partition.
        Published { topic: "t", key: Some(b"k".to_vec()), value: value.into_bytes(), dead: None }
    };
    (0..count).map(event).collect()
}

const FIRST: &str = "{ count = \"all\" }, { count = \"former:{kind}\" }";
const SECOND: &str =
    "{ count = \"all\" }, { count = \"newer:{kind}\" }, { recent = \"last\", of = \"{kind}\", cap = 9 }";
const THIRD: &str = "{ count = \"all\" }, { count = \"third:{kind}\" }";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_former_rules_counted_is_recounted_by_them() {
    let seed = fresh_seed();
    eprintln!("seed {seed}");
    let (mut random, mut made) = (Random::new(seed), 0);
    let mut place = Place::of(catalog(FIRST)).await;
    let mut sizes = Vec::new();
    for rules in [FIRST, SECOND, FIRST, SECOND] {
        place.catalog = Arc::new(catalog(rules));
        let size = 100 + random.below(500);
        sizes.push(size as u64);
        place.publish(&events(size, &mut random, &mut made)).await;
        place.count().await;
        let found = place.verify(&[]).await.unwrap();
        assert_eq!((found.differences.as_slice(), found.uncompared.len()), (&[][..], 0), "{sizes:?}");
        assert_eq!(found.recounted, sizes.iter().sum::<u64>(), "what a window needs again is no more of the log");
    }
    let counters = place.counters().await;
    let of = |begin: &str| counters.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, n)| n).sum::<i64>();
    assert_eq!((of("former:") + of("newer:"), counters["all"]), (made as i64, made as i64), "each id once");

    let former = counters.keys().find(|name| name.starts_with("former:")).unwrap().clone();
    place.tamper(vec![(Key::new(Kind::Count, &*former), Delta::Count(1))]).await;
    let found = place.verify(&[]).await.unwrap();
    let names: BTreeMap<&str, Kind> =
        found.differences.iter().map(|difference| (&*difference.key, difference.kind)).collect();
    assert_eq!(names, [(&*former, Kind::Count)].into());
    let counted = counters[&former];
    assert_eq!(find(&found, &former), (Value::Number(Some(counted + 1)), Value::Number(Some(counted))));
}

/// What the rules before a rebuild counted is recounted by those of the rebuild; a counter that these do not make is left as it
/// is by it, and so named as one that the log does not make.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_rebuild_the_rules_before_it_count_nothing() {
    let (mut random, mut made) = (Random::new(7), 0);
    let mut place = Place::of(catalog(FIRST)).await;
    for (rules, is_rebuilt) in [(FIRST, false), (SECOND, true), (SECOND, false), (THIRD, false)] {
        place.catalog = Arc::new(catalog(rules));
        place.publish(&events(300, &mut random, &mut made)).await;
        place.count().await;
        if is_rebuilt {
            place.rebuild().await;
        }
        let mut differences = place.verify(&[]).await.unwrap().differences;
        differences.retain(|difference| rules == FIRST || !difference.key.starts_with("former:"));
        assert_eq!(differences, [], "{rules}");
    }
    let counters = place.counters().await;
    let of = |begin: &str| counters.iter().filter(|(name, _)| name.starts_with(begin)).map(|(_, n)| n).sum::<i64>();
    assert!(of("former:") > 0 && of("third:") > 0, "{counters:?}");
    assert_eq!((of("newer:") + of("third:"), counters["all"]), (made as i64, made as i64), "{counters:?}");
}
