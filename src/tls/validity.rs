//! From when to when a certificate is valid, read from its DER (RFC 5280, 4.1): rustls tells it of the other side's
//! certificates only, and only when they fail.

use std::time::{Duration, SystemTime};

use chrono::NaiveDateTime;

use super::told;

const SEQUENCE: u8 = 0x30;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const EXPLICIT_VERSION: u8 = 0xa0;

/// From when to when a certificate is valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub not_before: SystemTime,
    /// Last moment.
    pub not_after: SystemTime,
}

impl Validity {
    /// What a certificate says; `None` where its bytes are no certificate.
    pub fn of(der: &[u8]) -> Option<Self> {
        let (_, certificate, _) = element(der)?;
        let (_, mut fields, _) = element(certificate)?;
        if fields.first() == Some(&EXPLICIT_VERSION) {
            fields = element(fields)?.2;
        }
        // Serial number, algorithm, issuer.
        for _ in 0..3 {
            fields = element(fields)?.2;
        }
        let (SEQUENCE, validity, _) = element(fields)? else { return None };
        let (tag, text, rest) = element(validity)?;
        let not_before = time(tag, text)?;
        let (tag, text, _) = element(rest)?;
        Some(Self { not_before, not_after: time(tag, text)? })
    }

    /// What is wrong with it now: `expired on …`, `is not valid before …`.
    pub fn wrong_now(&self) -> Option<String> {
        let now = SystemTime::now();
        if now > self.not_after {
            Some(format!("expired on {}", told(self.not_after)))
        } else if now < self.not_before {
            Some(format!("is not valid before {}", told(self.not_before)))
        } else {
            None
        }
    }
}

/// The first element: its tag, its content, and what comes behind it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    const LONG: u8 = 0x80;
    let (&tag, rest) = bytes.split_first()?;
    let (&length, rest) = rest.split_first()?;
    let (length, rest) = if length < LONG {
        (usize::from(length), rest)
    } else {
        let (digits, rest) = rest.split_at_checked(usize::from(length & !LONG))?;
        let length = digits
            .iter()
            .try_fold(0_usize, |length, digit| length.checked_mul(256).map(|length| length | usize::from(*digit)))?;
        (length, rest)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn time(tag: u8, text: &[u8]) -> Option<SystemTime> {
    let text = std::str::from_utf8(text).ok()?;
    let full = match tag {
        // Two digits of the year: below 50 they mean 20xx (RFC 5280, 4.1.2.5.1).
        UTC_TIME => {
            let year: u8 = text.get(..2)?.parse().ok()?;
            format!("{}{text}", if year < 50 { 20 } else { 19 })
        }
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let seconds = NaiveDateTime::parse_from_str(&full, "%Y%m%d%H%M%SZ").ok()?.and_utc().timestamp();
    let since = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::UNIX_EPOCH.checked_sub(since) } else { SystemTime::UNIX_EPOCH.checked_add(since) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_are_a_certificate_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = Validity::of(&bytes);
        }
    }

    #[test]
    fn both_forms_of_time_are_read() {
        let at = |seconds: u64| Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(time(UTC_TIME, b"700101000010Z"), at(10));
        assert_eq!(time(UTC_TIME, b"491231235959Z"), at(2_524_607_999));
        assert_eq!(time(GENERALIZED_TIME, b"20500101000000Z"), at(2_524_608_000));
        assert_eq!(time(UTC_TIME, b"491231235959"), None);
        assert_eq!(time(2, b"491231235959Z"), None);
    }
}
