//! How far a group has delivered a partition: the document that is compared and set as a whole.
//!
//! ```text
//! v1 TENURE TOPIC_ID TO [EPOCH]
//! +DELTA[*COUNT | :ATTEMPTS:FIRST_MS:LAST_MS] …
//! ```
//!
//! Below `TO` everything is finished but the offsets that are listed, each as the distance from the one before it; `*COUNT` of
//! them one behind the other, as those mostly are that were never tried. What is listed is what a restart delivers again, with the attempts that it has behind it. There are never more of them than the
//! subscription's `unfinished`, which bounds the document. It is text, so that somebody may look at it.

use std::fmt::Write;

use uuid::Uuid;

/// Most offsets that a document may list: what is beyond it was not written by us.
pub const MAX_UNFINISHED: usize = 100_000;
const VERSION: &str = "v1";
/// In place of a topic's id, where the broker tells none.
const NO_TOPIC_ID: &str = "-";

/// The attempts that an event has behind it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tried {
    /// How many.
    pub attempts: u32,
    /// When the first one began, ms since 1970; 0 where there was none.
    pub first_ms: i64,
    /// When the last one began.
    pub last_ms: i64,
}

/// How far a group has delivered a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Who wrote it: drawn anew by each tenure, so that no two write the same text.
    pub tenure: u64,
    /// The topic that the offsets are of, where the broker tells: one that was made again has another id.
    pub topic_id: Option<Uuid>,
    /// The newest epoch of a leader that what was read came from, where the broker tells: a log that has lost what was written
    /// under it says so.
    pub epoch: Option<i32>,
    /// Below it everything is finished but what is listed.
    pub to: i64,
    /// What is not finished, ascending, all below `to`.
    pub unfinished: Vec<(i64, Tried)>,
}

impl Position {
    /// The lowest offset that is not finished.
    pub fn from(&self) -> i64 {
        self.unfinished.first().map_or(self.to, |(offset, _)| *offset)
    }

    /// The document.
    pub fn to_bytes(&self) -> Vec<u8> {
        let topic_id = self.topic_id.map_or_else(|| NO_TOPIC_ID.to_owned(), |id| id.simple().to_string());
        let epoch = self.epoch.map_or_else(String::new, |epoch| format!(" {epoch}"));
        let mut text = format!("{VERSION} {:016x} {topic_id} {}{epoch}\n", self.tenure, self.to);
        let (mut before, mut at) = (0, 0);
        while let Some((offset, Tried { attempts, first_ms, last_ms })) = self.unfinished.get(at) {
            // Writing to a String cannot fail.
            let _ = write!(text, "+{}", offset - before);
            let count = self.untried_from(at);
            if *attempts > 0 {
                let _ = write!(text, ":{attempts}:{first_ms}:{last_ms}");
            } else if count > 1 {
                let _ = write!(text, "*{count}");
            }
            at += count.max(1);
            before = self.unfinished[at - 1].0;
        }
        text.into_bytes()
    }

    /// How many offsets, from a place in the list on, were never tried and lie one behind the other.
    fn untried_from(&self, at: usize) -> usize {
        let list = self.unfinished.get(at..).unwrap_or_default();
        let first = list.first().map_or(0, |(offset, _)| *offset);
        let follows = |(expected, (offset, tried)): &(i64, &(i64, Tried))| expected == offset && tried.attempts == 0;
        (first..).zip(list).take_while(follows).count()
    }

