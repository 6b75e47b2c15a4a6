//! Whether an event's data fits the schema of its type.
//!
//! Only here are all values of an event's data read, and only for a type that has a schema.

use std::borrow::Cow;

use super::{
    json::{Holds, Malformed, Scanner},
    reason::Reason,
};
use crate::catalog::schema::{Instance, Schema};

/// Holds data against a schema.
///
/// # Errors
/// The event is a dead letter: what does not fit, and where.
pub(super) fn check(schema: &Schema, data: &str, instance: &mut Instance) -> Result<(), Reason> {
    schema.check_in(data, instance).map_err(Reason::Schema)
}

/// The value of an object's member, as it lies in the text; of several with the name the last, as everywhere. The text is known
/// to be JSON. `{}` where there is none: then a schema says what it lacks.
pub(super) fn member<'a>(text: &'a str, name: &str) -> &'a str {
    find(text, name).ok().flatten().unwrap_or("{}")
}

fn find<'a>(text: &'a str, wanted: &str) -> Result<Option<&'a str>, Malformed> {
    let mut scanner = Scanner::new(text.as_bytes());
    let mut found = None;
    scanner.space();
    scanner.expect(b'{')?;
    scanner.space();
    if scanner.takes(b'}') {
        return Ok(None);
    }
    loop {
        let start = scanner.at();
        let holds = scanner.string()?;
        let raw = text.get(start..scanner.at()).unwrap_or_default();
        scanner.space();
        scanner.expect(b':')?;
        scanner.space();
        let start = scanner.at();
        scanner.value()?;
        if is_name(raw, holds, wanted) {
            found = text.get(start..scanner.at());
        }
        scanner.space();
        if !scanner.takes(b',') {
            return Ok(found);
        }
        scanner.space();
    }
}

fn is_name(raw: &str, holds: Holds, wanted: &str) -> bool {
    let name = match holds {
        Holds::Escapes => serde_json::from_str(raw).unwrap_or_default(),
        _ => Cow::Borrowed(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default()),
    };
    name == wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_found_as_it_lies_and_of_several_the_last() {
        for (text, found) in [
            (r#"{"data":{"a":1}}"#, r#"{"a":1}"#),
            (r#" { "a" : {"data":0} , "data" : [1, 2] } "#, "[1, 2]"),
            (r#"{"data":1,"data":2}"#, "2"),
            (r#"{"d\u0061ta":{"x":"}"},"data2":1}"#, r#"{"x":"}"}"#),
            ("{}", "{}"),
            (r#"{"a":1}"#, "{}"),
            ("[]", "{}"),
        ] {
            assert_eq!(member(text, "data"), found, "{text}");
        }
    }
}
