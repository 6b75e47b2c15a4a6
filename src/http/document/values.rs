//! Values that requests give in several places, as the document says them: neither more nor less than what is taken. Each is a
//! type that stands for the value in descriptions alone.

use serde_json::Value;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{
        KnownFormat, ObjectBuilder, OneOfBuilder, RefOr, Schema, SchemaFormat, Type,
        schema::{AdditionalProperties, ArrayBuilder, SchemaType},
    },
};

use crate::{
    catalog::plan,
    http::{MAX_ITEMS, MAX_KEY_BYTES, dlq::MAX_BY_CHARS},
    runtime::publish::MAX_EVENT_ID_BYTES,
};

/// Up to 20 s, as a catalogue writes durations.
const WAIT: &str = "^(([0-9]|1[0-9]|20)s|([0-9]{1,4}|1[0-9]{4}|20000)ms)$";
/// Events as receipts name them: `topic:partition:offset`, up to 16.
const AFTER: &str =
    "^[A-Za-z0-9._-]{1,249}:[0-9]{1,9}:[0-9]{1,18}(,[A-Za-z0-9._-]{1,249}:[0-9]{1,9}:[0-9]{1,18}){0,15}$";
/// A place in a topic, which may be named.
const SPOT: &str = "^([A-Za-z0-9._-]{1,249}:)?[0-9]{1,9}:[0-9]{1,18}$";
/// So long ago.
const AGO: &str = "^[0-9]{1,9}[smhd]$";
/// Milliseconds since 1970.
const MILLIS: &str = "^[0-9]{1,18}$";
/// Those of the years 1653 to 2286.
const ANY_MILLIS: &str = "^-?[0-9]{1,13}$";
/// Where a page of dead letters ended: partition, offset, time.
const LETTERS_CURSOR: &str = "^[0-9]{1,9}\\.[0-9]{1,18}\\.-?[0-9]{1,18}$";
/// Visible ASCII, in quotes or not.
const IDEMPOTENCY_KEY: &str = "^(\"[ -~]+\"|[!#-~]([ -~]*[!-~])?)$";
/// No control characters.
const BY: &str = "^[^\\u0000-\\u001f\\u007f-\\u009f]*$";

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident = $schema:expr;)*) => {$(
        $(#[$doc])*
        pub(in crate::http) struct $name;

        impl PartialSchema for $name {
            fn schema() -> RefOr<Schema> {
                $schema.into()
            }
        }

        impl ToSchema for $name {}
    )*};
}

values! {
    /// A key.
    Key = text().min_length(Some(1)).max_length(Some(MAX_KEY_BYTES));
    /// How long a request waits.
    Wait = fitting(WAIT);
    /// What a request waits for.
    After = fitting(AFTER);
    /// A UTC day.
    Day = text().format(Some(SchemaFormat::KnownFormat(KnownFormat::Date)));
    /// A time.
    Time = OneOfBuilder::new().item(date_time()).item(fitting(ANY_MILLIS));
    /// A time, also as so long ago.
    Moment = OneOfBuilder::new().item(date_time()).item(fitting(MILLIS)).item(fitting(AGO));
    /// A place in a topic.
    Place = fitting(SPOT);
    /// Where a page of dead letters ended.
    LettersCursor = fitting(LETTERS_CURSOR);
    /// How many items of a page.
    Limit = number(MAX_ITEMS as i64);
    /// How many records a second.
    Rate = number(u32::MAX.into());
    /// How many records.
    Records = number(i64::MAX);
    /// What an event is published once by.
    IdempotencyKey = fitting(IDEMPOTENCY_KEY).min_length(Some(1)).max_length(Some(MAX_EVENT_ID_BYTES));
    /// An event's id.
    EventId = text().min_length(Some(1)).max_length(Some(MAX_EVENT_ID_BYTES));
    /// A priority.
    Priority = text().enum_values(Some(plan::Priority::ALL.map(|priority| Value::from(priority.name()))));
    /// Who acts.
    By = fitting(BY).max_length(Some(MAX_BY_CHARS));
    /// Counters by name, or by the beginning of their names: one or the other, which a derived schema would not say.
    CountersBy = OneOfBuilder::new().item(by_name()).item(by_prefix());
}

fn text() -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::String)
}

fn fitting(pattern: &str) -> ObjectBuilder {
    text().pattern(Some(pattern))
}

fn date_time() -> ObjectBuilder {
    text().format(Some(SchemaFormat::KnownFormat(KnownFormat::DateTime)))
}

fn number(most: i64) -> ObjectBuilder {
    ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(1_i64)).maximum(Some(most))
}

/// With null, which says the same as leaving the member out.
fn optional(schema: ObjectBuilder, kind: Type, description: &str) -> ObjectBuilder {
    schema.schema_type(SchemaType::from_iter([kind, Type::Null])).description(Some(description))
}

fn by_name() -> ObjectBuilder {
    let keys = ArrayBuilder::new().items(Key::schema()).max_items(Some(MAX_ITEMS)).description(Some("Names"));
    closed().property("keys", keys).required("keys")
}

fn by_prefix() -> ObjectBuilder {
    let prefix = text().description(Some("The beginning of the names; a bounded scan of what is stored"));
    let limit = "How many names to look at; default 100. A page may be shorter, or empty";
    let limit = optional(number(MAX_ITEMS as i64), Type::Integer, limit);
    let cursor = optional(text(), Type::String, "Where the former page ended");
    closed().property("prefix", prefix).required("prefix").property("limit", limit).property("cursor", cursor)
}

/// An object that has no other members than those that are named.
fn closed() -> ObjectBuilder {
    ObjectBuilder::new().additional_properties(Some(AdditionalProperties::FreeForm(false)))
}
