//! Orders as the commerce catalogue has them, each held against a JSON Schema.

use std::sync::Arc;

use anyhow::Context;

use crate::catalog::{
    plan::{Catalog, Topic},
    schema::read_text,
};

/// What is measured.
pub(super) const RULES: &str = "those of order.created, behind a JSON Schema";

/// What an order's data must look like.
const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "required": ["orderId", "userId", "totalAmount", "currency", "items"],
  "properties": {
    "orderId": { "type": "string", "minLength": 1 },
    "userId": { "type": "string", "minLength": 1 },
    "totalAmount": { "type": "number", "minimum": 0 },
    "currency": { "enum": ["EUR", "USD", "BRL"] },
    "items": {
      "type": "array",
      "minItems": 1,
      "items": {
        "type": "object",
        "required": ["productId", "quantity"],
        "properties": { "productId": { "type": "string" }, "quantity": { "type": "integer", "minimum": 1 }, "price": { "type": "number" } }
      }
    },
    "shipping": { "type": "object", "required": ["country"], "properties": { "country": { "type": "string" } } }
  }
}"#;

/// The topic with the rules of order.created.
pub(super) fn catalogue(topic: &str, partitions: i32) -> String {
    format!(
        "name = \"bench\"\n[[topic]]\nname = \"{topic}\"\nkey = [\"orderId\"]\nshape = [\"nested\"]\npartitions = {partitions}\n\
         [[topic.event]]\ntype = \"order.created\"\nrequired = [\"userId\", \"totalAmount\"]\nrules = [\n\
         {{ count = \"events:{{type}}:{{day}}\" }},\n{{ count = \"revenue:{{day}}\", by = {{ field = \"totalAmount\", scale = 2 }} }},\n\
         {{ count = \"user:{{userId}}:orders\" }}\n]\n"
    )
}

/// Gives the event its schema, as a catalogue gets it from a file beside it.
pub(super) fn hold_against_schema(catalog: &mut Catalog) -> anyhow::Result<()> {
    let schema = read_text("the bench's schema", SCHEMA).map_err(anyhow::Error::msg)?;
    let first = catalog.topics.first_mut().context("the bench has a topic")?;
    let mut topic = Topic::clone(first);
    for event in &mut topic.events {
        event.schema = Some(Arc::clone(&schema));
    }
    *first = Arc::new(topic);
    Ok(())
}

/// The id of an order.
pub(super) fn id(number: u64) -> String {
    format!("o{number:012}")
}

/// An event.
pub(super) fn event(number: u64, user: u64, draw: u64, time_ms: i64) -> String {
    let (order, cents, product) = (id(number), draw % 100_000, draw % 5_000);
    let amount = format!("{}.{:02}", cents / 100, cents % 100);
    format!(
        "{{\"metadata\":{{\"eventId\":\"e{number:012}\",\"eventType\":\"order.created\",\"timestamp\":{time_ms},\"version\":\"1.0\",\
         \"priority\":\"normal\",\"source\":\"order-service\",\"correlationId\":\"c{number:012}\",\"userId\":\"u{user:06}\"}},\
         \"data\":{{\"orderId\":\"{order}\",\"userId\":\"u{user:06}\",\"totalAmount\":{amount},\"currency\":\"EUR\",\
         \"items\":[{{\"productId\":\"p{product:05}\",\"quantity\":2,\"price\":{amount}}},\
         {{\"productId\":\"p00001\",\"quantity\":1,\"price\":0.5}}],\
         \"shipping\":{{\"country\":\"DE\",\"city\":\"Berlin\",\"method\":\"parcel\"}}}}}}"
    )
}
