//! `catalog activate`: who counts by other rules than those that are asked for lets go.

use std::collections::BTreeMap;

use streamgauge::{
    core::card::{self, Card, TopicCard},
    model::{Beat, TopicPartition},
    store::Store,
};

use crate::{
    counted_by,
    fixture::{World, until},
    until_settled,
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_of_other_rules_let_go_of_a_topic_when_they_are_asked() {
    for shards in [1, 4] {
        let of = |rules| World::with_rules(rules, 4).in_shards(shards);
        let mut world = of("{ count = \"old:{id}\" }");
        let newer = of("{ count = \"new:{id}\" }").catalog;
        let (first, second) = (world.member(), world.member());
        until_settled(&world, &[&first, &second]).await;
        let rules = TopicCard::new(0, newer.topics[0].fingerprint, None).rules;
        world.catalog = newer;
        let append = |count: i32| {
            for number in 0..count {
                world.append(&TopicPartition::new("t", number % 4), "{\"type\":\"e\",\"id\":\"x\"}");
            }
        };
        append(40);
        world.until_counted().await;
        let asking = Beat {
            group: "g".into(),
            member: "asking".into(),
            about: Some(card(rules).to_bytes()),
            session_timeout_ms: 3_600_000,
            known_version: None,
            steps: Vec::new(),
        };
        world.store.beat(&asking, &[]).await.unwrap();
        // Nobody has these rules yet: nothing changes.
        until("all know who asks", || {
            [&first, &second].iter().all(|one| one.counting.membership.roster().members.contains_key("asking"))
        })
        .await;
        append(8);
        world.until_counted().await;
        assert_eq!((world.counter("old:x"), world.counter("new:x")), (48, 0));
        let newer = world.member();
        until("the new member counts all", || counted_by(&[&newer]).len() == 4).await;
        world.store.beat(&Beat { about: None, ..asking }, &[]).await.unwrap();
        // Whoever asked is gone, and what was asked for stays.
        until("all know that", || !newer.counting.membership.roster().members.contains_key("asking")).await;
        until_settled(&world, &[&newer]).await;
        append(12);
        world.until_counted().await;
        assert_eq!((world.counter("old:x"), world.counter("new:x")), (48, 12), "{shards} shards");
        assert!(counted_by(&[&first, &second]).is_empty());
        for member in [first, second, newer] {
            member.stop().await;
        }
    }
}

fn card(rules: String) -> Card {
    Card { version: card::VERSION, activate: BTreeMap::from([("t".to_owned(), rules)]), ..Card::default() }
}
