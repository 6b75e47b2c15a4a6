//! What a change of a topic needs beside rights: somebody's word, where it cannot be taken back or breaks something.

use std::fmt;

use super::plan::{CLEANUP, Change, DELETE, RETENTION, Role, Wanted};
use crate::catalog::format_ms;

/// Keeps records for ever.
const FOR_EVER: i64 = -1;

/// What a duration is whole in to be shown as one.
const WHOLE_MS: i64 = 1_000;

/// What a change needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Need {
    /// It loses nothing.
    Nothing,
    /// The broker deletes records by it. What it deletes, in words.
    Deletion(String),
    /// Keys move to other partitions. What that breaks, in words.
    Repartition(String),
    /// It is not done here. What to do, in words.
    Hand(String),
}

/// What the user allows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Changes by which the broker deletes records.
    pub deletion: bool,
    /// More partitions (`--allow-repartition`).
    pub repartition: bool,
}

impl Need {
    pub(super) fn of(change: &Change, breaks: impl FnOnce() -> String) -> Self {
        match change {
            Change::Create(_) => Self::Nothing,
            Change::Set { name, from, to } => {
                deletes(name, from, to).map_or(Self::Nothing, |what| Self::Deletion(what.to_owned()))
            }
            Change::Partitions { from, to } if from < to => Self::Repartition(breaks()),
            Change::Partitions { from, .. } => Self::Hand(format!(
                "no broker takes partitions away: write partitions = {from} into the catalogue, or delete the topic with its \
                 records and make it anew"
            )),
            Change::Replication { .. } => Self::Hand(
                "move its copies with kafka-reassign-partitions, or write what there is into the catalogue".to_owned(),
            ),
        }
    }

    /// Why it is not done without more consent; `None` where this is enough.
    pub fn lacks(&self, consent: Consent) -> Option<String> {
        match self {
            Self::Nothing => None,
            Self::Deletion(_) if consent.deletion => None,
            Self::Repartition(_) if consent.repartition => None,
            _ => Some(self.to_string()),
        }
    }
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing => Ok(()),
            Self::Deletion(what) => f.write_str(what),
            Self::Repartition(what) => write!(f, "needs --allow-repartition: {what}"),
            Self::Hand(what) => f.write_str(what),
        }
    }
}

/// What the broker deletes where it is told so.
fn deletes(name: &str, from: &str, to: &str) -> Option<&'static str> {
    match name {
        RETENTION => {
            let (from, to) = (from.parse::<i64>().unwrap_or(FOR_EVER), to.parse::<i64>().unwrap_or(FOR_EVER));
            (to != FOR_EVER && (from == FOR_EVER || from > to))
                .then_some("the broker deletes the records that are older, counted or not")
        }
        CLEANUP => (!from.contains(DELETE))
            .then_some("the broker deletes the records that are older than the topic's retention, counted or not"),
        _ => None,
    }
}

/// What more partitions break.
pub(super) fn breaks(wanted: &Wanted) -> String {
    if wanted.role != Role::Events {
        return "dead letters of one key lie in two partitions then; nothing is counted from them".to_owned();
    }
    let mut text = "keys move to other partitions: events of one key from before and after have no order between them, and one \
                    that comes again after it is not known as a duplicate of one from before (windows are per partition). \
                    Let producers pause until all is counted"
        .to_owned();
    if !wanted.ordered_rules.is_empty() {
        let rules: Vec<&str> = wanted.ordered_rules.iter().map(String::as_str).collect();
        text.push_str(&format!(
            ". These rules take the order of one partition, and end wrong where events of before are counted after those \
             that follow them: {}",
            rules.join("; ")
        ));
    }
    text
}

/// A setting's value, for people: milliseconds also as a duration.
pub fn readable(name: &str, value: &str) -> String {
    match (name, value.parse::<i64>()) {
        (RETENTION, Ok(FOR_EVER)) => format!("{value} (for ever)"),
        (RETENTION, Ok(ms)) if ms > 0 && ms % WHOLE_MS == 0 => format!("{value} ({})", format_ms(ms)),
        _ => value.to_owned(),
    }
}
