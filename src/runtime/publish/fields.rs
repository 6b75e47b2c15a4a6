//! The top level of an event's data, without parsing what lies below it.

use std::{borrow::Cow, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::PublishError;

/// The names and raw values of a JSON object, in order.
pub(super) struct Fields<'a> {
    text: &'a str,
    fields: Vec<(Cow<'a, str>, &'a RawValue)>,
}

impl<'a> Fields<'a> {
    /// # Errors
    /// The data is no object.
    pub(super) fn parse(data: &'a RawValue) -> Result<Self, PublishError> {
        let text = data.get();
        if !text.starts_with('{') {
            return Err(PublishError::Invalid("data must be a JSON object".to_owned()));
        }
        let Object(fields) =
            serde_json::from_str(text).map_err(|error| PublishError::Invalid(format!("data: {error}")))?;
        Ok(Self { text, fields })
    }

    /// The value of this name, where it is a string.
    pub(super) fn text(&self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.get(name)?.get();
        raw.starts_with('"').then(|| unquote(raw)).flatten()
    }

    /// What stands behind the opening brace, the closing one included.
    pub(super) fn tail(&self) -> &'a str {
        self.text.strip_prefix('{').unwrap_or(self.text)
    }

    /// Whether the object has no fields.
    pub(super) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// The object as it was written.
    pub(super) fn whole(&self) -> &'a str {
        self.text
    }

    /// The last value of this name: of several the last one counts.
    pub(super) fn get(&self, name: &str) -> Option<&'a RawValue> {
        self.fields.iter().rev().find(|(known, _)| known == name).map(|(_, value)| *value)
    }

    /// Whether a value is there; `null` counts as missing.
    pub(super) fn has(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.get() != "null")
    }

    /// A string that is not empty, or a whole number, as text.
    pub(super) fn scalar(&self, name: &str) -> Option<Cow<'a, str>> {
        let raw = self.get(name)?.get();
        let digits = raw.strip_prefix('-').unwrap_or(raw);
        if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Some(Cow::Borrowed(raw));
        }
        self.text(name).filter(|text| !text.is_empty())
    }
}

fn unquote(raw: &str) -> Option<Cow<'_, str>> {
    let Text(text) = serde_json::from_str(raw).ok()?;
    Some(text)
}

/// A string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de> Deserialize<'de> for Object<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Walk;
        impl<'de> Visitor<'de> for Walk {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Object<'de>, A::Error> {
                let mut fields = Vec::with_capacity(8);
                while let Some((Text(name), value)) = map.next_entry::<Text<'de>, &'de RawValue>()? {
                    fields.push((name, value));
                }
                Ok(Object(fields))
            }
        }
        deserializer.deserialize_map(Walk)
    }
}
