//! The three modes as a target gets them.

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::{
    catalog,
    core::delivery::{Filter, Reader},
    log::RecordRef,
};

const CATALOG: &str =
    "name = \"c\"\n[[topic]]\nname = \"t\"\nidentity = []\n[[topic.event]]\ntype = \"e\"\nrules = []\n";

fn parcel(id: &str) -> Parcel {
    let source = catalog::Source { file: "c.toml".to_owned(), text: CATALOG.to_owned() };
    let topic = Arc::clone(&catalog::compile(&[source]).unwrap().topics[0]);
    let metadata = json!({"eventId": id, "eventType": "e", "timestamp": 0, "priority": "high", "source": "s é"});
    let value = json!({ "metadata": metadata, "data": { "x": 1 } }).to_string();
    let headers: &[(&[u8], Option<&[u8]>)] = &[(b"traceparent", Some(b"00-ab-cd-01"))];
    let record = RecordRef { offset: 0, timestamp_ms: 5, key: None, value: Some(value.as_bytes()), headers };
    let mut reader = Reader::new(&topic, TopicPartition::new("t", 3), "g", Filter::default());
    reader.read(&record, None, &mut Vec::new()).unwrap()
}

fn sent(parcel: &Parcel) -> Sent<'_> {
    Sent { parcel, offset: 41, attempt: 2 }
}

#[test]
fn binary_has_the_data_as_its_body_and_the_rest_as_headers() {
    let parcel = parcel("i 1");
    let request = request(Mode::Binary, &TopicPartition::new("t", 3), &[sent(&parcel)], None, 0);
    assert_eq!(request.body, br#"{"x":1}"#);
    let expected = [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-id", "i%201"),
        ("ce-type", "e"),
        ("ce-source", "s%20%C3%A9"),
        ("ce-time", "1970-01-01T00:00:00.000Z"),
        ("ce-attempt", "2"),
        ("ce-origin", "t:3:41"),
        ("ce-priority", "high"),
        ("traceparent", "00-ab-cd-01"),
    ];
    assert_eq!(request.headers, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn structured_and_batch_have_it_all_in_the_body() {
    let (one, two) = (parcel("i1"), parcel("i2"));
    let partition = TopicPartition::new("t", 3);
    let event = |id: &str| {
        json!({"specversion": "1.0", "id": id, "source": "s é", "type": "e", "time": "1970-01-01T00:00:00.000Z",
            "datacontenttype": "application/json", "attempt": 2, "origin": "t:3:41", "priority": "high",
            "traceparent": "00-ab-cd-01", "data": {"x": 1}})
    };
    let structured = request(Mode::Structured, &partition, &[sent(&one)], None, 0);
    assert_eq!(serde_json::from_slice::<Value>(&structured.body).unwrap(), event("i1"));
    assert_eq!(structured.headers, [("content-type", "application/cloudevents+json".to_owned())]);
    let batch = request(Mode::Batch(9), &partition, &[sent(&one), sent(&two)], None, 0);
    assert_eq!(serde_json::from_slice::<Value>(&batch.body).unwrap(), json!([event("i1"), event("i2")]));
    assert_eq!(batch.headers, [("content-type", "application/cloudevents-batch+json".to_owned())]);
}

#[test]
fn a_secret_signs_the_id_the_time_and_the_body() {
    let parcel = parcel("i1");
    let partition = TopicPartition::new("t", 3);
    for (mode, id) in [(Mode::Binary, "i1"), (Mode::Structured, "i1"), (Mode::Batch(9), "t:3:41+1")] {
        let request = request(mode, &partition, &[sent(&parcel)], Some(b"key"), 1_999);
        let header = |name: &str| request.headers.iter().find(|(known, _)| *known == name).unwrap().1.as_str();
        assert_eq!((header("webhook-id"), header("webhook-timestamp")), (id, "1"));
        assert_eq!(header("webhook-signature"), signature::sign(b"key", id, 1, &request.body));
    }
}
