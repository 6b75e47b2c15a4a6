//! Rules from the text that is kept under their fingerprint: what counts a partition up to where the next rules begin.

use super::{
    draft,
    fingerprint::{Canonical, CanonicalAmount, CanonicalRule, canonical_text, fingerprint},
    plan::{
        Action, Amount, Decimal, DedupeWindow, EventType, IdentityPart, Part, Rule, Shape, Slot, Template, Topic,
        Window,
    },
    schema::Schema,
    template::{self, NamedPart},
};
use crate::model::{Fingerprint, Swap};

/// Why a kept text cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeptError {
    /// The text is not one that this program could have written.
    #[error("the kept text of the rules {0} cannot be read: {1}")]
    Unreadable(Fingerprint, String),
    /// The text says something that this version means in another way.
    #[error("the rules {0} were made by another version of streamgauge, which decodes records in another way")]
    OtherVersion(Fingerprint),
}

type Fields = Vec<Box<str>>;

impl Topic {
    /// What keeps the text of its rules in a store, for ever, where it is not there yet.
    pub fn keep_text(&self) -> Swap {
        let text = self.text.as_bytes().to_vec();
        Swap { name: self.fingerprint.document(), expect: None, next: Some(text), ttl_ms: None }
    }

    /// The topic under rules whose text was kept. What rules do not decide (partitions, retention, priority and the like) is
    /// as here.
    ///
    /// # Errors
    /// The text cannot be read, or this version would not count by it as the one did that kept it.
    pub fn under_kept_rules(&self, wanted: Fingerprint, text: &str) -> Result<Self, KeptError> {
        let unreadable = |why: &str| KeptError::Unreadable(wanted, why.to_owned());
        let kept: Canonical<'_> = serde_json::from_str(text).map_err(|error| unreadable(&error.to_string()))?;
        let mut fields = Fields::new();
        let mut topic = Self {
            key: Vec::new(),
            sensitive: Vec::new(),
            shapes: kept.shapes.iter().filter_map(|name| shape(name)).collect(),
            identity: kept.identity.iter().filter_map(|name| identity(name, &mut fields)).collect(),
            dedupe: DedupeWindow { window_ms: kept.window_ms, offsets: kept.offsets },
            events: Vec::new(),
            ..self.clone()
        };
        for event in &kept.events {
            let action = |rule: &CanonicalRule<'_>| action(rule, &mut fields);
            let actions: Option<Vec<Action>> = event.rules.iter().map(action).collect();
            let actions = actions.ok_or_else(|| unreadable("a rule of it is none"))?;
            let required: Option<Vec<Slot>> =
                event.required.iter().map(|field| draft::intern(&mut fields, field)).collect();
            let schema = event.schema.as_deref().map(Schema::parse).transpose();
            topic.events.push(EventType {
                name: (&*event.r#type).into(),
                version: (&*event.version).into(),
                required: required.ok_or_else(|| unreadable("it mentions too many fields"))?,
                schema: schema.map_err(|why| unreadable(&why))?,
                rules: (0..).zip(actions).map(|(effect, action)| Rule { effect, action }).collect(),
            });
        }
        // Of several versions of a type the newest stands last.
        topic.events.sort_by_cached_key(|event| {
            let numbers: Vec<u64> = event.version.split('.').filter_map(|number| number.parse().ok()).collect();
            (event.name.clone(), numbers)
        });
        topic.fields = fields;
        // What was read must say the same again, word for word: then it is what was counted by.
        let again = canonical_text(&topic, kept.shards).map_err(|error| unreadable(&error.to_string()))?;
        if again != text || fingerprint(&again) != wanted {
            return Err(KeptError::OtherVersion(wanted));
        }
        topic.fingerprint = wanted;
        topic.text = again.into();
        Ok(topic)
    }
}

fn shape(name: &str) -> Option<Shape> {
    Shape::ALL.into_iter().find(|shape| shape.name() == name)
}

fn identity(name: &str, fields: &mut Fields) -> Option<IdentityPart> {
    match name {
        "id" => Some(IdentityPart::Id),
        "type" => Some(IdentityPart::Type),
        "timestamp" => Some(IdentityPart::Timestamp),
        _ => draft::intern(fields, name).map(IdentityPart::Field),
    }
}

fn action(rule: &CanonicalRule<'_>, fields: &mut Fields) -> Option<Action> {
    Some(match rule {
        CanonicalRule::Count { key, by, retention_ms } => {
            Action::Count { key: template(key, fields)?, by: amount(by, fields)?, retention_ms: *retention_ms }
        }
        CanonicalRule::Max { key, of } => Action::Max { key: template(key, fields)?, of: decimal(of, fields)? },
        CanonicalRule::Last { key, of } => Action::Last { key: template(key, fields)?, of: decimal(of, fields)? },
        CanonicalRule::Unique { key, of, per_day, retention_ms } => Action::Unique {
            key: template(key, fields)?,
            of: template(of, fields)?,
            per_day: *per_day,
            retention_ms: *retention_ms,
        },
        CanonicalRule::Recent { key, of, cap } => {
            Action::Recent { key: template(key, fields)?, of: template(of, fields)?, cap: *cap }
        }
        CanonicalRule::Top { key, of, by, windows, retention_ms } => Action::Top {
            key: template(key, fields)?,
            of: template(of, fields)?,
            by: amount(by, fields)?,
            windows: windows
                .iter()
                .map(|(label, length_ms)| Window { label: (&**label).into(), length_ms: *length_ms })
                .collect(),
            retention_ms: *retention_ms,
        },
        CanonicalRule::Member { key, of, add, moves, tombstones_ms } => Action::Member {
            key: template(key, fields)?,
            of: template(of, fields)?,
            is_add: *add,
            moves: optional(moves.as_deref(), fields)?,
            tombstones_ms: *tombstones_ms,
        },
        CanonicalRule::Forward { topic, key } => {
            Action::Forward { topic: (&**topic).into(), key: optional(key.as_deref(), fields)? }
        }
    })
}

fn amount(amount: &CanonicalAmount<'_>, fields: &mut Fields) -> Option<Amount> {
    match amount {
        CanonicalAmount::Constant(number) => Some(Amount::Constant(*number)),
        field @ CanonicalAmount::Field { negate: false, .. } => decimal(field, fields).map(Amount::Field),
        field @ CanonicalAmount::Field { .. } => decimal(field, fields).map(Amount::Negated),
    }
}

fn decimal(amount: &CanonicalAmount<'_>, fields: &mut Fields) -> Option<Decimal> {
    match amount {
        CanonicalAmount::Constant(_) => None,
        CanonicalAmount::Field { field, scale, optional, .. } => {
            Some(Decimal { slot: draft::intern(fields, field)?, scale: *scale, optional: *optional })
        }
    }
}

/// A template that may be missing: `None` where it is there and is none.
fn optional(text: Option<&str>, fields: &mut Fields) -> Option<Option<Template>> {
    text.map_or(Some(None), |text| template(text, fields).map(Some))
}

fn template(text: &str, fields: &mut Fields) -> Option<Template> {
    let part = |part: NamedPart<'_>| {
        Some(match part {
            NamedPart::Literal(literal) => Part::Literal(literal.into()),
            NamedPart::Field { name, optional } => Part::Field { slot: draft::intern(fields, name)?, optional },
            NamedPart::Type => Part::Type,
            NamedPart::Day => Part::Day,
            NamedPart::Hour => Part::Hour,
            NamedPart::Topic => Part::Topic,
        })
    };
    let parts: Option<Vec<Part>> = template::parse(text).ok()?.into_iter().map(part).collect();
    Some(Template { text: text.into(), parts: parts? })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{CatalogChoice, Source, compile, plan::Catalog};

