//! Schemas that values name: they are asked for outside of the core, and waited for.
//!
//! A registry that is down makes no dead letters: the partition waits, says so, and goes on where it stood.

use std::{sync::Arc, time::Instant};

use async_trait::async_trait;

use super::{
    SCHEMAS_PART,
    health::{Health, Level},
};
use crate::core::{backoff::Backoff, translate::Translate};

/// Who knows schemas, and asks for those that it does not know.
#[async_trait]
pub trait Schemas: Translate + 'static {
    /// Asks for the schema with this id, if it is not known. That there is none is known too, then.
    ///
    /// # Errors
    /// Nobody answers, or not as a registry does; what, and what to do.
    async fn learn(&self, id: u32) -> Result<(), String>;
}

/// Asks for schemas until all are known.
pub(super) async fn learn(schemas: &dyn Schemas, ids: &[u32], health: &Arc<Health>) {
    for id in ids {
        let mut again = Backoff::log();
        while let Err(why) = schemas.learn(*id).await {
            let delay = again.next();
            tracing::warn!(retry_in_ms = delay.as_millis() as u64, "schema {id} is waited for: {why}");
            health.set(SCHEMAS_PART, Level::Degraded, why, Instant::now());
            tokio::time::sleep(delay).await;
        }
    }
    health.mend(SCHEMAS_PART, Instant::now());
}