    /// Reads a document; `None` where it is none of ours.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, list) = std::str::from_utf8(bytes).ok()?.split_once('\n')?;
        let mut words = head.split(' ');
        if words.next()? != VERSION {
            return None;
        }
        let tenure = u64::from_str_radix(words.next()?, 16).ok()?;
        let topic_id = match words.next()? {
            NO_TOPIC_ID => None,
            id => Some(Uuid::try_parse(id).ok()?),
        };
        let to = words.next()?.parse().ok()?;
        let epoch = match words.next() {
            None => None,
            Some(epoch) => Some(epoch.parse().ok()?),
        };
        if words.next().is_some() {
            return None;
        }
        let mut unfinished = Vec::new();
        let mut before: i64 = 0;
        for entry in list.split('+').skip(1) {
            let mut numbers = entry.split(':');
            let first = numbers.next()?;
            let (delta, count) = first.split_once('*').unwrap_or((first, "1"));
            let (delta, count): (i64, usize) = (delta.parse().ok()?, count.parse().ok()?);
            let offset = before.checked_add(delta)?;
            let tried = match numbers.next() {
                None => Tried::default(),
                Some(_) if count != 1 => return None,
                Some(attempts) => Tried {
                    attempts: attempts.parse().ok()?,
                    first_ms: numbers.next()?.parse().ok()?,
                    last_ms: numbers.next()?.parse().ok()?,
                },
            };
            let ascends = unfinished.is_empty() || delta > 0;
            if !ascends || offset < 0 || count == 0 || count > MAX_UNFINISHED - unfinished.len() {
                return None;
            }
            let end = offset.checked_add(i64::try_from(count).ok()?)?;
            if end > to {
                return None;
            }
            unfinished.extend((offset..end).map(|offset| (offset, tried)));
            before = end - 1;
        }
        Some(Self { tenure, topic_id, epoch, to, unfinished })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_is_no_document_of_ours_is_not_read() {
        for text in [
            "",
            "v1 0 - 5",
            "v2 0 - 5\n",
            "v1 0 - 5\n+7",
            "v1 0 - 5\n+3+0",
            "v1 0 - 5\n+-1",
            "v1 0 - x\n",
            "v1 0 - 5 x\n",
            "v1 0 - 5 6 7\n",
            "v1 0 - 9\n+1:2",
            "v1 0 - 9\n+1*0",
            "v1 0 - 9\n+1*9",
            "v1 0 - 9\n+1*2:1:5:9",
            "v1 0 - 900000\n+1*100001",
            "v1 0 - 9\n+1*x",
            "v1 0 - 9\n+9223372036854775807+9223372036854775807",
        ] {
            assert_eq!(Position::parse(text.as_bytes()), None, "{text:?}");
        }
        let text = b"v1 000000000000000f - 12\n+3+2:1:5:9+1*3+2";
        let read = Position::parse(text).unwrap();
        assert_eq!(read.to_bytes(), text);
        let tried = Tried { attempts: 1, first_ms: 5, last_ms: 9 };
        let untried = |offset| (offset, Tried::default());
        assert_eq!((read.tenure, read.to, read.from(), read.epoch), (15, 12, 3, None));
        assert_eq!(Position::parse(b"v1 0 - 12 4\n").unwrap().epoch, Some(4));
        assert_eq!(read.unfinished, [untried(3), (5, tried), untried(6), untried(7), untried(8), untried(10)]);
    }

    proptest! {
        #[test]
        fn a_position_comes_back_exactly(
            tenure in any::<u64>(),
            id in any::<Option<u128>>(),
            epoch in any::<Option<i32>>(),
            list in proptest::collection::btree_map(0..400_i64, (0..3_u32, 0..9_000_000_000_000_i64), 0..200),
            behind in 0..1_000_i64,
        ) {
            let to = list.last_key_value().map_or(0, |(offset, _)| offset + 1) + behind;
            let tried = |(attempts, at): (u32, i64)| match attempts {
                0 => Tried::default(),
                attempts => Tried { attempts, first_ms: at, last_ms: at + 7 },
            };
            let unfinished: Vec<(i64, Tried)> = list.into_iter().map(|(offset, it)| (offset, tried(it))).collect();
            let position = Position { tenure, topic_id: id.map(Uuid::from_u128), epoch, to, unfinished };
            prop_assert_eq!(Position::parse(&position.to_bytes()), Some(position));
        }

        #[test]
        fn any_bytes_are_a_position_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Position::parse(&bytes);
        }
    }
}
