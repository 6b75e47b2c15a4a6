//! Which dead letters are meant.

use super::Letter;
use crate::core::time;

/// A partition and an offset in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spot {
    /// Number of the partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
}

impl Spot {
    /// Reads `partition:offset`; also `topic:partition:offset`, whose topic is left to the caller.
    pub fn parse(text: &str) -> Option<(Option<&str>, Self)> {
        let (rest, offset) = text.rsplit_once(':')?;
        let (topic, partition) = rest.rsplit_once(':').map_or((None, rest), |(topic, number)| (Some(topic), number));
        let spot = Self { partition: partition.parse().ok()?, offset: offset.parse().ok()? };
        (spot.partition >= 0 && spot.offset >= 0).then_some((topic, spot))
    }
}

/// What a dead letter must be like. Everything that is named must fit; nothing named means all of them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Written then or later, milliseconds since 1970.
    pub since_ms: Option<i64>,
    /// Written before then, milliseconds since 1970.
    pub until_ms: Option<i64>,
    /// The event's type.
    pub event_type: Option<String>,
    /// The reason's code, or a part of its text.
    pub error: Option<String>,
    /// The original's key.
    pub key: Option<String>,
    /// The group that failed.
    pub group: Option<String>,
    /// Where the original lies.
    pub origin: Option<Spot>,
    /// Where the dead letter lies.
    pub letter: Option<Spot>,
    /// Only those that were replayed as often as may be.
    pub is_parked: bool,
}

impl Filter {
    /// Whether a dead letter is meant. Looks at the value last, and only where the type matters.
    pub fn matches(&self, letter: &Letter, max_replays: u32) -> bool {
        let is = |wanted: &Option<String>, found: &str| wanted.as_ref().is_none_or(|wanted| wanted == found);
        let lies = Spot { partition: letter.partition.partition, offset: letter.offset };
        let came = letter.source.as_ref().map(|(_, partition, offset)| Spot { partition: *partition, offset: *offset });
        let error = |error: &String| letter.reason == *error || letter.message.contains(error.as_str());
        let key = |key: &String| letter.key.as_deref() == Some(key.as_bytes());
        self.since_ms.is_none_or(|since| letter.written_ms >= since)
            && self.until_ms.is_none_or(|until| letter.written_ms < until)
            && self.letter.is_none_or(|wanted| wanted == lies)
            && self.origin.is_none_or(|wanted| Some(wanted) == came)
            && is(&self.group, &letter.group)
            && self.error.as_ref().is_none_or(error)
            && self.key.as_ref().is_none_or(key)
            && (!self.is_parked || letter.replays >= max_replays)
            && self.event_type.as_ref().is_none_or(|wanted| letter.event_type().as_ref() == Some(wanted))
    }

    /// Whether it says nothing but until when: then what it means is the beginning of each partition.
    pub fn is_by_time_alone(&self) -> bool {
        *self == Self { until_ms: self.until_ms, ..Self::default() }
    }
}

/// A moment as people write it: RFC 3339, milliseconds since 1970, or so long before now (`90s`, `30m`, `2h`, `7d`).
pub fn moment_ms(text: &str, now_ms: i64) -> Option<i64> {
    let ago = || {
        let (number, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
        let unit_ms = match unit {
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        now_ms.checked_sub(number.parse::<u32>().ok().map(i64::from)?.checked_mul(unit_ms)?)
    };
    time::parse_rfc3339_ms(text).or_else(|| text.parse::<u64>().ok()?.try_into().ok()).or_else(ago)
}
