//! A seeded generator of the video catalogue's ten event types, as many clients would send them: skewed ids, ids of all
//! kinds of characters, repeated events, and bad records.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// An event to publish. Whoever sends it chooses the partition by murmur2 of the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub topic: &'static str,
    pub key: Option<Vec<u8>>,
    pub value: Vec<u8>,
    /// The reason for which it will be a dead letter, if it is bad.
    pub dead: Option<&'static str>,
}

/// A small random source (splitmix64): the same seed gives the same events for ever.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit as u64) as usize
    }

    /// A number below `limit`; small ones come more often.
    fn skewed(&mut self, limit: usize) -> usize {
        let bound = self.below(limit) + 1;
        self.below(bound)
    }
}

/// A seed of this run's own, printed so that `STREAMGAUGE_TEST_SEED` can give it again.
pub fn fresh_seed() -> u64 {
    let given = std::env::var("STREAMGAUGE_TEST_SEED").ok();
    let seed = given.map_or_else(|| uuid::Uuid::new_v4().as_u64_pair().0, |seed| seed.parse().unwrap());
    eprintln!("STREAMGAUGE_TEST_SEED={seed}");
    seed
}

/// Type, topic, and the field that keys the topic.
const TYPES: &[(&str, &str, &str)] = &[
    ("video.view", "video.views", "videoId"),
    ("video.view", "video.views", "videoId"),
    ("video.view", "video.views", "videoId"),
    ("video.like", "video.likes", "userId"),
    ("video.unlike", "video.likes", "userId"),
    ("video.dislike", "video.likes", "userId"),
    ("video.upload", "video.uploads", "channelId"),
    ("comment.create", "video.comments", "videoId"),
    ("comment.delete", "video.comments", "videoId"),
    ("comment.like", "video.comments", "videoId"),
    ("subscription.create", "video.subscriptions", "channelId"),
    ("subscription.delete", "video.subscriptions", "channelId"),
];

/// 2023-11-14T22:00:00Z: the events of [`events`] spread over three days from here.
const START_MS: i64 = 1_699_999_200_000;
const SPAN_MS: usize = 3 * 86_400_000;

/// Makes `count` events, of which exactly `bad` are bad. About one in twenty good ones repeats an earlier one.
pub fn events(seed: u64, count: usize, bad: usize) -> Vec<Published> {
    events_from(START_MS, seed, count, bad)
}

/// The same over the last three days, so that rules with a retention keep them. One in twenty is of long ago.
pub fn events_of_these_days(seed: u64, count: usize, bad: usize) -> Vec<Published> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    events_from(now.as_millis() as i64 - SPAN_MS as i64, seed, count, bad)
}

fn events_from(start_ms: i64, seed: u64, count: usize, bad: usize) -> Vec<Published> {
    assert!(bad <= count, "cannot make {bad} bad events among {count}");
    let mut random = Random::new(seed);
    let mut bad_at = BTreeSet::new();
    while bad_at.len() < bad {
        bad_at.insert(random.below(count));
    }
    let mut made: Vec<Published> = Vec::with_capacity(count);
    let mut good: Vec<usize> = Vec::new();
    for index in 0..count {
        let event = if bad_at.contains(&index) {
            bad_event(&mut random)
        } else if random.below(20) == 0 && !good.is_empty() {
            // Often a recent one, as a client sends again; sometimes one from long ago.
            let back = random.skewed(good.len()) + 1;
            made[good[good.len() - back]].clone()
        } else {
            good_event(&mut random, start_ms)
        };
        if event.dead.is_none() {
            good.push(index);
        }
        made.push(event);
    }
    made
}

/// An id: mostly plain, at times an integer, or with characters that keys encode.
fn id(random: &mut Random, prefix: &str, limit: usize) -> Value {
    let number = random.skewed(limit);
    match number % 12 {
        0 => json!(number),
        1 => json!(number.to_string()),
        2 => json!(format!("{prefix}:{number}")),
        3 => json!(format!("{prefix} %{number}{{x}}")),
        4 => json!(format!("ñ→{number}\t\u{1F3AC}\u{a0}")),
        _ => json!(format!("{prefix}{number}")),
    }
}

fn good_event(random: &mut Random, start_ms: i64) -> Published {
    let (kind, topic, key_field) = TYPES[random.below(TYPES.len())];
    let mut event = Map::new();
    event.insert("type".to_owned(), json!(kind));
    let is_of_channel = key_field == "channelId";
    if is_of_channel {
        event.insert("channelId".to_owned(), id(random, "c", 40));
        // Few users, so that subscriptions come and go.
        event.insert("userId".to_owned(), id(random, "u", 25));
    } else {
        event.insert("videoId".to_owned(), id(random, "v", 300));
        event.insert("userId".to_owned(), id(random, "u", 200));
    }
    if kind.starts_with("comment.") {
        event.insert("commentId".to_owned(), id(random, "m", 500));
    }
    let start_ms = if random.below(20) == 0 { START_MS } else { start_ms };
    let time_ms = start_ms + random.below(SPAN_MS) as i64;
    match random.below(20) {
        // Without a time an event is never taken for a duplicate.
        0 => None,
        1 => event.insert("timestamp".to_owned(), json!(rfc3339(time_ms))),
        _ => event.insert("timestamp".to_owned(), json!(time_ms)),
    };
    if random.below(10) == 0 {
        event.insert("extra".to_owned(), json!({ "nested": [1, 2.5, null, "}\"{"], "userId": "not me" }));
    }
    let key = match &event[key_field] {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    published(topic, &key, &Value::Object(event), None)
}

fn rfc3339(ms: i64) -> String {
    chrono::DateTime::from_timestamp_millis(ms).unwrap().to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn published(topic: &'static str, key: &str, value: &Value, dead: Option<&'static str>) -> Published {
    Published { topic, key: Some(key.as_bytes().to_vec()), value: value.to_string().into_bytes(), dead }
}

/// A record that nothing can be counted from.
fn bad_event(random: &mut Random) -> Published {
    let (video, user) = (format!("v{}", random.below(300)), format!("u{}", random.below(200)));
    let of = |value: Value, reason| published("video.views", &video, &value, Some(reason));
    let raw =
        |value: &[u8], reason| Published { topic: "video.views", key: None, value: value.to_vec(), dead: Some(reason) };
    match random.below(14) {
        0 => raw(b"{\"type\":\"video.view\",\"videoId\":", "not-json"),
        1 => raw(b"hello", "not-json"),
        2 => raw(b"{\"type\":\"video.view\",\"videoId\":\"\xff\",\"userId\":\"u\"}", "not-json"),
        3 => raw(b"", "not-json"),
        4 => of(json!([1, 2]), "no-shape"),
        5 => of(json!({ "videoId": video, "userId": user }), "no-shape"),
        6 => of(json!({ "type": "video.veiw", "videoId": video, "userId": user }), "unknown-type"),
        7 => of(json!({ "type": "video.view", "userId": user }), "missing-field"),
        8 => of(json!({ "type": "video.view", "videoId": video, "userId": null }), "missing-field"),
        9 => of(json!({ "type": "video.view", "videoId": "", "userId": user }), "bad-field"),
        10 => of(json!({ "type": "video.view", "videoId": 1.5, "userId": user }), "bad-field"),
        11 => of(json!({ "type": "video.view", "videoId": video, "userId": [user] }), "bad-field"),
        12 => of(json!({ "type": "video.view", "videoId": true, "userId": user }), "bad-field"),
        _ => of(json!({ "type": "video.view", "videoId": video, "userId": user, "timestamp": "soon" }), "bad-time"),
    }
}
