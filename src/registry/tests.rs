//! Values as Confluent's serializers write them, against a registry on loopback and other implementations as judges.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
};

use apache_avro::{Schema, types::Value as AvroValue, writer::datum::GenericDatumWriter};
use axum::{
    Json, Router,
    extract::{Path, State},
    http::{HeaderMap, StatusCode},
    routing::get,
};
use serde_json::{Value, json};

use super::*;
use crate::model::Secret;

/// A registry with the schemas of a test.
#[derive(Default)]
struct Fake {
    by_id: Mutex<HashMap<u32, Value>>,
    by_subject: Mutex<HashMap<String, Value>>,
    /// What every answer is, where it is set: a status and a body.
    broken: Mutex<Option<(u16, Value)>>,
    asked: AtomicUsize,
    authorization: Mutex<Option<String>>,
}

type Answer = (StatusCode, Json<Value>);

impl Fake {
    fn answer(&self, headers: &HeaderMap, found: Option<Value>) -> Answer {
        self.asked.fetch_add(1, Ordering::Relaxed);
        *self.authorization.lock().unwrap() =
            headers.get("authorization").map(|value| value.to_str().unwrap().to_owned());
        if let Some((status, body)) = self.broken.lock().unwrap().clone() {
            return (StatusCode::from_u16(status).unwrap(), Json(body));
        }
        match found {
            Some(schema) => (StatusCode::OK, Json(schema)),
            None => (StatusCode::NOT_FOUND, Json(json!({"error_code": 40403, "message": "Schema not found"}))),
        }
    }

    async fn serve(self: &Arc<Self>) -> String {
        let by_id = async |State(fake): State<Arc<Self>>, headers: HeaderMap, Path(id): Path<u32>| {
            let found = fake.by_id.lock().unwrap().get(&id).cloned();
            fake.answer(&headers, found)
        };
        let by_subject =
            async |State(fake): State<Arc<Self>>, headers: HeaderMap, Path((subject, _)): Path<(String, u32)>| {
                let found = fake.by_subject.lock().unwrap().get(&subject).cloned();
                fake.answer(&headers, found)
            };
        let routes = Router::new()
            .route("/schemas/ids/{id}", get(by_id))
            .route("/subjects/{subject}/versions/{version}", get(by_subject))
            .with_state(Arc::clone(self));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        // It ends with the test's runtime.
        tokio::spawn(async move { axum::serve(listener, routes).await });
        address.to_string()
    }
}

fn registry(url: &str) -> Registry {
    crate::tls::install_provider();
    Registry::new(RegistryOptions { url: Secret::new(url), username: None, password: None, ca: None }).unwrap()
}

/// A registry that knows this schema as number 1.
async fn with_schema(schema: Value) -> Registry {
    let fake = Arc::new(Fake::default());
    fake.by_id.lock().unwrap().insert(1, schema);
    let registry = registry(&format!("http://{}", fake.serve().await));
    registry.learn(1).await.unwrap();
    registry
}

