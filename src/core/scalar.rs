//! JSON values as they lie in a record: raw text that is looked at only where a rule asks for it.

use std::borrow::Cow;

/// A field's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar<'a> {
    /// Not there, or null.
    Missing,
    /// A string, unescaped.
    Text(Cow<'a, str>),
    /// A number without fraction and exponent, in its canonical digits.
    Integer(&'a str),
    /// A number with a fraction or exponent, as written.
    Number(&'a str),
    /// true, false, an array or an object, or a string that is no Unicode text.
    Other,
}

impl<'a> Scalar<'a> {
    /// Reads one JSON value that is well formed; empty text means that it is absent. `has_escapes` says whether a string has
    /// any.
    pub fn of(raw: &'a str, has_escapes: bool) -> Self {
        match raw.as_bytes().first() {
            None | Some(b'n') => Self::Missing,
            // Only escapes cost an allocation. A lone surrogate is well-formed JSON but no text.
            Some(b'"') if has_escapes => {
                serde_json::from_str::<String>(raw).map_or(Self::Other, |text| Self::Text(Cow::Owned(text)))
            }
            Some(b'"') => Self::Text(Cow::Borrowed(raw.get(1..raw.len().saturating_sub(1)).unwrap_or_default())),
            Some(b'-' | b'0'..=b'9') => {
                if raw.bytes().any(|byte| matches!(byte, b'.' | b'e' | b'E')) {
                    Self::Number(raw)
                } else if raw == "-0" {
                    Self::Integer("0")
                } else {
                    Self::Integer(raw)
                }
            }
            Some(_) => Self::Other,
        }
    }

    /// The text under which the value takes part in keys and identities: a string and an integer render alike.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Text(text) if !text.is_empty() => Some(text),
            Self::Integer(digits) => Some(digits),
            _ => None,
        }
    }

    /// What the value is, for an error.
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Text(text) if text.is_empty() => "an empty string",
            Self::Text(_) => "a string",
            Self::Integer(_) => "an integer",
            Self::Number(_) => "a number with a fraction",
            Self::Other => "neither string nor integer",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_told_apart() {
        let cases: &[(&str, Scalar<'_>, Option<&str>)] = &[
            ("", Scalar::Missing, None),
            ("null", Scalar::Missing, None),
            ("\"abc\"", Scalar::Text("abc".into()), Some("abc")),
            ("\"\"", Scalar::Text("".into()), None),
            (r#""a\u00e9\"""#, Scalar::Text("aé\"".into()), Some("aé\"")),
            (r#""\ud800""#, Scalar::Other, None),
            ("12", Scalar::Integer("12"), Some("12")),
            ("-0", Scalar::Integer("0"), Some("0")),
            (
                "123456789012345678901234567890",
                Scalar::Integer("123456789012345678901234567890"),
                Some("123456789012345678901234567890"),
            ),
            ("1.0", Scalar::Number("1.0"), None),
            ("1e3", Scalar::Number("1e3"), None),
            ("true", Scalar::Other, None),
            ("[1]", Scalar::Other, None),
        ];
        for (raw, scalar, name) in cases {
            assert_eq!(&Scalar::of(raw, raw.contains('\\')), scalar, "{raw}");
            assert_eq!(scalar.name(), *name, "{raw}");
        }
    }
}
