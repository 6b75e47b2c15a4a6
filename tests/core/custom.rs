//! A catalogue with what the built-in one lacks: max, last, members that move several counters or are ordered by time,
//! amounts with a scale, negated and optional, keys per hour, events of every shape (bare ones also wrapped), ids of all kinds, a short duplicate window.

use serde_json::{Map, Value, json};
use streamgauge::catalog::{self, Source};

use crate::{Log, append, count_all, seeds, support::events::Random};

const CATALOG: &str = r#"
name = "shop"

[[topic]]
name = "orders"
shape = ["cloudevents", "nested", "wide", "flat"]
key = ["shopId"]
identity = ["id"]
dedupe = { window = "1h", offsets = 40 }

[[topic.event]]
type = "order.placed"
required = ["shopId"]
rules = [
  { count = "revenue:{shopId}", by = { field = "amount", scale = 2 } },
  { count = "returned:{shopId}", by = { field = "returned?", scale = 2, negate = true } },
  { max = "returned:{shopId}:most", of = { field = "returned?", scale = 2 } },
  { count = "orders:{day}:{shopId}", retention = "35d" },
  { count = "taken:{day}", by = { field = "amount", scale = 2 }, retention = "1d" },
  { count = "hours:{hour}:{type}" },
  { max = "largest:{shopId}", of = { field = "amount", scale = 2 } },
  { last = "stock:{shopId}", of = { field = "stock", scale = 0 } },
  { count = "coupon:{coupon?}:{source?}" },
  { unique = "buyers:{shopId}", of = "{userId}", per = "day", retention = "35d" },
  { unique = "buyers", of = "{userId}", per = "ever" },
  { recent = "last:{shopId}", of = "{userId}", cap = 3 },
  { top = "ranking", of = "{shopId}", by = { field = "amount", scale = 2 }, windows = ["1h", "1d", "6h"], retention = "7d" },
]

[[topic.event]]
type = "order.dropped"
rules = [{ count = "dropped:{topic}:{shopId?}", by = -1 }]

[[topic]]
name = "follows"
shape = ["bare"]
key = ["userId"]
identity = []

[[topic.event]]
type = "follow"
rules = [
  { member = "following:{userId}", of = "{channelId}", op = "add", moves = "followers:{channelId}:{tier}" },
  { member = "circle:{userId}", of = "{userId}", op = "add" },
]

[[topic]]
name = "seats"
shape = ["flat"]
key = ["roomId"]
identity = ["userId", "timestamp"]
dedupe = { window = "2s", offsets = 5 }

[[topic.event]]
type = "sit"
rules = [{ member = "room:{roomId}", of = "{userId}", op = "add", moves = "seated:{how?}" }]

[[topic.event]]
type = "stand"
rules = [{ member = "room:{roomId}", of = "{userId}", op = "remove", moves = "seated:{how?}" }]

# Two topics say who is online, from any partition.
[[topic]]
name = "signals"
shape = ["flat"]
key = ["deviceId"]
identity = []

[[topic.event]]
type = "signal.on"
rules = [
  { member = "online:{roomId}", of = "{userId}", op = "add", moves = "signals:{how?}", order = "time", tombstones = "3d", shared = true },
  { member = "devices:{roomId}", of = "{deviceId}", op = "add", order = "time" },
]

[[topic.event]]
type = "signal.off"
rules = [
  { member = "online:{roomId}", of = "{userId}", op = "remove", moves = "signals:{how?}", order = "time", tombstones = "3d", shared = true },
  { member = "devices:{roomId}", of = "{deviceId}", op = "remove", order = "time" },
]

[[topic]]
name = "sweeps"
shape = ["flat"]
identity = []

[[topic.event]]
type = "sweep"
rules = [{ member = "online:{roomId}", of = "{userId}", op = "remove", moves = "signals:{how?}", order = "time", tombstones = "3d", shared = true }]
"#;

const START_MS: i64 = 1_699_999_200_000;

#[test]
fn any_cut_of_the_log_counts_every_rule_exactly() {
    let source = Source { file: "shop.toml".to_owned(), text: CATALOG.to_owned() };
    let catalog = catalog::compile(&[source]).unwrap_or_else(|findings| panic!("{findings:#?}"));
    for seed in seeds() {
        let mut random = Random::new(seed ^ 0xc057);
        let mut log = Log::new();
        for _ in 0..1_300 {
            let (topic, key, value) = match random.below(4) {
                0 => order(&mut random),
                1 => follow(&mut random),
                2 => seat(&mut random),
                _ => signal(&mut random),
            };
            append(&mut log, topic, Some(key.as_bytes()), Some(value.to_string().into_bytes()), &mut random);
        }
        count_all(&catalog, &log, seed);
    }
}

/// Ids that keys must encode, equal ones as number and text, and some that are none.
fn id(random: &mut Random, limit: usize) -> Value {
    let number = random.below(limit);
    match random.below(60) {
        0 => json!(""),
        1 => json!(1.5),
        2 => Value::Null,
        3 => json!([number]),
        4..=15 => json!(number),
        16..=20 => json!(format!("{number}:x")),
        21..=25 => json!(format!("{number} %\u{2003}{{é}}\u{7f}")),
        _ => json!(number.to_string()),
    }
}

/// Amounts as numbers and texts, with exponents, too exact, too large, and none at all.
fn amount(random: &mut Random) -> Value {
    let cents = random.below(100_000);
    match random.below(30) {
        0 => json!("1e2"),
        1 => json!("1.50e+1"),
        2 => json!("25e-2"),
        3 => json!(1e3),
        4 => json!("-0.50"),
        5 => json!("0.001"),
        6 => json!("10000000000000.01"),
        7 => json!("twelve"),
        8 => json!(true),
        9..=18 => json!(cents as f64 / 100.0),
        19..=24 => json!(cents),
        _ => json!(format!("{}.{:02}", cents / 100, cents % 100)),
    }
}

