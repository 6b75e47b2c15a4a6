//! Reads one rule of an event type.

use super::{
    draft::DraftRule,
    duration::{DAY_MS, HOUR_MS, parse_ms},
    finding::instead,
    plan::{Action, Amount, Decimal, Part, Rule, Slot, Template, Window},
    read_topic,
    reader::{At, Reader, Table},
    template::{self, NamedPart},
};

/// Most elements that a `recent` may keep.
const MAX_RECENT: i64 = 10_000;
/// Most windows of a `top`.
const MAX_WINDOWS: usize = 16;
/// Longest window of a `top`, milliseconds.
const MAX_WINDOW_MS: i64 = 366 * DAY_MS;
/// Greatest constant amount, and greatest scaled amount of a field: sums of such stay exact far from 64 bits.
pub const MAX_AMOUNT: i64 = 1_000_000_000_000_000;
/// Most digits after the point that are kept.
const MAX_SCALE: i64 = 15;
/// The kinds of rules; a rule is told by which of these it has.
const KINDS: &[&str] = &["count", "max", "last", "unique", "recent", "member", "top", "forward"];

type Fields = Vec<Box<str>>;

/// Reads a rule; `None` where too much of it is wrong.
pub(super) fn rule<'t>(
    reader: &mut Reader<'t>,
    table: Table<'t>,
    effect: u16,
    fields: &mut Fields,
) -> Option<(Rule, DraftRule)> {
    let mut kinds = KINDS.iter().copied().filter(|kind| table.values.get(*kind).is_some());
    let Some(kind) = kinds.next() else {
        let names: Vec<&str> = table.values.keys().map(|key| &**key.get_ref()).collect();
        let help =
            names.first().map_or_else(|| format!("known are: {}", KINDS.join(", ")), |name| instead(name, KINDS));
        reader.report(table.at, format!("a rule of no known kind: it has {}", list(&names)), help);
        return None;
    };
    if let Some(other) = kinds.next() {
        let message = format!("a rule is one of {kind} and {other}, not both");
        reader.report(table.at, message, "write two rules");
        return None;
    }
    let key = reader.text(table, kind);
    let action = match kind {
        "count" => count(reader, table, fields),
        "max" | "last" => highest_or_last(reader, table, kind, fields),
        "unique" => unique(reader, table, fields),
        "recent" => recent(reader, table, fields),
        "top" => top(reader, table, fields),
        "member" => member(reader, table, fields),
        _ => forward(reader, table, fields),
    }?;
    let shared = kind != "forward" && reader.flag(table, "shared");
    let place = reader.place(key.map_or(table.at, |key| key.at));
    Some((Rule { effect, action }, DraftRule { place, shared }))
}

fn list(names: &[&str]) -> String {
    if names.is_empty() { "nothing".to_owned() } else { names.join(", ") }
}

fn count<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Action> {
    reader.only(table, &["count", "by", "retention", "shared"]);
    let by = amount(reader, table, fields);
    let key = key(reader, table, "count", fields);
    let retention = reader.value(table, "retention").map(|found| found.at);
    let retention_ms = retention.map(|_| reader.duration_ms(table, "retention", "35d"));
    if let (Some(at), Some(key)) = (retention, &key)
        && !key.parts.contains(&Part::Day)
    {
        let help = "name the day in the key, as in \"orders:{day}\", or leave `retention` out";
        reader.report(at, "`retention` needs {day} in the key: else no key is ever over", help);
    }
    Some(Action::Count { key: key?, by: by?, retention_ms })
}

fn highest_or_last<'t>(
    reader: &mut Reader<'t>,
    table: Table<'t>,
    kind: &'static str,
    fields: &mut Fields,
) -> Option<Action> {
    reader.only(table, &[kind, "of", "shared"]);
    let key = key(reader, table, kind, fields);
    if table.values.get("of").is_none() {
        let help = "add of = { field = \"viewerCount\", scale = 0 }";
        reader.report(table.at, format!("{kind} needs `of`"), help);
        return None;
    }
    let (of, _) = decimal(reader, table, "of", 0, fields)?;
    let key = key?;
    Some(if kind == "max" { Action::Max { key, of } } else { Action::Last { key, of } })
}

