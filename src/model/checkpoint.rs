//! How far a shard of the store has got in a partition.

use std::{fmt, str::FromStr};

/// 128 bits that name the rules of one topic: what a section was computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Fingerprint(pub u128);

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The checkpoint that a store keeps for a partition, stored and compared as a whole, byte for byte.
///
/// Text form: `1:<offset>:<incarnation>:<fingerprint>:<done>`. The leading number is the format's version. `done` is
/// reserved for ranges that are finished above the offset and is empty in this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The next offset to apply.
    pub offset: i64,
    /// Raised whenever an operator moves checkpoints, so that late sections of the former life conflict.
    pub incarnation: u32,
    /// The rules under which everything since the last change of rules was counted.
    pub fingerprint: Fingerprint,
}

impl Checkpoint {
    /// Version of the text form.
    pub const FORMAT: &'static str = "1";
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}:", Self::FORMAT, self.offset, self.incarnation, self.fingerprint)
    }
}

/// A stored checkpoint that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored checkpoint {0:?} is not of format 1: it was written by another version of streamgauge, or by something else"
)]
pub struct CheckpointError(pub String);

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let parse = || {
            let mut fields = text.split(':');
            let (format, offset, incarnation, fingerprint, done) =
                (fields.next()?, fields.next()?, fields.next()?, fields.next()?, fields.next()?);
            if format != Self::FORMAT || !done.is_empty() || fields.next().is_some() {
                return None;
            }
            let checkpoint = Self {
                offset: offset.parse().ok()?,
                incarnation: incarnation.parse().ok()?,
                fingerprint: Fingerprint(u128::from_str_radix(fingerprint, 16).ok()?),
            };
            // Checkpoints are compared as bytes, so only the one canonical text of a value may be taken for it.
            (checkpoint.to_string() == text).then_some(checkpoint)
        };
        parse().ok_or_else(|| CheckpointError(text.to_owned()))
    }
}

/// What the log said of itself where a checkpoint was taken. Stored beside the checkpoint, adopted when first known and
/// reported when it changes, never compared.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogIdentity {
    /// Kafka's cluster id.
    pub cluster_id: Option<String>,
    /// Kafka's topic id (KIP-516).
    pub topic_id: Option<uuid::Uuid>,
    /// Epoch of the partition's leader (KIP-320).
    pub leader_epoch: Option<i32>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back_and_only_the_canonical_one() {
        let checkpoint = Checkpoint { offset: 42, incarnation: 3, fingerprint: Fingerprint(0xabc) };
        let text = checkpoint.to_string();
        assert_eq!(text, "1:42:3:00000000000000000000000000000abc:");
        assert_eq!(text.parse(), Ok(checkpoint));
        for bad in [
            "",
            "1:42:3:abc:",
            "2:42:3:00000000000000000000000000000abc:",
            "1:+42:3:00000000000000000000000000000abc:",
            "1:42:3:00000000000000000000000000000abc:5-6",
            "1:42:3:00000000000000000000000000000ABC:",
        ] {
            assert_eq!(bad.parse::<Checkpoint>(), Err(CheckpointError(bad.to_owned())), "{bad}");
        }
    }
}
