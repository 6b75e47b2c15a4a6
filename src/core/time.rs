//! Days, hours and windows of event times, and how keys name them. All times are UTC, milliseconds since 1970.
//!
//! The rules that write keys and the reads that look them up share these functions, so that they cannot disagree
//! (CATALOGUES, "In Redis"). They run once per event: plain arithmetic, no formatting machinery.

/// Milliseconds in an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds in a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Event times that are taken: the years 1 to 9999, milliseconds since 1970.
pub const RANGE_MS: std::ops::RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Appends the day of a time: `2026-11-21`.
pub fn push_day(out: &mut String, time_ms: i64) {
    let (year, month, day) = civil_from_days(time_ms.div_euclid(DAY_MS));
    push_year(out, year);
    out.push('-');
    push_two(out, month);
    out.push('-');
    push_two(out, day);
}

/// Appends the hour of a time: `2026-11-21T10`.
pub fn push_hour(out: &mut String, time_ms: i64) {
    push_day(out, time_ms);
    out.push('T');
    push_two(out, (time_ms.rem_euclid(DAY_MS) / HOUR_MS) as u32);
}

/// The day of a time as a string of its own.
pub fn day_of(time_ms: i64) -> String {
    let mut out = String::with_capacity(10);
    push_day(&mut out, time_ms);
    out
}

/// The start of the tumbling window that a time falls into. Windows are counted from 1970, so that an hour begins at its
/// full hour and a day at midnight UTC. `length_ms` must be positive.
pub fn window_start(time_ms: i64, length_ms: i64) -> i64 {
    // Saturating, since a window around the first representable millisecond would begin before it.
    time_ms.saturating_sub(time_ms.rem_euclid(length_ms))
}

/// Appends what a window adds to a ranking's key: `:1h:2026-11-21T10`, `:1d:2026-11-21`. Whole days are named by their
/// first day, anything shorter by its first hour.
pub fn push_window(out: &mut String, label: &str, length_ms: i64, start_ms: i64) {
    out.push(':');
    out.push_str(label);
    out.push(':');
    if length_ms % DAY_MS == 0 { push_day(out, start_ms) } else { push_hour(out, start_ms) }
}

/// Milliseconds since 1970 as a whole number; `None` where it has more digits than any time.
pub fn parse_ms(digits: &[u8]) -> Option<i64> {
    /// As many as cannot overflow.
    const MAX_DIGITS: usize = 18;
    let (is_negative, digits) = match digits {
        [b'-', digits @ ..] => (true, digits),
        _ => (false, digits),
    };
    if digits.is_empty() || digits.len() > MAX_DIGITS {
        return None;
    }
    let ms = many_digits(digits).unwrap_or_else(|| some_digits(digits))?;
    Some(if is_negative { -ms } else { ms })
}

/// 9 to 16 digits, which the times of our days have: the last eight, and those before them with zeros in front. The outer
/// `None` where there are more or fewer.
#[inline]
fn many_digits(digits: &[u8]) -> Option<Option<i64>> {
    let (first, last) = (digits.first_chunk()?, digits.last_chunk()?);
    let zeros @ 0..8 = 16_usize.checked_sub(digits.len())? else { return None };
    let front = u64::from_le_bytes(*first) << (8 * zeros) | ZEROS & !(u64::MAX << (8 * zeros));
    let (high, low) = (eight_digits(front), eight_digits(u64::from_le_bytes(*last)));
    Some(high.zip(low).map(|(high, low)| high * 100_000_000 + low))
}

fn some_digits(digits: &[u8]) -> Option<i64> {
    let (mut number, mut is_number) = (0_i64, true);
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        is_number &= digit <= 9;
        // Whatever comes of what is no number is not used.
        number = number.wrapping_mul(10).wrapping_add(i64::from(digit));
    }
    is_number.then_some(number)
}

/// Eight times the digit 0.
const ZEROS: u64 = 0x3030_3030_3030_3030;

/// Eight digits at once: neighbours are joined, then pairs, then fours.
#[inline]
fn eight_digits(word: u64) -> Option<i64> {
    let left = word ^ ZEROS;
    // 10 and more reach the high half with 6 added.
    if (left.wrapping_add(0x0606_0606_0606_0606) | left) & 0xF0F0_F0F0_F0F0_F0F0 != 0 {
        return None;
    }
    let pairs = left.wrapping_mul(10).wrapping_add(left >> 8) & 0x00FF_00FF_00FF_00FF;
    let fours = pairs.wrapping_mul(100).wrapping_add(pairs >> 16) & 0x0000_FFFF_0000_FFFF;
    Some((fours.wrapping_mul(10_000).wrapping_add(fours >> 32) & 0xFFFF_FFFF) as i64)
}

