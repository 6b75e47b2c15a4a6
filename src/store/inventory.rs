//! What lies in a store besides counters, by name: for work on the whole of it. Counting never needs it.

use async_trait::async_trait;

use super::StoreError;
use crate::model::Kind;

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// Names without prefix, and what they hold. A name may come twice.
    pub keys: Vec<(String, Kind)>,
    /// Cursor of the next page; `None` at the end.
    pub cursor: Option<String>,
}

/// Lists the keys that are no counters: uniques, histories, windows of rankings, sets. Counters are listed by
/// [`super::Store::scan`].
#[async_trait]
pub trait Inventory: Send + Sync + 'static {
    /// A page of about `limit` keys; it may be short or empty while a cursor is still given. An empty `cursor` begins. What is
    /// there all the while is listed; what comes or goes meanwhile may be.
    ///
    /// Where others keep keys in the same place, theirs are listed too, by what they look like.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn keys(&self, cursor: &str, limit: usize) -> Result<KeyPage, StoreError>;
}
