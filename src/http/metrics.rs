//! Metrics of the API. Handles are kept: a request looks none up by its labels.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::http::{Method, StatusCode};
use hashbrown::Equivalent;
use metrics::{Counter, Histogram};

use crate::{
    catalog::plan::Catalog,
    runtime::publish::{NotStored, PublishError, Receipt},
    telemetry::metrics::{HTTP_REQUEST_DURATION, HTTP_REQUESTS, PUBLISH_DUPLICATES, PUBLISH_FAILURES, PUBLISHED},
};

/// Most kept handles; what goes beyond it is looked up each time. Routes, methods and statuses are few.
const MAX_HANDLES: usize = 1_024;

/// What requests are counted by.
#[derive(PartialEq, Eq, Hash)]
struct Answered {
    route: Box<str>,
    method: Method,
    status: StatusCode,
}

/// The same, borrowed: asking takes no memory.
#[derive(Clone, Copy, Hash)]
struct Asked<'a> {
    route: &'a str,
    method: &'a Method,
    status: StatusCode,
}

impl Equivalent<Answered> for Asked<'_> {
    fn equivalent(&self, known: &Answered) -> bool {
        *self.route == *known.route && *self.method == known.method && self.status == known.status
    }
}

/// Counts requests and published events.
pub(super) struct HttpMetrics {
    answered: RwLock<hashbrown::HashMap<Answered, (Counter, Histogram)>>,
    published: HashMap<Arc<str>, Counter>,
}

impl HttpMetrics {
    pub(super) fn new(catalog: &Catalog) -> Self {
        let counters = catalog.topics.iter().map(|topic| (topic.name.clone(), PUBLISHED.counter(&[&topic.name])));
        Self { answered: RwLock::default(), published: counters.collect() }
    }

    /// Counts an answered request. `route` is the template of the path, never the path itself.
    pub(super) fn answered(&self, route: &str, method: &Method, status: StatusCode, took: Duration) {
        // Other methods are made up by the caller and would be labels without end: they all count as one.
        let method = if is_standard(method) { method } else { &Method::TRACE };
        let asked = Asked { route, method, status };
        let known = self.answered.read().unwrap_or_else(PoisonError::into_inner).get(&asked).cloned();
        let (requests, duration) = known.unwrap_or_else(|| self.handles(asked));
        requests.increment(1);
        duration.record(took.as_secs_f64());
    }

    fn handles(&self, asked: Asked<'_>) -> (Counter, Histogram) {
        let Asked { route, method, status } = asked;
        let handles = (
            HTTP_REQUESTS.counter(&[route, method.as_str(), status.as_str()]),
            HTTP_REQUEST_DURATION.histogram(&[route]),
        );
        let mut known = self.answered.write().unwrap_or_else(PoisonError::into_inner);
        if known.len() < MAX_HANDLES {
            known.insert(Answered { route: route.into(), method: method.clone(), status }, handles.clone());
        }
        handles
    }

    /// Counts an event that was sent.
    pub(super) fn publish_ended(&self, topic: &str, published: &Result<Receipt, PublishError>) {
        match published {
            Ok(receipt) if receipt.is_duplicate => PUBLISH_DUPLICATES.counter(&[topic]).increment(1),
            Ok(_) => self.published(topic, 1),
            Err(error) => self.publish_failed(topic, error.code()),
        }
    }

    /// Counts the events of a batch that were sent.
    pub(super) fn publishes_ended(&self, published: &[Result<Receipt, NotStored>]) {
        let mut stored: Vec<(&str, u64)> = Vec::new();
        for result in published {
            match result {
                Err(NotStored { topic, error }) => self.publish_failed(topic, error.code()),
                Ok(Receipt { topic, is_duplicate: true, .. }) => PUBLISH_DUPLICATES.counter(&[topic]).increment(1),
                // Neighbours mostly have one topic.
                Ok(Receipt { topic, .. }) => match stored.last_mut().filter(|(last, _)| *last == &**topic) {
                    Some((_, events)) => *events += 1,
                    None => stored.push((topic, 1)),
                },
            }
        }
        stored.into_iter().for_each(|(topic, events)| self.published(topic, events));
    }

    fn published(&self, topic: &str, events: u64) {
        if let Some(counter) = self.published.get(topic) {
            counter.increment(events);
        }
    }

    /// Counts an event that was not published. A topic that no catalogue has is no label.
    pub(super) fn publish_failed(&self, topic: &str, reason: &'static str) {
        let topic = if self.published.contains_key(topic) { topic } else { "unknown" };
        PUBLISH_FAILURES.counter(&[topic, reason]).increment(1);
    }
}

fn is_standard(method: &Method) -> bool {
    [Method::GET, Method::POST, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE, Method::PATCH]
        .contains(method)
}
