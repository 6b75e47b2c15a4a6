//! From a publish request to an acknowledged record.
//!
//! A request is checked against the catalogue before anything is sent, so that what the counting side would make a dead
//! letter for want of a type or field is refused here, where its sender can mend it.

mod batch;
mod check;
mod error;
mod fields;
mod ids;
mod once;
mod shape;

use std::{borrow::Cow, sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::value::RawValue;
use tokio_util::task::TaskTracker;

use batch::Load;
pub use batch::{Batch, NotStored};
pub(crate) use error::nearest;
pub use error::{PublishError, SendError};
use fields::Fields;
use ids::Ids;
use once::Once;
pub use once::REMEMBERED;

use crate::{catalog::plan::Catalog, core::mark::Content, log::OutRecord, store::Store};

/// Most bytes of an event's id that is given: it is the name of a document in the store.
pub const MAX_EVENT_ID_BYTES: usize = 1_024;

/// Name of the document that is the mark of an event which is published under this id.
pub fn mark_name(id: &str) -> String {
    format!("publish:{id}")
}

/// Where records go: chooses the partition by the record's key (murmur2, as the Java client) and answers once the broker
/// has the record.
#[async_trait]
pub trait Sender: Send + Sync + 'static {
    /// Appends a record. Returns partition and offset.
    ///
    /// # Errors
    /// The record is not stored, or it is unknown whether it is ([`SendError::Unconfirmed`]).
    async fn send(&self, topic: &str, record: OutRecord) -> Result<(i32, i64), SendError>;

    /// Appends records; those that go to one partition keep their order. One result per record, in order.
    async fn send_all(&self, topic: &str, records: Vec<OutRecord>) -> Vec<Result<(i32, i64), SendError>>;
}

/// An event to publish, as its sender gave it: borrowed from the request.
#[derive(Clone, Debug)]
pub struct Draft<'a> {
    /// The data: a JSON object.
    pub data: &'a RawValue,
    /// `critical`, `high`, `normal` or `low`.
    pub priority: Option<Cow<'a, str>>,
    /// The service that it comes from.
    pub source: Option<Cow<'a, str>>,
    /// What joins it to other events.
    pub correlation_id: Option<Cow<'a, str>>,
    /// The user that it is about; stands in for a field `userId` of the data.
    pub user_id: Option<Cow<'a, str>>,
    /// The record's key; else the values of the topic's key fields.
    pub key: Option<Cow<'a, str>>,
    /// Its id, under which it is published once; else `idempotency_key`, else a new UUID (version 7).
    pub event_id: Option<Cow<'a, str>>,
    /// What it is published once by where it has no id.
    pub idempotency_key: Option<Cow<'a, str>>,
    /// Its type; else the topic's only one, else the data's `type`.
    pub event_type: Option<Cow<'a, str>>,
    /// The W3C trace context that the request came with; stands in the record's headers.
    pub trace: Trace<'a>,
}

/// A W3C trace context, as its headers have it: <https://www.w3.org/TR/trace-context/>.
#[derive(Clone, Copy, Debug, Default)]
pub struct Trace<'a> {
    /// `traceparent`.
    pub parent: Option<&'a str>,
    /// `tracestate`; means nothing without `traceparent`.
    pub state: Option<&'a str>,
}

impl Trace<'_> {
    fn headers(self) -> impl Iterator<Item = (String, Vec<u8>)> {
        let state = self.parent.and(self.state);
        let both = [("traceparent", self.parent), ("tracestate", state)];
        both.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?.as_bytes().to_vec())))
    }
}

/// Where a published event is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// Its id.
    pub event_id: String,
    /// Topic.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// It had been published before.
    pub is_duplicate: bool,
}

/// Publishes events of the catalogue's topics.
pub struct Publisher {
    catalog: Arc<Catalog>,
    sender: Arc<dyn Sender>,
    once: Once,
}

/// A checked event as a record.
struct Prepared {
    topic: Arc<str>,
    event_id: String,
    record: OutRecord,
    /// Name of the mark and what is published, where it is published under an id.
    mark: Option<(String, Content)>,
}

impl Publisher {
    /// Publishes through `sender`, what has an id with marks in `store`. `flight` is how long such a mark stands where this
    /// process ends before it knows what became of an event: longer than that can take, so that nobody else sends meanwhile.
    pub fn new(catalog: Arc<Catalog>, sender: Arc<dyn Sender>, store: Arc<dyn Store>, flight: Duration) -> Self {
        let once = Once::new(store, Arc::clone(&sender), flight);
        Self { catalog, sender, once }
    }

    /// What is published under ids and not yet known: it goes on after its caller has gone.
    pub fn under_way(&self) -> TaskTracker {
        self.once.tasks().clone()
    }

    /// Publishes one event and waits until the broker has it.
    ///
    /// # Errors
    /// What is wrong with the event, or why the broker does not have it.
    pub async fn publish(&self, topic: &str, draft: &Draft<'_>) -> Result<Receipt, PublishError> {
        let prepared = self.prepare(topic, draft, &mut Ids::new())?;
        if prepared.mark.is_some() {
            let mut load = Load::default();
            load.add(prepared);
            let told = self.publish_load(load).await.into_iter().flatten().next();
            let silent = || PublishError::Unavailable("the record was not answered for".to_owned());
            return told.map_or_else(|| Err(silent()), |told| told.map_err(|failure| failure.error));
        }
        let Prepared { topic, event_id, record, .. } = prepared;
        let size_bytes = record.size_bytes();
        match self.sender.send(&topic, record).await {
            Ok((partition, offset)) => Ok(Receipt { event_id, topic, partition, offset, is_duplicate: false }),
            Err(error) => Err(PublishError::from_send(&topic, size_bytes, error)),
        }
    }

    async fn publish_load(&self, load: Load) -> Vec<Option<Result<Receipt, NotStored>>> {
        match load.marked.is_empty() {
            true => load.send(&*self.sender).await,
            false => self.once.publish(load).await,
        }
    }

    /// A batch to add events to.
    pub fn batch(&self) -> Batch<'_> {
        Batch::new(self)
    }

    fn prepare(&self, topic: &str, draft: &Draft<'_>, ids: &mut Ids) -> Result<Prepared, PublishError> {
        let topic = self.catalog.topic(topic).ok_or_else(|| PublishError::unknown_topic(&self.catalog, topic))?;
        let fields = Fields::parse(draft.data)?;
        let event_type = check::event_type(topic, &fields, draft.event_type.as_deref())?;
        let priority = draft.priority.as_deref().map(check::priority).transpose()?;
        check::ids(draft)?;
        check::required(topic, event_type, &fields, draft)?;
        let key = match &draft.key {
            Some(key) => Some(key.as_bytes().to_vec()),
            None => check::partition_key(topic, &fields, draft),
        };
        let event_id = check::event_id(topic, &fields, draft, ids)?;
        let event = shape::Event { event_type, fields: &fields, draft, priority, event_id: &event_id };
        let (value, mut headers) = shape::write(topic, &event);
        check::schema(topic, event_type, &fields, draft, &value)?;
        headers.extend(draft.trace.headers());
        let mark = check::mark(topic, event_type, draft, key.as_deref());
        let record = OutRecord { key, value: Some(value), headers, timestamp_ms: None };
        Ok(Prepared { topic: topic.name.clone(), event_id, record, mark })
    }
}
