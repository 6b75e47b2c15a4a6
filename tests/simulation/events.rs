//! The catalogue of the simulation, with every kind of rule, and events for it.

use std::sync::{Arc, LazyLock};

use serde_json::json;
use streamgauge::{
    catalog::{self, Source, plan::Catalog},
    model::ShardId,
};

use crate::support::events::Random;

const CATALOG: &str = r#"
name = "world"

[[topic]]
name = "orders"
shape = ["flat"]
key = ["shopId"]
identity = ["id"]
dedupe = { window = "WINDOW", offsets = OFFSETS }

[[topic.event]]
type = "order"
required = ["shopId"]
rules = [
  { count = "orders:{shopId}" },
  { count = "revenue:{day}", by = { field = "amount", scale = 2 }, retention = "35d" },
  { max = "largest:{shopId}", of = { field = "amount", scale = 2 } },
  { last = "stock:{shopId}", of = { field = "stock", scale = 0 } },
  { unique = "buyers:{shopId}", of = "{userId}", per = "day", retention = "35d" },
  { unique = "buyers", of = "{userId}", per = "ever" },
  { recent = "newest", of = "{userId}", cap = 3 },
  { top = "ranking", of = "{shopId}", by = { field = "amount", scale = 2 }, windows = ["1h", "1d"], retention = "7d" },
]

[[topic.event]]
type = "refund"
rules = [
  { count = "refunds:{shopId}", by = -1 },
  { forward = "audit", key = "{userId}" },
]

[[topic]]
name = "seats"
shape = ["flat"]
key = ["roomId"]
priority = "critical"
identity = ["userId", "timestamp"]
dedupe = { window = "WINDOW", offsets = OFFSETS }

[[topic.event]]
type = "sit"
rules = [{ member = "room:{roomId}", of = "{userId}", op = "add", moves = "seated:{how}" }]

[[topic.event]]
type = "stand"
rules = [{ member = "room:{roomId}", of = "{userId}", op = "remove", moves = "seated:{how}" }]

# Any partition may say that somebody came or went.
[[topic]]
name = "signals"
shape = ["flat"]
key = ["deviceId"]
identity = []

[[topic.event]]
type = "on"
rules = [{ member = "online:{roomId}", of = "{userId}", op = "add", moves = "present:{how}", order = "time" }]

[[topic.event]]
type = "off"
rules = [{ member = "online:{roomId}", of = "{userId}", op = "remove", moves = "present:{how}", order = "time" }]

[[topic]]
name = "ticks"
shape = ["flat"]
key = ["id"]
identity = []

[[topic.event]]
type = "tick"
rules = [{ count = "ticks" }, { count = "ticks:{id}" }]
"#;

/// The duplicate windows that seeds choose from: milliseconds and offsets.
const WINDOWS: [(i64, i64); 3] = [(2_000, 3), (1_000, 10), (30_000, 40)];

/// The catalogues by their duplicate windows, for stores of 1 to 4 shards, compiled once.
static CATALOGS: LazyLock<Vec<[Arc<Catalog>; 4]>> = LazyLock::new(|| {
    let compile = |(window_ms, offsets): &(i64, i64)| {
        let window = format!("{}s", window_ms / 1000);
        let text = CATALOG.replace("WINDOW", &window).replace("OFFSETS", &offsets.to_string());
        let source = Source { file: "world.toml".to_owned(), text };
        let catalog = catalog::compile(&[source]).unwrap_or_else(|findings| panic!("{findings:#?}"));
        [1, 2, 3, 4].map(|shards| Arc::new(catalog.clone().for_shards(shards).unwrap()))
    };
    WINDOWS.iter().map(compile).collect()
});

pub const TOPICS: [&str; 4] = ["orders", "seats", "signals", "ticks"];

pub fn any_catalog(shards: ShardId, random: &mut Random) -> Arc<Catalog> {
    Arc::clone(&CATALOGS[random.below(CATALOGS.len())][usize::from(shards) - 1])
}

