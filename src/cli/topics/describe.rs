//! `topics describe`: what the broker says of topics: settings, partitions, leaders, offsets, disk use.

use std::{collections::BTreeMap, io::Write};

use anyhow::{Context, bail};
use futures::{StreamExt, TryStreamExt, stream};
use serde_json::{Value, json};

use super::{Which, Work};
use crate::{
    catalog::nearest,
    cli::offsets::write_table,
    log::{
        At, LogError,
        kafka::{ConfigEntry, ConfigSource, PartitionDescription, Resource, TopicDescription},
    },
    model::TopicPartition,
    runtime::topics::readable,
};

/// Partitions of which the log is asked at once.
const ASKED_AT_ONCE: usize = 16;

/// A topic as the broker tells it.
struct Described {
    topic: TopicDescription,
    settings: Result<Vec<ConfigEntry>, LogError>,
    /// First offset and end, by partition; or why there are none.
    offsets: Vec<Result<(i64, i64), LogError>>,
    /// Bytes of each copy, by partition and broker.
    bytes: BTreeMap<i32, BTreeMap<i32, i64>>,
}

pub(super) async fn run(work: &Work<'_>, named: &[String], json: bool, out: &mut dyn Write) -> anyhow::Result<u8> {
    let names = if named.is_empty() {
        work.wanted(&Which { topics: Vec::new() })?.into_keys().collect()
    } else {
        named.to_vec()
    };
    let admin = &work.log.admin;
    let mut topics = Vec::new();
    for (name, told) in admin.describe_topics(Some(&names)).await.context("asking the broker for its topics")? {
        match told {
            Ok(topic) => topics.push(topic),
            // Not made yet.
            Err(LogError::Unknown { .. }) if named.is_empty() => {}
            Err(LogError::Unknown { .. }) => {
                let all = admin.describe_topics(None).await.unwrap_or_default();
                let near = nearest(&name, all.iter().map(|(name, _)| name.as_str()));
                bail!(
                    "the broker has no topic {name:?}{}",
                    near.map(|near| format!("; did you mean {near}?")).unwrap_or_default()
                )
            }
            Err(error) => return Err(error.into()),
        }
    }
    let disks = admin.describe_log_dirs().await;
    let mut untold: Vec<String> = Vec::new();
    let mut sizes: BTreeMap<TopicPartition, BTreeMap<i32, i64>> = BTreeMap::new();
    match disks {
        Err(error) => untold.push(error.to_string()),
        Ok(disks) => {
            for disk in disks {
                let dirs = disk.dirs.unwrap_or_else(|error| {
                    untold.push(error.to_string());
                    Vec::new()
                });
                for (partition, bytes) in dirs.into_iter().flat_map(|dir| dir.partitions) {
                    sizes.entry(partition).or_default().insert(disk.broker, bytes);
                }
            }
        }
    }
    let mut described = Vec::with_capacity(topics.len());
    for topic in topics {
        described.push(describe(work, topic, &sizes).await?);
    }
    if json || !work.is_terminal {
        let topics: Vec<Value> = described.iter().map(as_json).collect();
        let shown = json!({ "topics": topics, "disksUntold": untold });
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
        return Ok(0);
    }
    for topic in &described {
        show(topic, out)?;
    }
    for why in untold {
        writeln!(out, "A disk's use is not known: {why}")?;
    }
    Ok(0)
}

async fn describe(
    work: &Work<'_>,
    topic: TopicDescription,
    sizes: &BTreeMap<TopicPartition, BTreeMap<i32, i64>>,
) -> anyhow::Result<Described> {
    let settings = work.log.admin.describe_configs(&Resource::Topic(topic.name.clone())).await;
    let log = work.log.log.as_ref();
    let name: std::sync::Arc<str> = topic.name.as_str().into();
    let partitions: Vec<TopicPartition> =
        topic.partitions.iter().map(|one| TopicPartition::new(std::sync::Arc::clone(&name), one.number)).collect();
    let bytes = partitions.iter().filter_map(|one| Some((one.partition, sizes.get(one)?.clone()))).collect();
    let limits = |partition: TopicPartition| async move {
        let limits =
            async { Ok((log.offset_at(&partition, At::Start).await?, log.offset_at(&partition, At::End).await?)) };
        Ok::<_, anyhow::Error>(limits.await)
    };
    let offsets = stream::iter(partitions).map(limits).buffered(ASKED_AT_ONCE).try_collect().await?;
    Ok(Described { topic, settings, offsets, bytes })
}

