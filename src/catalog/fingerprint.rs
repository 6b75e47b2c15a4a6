//! The fingerprint of a topic: everything that decides what its records become, and nothing else.

use serde::Serialize;

use super::plan::{Action, Amount, Decimal, IdentityPart, Slot, Topic};
use crate::model::Fingerprint;

/// Raised whenever decoding turns the same bytes into another event.
const DECODER_VERSION: u32 = 1;
/// Raised whenever identities or origins are made in another way.
const HASH_VERSION: u32 = 1;
/// Shards of the store. More than one come with `STORE_SHARDS`.
const SHARDS: u32 = 1;

#[derive(Serialize)]
struct Canonical<'t> {
    topic: &'t str,
    decoder: u32,
    hash: u32,
    shards: u32,
    shapes: Vec<&'static str>,
    identity: Vec<&'t str>,
    window_ms: i64,
    offsets: i64,
    events: Vec<CanonicalEvent<'t>>,
}

#[derive(Serialize)]
struct CanonicalEvent<'t> {
    r#type: &'t str,
    version: &'t str,
    required: Vec<&'t str>,
    rules: Vec<CanonicalRule<'t>>,
}

#[derive(Serialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
enum CanonicalRule<'t> {
    Count { key: &'t str, by: CanonicalAmount<'t> },
    Max { key: &'t str, of: CanonicalAmount<'t> },
    Last { key: &'t str, of: CanonicalAmount<'t> },
    Unique { key: &'t str, of: &'t str, per_day: bool, retention_ms: Option<i64> },
    Recent { key: &'t str, of: &'t str, cap: usize },
    Top { key: &'t str, of: &'t str, by: CanonicalAmount<'t>, windows: Vec<(&'t str, i64)>, retention_ms: i64 },
    Member { key: &'t str, of: &'t str, add: bool, moves: Option<&'t str> },
    Forward { topic: &'t str, key: Option<&'t str> },
}

#[derive(Serialize)]
#[serde(untagged)]
enum CanonicalAmount<'t> {
    Constant(i64),
    Field { field: &'t str, scale: u32 },
}

impl<'t> CanonicalAmount<'t> {
    fn of_field(topic: &'t Topic, decimal: Decimal) -> Self {
        Self::Field { field: name(topic, decimal.slot), scale: decimal.scale }
    }

    fn of(topic: &'t Topic, amount: &Amount) -> Self {
        match amount {
            Amount::Constant(number) => Self::Constant(*number),
            Amount::Field(decimal) => Self::of_field(topic, *decimal),
        }
    }
}

fn name(topic: &Topic, slot: Slot) -> &str {
    topic.fields.get(usize::from(slot)).map_or("", |name| name)
}

fn rule<'t>(topic: &'t Topic, action: &'t Action) -> CanonicalRule<'t> {
    match action {
        Action::Count { key, by } => CanonicalRule::Count { key: &key.text, by: CanonicalAmount::of(topic, by) },
        Action::Max { key, of } => CanonicalRule::Max { key: &key.text, of: CanonicalAmount::of_field(topic, *of) },
        Action::Last { key, of } => CanonicalRule::Last { key: &key.text, of: CanonicalAmount::of_field(topic, *of) },
        Action::Unique { key, of, per_day, retention_ms } => {
            CanonicalRule::Unique { key: &key.text, of: &of.text, per_day: *per_day, retention_ms: *retention_ms }
        }
        Action::Recent { key, of, cap } => CanonicalRule::Recent { key: &key.text, of: &of.text, cap: *cap },
        Action::Top { key, of, by, windows, retention_ms } => CanonicalRule::Top {
            key: &key.text,
            of: &of.text,
            by: CanonicalAmount::of(topic, by),
            windows: windows.iter().map(|window| (&*window.label, window.length_ms)).collect(),
            retention_ms: *retention_ms,
        },
        Action::Member { key, of, is_add, moves } => CanonicalRule::Member {
            key: &key.text,
            of: &of.text,
            add: *is_add,
            moves: moves.as_ref().map(|moves| &*moves.text),
        },
        Action::Forward { topic, key } => CanonicalRule::Forward { topic, key: key.as_ref().map(|key| &*key.text) },
    }
}

/// The canonical JSON of a topic: the same for two files that say the same in another order or with other comments.
///
/// # Errors
/// Never in fact: all of it is text and numbers, which JSON has.
pub(super) fn canonical_text(topic: &Topic) -> Result<String, serde_json::Error> {
    let identity = |part: &IdentityPart| match part {
        IdentityPart::Id => "id",
        IdentityPart::Type => "type",
        IdentityPart::Timestamp => "timestamp",
        IdentityPart::Field(slot) => name(topic, *slot),
    };
    let mut events: Vec<CanonicalEvent<'_>> = topic
        .events
        .iter()
        .map(|event| {
            let mut required: Vec<&str> = event.required.iter().map(|slot| name(topic, *slot)).collect();
            required.sort_unstable();
            let rules = event.rules.iter().map(|entry| rule(topic, &entry.action)).collect();
            CanonicalEvent { r#type: &event.name, version: &event.version, required, rules }
        })
        .collect();
    events.sort_by_key(|event| (event.r#type, event.version));
    serde_json::to_string(&Canonical {
        topic: &topic.name,
        decoder: DECODER_VERSION,
        hash: HASH_VERSION,
        shards: SHARDS,
        shapes: topic.shapes.iter().map(|shape| shape.name()).collect(),
        identity: topic.identity.iter().map(identity).collect(),
        window_ms: topic.dedupe.window_ms,
        offsets: topic.dedupe.offsets,
        events,
    })
}

/// 128 bits of a canonical text.
pub(super) fn fingerprint(text: &str) -> Fingerprint {
    Fingerprint(xxhash_rust::xxh3::xxh3_128(text.as_bytes()))
}
