//! Decimal fields as exact scaled integers: with scale 2, 199.99 is 19999.

use super::scalar::Scalar;

/// Largest amount after scaling, either way. A counter of 64 bits then holds thousands of the largest amounts, so that an
/// overflow in the store means a counter that ran out, or someone else who writes to it.
pub const MAX_SCALED: i64 = 1_000_000_000_000_000;

/// Why a value is no amount.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Absent or null.
    #[error("is missing")]
    Missing,
    /// Neither a number nor a string that holds one.
    #[error("is not a number")]
    NotANumber,
    /// More digits after the point than the rule's scale keeps.
    #[error("has more digits after the point than the rule's scale keeps")]
    TooPrecise,
    /// Beyond [`MAX_SCALED`].
    #[error("is beyond +/-10^15 after scaling")]
    TooLarge,
}

/// Scales a value: a JSON number, or a string that is written like one.
///
/// # Errors
/// The value is missing, no number, too precise or too large.
pub fn scaled(value: &Scalar<'_>, scale: u32) -> Result<i64, DecimalError> {
    match value {
        Scalar::Missing => Err(DecimalError::Missing),
        Scalar::Integer(text) | Scalar::Number(text) => scale_text(text, scale),
        Scalar::Text(text) => scale_text(text, scale),
        Scalar::Other => Err(DecimalError::NotANumber),
    }
}

/// Reads `-?digits[.digits][e[+-]digits]` without ever going through a float.
fn scale_text(text: &str, scale: u32) -> Result<i64, DecimalError> {
    let (negative, unsigned) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (mantissa, exponent) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, parse_exponent(exponent)?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((_, "")) => return Err(DecimalError::NotANumber),
        Some(parts) => parts,
        None => (mantissa, ""),
    };
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return Err(DecimalError::NotANumber);
    }
    // value = 0.d1d2d3… * 10^point; its scaled form keeps the digits before position point + scale.
    let keep = whole.len() as i64 + exponent + i64::from(scale);
    let mut sum: i64 = 0;
    let mut position: i64 = 0;
    for byte in whole.bytes().chain(fraction.bytes()) {
        let digit = i64::from(byte - b'0');
        if position < keep {
            sum = sum * 10 + digit;
            if sum > MAX_SCALED {
                return Err(DecimalError::TooLarge);
            }
        } else if digit != 0 {
            return Err(DecimalError::TooPrecise);
        }
        position += 1;
    }
    while position < keep && sum != 0 {
        sum *= 10;
        if sum > MAX_SCALED {
            return Err(DecimalError::TooLarge);
        }
        position += 1;
    }
    Ok(if negative { -sum } else { sum })
}

fn parse_exponent(text: &str) -> Result<i64, DecimalError> {
    /// Anything beyond is zero, too large or too precise whatever the exponent is exactly.
    const MAX_EXPONENT: i64 = 1_000_000_000;
    let (negative, digits) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(DecimalError::NotANumber);
    }
    let value = digits.parse::<i64>().unwrap_or(MAX_EXPONENT).min(MAX_EXPONENT);
    Ok(if negative { -value } else { value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_exact() {
        use DecimalError::{NotANumber, TooLarge, TooPrecise};
        let cases: &[(&str, u32, Result<i64, DecimalError>)] = &[
            ("199.99", 2, Ok(19999)),
            ("0.1", 2, Ok(10)),
            ("-0.1", 2, Ok(-10)),
            ("1", 2, Ok(100)),
            ("1.500", 2, Ok(150)),
            ("1.505", 2, Err(TooPrecise)),
            ("1e2", 2, Ok(10_000)),
            ("1.5e-1", 2, Ok(15)),
            ("1E+1", 0, Ok(10)),
            ("1e-1", 0, Err(TooPrecise)),
            ("0e999999999999999999999", 2, Ok(0)),
            ("1e999999999999999999999", 2, Err(TooLarge)),
            ("1e-999999999999999999999", 2, Err(TooPrecise)),
            ("10000000000000.00", 2, Ok(MAX_SCALED)),
            ("10000000000000.01", 2, Err(TooLarge)),
            ("99999999999999999999999999", 0, Err(TooLarge)),
            ("-0", 2, Ok(0)),
            ("", 2, Err(NotANumber)),
            ("NaN", 2, Err(NotANumber)),
            ("1.", 2, Err(NotANumber)),
            (".5", 2, Err(NotANumber)),
            ("+1", 2, Err(NotANumber)),
            ("1 ", 2, Err(NotANumber)),
            ("1e", 2, Err(NotANumber)),
            ("--1", 2, Err(NotANumber)),
        ];
        for (text, scale, expected) in cases {
            assert_eq!(scale_text(text, *scale), *expected, "{text} scale {scale}");
        }
        assert_eq!(scaled(&Scalar::of("\"12.5\"", false), 1), Ok(125));
        assert_eq!(scaled(&Scalar::of("true", false), 1), Err(NotANumber));
        assert_eq!(scaled(&Scalar::of("null", false), 1), Err(DecimalError::Missing));
    }
}