fn maybe(object: &mut Map<String, Value>, name: &str, value: Value, random: &mut Random) {
    match random.below(20) {
        0 => None,
        1 if name != "userId" => object.insert(name.to_owned(), Value::Null),
        _ => object.insert(name.to_owned(), value),
    };
}

fn time(random: &mut Random, span_ms: usize) -> Value {
    json!(START_MS + random.below(span_ms) as i64)
}

fn text(key: &Value) -> String {
    key.as_str().map_or_else(|| key.to_string(), str::to_owned)
}

/// Its attributes have lower-case names.
fn cloud_event(kind: &str, id: Value, data: Map<String, Value>, random: &mut Random) -> Value {
    let mut event = Map::from_iter([("specversion".to_owned(), json!("1.0"))]);
    maybe(&mut event, "type", json!(kind), random);
    maybe(&mut event, "id", id, random);
    maybe(&mut event, "source", json!("/shop"), random);
    maybe(&mut event, "userid", json!("of an attribute"), random);
    maybe(&mut event, "userId", json!("of no attribute"), random);
    if random.below(2) == 0 {
        let time = START_MS + random.below(90_000_000) as i64;
        event.insert("time".to_owned(), json!(chrono::DateTime::from_timestamp_millis(time).unwrap().to_rfc3339()));
    }
    maybe(&mut event, "data", Value::Object(data), random);
    Value::Object(event)
}

fn wide(kind: &str, id: Value, data: Map<String, Value>, random: &mut Random) -> Value {
    let mut event = Map::from_iter([("eventType".to_owned(), json!(kind))]);
    maybe(&mut event, "eventId", id, random);
    maybe(&mut event, "timestamp", time(random, 90_000_000), random);
    maybe(&mut event, "userId", json!("at the top"), random);
    maybe(&mut event, "metadata", json!({ "userId": "of the metadata", "source": "deep" }), random);
    maybe(&mut event, "data", Value::Object(data), random);
    Value::Object(event)
}

fn order(random: &mut Random) -> (&'static str, String, Value) {
    let kind = if random.below(9) == 0 { "order.dropped" } else { "order.placed" };
    let shop = id(random, 6);
    let mut data = Map::new();
    maybe(&mut data, "shopId", shop.clone(), random);
    for (name, value) in [
        ("amount", amount(random)),
        ("returned", amount(random)),
        ("stock", json!(random.below(9))),
        ("userId", id(random, 30)),
        ("coupon", id(random, 4)),
    ] {
        maybe(&mut data, name, value, random);
    }
    let event_id = id(random, 300);
    let event = if random.below(3) == 0 {
        data.insert("type".to_owned(), json!(kind));
        maybe(&mut data, if random.below(2) == 0 { "eventId" } else { "id" }, event_id, random);
        maybe(&mut data, "timestamp", time(random, 90_000_000), random);
        Value::Object(data)
    } else if random.below(3) == 0 {
        cloud_event(kind, event_id, data, random)
    } else if random.below(3) == 0 {
        wide(kind, event_id, data, random)
    } else {
        let mut metadata = Map::new();
        maybe(&mut metadata, "eventId", event_id, random);
        maybe(&mut metadata, "eventType", json!(kind), random);
        maybe(&mut metadata, "timestamp", time(random, 90_000_000), random);
        // Looked for in the data first, then here.
        maybe(&mut metadata, "userId", json!("of the envelope"), random);
        maybe(&mut metadata, "source", json!("web shop"), random);
        json!({ "metadata": metadata, "data": data })
    };
    ("orders", text(&shop), event)
}

fn follow(random: &mut Random) -> (&'static str, String, Value) {
    let user = id(random, 5);
    let mut data = Map::new();
    data.insert("userId".to_owned(), user.clone());
    data.insert("channelId".to_owned(), id(random, 4));
    data.insert("tier".to_owned(), json!(["gold", "tin"][random.below(2)]));
    // Names of its own that mean something elsewhere.
    maybe(&mut data, "type", json!("whatever"), random);
    maybe(&mut data, "timestamp", time(random, 9_000), random);
    let data = Value::Object(data);
    let event = if random.below(2) == 0 { json!({ "pattern": "follow", "data": data }) } else { data };
    ("follows", text(&user), event)
}

fn seat(random: &mut Random) -> (&'static str, String, Value) {
    let room = id(random, 4);
    let mut event = Map::new();
    event.insert("type".to_owned(), json!(["sit", "stand"][random.below(2)]));
    event.insert("roomId".to_owned(), room.clone());
    event.insert("userId".to_owned(), id(random, 3));
    maybe(&mut event, "how", json!(["chair", "floor"][random.below(2)]), random);
    maybe(&mut event, "timestamp", time(random, 8), random);
    ("seats", text(&room), Value::Object(event))
}

/// Equal times are frequent, so that origins decide.
fn signal(random: &mut Random) -> (&'static str, String, Value) {
    let device = format!("d{}", random.below(7));
    let mut event = Map::new();
    let kind = ["signal.on", "signal.on", "signal.off", "sweep"][random.below(4)];
    event.insert("type".to_owned(), json!(kind));
    event.insert("roomId".to_owned(), id(random, 2));
    event.insert("userId".to_owned(), id(random, 4));
    event.insert("deviceId".to_owned(), json!(device));
    maybe(&mut event, "how", json!(["wifi", "cable"][random.below(2)]), random);
    maybe(&mut event, "timestamp", time(random, 40), random);
    (if kind == "sweep" { "sweeps" } else { "signals" }, device, Value::Object(event))
}
