//! What `topics plan` and `topics apply` print: like a diff for people, JSON for scripts.

use std::{collections::BTreeMap, io::Write};

use serde_json::{Value, json};

use super::{CANNOT_SAY, DIFFERS};
use crate::runtime::topics::{Change, Difference, Need, Outcome, readable};

const RED: &str = "\x1b[31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";
const PLAIN: &str = "\x1b[0m";

/// How the broker differs, and what became of it.
#[derive(Clone, Debug, Default)]
pub(super) struct Shown {
    /// How many topics were compared.
    pub(super) topics: usize,
    /// What differs; with an outcome once it was tried to mend it.
    pub(super) outcomes: Vec<(Difference, Option<Outcome>)>,
    /// Topics of which something could not be seen, and why.
    pub(super) unseen: BTreeMap<String, String>,
}

impl Shown {
    /// The exit code.
    pub(super) fn code(&self) -> u8 {
        let differs = self.outcomes.iter().any(|(_, outcome)| *outcome != Some(Outcome::Done));
        match (differs, self.unseen.is_empty()) {
            (true, _) => DIFFERS,
            (false, false) => CANNOT_SAY,
            (false, true) => 0,
        }
    }

    /// Writes it. `in_colours` is for a terminal.
    pub(super) fn write(&self, json: bool, in_colours: bool, out: &mut dyn Write) -> anyhow::Result<()> {
        if json {
            writeln!(out, "{}", serde_json::to_string_pretty(&self.as_json())?)?;
            return Ok(());
        }
        let paint = |line: &str| match line.as_bytes().first().filter(|_| in_colours) {
            Some(b'-') => format!("{RED}{line}{PLAIN}"),
            Some(b'+') => format!("{GREEN}{line}{PLAIN}"),
            Some(b'!') => format!("{YELLOW}{line}{PLAIN}"),
            _ => line.to_owned(),
        };
        let mut last = "";
        for (difference, outcome) in &self.outcomes {
            if difference.topic != last {
                writeln!(out, "{} ({})", difference.topic, difference.role)?;
                last = &difference.topic;
            }
            for line in lines(difference, outcome.as_ref()) {
                writeln!(out, "{}", paint(&line))?;
            }
        }
        for (topic, why) in &self.unseen {
            writeln!(out, "{}", paint(&format!("! {topic} cannot be compared: {why}")))?;
        }
        writeln!(out, "{}", self.summary())?;
        Ok(())
    }

    fn summary(&self) -> String {
        let differences = self.outcomes.len();
        let done = self.outcomes.iter().filter(|(_, outcome)| *outcome == Some(Outcome::Done)).count();
        let tried = self.outcomes.iter().any(|(_, outcome)| outcome.is_some());
        let topics = match self.topics {
            1 => "1 topic".to_owned(),
            count => format!("{count} topics"),
        };
        let compared = self.topics - self.unseen.len();
        match (differences, tried, self.unseen.is_empty()) {
            (0, _, true) => format!("{topics}, all as the catalogue says: there is nothing to do."),
            (0, _, false) => format!("{topics}, {compared} of them compared: nothing differs there."),
            (count, false, _) => format!(
                "{topics} compared, {count} {}: `streamgauge topics apply` mends what it may.",
                if count == 1 { "difference" } else { "differences" }
            ),
            (count, true, _) if count == done => {
                format!("{topics}, all as the catalogue says now: {done} changes were made.")
            }
            (count, true, _) => format!("{done} changes were made, {} were not.", count - done),
        }
    }

    fn as_json(&self) -> Value {
        let differences: Vec<Value> = self.outcomes.iter().map(as_json).collect();
        json!({ "topics": self.topics, "differences": differences, "unseen": self.unseen })
    }
}

/// A difference in lines: what the broker has, what the catalogue says, what is to be known.
fn lines(difference: &Difference, outcome: Option<&Outcome>) -> Vec<String> {
    let (mut minus, mut plus) = (Vec::new(), Vec::new());
    match &difference.change {
        Change::Create(spec) => {
            minus.push("is missing".to_owned());
            plus.push(format!("partitions {}", spec.partitions));
            plus.extend(spec.replication.map(|factor| format!("replication {factor}")));
            plus.extend(spec.configs.iter().map(|(name, value)| format!("{name} {}", readable(name, value))));
        }
        Change::Set { name, from, to } => {
            minus.push(format!("{name} {}", readable(name, from)));
            plus.push(format!("{name} {}", readable(name, to)));
        }
        Change::Partitions { from, to } => {
            minus.push(format!("partitions {from}"));
            plus.push(format!("partitions {to}"));
        }
        Change::Replication { from, to } => {
            let from: Vec<String> = from.iter().map(i16::to_string).collect();
            minus.push(format!("replication {}", from.join(", ")));
            plus.push(format!("replication {to}"));
        }
    }
    let mut lines: Vec<String> = minus.into_iter().map(|text| format!("- {text}")).collect();
    lines.extend(plus.into_iter().map(|text| format!("+ {text}")));
    match outcome {
        None if difference.need != Need::Nothing => lines.push(format!("! {}", difference.need)),
        None | Some(Outcome::Done) => {}
        Some(Outcome::Left(reason)) => lines.push(format!("! left: {reason}")),
        Some(Outcome::Failed(error)) => lines.push(format!("! not done: {error}")),
    }
    lines
}

