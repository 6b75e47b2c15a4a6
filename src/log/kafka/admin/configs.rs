//! Settings of topics and brokers: read, and changed one by one.

use std::{fmt, ops::RangeInclusive};

use kafka_protocol::{
    messages::{
        DescribeConfigsRequest, IncrementalAlterConfigsRequest,
        describe_configs_request::DescribeConfigsResource,
        describe_configs_response::DescribeConfigsResourceResult,
        incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig},
    },
    protocol::StrBytes,
};
use tokio::time::Instant;

use super::{
    Admin,
    answer::{explain, silent},
};
use crate::log::{LogError, kafka::wire::NodeId};

const DESCRIBE: RangeInclusive<i16> = 1..=4;
/// Since Kafka 2.3 (KIP-339). The call before it replaced all settings at once, so that two clients lose each other's
/// changes: it is not used.
const ALTER: RangeInclusive<i16> = 0..=1;

/// What has settings.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Resource {
    /// A topic, by name.
    Topic(String),
    /// A broker, by its number.
    Broker(i32),
}

impl Resource {
    /// Number of the kind in the protocol, and name.
    fn wire_name(&self) -> (i8, StrBytes) {
        match self {
            Self::Topic(name) => (2, StrBytes::from_string(name.clone())),
            Self::Broker(node) => (4, StrBytes::from_string(node.to_string())),
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Topic(name) => write!(f, "topic {name}"),
            Self::Broker(node) => write!(f, "broker {node}"),
        }
    }
}

/// Where the value of a setting comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    /// The topic has its own.
    Topic,
    /// Set on this broker while it ran.
    Broker,
    /// Set for all brokers while they ran.
    AllBrokers,
    /// The broker's file.
    File,
    /// Kafka's default.
    Default,
    /// Another one, by its number in the protocol.
    Other(i8),
}

/// A setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Name, such as `retention.ms`.
    pub name: String,
    /// Value; `None` where it has none, or the broker keeps it to itself.
    pub value: Option<String>,
    /// Where the value comes from.
    pub source: ConfigSource,
    /// Whether it cannot be changed while the broker runs.
    pub is_read_only: bool,
    /// Whether it is a secret; brokers do not tell its value.
    pub is_sensitive: bool,
}

impl ConfigEntry {
    /// Whether nobody has set it on this topic or broker.
    pub fn is_default(&self) -> bool {
        self.source == ConfigSource::Default
    }

    fn read(told: &DescribeConfigsResourceResult) -> Self {
        let source = match told.config_source {
            1 => ConfigSource::Topic,
            2 => ConfigSource::Broker,
            3 => ConfigSource::AllBrokers,
            4 => ConfigSource::File,
            5 => ConfigSource::Default,
            other => ConfigSource::Other(other),
        };
        Self {
            name: told.name.to_string(),
            // Whatever a broker says: what is marked as a secret goes no further.
            value: told.value.as_ref().filter(|_| !told.is_sensitive).map(ToString::to_string),
            source,
            is_read_only: told.read_only,
            is_sensitive: told.is_sensitive,
        }
    }
}

/// A change of one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigChange {
    /// Name, such as `retention.ms`.
    pub name: String,
    /// The new value; `None` takes away what was set, so that the default is in force again.
    pub value: Option<String>,
}

impl Admin {
    /// All settings of a topic or broker (KIP-133).
    ///
    /// # Errors
    /// It does not exist, we may not see its settings, or nobody could be asked.
    pub async fn describe_configs(&self, resource: &Resource) -> Result<Vec<ConfigEntry>, LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.describe_once(resource, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn describe_once(&self, resource: &Resource, deadline: Instant) -> Result<Vec<ConfigEntry>, LogError> {
        let what = format!("reading the settings of {resource}");
        let (kind, name) = resource.wire_name();
        let wanted = DescribeConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configuration_keys(None);
        let request = |_| DescribeConfigsRequest::default().with_resources(vec![wanted]);
        let node = self.keeper_of(resource).await?;
        let answer = self.ask(node, &DESCRIBE, deadline, request, |answer| answer.throttle_time_ms).await?;
        let told = answer.results.first().ok_or_else(|| silent(&what))?;
        explain(told.error_code, told.error_message.as_ref(), &what, &resource.to_string())?;
        Ok(told.configs.iter().map(ConfigEntry::read).collect())
    }

    /// Changes settings of a topic or broker; those that are not named stay as they are. All are changed or none. With
    /// `dry_run` it is only checked whether that would succeed.
    ///
    /// # Errors
    /// It does not exist, a name or value is not valid (the broker's own reason is told), or nobody could be asked. A broker
    /// before Kafka 2.3 cannot do it.
    pub async fn alter_configs(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        dry_run: bool,
    ) -> Result<(), LogError> {
        let mut tries = self.tries();
        loop {
            let answer = self.alter_once(resource, changes, dry_run, tries.deadline()).await;
            if let Some(settled) = tries.settle(answer).await {
                return settled;
            }
        }
    }

    async fn alter_once(
        &self,
        resource: &Resource,
        changes: &[ConfigChange],
        dry_run: bool,
        deadline: Instant,
    ) -> Result<(), LogError> {
        const SET: i8 = 0;
        const DELETE: i8 = 1;
        let what = format!("changing the settings of {resource}");
        let configs = changes.iter().map(|change| {
            AlterableConfig::default()
                .with_name(StrBytes::from_string(change.name.clone()))
                .with_config_operation(if change.value.is_some() { SET } else { DELETE })
                .with_value(change.value.clone().map(StrBytes::from_string))
        });
        let (kind, name) = resource.wire_name();
        let wanted = AlterConfigsResource::default()
            .with_resource_type(kind)
            .with_resource_name(name)
            .with_configs(configs.collect());
        let request =
            |_| IncrementalAlterConfigsRequest::default().with_resources(vec![wanted]).with_validate_only(dry_run);
        let node = self.keeper_of(resource).await?;
        let answer =
            self.ask(node, &ALTER, deadline, request, |answer| answer.throttle_time_ms).await.map_err(|error| {
                match error {
                    LogError::Unsupported { .. } => LogError::Unsupported {
                        what: what.clone(),
                        reason:
                            "the broker cannot change single settings (Kafka 2.3 and later can); change them with its \
                                 own tools"
                                .to_owned(),
                    },
                    error => error,
                }
            })?;
        let told = answer.responses.first().ok_or_else(|| silent(&what))?;
        explain(told.error_code, told.error_message.as_ref(), &what, &resource.to_string())
    }

    /// Any broker knows the settings of topics; those of a broker only itself.
    async fn keeper_of(&self, resource: &Resource) -> Result<NodeId, LogError> {
        match resource {
            Resource::Topic(_) => self.wire.controller().await,
            Resource::Broker(node) => {
                let nodes = self.wire.nodes().await?;
                nodes.contains(node).then_some(*node).ok_or_else(|| LogError::Unknown { what: resource.to_string() })
            }
        }
    }
}
