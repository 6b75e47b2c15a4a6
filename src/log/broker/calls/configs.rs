//! DescribeConfigs and IncrementalAlterConfigs.

use kafka_protocol::{
    ResponseError,
    messages::{
        DescribeConfigsRequest, DescribeConfigsResponse, IncrementalAlterConfigsRequest,
        IncrementalAlterConfigsResponse,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::{DescribeConfigsResourceResult, DescribeConfigsResult},
        incremental_alter_configs_request::AlterConfigsResource,
        incremental_alter_configs_response::AlterConfigsResourceResponse,
    },
};

use super::{Refusal, Serving, text, topics};
use crate::log::broker::{
    settings::{KNOWN, Kind, Known, Settings},
    topics::TopicError,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const SET_BY_TOPIC: i8 = 1;
const DEFAULT: i8 = 5;
const STRING: i8 = 2;
const LONG: i8 = 5;
const SET: i8 = 0;
const DELETE: i8 = 1;

/// Where a value comes from, in the protocol's numbers.
pub fn source(settings: &Settings, known: &Known) -> i8 {
    if settings.is_set(known.name) { SET_BY_TOPIC } else { DEFAULT }
}

/// The settings of topics. The broker itself has none that can be seen here.
pub fn describe(serving: &Serving, version: i16, request: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let with_docs = request.include_documentation;
    let results = request.resources.into_iter().map(|asked| {
        let found = describe_one(serving, version, with_docs, &asked);
        let result = DescribeConfigsResult::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name);
        match found {
            Ok(configs) => result.with_configs(configs),
            Err((error, reason)) => result.with_error_code(error.code()).with_error_message(Some(text(reason))),
        }
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe_one(
    serving: &Serving,
    version: i16,
    with_docs: bool,
    asked: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let settings = match asked.resource_type {
        BROKER => return Ok(Vec::new()),
        TOPIC => serving.topics.get(asked.resource_name.as_str()).map(|topic| topic.settings.clone()),
        _ => return Err(not_a_topic()),
    };
    let name = asked.resource_name.as_str();
    let settings = settings.ok_or_else(|| topics::refusal(name, TopicError::Unknown))?;
    let is_asked = |known: &&Known| {
        asked.configuration_keys.as_ref().is_none_or(|keys| keys.iter().any(|key| key.as_str() == known.name))
    };
    let configs = KNOWN.iter().filter(is_asked).map(|known| {
        let config = DescribeConfigsResourceResult::default()
            .with_name(text(known.name))
            .with_value(Some(text(settings.effective(known, serving.topics.segment_bytes()))))
            .with_config_source(source(&settings, known));
        if version < 3 {
            return config;
        }
        let kind = if matches!(known.kind, Kind::Number { .. }) { LONG } else { STRING };
        config.with_config_type(kind).with_documentation(with_docs.then(|| text(known.about)))
    });
    Ok(configs.collect())
}

fn not_a_topic() -> Refusal {
    (ResponseError::InvalidRequest, "the embedded broker has settings of topics only".into())
}

/// Sets or takes back settings of topics: all that are named of a topic, or none.
pub fn alter(serving: &Serving, request: IncrementalAlterConfigsRequest) -> IncrementalAlterConfigsResponse {
    let dry_run = request.validate_only;
    let responses = request.resources.into_iter().map(|asked| {
        let altered = alter_one(serving, &asked, dry_run);
        let response = AlterConfigsResourceResponse::default()
            .with_resource_type(asked.resource_type)
            .with_resource_name(asked.resource_name);
        match altered {
            Ok(()) => response,
            Err((error, reason)) => response.with_error_code(error.code()).with_error_message(Some(text(reason))),
        }
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn alter_one(serving: &Serving, asked: &AlterConfigsResource, dry_run: bool) -> Result<(), Refusal> {
    if asked.resource_type != TOPIC {
        return Err(not_a_topic());
    }
    let name = asked.resource_name.as_str();
    let refused = |error| topics::refusal(name, error);
    let topic = serving.topics.get(name).ok_or_else(|| refused(TopicError::Unknown))?;
    let mut settings = topic.settings.clone();
    for config in &asked.configs {
        let value = match (config.config_operation, &config.value) {
            (SET, Some(value)) => Some(value.as_str()),
            (SET, None) | (DELETE, _) => None,
            _ => {
                let reason = format!("{} can be set or taken back, not added to", config.name.as_str());
                return Err((ResponseError::InvalidConfig, reason));
            }
        };
        settings.set(config.name.as_str(), value).map_err(|reason| (ResponseError::InvalidConfig, reason))?;
    }
    if dry_run { Ok(()) } else { serving.topics.set(name, settings).map_err(refused) }
}
