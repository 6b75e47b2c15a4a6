//! Replays: a dead letter's record, sent to its topic again for the group that could not process it.
//!
//! It says in its headers for whom, how often it was sent again, and which dead letter it comes from. Other groups leave it
//! out. The number is part of the event's identity: else the replay would be dropped as a duplicate of its own original, which
//! lies in the window though it counted nothing.

use crate::log::RecordRef;

/// Header: the group that the record is for; every other one leaves it out.
pub const GROUP_HEADER: &str = "replay-group";
/// Header: how often the record was replayed, from 1, in decimal.
pub const NUMBER_HEADER: &str = "replay-number";
/// Header: the dead letter that it comes from, as `topic:partition:offset`.
pub const ORIGIN_HEADER: &str = "replay-origin";
/// Header: the offset of the record that failed, where that lies in the same partition and failed by the rules alone: whoever judges
/// it by the same rules comes to the same. See [`Replay::of_offset`].
pub const OF_HEADER: &str = "replay-of";
/// All of them.
pub const HEADERS: [&str; 4] = [GROUP_HEADER, NUMBER_HEADER, ORIGIN_HEADER, OF_HEADER];

/// What a replayed record says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replay<'a> {
    /// The group that it is for.
    pub group: &'a str,
    /// How often the record was replayed, this time included: from 1.
    pub number: u32,
    /// The dead letter that it comes from, as `topic:partition:offset`. Empty where the record does not say it.
    pub origin: &'a str,
    /// The offset of the record that failed, in this partition; `None` where another look at it may come to something else.
    ///
    /// Rules that are mended count the replay, and not what failed by the rules of before. But where all of the log is counted anew by
    /// the mended ones alone, the failed record counts, and its replay must not count once more.
    pub of_offset: Option<i64>,
}

impl<'a> Replay<'a> {
    /// The replay that a record is; `None` where it is none, also where its headers are not as a replay's must be: it is a
    /// record like others then, and no group leaves it out.
    #[inline]
    pub fn of(record: &RecordRef<'a>) -> Option<Self> {
        // Most records have no headers, and must not pay for those that do.
        if record.headers.is_empty() { None } else { Self::told(record) }
    }

    fn told(record: &RecordRef<'a>) -> Option<Self> {
        let text = |header: &str| record.header(header).and_then(|value| std::str::from_utf8(value).ok());
        let group = text(GROUP_HEADER)?;
        let number = text(NUMBER_HEADER)?.parse().ok().filter(|number| *number > 0)?;
        let of_offset = text(OF_HEADER).and_then(|offset| offset.parse().ok());
        Some(Self { group, number, origin: text(ORIGIN_HEADER).unwrap_or_default(), of_offset })
    }

    /// Whether the record that failed is judged by the rules that begin at an offset, and so by those that judge the replay.
    pub fn is_judged_from(&self, rules_from: i64) -> bool {
        self.of_offset.is_some_and(|offset| offset >= rules_from)
    }

    /// Whether a group must leave it out.
    pub fn is_for_other(&self, group: &str) -> bool {
        self.group != group
    }
}

/// Whether a header is one of a replay.
pub fn is_header(name: &str) -> bool {
    HEADERS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Headers, and what they make of a record.
    type Case<'a> = (&'a [(&'a str, &'a str)], Option<Replay<'a>>);

    #[test]
    fn a_replay_is_what_its_headers_say_and_nothing_else() {
        let replay = |group, number, origin| Some(Replay { group, number, origin, of_offset: None });
        let cases: &[Case<'_>] = &[
            (&[], None),
            (&[("event-id", "1")], None),
            (&[("replay-group", "g")], None),
            (&[("replay-group", "g"), ("replay-number", "0")], None),
            (&[("replay-group", "g"), ("replay-number", "many")], None),
            (&[("replay-number", "1"), ("replay-origin", "t.dlq:0:1")], None),
            (&[("replay-group", "g"), ("replay-number", "2")], replay("g", 2, "")),
            (
                &[("a", "b"), ("replay-group", "g"), ("replay-number", "1"), ("replay-origin", "t.dlq:0:1")],
                replay("g", 1, "t.dlq:0:1"),
            ),
        ];
        for (headers, expected) in cases {
            let headers: Vec<(&[u8], Option<&[u8]>)> =
                headers.iter().map(|(name, value)| (name.as_bytes(), Some(value.as_bytes()))).collect();
            let record = RecordRef { offset: 0, timestamp_ms: 0, key: None, value: None, headers: &headers };
            assert_eq!(Replay::of(&record), *expected, "{headers:?}");
        }
    }
}
