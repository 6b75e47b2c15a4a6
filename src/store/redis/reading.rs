//! Queries as commands, and Redis' answers as values.

use fred::types::Value;

use super::{lanes::Call, layout::Layouts, statuses};
use crate::{
    model::{Answer, Origin, Query, RecentItem, TopItem},
    store::StoreError,
};

/// Most elements that one page of a set asks for.
const PAGE_MAX: usize = 10_000;

pub(super) fn corrupt(doing: &str, reason: impl Into<String>) -> StoreError {
    StoreError::Corrupt { doing: doing.to_owned(), reason: reason.into() }
}

/// A bulk string as text.
pub(super) fn text(doing: &str, value: &Value) -> Result<String, StoreError> {
    value.as_string().ok_or_else(|| corrupt(doing, "a text was expected and something else is stored"))
}

/// A bulk string that may be absent.
pub(super) fn optional_text(doing: &str, value: &Value) -> Result<Option<String>, StoreError> {
    if value.is_null() { Ok(None) } else { text(doing, value).map(Some) }
}

/// A stored whole number. `name` says which, for the error.
pub(super) fn number(doing: &str, name: &str, value: &Value) -> Result<i64, StoreError> {
    value.as_i64().ok_or_else(|| {
        corrupt(doing, format!("{name:?} holds something that is no whole number: something else writes to it"))
    })
}

/// Elements of an answer that is a list.
pub(super) fn list(value: Value) -> Vec<Value> {
    if value.is_null() { Vec::new() } else { value.into_array() }
}

/// A page as the scanning commands answer it: the next cursor (`None` at the end), and the flat list.
pub(super) fn page(doing: &str, value: Value) -> Result<(Option<String>, Vec<Value>), StoreError> {
    let mut parts = list(value).into_iter();
    let (Some(cursor), Some(items), None) = (parts.next(), parts.next(), parts.next()) else {
        return Err(corrupt(doing, "Redis answered no page"));
    };
    let cursor = text(doing, &cursor)?;
    Ok(((cursor != "0").then_some(cursor), list(items)))
}

/// The cursor as Redis takes it.
pub(super) fn cursor(doing: &str, cursor: &str) -> Result<String, StoreError> {
    match cursor {
        "" => Ok("0".to_owned()),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) && digits.parse::<u64>().is_ok() => Ok(digits.to_owned()),
        other => Err(StoreError::no_cursor(doing, other)),
    }
}

/// The pieces of a counter together.
pub(super) fn sum(doing: &str, name: &str, pieces: impl IntoIterator<Item = i64>) -> Result<i64, StoreError> {
    let sum = pieces.into_iter().map(i128::from).sum::<i128>();
    i64::try_from(sum).map_err(|_| corrupt(doing, format!("the pieces of {name:?} do not fit 64 bits together")))
}

/// The commands that answer a query; [`answer`] takes as many answers.
pub(super) fn calls(layouts: &Layouts, query: &Query) -> Result<Vec<Call>, StoreError> {
    let newest = |limit: usize| match limit {
        0 => "-1".to_owned(),
        _ => (limit - 1).to_string(),
    };
    Ok(match query {
        Query::Counter(name) => {
            layouts.all().iter().map(|layout| Call::new("HGET", [&layout.aggregated, name])).collect()
        }
        Query::Unique(name) => vec![Call::new("PFCOUNT", [layouts.of(name).key(name)])],
        Query::Recent { limit: 0, .. } | Query::Top { limit: 0, .. } => Vec::new(),
        Query::Recent { key, limit } | Query::Top { key, limit } => {
            vec![Call::new(
                "ZREVRANGE",
                [layouts.of(key).key(key), "0".to_owned(), newest(*limit), "WITHSCORES".to_owned()],
            )]
        }
        Query::IsMember { key, element } => {
            let key = layouts.of(key).key(key);
            vec![Call::new("EXISTS", [&key]), Call::new("SISMEMBER", [&key, element])]
        }
        Query::Status { event_id, mark } => statuses::calls(layouts, event_id, mark),
        Query::Members { key, cursor: from, limit } => {
            let count = (*limit).clamp(1, PAGE_MAX).to_string();
            let from = cursor(&doing(query), from)?;
            vec![Call::new("SSCAN", [layouts.of(key).key(key), from, "COUNT".to_owned(), count])]
        }
    })
}

