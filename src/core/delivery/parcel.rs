//! From a record to what is sent of it.

use std::{ops::Range, sync::Arc};

use super::filter::Filter;
use crate::{
    catalog::{
        plan::{Priority, Slot, Topic},
        schema::Instance,
    },
    core::{
        event::{Event, Layout, Scratch, decode},
        reason::Reason,
        replay::Replay,
        schema,
        shape::attribute,
        tracked,
        translate::Translating,
    },
    log::{OutRecord, RecordRef},
    model::TopicPartition,
};

/// An event that is to be delivered.
#[derive(Debug)]
pub struct Parcel {
    /// The record, for its dead letter.
    pub record: Arc<OutRecord>,
    /// The event's own id, or its origin where it has none.
    pub id: String,
    /// Whether it is told by that id what becomes of it: its topic is tracked, and the id its own.
    pub is_tracked: bool,
    /// Its type.
    pub event_type: Arc<str>,
    /// Where it says that it comes from; else its topic behind a slash.
    pub source: String,
    /// Its time, milliseconds since 1970.
    pub time_ms: i64,
    /// Its priority.
    pub priority: Priority,
    /// Its W3C trace context, by the names of the headers.
    pub trace: Vec<(&'static str, String)>,
    data: Data,
}

#[derive(Debug)]
enum Data {
    /// Where it lies in the record's value.
    At(Range<usize>),
    /// It lies in no record: a schema registry's format, made JSON.
    Own(String),
}

impl Parcel {
    /// The event's data: JSON.
    pub fn data(&self) -> &[u8] {
        match &self.data {
            Data::At(range) => self.record.value.as_deref().and_then(|value| value.get(range.clone())).unwrap_or(b"{}"),
            Data::Own(text) => text.as_bytes(),
        }
    }

    /// About how many bytes it takes in memory.
    pub fn size_bytes(&self) -> usize {
        const OVERHEAD_BYTES: usize = 400;
        let own = if let Data::Own(text) = &self.data { text.len() } else { 0 };
        OVERHEAD_BYTES + self.record.size_bytes() + own
    }
}

/// Why a record is not delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwanted {
    /// It has no value, or another group's replay is in it.
    Passed,
    /// The subscription does not want it. With its id, where its topic is tracked.
    Unasked(Option<Box<str>>),
    /// It is no event of the catalogue. Counting makes a dead letter of it. With its id, where its topic is tracked and it has one
    /// all the same.
    Unreadable(Reason, Option<Box<str>>),
}

/// Reads the events of one partition for one subscription.
pub struct Reader {
    /// With the field `source` beside those of its rules.
    topic: Topic,
    source: Slot,
    layout: Layout,
    scratch: Scratch,
    /// The names of its event types.
    types: Vec<Arc<str>>,
    partition: TopicPartition,
    group: Box<str>,
    filter: Filter,
    json: Vec<u8>,
    instance: Instance,
}

impl Reader {
    /// A reader of a topic's partition.
    pub fn new(topic: &Topic, partition: TopicPartition, group: &str, filter: Filter) -> Self {
        let mut topic = topic.clone();
        let known = topic.fields.iter().position(|field| &**field == "source");
        let source = known.unwrap_or_else(|| {
            topic.fields.push("source".into());
            topic.fields.len() - 1
        }) as Slot;
        Self {
            layout: Layout::new(&topic),
            types: topic.events.iter().map(|event| Arc::from(&*event.name)).collect(),
            topic,
            source,
            scratch: Scratch::default(),
            partition,
            group: group.into(),
            filter,
            json: Vec::new(),
            instance: Instance::default(),
        }
    }

