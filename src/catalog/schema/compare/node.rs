//! A place in a schema: references followed, and what is beyond comparing.

use std::{ptr, sync::Arc};

use serde_json::{Map, Value};

use crate::catalog::schema::Schema;

/// Keywords that are not looked into.
pub(super) const BEYOND: &[&str] = &[
    "allOf",
    "anyOf",
    "oneOf",
    "not",
    "if",
    "then",
    "else",
    "dependentRequired",
    "dependentSchemas",
    "propertyNames",
    "patternProperties",
    "unevaluatedProperties",
    "unevaluatedItems",
    "prefixItems",
    "contains",
    "minContains",
    "maxContains",
    "$dynamicRef",
];
/// Keywords that may stand beside a reference: they say nothing about values.
const BESIDE: &[&str] = &[
    "title",
    "description",
    "$comment",
    "default",
    "examples",
    "deprecated",
    "readOnly",
    "writeOnly",
    "$defs",
    "$schema",
    "$id",
];
/// References that are followed from one to the next.
const MAX_REFERENCES: usize = 32;

/// A place in a schema that is no reference.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    pub(super) value: &'a Value,
}

impl<'a> Node<'a> {
    /// The place that this leads to; or why that cannot be told.
    pub(super) fn of(root: &'a Value, mut value: &'a Value) -> Result<Self, String> {
        for _ in 0..MAX_REFERENCES {
            let Some(target) = value.get("$ref").and_then(Value::as_str) else { return Ok(Self { value }) };
            let mut names = value.as_object().into_iter().flat_map(Map::keys);
            if let Some(name) = names.find(|name| *name != "$ref" && !BESIDE.contains(&&***name)) {
                return Err(format!("`{name}` stands beside `$ref`"));
            }
            let pointer = target.strip_prefix('#').filter(|pointer| pointer.is_empty() || pointer.starts_with('/'));
            value = pointer.and_then(|pointer| root.pointer(pointer)).ok_or_else(|| format!("`$ref` to {target}"))?;
        }
        Err("`$ref` goes round".to_owned())
    }

    pub(super) fn members(&self) -> Option<&'a Map<String, Value>> {
        self.value.as_object()
    }

    pub(super) fn is_nothing(&self) -> bool {
        *self.value == Value::Bool(false)
    }

    /// This place as a schema of its own.
    pub(super) fn judge(&self, root: &Value) -> Option<Arc<Schema>> {
        let mut schema = self.members()?.clone();
        if !ptr::eq(self.value, root) {
            let definitions = root.get("$defs").cloned().unwrap_or_else(|| Map::new().into());
            schema.insert("$defs".to_owned(), definitions);
        }
        Schema::parse(&Value::Object(schema).to_string()).ok()
    }
}

/// Whether a keyword is the same on both sides, with what it refers to.
pub(super) fn says_the_same(
    keyword: &str,
    one: (&Value, &Map<String, Value>),
    other: (&Value, &Map<String, Value>),
) -> bool {
    let (Some(said), Some(as_said)) = (one.1.get(keyword), other.1.get(keyword)) else { return false };
    said == as_said && (!refers(said) || one.0.get("$defs") == other.0.get("$defs") && !refers_elsewhere(said))
}

fn refers(value: &Value) -> bool {
    any_reference(value, &|_| true)
}

fn refers_elsewhere(value: &Value) -> bool {
    any_reference(value, &|target| !target.starts_with("#/$defs/"))
}

fn any_reference(value: &Value, is: &impl Fn(&str) -> bool) -> bool {
    match value {
        Value::Object(members) => {
            let here = |name: &String, value: &Value| name.starts_with('$') && value.as_str().is_some_and(is);
            members.iter().any(|(name, value)| here(name, value) || any_reference(value, is))
        }
        Value::Array(items) => items.iter().any(|item| any_reference(item, is)),
        _ => false,
    }
}
