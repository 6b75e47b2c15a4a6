//! Traffic as of a busy site, and what it must come to: an expectation kept apart from the counting.

use std::collections::BTreeMap;

use serde_json::json;

/// Videos of the site; the first are far more popular than the last.
const VIDEOS: u64 = 1000;
/// People who watch.
const USERS: u64 = 20_000;
/// One event in so many is bad.
const BAD_EVERY: u64 = 500;

/// A record to publish.
pub struct Traffic {
    /// Topic.
    pub topic: &'static str,
    /// Key.
    pub key: String,
    /// Value.
    pub value: Vec<u8>,
}

/// Makes events, and adds up what each must change.
pub struct Site {
    state: u64,
    now_ms: i64,
    /// Events made that can be counted.
    pub good: u64,
    /// Events made that must become dead letters.
    pub bad: u64,
    /// Every plain counter with the value that it must have.
    pub expected: BTreeMap<String, i64>,
}

impl Site {
    /// Events made, good and bad.
    pub fn published(&self) -> u64 {
        self.good + self.bad
    }

    /// A site whose traffic follows from `seed`; its first event happens at `now_ms`.
    pub fn new(seed: u64, now_ms: i64) -> Self {
        Self { state: seed, now_ms, good: 0, bad: 0, expected: BTreeMap::new() }
    }

    /// The next event. Event times rise by a millisecond each, so that no event is a duplicate of another.
    pub fn next(&mut self) -> Traffic {
        self.now_ms += 1;
        if self.random(BAD_EVERY) == 0 {
            return self.bad();
        }
        self.good += 1;
        // The square of a square bends an even choice towards the first videos.
        let skew = self.random(VIDEOS) * self.random(VIDEOS) / VIDEOS * self.random(VIDEOS) / VIDEOS;
        let video = format!("v{skew}");
        let user = format!("u{}", self.random(USERS));
        match self.random(100) {
            0..=79 => self.event("video.views", "video.view", &video, &user, &[("views", 1)]),
            80..=88 => self.event("video.likes", "video.like", &video, &user, &[("likes", 1), ("engagement", 1)]),
            89..=90 => self.event("video.likes", "video.unlike", &video, &user, &[("likes", -1), ("engagement", -1)]),
            91..=92 => self.event("video.likes", "video.dislike", &video, &user, &[("dislikes", 1), ("engagement", 1)]),
            _ => {
                *self.expected.entry(format!("user:{user}:comments")).or_default() += 1;
                self.event("video.comments", "comment.create", &video, &user, &[("comments", 1), ("engagement", 1)])
            }
        }
    }

    fn event(&mut self, topic: &'static str, kind: &str, video: &str, user: &str, adds: &[(&str, i64)]) -> Traffic {
        for (counter, amount) in adds {
            *self.expected.entry(format!("video:{video}:{counter}")).or_default() += amount;
        }
        let value =
            json!({"type": kind, "videoId": video, "userId": user, "timestamp": self.now_ms}).to_string().into_bytes();
        let key = if topic == "video.likes" { user } else { video }.to_owned();
        Traffic { topic, key, value }
    }

    fn bad(&mut self) -> Traffic {
        self.bad += 1;
        let value = match self.random(3) {
            0 => b"{\"type\":\"video.view\",\"videoId\":".to_vec(),
            1 => json!({"type": "video.view", "userId": "u1", "timestamp": self.now_ms}).to_string().into_bytes(),
            _ => json!({"type": "video.explode", "videoId": "v1", "userId": "u1"}).to_string().into_bytes(),
        };
        Traffic { topic: "video.views", key: format!("v{}", self.random(VIDEOS)), value }
    }

    /// SplitMix64: the traffic must not depend on a crate's version.
    fn random(&mut self, below: u64) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % below
    }
}
