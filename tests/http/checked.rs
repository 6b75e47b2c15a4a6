//! Topics whose events must fit a schema, and event types that need nothing.

use streamgauge::catalog::{
    plan::{EventType, Shape, Topic},
    schema::Schema,
};

use crate::catalog::topic;

/// A nested one, whose data has a whole number `total` and nothing else, and a flat one that needs a user.
pub fn all() -> [Topic; 2] {
    let total = r#"{"properties": {"total": {"type": "integer"}}, "additionalProperties": false}"#;
    let user = r#"{"required": ["type", "userId"], "properties": {"type": {"const": "view"}}}"#;
    [
        checked(topic("order.checked", Shape::Nested, &[], &[], &["order.checked"]), total),
        checked(topic("views.checked", Shape::Flat, &[], &[], &["view"]), user),
    ]
}

fn checked(mut topic: Topic, schema: &str) -> Topic {
    topic.events[0].schema = Some(Schema::parse(schema).unwrap());
    topic
}

/// An event type that needs nothing and does nothing.
pub fn event_type(name: &&str) -> EventType {
    EventType { name: (*name).into(), version: "1".into(), required: vec![], schema: None, rules: vec![] }
}
