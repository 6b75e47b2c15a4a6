//! Which types of JSON a schema takes, and which values alone.

use std::fmt;

use serde_json::{Map, Value};

/// Most values that a message lists.
const MAX_LISTED: usize = 5;

const NAMES: [&str; 7] = ["null", "boolean", "integer", "fraction", "string", "array", "object"];
const ALL: u8 = 0x7f;
const NUMBER: u8 = 0b0000_1100;

/// A set of types, where a number is an integer or has a fraction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kinds(u8);

impl Kinds {
    /// What a schema takes as far as its `type` says.
    pub(super) fn of(members: &Map<String, Value>) -> Self {
        let bits = |name: &str| match name {
            "number" => NUMBER,
            name => NAMES.iter().position(|known| *known == name).map_or(0, |bit| 1 << bit),
        };
        Self(match members.get("type") {
            Some(Value::String(name)) => bits(name),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).fold(0, |all, name| all | bits(name)),
            _ => ALL,
        })
    }

    pub(super) fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    pub(super) fn both(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    pub(super) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(super) fn has_numbers(self) -> bool {
        self.0 & NUMBER != 0
    }

    /// All numbers of it are whole.
    pub(super) fn only_integers(self) -> bool {
        self.0 & NUMBER == self.bit("integer")
    }

    pub(super) fn has_strings(self) -> bool {
        self.0 & self.bit("string") != 0
    }

    pub(super) fn has_arrays(self) -> bool {
        self.0 & self.bit("array") != 0
    }

    pub(super) fn has_objects(self) -> bool {
        self.0 & self.bit("object") != 0
    }

    /// All values of these types, where they are few.
    pub(super) fn all_values(self) -> Option<Vec<Value>> {
        let few = self.bit("null") | self.bit("boolean");
        (self.0 & !few == 0).then(|| {
            let null = (self.0 & self.bit("null") != 0).then_some(Value::Null);
            let booleans = (self.0 & self.bit("boolean") != 0).then_some([Value::Bool(false), Value::Bool(true)]);
            null.into_iter().chain(booleans.into_iter().flatten()).collect()
        })
    }

    fn bit(self, name: &str) -> u8 {
        NAMES.iter().position(|known| *known == name).map_or(0, |bit| 1 << bit)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == ALL {
            return f.write_str("any type");
        }
        let is_number = self.0 & NUMBER == NUMBER;
        let mut names: Vec<&str> =
            (0..).zip(NAMES).filter(|(bit, _)| self.0 & 1 << bit != 0).map(|(_, name)| name).collect();
        if is_number {
            names.retain(|name| !matches!(*name, "integer" | "fraction"));
            names.push("number");
        }
        f.write_str(&names.join(" or "))
    }
}

/// The values that `const` or `enum` names.
pub(super) fn values(members: &Map<String, Value>) -> Option<Vec<&Value>> {
    match (members.get("const"), members.get("enum").and_then(Value::as_array)) {
        (Some(value), _) => Some(vec![value]),
        (None, Some(values)) => Some(values.iter().collect()),
        (None, None) => None,
    }
}

/// The first few values as JSON.
pub(super) fn listed(values: &[&Value]) -> String {
    let mut shown: Vec<String> = values.iter().take(MAX_LISTED).map(ToString::to_string).collect();
    if values.len() > MAX_LISTED {
        shown.push(format!("{} more", values.len() - MAX_LISTED));
    }
    shown.join(", ")
}
