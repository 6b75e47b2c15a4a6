//! What the library asks of a number.

use std::borrow::Cow;

use jsonschema::json::JsonNumber;
use serde_json::Number;

/// A number.
#[derive(Clone, Copy, Debug)]
pub(in crate::catalog::schema) enum Amount {
    Signed(i64),
    Unsigned(u64),
    Float(f64),
}

impl JsonNumber for Amount {
    fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::Signed(number) => u64::try_from(number).ok(),
            Self::Unsigned(number) => Some(number),
            Self::Float(_) => None,
        }
    }

    fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::Signed(number) => Some(number),
            Self::Unsigned(number) => i64::try_from(number).ok(),
            Self::Float(_) => None,
        }
    }

    fn as_f64(&self) -> Option<f64> {
        match *self {
            Self::Signed(number) => Some(number as f64),
            Self::Unsigned(number) => Some(number as f64),
            Self::Float(number) => Some(number),
        }
    }

    fn as_str(&self) -> Cow<'_, str> {
        Cow::Owned(self.to_number().to_string())
    }

    fn to_number(&self) -> Cow<'_, Number> {
        Cow::Owned(match *self {
            Self::Signed(number) => Number::from(number),
            Self::Unsigned(number) => Number::from(number),
            // What is read is always finite.
            Self::Float(number) => Number::from_f64(number).unwrap_or_else(|| Number::from(0)),
        })
    }

    fn is_integer(&self) -> bool {
        if let Self::Float(number) = self { number.fract() == 0.0 } else { true }
    }
}
