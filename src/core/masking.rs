//! What of a record may be shown: fields that the catalogue marks `sensitive` are masked (SPEC 12).

use serde_json::Value;

use crate::{catalog::plan::Topic, model::MASK};

/// How a topic's records are shown.
pub struct Masking<'t> {
    topic: &'t Topic,
}

impl<'t> Masking<'t> {
    /// By what the catalogue says of the topic.
    pub fn of(topic: &'t Topic) -> Self {
        Self { topic }
    }

    /// Whether a name is that of a sensitive field. Names of attributes and headers are lower-case and may have a prefix.
    fn is_sensitive(&self, name: &str) -> bool {
        let name = name.strip_prefix("ce_").unwrap_or(name);
        let mut fields = self.topic.sensitive.iter().filter_map(|slot| self.topic.fields.get(usize::from(*slot)));
        fields.any(|field| field.eq_ignore_ascii_case(name))
    }

    /// A value as text: as it is where nothing in it is sensitive, else as JSON with masks, at any depth. `None` where something
    /// may be sensitive and cannot be found, since the value is no JSON.
    pub fn value(&self, value: &[u8]) -> Option<String> {
        let as_it_is = || String::from_utf8_lossy(value).into_owned();
        if self.topic.sensitive.is_empty() {
            return Some(as_it_is());
        }
        let mut json: Value = serde_json::from_slice(value).ok()?;
        Some(if self.mask(&mut json) { json.to_string() } else { as_it_is() })
    }

    /// A key as text, masked where it is made of a sensitive field.
    pub fn key(&self, key: &[u8]) -> String {
        match self.topic.key.iter().any(|slot| self.topic.sensitive.contains(slot)) {
            true => MASK.to_owned(),
            false => String::from_utf8_lossy(key).into_owned(),
        }
    }

    /// A header's value as text.
    pub fn header(&self, name: &str, value: &[u8]) -> String {
        if self.is_sensitive(name) { MASK.to_owned() } else { String::from_utf8_lossy(value).into_owned() }
    }

    /// Masks what is sensitive. `true` where there was any.
    fn mask(&self, json: &mut Value) -> bool {
        match json {
            Value::Object(members) => members.iter_mut().fold(false, |masked, (name, value)| {
                if self.is_sensitive(name) {
                    *value = Value::String(MASK.to_owned());
                    return true;
                }
                self.mask(value) || masked
            }),
            Value::Array(items) => {
                let mut is_masked = false;
                for item in items {
                    is_masked |= self.mask(item);
                }
                is_masked
            }
            // A text may be JSON once more, as some producers write it.
            Value::String(text) if text.starts_with(['{', '[']) => {
                let Ok(mut inner) = serde_json::from_str(text) else { return false };
                let is_masked = self.mask(&mut inner);
                if is_masked {
                    *text = inner.to_string();
                }
                is_masked
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{self, Source};

    #[test]
    fn sensitive_fields_are_masked_wherever_they_lie() {
        let shown = |sensitive: &str, value: &str| {
            let text = format!(
                "name = \"c\"\n[[topic]]\nname = \"t\"\nkey = [\"phone\"]\n{sensitive}\n[[topic.event]]\ntype = \"e\"\n\
                 required = [\"phone\"]\nrules = [{{ count = \"n\" }}]\n"
            );
            let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text }]).unwrap();
            let masking = Masking::of(&catalog.topics[0]);
            (masking.value(value.as_bytes()), masking.key(b"+55"), masking.header("ce_phone", b"+55"))
        };
        let (marked, plain) = ("sensitive = [\"phone\"]", "");
        for (value, expected) in [
            (r#"{"phone":"+55","a":1}"#, Some(r#"{"phone":"***","a":1}"#)),
            (
                r#"{"data":{"phone":["+55"]},"list":[{"Phone":1}]}"#,
                Some(r#"{"data":{"phone":"***"},"list":[{"Phone":"***"}]}"#),
            ),
            (r#"{ "a" : 1 }"#, Some(r#"{ "a" : 1 }"#)),
            (r#"{"text":"{\"phone\":\"+55\"}"}"#, Some(r#"{"text":"{\"phone\":\"***\"}"}"#)),
            (r#"{"phone":"+55""#, None),
            ("", None),
        ] {
            let (value_shown, key, header) = shown(marked, value);
            let same = |shown: &str, expected: &str| {
                let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
                read(shown) == read(expected)
            };
            match (&value_shown, expected) {
                (Some(shown), Some(expected)) => assert!(same(shown, expected), "{value}: {shown}"),
                (shown, expected) => assert_eq!(shown.as_deref(), expected, "{value}"),
            }
            assert_eq!((key.as_str(), header.as_str()), (MASK, MASK));
        }
        let broken = r#"{"phone":"+55""#;
        assert_eq!(shown(plain, broken), (Some(broken.to_owned()), "+55".to_owned(), "+55".to_owned()));
    }
}
