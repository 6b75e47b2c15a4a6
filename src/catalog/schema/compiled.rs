//! A schema that is compiled, and what it says of an event.

use std::{
    fmt::{self, Write},
    sync::Arc,
};

use jsonschema::{Draft, PatternOptions, Validator};
use serde_json::Value;

use super::instance::{InPlace, Instance};

/// Largest schema, bytes: its text is kept beside the rules' wherever these are.
pub const MAX_SCHEMA_BYTES: usize = 128 * 1024;
/// Longest text about an event that does not fit, bytes. What schemas list, such as an enum, has no end of its own.
const MAX_EXPECTED_BYTES: usize = 300;
/// Longest path into an event that is told, bytes: names in it come from the event.
const MAX_PATH_BYTES: usize = 200;
/// The only draft that is taken.
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";
/// Keywords whose values are data and no schemas.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];

/// A JSON Schema that is ready to be asked.
pub struct Schema {
    text: Box<str>,
    validator: Validator<InPlace>,
}

/// Why an event does not fit its schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// JSON pointer to what does not fit; empty for the whole.
    pub path: String,
    /// What was expected there. No value of the event stands in it.
    pub expected: String,
}

/// Why a text is no schema that can be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    /// JSON pointer to the place, or where the text ends to be JSON.
    pub(super) at: FaultAt,
    pub(super) message: String,
    pub(super) help: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum FaultAt {
    Pointer(String),
    Line { line: usize, column: usize },
}

impl Schema {
    /// Compiles a text.
    pub(super) fn compile(text: &str) -> Result<Self, Fault> {
        let fault =
            |pointer: &str, message: String, help| Fault { at: FaultAt::Pointer(pointer.to_owned()), message, help };
        if text.len() > MAX_SCHEMA_BYTES {
            let message = format!("the schema is larger than {MAX_SCHEMA_BYTES} bytes");
            return Err(fault("", message, "leave out what does not decide whether an event fits, such as examples"));
        }
        let schema: Value = serde_json::from_str(text).map_err(|error| Fault {
            at: FaultAt::Line { line: error.line().max(1), column: error.column().max(1) },
            message: format!("the schema is not JSON: {error}"),
            help: "a schema file is one JSON object",
        })?;
        let Some(object) = schema.as_object() else {
            return Err(fault("", "the schema is no JSON object".to_owned(), "a schema file is one JSON object"));
        };
        if let Some(draft) = object.get("$schema").filter(|draft| draft.as_str().is_none_or(|uri| !is_draft(uri))) {
            let message = format!("the schema is of {draft}");
            return Err(fault(
                "/$schema",
                message,
                "write \"$schema\": \"https://json-schema.org/draft/2020-12/schema\", or leave it out",
            ));
        }
        if let Some((pointer, target)) = outside(&schema, &mut String::new()) {
            let message = format!("`{target}` lies outside of this file");
            return Err(fault(
                &pointer,
                message,
                "put what it refers to into $defs of this file, as {\"$ref\": \"#/$defs/name\"}",
            ));
        }
        // Patterns are matched in linear time, whatever an event holds: so none that looks around or back.
        let options = jsonschema::options_for::<InPlace>()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex());
        let validator = options.offline().build(&schema).map_err(|error| {
            let message = format!("the schema cannot be used: {}", cut(&error, MAX_EXPECTED_BYTES));
            fault(error.instance_path().as_str(), message, "see https://json-schema.org/draft/2020-12 for what may stand here; a pattern may not look around or refer back")
        })?;
        Ok(Self { text: canonical(&schema).into(), validator })
    }

    /// Compiles a text that lies in no file.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(text: &str) -> Result<Arc<Self>, String> {
        Self::compile(text).map(Arc::new).map_err(|fault| fault.message)
    }

    /// The schema as JSON without white space, names in the order of their letters: the same for files that say the same.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Says whether an event's data, as JSON text, fits.
    ///
    /// # Errors
    /// The first thing that does not fit. JSON that cannot be held, such as a number beyond any type, does not fit either.
    pub fn check(&self, data: &str) -> Result<(), Violation> {
        self.check_in(data, &mut Instance::default())
    }

    /// [`Schema::check`] in memory that serves one event after the other.
    ///
    /// # Errors
    /// As there.
    pub fn check_in(&self, data: &str, instance: &mut Instance) -> Result<(), Violation> {
        let looked = instance.with(data, |data| {
            // Whether it fits is asked first: to say why not takes notes on the way.
            if self.validator.is_valid(data) {
                return Ok(());
            }
            self.validator.validate(data).map_err(|error| Violation {
                path: cut(&error.instance_path(), MAX_PATH_BYTES),
                expected: cut(&error.masked(), MAX_EXPECTED_BYTES),
            })
        });
        looked.unwrap_or_else(|error| Err(Violation { path: String::new(), expected: cut(&error, MAX_EXPECTED_BYTES) }))
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Schema").field("text", &self.text).finish_non_exhaustive()
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.path {
            "" => write!(f, "the data does not fit its schema: {}", self.expected),
            path => write!(f, "the data does not fit its schema at {path}: {}", self.expected),
        }
    }
}

