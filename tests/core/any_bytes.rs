//! Invariant 9: no bytes stop a partition. Whatever a record holds, it is an event, a duplicate or a dead letter.

use std::sync::Arc;

use proptest::prelude::*;
use streamgauge::{
    catalog::{self, CatalogChoice, Source, plan::Catalog},
    core::{
        batch::Purpose,
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        worker::Worker,
    },
    model::TopicPartition,
};

use crate::support::{blocks::block, oracle::Record};

/// Values that are nearly events, so that the odd byte falls behind the first look.
fn value() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        Just("{"),
        Just("}"),
        Just("["),
        Just("]"),
        Just(","),
        Just(":"),
        Just("\"type\""),
        Just("\"video.view\""),
        Just("\"videoId\""),
        Just("\"userId\""),
        Just("\"timestamp\""),
        Just("\"metadata\""),
        Just("\"data\""),
        Just("\"eventType\""),
        Just("\"specversion\""),
        Just("\"1.0\""),
        Just("\"\\ud800\""),
        Just("\"a\\u0000\""),
        Just("1e400"),
        Just("-0"),
        Just("99999999999999999999999"),
        Just("-9223372036854775808"),
        Just("null"),
        Just(" "),
        Just("\u{feff}"),
    ];
    let event = |video: String, time: String| {
        format!("{{\"type\":\"video.view\",\"videoId\":{video},\"userId\":\"u\",\"timestamp\":{time}}}").into_bytes()
    };
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..60),
        proptest::collection::vec(piece, 0..30).prop_map(|pieces| pieces.concat().into_bytes()),
        (any::<i64>(), any::<i64>()).prop_map(move |(video, time)| event(video.to_string(), time.to_string())),
        (".{0,40}", ".{0,30}").prop_map(move |(video, time)| {
            let json = |text: String| serde_json::Value::String(text).to_string();
            event(json(video), json(time))
        }),
        (1_usize..2_000).prop_map(|depth| "[".repeat(depth).into_bytes()),
        (1_000_usize..3_000).prop_map(move |length| event(format!("\"{}\"", "x".repeat(length)), "1".to_owned())),
    ]
}

/// A topic that tells all shapes apart.
const EVERY_SHAPE: &str = "name = \"c\"\n[[topic]]\nname = \"video.view\"\n[[topic.event]]\ntype = \"video.view\"\n\
    rules = [{ count = \"k:{videoId}:{userId?}\" }, { forward = \"to\" }]\n";

/// Headers that say what the record is, in turn, some of them no text.
fn headers(offset: i64) -> Vec<(String, Vec<u8>)> {
    let header = |name: &str, value: &[u8]| (name.to_owned(), value.to_vec());
    match offset % 4 {
        0 => vec![header("hops", &[0xff])],
        1 => vec![header("ce_type", b"video.view"), header("ce_videoid", &[0xff])],
        2 => vec![header("ce_type", &[0xff]), header("ce_specversion", b""), header("ce_time", &[0xff])],
        _ => vec![header("content-type", b"application/cloudevents"), header("traceparent", &[0xff])],
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn invariant_9_any_bytes_give_an_event_a_duplicate_or_a_dead_letter(
        values in proptest::collection::vec(proptest::option::weighted(0.9, value()), 1..30),
        timestamp_ms in any::<i64>(),
    ) {
        let video = Catalog::load(&CatalogChoice::default()).unwrap();
        let every_shape = catalog::compile(&[Source { file: "c.toml".to_owned(), text: EVERY_SHAPE.to_owned() }]).unwrap();
        for topic in video.topics.iter().chain(&every_shape.topics) {
            let partition = TopicPartition::new(topic.name.clone(), 0);
            let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
            let mut worker = Worker::new(Arc::clone(topic), partition, "g".into(), secret, 0, 10);
            let records: Vec<Record> = (0..).zip(&values).map(|(offset, value)| Record {
                offset, timestamp_ms, key: None, value: value.clone(), headers: headers(offset),
            }).collect();
            let mut handled = 0;
            let mut dead = 0;
            let block = block(&records, values.len() as i64, values.len() as i64);
            for batch in worker.step(&block, &mut Decoded::default()).unwrap() {
                let tally = batch.tally;
                prop_assert_eq!(tally.records, tally.events + tally.duplicates + tally.tombstones + tally.dead_letters + tally.others_replays);
                handled += tally.records;
                dead += tally.dead_letters;
                let letters = batch.outgoing.iter().filter(|sent| matches!(sent.purpose, Purpose::DeadLetter(_)));
                dead -= letters.count() as u64;
            }
            prop_assert_eq!((handled, dead), (values.len() as u64, 0));
        }
    }
}
