//! Rules in words, for people.

use super::{
    duration::format_ms,
    plan::{Action, Amount, Decimal, IdentityPart, Slot, Topic},
};

impl Topic {
    /// The name of a slot; empty for one that is not of this topic.
    pub fn field(&self, slot: Slot) -> &str {
        self.fields.get(usize::from(slot)).map_or("", |name| name)
    }

    /// The names of what makes two events the same.
    pub fn identity_names(&self) -> Vec<&str> {
        let name = |part: &IdentityPart| match part {
            IdentityPart::Id => "id",
            IdentityPart::Type => "type",
            IdentityPart::Timestamp => "timestamp",
            IdentityPart::Field(slot) => self.field(*slot),
        };
        self.identity.iter().map(name).collect()
    }

    /// A rule of this topic in one line.
    pub fn describe(&self, action: &Action) -> String {
        let decimal = |decimal: &Decimal| {
            let mark = if decimal.optional { "?" } else { "" };
            format!("{}{mark} (scale {})", self.field(decimal.slot), decimal.scale)
        };
        let amount = |by: &Amount| match by {
            Amount::Constant(number) => format!("{number:+}"),
            Amount::Field(field) => decimal(field),
            Amount::Negated(field) => format!("-{}", decimal(field)),
        };
        match action {
            Action::Count { key, by, retention_ms } => {
                let kept = retention_ms.map_or_else(String::new, |ms| format!(", kept {}", format_ms(ms)));
                format!("count {key} by {}{kept}", amount(by))
            }
            Action::Max { key, of } => format!("max {key} of {}", decimal(of)),
            Action::Last { key, of } => format!("last {key} of {}", decimal(of)),
            Action::Unique { key, of, retention_ms: Some(ms), .. } => {
                format!("unique {key} of {of} per day, kept {}", format_ms(*ms))
            }
            Action::Unique { key, of, .. } => format!("unique {key} of {of} ever"),
            Action::Recent { key, of, cap } => format!("recent {key} of {of}, newest {cap}"),
            Action::Top { key, of, by, windows, retention_ms } => {
                let labels: Vec<&str> = windows.iter().map(|window| &*window.label).collect();
                let kept = format_ms(*retention_ms);
                format!("top {key} of {of} by {} per {}, kept {kept}", amount(by), labels.join(", "))
            }
            Action::Member { key, of, is_add, moves, tombstones_ms } => {
                let op = if *is_add { "add" } else { "remove" };
                let moves = moves.as_ref().map_or_else(String::new, |counter| format!(", moves {counter}"));
                let order =
                    tombstones_ms.map_or_else(String::new, |ms| format!(", by time, tombstones {}", format_ms(ms)));
                format!("member {key} {op} {of}{moves}{order}")
            }
            Action::Forward { topic, key } => {
                let key = key.as_ref().map_or_else(String::new, |key| format!(" key {key}"));
                format!("forward to {topic}{key}")
            }
        }
    }
}
