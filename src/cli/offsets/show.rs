//! What `offsets` prints: tables and sentences for people, JSON for scripts.

use std::{collections::BTreeSet, io::Write};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::{Value, json};

use super::{
    change::{Change, Effect, counters},
    standing::Standing,
};
use crate::config::OffsetReset;

/// Moves, and what is to be said beside them.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// The moves.
    pub changes: Vec<Change>,
    /// What else the user should know.
    pub notes: Vec<String>,
    /// Whose offsets these are: it has counted what lies before them.
    pub from_group: Option<String>,
}

/// Writes how partitions stand.
///
/// # Errors
/// `out` cannot be written.
pub fn list(standings: &[Standing], absent: &[String], json: bool, out: &mut dyn Write) -> anyhow::Result<()> {
    if json {
        let rows: Vec<Value> = standings.iter().map(as_json).collect();
        writeln!(out, "{}", serde_json::to_string_pretty(&json!({ "partitions": rows, "absentTopics": absent }))?)?;
        return Ok(());
    }
    let header = ["topic", "partition", "checkpoint", "origin", "log start", "log end", "lag", "holder"];
    let row = |standing: &Standing| {
        let number = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        let holder = standing.holder.as_ref();
        [
            standing.partition.topic.to_string(),
            standing.partition.partition.to_string(),
            number(standing.checkpoint().map(|checkpoint| checkpoint.offset)),
            number(standing.origin()),
            standing.log_start.to_string(),
            standing.log_end.to_string(),
            number(standing.lag()),
            holder.map_or_else(|| "-".to_owned(), |holder| format!("{} ({})", holder.host, holder.member)),
        ]
    };
    write_table(header, standings.iter().map(row), 1..7, out)?;
    for topic in absent {
        writeln!(out, "The log has no topic {topic} yet.")?;
    }
    Ok(())
}

fn as_json(standing: &Standing) -> Value {
    let checkpoint = standing.checkpoint();
    let holder = standing.holder.as_ref();
    json!({
        "topic": &*standing.partition.topic,
        "partition": standing.partition.partition,
        "checkpoint": checkpoint.map(|checkpoint| checkpoint.offset),
        "incarnation": checkpoint.map(|checkpoint| checkpoint.incarnation),
        "origin": standing.origin(),
        "logStart": standing.log_start,
        "logEnd": standing.log_end,
        "lag": standing.lag(),
        "holder": holder.map(|holder| json!({ "member": &*holder.member, "host": holder.host })),
    })
}

/// Writes what would be done; or, with what was refused, what was done.
///
/// # Errors
/// `out` cannot be written.
pub fn plan(
    plan: &Plan,
    reset: OffsetReset,
    done: Option<&[String]>,
    json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    if json {
        let change = |change: &Change| {
            let Effect { counted_again, skipped } = change.effect(reset);
            let standing = &change.standing;
            json!({
                "topic": &*standing.partition.topic,
                "partition": standing.partition.partition,
                "from": standing.checkpoint().map(|checkpoint| checkpoint.offset),
                "to": change.to,
                "incarnation": change.incarnation(),
                "countedAgain": counted_again,
                "skipped": skipped,
            })
        };
        let changes: Vec<Value> = plan.changes.iter().map(change).collect();
        let shown = json!({ "executed": done.is_some(), "changes": changes, "counters": counters(&plan.changes, reset),
            "notes": plan.notes, "refused": done.unwrap_or_default() });
        writeln!(out, "{}", serde_json::to_string_pretty(&shown)?)?;
        return Ok(());
    }
    if let Some(refused) = done {
        writeln!(out, "{} partitions were moved.", plan.changes.len() - refused.len().min(plan.changes.len()))?;
        for refused in refused {
            writeln!(out, "Not moved: {refused}")?;
        }
        return warn(plan, reset, out);
    }
    let row = |change: &Change| {
        let effect = change.effect(reset);
        let from = change.standing.checkpoint().map_or_else(|| "-".to_owned(), |from| from.offset.to_string());
        [
            change.standing.partition.topic.to_string(),
            change.standing.partition.partition.to_string(),
            from,
            change.to.to_string(),
            effect.counted_again.to_string(),
            effect.skipped.to_string(),
        ]
    };
    if !plan.changes.is_empty() {
        let header = ["topic", "partition", "from", "to", "counted again", "skipped"];
        write_table(header, plan.changes.iter().map(row), 1..6, out)?;
    }
    for note in &plan.notes {
        writeln!(out, "Note: {note}.")?;
    }
    warn(plan, reset, out)?;
    let last = match plan.changes.is_empty() {
        true => "There is nothing to move.",
        false => "Nothing is changed yet: --execute does it.",
    };
    writeln!(out, "{last}")?;
    Ok(())
}

/// What a move does to counters (SPEC 5).
fn warn(plan: &Plan, reset: OffsetReset, out: &mut dyn Write) -> anyhow::Result<()> {
    let effects = plan.changes.iter().map(|change| change.effect(reset));
    let sum = |of: fn(&Effect) -> i64| effects.clone().map(|effect| of(&effect)).fold(0_i64, i64::saturating_add);
    let (again, skipped) = (sum(|effect| effect.counted_again), sum(|effect| effect.skipped));
    if again > 0 {
        writeln!(
            out,
            "Up to {again} records are counted AGAIN: what they added stays in the counters and is added once more. For exact \
             totals from the log run `streamgauge counters rebuild{}`, now or afterwards: nothing has to stop for it.",
            topics_again(plan, reset)
        )?;
    }
    let is_begun = plan.changes.iter().any(|change| change.standing.checkpoint().is_some());
    match &plan.from_group {
        _ if skipped == 0 => {}
        Some(group) if !is_begun => writeln!(
            out,
            "Up to {skipped} records are not counted here, since group {group:?} has counted them: bring its totals in with \
             `streamgauge counters import`."
        )?,
        _ => writeln!(out, "Up to {skipped} records are SKIPPED: they are in no counter.")?,
    }
    for (topic, rules) in counters(&plan.changes, reset) {
        writeln!(out, "{topic} feeds:")?;
        for rule in rules {
            writeln!(out, "  {rule}")?;
        }
    }
    Ok(())
}

/// The topics that are counted again, as `counters rebuild` takes them.
fn topics_again(plan: &Plan, reset: OffsetReset) -> String {
    let again = plan.changes.iter().filter(|change| change.effect(reset).counted_again > 0);
    let topics: BTreeSet<&str> = again.map(|change| &*change.standing.partition.topic).collect();
    topics.into_iter().map(|topic| format!(" --topic {topic}")).collect()
}

/// Writes a table whose columns `numbers` stand to the right.
pub(in crate::cli) fn write_table<const N: usize>(
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
    numbers: std::ops::Range<usize>,
    out: &mut dyn Write,
) -> anyhow::Result<()> {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY).set_header(header);
    rows.for_each(|row| {
        table.add_row(row);
    });
    for column in table.column_iter_mut().skip(numbers.start).take(numbers.len()) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    writeln!(out, "{table}")?;
    Ok(())
}
