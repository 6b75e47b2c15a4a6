//! The compiled form of catalogues: what the hot path runs.
//!
//! Field names are slots (indexes into [`Topic::fields`]) here, templates are parts, durations are milliseconds.
//! Longer than most files, since it is one set of types that is read as a whole.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{retry::TopicRetry, schema::Schema};
use crate::model::Fingerprint;

/// The catalogues in force, together.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    /// Names of the catalogues, as chosen.
    pub names: Vec<String>,
    /// Every topic with events, in the order of the files.
    pub topics: Vec<Arc<Topic>>,
    /// Index into `topics` by name.
    pub by_name: HashMap<Arc<str>, usize>,
}

impl Catalog {
    /// The topic of this name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.by_name.get(name).map(|index| &self.topics[*index])
    }
}

/// The shape of an event on the wire (SPEC 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shape {
    /// CloudEvents 1.0: `{"specversion":"1.0","id","source","type","time"?,"data"?}`, or the data alone with the others in
    /// headers `ce_*`.
    CloudEvents,
    /// `{"metadata":{…},"data":{…}}`.
    Nested,
    /// `{"eventId","eventType","source","timestamp","version"?,"data":{…},"metadata"?:{…}}`.
    Wide,
    /// `{"type", …fields}`.
    Flat,
    /// A plain object on a topic that has one event type; also wrapped as `{"pattern","data"}`.
    Bare,
}

/// How urgent an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// After everything else.
    Low,
    /// The default.
    #[default]
    Normal,
    /// Before normal.
    High,
    /// Flushed within 20 ms.
    Critical,
}

impl Priority {
    /// All of them, the most urgent first.
    pub const ALL: [Self; 4] = [Self::Critical, Self::High, Self::Normal, Self::Low];

    /// Its name in events, headers and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::High => "high",
            Self::Normal => "normal",
            Self::Low => "low",
        }
    }

    /// The priority of a name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|priority| priority.name() == name)
    }
}

/// Compression of a topic's record batches, as a publisher writes them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Compression {
    /// None.
    None,
    /// gzip, the default.
    #[default]
    Gzip,
    /// Snappy.
    Snappy,
    /// LZ4.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// A topic and everything that its events do.
#[derive(Clone, Debug)]
pub struct Topic {
    /// Name.
    pub name: Arc<str>,
    /// The catalogue that it comes from.
    pub catalog: String,
    /// Slots of the fields that choose the partition.
    pub key: Vec<Slot>,
    /// Accepted shapes, in the order in which they are told apart.
    pub shapes: Vec<Shape>,
    /// The shape that HTTP publishing writes: the first that the topic names, else nested.
    pub publish_shape: Shape,
    /// Number of partitions to create.
    pub partitions: i32,
    /// Replication factor; `None` is the broker's default.
    pub replication: Option<i16>,
    /// Retention of the topic's records, milliseconds.
    pub retention_ms: i64,
    /// Compression of published batches; `None` leaves it to `KAFKA_COMPRESSION`.
    pub compression: Option<Compression>,
    /// What makes two events the same; empty means that no event is ever a duplicate.
    pub identity: Vec<IdentityPart>,
    /// How far back duplicates are looked for.
    pub dedupe: DedupeWindow,
    /// What became of its events is told by their ids.
    pub track: bool,
    /// How its events are delivered again, where it says.
    pub retry: TopicRetry,
    /// Default priority of its events.
    pub priority: Priority,
    /// Slots of fields that are masked wherever they would be shown.
    pub sensitive: Vec<Slot>,
    /// Names of all fields that keys, identities, rules and `required` mention.
    pub fields: Vec<Box<str>>,
    /// The event types.
    pub events: Vec<EventType>,
    /// Names the rules of this topic.
    pub fingerprint: Fingerprint,
    /// The topic's number in origins.
    pub hash: u32,
    /// The catalogue text from which the fingerprint was made (canonical JSON of this topic).
    pub text: Arc<str>,
}

impl Topic {
    /// The topic that takes its dead letters.
    pub fn dead_letter_topic(&self) -> String {
        dead_letter_topic(&self.name)
    }

    /// The event type of this name; of several versions the newest.
    pub fn event_type(&self, name: &str) -> Option<&EventType> {
        self.events.iter().rev().find(|event| &*event.name == name)
    }

    /// The topics that rules forward to.
    pub fn forward_targets(&self) -> impl Iterator<Item = &str> {
        self.events.iter().flat_map(|event| &event.rules).filter_map(|rule| match &rule.action {
            Action::Forward { topic, .. } => Some(&**topic),
            _ => None,
        })
    }
}

/// The topic that takes the dead letters of `topic`.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}

/// Index into [`Topic::fields`].
pub type Slot = u16;

/// A part of an event's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentityPart {
    /// The event's own id.
    Id,
    /// The event's type.
    Type,
    /// The event's own time (the record's time is no timestamp).
    Timestamp,
    /// A field.
    Field(Slot),
}

