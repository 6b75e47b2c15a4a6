//! The catalogue that the API is tried over.

use std::sync::Arc;

use streamgauge::{
    catalog::{
        plan::{Action, Amount, Catalog, DedupeWindow, Part, Priority, Rule, Shape, Template, Topic, Window},
        retry::TopicRetry,
    },
    model::Fingerprint,
};

/// A flat topic of one type, a flat one of two, and one of each other shape.
pub fn catalog() -> Catalog {
    let mut views = topic("video.views", Shape::Flat, &["videoId", "userId"], &[0], &["video.view"]);
    views.events[0].required = vec![0, 1];
    let of = || template(vec![field(0)]);
    let views_of = |what: &str| template(vec![literal("video:"), field(0), literal(&format!(":{what}"))]);
    let window = |label: &str, hours: i64| Window { label: label.into(), length_ms: hours * 3_600_000 };
    let actions = [
        Action::Count { key: views_of("views"), by: Amount::Constant(1), retention_ms: None },
        Action::Unique { key: views_of("viewers"), of: of(), per_day: true, retention_ms: None },
        Action::Unique { key: template(vec![literal("all:users")]), of: of(), per_day: false, retention_ms: None },
        Action::Top {
            key: template(vec![literal("trending:videos")]),
            of: of(),
            by: Amount::Constant(1),
            windows: vec![window("1h", 1), window("1d", 24)],
            retention_ms: 1,
        },
    ];
    views.events[0].rules = actions.into_iter().zip(0..).map(|(action, effect)| Rule { effect, action }).collect();
    let mut topics = vec![
        views,
        topic("video.likes", Shape::Flat, &["userId", "videoId"], &[0, 1], &["video.like", "video.unlike"]),
        Topic { track: true, ..topic("order.created", Shape::Nested, &["orderId"], &[0], &["order.created"]) },
        Topic { track: true, ..topic("order.paid", Shape::Nested, &["orderId"], &[0], &["order.paid"]) },
        topic("plain", Shape::Bare, &["id"], &[], &["plain"]),
        topic("stream.events", Shape::Wide, &["source"], &[0], &["stream.started", "stream.ended"]),
        topic("cloud", Shape::CloudEvents, &["source", "userId"], &[0, 1], &["cloud"]),
    ];
    topics.extend(crate::checked::all());
    let by_name = topics.iter().enumerate().map(|(index, topic)| (topic.name.clone(), index)).collect();
    Catalog { names: vec!["test".into()], topics: topics.into_iter().map(Arc::new).collect(), by_name }
}

pub fn topic(name: &str, shape: Shape, fields: &[&str], key: &[u16], events: &[&str]) -> Topic {
    Topic {
        name: name.into(),
        catalog: "test".into(),
        key: key.to_vec(),
        shapes: vec![shape],
        publish_shape: shape,
        partitions: 6,
        replication: None,
        retention_ms: 1,
        compression: None,
        identity: vec![],
        dedupe: DedupeWindow { window_ms: 1, offsets: 1 },
        track: false,
        retry: TopicRetry::default(),
        priority: Priority::Normal,
        sensitive: vec![],
        fields: fields.iter().map(|field| (*field).into()).collect(),
        events: events.iter().map(crate::checked::event_type).collect(),
        fingerprint: Fingerprint(0),
        hash: 0,
        text: "".into(),
    }
}

fn template(parts: Vec<Part>) -> Template {
    let text: String = parts.iter().map(|part| if let Part::Literal(text) = part { text } else { "{f}" }).collect();
    Template { text: text.into(), parts }
}

fn literal(text: &str) -> Part {
    Part::Literal(text.into())
}

fn field(slot: u16) -> Part {
    Part::Field { slot, optional: false }
}