fn source(source: ConfigSource) -> &'static str {
    match source {
        ConfigSource::Topic => "topic",
        ConfigSource::Broker => "broker",
        ConfigSource::AllBrokers => "all brokers",
        ConfigSource::File => "broker's file",
        ConfigSource::Default => "default",
        ConfigSource::Other(_) => "other",
    }
}

fn show(described: &Described, out: &mut dyn Write) -> anyhow::Result<()> {
    const OF_INTEREST: [&str; 3] = ["cleanup.policy", "compression.type", "retention.ms"];
    let Described { topic, settings, offsets, bytes } = described;
    let total: i64 = bytes.values().flat_map(BTreeMap::values).sum();
    writeln!(out, "{}: {} partitions, {total} bytes on disk with all copies", topic.name, topic.partitions.len())?;
    match settings {
        Err(error) => writeln!(out, "The settings are not known: {error}")?,
        Ok(entries) => {
            let shown =
                |entry: &&ConfigEntry| entry.source == ConfigSource::Topic || OF_INTEREST.contains(&&*entry.name);
            let row = |entry: &ConfigEntry| {
                let value = entry.value.as_deref().map_or_else(|| "-".to_owned(), |value| readable(&entry.name, value));
                [entry.name.clone(), value, source(entry.source).to_owned()]
            };
            write_table(["setting", "value", "set by"], entries.iter().filter(shown).map(row), 0..0, out)?;
        }
    }
    let row = |(partition, offsets): (&PartitionDescription, &Result<(i64, i64), LogError>)| {
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let offsets = offsets.as_ref().ok();
        let own = bytes.get(&partition.number).and_then(|copies| copies.get(&partition.leader?)).copied();
        [
            partition.number.to_string(),
            number(partition.leader.map(i64::from)),
            numbers(&partition.replicas),
            numbers(&partition.in_sync),
            number(offsets.map(|(first, _)| *first)),
            number(offsets.map(|(_, end)| *end)),
            number(own),
        ]
    };
    let header = ["partition", "leader", "replicas", "in sync", "first offset", "end", "bytes"];
    write_table(header, topic.partitions.iter().zip(offsets).map(row), 4..7, out)
}

fn numbers(numbers: &[i32]) -> String {
    numbers.iter().map(i32::to_string).collect::<Vec<_>>().join(",")
}

fn as_json(described: &Described) -> Value {
    let Described { topic, settings, offsets, bytes } = described;
    let setting =
        |entry: &ConfigEntry| json!({ "name": entry.name, "value": entry.value, "setBy": source(entry.source) });
    let partition = |(partition, offsets): (&PartitionDescription, &Result<(i64, i64), LogError>)| {
        let known = offsets.as_ref().ok();
        json!({
            "partition": partition.number,
            "leader": partition.leader,
            "replicas": partition.replicas,
            "inSync": partition.in_sync,
            "firstOffset": known.map(|(first, _)| first),
            "end": known.map(|(_, end)| end),
            "error": offsets.as_ref().err().map(ToString::to_string),
            "bytes": bytes.get(&partition.number),
        })
    };
    json!({
        "topic": topic.name,
        "isInternal": topic.is_internal,
        "settings": settings.as_ref().ok().map(|entries| entries.iter().map(setting).collect::<Vec<_>>()),
        "settingsError": settings.as_ref().err().map(ToString::to_string),
        "partitions": topic.partitions.iter().zip(offsets).map(partition).collect::<Vec<_>>(),
    })
}
