//! Removing what has expired, where the store does not do so by itself: counters whose key names a day that is long over.
//!
//! Any member may do it, and all do: what has expired is said by the store's own clock, and removing it twice is removing it.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::measure;
use crate::store::Store;

/// How often it is looked for.
const EVERY: Duration = Duration::from_secs(10);
/// Most steps of one time, so that a day with many counters leaves others their turn.
const MAX_STEPS: usize = 1_000;

/// Removes what has expired until `stop`.
pub(super) async fn run(store: &dyn Store, stop: &CancellationToken) {
    while tokio::time::timeout(EVERY, stop.cancelled()).await.is_err() {
        for _ in 0..MAX_STEPS {
            match store.sweep().await {
                Ok(true) if !stop.is_cancelled() => {}
                Ok(_) => break,
                Err(error) => {
                    // Nothing is lost by it, and what cannot be reached is told by whoever counts.
                    measure::store_failed();
                    tracing::debug!(%error, "what has expired was not removed; it is tried again");
                    break;
                }
            }
        }
    }
}
