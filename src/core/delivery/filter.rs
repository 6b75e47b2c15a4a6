//! Which events a subscription wants.

use serde_json::Value;

use crate::catalog::plan::Priority;

/// Which events a subscription wants: all conditions that are given must hold.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Filter {
    /// Event types; empty is all.
    pub types: Vec<String>,
    /// Priorities; empty is all.
    pub priorities: Vec<Priority>,
    /// Members of the data, each with the values that it may have.
    pub data: Vec<(String, Vec<Value>)>,
}

impl Filter {
    /// Whether an event is wanted. `data` is its data as JSON.
    pub fn takes(&self, event_type: &str, priority: Priority, data: &str) -> bool {
        (self.types.is_empty() || self.types.iter().any(|name| name == event_type))
            && (self.priorities.is_empty() || self.priorities.contains(&priority))
            && (self.data.is_empty() || self.fits(data))
    }

    fn fits(&self, data: &str) -> bool {
        let Ok(data) = serde_json::from_str::<Value>(data) else { return false };
        self.data
            .iter()
            .all(|(name, values)| data.get(name).is_some_and(|found| values.iter().any(|value| is_equal(value, found))))
    }
}

/// Equal as JSON; numbers by what they are worth, so that 1 and 1.0 are one number.
fn is_equal(one: &Value, other: &Value) -> bool {
    match (one.as_f64(), other.as_f64()) {
        (Some(one), Some(other)) => one == other,
        _ => one == other,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_condition_that_is_given_must_hold() {
        let country = |values: &[Value]| vec![("country".to_owned(), values.to_vec())];
        let all = Filter::default();
        let types = Filter { types: vec!["a".into(), "b".into()], ..Filter::default() };
        let urgent = Filter { priorities: vec![Priority::Critical, Priority::High], ..Filter::default() };
        let brazil = Filter { data: country(&[json!("BR")]), ..Filter::default() };
        let either = Filter { data: country(&[json!("BR"), json!(55), json!(true)]), ..Filter::default() };
        for (filter, event_type, priority, data, expected) in [
            (&all, "a", Priority::Low, "{}", true),
            (&types, "b", Priority::Low, "{}", true),
            (&types, "c", Priority::Low, "{}", false),
            (&urgent, "a", Priority::High, "{}", true),
            (&urgent, "a", Priority::Normal, "{}", false),
            (&brazil, "a", Priority::Low, r#"{"country":"BR","x":1}"#, true),
            (&brazil, "a", Priority::Low, r#"{"country":"br"}"#, false),
            (&brazil, "a", Priority::Low, r#"{"inner":{"country":"BR"}}"#, false),
            (&brazil, "a", Priority::Low, "[1]", false),
            (&either, "a", Priority::Low, r#"{"country":55.0}"#, true),
            (&either, "a", Priority::Low, r#"{"country":"55"}"#, false),
            (&either, "a", Priority::Low, r#"{"country":true}"#, true),
            (&either, "a", Priority::Low, r#"{"country":null}"#, false),
        ] {
            assert_eq!(filter.takes(event_type, priority, data), expected, "{filter:?} {event_type} {data}");
        }
    }
}
