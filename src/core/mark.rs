//! What is remembered of an event that was published under an id, so that publishing it again makes no second record.
//!
//! A mark is a document in the store. It is *in flight* from before the record is sent until it is known what became of it,
//! *stored* once the broker has the record, and *open* where the broker may have it: whoever repeats such an event sends it
//! again, since nobody will ever tell, and the counting side takes the second record for a duplicate. Of a record that was
//! surely not stored nothing is remembered.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::Xxh3;

/// Hash of what is published under an id. It tells a repetition from another event under the same id, no more: who makes two
/// contents of one hash deceives itself alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Content(pub u128);

impl Content {
    /// Of parts in a fixed order, absent ones included: what stands in one cannot be taken for a part of another.
    pub fn of<'p>(parts: impl IntoIterator<Item = Option<&'p [u8]>>) -> Self {
        let mut hash = Xxh3::new();
        for part in parts {
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            hash.update(&length.to_le_bytes());
            hash.update(part.unwrap_or_default());
        }
        Self(hash.digest128())
    }

    fn to_hex(self) -> String {
        format!("{:032x}", self.0)
    }
}

/// A mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Mark {
    /// [`Content`], 32 hexadecimal digits.
    content: String,
    /// The event's id.
    pub event_id: String,
    /// Where to.
    pub topic: String,
    /// When this was written, milliseconds since 1970.
    pub at_ms: i64,
    /// How far it is.
    pub state: State,
}

/// How far the publishing of an event is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum State {
    /// Somebody is about to send it.
    InFlight {
        /// A name of that one's own.
        attempt: String,
    },
    /// It was sent, and may be stored.
    Open,
    /// The broker has it.
    Stored {
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
}

/// What a mark that is there means to one who is about to publish under its id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The mark is this one's own, whose answer was lost: send.
    Own,
    /// The mark may be replaced by one's own: send then.
    Replace,
    /// Another one is sending it.
    InFlight,
    /// Another event has the id.
    OtherContent,
    /// It is stored there already.
    Stored {
        /// Partition.
        partition: i32,
        /// Offset.
        offset: i64,
    },
}

impl Mark {
    /// A mark of an event.
    pub fn new(content: Content, event_id: &str, topic: &str, at_ms: i64, state: State) -> Self {
        let (event_id, topic) = (event_id.to_owned(), topic.to_owned());
        Self { content: content.to_hex(), event_id, topic, at_ms, state }
    }

    /// The document.
    pub fn to_bytes(&self) -> Vec<u8> {
        // Plain values: writing them to memory cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a document; `None` where it is no mark.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok()
    }

    /// What the mark means to the attempt of this name to publish this content.
    pub fn judge(&self, content: Content, attempt: &str) -> Verdict {
        if self.content != content.to_hex() {
            return Verdict::OtherContent;
        }
        match &self.state {
            State::InFlight { attempt: other } if other == attempt => Verdict::Own,
            State::InFlight { .. } => Verdict::InFlight,
            State::Open => Verdict::Replace,
            State::Stored { partition, offset } => Verdict::Stored { partition: *partition, offset: *offset },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_read_as_it_was_written_and_means_what_the_table_says() {
        let (content, other) = (Content::of([Some(&b"a"[..])]), Content::of([Some(&b"b"[..])]));
        let in_flight = |attempt: &str| State::InFlight { attempt: attempt.to_owned() };
        let stored = Verdict::Stored { partition: 2, offset: 7 };
        for (state, asked, expected) in [
            (in_flight("me"), content, Verdict::Own),
            (in_flight("you"), content, Verdict::InFlight),
            (in_flight("me"), other, Verdict::OtherContent),
            (State::Open, content, Verdict::Replace),
            (State::Open, other, Verdict::OtherContent),
            (State::Stored { partition: 2, offset: 7 }, content, stored),
            (State::Stored { partition: 2, offset: 7 }, other, Verdict::OtherContent),
        ] {
            let mark = Mark::new(content, "e\"1\"", "t", 5, state);
            let read = Mark::parse(&mark.to_bytes());
            assert_eq!(read.as_ref(), Some(&mark));
            assert_eq!(read.map(|mark| mark.judge(asked, "me")), Some(expected), "{mark:?}");
        }
        assert_eq!(Mark::parse(b"something else"), None);
    }

    #[test]
    fn parts_are_not_mixed_up() {
        let texts: [&[Option<&str>]; 6] = [
            &[Some("ab"), Some("c")],
            &[Some("a"), Some("bc")],
            &[Some("abc"), None],
            &[None, Some("abc")],
            &[Some("abc"), Some("")],
            &[Some("abc")],
        ];
        let hashes: Vec<Content> =
            texts.iter().map(|parts| Content::of(parts.iter().map(|part| part.map(str::as_bytes)))).collect();
        for (place, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..place].contains(hash), "{:?}", texts[place]);
        }
    }
}
