//! Durations as catalogues write them: a whole number and a unit.

/// Longest duration that a catalogue may name: a hundred years, milliseconds.
pub(super) const MAX_MS: i64 = 100 * 366 * DAY_MS;
/// A day, milliseconds.
pub(super) const DAY_MS: i64 = 24 * HOUR_MS;
/// An hour, milliseconds.
pub(super) const HOUR_MS: i64 = 3_600_000;

/// Reads `7d`, `1h`, `30m`, `15s` or `500ms` into milliseconds; `None` where it is none of these or longer than [`MAX_MS`].
pub fn parse_ms(text: &str) -> Option<i64> {
    let unit_at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at(unit_at);
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => HOUR_MS,
        "d" => DAY_MS,
        _ => return None,
    };
    number.parse::<i64>().ok()?.checked_mul(unit_ms).filter(|ms| *ms <= MAX_MS)
}

/// Writes milliseconds in the largest unit that they are whole in.
pub fn format_ms(ms: i64) -> String {
    let units = [(DAY_MS, "d"), (HOUR_MS, "h"), (60_000, "m"), (1_000, "s"), (1, "ms")];
    let (unit_ms, unit) = units.into_iter().find(|(unit_ms, _)| ms != 0 && ms % unit_ms == 0).unwrap_or((1, "ms"));
    format!("{}{unit}", ms / unit_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_write() {
        for (text, ms) in [("7d", 604_800_000), ("1h", HOUR_MS), ("30m", 1_800_000), ("15s", 15_000), ("500ms", 500)] {
            assert_eq!(parse_ms(text), Some(ms), "{text}");
            assert_eq!(format_ms(ms), text);
        }
        for bad in ["", "7", "d", "7 d", "-1h", "1.5h", "1w", "7D", "99999999999999999999d", "9999999d", "1h30m"] {
            assert_eq!(parse_ms(bad), None, "{bad}");
        }
        assert_eq!(format_ms(0), "0ms");
    }
}
