//! The fields of a table, read one by one; what is wrong with them is noted, all of it.

use serde_json::{Map, Value};

use crate::{catalog::nearest, config::error::Problem};

/// A table of the file, and where its problems go.
pub(super) struct Table<'a> {
    /// How its problems name it.
    pub name: String,
    pub values: &'a Map<String, Value>,
    pub problems: &'a mut Vec<Problem>,
}

impl Table<'_> {
    /// Values are not named: a URL may hold a password.
    pub fn refuse(&mut self, field: &str, message: &str) {
        self.problems.push(Problem::new(self.name.clone(), format!("{field} {message}")));
    }

    pub fn refuse_unknown(&mut self, known: &[&str], inside: &str) {
        for name in self.values.keys().filter(|name| !known.contains(&name.as_str())) {
            let hint = match nearest(name, known.iter().copied()) {
                Some(near) => format!("the nearest is {inside}{near}"),
                None => format!("there are {}", known.join(", ")),
            };
            self.problems.push(Problem::new(self.name.clone(), format!("{inside}{name} is no field; {hint}")));
        }
    }

    pub fn inner(&mut self, field: &str) -> Option<Table<'_>> {
        match self.values.get(field)? {
            Value::Object(values) => Some(Table { name: self.name.clone(), values, problems: &mut *self.problems }),
            _ => {
                self.refuse(field, "must be a table");
                None
            }
        }
    }

    pub fn text(&mut self, field: &str) -> Option<String> {
        match self.values.get(field)? {
            Value::String(text) => Some(text.clone()),
            _ => {
                self.refuse(field, "must be text");
                None
            }
        }
    }

    /// Texts; one alone is a list of one.
    pub fn list(&mut self, field: &str) -> Vec<String> {
        let texts = |items: &[Value]| items.iter().map(|item| item.as_str().map(str::to_owned)).collect();
        let list: Option<Vec<String>> = match self.values.get(field) {
            None => return Vec::new(),
            Some(Value::Array(items)) => texts(items),
            Some(one) => texts(std::slice::from_ref(one)),
        };
        list.unwrap_or_else(|| {
            self.refuse(field, "must be a list of names");
            Vec::new()
        })
    }

    pub fn given(&mut self, field: &str, range: std::ops::RangeInclusive<u64>) -> Option<u64> {
        let value = self.values.get(field)?;
        let number = value.as_u64().filter(|number| range.contains(number));
        if number.is_none() {
            self.refuse(field, &format!("must be a whole number from {} to {}", range.start(), range.end()));
        }
        number
    }

    pub fn number(&mut self, field: &str, range: std::ops::RangeInclusive<u64>, otherwise: u64) -> u64 {
        self.given(field, range).unwrap_or(otherwise)
    }

    /// One of these words; the first where none is given.
    pub fn choice(&mut self, field: &str, words: &[&'static str]) -> &'static str {
        let given = self.values.get(field).map(|value| value.as_str().unwrap_or_default());
        let found = given.map_or(Some(&words[0]), |given| words.iter().find(|word| **word == given));
        found.copied().unwrap_or_else(|| {
            self.refuse(field, &format!("must be one of {}", words.join(", ")));
            words[0]
        })
    }
}