/// What reading a query is called in errors.
pub(super) fn doing(query: &Query) -> String {
    match query {
        Query::Counter(name) => format!("reading counter {name:?}"),
        Query::Unique(name) => format!("reading unique {name:?}"),
        Query::Recent { key, .. } => format!("reading history {key:?}"),
        Query::Top { key, .. } => format!("reading ranking {key:?}"),
        Query::IsMember { key, .. } | Query::Members { key, .. } => format!("reading set {key:?}"),
        Query::Status { event_id, .. } => format!("reading the status of event {event_id:?}"),
    }
}

/// The answer to a query from what its commands answered.
pub(super) fn answer(query: &Query, answers: Vec<Value>) -> Result<Answer, StoreError> {
    let doing = doing(query);
    let mut answers = answers.into_iter();
    let mut next = || answers.next().unwrap_or(Value::Null);
    Ok(match query {
        Query::Counter(name) => {
            let pieces = answers.filter(|piece| !piece.is_null()).map(|piece| number(&doing, name, &piece));
            let pieces: Vec<i64> = pieces.collect::<Result<_, _>>()?;
            Answer::Counter(if pieces.is_empty() { None } else { Some(sum(&doing, name, pieces)?) })
        }
        Query::Unique(name) => {
            // Elements are never taken out, so an estimate of 0 is a key that does not exist.
            let estimate = number(&doing, name, &next())?;
            Answer::Unique(u64::try_from(estimate).ok().filter(|estimate| *estimate > 0))
        }
        Query::Recent { key, .. } => {
            let scored = scored(&doing, key, next())?;
            let no_history = || StoreError::OtherKind {
                doing: doing.clone(),
                reason: "an entry has no origin: another rule, or something else, writes to the key".to_owned(),
            };
            let item = |(member, time_ms): (String, i64)| {
                let element = member.get(Origin::WIDTH..).ok_or_else(no_history)?;
                Ok(RecentItem { element: element.to_owned(), time_ms })
            };
            Answer::Recent(scored.into_iter().map(item).collect::<Result<_, StoreError>>()?)
        }
        Query::Top { key, .. } => {
            let scored = scored(&doing, key, next())?;
            Answer::Top(scored.into_iter().map(|(element, sum)| TopItem { element, sum }).collect())
        }
        Query::IsMember { key, .. } => {
            let exists = number(&doing, key, &next())? > 0;
            Answer::IsMember { exists, member: number(&doing, key, &next())? > 0 }
        }
        Query::Status { .. } => {
            let groups = next();
            statuses::answer(&doing, groups, next())?
        }
        Query::Members { .. } => {
            let (cursor, items) = page(&doing, next())?;
            let elements = items.iter().map(|item| text(&doing, item)).collect::<Result<_, _>>()?;
            Answer::Members { elements, cursor }
        }
    })
}

fn scored(doing: &str, key: &str, value: Value) -> Result<Vec<(String, i64)>, StoreError> {
    let items = list(value);
    let (pairs, _) = items.as_chunks::<2>();
    pairs.iter().map(|[member, score]| Ok((text(doing, member)?, whole_score(doing, key, score)?))).collect()
}

/// Redis writes whole scores beyond 17 digits with an exponent.
fn whole_score(doing: &str, key: &str, score: &Value) -> Result<i64, StoreError> {
    if let Some(whole) = score.as_i64() {
        return Ok(whole);
    }
    match score.as_f64() {
        Some(float) if float.fract() == 0.0 && float.abs() <= i64::MAX as f64 => Ok(float as i64),
        _ => number(doing, key, &Value::Null),
    }
}

/// A prefix as a pattern that matches what begins with it.
pub(super) fn prefix_pattern(prefix: &str) -> String {
    let mut pattern = String::with_capacity(prefix.len() + 1);
    for character in prefix.chars() {
        if matches!(character, '*' | '?' | '[' | ']' | '\\') {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push('*');
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_are_taken_literally() {
        for (prefix, pattern) in [("", "*"), ("video:", "video:*"), ("a*b?c[d]e\\", "a\\*b\\?c\\[d\\]e\\\\*")] {
            assert_eq!(prefix_pattern(prefix), pattern);
        }
    }
}
