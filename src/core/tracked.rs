//! What became of an event of a tracked topic.

use super::{
    batch::{Outgoing, Purpose},
    reason::Reason,
};

/// Longest id by which it is told.
const MAX_ID_BYTES: usize = 1_024;
/// Longest reason that is told.
const MAX_ERROR_CHARS: usize = 300;

/// What became of an event of a tracked topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tracked {
    /// Its id.
    pub event_id: Box<str>,
    /// Where it lies.
    pub offset: i64,
    /// Why it is a dead letter; `None` where it counts.
    pub error: Option<Box<str>>,
}

/// The id by which it is told what became of an event; `None` where it has none, or one that is too long.
pub(super) fn by(id: Option<&str>) -> Option<&str> {
    id.filter(|id| id.len() <= MAX_ID_BYTES)
}

/// Why an event failed, as a status tells it: the code, and the reason as far as there is room.
pub fn told(reason: &Reason) -> Box<str> {
    format!("{}: {reason}", reason.code()).chars().take(MAX_ERROR_CHARS).collect::<String>().into()
}

/// What became of the event of this id; `None` where it has none, or one that is too long. A dead letter is the last of what
/// is `outgoing`.
pub(super) fn track(offset: i64, id: Option<&str>, is_dead: bool, outgoing: &[Outgoing]) -> Option<Tracked> {
    let event_id: Box<str> = by(id)?.into();
    let error = match outgoing.last().map(|sent| &sent.purpose) {
        Some(Purpose::DeadLetter(reason)) if is_dead => Some(told(reason)),
        _ => None,
    };
    Some(Tracked { event_id, offset, error })
}