fn unique<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Action> {
    reader.only(table, &["unique", "of", "per", "retention", "shared"]);
    let key = key(reader, table, "unique", fields);
    let of = element(reader, table, "unique", fields);
    let per_day = reader.choice(table, "per", &[("day", true), ("ever", false)], true);
    if !per_day && let Some(found) = reader.value(table, "retention") {
        reader.report(
            found.at,
            "`retention` has no effect with per = \"ever\"",
            "leave it out, or count per = \"day\"",
        );
    }
    let retention_ms = per_day.then(|| reader.duration_ms(table, "retention", "35d"));
    Some(Action::Unique { key: key?, of: of?, per_day, retention_ms })
}

fn recent<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Action> {
    reader.only(table, &["recent", "of", "cap", "shared"]);
    let key = key(reader, table, "recent", fields);
    let of = element(reader, table, "recent", fields);
    let cap = reader.integer(table, "cap", 1..=MAX_RECENT, 100) as usize;
    Some(Action::Recent { key: key?, of: of?, cap })
}

fn top<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Action> {
    reader.only(table, &["top", "of", "by", "windows", "retention", "shared"]);
    let key = key(reader, table, "top", fields);
    let of = element(reader, table, "top", fields);
    let by = amount(reader, table, fields);
    let windows = windows(reader, table);
    let retention_ms = reader.duration_ms(table, "retention", "7d");
    Some(Action::Top { key: key?, of: of?, by: by?, windows, retention_ms })
}

fn windows<'t>(reader: &mut Reader<'t>, table: Table<'t>) -> Vec<Window> {
    let fits = |ms: i64| {
        (HOUR_MS..=MAX_WINDOW_MS).contains(&ms) && ms % HOUR_MS == 0 && (DAY_MS % ms == 0 || ms % DAY_MS == 0)
    };
    let mut windows: Vec<Window> = Vec::new();
    let Some(labels) = reader.texts(table, "windows") else {
        return vec![
            Window { label: "1h".into(), length_ms: HOUR_MS },
            Window { label: "1d".into(), length_ms: DAY_MS },
        ];
    };
    if labels.is_empty() || labels.len() > MAX_WINDOWS {
        let message = format!("`windows` names {} windows", labels.len());
        reader.report(table.at, message, format!("name 1 to {MAX_WINDOWS}; the default is [\"1h\", \"1d\"]"));
    }
    for label in labels {
        let whole = label.value.ends_with(['h', 'd']) && !label.value.starts_with('0');
        let Some(length_ms) = parse_ms(label.value).filter(|ms| whole && fits(*ms)) else {
            let help =
                "a window is whole hours that divide a day (1h, 2h, 3h, 4h, 6h, 8h, 12h) or whole days (1d to 366d)";
            reader.report(label.at, format!("`windows` cannot have {:?}", label.value), help);
            continue;
        };
        if let Some(same) = windows.iter().find(|window| window.length_ms == length_ms) {
            let message = format!("`windows` has {:?} and {:?}, which are the same", same.label, label.value);
            reader.report(label.at, message, "leave one of them out");
            continue;
        }
        windows.push(Window { label: label.value.into(), length_ms });
    }
    windows
}

fn member<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Action> {
    reader.only(table, &["member", "of", "op", "moves", "order", "tombstones", "shared"]);
    let key = key(reader, table, "member", fields);
    let of = element(reader, table, "member", fields);
    let by_time = reader.choice(table, "order", &[("log", false), ("time", true)], false);
    if !by_time && let Some(found) = reader.value(table, "tombstones") {
        let help = "leave it out, or let the latest event decide: order = \"time\"";
        reader.report(found.at, "`tombstones` has no effect with order = \"log\"", help);
    }
    let tombstones_ms = by_time.then(|| reader.duration_ms(table, "tombstones", "7d"));
    let moves = match table.values.get("moves") {
        Some(_) => Some(self::key(reader, table, "moves", fields)?),
        None => None,
    };
    let op = reader.required_text(table, "op", "\"add\" or \"remove\"")?;
    let is_add = reader.choose(op, "op", &[("add", true), ("remove", false)])?;
    Some(Action::Member { key: key?, of: of?, is_add, moves, tombstones_ms })
}

