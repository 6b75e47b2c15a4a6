//! Templates as text: `video:{videoId}:views` into parts, with the place of what is wrong.

/// A part of a template whose fields are still names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NamedPart<'t> {
    /// Text as it stands.
    Literal(&'t str),
    /// A field, and whether it may be missing.
    Field {
        /// Name of the field.
        name: &'t str,
        /// Written with a question mark.
        optional: bool,
    },
    /// `{type}`.
    Type,
    /// `{day}`.
    Day,
    /// `{hour}`.
    Hour,
    /// `{topic}`.
    Topic,
}

/// What is wrong with a template.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TemplateError {
    /// Byte offset in the template.
    pub offset: usize,
    /// What is wrong.
    pub message: String,
    /// What would be right.
    pub help: &'static str,
}

/// Longest template, bytes.
pub(super) const MAX_TEMPLATE_BYTES: usize = 1_000;

/// Splits a template into its parts.
///
/// # Errors
/// The first thing that is wrong: braces that do not pair, an empty name, a character that substituted values are encoded
/// with (a literal `%` could be taken for one) or that no key should have.
pub(super) fn parse(text: &str) -> Result<Vec<NamedPart<'_>>, TemplateError> {
    let error = |offset, message: String, help| Err(TemplateError { offset, message, help });
    if text.is_empty() {
        return error(0, "the template is empty".to_owned(), "write a name, as in \"video:{videoId}:views\"");
    }
    if text.len() > MAX_TEMPLATE_BYTES {
        return error(0, format!("the template is longer than {MAX_TEMPLATE_BYTES} bytes"), "write a shorter one");
    }
    let mut parts = Vec::new();
    let mut at = 0;
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(inner) = rest.strip_prefix('{') {
            let Some(length) = inner.find(['{', '}']).filter(|end| inner.as_bytes()[*end] == b'}') else {
                return error(at, "a `{` without its `}`".to_owned(), "close the placeholder, as in {videoId}");
            };
            let part = placeholder(&inner[..length]);
            parts.push(part.map_err(|(message, help)| TemplateError { offset: at, message, help })?);
            at += length + 2;
            continue;
        }
        let end = rest.find('{').unwrap_or(rest.len());
        let literal = &rest[..end];
        if let Some((offset, found)) = literal.char_indices().find(|(_, c)| matches!(c, '}' | '%') || c.is_control()) {
            let help = match found {
                '}' => "open the placeholder, as in {videoId}",
                '%' => "leave it out: substituted values are percent-encoded, and this could be taken for one",
                _ => "leave it out: keys have no control characters",
            };
            return error(at + offset, format!("{found:?} may not stand in a template"), help);
        }
        parts.push(NamedPart::Literal(literal));
        at += end;
    }
    Ok(parts)
}

/// What stands between braces.
fn placeholder(inner: &str) -> Result<NamedPart<'_>, (String, &'static str)> {
    let (name, optional) = match inner.strip_suffix('?') {
        Some(name) => (name, true),
        None => (inner, false),
    };
    let part = match name {
        "type" => NamedPart::Type,
        "day" => NamedPart::Day,
        "hour" => NamedPart::Hour,
        "topic" => NamedPart::Topic,
        _ => {
            field_name(name)?;
            return Ok(NamedPart::Field { name, optional });
        }
    };
    if optional {
        return Err((format!("{{{inner}}} is always there"), "leave the question mark out"));
    }
    Ok(part)
}

/// Longest name of a field, bytes.
const MAX_FIELD_BYTES: usize = 128;

/// Checks the name of a field.
///
/// # Errors
/// What is wrong with it, and what would be right.
pub(super) fn field_name(name: &str) -> Result<(), (String, &'static str)> {
    if name.is_empty() {
        return Err(("the name of the field is empty".to_owned(), "name a field of the data, as in videoId"));
    }
    if name.len() > MAX_FIELD_BYTES {
        return Err((
            format!("the name of the field is longer than {MAX_FIELD_BYTES} bytes"),
            "name a field of the data",
        ));
    }
    let bad = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | '%' | '{' | '}' | '?' | '"');
    match name.chars().find(|c| bad(*c)) {
        Some(found) => Err((
            format!("{found:?} may not stand in the name of a field"),
            "name a field of the data, as in videoId; only a placeholder may end in a question mark",
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts() {
        use NamedPart::{Day, Field, Hour, Literal, Topic, Type};
        let parse = |text| parse(text).unwrap();
        assert_eq!(parse("a:b"), [Literal("a:b")]);
        let id = Field { name: "id", optional: false };
        assert_eq!(parse("v:{id}:x"), [Literal("v:"), id.clone(), Literal(":x")]);
        assert_eq!(parse("{id}{day}"), [id, Day]);
        assert_eq!(parse("{type}:{hour}:{topic}"), [Type, Literal(":"), Hour, Literal(":"), Topic]);
        assert_eq!(parse("{userId?}"), [Field { name: "userId", optional: true }]);
    }

    #[test]
    fn what_is_wrong_and_where() {
        let long = "x".repeat(MAX_TEMPLATE_BYTES + 1);
        for (text, offset, message) in [
            ("", 0, "empty"),
            ("a:{id", 2, "without its `}`"),
            ("a:{i{d}", 2, "without its `}`"),
            ("a:id}", 4, "'}' may not stand"),
            ("a{}", 1, "name of the field is empty"),
            ("a{?}", 1, "name of the field is empty"),
            ("100%:{a}", 3, "'%' may not stand"),
            ("a\tb", 1, "'\\t' may not stand"),
            ("x{day?}", 1, "always there"),
            ("x{a b}", 1, "' ' may not stand"),
            ("x{a:b}", 1, "':' may not stand"),
            (&long, 0, "longer than"),
        ] {
            let error = parse(text).unwrap_err();
            assert_eq!(error.offset, offset, "{text}");
            assert!(error.message.contains(message), "{text}: {}", error.message);
        }
    }
}
