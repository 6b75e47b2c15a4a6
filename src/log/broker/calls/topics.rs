//! CreateTopics, CreatePartitions and DeleteTopics.

use std::sync::Arc;

use kafka_protocol::{
    ResponseError,
    messages::{
        CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
        DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
        create_partitions_request::CreatePartitionsTopic,
        create_partitions_response::CreatePartitionsTopicResult,
        create_topics_request::CreatableTopic,
        create_topics_response::{CreatableTopicConfigs, CreatableTopicResult},
        delete_topics_response::DeletableTopicResult,
    },
};
use uuid::Uuid;

use super::{Refusal, Serving, configs, text};
use crate::log::broker::{
    settings::{KNOWN, Settings},
    topics::{DEFAULT_PARTITIONS, Topic, TopicError},
};

/// Creates each topic, or says why not.
pub fn create(serving: &Serving, version: i16, request: &CreateTopicsRequest) -> CreateTopicsResponse {
    let topics = request.topics.iter().map(|asked| {
        let result = CreatableTopicResult::default().with_name(asked.name.clone());
        match create_one(serving, asked, request.validate_only) {
            Ok((settings, topic)) => created(serving, version, result, asked, &settings, topic.as_deref()),
            Err((error, reason)) => {
                result.with_error_code(error.code()).with_error_message(Some(text(reason))).with_configs(None)
            }
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

fn created(
    serving: &Serving,
    version: i16,
    result: CreatableTopicResult,
    asked: &CreatableTopic,
    settings: &Settings,
    topic: Option<&Topic>,
) -> CreatableTopicResult {
    if version < 5 {
        return result;
    }
    let configs = KNOWN.iter().map(|known| {
        CreatableTopicConfigs::default()
            .with_name(text(known.name))
            .with_value(Some(text(settings.effective(known, serving.topics.segment_bytes()))))
            .with_config_source(configs::source(settings, known))
    });
    let result = result
        .with_num_partitions(partitions_asked(asked))
        .with_replication_factor(1)
        .with_configs(Some(configs.collect()));
    match topic {
        Some(topic) if version >= 7 => result.with_topic_id(topic.id),
        _ => result,
    }
}

fn partitions_asked(topic: &CreatableTopic) -> i32 {
    if topic.num_partitions == -1 { DEFAULT_PARTITIONS } else { topic.num_partitions }
}

fn create_one(
    serving: &Serving,
    topic: &CreatableTopic,
    dry_run: bool,
) -> Result<(Settings, Option<Arc<Topic>>), Refusal> {
    if !topic.assignments.is_empty() {
        return Err((
            ResponseError::InvalidReplicaAssignment,
            "the embedded broker is alone: name a number of partitions".into(),
        ));
    }
    if !matches!(topic.replication_factor, -1 | 1) {
        return Err((
            ResponseError::InvalidReplicationFactor,
            "the embedded broker is alone: the replication factor is 1".into(),
        ));
    }
    let mut settings = Settings::default();
    for config in &topic.configs {
        let set = settings.set(config.name.as_str(), config.value.as_deref());
        set.map_err(|reason| (ResponseError::InvalidConfig, reason))?;
    }
    let created = serving.topics.create(topic.name.as_str(), partitions_asked(topic), settings.clone(), dry_run);
    Ok((settings, created.map_err(|error| refusal(topic.name.as_str(), error))?))
}

/// The protocol's name for what went wrong.
pub fn refusal(topic: &str, error: TopicError) -> Refusal {
    let code = match &error {
        TopicError::Exists => ResponseError::TopicAlreadyExists,
        TopicError::Unknown => ResponseError::UnknownTopicOrPartition,
        TopicError::InvalidName => ResponseError::InvalidTopicException,
        TopicError::InvalidPartitions | TopicError::NotMorePartitions(_) => ResponseError::InvalidPartitions,
        TopicError::Storage(_) => ResponseError::KafkaStorageError,
    };
    if matches!(error, TopicError::Storage(_)) {
        tracing::error!(topic, %error, "a topic was not created or changed");
    }
    (code, error.to_string())
}

/// Gives topics more partitions.
pub fn create_partitions(serving: &Serving, request: &CreatePartitionsRequest) -> CreatePartitionsResponse {
    let results = request.topics.iter().map(|topic| {
        let result = CreatePartitionsTopicResult::default().with_name(topic.name.clone());
        match grow(serving, topic, request.validate_only) {
            Ok(()) => result,
            Err((error, reason)) => result.with_error_code(error.code()).with_error_message(Some(text(reason))),
        }
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn grow(serving: &Serving, topic: &CreatePartitionsTopic, dry_run: bool) -> Result<(), Refusal> {
    if topic.assignments.as_ref().is_some_and(|assignments| !assignments.is_empty()) {
        let reason = "the embedded broker is alone: name a number of partitions";
        return Err((ResponseError::InvalidReplicaAssignment, reason.into()));
    }
    let name = topic.name.as_str();
    serving.topics.grow(name, topic.count, dry_run).map_err(|error| refusal(name, error))
}

/// Deletes topics by name, or from version 6 on also by id, with what was committed of them.
pub fn delete(serving: &Serving, version: i16, request: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = request.topic_names.into_iter().map(|name| (Some(name), Uuid::nil()));
    let asked = by_name.chain(request.topics.into_iter().map(|topic| (topic.name, topic.topic_id)));
    let responses = asked.map(|(name, id)| {
        let found = match &name {
            Some(name) => serving.topics.get(name.as_str()),
            None => serving.topics.get_by_id(id),
        };
        let name = name.or_else(|| found.as_ref().map(|topic| TopicName(text(&*topic.name))));
        let id = found.as_ref().map_or(id, |topic| topic.id);
        let result = DeletableTopicResult::default().with_name(name);
        let result = if version >= 6 { result.with_topic_id(id) } else { result };
        let deleted = match found {
            Some(topic) => serving.topics.delete(&topic.name).map_err(|error| refusal(&topic.name, error)).map(|()| {
                if let Err(error) = serving.offsets.delete_topic(&topic.name) {
                    tracing::warn!(topic = &*topic.name, %error, "offsets that were committed of a deleted topic are left");
                }
            }),
            None if result.name.is_none() => {
                Err((ResponseError::UnknownTopicId, "there is no topic with this id".to_owned()))
            }
            None => Err((ResponseError::UnknownTopicOrPartition, TopicError::Unknown.to_string())),
        };
        match deleted {
            Ok(()) => result,
            Err((error, _)) if version < 5 => result.with_error_code(error.code()),
            Err((error, reason)) => result.with_error_code(error.code()).with_error_message(Some(text(reason))),
        }
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}
