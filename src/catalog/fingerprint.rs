//! The fingerprint of a topic: everything that decides what its records become, and nothing else.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::plan::{Action, Amount, Decimal, IdentityPart, Slot, Topic};
use crate::model::Fingerprint;

/// Raised whenever decoding turns the same bytes into another event.
const DECODER_VERSION: u32 = 1;
/// Raised whenever identities or origins are made in another way.
const HASH_VERSION: u32 = 1;

#[derive(Deserialize, Serialize)]
pub(super) struct Canonical<'t> {
    pub(super) topic: Cow<'t, str>,
    pub(super) decoder: u32,
    pub(super) hash: u32,
    pub(super) shards: u16,
    pub(super) shapes: Vec<Cow<'t, str>>,
    pub(super) identity: Vec<Cow<'t, str>>,
    pub(super) window_ms: i64,
    pub(super) offsets: i64,
    pub(super) events: Vec<CanonicalEvent<'t>>,
}

#[derive(Deserialize, Serialize)]
pub(super) struct CanonicalEvent<'t> {
    pub(super) r#type: Cow<'t, str>,
    pub(super) version: Cow<'t, str>,
    pub(super) required: Vec<Cow<'t, str>>,
    /// Its text. Left out where there is none, so that rules of before have the fingerprint that they had.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) schema: Option<Cow<'t, str>>,
    pub(super) rules: Vec<CanonicalRule<'t>>,
}

#[derive(Deserialize, Serialize)]
#[serde(tag = "rule", rename_all = "lowercase")]
pub(super) enum CanonicalRule<'t> {
    Count {
        key: Cow<'t, str>,
        by: CanonicalAmount<'t>,
        /// Left out where there is none, so that rules of before have the fingerprint that they had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        retention_ms: Option<i64>,
    },
    Max {
        key: Cow<'t, str>,
        of: CanonicalAmount<'t>,
    },
    Last {
        key: Cow<'t, str>,
        of: CanonicalAmount<'t>,
    },
    Unique {
        key: Cow<'t, str>,
        of: Cow<'t, str>,
        per_day: bool,
        retention_ms: Option<i64>,
    },
    Recent {
        key: Cow<'t, str>,
        of: Cow<'t, str>,
        cap: usize,
    },
    Top {
        key: Cow<'t, str>,
        of: Cow<'t, str>,
        by: CanonicalAmount<'t>,
        windows: Vec<(Cow<'t, str>, i64)>,
        retention_ms: i64,
    },
    Member {
        key: Cow<'t, str>,
        of: Cow<'t, str>,
        add: bool,
        moves: Option<Cow<'t, str>>,
        /// Left out where there is none, so that rules of before have the fingerprint that they had.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        tombstones_ms: Option<i64>,
    },
    Forward {
        topic: Cow<'t, str>,
        key: Option<Cow<'t, str>>,
    },
}

#[derive(Deserialize, Serialize)]
#[serde(untagged)]
pub(super) enum CanonicalAmount<'t> {
    Constant(i64),
    Field {
        field: Cow<'t, str>,
        scale: u32,
        /// This and the next are left out where they say nothing, so that rules of before have the fingerprint that they had.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        optional: bool,
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        negate: bool,
    },
}

impl<'t> CanonicalAmount<'t> {
    fn of_field(topic: &'t Topic, decimal: Decimal, negate: bool) -> Self {
        let Decimal { slot, scale, optional } = decimal;
        Self::Field { field: name(topic, slot).into(), scale, optional, negate }
    }

    fn of(topic: &'t Topic, amount: &Amount) -> Self {
        match amount {
            Amount::Constant(number) => Self::Constant(*number),
            Amount::Field(decimal) => Self::of_field(topic, *decimal, false),
            Amount::Negated(decimal) => Self::of_field(topic, *decimal, true),
        }
    }
}

fn name(topic: &Topic, slot: Slot) -> &str {
    topic.fields.get(usize::from(slot)).map_or("", |name| name)
}

fn rule<'t>(topic: &'t Topic, action: &'t Action) -> CanonicalRule<'t> {
    match action {
        Action::Count { key, by, retention_ms } => CanonicalRule::Count {
            key: (&*key.text).into(),
            by: CanonicalAmount::of(topic, by),
            retention_ms: *retention_ms,
        },
        Action::Max { key, of } => {
            CanonicalRule::Max { key: (&*key.text).into(), of: CanonicalAmount::of_field(topic, *of, false) }
        }
        Action::Last { key, of } => {
            CanonicalRule::Last { key: (&*key.text).into(), of: CanonicalAmount::of_field(topic, *of, false) }
        }
        Action::Unique { key, of, per_day, retention_ms } => CanonicalRule::Unique {
            key: (&*key.text).into(),
            of: (&*of.text).into(),
            per_day: *per_day,
            retention_ms: *retention_ms,
        },
        Action::Recent { key, of, cap } => {
            CanonicalRule::Recent { key: (&*key.text).into(), of: (&*of.text).into(), cap: *cap }
        }
        Action::Top { key, of, by, windows, retention_ms } => CanonicalRule::Top {
            key: (&*key.text).into(),
            of: (&*of.text).into(),
            by: CanonicalAmount::of(topic, by),
            windows: windows.iter().map(|window| ((&*window.label).into(), window.length_ms)).collect(),
            retention_ms: *retention_ms,
        },
        Action::Member { key, of, is_add, moves, tombstones_ms } => CanonicalRule::Member {
            key: (&*key.text).into(),
            of: (&*of.text).into(),
            add: *is_add,
            moves: moves.as_ref().map(|moves| (&*moves.text).into()),
            tombstones_ms: *tombstones_ms,
        },
        Action::Forward { topic, key } => {
            CanonicalRule::Forward { topic: (&**topic).into(), key: key.as_ref().map(|key| (&*key.text).into()) }
        }
    }
}

/// The canonical JSON of a topic: the same for two files that say the same in another order or with other comments. `shards`
/// is how many the store has: it decides where a key lies, and so what a shard's checkpoint means.
///
/// # Errors
/// Never in fact: all of it is text and numbers, which JSON has.
pub(super) fn canonical_text(topic: &Topic, shards: u16) -> Result<String, serde_json::Error> {
    let identity = |part: &IdentityPart| {
        Cow::from(match part {
            IdentityPart::Id => "id",
            IdentityPart::Type => "type",
            IdentityPart::Timestamp => "timestamp",
            IdentityPart::Field(slot) => name(topic, *slot),
        })
    };
    let mut events: Vec<CanonicalEvent<'_>> = topic
        .events
        .iter()
        .map(|event| {
            let mut required: Vec<Cow<'_, str>> = event.required.iter().map(|slot| name(topic, *slot).into()).collect();
            required.sort_unstable();
            let rules = event.rules.iter().map(|entry| rule(topic, &entry.action)).collect();
            let schema = event.schema.as_ref().map(|schema| schema.text().into());
            CanonicalEvent { r#type: (&*event.name).into(), version: (&*event.version).into(), required, schema, rules }
        })
        .collect();
    events.sort_by(|a, b| (&a.r#type, &a.version).cmp(&(&b.r#type, &b.version)));
    serde_json::to_string(&Canonical {
        topic: (&*topic.name).into(),
        decoder: DECODER_VERSION,
        hash: HASH_VERSION,
        shards,
        shapes: topic.shapes.iter().map(|shape| shape.name().into()).collect(),
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