fn as_json((difference, outcome): &(Difference, Option<Outcome>)) -> Value {
    let (change, setting, from, to) = match &difference.change {
        Change::Create(spec) => {
            let to =
                json!({ "partitions": spec.partitions, "replication": spec.replication, "settings": spec.configs });
            ("create", Value::Null, Value::Null, to)
        }
        Change::Set { name, from, to } => ("set", json!(name), json!(from), json!(to)),
        Change::Partitions { from, to } => ("partitions", Value::Null, json!(from), json!(to)),
        Change::Replication { from, to } => ("replication", Value::Null, json!(from), json!(to)),
    };
    let (need, note) = match &difference.need {
        Need::Nothing => (Value::Null, Value::Null),
        Need::Deletion(what) => (json!("deletion"), json!(what)),
        Need::Repartition(what) => (json!("allow-repartition"), json!(what)),
        Need::Hand(what) => (json!("hand"), json!(what)),
    };
    let (outcome, reason) = match outcome {
        None => (Value::Null, Value::Null),
        Some(Outcome::Done) => (json!("done"), Value::Null),
        Some(Outcome::Left(reason)) => (json!("left"), json!(reason)),
        Some(Outcome::Failed(error)) => (json!("failed"), json!(error.to_string())),
    };
    json!({ "topic": difference.topic, "role": difference.role.to_string(), "change": change, "setting": setting, "from": from,
        "to": to, "needs": need, "note": note, "outcome": outcome, "reason": reason })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{log::LogError, runtime::topics::Role};

    fn difference(topic: &str, change: Change, need: Need) -> Difference {
        Difference { topic: topic.to_owned(), role: Role::Events, change, need }
    }

    fn set() -> Change {
        Change::Set { name: "retention.ms", from: "86400000".to_owned(), to: "604800000".to_owned() }
    }

    fn text(shown: &Shown, in_colours: bool) -> String {
        let mut out = Vec::new();
        shown.write(false, in_colours, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_plan_reads_like_a_diff_and_has_colours_on_a_terminal_only() {
        let widen = difference("t", Change::Partitions { from: 3, to: 6 }, Need::Repartition("keys move".to_owned()));
        let shown = Shown {
            topics: 2,
            outcomes: vec![(widen, None), (difference("t", set(), Need::Nothing), None)],
            ..Shown::default()
        };
        let plain = "t (events)\n- partitions 3\n+ partitions 6\n! needs --allow-repartition: keys move\n\
                     - retention.ms 86400000 (1d)\n+ retention.ms 604800000 (7d)\n\
                     2 topics compared, 2 differences: `streamgauge topics apply` mends what it may.\n";
        assert_eq!(text(&shown, false), plain);
        let colourful = text(&shown, true);
        assert!(colourful.contains("\x1b[31m- partitions 3\x1b[0m\n\x1b[32m+ partitions 6\x1b[0m\n"), "{colourful:?}");
    }

    #[test]
    fn the_exit_code_tells_same_different_and_cannot_say_apart() {
        let unseen = || BTreeMap::from([("t".to_owned(), "not authorized".to_owned())]);
        let refused = LogError::Refused { what: "x".to_owned(), reason: "policy".to_owned() };
        let cases = [
            (vec![], false, 0),
            (vec![], true, 2),
            (vec![None], false, 1),
            (vec![None], true, 1),
            (vec![Some(Outcome::Done)], false, 0),
            (vec![Some(Outcome::Done)], true, 2),
            (vec![Some(Outcome::Done), Some(Outcome::Left("needs".to_owned()))], false, 1),
            (vec![Some(Outcome::Failed(refused))], true, 1),
        ];
        for (outcomes, is_unseen, code) in cases {
            let outcomes = outcomes.into_iter().map(|outcome| (difference("t", set(), Need::Nothing), outcome));
            let unseen = if is_unseen { unseen() } else { BTreeMap::new() };
            let shown = Shown { topics: 1, outcomes: outcomes.collect(), unseen };
            assert_eq!(shown.code(), code, "{shown:?}");
        }
    }
}
