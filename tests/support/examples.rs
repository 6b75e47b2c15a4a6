//! The example events that lie beside the built-in catalogues, and the keys that they must make: written out there by hand.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};
use streamgauge::{
    catalog::{
        CatalogChoice,
        plan::{Catalog, Shape},
    },
    model::{Answer, Query},
    store::Store,
};

/// The built-in catalogues with their examples.
pub const BUILTIN: [(&str, &str); 5] = [
    ("video", include_str!("../../src/catalog/builtin/examples/video.json")),
    ("commerce", include_str!("../../src/catalog/builtin/examples/commerce.json")),
    ("social", include_str!("../../src/catalog/builtin/examples/social.json")),
    ("creator", include_str!("../../src/catalog/builtin/examples/creator.json")),
    ("live", include_str!("../../src/catalog/builtin/examples/live.json")),
];
/// The day on which all of them happen.
const DAY: &str = "2026-11-21";
/// More than any key here holds.
const ALL: usize = 1_000;

/// What every key must hold, by its name: a number for counters and uniques, a list for sets and histories, sums by element
/// for rankings.
pub type Keys = BTreeMap<String, Value>;

/// Events of one catalogue, and what they make.
pub struct Examples {
    pub catalog: Catalog,
    pub events: Vec<Example>,
    /// By kind: counters, uniques, histories, rankings, sets.
    pub expected: BTreeMap<String, Keys>,
    /// Records in each topic that rules forward to.
    pub forwards: Keys,
}

/// A record.
#[derive(Clone, Debug)]
pub struct Example {
    pub topic: String,
    pub key: String,
    pub value: Value,
}

/// Today in UTC.
pub fn today() -> String {
    chrono::Utc::now().format("%Y-%m-%d").to_string()
}

impl Examples {
    /// Those of a file, as if they happened on another day: what stays in a store so long is no matter then.
    pub fn of(name: &str, text: &str, day: &str) -> Self {
        let catalog = Catalog::load(&CatalogChoice { names: vec![name.to_owned()], path: None }).unwrap();
        let file: Value = serde_json::from_str(&text.replace(DAY, day)).unwrap();
        assert_eq!(file["catalog"], name);
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let event = |event: &Value| Example {
            topic: text(&event["topic"]),
            key: text(&event["key"]),
            value: event["value"].clone(),
        };
        let events = file["events"].as_array().unwrap().iter().map(event).collect();
        let mut expected: BTreeMap<String, Keys> = serde_json::from_value(file["expect"].clone()).unwrap();
        let forwards = expected.remove("forwards").unwrap_or_default();
        Self { catalog, events, expected, forwards }
    }

    /// What must be there of a kind.
    pub fn of_kind(&self, kind: &str) -> Keys {
        self.expected.get(kind).cloned().unwrap_or_default()
    }

    /// Every event type of the catalogue is among the events.
    pub fn assert_complete(&self) {
        for topic in &self.catalog.topics {
            for event in &topic.events {
                let is_it =
                    |example: &&Example| *example.topic == *topic.name && self.event_type(example) == *event.name;
                assert!(
                    self.events.iter().any(|example| is_it(&example)),
                    "no example of {} on {}",
                    event.name,
                    topic.name
                );
            }
        }
    }

    fn event_type(&self, example: &Example) -> String {
        let value = &example.value;
        let topic = self.catalog.topic(&example.topic).unwrap();
        let named = [&value["metadata"]["eventType"], &value["eventType"], &value["type"]];
        match topic.publish_shape {
            Shape::Bare => topic.name.to_string(),
            _ => named.into_iter().find_map(Value::as_str).unwrap_or_default().to_owned(),
        }
    }

    /// The event as somebody publishes it over HTTP.
    pub fn request(&self, example: &Example) -> Value {
        let topic = &example.topic;
        let value = example.value.as_object().unwrap();
        let publish_shape = self.catalog.topic(topic).unwrap().publish_shape;
        let given = |envelope: &Map<String, Value>| {
            let names = ["eventId", "eventType", "source", "correlationId", "userId", "priority"];
            let given = names.iter().filter_map(|name| Some(((*name).to_owned(), envelope.get(*name)?.clone())));
            given.chain([("topic".to_owned(), json!(topic))]).collect::<Map<_, _>>()
        };
        let with = |mut request: Map<String, Value>, data: Value| {
            request.insert("data".to_owned(), data);
            Value::Object(request)
        };
        let metadata = value.get("metadata").and_then(Value::as_object);
        match (publish_shape, value.get("data")) {
            (Shape::Nested, Some(data)) => with(given(metadata.unwrap()), data.clone()),
            // A flat event on a topic that HTTP writes nested.
            (Shape::Nested, None) => {
                let mut data = value.clone();
                let (event_type, id) = (data.remove("type").unwrap(), data.remove("eventId").unwrap());
                json!({ "topic": topic, "eventType": event_type, "eventId": id, "data": data })
            }
            (Shape::Wide, Some(data)) => {
                let mut request = given(value);
                request.extend(
                    metadata
                        .and_then(|metadata| metadata.get("correlationId"))
                        .map(|id| ("correlationId".to_owned(), id.clone())),
                );
                with(request, data.clone())
            }
            (_, Some(data)) => json!({ "topic": topic, "data": data }),
            (_, None) => json!({ "topic": topic, "data": value }),
        }
    }

    /// What differs between the keys that a store has and those that must be there. Of other kinds than counters a store tells
    /// only of keys that it is asked for.
    pub async fn differences(&self, store: &dyn Store) -> Result<(), String> {
        let page = store.scan("", "", ALL).await.unwrap();
        let counters: Keys = page.counters.into_iter().map(|(name, value)| (name, json!(value))).collect();
        differences("counters", &counters, &self.of_kind("counters"))?;
        for kind in ["uniques", "histories", "rankings", "sets"] {
            let wanted = self.of_kind(kind);
            let query = |key: &String| {
                let key = key.clone();
                match kind {
                    "uniques" => Query::Unique(key),
                    "histories" => Query::Recent { key, limit: ALL },
                    "rankings" => Query::Top { key, limit: ALL },
                    _ => Query::Members { key, cursor: String::new(), limit: ALL },
                }
            };
            let answers = store.read(&wanted.keys().map(query).collect::<Vec<_>>()).await.unwrap();
            let found: Keys = wanted.keys().cloned().zip(answers.into_iter().map(shown)).collect();
            differences(kind, &found, &wanted)?;
        }
        Ok(())
    }
}

fn shown(answer: Answer) -> Value {
    match answer {
        Answer::Unique(estimate) => json!(estimate),
        Answer::Recent(items) => items.into_iter().map(|item| item.element).collect(),
        Answer::Top(items) => items.into_iter().map(|item| (item.element, json!(item.sum))).collect(),
        Answer::Members { mut elements, .. } => {
            elements.sort();
            json!(elements)
        }
        other => panic!("{other:?}"),
    }
}

/// Each key that is not alike in two maps.
pub fn differences(kind: &str, found: &Keys, wanted: &Keys) -> Result<(), String> {
    let names: BTreeSet<&String> = found.keys().chain(wanted.keys()).collect();
    let wrong = names.into_iter().filter(|name| found.get(*name) != wanted.get(*name));
    let shown: Vec<_> =
        wrong.map(|name| format!("{name}: {:?}, not {:?}", found.get(name), wanted.get(name))).collect();
    if shown.is_empty() { Ok(()) } else { Err(format!("{kind}:\n{}", shown.join("\n"))) }
}
