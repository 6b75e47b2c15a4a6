//! Bounds of numbers, lengths and counts, patterns and multiples.

use serde_json::{Map, Value};

use super::kinds::Kinds;

/// A bound of the reader that the writer does not keep.
pub(super) struct Problem {
    /// The reader refuses what can be written; `false` where that cannot be told.
    pub(super) breaks: bool,
    keyword: &'static str,
    taken: String,
    written: String,
}

impl Problem {
    pub(super) fn told(&self, reader: &str, writer: &str) -> String {
        let Self { keyword, taken, written, .. } = self;
        match &**written {
            "" => format!("`{keyword}` is {taken} in {reader}, {writer} has none"),
            written => format!("`{keyword}` is {taken} in {reader}, {written} in {writer}"),
        }
    }
}

/// Every bound of the reader that values of these kinds may break.
pub(super) fn problems(kinds: Kinds, takes: &Map<String, Value>, writes: &Map<String, Value>) -> Vec<Problem> {
    let mut found = Vec::new();
    if kinds.has_numbers() {
        let integers = kinds.only_integers();
        found.extend(limit(takes, writes, ["minimum", "exclusiveMinimum"], 1.0, integers));
        found.extend(limit(takes, writes, ["maximum", "exclusiveMaximum"], -1.0, integers));
        found.extend(multiple(takes, writes, integers));
    }
    if kinds.has_strings() {
        found.extend(limit(takes, writes, ["minLength", ""], 1.0, true));
        found.extend(limit(takes, writes, ["maxLength", ""], -1.0, true));
        found.extend(pattern(takes, writes));
    }
    if kinds.has_arrays() {
        found.extend(limit(takes, writes, ["minItems", ""], 1.0, true));
        found.extend(limit(takes, writes, ["maxItems", ""], -1.0, true));
        if is_true(takes, "uniqueItems") && !is_true(writes, "uniqueItems") {
            let (taken, written) = ("true".to_owned(), String::new());
            found.push(Problem { breaks: true, keyword: "uniqueItems", taken, written });
        }
    }
    if kinds.has_objects() {
        found.extend(limit(takes, writes, ["minProperties", ""], 1.0, true));
        found.extend(limit(takes, writes, ["maxProperties", ""], -1.0, true));
    }
    found
}

fn is_true(members: &Map<String, Value>, keyword: &str) -> bool {
    members.get(keyword) == Some(&Value::Bool(true))
}

/// A limit; `sign` is 1 for a lower one, -1 for an upper one, so that the larger one is always the stricter.
fn limit(
    takes: &Map<String, Value>,
    writes: &Map<String, Value>,
    keywords: [&'static str; 2],
    sign: f64,
    integers: bool,
) -> Option<Problem> {
    let strictest = |members: &Map<String, Value>| {
        let bound = |index: usize| {
            let number = members.get(keywords[index])?.as_f64()?;
            let is_exclusive = index == 1;
            // Of whole numbers those above 0 are those from 1 on.
            let inclusive = integers && is_exclusive && number.fract() == 0.0;
            Some(if inclusive { (sign * number + 1.0, false, index) } else { (sign * number, is_exclusive, index) })
        };
        [bound(0), bound(1)].into_iter().flatten().max_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)))
    };
    let shown = |members: &Map<String, Value>, index: usize| {
        members.get(keywords[index]).map(Value::to_string).unwrap_or_default()
    };
    let taken = strictest(takes)?;
    let written = strictest(writes);
    // Counts begin at 0, whatever is said.
    let is_kept = match written {
        Some(written) => (written.0, written.1) >= (taken.0, taken.1),
        None => keywords[1].is_empty() && sign > 0.0 && taken.0 <= 0.0,
    };
    (!is_kept).then(|| Problem {
        breaks: true,
        keyword: keywords[taken.2],
        taken: shown(takes, taken.2),
        written: written.map(|written| shown(writes, written.2)).unwrap_or_default(),
    })
}

fn multiple(takes: &Map<String, Value>, writes: &Map<String, Value>, integers: bool) -> Option<Problem> {
    const KEYWORD: &str = "multipleOf";
    let of = |members: &Map<String, Value>| members.get(KEYWORD).and_then(Value::as_f64);
    let taken = of(takes)?;
    let written = of(writes);
    let unit = written.or(integers.then_some(1.0));
    if unit.is_some_and(|unit| unit == taken || (unit.fract() == 0.0 && taken.fract() == 0.0 && unit % taken == 0.0)) {
        return None;
    }
    // Multiples of fractions are no matter of doubles.
    let breaks = written.is_none_or(|written| written.fract() == 0.0 && taken.fract() == 0.0);
    Some(Problem {
        breaks,
        keyword: KEYWORD,
        taken: taken.to_string(),
        written: written.map(|unit| unit.to_string()).unwrap_or_default(),
    })
}

fn pattern(takes: &Map<String, Value>, writes: &Map<String, Value>) -> Option<Problem> {
    const KEYWORD: &str = "pattern";
    let taken = takes.get(KEYWORD)?;
    let written = writes.get(KEYWORD);
    (written != Some(taken)).then(|| Problem {
        // Whether one pattern matches all that another does is beyond this.
        breaks: written.is_none(),
        keyword: KEYWORD,
        taken: taken.to_string(),
        written: written.map(Value::to_string).unwrap_or_default(),
    })
}
