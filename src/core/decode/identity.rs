//! What makes an event the same as another.

use super::Decoder;
use crate::{
    catalog::plan::IdentityPart,
    core::{
        dedupe::{Identity, Parts},
        event::Event,
        replay::Replay,
    },
};

impl Decoder {
    /// What makes the event the same as another; `None` where it lacks a part: it is never taken for a duplicate then.
    ///
    /// A replay is another event than its original by its number, and always has an identity: without parts of its own the
    /// dead letter that it comes from.
    #[inline]
    pub(super) fn identity(
        &self,
        event: &Event<'_>,
        replay: Option<&Replay<'_>>,
        parts: &mut Parts,
    ) -> Option<Identity> {
        parts.clear();
        let is_named = !self.topic.identity.is_empty() && self.push_parts(event, parts).is_some();
        match replay {
            None if !is_named => return None,
            None => {}
            Some(replay) => self.push_replay(replay, is_named, parts),
        }
        Some(self.secret.identify(parts.as_bytes()))
    }

    #[cold]
    fn push_replay(&self, replay: &Replay<'_>, is_named: bool, parts: &mut Parts) {
        if !is_named {
            // No part of a name is empty, so this list is like none of those.
            parts.clear();
            self.topic.identity.iter().for_each(|_| parts.push(b""));
        }
        parts.push(&replay.number.to_le_bytes());
        parts.push(if is_named { b"" } else { replay.origin.as_bytes() });
    }

    /// The parts that the topic names; `None` where the event lacks one.
    fn push_parts(&self, event: &Event<'_>, parts: &mut Parts) -> Option<()> {
        for part in &self.topic.identity {
            match part {
                IdentityPart::Id => parts.push(event.id().name()?.as_bytes()),
                IdentityPart::Type => parts.push(&self.type_numbers[event.event_type].to_le_bytes()),
                IdentityPart::Timestamp => parts.push(&event.own_time_ms?.to_le_bytes()),
                IdentityPart::Field(slot) => match event.plain_bytes(*slot) {
                    Some(name) => parts.push(name),
                    None => parts.push(event.field(*slot).name()?.as_bytes()),
                },
            }
        }
        Some(())
    }
}
