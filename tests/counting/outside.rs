//! What is noted outside of the store: a store that falls back or is emptied as a whole goes by it, and what an earlier version
//! kept in the store, a topic that is made again, or rights that are missing do no harm to it.

use streamgauge::{
    model::{LogIdentity, Switches},
    runtime::outside::TOPIC,
};

use crate::{
    copies,
    fixture::until,
    support::memory_store::Held,
    switch::{SHARDS, Versions, t},
};

/// The whole store comes back as it was before a switch, and is emptied, with the texts of its rules: they change where they did.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_falls_back_or_is_emptied_as_a_whole_changes_its_rules_where_it_did_before() {
    for shards in [1, SHARDS] {
        for is_running in [true, false] {
            let mut versions = Versions::new(2, shards);
            let old = versions.member(0);
            versions.append(0, 0..60);
            versions.append(1, 0..30);
            versions.world.until_counted().await;
            let before = copies(&versions.world);
            versions.append(0, 60..100);
            versions.world.until_counted().await;
            old.stop().await;
            let mut new = Some(versions.member(1));
            for partition in 0..2 {
                versions
                    .until_noted("the rules change", partition, |table| table.end_of(0).is_some_and(|x| x <= 100))
                    .await;
            }
            let mut end = 100;
            for copies in [before, vec![Held::default(); usize::from(shards)]] {
                versions.append(0, end..end + 50);
                versions.append(1, end..end + 50);
                end += 50;
                versions.world.until_counted().await;
                if let (false, Some(member)) = (is_running, new.take()) {
                    member.stop().await;
                }
                (0..).zip(copies).for_each(|(shard, copy)| versions.world.store.inner.put_back_shard(shard, copy));
                new = Some(new.unwrap_or_else(|| versions.member(1)));
                versions.world.until_counted().await;
                let context = format!("{shards} shards, running: {is_running}, {end} records");
                assert_eq!(versions.noted(0).await.end_of(0), Some(100), "{context}");
                assert_eq!(versions.noted(1).await.end_of(0), Some(30), "{context}");
                versions.assert_exact(&context).await;
            }
            new.unwrap().stop().await;
            let noted = [versions.noted(0).await, versions.noted(1).await];
            assert_eq!(noted, [versions.table(0).await, versions.table(1).await]);
        }
    }
}

/// What is noted of a topic says nothing of one that has its name now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_was_made_again_is_counted_into_an_emptied_store_as_a_new_one() {
    for shards in [1, SHARDS] {
        let mut versions = Versions::new(1, shards);
        let id = |number| LogIdentity { topic_id: Some(uuid::Uuid::from_u128(number)), ..LogIdentity::default() };
        versions.world.log.is(&t(0), id(1));
        let old = versions.member(0);
        versions.append(0, 0..60);
        versions.world.until_counted().await;
        old.stop().await;
        let new = versions.member(1);
        versions.until_noted("the rules change", 0, |table| table.end_of(0) == Some(60)).await;
        new.stop().await;
        versions.world.log.make_again(&t(0), id(2));
        (0..shards).for_each(|shard| versions.world.store.inner.put_back_shard(shard, Held::default()));
        versions.append(0, 0..20);
        let new = versions.member(1);
        versions.world.until_counted().await;
        new.stop().await;
        assert_eq!(versions.noted(0).await, Switches::only(versions.fingerprint(1)));
        versions.assert_exact("after it was made again").await;
    }
}

/// As an earlier version has left it: the table in the store, and nothing outside.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_stands_in_the_store_is_noted_outside() {
    let mut versions = Versions::new(1, SHARDS);
    let old = versions.member(0);
    versions.append(0, 0..60);
    versions.world.until_counted().await;
    old.stop().await;
    let new = versions.member(1);
    versions.until_noted("the rules change", 0, |table| table.end_of(0) == Some(60)).await;
    versions.append(0, 60..100);
    versions.world.until_counted().await;
    new.stop().await;
    let table = versions.noted(0).await;
    assert_eq!(table.end_of(0), Some(60));
    versions.world.log.forget(TOPIC);
    let text = table.to_string().into_bytes();
    versions.world.store.inner.meddle(|held| drop(held.documents.insert("switches:t:0".to_owned(), text.clone())));
    // Else the shards would tell.
    let documents = versions.world.store.inner.shard(0).documents;
    (0..SHARDS).for_each(|shard| versions.world.store.inner.put_back_shard(shard, Held::default()));
    versions.world.store.inner.meddle(|held| held.documents.extend(documents.clone()));
    let new = versions.member(1);
    versions.world.until_counted().await;
    new.stop().await;
    assert_eq!(versions.noted(0).await, table);
    versions.assert_exact("after it was carried over").await;
}

/// Where nobody may make the topic: one shard counts on without, several do not begin.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_can_be_noted_outside_where_the_topic_is_missing_and_must_not_be_made() {
    for shards in [1, SHARDS] {
        let mut versions = Versions::new(1, shards);
        versions.world.options.create_topics = false;
        let member = versions.member(0);
        versions.append(0, 0..10);
        if shards == 1 {
            versions.world.until_counted().await;
            let report = format!("{:?}", member.counting.health.report(std::time::Instant::now()));
            assert!(report.contains("TOPICS_AUTO_APPLY=false") && report.contains("retention.ms=-1"), "{report}");
        } else {
            until("the partition stops", || member.stopped(&t(0)).is_some()).await;
            let why = member.stopped(&t(0)).unwrap();
            assert!(why.contains(TOPIC) && why.contains("retention.ms=-1"), "{why}");
            versions.world.log.have(TOPIC);
        }
        versions.world.until_counted().await;
        member.stop().await;
    }
}