/// What a value is as JSON, or why it is none.
fn read(registry: &Registry, payload: &[u8]) -> Result<Value, String> {
    let mut json = Vec::new();
    match registry.translate(1, payload, &mut json) {
        Translation::Done => Ok(serde_json::from_slice(&json).unwrap()),
        Translation::Unreadable(why) => Err(why),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn json_schema_values_are_json_behind_the_id() {
    let registry = with_schema(json!({"schemaType": "JSON", "schema": "{\"type\": \"object\"}"})).await;
    assert_eq!(read(&registry, br#"{"a":1}"#), Ok(json!({"a": 1})));
}

#[tokio::test]
async fn avro_values_become_what_their_schema_says() {
    let schema = json!({"type": "record", "name": "shop.Order", "fields": [
        {"name": "id", "type": "string"},
        {"name": "count", "type": "long"},
        {"name": "note", "type": ["null", "string"]},
        {"name": "ratio", "type": "double"},
        {"name": "kind", "type": {"type": "enum", "name": "Kind", "symbols": ["A", "B"]}},
        {"name": "tags", "type": {"type": "array", "items": "string"}},
        {"name": "by", "type": {"type": "map", "values": "int"}},
        {"name": "raw", "type": "bytes"},
        {"name": "total", "type": {"type": "bytes", "logicalType": "decimal", "precision": 12, "scale": 2}},
        {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}},
        {"name": "exact", "type": {"type": "long", "logicalType": "timestamp-micros"}},
        {"name": "day", "type": {"type": "int", "logicalType": "date"}},
        {"name": "next", "type": ["null", "shop.Order"]}]})
    .to_string();
    let parsed = Schema::parse_str(&schema).unwrap();
    let text = |text: &str| AvroValue::String(text.to_owned());
    let order = |next: AvroValue| {
        let fields: Vec<(&str, AvroValue)> = vec![
            ("id", text("a\"b")),
            ("count", AvroValue::Long(i64::MIN)),
            ("note", AvroValue::Union(1, Box::new(text("é")))),
            ("ratio", AvroValue::Double(0.25)),
            ("kind", AvroValue::Enum(1, "B".to_owned())),
            ("tags", AvroValue::Array(vec![text("x"), text("y")])),
            ("by", AvroValue::Map(HashMap::from([("k".to_owned(), AvroValue::Int(-7))]))),
            ("raw", AvroValue::Bytes(vec![0, 255])),
            ("total", AvroValue::Decimal(apache_avro::Decimal::from([0xff, 0xfb]))),
            ("at", AvroValue::TimestampMillis(1_700_000_000_000)),
            ("exact", AvroValue::TimestampMicros(1_700_000_000_000_001)),
            ("day", AvroValue::Date(1)),
            ("next", next),
        ];
        AvroValue::Record(fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    };
    let inner = order(AvroValue::Union(0, Box::new(AvroValue::Null)));
    let value = order(AvroValue::Union(1, Box::new(inner)));
    let bytes = GenericDatumWriter::builder(&parsed).build().unwrap().write_value_to_vec(value).unwrap();
    let registry = with_schema(json!({ "schema": schema })).await;
    let found = read(&registry, &bytes).unwrap();
    let mut expected = json!({"id": "a\"b", "count": i64::MIN, "note": "é", "ratio": 0.25, "kind": "B", "tags": ["x", "y"],
        "by": {"k": -7}, "raw": "AP8=", "total": -0.05, "at": 1_700_000_000_000_i64,
        "exact": "2023-11-14T22:13:20.000001Z", "day": "1970-01-02", "next": null});
    expected["next"] = expected.clone();
    assert_eq!(found, expected);
    for cut in 0..bytes.len() {
        assert!(read(&registry, &bytes[..cut]).is_err(), "cut at {cut}");
    }
    assert!(read(&registry, &[&bytes[..], &[0]].concat()).unwrap_err().contains("1 bytes are left"));
}

#[tokio::test]
async fn avro_has_limits_where_a_value_has_none() {
    let list = json!({"type": "record", "name": "L", "fields": [{"name": "n", "type": ["null", "L"]}]}).to_string();
    let registry = with_schema(json!({ "schema": list })).await;
    assert!(read(&registry, &[2; 1_000_000]).unwrap_err().contains("deeper than 100"));
    let nothing = json!({"type": "array", "items": "null"}).to_string();
    let registry = with_schema(json!({ "schema": nothing })).await;
    let endless = [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert!(read(&registry, &endless).unwrap_err().contains("more than"));
    let empty = json!({"type": "array", "items": {"type": "fixed", "name": "F", "size": 0}}).to_string();
    let registry = with_schema(json!({ "schema": empty })).await;
    assert!(read(&registry, &endless).is_err());
}

const PROTO: &str = r#"
syntax = "proto3";
package shop;
import "shared.proto";
import "google/protobuf/timestamp.proto";
message Other { message Inner { string id = 1; } }
message Order {
  string order_id = 1; int64 count = 2; double ratio = 3; string empty = 4; bool is_paid = 5;
  Place place = 6; google.protobuf.Timestamp at = 7; repeated string tags = 8; optional int32 given = 9;
}
"#;
const SHARED: &str = "syntax = \"proto3\"; package shop; message Place { string city = 1; }";

async fn protobuf(schema: &str) -> Registry {
    let fake = Arc::new(Fake::default());
    let reference = json!([{"name": "shared.proto", "subject": "shared/place", "version": 3}]);
    fake.by_id.lock().unwrap().insert(1, json!({"schemaType": "PROTOBUF", "schema": schema, "references": reference}));
    fake.by_subject
        .lock()
        .unwrap()
        .insert("shared/place".to_owned(), json!({"schemaType": "PROTOBUF", "schema": SHARED}));
    let registry = registry(&format!("http://{}", fake.serve().await));
    registry.learn(1).await.unwrap();
    registry
}

#[tokio::test]
async fn protobuf_values_name_their_message_and_become_json() {
    let registry = protobuf(PROTO).await;
    // order_id "o", count 2^53+1, place {city "x"}, at 1 s.
    let order =
        [0x0a, 1, b'o', 0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0x32, 3, 0x0a, 1, b'x', 0x3a, 2, 0x08, 1];
    let framed = |place: &[u8], message: &[u8]| [place, message].concat();
    let found = read(&registry, &framed(&[2, 2], &order)).unwrap();
    assert_eq!(
        found,
        json!({"orderId": "o", "count": 9_007_199_254_740_993_i64, "ratio": 0.0, "isPaid": false, "place": {"city": "x"},
            "at": "1970-01-01T00:00:01Z", "tags": []})
    );
    assert_eq!(read(&registry, &framed(&[4, 0, 0], &[0x0a, 1, b'i'])), Ok(json!({"id": "i"})));
    assert_eq!(read(&registry, &framed(&[0], &[])), Ok(json!({})), "no index is the first message");
    for (place, why) in [
        (&[2, 4][..], "names a message"),
        (&[4, 0, 2], "names a message"),
        (&[], "place of its message"),
        (&[1], "place of"),
        (&[254, 1], "names a message"),
    ] {
        let error = read(&registry, place).unwrap_err();
        assert!(error.contains(why), "{place:?}: {error}");
    }
    assert!(read(&registry, &framed(&[2, 2], &[0x0a, 9])).is_err(), "cut off");
}

#[tokio::test]
async fn a_protobuf_schema_may_be_a_descriptor_in_base64() {
    use base64::{Engine, engine::general_purpose::STANDARD};
    use prost_reflect::prost::Message;
    let descriptor =
        protox::file::File::from_source("theirs.proto", "syntax = \"proto3\"; message M { string a = 1; }").unwrap();
    let bytes = descriptor.file_descriptor_proto().encode_to_vec();
    let registry = protobuf(&STANDARD.encode(bytes)).await;
    assert_eq!(read(&registry, &[0, 0x0a, 1, b'x']), Ok(json!({"a": "x"})));
}

#[tokio::test]
async fn what_is_known_is_not_asked_for_again() {
    let fake = Arc::new(Fake::default());
    fake.by_id.lock().unwrap().insert(7, json!({"schemaType": "JSON", "schema": "{}"}));
    fake.by_id.lock().unwrap().insert(8, json!({"schema": "no Avro"}));
    let address = fake.serve().await;
    let registry = registry(&format!("http://me%40here:hun%3Ater2@{address}/"));
    let translate = |id| registry.translate(id, b"{}", &mut Vec::new());
    assert_eq!(translate(7), Translation::Unknown);
    for _ in 0..3 {
        for id in [7, 8, 9] {
            registry.learn(id).await.unwrap();
        }
    }
    assert_eq!(fake.asked.load(Ordering::Relaxed), 3);
    assert_eq!((translate(7), translate(9)), (Translation::Done, Translation::NoSchema));
    assert!(matches!(translate(8), Translation::Unreadable(why) if why.contains("cannot be used")));
    // me@here:hun:ter2
    assert_eq!(fake.authorization.lock().unwrap().as_deref(), Some("Basic bWVAaGVyZTpodW46dGVyMg=="));
}

#[tokio::test]
async fn a_registry_that_does_not_answer_as_one_is_told_and_nothing_is_known_by_that() {
    let fake = Arc::new(Fake::default());
    let address = fake.serve().await;
    let registry = registry(&format!("http://user:hunter2@{address}"));
    for (status, body, words) in [
        (401, json!({"message": "Unauthorized"}), "check the user and password"),
        (404, json!({"error_code": 404, "message": "HTTP 404 Not Found"}), "check the path"),
        (503, json!({}), "answered 503"),
        (200, json!({"hello": 1}), "is it a schema registry?"),
    ] {
        *fake.broken.lock().unwrap() = Some((status, body));
        let error = registry.learn(1).await.unwrap_err().to_string();
        assert!(error.contains(words) && !error.contains("hunter2"), "{error}");
        assert_eq!(registry.translate(1, b"{}", &mut Vec::new()), Translation::Unknown);
    }
    let nobody = super::tests::registry("http://user:hunter2@127.0.0.1:1");
    let error = nobody.learn(1).await.unwrap_err().to_string();
    assert!(error.contains("http://127.0.0.1:1/ cannot be reached") && !error.contains("hunter2"), "{error}");
}
