//! How many dead letters wait, as a metric.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;

use super::DeadLetters;
use crate::runtime::measure;

/// How often it is looked.
const LOOK_EVERY: Duration = Duration::from_secs(15);

impl DeadLetters {
    /// Looks now and then how many dead letters wait, until it is stopped. What cannot be told stays as it was told last.
    ///
    /// # Errors
    /// None: it is a task among servers, which may have some.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) -> std::io::Result<()> {
        while tokio::time::timeout(LOOK_EVERY, stop.cancelled()).await.is_err() {
            for topic in &self.parts.catalog.topics {
                tokio::select! {
                    () = stop.cancelled() => return Ok(()),
                    waiting = self.waiting(topic) => match waiting {
                        Ok(waiting) => measure::dead_letters_waiting(&topic.name, waiting),
                        Err(error) => tracing::debug!(topic = %topic.name, %error, "its dead letters cannot be counted"),
                    },
                }
            }
        }
        Ok(())
    }
}