    /// Every kind of rule, two versions of a type whose texts sort the other way, shared and optional fields.
    const ALL: &str = r#"
name = "all"
[[topic]]
name = "t"
shape = ["nested", "flat"]
key = ["a"]
identity = ["id", "type", "timestamp", "b"]
dedupe = { window = "2h", offsets = 77 }
sensitive = ["c"]
[[topic.event]]
type = "e"
version = "9"
required = ["z", "a"]
rules = [
  { count = "n:{a}", by = -3 }, { count = "m:{a}", by = { field = "price", scale = 3 } },
  { count = "m:{a}", by = { field = "cost?", scale = 3, negate = true } }, { max = "y:{a}", of = { field = "w?" } },
  { max = "x:{a}", of = { field = "v" } }, { last = "l:{a}", of = { field = "v", scale = 1 } },
  { unique = "u:{a}", of = "{b}" }, { unique = "w:{a}", of = "{b}", per = "ever" },
  { recent = "r:{a}", of = "{type}:{day}:{hour}:{topic}", cap = 7 },
  { top = "t:{a}", of = "{b}", windows = ["1h", "2d"], retention = "3d" },
  { member = "s:{a}", of = "{b}", op = "add", moves = "k:{a}" }, { forward = "other", key = "{a}" },
  { count = "o:{c?}" }, { count = "d:{day}:{c?}", retention = "400d" },
  { member = "p:{a}", of = "{b}", op = "remove", moves = "q:{a}", order = "time", tombstones = "3d" },
]
[[topic.event]]
type = "e"
version = "10.1"
rules = [{ count = "n:{a}" }, { forward = "other" }]
"#;

