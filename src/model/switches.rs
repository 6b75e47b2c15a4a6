//! Switches of rules: which rules count a partition from which offset on (EXACTLY_ONCE, "Catalogue").

use std::{fmt, str::FromStr};

use super::Fingerprint;

/// Most switches of a partition's rules: beyond it a change of rules is refused. A thousand is one a day for three years.
pub const MAX_SWITCHES: usize = 1_000;

/// Rules come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Switch {
    /// The rules.
    pub fingerprint: Fingerprint,
    /// The first offset that they count, called X.
    pub from: i64,
}

/// All switches of a partition, in order: the first entry is of the rules that the group began with, from 0 on. Entries are
/// added and never dropped.
///
/// Text form: `<fingerprint>@<first offset>`, joined by commas. It is stored beside the checkpoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Switches(pub Vec<Switch>);

impl Switches {
    /// The table of a partition whose rules have never changed.
    pub fn only(fingerprint: Fingerprint) -> Self {
        Self(vec![Switch { fingerprint, from: 0 }])
    }

    /// The same with one more entry.
    pub fn with(&self, switch: Switch) -> Self {
        Self(self.0.iter().copied().chain([switch]).collect())
    }

    /// The last entry, whose rules count in the end.
    pub fn last(&self) -> Option<Switch> {
        self.0.last().copied()
    }

    /// The offset at which the rules of an entry end: where the next one begins.
    pub fn end_of(&self, entry: usize) -> Option<i64> {
        self.0.get(entry + 1).map(|next| next.from)
    }

    /// What a checkpoint says of this table while an entry is in force.
    pub fn mark(&self, in_force: usize) -> RulesMark {
        // A hash of 0 is that of no table; one in 2^64 texts would have it.
        let table = xxhash_rust::xxh3::xxh3_64(self.to_string().as_bytes()).max(1);
        RulesMark { in_force: u32::try_from(in_force).unwrap_or(u32::MAX), table }
    }
}

impl fmt::Display for Switches {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, Switch { fingerprint, from }) in self.0.iter().enumerate() {
            let comma = if number == 0 { "" } else { "," };
            write!(f, "{comma}{fingerprint}@{from}")?;
        }
        Ok(())
    }
}

/// A stored table of switches that this version cannot read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the stored table of rules {0:?} cannot be read: it was written by another version of streamgauge, or by something else"
)]
pub struct SwitchesError(pub String);

impl FromStr for Switches {
    type Err = SwitchesError;

    fn from_str(text: &str) -> Result<Self, SwitchesError> {
        let entry = |entry: &str| {
            let (fingerprint, from) = entry.split_once('@')?;
            let fingerprint = Fingerprint(u128::from_str_radix(fingerprint, 16).ok()?);
            Some(Switch { fingerprint, from: from.parse().ok().filter(|from| *from >= 0)? })
        };
        let entries: Option<Vec<Switch>> = text.split(',').take(MAX_SWITCHES + 1).map(entry).collect();
        let read = entries.map(Self).filter(|read| {
            // Marks are hashes of the text, so only the one canonical text of a table may be taken for it.
            read.0.len() <= MAX_SWITCHES && read.to_string() == text
        });
        read.ok_or_else(|| SwitchesError(text.chars().take(100).collect()))
    }
}

/// What a checkpoint says of the rules that it stands under, beside their fingerprint. It is a part of the checkpoint and so of
/// every comparison: a section of a member that does not know of a switch conflicts.
///
/// The default is that of a partition whose rules have never changed: then no table is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct RulesMark {
    /// Number of the entry that is in force, from 0.
    pub in_force: u32,
    /// Hash of the table's text; 0 where there is none.
    pub table: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_back_and_only_its_canonical_text() {
        let table = Switches::only(Fingerprint(7)).with(Switch { fingerprint: Fingerprint(0xabc), from: 100 });
        let text = table.to_string();
        assert_eq!(text, "00000000000000000000000000000007@0,00000000000000000000000000000abc@100");
        assert_eq!(text.parse(), Ok(table.clone()));
        assert_eq!((table.end_of(0), table.end_of(1), table.last().unwrap().from), (Some(100), None, 100));
        let cut = &text[..text.len() - 1];
        assert!(cut.parse::<Switches>().is_ok_and(|other| other.mark(0) != table.mark(0)));
        for bad in ["", ",", "7@0", &text.to_uppercase(), &text.replace("@0", "@-1"), &text.replace('@', "@+")] {
            assert!(bad.parse::<Switches>().is_err(), "{bad}");
        }
    }

    #[test]
    fn marks_tell_tables_and_entries_apart() {
        let table = Switches::only(Fingerprint(7));
        let longer = table.with(Switch { fingerprint: Fingerprint(7), from: 0 });
        let marks = [table.mark(0), table.mark(1), longer.mark(0), longer.mark(1), RulesMark::default()];
        for (number, mark) in marks.iter().enumerate() {
            assert!(!marks[..number].contains(mark), "{marks:?}");
        }
    }
}