    /// Reads a record. Schemas that its value names and that must be asked for first go into `unknown`.
    ///
    /// # Errors
    /// Why it is not delivered.
    pub fn read(
        &mut self,
        record: &RecordRef<'_>,
        translating: Option<Translating<'_>>,
        unknown: &mut Vec<u32>,
    ) -> Result<Parcel, Unwanted> {
        let Some(value) = record.value else { return Err(Unwanted::Passed) };
        if Replay::of(record).is_some_and(|replay| replay.is_for_other(&self.group)) {
            return Err(Unwanted::Passed);
        }
        let Self { topic, layout, scratch, json, instance, .. } = self;
        let is_tracked = topic.track;
        let own_id = |id: Option<&str>| tracked::by(id).filter(|_| is_tracked).map(Box::from);
        // A value that tells nothing leaves the header.
        let unreadable = |reason| Unwanted::Unreadable(reason, own_id(attribute(record, "event-id").name()));
        let translated = match translating.map(|translating| translating.json(value, json, unknown)) {
            None | Some(Ok(false)) => false,
            Some(Ok(true)) => true,
            Some(Err(reason)) => return Err(unreadable(reason)),
        };
        let text = if translated { &**json } else { value };
        let event = decode(topic, layout, scratch, text, record).map_err(unreadable)?;
        check(topic, &event, instance).map_err(|reason| Unwanted::Unreadable(reason, own_id(event.id().name())))?;
        let data = event.data_text();
        let event_type = &self.types[event.event_type];
        if !self.filter.takes(event_type, event.priority, data) {
            return Err(Unwanted::Unasked(own_id(event.id().name())));
        }
        let start = (data.as_ptr() as usize).wrapping_sub(text.as_ptr() as usize);
        let at = start..start.saturating_add(data.len());
        let is_inside = !translated && text.get(at.clone()) == Some(data.as_bytes());
        let origin = || format!("{}:{}:{}", self.partition.topic, self.partition.partition, record.offset);
        let trace = event.trace().into_iter();
        let source = event.envelope_first(self.source);
        Ok(Parcel {
            id: event.id().name().map_or_else(origin, str::to_owned),
            is_tracked: is_tracked && tracked::by(event.id().name()).is_some(),
            event_type: Arc::clone(event_type),
            source: source.name().map_or_else(|| format!("/{}", self.partition.topic), str::to_owned),
            time_ms: event.time_ms,
            priority: event.priority,
            trace: trace.filter_map(|(name, value)| Some((name, value?.into_owned()))).collect(),
            data: if is_inside { Data::At(at) } else { Data::Own(data.to_owned()) },
            record: Arc::new(crate::core::decode::owned(record)),
        })
    }
}

