//! Configuration: the environment and a TOML file, from raw text to a validated [`Config`].
//!
//! [`table`] lists every setting once; reading, errors, `config show` and `.env.example` follow from it. `sources` gathers
//! what was given, `validate` judges it and finds every problem before it gives up. The environment is handed in.

mod environment;
mod error;
mod example;
mod partitions;
mod reader;
mod redis_url;
mod registry;
mod roles;
mod security;
mod setting;
mod sources;
mod store;
mod subscriptions;
pub mod table;
mod types;
mod validate;

use std::path::Path;

pub use crate::model::{MASK, Secret, SecretSource};

pub use environment::Environment;
pub use error::{ConfigError, Problem};
pub use example::env_example;
pub use setting::{Area, Kind, Setting, State};
pub use sources::{CONFIG_FILE, Given, Source, Sources};
pub use subscriptions::add_handled;
pub use types::{
    Config, CountingConfig, DeliveryMode, HttpConfig, KafkaConfig, KafkaSasl, KafkaToken, LogChoice, LogFormat,
    OffsetReset, PasswordMechanism, PostConfig, RedisConfig, RegistryConfig, RetryConfig, Roles, RunningConfig,
    StoreChoice, SubscriptionConfig, TlsConfig,
};

/// A configuration that can run, and what was odd about it.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What the user should hear of: names that look like settings and are none, settings without effect.
    pub warnings: Vec<String>,
}

/// The environment of this process; values that are not UTF-8 are left out.
pub fn process_environment() -> Environment {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}

/// Reads and validates the configuration: the environment over the file (`file`, else `CONFIG_FILE`) over the defaults.
///
/// # Errors
/// [`ConfigError`] with every problem found, each naming its setting, what was given (unless secret) and what would be right.
pub fn load(environment: &Environment, file: Option<&Path>) -> Result<Loaded, ConfigError> {
    let (sources, problems) = Sources::read(environment, file);
    let mut warnings = environment::unknown_names(environment);
    let mut reader = reader::Reader::new(&sources, problems);
    let config = validate::validate(&mut reader, &mut warnings);
    match reader.problems {
        problems if problems.is_empty() => Ok(Loaded { config, warnings }),
        problems => Err(ConfigError { problems, warnings }),
    }
}

#[cfg(test)]
mod tests;
