//! The W3C trace context of an event goes on with what rules forward, wherever it stood.

use std::sync::Arc;

use streamgauge::{
    catalog::{self, Source},
    core::{
        batch::Purpose,
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        forward::forward_record,
        worker::Worker,
    },
    model::TopicPartition,
};

use crate::support::{blocks::block, oracle::Record};

const CATALOG: &str =
    "name = \"c\"\n[[topic]]\nname = \"t\"\n[[topic.event]]\ntype = \"e\"\nrules = [{ forward = \"to\" }]\n";

#[test]
fn forwards_have_the_trace_context_in_headers() {
    let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text: CATALOG.to_owned() }]).unwrap();
    let in_value = r#"{"specversion":"1.0","type":"e","traceparent":"p","tracestate":"s","data":{}}"#;
    for (headers, value, expected) in [
        (&[][..], r#"{"type":"e"}"#, &[][..]),
        (&[("traceparent", "h"), ("x", "y")], r#"{"type":"e"}"#, &[("traceparent", "h"), ("x", "y")]),
        (&[], in_value, &[("traceparent", "p"), ("tracestate", "s")]),
        (&[("traceparent", "h")], in_value, &[("traceparent", "h"), ("tracestate", "s")]),
        (
            &[("ce_type", "e"), ("ce_traceparent", "c")],
            "{}",
            &[("ce_type", "e"), ("ce_traceparent", "c"), ("traceparent", "c")],
        ),
    ] {
        let owned = |headers: &[(&str, &str)]| -> Vec<(String, Vec<u8>)> {
            headers.iter().map(|(name, value)| ((*name).to_owned(), value.as_bytes().to_vec())).collect()
        };
        let partition = TopicPartition::new("t", 0);
        let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
        let mut worker = Worker::new(Arc::clone(&catalog.topics[0]), partition.clone(), "g".into(), secret, 0, 10);
        let value = Some(value.as_bytes().to_vec());
        let record = Record { offset: 0, timestamp_ms: 0, key: None, value: value.clone(), headers: owned(headers) };
        let batches = worker.step(&block(&[record], 1, 1), &mut Decoded::default()).unwrap();
        let [sent] = &batches[0].outgoing[..] else { panic!("{:?}", batches[0].outgoing) };
        assert!(matches!(&sent.purpose, Purpose::Forward { topic, .. } if &**topic == "to"));
        let forward = forward_record(&sent.source, &partition, 0, None);
        assert_eq!(forward.value, value);
        let [rest @ .., _, _] = &forward.headers[..] else { panic!("neither origin nor hops") };
        assert_eq!(rest, owned(expected));
    }
}