/// An event to append.
#[derive(Clone, Debug)]
pub struct Made {
    pub topic: &'static str,
    pub key: Option<String>,
    pub value: Option<Vec<u8>>,
    /// What makes it the same as another, and its time; `None` where it has no identity.
    pub identity: Option<(String, i64)>,
}

const START_MS: i64 = 1_699_999_200_000;

/// The `number`th event of a seed. Its time moves on with the number, and is late or early at times.
pub fn event(topic: &'static str, number: usize, random: &mut Random) -> Made {
    let late_ms = match random.below(8) {
        0 => random.below(90_000_000) as i64,
        1 => random.below(3_000) as i64 - 1_500,
        _ => 0,
    };
    let time_ms = START_MS + 100_000_000 + number as i64 * 700 - late_ms;
    if random.below(25) == 0 {
        return odd(topic, random);
    }
    let user = format!("u{}", random.below(9));
    let shop = format!("s{}", random.below(4));
    match topic {
        "orders" => order(&format!("o{number}"), &shop, &user, time_ms, random),
        "seats" => {
            let room = format!("r{}", random.below(4));
            let user = format!("u{}", random.below(3));
            let kind = ["sit", "stand"][random.below(2)];
            let how = ["chair", "floor"][random.below(2)];
            let value = json!({ "type": kind, "roomId": room, "userId": user, "how": how, "timestamp": time_ms });
            let identity = Some((format!("{user} {time_ms}"), time_ms));
            Made { topic, key: Some(room), value: Some(value.to_string().into_bytes()), identity }
        }
        "signals" => {
            let kind = ["on", "off"][random.below(2)];
            let (room, how) = (format!("r{}", random.below(3)), ["wifi", "cable"][random.below(2)]);
            let user = format!("u{}", random.below(4));
            // Often at one time, so that origins decide.
            let time_ms = time_ms / 5_000 * 5_000;
            let value = json!({ "type": kind, "roomId": room, "userId": user, "how": how, "timestamp": time_ms });
            let key = Some(format!("d{}", random.below(9)));
            Made { topic, key, value: Some(value.to_string().into_bytes()), identity: None }
        }
        _ => {
            let value = json!({ "type": "tick", "id": user, "timestamp": time_ms });
            Made { topic, key: Some(user), value: Some(value.to_string().into_bytes()), identity: None }
        }
    }
}

fn order(id: &str, shop: &str, user: &str, time_ms: i64, random: &mut Random) -> Made {
    let mut value = json!({ "id": id, "shopId": shop, "userId": user, "timestamp": time_ms });
    if random.below(6) == 0 {
        value["type"] = json!("refund");
    } else {
        value["type"] = json!("order");
        value["amount"] = json!(format!("{}.{:02}", random.below(90), random.below(100)));
        value["stock"] = json!(random.below(50));
    }
    let identity = Some((id.to_owned(), time_ms));
    Made { topic: "orders", key: Some(shop.to_owned()), value: Some(value.to_string().into_bytes()), identity }
}

/// The same event again, at times with another time, so that it may be none.
pub fn again(made: &Made, random: &mut Random) -> Made {
    let mut made = made.clone();
    if made.topic == "orders"
        && random.below(3) == 0
        && let (Some(value), Some((_, time_ms))) = (&made.value, &mut made.identity)
        && let Ok(mut object) = serde_json::from_slice::<serde_json::Value>(value)
    {
        *time_ms += [-40_000, -1_500, 1_000, 20_000][random.below(4)];
        object["timestamp"] = json!(*time_ms);
        made.value = Some(object.to_string().into_bytes());
    }
    made
}

/// A tombstone, or a record that nothing can be counted from.
fn odd(topic: &'static str, random: &mut Random) -> Made {
    let value = match random.below(5) {
        0 => None,
        1 => Some("nonsense".to_owned()),
        2 => Some(json!({ "type": "unheard.of", "id": "x" }).to_string()),
        3 => Some(json!({ "type": "order", "timestamp": "soon" }).to_string()),
        _ => Some(json!([1]).to_string()),
    };
    Made { topic, key: Some(format!("k{}", random.below(5))), value: value.map(String::into_bytes), identity: None }
}