fn is_draft(uri: &str) -> bool {
    uri.strip_suffix('#').unwrap_or(uri) == DRAFT
}

/// The first reference that leads out of the schema, and the pointer to it.
fn outside(schema: &Value, at: &mut String) -> Option<(String, String)> {
    let within = |at: &mut String, name: &str, value: &Value| {
        let length = at.len();
        at.push('/');
        at.push_str(&name.replace('~', "~0").replace('/', "~1"));
        let found = outside(value, at);
        at.truncate(length);
        found
    };
    match schema {
        Value::Object(members) => members.iter().find_map(|(name, value)| match value {
            Value::String(target) if matches!(&**name, "$ref" | "$dynamicRef") && !target.starts_with('#') => {
                Some((format!("{at}/{name}"), target.clone()))
            }
            value if !DATA.contains(&&**name) => within(at, name, value),
            _ => None,
        }),
        Value::Array(items) => {
            items.iter().enumerate().find_map(|(index, value)| within(at, &index.to_string(), value))
        }
        _ => None,
    }
}

/// JSON with the names of each object in order, whatever order `serde_json` keeps them in.
fn canonical(value: &Value) -> String {
    fn write(value: &Value, out: &mut String) {
        match value {
            Value::Object(members) => {
                let mut members: Vec<_> = members.iter().collect();
                members.sort_unstable_by_key(|(name, _)| *name);
                out.push('{');
                for (index, (name, value)) in members.into_iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    out.push_str(&Value::from(&**name).to_string());
                    out.push(':');
                    write(value, out);
                }
                out.push('}');
            }
            Value::Array(items) => {
                out.push('[');
                for (index, value) in items.iter().enumerate() {
                    out.push_str(if index > 0 { "," } else { "" });
                    write(value, out);
                }
                out.push(']');
            }
            other => out.push_str(&other.to_string()),
        }
    }
    let mut out = String::new();
    write(value, &mut out);
    out
}

/// What is shown, up to a number of bytes: no more than that is ever written.
fn cut(shown: &dyn fmt::Display, max_bytes: usize) -> String {
    struct Cut(String, usize);
    impl Write for Cut {
        fn write_str(&mut self, text: &str) -> fmt::Result {
            let room = self.1 - self.0.len();
            if text.len() <= room {
                self.0.push_str(text);
                return Ok(());
            }
            let end = (0..=room).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            self.0.push_str(&text[..end]);
            Err(fmt::Error)
        }
    }
    let mut cut = Cut(String::new(), max_bytes);
    if write!(cut, "{shown}").is_err() {
        cut.0.push('…');
    }
    cut.0
}

#[cfg(test)]
mod tests;
