//! Forwards: a record goes on to another topic and says where it comes from.

use super::replay;
use crate::{
    log::{OutRecord, RecordRef},
    model::TopicPartition,
};

/// How often an event is forwarded at most, so that a loop that lint cannot see (over two deployments) ends.
pub const MAX_HOPS: u32 = 8;
/// Header: `topic:partition:offset` of the record that was forwarded.
pub const ORIGIN_HEADER: &str = "origin";
/// Header: how often the event was forwarded.
pub const HOPS_HEADER: &str = "hops";

/// How often a record was forwarded already. A value that is no number counts as the limit: it is not ours.
pub fn hops(record: &RecordRef<'_>) -> u32 {
    record.header(HOPS_HEADER).map_or(0, parse_hops)
}

fn parse_hops(value: &[u8]) -> u32 {
    std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(MAX_HOPS)
}

/// The record to publish: value and other headers as they are, the key replaced where the rule says so. What a replay says of
/// itself is left out: the forward is new to the groups that read it, whichever group the replay was for.
pub fn forward_record(source: &OutRecord, partition: &TopicPartition, offset: i64, key: Option<Vec<u8>>) -> OutRecord {
    let hops =
        source.headers.iter().rev().find(|(name, _)| name == HOPS_HEADER).map_or(0, |(_, value)| parse_hops(value));
    let is_kept = |name: &str| name != ORIGIN_HEADER && name != HOPS_HEADER && !replay::is_header(name);
    let mut headers: Vec<(String, Vec<u8>)> =
        source.headers.iter().filter(|(name, _)| is_kept(name)).cloned().collect();
    headers.push((ORIGIN_HEADER.to_owned(), format!("{partition}:{offset}").into_bytes()));
    headers.push((HOPS_HEADER.to_owned(), (hops + 1).to_string().into_bytes()));
    OutRecord {
        key: key.or_else(|| source.key.clone()),
        value: source.value.clone(),
        headers,
        timestamp_ms: source.timestamp_ms,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forward_says_where_it_comes_from_and_counts_its_hops() {
        let header = |name: &str, value: &str| (name.to_owned(), value.as_bytes().to_vec());
        let source = OutRecord {
            key: Some(b"v1".to_vec()),
            value: Some(b"{}".to_vec()),
            headers: vec![
                header("traceparent", "00-ab"),
                header("hops", "2"),
                header("origin", "a:0:1"),
                header("replay-group", "g"),
                header("replay-number", "1"),
            ],
            timestamp_ms: Some(7),
        };
        let forward = forward_record(&source, &TopicPartition::new("video.likes", 3), 42, Some(b"u1".to_vec()));
        assert_eq!(forward.key.as_deref(), Some(&b"u1"[..]));
        assert_eq!(forward.value, source.value);
        assert_eq!(
            forward.headers,
            [header("traceparent", "00-ab"), header("origin", "video.likes:3:42"), header("hops", "3")]
        );
        let kept = forward_record(&source, &TopicPartition::new("t", 0), 0, None);
        assert_eq!(kept.key, source.key);
        assert_eq!(parse_hops(b"many"), MAX_HOPS);
    }
}
