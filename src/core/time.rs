//! UTC days, hours and windows of event times (invariant 6: days and windows come from event time, never from a clock).

use std::ops::RangeInclusive;

/// Milliseconds of an hour.
pub const HOUR_MS: i64 = 3_600_000;
/// Milliseconds of a day.
pub const DAY_MS: i64 = 24 * HOUR_MS;
/// Event times that are taken: the years 1 to 9999, milliseconds since 1970.
pub const RANGE_MS: RangeInclusive<i64> = -62_135_596_800_000..=253_402_300_799_999;

/// Reads an RFC 3339 time as milliseconds since 1970; parts of a millisecond are cut.
pub fn parse_rfc3339_ms(text: &str) -> Option<i64> {
    chrono::DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_millis())
}

/// Appends the UTC day of a time: `2026-11-21`.
pub fn push_day(out: &mut String, time_ms: i64) {
    let (year, month, day) = civil(time_ms.div_euclid(DAY_MS));
    push_digits(out, year, 4);
    out.push('-');
    push_digits(out, month, 2);
    out.push('-');
    push_digits(out, day, 2);
}

/// Appends the UTC hour of a time: `2026-11-21T10`.
pub fn push_hour(out: &mut String, time_ms: i64) {
    push_day(out, time_ms);
    out.push('T');
    push_digits(out, time_ms.rem_euclid(DAY_MS) / HOUR_MS, 2);
}

/// The start of the tumbling window of a time, counted from 1970-01-01T00:00Z.
pub fn window_start(time_ms: i64, length_ms: i64) -> i64 {
    time_ms - time_ms.rem_euclid(length_ms)
}

/// Appends what names a window behind its key: `:1h:2026-11-21T10`, or `:1d:2026-11-21` where it is whole days long.
pub fn push_window(out: &mut String, label: &str, length_ms: i64, start_ms: i64) {
    out.push(':');
    out.push_str(label);
    out.push(':');
    if length_ms % DAY_MS == 0 {
        push_day(out, start_ms);
    } else {
        push_hour(out, start_ms);
    }
}

/// Year, month and day of a day counted from 1970-01-01 (the proleptic Gregorian calendar, computed over eras of 400 years).
fn civil(days: i64) -> (i64, i64, i64) {
    const DAYS_OF_ERA: i64 = 146_097;
    // Years begin in March here, so that the leap day is the last one.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(DAYS_OF_ERA);
    let day_of_era = shifted.rem_euclid(DAYS_OF_ERA);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

fn push_digits(out: &mut String, value: i64, width: u32) {
    for place in (0..width).rev() {
        let digit = value / 10_i64.pow(place) % 10;
        out.push(char::from(b'0' + digit as u8));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(push: impl Fn(&mut String)) -> String {
        let mut out = String::new();
        push(&mut out);
        out
    }

    proptest::proptest! {
        #[test]
        fn days_and_hours_agree_with_chrono(time_ms in RANGE_MS) {
            let time = chrono::DateTime::from_timestamp_millis(time_ms).unwrap();
            proptest::prop_assert_eq!(text(|out| push_day(out, time_ms)), time.format("%Y-%m-%d").to_string());
            proptest::prop_assert_eq!(text(|out| push_hour(out, time_ms)), time.format("%Y-%m-%dT%H").to_string());
        }
    }

    #[test]
    fn windows_are_named_by_their_start() {
        let time_ms = parse_rfc3339_ms("2026-11-21T10:59:59.999Z").unwrap();
        for (label, length_ms, expected) in [
            ("1h", HOUR_MS, "k:1h:2026-11-21T10"),
            ("6h", 6 * HOUR_MS, "k:6h:2026-11-21T06"),
            ("1d", DAY_MS, "k:1d:2026-11-21"),
        ] {
            let mut out = "k".to_owned();
            push_window(&mut out, label, length_ms, window_start(time_ms, length_ms));
            assert_eq!(out, expected);
        }
        assert_eq!(window_start(-1, HOUR_MS), -HOUR_MS);
    }

    #[test]
    fn rfc_3339_is_read() {
        for (input, expected) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2023-11-14T22:13:20.123456Z", Some(1_700_000_000_123)),
            ("2023-11-15T00:13:20+02:00", Some(1_700_000_000_000)),
            ("yesterday", None),
            ("2023-11-14", None),
        ] {
            assert_eq!(parse_rfc3339_ms(input), expected, "{input}");
        }
    }
}
