//! Values that name schemas: one that must be asked for is waited for, whatever happens meanwhile, and is counted once.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use streamgauge::{
    core::translate::{Translate, Translation},
    log::OutRecord,
    model::TopicPartition,
    runtime::schemas::Schemas,
};

use crate::fixture::{Member, World, until};

/// Every id below 100 is a schema of JSON; no other is one.
#[derive(Default)]
struct Registry {
    known: Mutex<HashMap<u32, bool>>,
    is_down: AtomicBool,
    asked: AtomicUsize,
}

impl Translate for Registry {
    fn translate(&self, id: u32, payload: &[u8], json: &mut Vec<u8>) -> Translation {
        match self.known.lock().unwrap().get(&id) {
            None => Translation::Unknown,
            Some(false) => Translation::NoSchema,
            Some(true) if payload == b"broken" => Translation::Unreadable("it is broken".to_owned()),
            Some(true) => {
                json.extend_from_slice(payload);
                Translation::Done
            }
        }
    }
}

#[async_trait]
impl Schemas for Registry {
    async fn learn(&self, id: u32) -> Result<(), String> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        if self.is_down.load(Ordering::SeqCst) {
            return Err("connection refused".to_owned());
        }
        self.known.lock().unwrap().insert(id, id < 100);
        Ok(())
    }
}

fn framed(id: u32, payload: &str) -> OutRecord {
    let value = [&[0], &id.to_be_bytes()[..], payload.as_bytes()].concat();
    OutRecord { value: Some(value), timestamp_ms: Some(7), ..OutRecord::default() }
}

fn member(world: &World, registry: &Arc<Registry>) -> Member {
    let member = world.member();
    member.counting.decoding.read_by(Arc::clone(registry) as _, Arc::clone(&member.counting.health));
    member
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_registry_that_is_down_is_waited_for_and_makes_no_dead_letters() {
    let world = World::with_rules("{ count = \"k:{a}\" }", 1);
    let (t, letters) = (TopicPartition::new("t", 0), TopicPartition::new("t.dlq", 0));
    let registry = Arc::new(Registry { is_down: true.into(), ..Registry::default() });
    let first = member(&world, &registry);
    until("it runs", || !first.counting.health.report(std::time::Instant::now()).1.is_empty()).await;
    world.append(&t, r#"{"type":"e","a":"plain"}"#);
    for id in [1, 2, 1, 500] {
        world.log.append(&t, framed(id, r#"{"type":"e","a":"framed"}"#));
    }
    world.log.append(&t, framed(1, "broken"));
    world.append(&t, "\0\u{1}");
    until("the registry is asked again", || registry.asked.load(Ordering::SeqCst) > 1).await;
    let part = |member: &Member| {
        let (_, parts) = member.counting.health.report(std::time::Instant::now());
        parts.into_iter().find(|part| part.name == "schemas").map(|part| (part.level.name(), part.reason))
    };
    assert_eq!(part(&first), Some(("degraded", "connection refused".to_owned())));
    assert_eq!(world.counter("k:framed"), 0);
    assert_eq!(world.log.ends().get(&letters).copied().unwrap_or(0), 0, "no dead letters");
    // A member that ends while it waits, and the next one that finds the registry up.
    first.stop().await;
    registry.is_down.store(false, Ordering::SeqCst);
    let second = member(&world, &registry);
    until("all is counted", || world.checkpoint(&t) == Some(7)).await;
    assert_eq!((world.counter("k:plain"), world.counter("k:framed")), (1, 3));
    assert_eq!(world.log.ends()[&letters], 3, "an unknown id, a broken value, and two bytes that are no frame");
    let asked = registry.asked.load(Ordering::SeqCst);
    world.log.append(&t, framed(2, r#"{"type":"e","a":"framed"}"#));
    until("one more is counted", || world.counter("k:framed") == 4).await;
    assert_eq!(registry.asked.load(Ordering::SeqCst), asked, "what is known is not asked for again");
    second.stop().await;
}
