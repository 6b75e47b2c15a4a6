//! The schema registry that the configuration names, as the runtime asks it.

use std::sync::Arc;

use async_trait::async_trait;

use super::{AppError, Parts};
use crate::{
    config::Config,
    registry::{Registry, RegistryOptions},
    runtime::{health::Health, recount::Recount, schemas::Schemas},
};

#[async_trait]
impl Schemas for Registry {
    async fn learn(&self, id: u32) -> Result<(), String> {
        Registry::learn(self, id).await.map_err(|error| error.to_string())
    }
}

/// The registry, where one is named.
pub(super) fn open(config: &Config) -> Result<Option<Arc<Registry>>, AppError> {
    let Some(named) = &config.registry else { return Ok(None) };
    let options = RegistryOptions {
        url: named.url.clone(),
        username: named.username.clone(),
        password: named.password.clone(),
        ca: named.ca.clone(),
    };
    Ok(Some(Arc::new(Registry::new(options)?)))
}

impl Parts {
    /// Lets counting read values by the schemas that they name.
    pub(super) fn lend_registry(&self, decoding: &crate::runtime::decoding::Decoding, health: &Arc<Health>) {
        if let Some(registry) = &self.registry {
            decoding.read_by(Arc::clone(registry) as _, Arc::clone(health));
        }
    }

    /// The same for a recount.
    pub(super) fn lend_registry_to(&self, recount: &Recount) {
        if let Some(registry) = &self.registry {
            recount.read_by(Arc::clone(registry) as _);
        }
    }
}