    fn topics() -> Vec<Topic> {
        let all = compile(&[Source { file: "all.toml".to_owned(), text: ALL.to_owned() }]).unwrap();
        let sharded = all.clone().for_shards(3).unwrap();
        let video = Catalog::load(&CatalogChoice::default()).unwrap();
        let catalogs = [all, sharded, video];
        catalogs.iter().flat_map(|catalog| &catalog.topics).map(|topic| Topic::clone(topic)).collect()
    }

    #[test]
    fn rules_are_what_they_were_when_their_text_was_kept() {
        let topics = topics();
        for topic in &topics {
            let base = Topic { name: topic.name.clone(), ..topics[0].clone() };
            let read = base.under_kept_rules(topic.fingerprint, &topic.text);
            let read = read.unwrap_or_else(|error| panic!("{}: {error}", topic.name));
            assert_eq!((read.fingerprint, &read.text), (topic.fingerprint, &topic.text));
            let names =
                |topic: &Topic| topic.events.iter().map(|e| format!("{} {}", e.name, e.version)).collect::<Vec<_>>();
            let newest = |topic: &Topic| topic.event_type("e").map(|event| event.version.clone());
            assert_eq!(newest(&read), newest(topic));
            let (mut read_names, mut expected) = (names(&read), names(topic));
            read_names.sort();
            expected.sort();
            assert_eq!(read_names, expected);
        }
    }

    #[test]
    fn what_would_be_counted_otherwise_is_refused() {
        let topics = topics();
        let (topic, text) = (&topics[0], &*topics[0].text);
        let refused = |text: &str, fingerprint| topic.under_kept_rules(fingerprint, text).unwrap_err();
        let other = Fingerprint(1);
        assert_eq!(refused(text, other), KeptError::OtherVersion(other));
        for (from, to) in [("\"decoder\":1", "\"decoder\":2"), ("\"flat\"", "\"round\""), ("\"hash\":1", "\"hash\":9")]
        {
            let changed = text.replace(from, to);
            assert_ne!(changed, text);
            let name = fingerprint(&changed);
            assert_eq!(refused(&changed, name), KeptError::OtherVersion(name), "{to}");
        }
        for bad in ["", "{}", "[1]", &text.replace("{a}", "{a"), &text.replace("\"count\"", "\"sum\"")] {
            assert!(matches!(refused(bad, other), KeptError::Unreadable(..)), "{bad}");
        }
    }
}
