//! Order per key, whatever fails; other keys and other groups go on meanwhile.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use streamgauge::handlers::{Event, Failure, Outcome, Subscription};

use super::fixture::{Folder, Seen, until};
use crate::support::{
    events::{Random, fresh_seed},
    target::Target,
};

const KEYS: usize = 8;
const EVENTS_PER_KEY: usize = 40;
const CONCURRENCY: usize = 5;

/// What a handler of one group may see, kept by a naive reading of the promise.
#[derive(Default)]
struct Rules {
    /// The event of each key that is not finished yet, and the attempts that it had.
    next: BTreeMap<String, (u64, u32)>,
    /// Keys whose event is with the handler.
    with_handler: Vec<String>,
    most_at_once: usize,
    broken: Vec<String>,
}

impl Rules {
    fn begins(&mut self, seen: &Seen) {
        let (n, attempts) = self.next.entry(seen.key.clone()).or_default();
        if (seen.n.as_u64(), seen.attempt) != (Some(*n), *attempts + 1) {
            self.broken.push(format!("{seen:?} instead of {n}, attempt {}", *attempts + 1));
        }
        *attempts += 1;
        if self.with_handler.contains(&seen.key) {
            self.broken.push(format!("{seen:?} while one of its key is under way"));
        }
        self.with_handler.push(seen.key.clone());
        self.most_at_once = self.most_at_once.max(self.with_handler.len());
    }

    fn ends(&mut self, seen: &Seen, is_finished: bool) {
        self.with_handler.retain(|key| *key != seen.key);
        if let (true, Some(next)) = (is_finished, self.next.get_mut(&seen.key)) {
            *next = (next.0 + 1, 0);
        }
    }

    fn finished(&self) -> u64 {
        self.next.values().map(|(n, _)| n).sum()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_a_key_come_in_order_whatever_fails_and_others_go_on() {
    let seed = std::env::var("HANDLERS_SEED").map_or_else(|_| fresh_seed(), |seed| seed.parse().unwrap());
    eprintln!("HANDLERS_SEED={seed}");
    let (folder, service) = (Folder::new(), Target::start().await);
    let config = format!(
        "[[subscription]]\ngroup = \"over-http\"\ntopics = [\"jobs\"]\nstart = \"earliest\"\nurl = \"{}\"\n",
        service.url()
    );
    std::fs::write(folder.path("streamgauge.toml"), config).unwrap();
    let rules: Arc<Mutex<Rules>> = Arc::default();
    let random = Arc::new(Mutex::new(Random::new(seed)));
    let are_others_done = Arc::new(AtomicBool::new(false));
    let (noting, dice, others) = (Arc::clone(&rules), random, Arc::clone(&are_others_done));
    let group = Subscription::new("in-order").on("job", move |event: Event| {
        let (rules, dice, others) = (Arc::clone(&noting), Arc::clone(&dice), Arc::clone(&others));
        async move {
            let seen = Seen::of(&event);
            rules.lock().unwrap().begins(&seen);
            let pauses = dice.lock().unwrap().below(20);
            for _ in 0..pauses {
                tokio::task::yield_now().await;
            }
            // The first of one key is wanted again until all others are done.
            let waits = seen.key == "k0" && !others.load(Ordering::SeqCst);
            let fails = !waits && dice.lock().unwrap().below(5) == 0;
            rules.lock().unwrap().ends(&seen, !waits && !fails);
            match (waits, fails) {
                (true, _) => Ok(Outcome::Retry),
                (_, true) => Err(Failure::new("the dice say so")),
                _ => Ok(Outcome::Done),
            }
        }
    });
    let group = group.concurrency(CONCURRENCY).max_retries(1_000).retry_max_delay(Duration::from_millis(20));
    let file = folder.path("streamgauge.toml");
    let client = folder.start(&[("CONFIG_FILE", &file)], vec![group]).await.unwrap();
    for n in 0..EVENTS_PER_KEY {
        for key in 0..KEYS {
            client.publish("job", &format!("k{key}"), n).await;
        }
    }
    let others = ((KEYS - 1) * EVENTS_PER_KEY) as u64;
    until("the others are done", async || rules.lock().unwrap().finished() == others).await;
    are_others_done.store(true, Ordering::SeqCst);
    until("all are done", async || client.group("in-order").await["unfinished"] == 0).await;
    until("the service over HTTP has all too", async || service.different() == KEYS * EVENTS_PER_KEY).await;
    client.running.stop().await.unwrap();
    let rules = rules.lock().unwrap();
    assert_eq!(rules.broken, Vec::<String>::new(), "seed {seed}");
    assert_eq!(rules.finished(), (KEYS * EVENTS_PER_KEY) as u64, "seed {seed}");
    assert!((2..=CONCURRENCY).contains(&rules.most_at_once), "{} at once", rules.most_at_once);
}
