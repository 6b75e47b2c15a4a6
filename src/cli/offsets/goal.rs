//! What a user asks offsets to be: `--to …` and `TOPIC:PARTITION=OFFSET`.

use std::str::FromStr;

use chrono::DateTime;

use crate::model::TopicPartition;

/// Where `offsets reset` moves partitions to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// The first offset that the broker holds.
    Earliest,
    /// The log's end.
    Latest,
    /// This offset in each partition.
    Offset(i64),
    /// The first record at or after this time, milliseconds since 1970; the log's end where there is none.
    Time(i64),
}

impl FromStr for Goal {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "earliest" => Ok(Self::Earliest),
            None if text == "latest" => Ok(Self::Latest),
            Some(("offset", number)) => Ok(Self::Offset(offset(number)?)),
            Some(("time", time)) => match DateTime::parse_from_rfc3339(time) {
                Ok(time) => Ok(Self::Time(time.timestamp_millis())),
                Err(error) => Err(format!("{time:?} is no time of RFC 3339 like 2026-11-21T13:00:00Z ({error})")),
            },
            _ => Err("give earliest, latest, offset:N or time:2026-11-21T13:00:00Z".to_owned()),
        }
    }
}

/// One partition and where it is to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// The partition.
    pub partition: TopicPartition,
    /// The next offset to count.
    pub offset: i64,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let read = || {
            let (name, number) = text.split_once('=')?;
            let partition = TopicPartition::parse(name)?;
            (!partition.topic.is_empty() && partition.partition >= 0).then_some((partition, number))
        };
        let (partition, number) = read().ok_or("give TOPIC:PARTITION=OFFSET, such as video.views:0=1200")?;
        Ok(Self { partition, offset: offset(number)? })
    }
}

fn offset(text: &str) -> Result<i64, String> {
    let number =
        Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit())).and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{text:?} is no offset: give a whole number from 0 on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals() {
        let cases = [
            ("earliest", Ok(Goal::Earliest)),
            ("latest", Ok(Goal::Latest)),
            ("offset:0", Ok(Goal::Offset(0))),
            ("offset:9223372036854775807", Ok(Goal::Offset(i64::MAX))),
            ("time:1970-01-01T00:00:01Z", Ok(Goal::Time(1_000))),
            ("time:2026-11-21T13:00:00.250+01:00", Ok(Goal::Time(1_795_262_400_250))),
            ("Earliest", Err("give earliest, latest")),
            ("", Err("give earliest, latest")),
            ("offset", Err("give earliest, latest")),
            ("earliest:", Err("give earliest, latest")),
            ("offset:-1", Err("whole number from 0")),
            ("offset:+1", Err("whole number from 0")),
            ("offset:", Err("whole number from 0")),
            ("offset:9223372036854775808", Err("whole number from 0")),
            ("time:yesterday", Err("no time of RFC 3339")),
            ("time:2026-11-21", Err("no time of RFC 3339")),
            ("time:2026-11-21T13:00:00", Err("no time of RFC 3339")),
        ];
        for (text, expected) in cases {
            match (text.parse::<Goal>(), expected) {
                (Err(said), Err(part)) => assert!(said.contains(part), "{text}: {said}"),
                (read, expected) => assert_eq!(read.as_ref().ok(), expected.ok().as_ref(), "{text}: {read:?}"),
            }
        }
    }

    #[test]
    fn targets() {
        let target =
            |topic: &str, number, offset| Some(Target { partition: TopicPartition::new(topic, number), offset });
        let cases = [
            ("video.views:3=120", target("video.views", 3, 120)),
            ("t:0=0", target("t", 0, 0)),
            ("t:0", None),
            ("t=5", None),
            (":0=5", None),
            ("t:x=5", None),
            ("t:-1=5", None),
            ("t:0=-5", None),
            ("t:0=", None),
            ("t:0=1=2", None),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Target>().ok(), expected, "{text}");
        }
    }
}