fn forward<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Action> {
    reader.only(table, &["forward", "key"]);
    let topic = reader.text(table, "forward")?;
    read_topic::check_topic_name(reader, topic);
    let key = match reader.text(table, "key") {
        Some(text) => Some(template(reader, text, fields)?),
        None => None,
    };
    Some(Action::Forward { topic: topic.value.into(), key })
}

/// The element of a set, ranking or history.
fn element<'t>(reader: &mut Reader<'t>, table: Table<'t>, kind: &str, fields: &mut Fields) -> Option<Template> {
    if table.values.get("of").is_none() {
        reader.report(table.at, format!("{kind} needs `of`, the element"), "add of = \"{userId}\"");
        return None;
    }
    let text = reader.text(table, "of")?;
    template(reader, text, fields)
}

/// The template of a result's key.
fn key<'t>(reader: &mut Reader<'t>, table: Table<'t>, name: &str, fields: &mut Fields) -> Option<Template> {
    let text = reader.text(table, name)?;
    template(reader, text, fields)
}

fn template(reader: &mut Reader<'_>, text: At<&str>, fields: &mut Fields) -> Option<Template> {
    let named = match template::parse(text.value) {
        Ok(parts) => parts,
        Err(error) => {
            let at = reader.within(text, error.offset);
            reader.report(at, error.message, error.help);
            return None;
        }
    };
    let mut parts = Vec::with_capacity(named.len());
    for part in named {
        parts.push(match part {
            NamedPart::Literal(literal) => Part::Literal(literal.into()),
            NamedPart::Field { name, optional } => {
                let slot = read_topic::slot(reader, At { value: name, at: text.at }, fields)?;
                Part::Field { slot, optional }
            }
            NamedPart::Type => Part::Type,
            NamedPart::Day => Part::Day,
            NamedPart::Hour => Part::Hour,
            NamedPart::Topic => Part::Topic,
        });
    }
    Some(Template { text: text.value.into(), parts })
}

/// How much is added: a constant other than 0, or a decimal field.
fn amount<'t>(reader: &mut Reader<'t>, table: Table<'t>, fields: &mut Fields) -> Option<Amount> {
    match table.values.get("by").map(|value| value.get_ref().is_table()) {
        None => Some(Amount::Constant(1)),
        Some(true) => {
            let (decimal, negate) = decimal(reader, table, "by", 2, fields)?;
            Some(if negate { Amount::Negated(decimal) } else { Amount::Field(decimal) })
        }
        Some(false) => {
            let found = reader.findings.len();
            let by = reader.integer(table, "by", -MAX_AMOUNT..=MAX_AMOUNT, 1);
            if by == 0 && reader.findings.len() == found {
                let at = reader.value(table, "by").map_or(table.at, |value| value.at);
                reader.report(at, "`by` is 0, which adds nothing", "write 1, -1 or a field");
            }
            Some(Amount::Constant(by))
        }
    }
}

/// A decimal field with its scale, and whether it is negated, which only an amount can be. A question mark after its name
/// means, as in a template, that the rule is skipped where the field is missing.
fn decimal<'t>(
    reader: &mut Reader<'t>,
    table: Table<'t>,
    name: &str,
    default_scale: i64,
    fields: &mut Fields,
) -> Option<(Decimal, bool)> {
    let example = format!("{{ field = \"amount\", scale = {default_scale} }}");
    let wanted = format!("a table, as {example}");
    let given = reader.table(table, name, "a decimal field", &wanted)?;
    let is_amount = name == "by";
    reader.only(given, if is_amount { &["field", "scale", "negate"] } else { &["field", "scale"] });
    let field = reader.required_text(given, "field", "\"amount\"")?;
    let optional = field.value.strip_suffix('?');
    let field = At { value: optional.unwrap_or(field.value), at: field.at };
    let negate = is_amount && reader.flag(given, "negate");
    let scale = reader.integer(given, "scale", 0..=MAX_SCALE, default_scale) as u32;
    let slot: Slot = read_topic::slot(reader, field, fields)?;
    Some((Decimal { slot, scale, optional: optional.is_some() }, negate))
}
