//! The calls about topics, settings, disks and groups, on a real Kafka.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use streamgauge::{
    log::{
        At, Log, LogError, TopicSpec,
        kafka::{Admin, CommittedOffset, ConfigChange, ConfigEntry, ConfigSource, KafkaLog, KafkaOptions, Resource},
    },
    model::TopicPartition,
};

use crate::{
    place::kafka,
    support::log_contract::{new_topic, produce, record},
};

/// How long brokers may take to hear of a change.
const PATIENCE: Duration = Duration::from_secs(20);

fn log() -> KafkaLog {
    KafkaLog::connect(KafkaOptions::new(vec![kafka()]))
}

fn name(what: &str) -> String {
    format!("admin-{what}-{}", uuid::Uuid::new_v4())
}

fn spec(name: &str, partitions: i32, configs: &[(&str, &str)]) -> TopicSpec {
    let configs: BTreeMap<_, _> = configs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    TopicSpec { name: name.to_owned(), partitions, configs, ..TopicSpec::default() }
}

async fn setting(admin: &Admin, resource: &Resource, name: &str) -> ConfigEntry {
    let all = admin.describe_configs(resource).await.unwrap();
    all.into_iter().find(|entry| entry.name == name).unwrap()
}

fn change(name: &str, value: Option<&str>) -> ConfigChange {
    ConfigChange { name: name.to_owned(), value: value.map(str::to_owned) }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_is_made_with_its_settings_and_changed_and_widened_and_deleted() {
    let (log, topic) = (log(), name("life"));
    let (admin, resource) = (log.admin(), Resource::Topic(topic.clone()));
    let wanted = spec(&topic, 2, &[("retention.ms", "123456789"), ("cleanup.policy", "compact,delete")]);
    assert_eq!(admin.create_topic(&wanted, true).await, Ok(true), "a dry run");
    assert!(log.topics().await.unwrap().iter().all(|info| info.name != topic), "which makes nothing");
    assert_eq!(log.create_topic(&wanted).await, Ok(true));
    assert_eq!(admin.create_topic(&wanted, false).await, Ok(false), "it is there");
    assert_eq!(admin.create_topic(&wanted, true).await, Ok(false));

    let retention = setting(&admin, &resource, "retention.ms").await;
    assert_eq!((retention.value.as_deref(), retention.source), (Some("123456789"), ConfigSource::Topic));
    assert!(!retention.is_default() && !retention.is_read_only && !retention.is_sensitive);
    assert_eq!(setting(&admin, &resource, "cleanup.policy").await.value.as_deref(), Some("compact,delete"));
    assert!(setting(&admin, &resource, "segment.jitter.ms").await.is_default());

    let changes = [change("retention.ms", Some("1000000")), change("cleanup.policy", None)];
    admin.alter_configs(&resource, &changes, true).await.unwrap();
    assert_eq!(setting(&admin, &resource, "retention.ms").await, retention, "a dry run changes nothing");
    admin.alter_configs(&resource, &changes, false).await.unwrap();
    assert_eq!(setting(&admin, &resource, "retention.ms").await.value.as_deref(), Some("1000000"));
    let policy = setting(&admin, &resource, "cleanup.policy").await;
    assert_eq!((policy.value.as_deref(), policy.is_default()), (Some("delete"), true));

    admin.create_partitions(&topic, 5, true).await.unwrap();
    admin.create_partitions(&topic, 5, false).await.unwrap();
    let too_few = admin.create_partitions(&topic, 5, false).await.unwrap_err();
    assert!(matches!(too_few, LogError::Refused { .. }) && too_few.to_string().contains('5'), "{too_few}");
    assert_eq!(log.offset_at(&TopicPartition::new(topic.as_str(), 4), At::End).await, Ok(0));

    admin.delete_topic(&topic).await.unwrap();
    assert_eq!(admin.delete_topic(&topic).await, Err(LogError::Unknown { what: topic.clone() }));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_is_told_in_the_brokers_words() {
    let admin = log().admin();
    let refused = async |spec: TopicSpec, said: &str| {
        let error = admin.create_topic(&spec, false).await.unwrap_err();
        assert!(matches!(error, LogError::Refused { .. }), "{error}");
        assert!(error.to_string().contains(said) && error.to_string().contains(&spec.name), "{error}");
    };
    let topic = name("wrong");
    refused(spec(&topic, 1, &[("retension.ms", "1")]), "retension.ms").await;
    refused(spec(&topic, 1, &[("retention.ms", "long")]), "retention.ms").await;
    refused(spec(&topic, 0, &[]), "partitions").await;
    refused(spec("no/such name", 1, &[]), "invalid").await;
    refused(TopicSpec { replication: Some(3), ..spec(&topic, 1, &[]) }, "eplication factor").await;

    let absent = name("absent");
    let resource = Resource::Topic(absent.clone());
    let unknown = |what: String| LogError::Unknown { what };
    assert_eq!(admin.describe_configs(&resource).await, Err(unknown(resource.to_string())));
    let changed = admin.alter_configs(&resource, &[change("retention.ms", Some("1"))], false).await;
    assert_eq!(changed, Err(unknown(resource.to_string())));
    assert_eq!(admin.create_partitions(&absent, 3, false).await, Err(unknown(absent.clone())));
    let partition = TopicPartition::new(absent.as_str(), 0);
    assert_eq!(admin.delete_records(&partition, 0).await, Err(unknown(partition.to_string())));
    assert_eq!(admin.describe_configs(&Resource::Broker(77)).await, Err(unknown("broker 77".to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_brokers_settings_are_told_without_its_secrets() {
    let admin = log().admin();
    let broker = admin.describe_log_dirs().await.unwrap()[0].broker;
    let all = admin.describe_configs(&Resource::Broker(broker)).await.unwrap();
    let dirs = all.iter().find(|entry| entry.name == "log.dirs").unwrap();
    assert_eq!((dirs.source, dirs.is_read_only), (ConfigSource::File, true));
    assert!(all.iter().any(|entry| entry.is_sensitive));
    assert!(all.iter().filter(|entry| entry.is_sensitive).all(|entry| entry.value.is_none()));
}

#[tokio::test(flavor = "multi_thread")]
async fn records_are_deleted_and_disks_described() {
    let log = log();
    let admin = log.admin();
    let partition = new_topic(&log, &name("records"), 2).await;
    produce(&log, &partition, (0..10).map(|n| record(None, Some(&format!("{n:0>1000}")), &[])).collect()).await;
    assert_eq!(admin.delete_records(&partition, 4).await, Ok(4));
    assert_eq!(log.offset_at(&partition, At::Start).await, Ok(4));
    let beyond = LogError::OffsetOutOfRange { partition: partition.to_string(), offset: 11 };
    assert_eq!(admin.delete_records(&partition, 11).await, Err(beyond));

    let brokers = admin.describe_log_dirs().await.unwrap();
    let dirs: Vec<_> = brokers.into_iter().flat_map(|broker| broker.dirs.unwrap()).collect();
    let bytes = dirs.iter().find_map(|dir| dir.partitions.get(&partition)).copied().unwrap();
    assert!(bytes > 0, "{bytes}");
    for dir in &dirs {
        assert!(dir.error.is_none() && dir.used_bytes() >= bytes);
        assert!(dir.total_bytes >= dir.usable_bytes && dir.usable_bytes > Some(0), "{dir:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn offsets_are_committed_for_a_group_without_members_and_read_back() {
    let log = log();
    let (admin, group) = (log.admin(), name("group"));
    let first = new_topic(&log, &name("commit"), 2).await;
    let second = TopicPartition { partition: 1, ..first.clone() };
    assert_eq!(admin.describe_group(&group).await, Ok(None));
    assert_eq!(admin.committed_offsets(&group, None).await, Ok(Vec::new()));
    let asked = [second.clone(), first.clone()];
    let none = asked.iter().map(|partition| (partition.clone(), Ok(None))).collect::<Vec<_>>();
    assert_eq!(admin.committed_offsets(&group, Some(&asked)).await, Ok(none));

    let committed =
        |offset, leader_epoch, metadata: &str| CommittedOffset { offset, leader_epoch, metadata: metadata.to_owned() };
    let absent = TopicPartition::new(name("absent"), 0);
    let offsets = [
        (second.clone(), committed(7, Some(0), "streamgauge")),
        (absent.clone(), committed(1, None, "")),
        (first.clone(), committed(0, None, "")),
    ];
    let answers = admin.commit_offsets(&group, &offsets).await.unwrap();
    let unknown = Err(LogError::Unknown { what: absent.to_string() });
    assert_eq!(answers, [(second.clone(), Ok(())), (absent, unknown), (first.clone(), Ok(()))]);

    // By another client, which finds the coordinator for itself.
    let other = self::log().admin();
    let mut all = other.committed_offsets(&group, None).await.unwrap();
    all.sort_by_key(|(partition, _)| partition.partition);
    let wanted = [(first.clone(), Ok(Some(offsets[2].1.clone()))), (second.clone(), Ok(Some(offsets[0].1.clone())))];
    assert_eq!(all, wanted);
    let state = other.describe_group(&group).await.unwrap().unwrap();
    assert_eq!((state.state.as_str(), state.members), ("Empty", 0));

    let again = [(second.clone(), committed(9, None, ""))];
    assert_eq!(admin.commit_offsets(&group, &again).await.unwrap(), [(second.clone(), Ok(()))]);
    let read = other.committed_offsets(&group, Some(std::slice::from_ref(&second))).await.unwrap();
    assert_eq!(read, [(second, Ok(Some(again[0].1.clone())))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_made_again_has_another_id_in_the_same_cluster() {
    let log = log();
    let topic = name("again");
    let partition = new_topic(&log, &topic, 1).await;
    let first = log.identity(&partition).await.unwrap();
    assert!(first.cluster_id.is_some() && first.topic_id.is_some(), "{first:?}");
    assert_eq!((first.leader_epoch, log.identity(&partition).await.as_ref()), (Some(0), Ok(&first)));
    produce(&log, &partition, vec![record(None, Some("a"), &[]), record(None, Some("b"), &[])]).await;
    let ends: Vec<_> =
        [log.offset_at(&partition, At::EpochEnd(0)).await, log.offset_at(&partition, At::EpochEnd(1)).await]
            .into_iter()
            .collect();
    assert_eq!(ends, [Ok(2), Ok(-1)]);
    log.admin().delete_topic(&topic).await.unwrap();
    // A broker hears of it a moment after the controller has answered.
    let unknown = Err(LogError::Unknown { what: partition.to_string() });
    let deadline = Instant::now() + PATIENCE;
    while log.identity(&partition).await != unknown {
        assert!(Instant::now() < deadline, "the topic is still there");
    }
    log.create_topic(&spec(&topic, 1, &[])).await.unwrap();
    let second = log.identity(&partition).await.unwrap();
    assert_eq!(second.cluster_id, first.cluster_id);
    assert_ne!(second.topic_id, first.topic_id);
}
