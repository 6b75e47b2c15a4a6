//! A broker in memory that knows topics, and refuses settings.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard},
};

use async_trait::async_trait;

use super::{Found, Observed, TopicAdmin, found};
use crate::{
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
};

pub(super) struct Broker {
    topics: Mutex<BTreeMap<String, Found>>,
    refused: Vec<&'static str>,
}

impl Broker {
    /// A broker without topics, which refuses these settings.
    pub(super) fn new(refused: &[&'static str]) -> Self {
        Self { topics: Mutex::default(), refused: refused.to_vec() }
    }

    /// Somebody makes or changes a topic.
    pub(super) fn change(&self, topic: &str, now: Found) {
        self.topics().insert(topic.to_owned(), now);
    }

    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Found>> {
        self.topics.lock().unwrap()
    }

    fn check(&self, what: String, settings: impl IntoIterator<Item = String>) -> Result<(), LogError> {
        match settings.into_iter().find(|name| self.refused.contains(&name.as_str())) {
            Some(name) => Err(LogError::Refused { what, reason: format!("PolicyViolation: {name} is ours") }),
            None => Ok(()),
        }
    }
}

fn other_call<T>() -> Result<T, LogError> {
    Err(LogError::Unsupported { what: "this test".to_owned(), reason: "it is about topics".to_owned() })
}

#[async_trait]
impl TopicAdmin for Broker {
    async fn observe(&self, topics: &[String]) -> Result<Observed, LogError> {
        let known = self.topics();
        let found = topics.iter().filter_map(|name| Some((name.clone(), known.get(name)?.clone()))).collect();
        Ok(Observed { found, unseen: BTreeMap::new() })
    }

    async fn set(&self, topic: &str, name: &str, value: &str) -> Result<(), LogError> {
        self.check(format!("changing the settings of {topic}"), [name.to_owned()])?;
        let mut topics = self.topics();
        let known = topics.get_mut(topic).ok_or_else(|| LogError::Unknown { what: topic.to_owned() })?;
        known.settings.insert(name.to_owned(), value.to_owned());
        Ok(())
    }

    async fn widen(&self, topic: &str, partitions: i32) -> Result<(), LogError> {
        let mut topics = self.topics();
        let known = topics.get_mut(topic).ok_or_else(|| LogError::Unknown { what: topic.to_owned() })?;
        assert!(known.partitions < partitions, "never fewer");
        known.partitions = partitions;
        Ok(())
    }
}

#[async_trait]
impl Log for Broker {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        other_call()
    }

    async fn create_topic(&self, topic: &TopicSpec) -> Result<bool, LogError> {
        self.check(format!("creating topic {}", topic.name), topic.configs.keys().cloned())?;
        if self.topics().contains_key(&topic.name) {
            return Ok(false);
        }
        let mut made = found(topic.partitions, &[topic.replication.unwrap_or(1)], &[]);
        made.settings.extend(topic.configs.clone());
        self.change(&topic.name, made);
        Ok(true)
    }

    async fn offset_at(&self, _: &TopicPartition, _: At) -> Result<i64, LogError> {
        other_call()
    }

    async fn identity(&self, _: &TopicPartition) -> Result<LogIdentity, LogError> {
        other_call()
    }

    async fn fetch(&self, _: &[FetchPosition], _: FetchLimits) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        Vec::new()
    }

    async fn produce(&self, _: &TopicPartition, records: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        records.iter().map(|_| other_call()).collect()
    }
}
