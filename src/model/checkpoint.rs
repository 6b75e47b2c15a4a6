//! How far a shard of the store has got in a partition.

use std::{fmt, str::FromStr};

use super::RulesMark;

/// 128 bits that name the rules of one topic: what a section was computed with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Fingerprint(pub u128);

impl Fingerprint {
    /// Stands in a checkpoint while the results of its topic are exchanged: rules that no catalogue has.
    pub const EXCHANGE: Self = Self(u128::MAX);

    /// Name of the document in which a store keeps the text of these rules.
    pub fn document(self) -> String {
        format!("catalog:{self}")
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// The checkpoint that a store keeps for a partition, stored and compared as a whole, byte for byte.
///
/// Text form: `1:<offset>:<incarnation>:<fingerprint>:<done>`, and behind it `:<entry in force>:<hash of the table>` where the
/// rules have changed since the group began. The leading number is the format's version. `done` is reserved for ranges that
/// are finished above the offset and is empty in this version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Checkpoint {
    /// The next offset to apply.
    pub offset: i64,
    /// Raised whenever an operator moves checkpoints, so that late sections of the former life conflict.
    pub incarnation: u32,
    /// The rules under which everything since the last change of rules was counted.
    pub fingerprint: Fingerprint,
    /// Which entry of which table of switches these rules are.
    pub rules: RulesMark,
}

impl Checkpoint {
    /// Version of the text form.
    pub const FORMAT: &'static str = "1";

    /// Whether the results are being exchanged, so that nobody may count on.
    pub fn is_exchanged(&self) -> bool {
        self.fingerprint == Fingerprint::EXCHANGE
    }
}

impl fmt::Display for Checkpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}:{}:", Self::FORMAT, self.offset, self.incarnation, self.fingerprint)?;
        if self.rules == RulesMark::default() {
            return Ok(());
        }
        write!(f, ":{}:{:016x}", self.rules.in_force, self.rules.table)
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
            let rules = match (fields.next(), fields.next()) {
                (Some(in_force), Some(table)) => {
                    RulesMark { in_force: in_force.parse().ok()?, table: u64::from_str_radix(table, 16).ok()? }
                }
                (None, _) => RulesMark::default(),
                (Some(_), None) => return None,
            };
            if format != Self::FORMAT || !done.is_empty() || fields.next().is_some() {
                return None;
            }
            let checkpoint = Self {
                offset: offset.parse().ok()?,
                incarnation: incarnation.parse().ok()?,
                fingerprint: Fingerprint(u128::from_str_radix(fingerprint, 16).ok()?),
                rules,
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
        let rules = RulesMark::default();
        let checkpoint = Checkpoint { offset: 42, incarnation: 3, fingerprint: Fingerprint(0xabc), rules };
        let text = checkpoint.to_string();
        assert_eq!(text, "1:42:3:00000000000000000000000000000abc:");
        assert_eq!(text.parse(), Ok(checkpoint));
        let switched = Checkpoint { rules: RulesMark { in_force: 1, table: 0xdef }, ..checkpoint };
        let text = switched.to_string();
        assert_eq!(text, "1:42:3:00000000000000000000000000000abc::1:0000000000000def");
        assert_eq!(text.parse(), Ok(switched));
        for bad in [
            "",
            "1:42:3:abc:",
            "2:42:3:00000000000000000000000000000abc:",
            "1:+42:3:00000000000000000000000000000abc:",
            "1:42:3:00000000000000000000000000000abc:5-6",
            "1:42:3:00000000000000000000000000000ABC:",
            "1:42:3:00000000000000000000000000000abc::1",
            "1:42:3:00000000000000000000000000000abc::1:def",
            "1:42:3:00000000000000000000000000000abc::0:0000000000000000",
            "1:42:3:00000000000000000000000000000abc::1:0000000000000def:",
        ] {
            assert_eq!(bad.parse::<Checkpoint>(), Err(CheckpointError(bad.to_owned())), "{bad}");
        }
    }
}
