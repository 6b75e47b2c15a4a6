//! Where the next call goes on.

use std::{fmt, str::FromStr};

/// A place among the dead letters of a topic. As text `partition.offset.until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Number of the partition; those before it are done.
    pub partition: i32,
    /// The first offset that was not looked at.
    pub offset: i64,
    /// Dead letters that were written from then on are not meant, milliseconds since 1970: those that a replay makes by failing
    /// again would be replayed in the same breath.
    pub until_ms: i64,
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.partition, self.offset, self.until_ms)
    }
}

impl FromStr for Cursor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let mut parts = text.splitn(3, '.');
            let cursor = Self {
                partition: parts.next()?.parse().ok()?,
                offset: parts.next()?.parse().ok()?,
                until_ms: parts.next()?.parse().ok()?,
            };
            (cursor.partition >= 0 && cursor.offset >= 0).then_some(cursor)
        };
        read().ok_or_else(|| format!("{text:?} is no cursor of an earlier answer"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_reads_back() {
        let cursor = Cursor { partition: 2, offset: 7, until_ms: -1 };
        assert_eq!(cursor.to_string().parse(), Ok(cursor));
        for bad in ["", "2", "2.7", "2.x.1", "-1.7.1", "2.-7.1", "2.7.1.1"] {
            assert!(bad.parse::<Cursor>().is_err(), "{bad}");
        }
    }
}