/// How far back duplicates are looked for (EXACTLY_ONCE, "Duplicates").
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DedupeWindow {
    /// W, milliseconds between the times of two events.
    pub window_ms: i64,
    /// N, offsets between two records.
    pub offsets: i64,
}

/// One event type of a topic, in one version.
#[derive(Clone, Debug)]
pub struct EventType {
    /// Name, as `video.view`.
    pub name: Box<str>,
    /// Version with trailing zeros cut: `1`, `1.0` and `1.0.0` are all `1`.
    pub version: Box<str>,
    /// Fields that must be there.
    pub required: Vec<Slot>,
    /// What its data must fit.
    pub schema: Option<Arc<Schema>>,
    /// What the event does.
    pub rules: Vec<Rule>,
}

/// A rule with the number of its effect.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Number of the effect within the event type, from 0.
    pub effect: u16,
    /// What it does.
    pub action: Action,
}

/// What a rule does (CATALOGUES, the table of rules).
#[derive(Clone, Debug)]
pub enum Action {
    /// Adds to a counter.
    Count {
        /// The counter.
        key: Template,
        /// How much.
        by: Amount,
        /// How long the key lives after the day that it names has ended, milliseconds; `None` for ever.
        retention_ms: Option<i64>,
    },
    /// Keeps the highest value.
    Max {
        /// The counter.
        key: Template,
        /// The value.
        of: Decimal,
    },
    /// Keeps the value of the latest event.
    Last {
        /// The counter.
        key: Template,
        /// The value.
        of: Decimal,
    },
    /// Counts distinct elements, approximately.
    Unique {
        /// The key, to which the day is added where `per_day`.
        key: Template,
        /// The element.
        of: Template,
        /// One key a day; else one for ever.
        per_day: bool,
        /// How long a day's key lives after its day has ended, milliseconds; only with `per_day`.
        retention_ms: Option<i64>,
    },
    /// Keeps the newest elements.
    Recent {
        /// The key.
        key: Template,
        /// The element.
        of: Template,
        /// How many.
        cap: usize,
    },
    /// Sums per element and tumbling window.
    Top {
        /// The key, to which window and start are added.
        key: Template,
        /// The element.
        of: Template,
        /// How much.
        by: Amount,
        /// The windows.
        windows: Vec<Window>,
        /// How long a window's key lives after the window has ended, milliseconds.
        retention_ms: i64,
    },
    /// Puts an element into a set or takes it out.
    Member {
        /// The set.
        key: Template,
        /// The element.
        of: Template,
        /// In, or out.
        is_add: bool,
        /// The counter that moves by one where the presence really changed.
        moves: Option<Template>,
        /// `order = "time"`: how long a store remembers what was taken out, milliseconds. `None` where the log's order decides.
        tombstones_ms: Option<i64>,
    },
    /// Publishes the event to another topic.
    Forward {
        /// That topic.
        topic: Box<str>,
        /// The key of the record there; `None` keeps the record's own.
        key: Option<Template>,
    },
}

/// How much is added.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Amount {
    /// A constant.
    Constant(i64),
    /// A field.
    Field(Decimal),
    /// A field that is taken away.
    Negated(Decimal),
}

/// A decimal field, scaled to an exact integer: with scale 2, 199.99 is 19999.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decimal {
    /// The field.
    pub slot: Slot,
    /// Digits after the point that are kept; more are an error.
    pub scale: u32,
    /// The rule is skipped where the field is missing; else the event is a dead letter.
    pub optional: bool,
}

/// A tumbling UTC window, whole hours or days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// As written: `1h`, `1d`.
    pub label: Box<str>,
    /// Length, milliseconds: a divisor or a multiple of a day.
    pub length_ms: i64,
}

/// A key, element or record key with fields to fill in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Template {
    /// As written.
    pub text: Box<str>,
    /// Its parts.
    pub parts: Vec<Part>,
}

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// Text as it stands.
    Literal(Box<str>),
    /// A field's value, percent-encoded.
    Field {
        /// The field.
        slot: Slot,
        /// The rule is skipped where the field is missing; else the event is a dead letter.
        optional: bool,
    },
    /// The event's type.
    Type,
    /// The UTC day of the event, `2026-11-21`.
    Day,
    /// The UTC hour of the event, `2026-11-21T10`.
    Hour,
    /// The topic.
    Topic,
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl Shape {
    /// All of them, in the order in which they are told apart where a topic names none. A shape's number is its place here.
    pub const ALL: [Self; 5] = [Self::CloudEvents, Self::Nested, Self::Wide, Self::Flat, Self::Bare];

    /// The name in catalogues.
    pub fn name(self) -> &'static str {
        match self {
            Self::CloudEvents => "cloudevents",
            Self::Nested => "nested",
            Self::Wide => "wide",
            Self::Flat => "flat",
            Self::Bare => "bare",
        }
    }
}
