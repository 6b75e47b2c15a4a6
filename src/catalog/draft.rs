//! A topic that was read but not yet checked against the others: its plan, and the places of its parts.

use super::{
    finding::Place,
    plan::{EventType, Slot, Topic},
};

/// Most fields that one topic may mention.
pub(super) const MAX_FIELDS: usize = 1_000;
const _: () = assert!(MAX_FIELDS <= Slot::MAX as usize);

/// One file that was read.
#[derive(Debug)]
pub(super) struct DraftFile {
    pub name: String,
    pub topics: Vec<DraftTopic>,
}

/// A topic with the places that findings need.
#[derive(Debug)]
pub(super) struct DraftTopic {
    pub place: Place,
    pub topic: Topic,
    /// Beside `topic.events`, one for each.
    pub events: Vec<DraftEvent>,
}

/// The places of an event type.
#[derive(Debug)]
pub(super) struct DraftEvent {
    pub place: Place,
    /// Beside the rules of the event type, one for each.
    pub rules: Vec<DraftRule>,
}

/// The places of a rule.
#[derive(Clone, Debug)]
pub(super) struct DraftRule {
    /// Of its key or target.
    pub place: Place,
    /// The rule says `shared = true`.
    pub shared: bool,
}

impl DraftTopic {
    /// Each rule with its event type and places.
    pub(super) fn rules(&self) -> impl Iterator<Item = (&EventType, &super::plan::Rule, &DraftRule)> {
        self.topic.events.iter().zip(&self.events).flat_map(|(event, draft)| {
            event.rules.iter().zip(&draft.rules).map(move |(rule, places)| (event, rule, places))
        })
    }
}

/// The slot of a field, given out at its first mention; `None` where there are too many.
pub(super) fn intern(fields: &mut Vec<Box<str>>, name: &str) -> Option<Slot> {
    let index = fields.iter().position(|known| &**known == name).or_else(|| {
        (fields.len() < MAX_FIELDS).then(|| {
            fields.push(name.into());
            fields.len() - 1
        })
    })?;
    Slot::try_from(index).ok()
}
