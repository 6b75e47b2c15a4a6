//! A group, what it wants, and the handlers that take it.

use std::{collections::BTreeMap, time::Duration};

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::{
    courier::{Erased, Takers, erased},
    event::Event,
    outcome::{Failure, Outcome},
};
use crate::{catalog::plan::Priority, config::Problem};

/// A group, what it wants, and the handlers that take it: `[[subscription]]` of the configuration file in code. Every process
/// that has the group shares its work.
///
/// What is wrong with it is told when the service starts.
#[must_use = "a subscription does nothing until it is given to a service"]
pub struct Subscription {
    group: String,
    /// Its fields by their names in the file, so that they are judged as there.
    fields: Map<String, Value>,
    filter: Map<String, Value>,
    /// `filter.data`.
    data: Map<String, Value>,
    retry: Map<String, Value>,
    by_type: BTreeMap<String, Erased>,
    one: Option<Erased>,
    /// Types that were given a handler twice.
    twice: Vec<String>,
}

impl Subscription {
    /// A subscription of a group: a name in up to 200 characters of `A-Z a-z 0-9 . _ -`, that no other subscription has, nor
    /// counting (`KAFKA_CONSUMER_GROUP`).
    pub fn new(group: &str) -> Self {
        Self {
            group: group.to_owned(),
            fields: Map::from_iter([("group".to_owned(), Value::from(group))]),
            filter: Map::new(),
            data: Map::new(),
            retry: Map::new(),
            by_type: BTreeMap::new(),
            one: None,
            twice: Vec::new(),
        }
    }

    /// Takes events of a type. The handler gets the event with its data as `T`; data that cannot be read as that is a dead
    /// letter at once, since it would not get better.
    ///
    /// Attempts run in tasks of their own, on the runtime that the service runs on. One that takes longer than
    /// [`timeout`](Self::timeout) is dropped where it waits; one that panics has failed.
    pub fn on<T, F, R>(mut self, event_type: &str, handler: impl Fn(Event<T>) -> F + Send + Sync + 'static) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Into<Outcome>,
    {
        if self.by_type.insert(event_type.to_owned(), erased(handler)).is_some() {
            self.twice.push(event_type.to_owned());
        }
        self
    }

    /// Takes all events of its topics, whatever their type; instead of handlers by type.
    pub fn on_any<T, F, R>(mut self, handler: impl Fn(Event<T>) -> F + Send + Sync + 'static) -> Self
    where
        T: DeserializeOwned + Send + 'static,
        F: Future<Output = Result<R, Failure>> + Send + 'static,
        R: Into<Outcome>,
    {
        self.one = Some(erased(handler));
        self
    }

    /// Topics of the catalogue. Default: those that have the types.
    pub fn topics<'a>(self, topics: impl IntoIterator<Item = &'a str>) -> Self {
        self.with("topics", topics.into_iter().collect::<Vec<_>>())
    }

    /// Only events of these priorities. Default all.
    pub fn priorities(mut self, priorities: impl IntoIterator<Item = Priority>) -> Self {
        let names: Vec<&str> = priorities.into_iter().map(Priority::name).collect();
        self.filter.insert("priority".to_owned(), names.into());
        self
    }

    /// Only events whose data has this member, with one of these values. Of several such conditions each must hold. Default all.
    pub fn data<V: Into<Value>>(mut self, member: &str, values: impl IntoIterator<Item = V>) -> Self {
        let values: Vec<Value> = values.into_iter().map(Into::into).collect();
        self.data.insert(member.to_owned(), values.into());
        self
    }

    /// Events that are with handlers at once, in each process, 1 to 256. Default 16.
    pub fn concurrency(self, events: usize) -> Self {
        self.with("concurrency", events)
    }

    /// How long an attempt may take, 1 ms to 10 min. Default 10 s.
    pub fn timeout(self, longest: Duration) -> Self {
        self.with("timeout_ms", ms(longest))
    }

    /// Events of a partition that were read and are not finished, before the partition waits, up to 100,000. Default 10,000.
    pub fn unfinished(self, events: usize) -> Self {
        self.with("unfinished", events)
    }

    /// The group begins with what the log holds, and not with what comes from now on. Fixed when it first runs.
    pub fn from_earliest(self) -> Self {
        self.with("start", "earliest")
    }

    /// Attempts after the first, up to 1,000. Default that of the topic's catalogue, else `MAX_RETRIES`.
    pub fn max_retries(self, retries: u32) -> Self {
        self.tried("max", retries)
    }

    /// The wait before the second attempt, up to a day; a tenth more or less each time. Default `RETRY_INITIAL_MS`.
    pub fn retry_initial(self, wait: Duration) -> Self {
        self.tried("initial_ms", ms(wait))
    }

    /// By what each further wait is longer, 1 to 100. Default `RETRY_FACTOR`.
    pub fn retry_factor(self, factor: f64) -> Self {
        self.tried("factor", factor)
    }

    /// The longest wait, up to a day. Default `RETRY_MAX_DELAY_MS`.
    pub fn retry_max_delay(self, longest: Duration) -> Self {
        self.tried("max_delay_ms", ms(longest))
    }

    fn with(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.fields.insert(field.to_owned(), value.into());
        self
    }

    fn tried(mut self, field: &str, value: impl Into<Value>) -> Self {
        self.retry.insert(field.to_owned(), value.into());
        self
    }

    /// Its fields as the file would have them, and its handlers. What only code can have wrong goes to `problems`.
    pub(super) fn into_parts(mut self, problems: &mut Vec<Problem>) -> (Map<String, Value>, String, Option<Takers>) {
        let mut refuse = |message: String| problems.push(Problem::new(format!("handlers of {}", self.group), message));
        for event_type in &self.twice {
            refuse(format!("{event_type} has a handler already: an event goes to one; give another group the other"));
        }
        let takers = match (self.one, self.by_type) {
            (Some(_), by_type) if !by_type.is_empty() => {
                let types: Vec<&str> = by_type.keys().map(String::as_str).collect();
                refuse(format!(
                    "on_any takes all events, so {} need no handlers of their own: take one of both",
                    types.join(", ")
                ));
                None
            }
            (Some(one), _) => Some(Takers::One(one)),
            (None, by_type) if by_type.is_empty() => {
                refuse(
                    "there are none: add one with on(event_type, handler), or on_any(handler) for all of its topics"
                        .to_owned(),
                );
                None
            }
            (None, by_type) => {
                self.fields.insert("types".to_owned(), by_type.keys().cloned().collect());
                Some(Takers::ByType(by_type))
            }
        };
        if !self.data.is_empty() {
            self.filter.insert("data".to_owned(), Value::Object(self.data));
        }
        for (name, table) in [("filter", self.filter), ("retry", self.retry)] {
            if !table.is_empty() {
                self.fields.insert(name.to_owned(), Value::Object(table));
            }
        }
        (self.fields, self.group, takers)
    }
}

/// Whole milliseconds.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