/// What makes a record an event besides its shape: the fields that its type needs, and its schema.
fn check(topic: &Topic, event: &Event<'_>, instance: &mut Instance) -> Result<(), Reason> {
    let event_type = &topic.events[event.event_type];
    if let Some(slot) = event_type.required.iter().find(|slot| event.is_missing(**slot)) {
        return Err(Reason::MissingField { field: topic.fields[usize::from(*slot)].to_string() });
    }
    match &event_type.schema {
        Some(schema) => schema::check(schema, event.data_text(), instance),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog;

    const CATALOG: &str = "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = []\n[[topic.event]]\ntype = \"t\"\nrequired = [\"x\"]\nrules = []\n";

    fn read(group: &str, value: &str, headers: &[(&str, &str)]) -> Result<Parcel, Unwanted> {
        read_of(CATALOG, Filter::default(), group, value, headers)
    }

    fn read_of(
        catalog: &str,
        filter: Filter,
        group: &str,
        value: &str,
        headers: &[(&str, &str)],
    ) -> Result<Parcel, Unwanted> {
        let source = catalog::Source { file: "c.toml".to_owned(), text: catalog.to_owned() };
        let topic = Arc::clone(&catalog::compile(&[source]).unwrap().topics[0]);
        let mut reader = Reader::new(&topic, TopicPartition::new("t", 3), group, filter);
        let headers: Vec<(&[u8], Option<&[u8]>)> =
            headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
        let record = RecordRef {
            offset: 41,
            timestamp_ms: 5,
            key: Some(b"k"),
            value: Some(value.as_bytes()),
            headers: &headers,
        };
        reader.read(&record, None, &mut Vec::new())
    }

    #[test]
    fn every_shape_gives_its_data_and_says_who_sent_it() {
        for (value, id, source, data) in [
            (r#"{"type":"t","x":1}"#, "t:3:41", "/t", r#"{"type":"t","x":1}"#),
            (r#"{"type":"t","x":1,"source":"s","id":"i"}"#, "i", "s", r#"{"type":"t","x":1,"source":"s","id":"i"}"#),
            (
                r#"{"metadata":{"eventId":"i","eventType":"t","source":"s"},"data":{"x":1,"source":"no"}}"#,
                "i",
                "s",
                r#"{"x":1,"source":"no"}"#,
            ),
            (r#"{"eventId":"i","eventType":"t","source":"s","data": {"x":2} }"#, "i", "s", r#"{"x":2}"#),
            (r#"{"specversion":"1.0","id":"i","source":"/s","type":"t","data":{"x":3}}"#, "i", "/s", r#"{"x":3}"#),
            (r#"{"pattern":"t","data":{"x":4}}"#, "t:3:41", "/t", r#"{"x":4}"#),
        ] {
            let parcel = read("g", value, &[]).unwrap_or_else(|why| panic!("{value}: {why:?}"));
            let found = (&*parcel.id, &*parcel.source, std::str::from_utf8(parcel.data()).unwrap());
            assert_eq!(found, (id, source, data), "{value}");
            assert_eq!((&*parcel.event_type, parcel.record.value.as_deref()), ("t", Some(value.as_bytes())));
        }
    }

    #[test]
    fn what_is_no_event_or_for_others_is_left_out() {
        let value = r#"{"type":"t","x":1}"#;
        let replay = |group| [("replay-group", group), ("replay-number", "1")];
        assert!(read("g", value, &replay("g")).is_ok());
        assert_eq!(read("g", value, &replay("h")).unwrap_err(), Unwanted::Passed);
        for (value, code) in [("nope", "not-json"), (r#"{"type":"t"}"#, "missing-field"), ("{}", "missing-field")] {
            let Err(Unwanted::Unreadable(reason, None)) = read("g", value, &[]) else { panic!("{value}") };
            assert_eq!(reason.code(), code, "{value}");
        }
        let traced = read("g", value, &[("traceparent", "00-ab-cd-01")]).unwrap();
        assert!(!traced.is_tracked);
        assert_eq!(traced.trace, [("traceparent", "00-ab-cd-01".to_owned())]);
    }

    #[test]
    fn of_a_tracked_topic_it_is_told_by_its_id_what_is_left_out_too() {
        let tracked = CATALOG.replace("identity", "track = true\nidentity");
        let data = vec![("x".to_owned(), vec![1.into()])];
        let read = |value: &str, headers: &[(&str, &str)]| {
            let filter = Filter { data: data.clone(), ..Filter::default() };
            match read_of(&tracked, filter, "g", value, headers) {
                Ok(parcel) => ("taken", parcel.is_tracked.then_some(parcel.id)),
                Err(Unwanted::Passed) => ("passed", None),
                Err(Unwanted::Unasked(id)) => ("unasked", id.map(String::from)),
                Err(Unwanted::Unreadable(_, id)) => ("unreadable", id.map(String::from)),
            }
        };
        let long = "i".repeat(1_025);
        let header: &[(&str, &str)] = &[("event-id", "h")];
        for (value, headers, what, id) in [
            (r#"{"type":"t","id":"i","x":1}"#, &[][..], "taken", Some("i")),
            (r#"{"type":"t","x":1}"#, &[], "taken", None),
            (&format!(r#"{{"type":"t","id":"{long}","x":1}}"#), &[], "taken", None),
            (r#"{"type":"t","id":"i","x":2}"#, &[], "unasked", Some("i")),
            (r#"{"type":"t","x":2}"#, &[], "unasked", None),
            (r#"{"type":"t","id":"i"}"#, &[], "unreadable", Some("i")),
            ("nope", header, "unreadable", Some("h")),
            ("nope", &[], "unreadable", None),
            (r#"{"type":"t","id":"i","x":2}"#, &[("replay-group", "h"), ("replay-number", "1")], "passed", None),
        ] {
            assert_eq!(read(value, headers), (what, id.map(str::to_owned)), "{value}");
        }
    }
}