/// Milliseconds since 1970 of an RFC 3339 time; finer digits are cut. `None` where it is none.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// An RFC 3339 time in UTC with milliseconds. Times that the calendar cannot name are cut to the nearest it can.
pub fn rfc3339(time_ms: i64) -> String {
    let nearest =
        if time_ms < 0 { chrono::DateTime::<chrono::Utc>::MIN_UTC } else { chrono::DateTime::<chrono::Utc>::MAX_UTC };
    let time = chrono::DateTime::from_timestamp_millis(time_ms).unwrap_or(nearest);
    time.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

/// Year, month and day of a day counted from 1970, in the proleptic Gregorian calendar.
///
/// Years are taken to begin in March, so that the leap day is the last of its year, and eras of 400 years repeat exactly
/// (Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", `civil_from_days`).
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    const DAYS_TO_1970: i64 = 719_468;
    const DAYS_OF_ERA: i64 = 146_097;
    let shifted = days + DAYS_TO_1970;
    let era = shifted.div_euclid(DAYS_OF_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month as u32, day as u32)
}

/// ISO 8601: four digits, and a sign outside 0 to 9999.
fn push_year(out: &mut String, year: i64) {
    if (0..10_000).contains(&year) {
        push_two(out, (year / 100) as u32);
        push_two(out, (year % 100) as u32);
        return;
    }
    out.push(if year < 0 { '-' } else { '+' });
    let digits = year.unsigned_abs().to_string();
    for _ in digits.len()..4 {
        out.push('0');
    }
    out.push_str(&digits);
}

fn push_two(out: &mut String, value: u32) {
    out.push(char::from(b'0' + (value / 10 % 10) as u8));
    out.push(char::from(b'0' + (value % 10) as u8));
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use proptest::prelude::*;

    use super::*;

    fn by_chrono(time_ms: i64, format: &str) -> String {
        DateTime::from_timestamp_millis(time_ms).unwrap().format(format).to_string()
    }

    #[test]
    fn every_day_of_800_years_is_named_as_the_calendar_names_it() {
        for day in -146_097..=146_097_i64 {
            for time_ms in [day * DAY_MS, (day + 1) * DAY_MS - 1] {
                assert_eq!(day_of(time_ms), by_chrono(time_ms, "%Y-%m-%d"), "{time_ms}");
            }
        }
    }

    proptest! {
        #[test]
        fn any_time_is_named_as_the_calendar_names_it(time_ms in -8_000_000_000_000_000_i64..8_000_000_000_000_000) {
            let mut hour = String::new();
            push_hour(&mut hour, time_ms);
            prop_assert_eq!(hour, by_chrono(time_ms, "%Y-%m-%dT%H"));
            prop_assert_eq!(parse_rfc3339_ms(&rfc3339(time_ms)).unwrap_or(time_ms), time_ms);
        }

        #[test]
        fn milliseconds_are_read_as_written(text in "-?[0-9]{0,20}|[0-9/:a-]{0,20}") {
            let expected = text.parse::<i64>().ok().filter(|_| text.trim_start_matches('-').len() <= 18);
            prop_assert_eq!(parse_ms(text.as_bytes()), expected);
        }

        #[test]
        fn a_time_lies_in_its_window(time_ms in any::<i64>(), hours in 1_i64..10_000) {
            let (length, start) = (hours * HOUR_MS, window_start(time_ms, hours * HOUR_MS));
            prop_assert!(start <= time_ms && (time_ms - start < length));
            prop_assert!(start % length == 0 || start == i64::MIN);
        }
    }

    #[test]
    fn windows_are_named_by_day_or_hour() {
        let time_ms = parse_rfc3339_ms("2026-11-21T10:59:59.999Z").unwrap();
        for (label, hours, expected) in [
            ("1h", 1, "k:1h:2026-11-21T10"),
            ("6h", 6, "k:6h:2026-11-21T06"),
            ("1d", 24, "k:1d:2026-11-21"),
            ("7d", 168, "k:7d:2026-11-19"),
        ] {
            let mut key = "k".to_owned();
            push_window(&mut key, label, hours * HOUR_MS, window_start(time_ms, hours * HOUR_MS));
            assert_eq!(key, expected);
        }
    }

    #[test]
    fn times_read_back() {
        for (text, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2026-11-21T10:00:00.123+02:00", Some(1_795_248_000_123)),
            ("2026-11-21", None),
            ("", None),
        ] {
            assert_eq!(parse_rfc3339_ms(text), expected, "{text}");
        }
        assert_eq!(rfc3339(1_795_248_000_123), "2026-11-21T08:00:00.123Z");
        assert!(rfc3339(i64::MAX).starts_with('+'));
    }
}
