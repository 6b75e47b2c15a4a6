//! The whole program with a service that it posts to.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Value, json};

use crate::support::{
    process::Process,
    replays::{run, told},
    target::{Reply, Target},
};

/// A folder with the data and the configuration of a process.
pub struct Folder(pub tempfile::TempDir);

impl Folder {
    pub fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("streamgauge.toml"), config).unwrap();
        Self(folder)
    }

    pub fn path(&self, name: &str) -> String {
        let path: &Path = self.0.path();
        path.join(name).to_str().unwrap().to_owned()
    }

    pub fn start(&self, settings: &[(&str, &str)]) -> Process {
        let (data, config) = (self.path("data"), self.path("streamgauge.toml"));
        let mut all = vec![("DATA_DIR", &*data), ("CONFIG_FILE", &*config), ("SESSION_TIMEOUT_MS", "1000")];
        all.extend(settings);
        Process::start(&all)
    }
}

/// Publishes a view of a video.
async fn publish(process: &Process, video: &str, user: usize) {
    let event = json!({ "topic": "video.views", "priority": "high", "eventId": format!("{video}-{user}"),
        "data": { "type": "video.view", "videoId": video, "userId": user.to_string(), "timestamp": user } });
    let (status, answer) = process.post("/api/events/publish", &event).await;
    assert_eq!(status, 200, "{answer}");
}

async fn ready(process: &mut Process) {
    process.until("ready", async |process| (process.get("/readyz").await.0 == 200).then_some(())).await;
}

async fn taken(process: &mut Process, target: &Target, events: usize) {
    process.until("all are taken", async |_| (target.taken() >= events).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_service_gets_each_event_once_signed_and_a_killed_process_redelivers_only_what_was_unfinished() {
    const EVENTS: usize = 200;
    let target = Target::start().await;
    let folder = Folder::new(&format!(
        "[[subscription]]\ngroup = \"service\"\ntopics = [\"video.views\"]\nstart = \"earliest\"\nurl = \"{}\"\n\
         secret = \"hunter2\"\nretry = {{ initial_ms = 60000 }}\n",
        target.url()
    ));
    // One event fails, and is unfinished when the process dies.
    target.behave(|got| Reply::status(if got.id == "v3-3" && got.before == 0 { 503 } else { 200 }));
    let mut process = folder.start(&[]);
    process.url().await;
    ready(&mut process).await;
    for user in 0..EVENTS {
        publish(&process, &format!("v{}", user % 20), user).await;
    }
    // Those of the same video wait behind it.
    taken(&mut process, &target, EVENTS - EVENTS / 20).await;
    let answer = process
        .until("the position is kept", async |process| {
            let (_, answer) = process.get("/api/deliveries").await;
            (answer["data"][0]["unfinished"] == EVENTS / 20).then_some(answer)
        })
        .await;
    assert_eq!((&answer["data"][0]["breaker"], &answer["data"][0]["group"]), (&json!("closed"), &json!("service")));
    assert!(process.metric("streamgauge_delivery_attempts_total", "processed").await >= (EVENTS - EVENTS / 20) as f64);
    // A few exchanges later everything that was answered is kept.
    tokio::time::sleep(Duration::from_millis(300)).await;
    process.kill();
    let before = target.requests();
    assert_eq!(before, EVENTS - EVENTS / 20 + 1);

    std::fs::write(
        folder.path("streamgauge.toml"),
        std::fs::read_to_string(folder.path("streamgauge.toml")).unwrap().replace("60000", "1"),
    )
    .unwrap();
    let mut process = folder.start(&[]);
    process.url().await;
    taken(&mut process, &target, EVENTS).await;
    let status = process.terminate().await;
    assert!(status.success(), "{}", process.said());
    assert!(!process.said().contains("hunter2"));
    let got = target.got();
    let again: Vec<(&str, u32)> = got[before..].iter().map(|got| (&*got.id, got.attempt)).collect();
    assert_eq!(again[0], ("v3-3", 2), "its second attempt, after the restart");
    assert_eq!(again.len(), EVENTS / 20, "{again:?}");
    let one = &got[0];
    for (name, value) in [
        ("content-type", "application/json"),
        ("ce-specversion", "1.0"),
        ("ce-type", "video.view"),
        ("ce-priority", "high"),
        ("ce-attempt", "1"),
    ] {
        assert_eq!(one.headers[name], value);
    }
    assert_eq!(one.origin.0, "video.views");
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"hunter2").unwrap();
    mac.update(format!("{}.{}.", one.headers["webhook-id"], one.headers["webhook-timestamp"]).as_bytes());
    mac.update(&one.body);
    let expected = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, mac.finalize().into_bytes());
    assert_eq!(one.headers["webhook-signature"], format!("v1,{expected}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_target_down_leaves_the_others_alone_and_gets_its_backlog_when_it_is_back() {
    const EVENTS: usize = 400;
    let (one, mut two) = (Target::start().await, Target::start().await);
    let subscription = |group: &str, target: &Target| {
        format!(
            "[[subscription]]\ngroup = \"{group}\"\ntypes = [\"video.view\"]\nstart = \"earliest\"\nurl = \"{}\"\n\
             concurrency = 4\nretry = {{ max = 50, initial_ms = 100, max_delay_ms = 1000 }}\n",
            target.url()
        )
    };
    let folder = Folder::new(&format!("{}{}", subscription("one", &one), subscription("two", &two)));
    two.go_away().await;
    let mut process = folder.start(&[]);
    process.url().await;
    ready(&mut process).await;
    for user in 0..EVENTS {
        publish(&process, &format!("v{user}"), user).await;
    }
    taken(&mut process, &one, EVENTS).await;
    let breaker = async |process: &Process| process.get("/api/deliveries").await.1["data"][1]["breaker"].clone();
    process.until("the breaker opens", async |process| (breaker(process).await != "closed").then_some(())).await;
    let health = process.get("/api/health").await.1;
    assert_eq!(health["status"], "degraded", "{health}");
    let failed = process.metric("streamgauge_delivery_attempts_total", "group=\"two\",outcome=\"failed\"").await;
    assert!(failed < EVENTS as f64 / 4.0, "{failed} attempts while nobody answered");
    two.come_back().await;
    taken(&mut process, &two, EVENTS).await;
    process.until("the breaker closes", async |process| (breaker(process).await == "closed").then_some(())).await;
    assert!(process.terminate().await.success(), "{}", process.said());
    assert_eq!((one.requests(), two.taken()), (EVENTS, EVENTS));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_is_done_when_every_group_has_it_and_until_then_groups_show_who_lacks_it() {
    let (stock, mail) = (Target::start().await, Target::start().await);
    let subscription = |group: &str, target: &Target, more: &str| {
        format!(
            "[[subscription]]\ngroup = \"{group}\"\ntopics = [\"order.created\"]\nstart = \"earliest\"\nurl = \"{}\"\n{more}\n",
            target.url()
        )
    };
    let folder = Folder::new(&format!(
        "catalog = [\"commerce\"]\n{}{}",
        subscription("stock", &stock, "retry = { max = 1000, initial_ms = 50, max_delay_ms = 50 }"),
        subscription("mail", &mail, "filter = { data = { country = \"BR\" } }")
    ));
    let is_mended = Arc::new(AtomicBool::new(false));
    let mended = Arc::clone(&is_mended);
    stock.behave(move |_| Reply::status(if mended.load(Ordering::SeqCst) { 200 } else { 422 }));
    let mut process = folder.start(&[("TOPICS", "order.created")]);
    let url = process.url().await;
    ready(&mut process).await;
    let order = json!({ "topic": "order.created", "eventId": "o-1", "data": { "orderId": "1", "userId": "7",
        "totalAmount": 5, "country": "PT" } });
    assert_eq!(process.post("/api/events/publish", &order).await.0, 200);

    let status = async |process: &Process, query: &str| {
        process.get(&format!("/api/events/processed/o-1{query}")).await.1["data"].take()
    };
    let groups = process
        .until("two of three have it", async |process| {
            let groups = status(process, "").await["groups"].take();
            let is = |group: &str, status: &str| groups[group]["status"] == status;
            (is("streamgauge", "PROCESSED") && is("mail", "PROCESSED") && is("stock", "RETRYING")).then_some(groups)
        })
        .await;
    // The one that does not want it has passed it over.
    assert_eq!((&groups["mail"]["attempts"], mail.requests()), (&json!(0), 0));
    assert_eq!(groups["stock"]["error"], "delivery-status: the target answered 422");
    let overall = status(&process, "?wait=100ms").await;
    assert_eq!((&overall["status"], &overall["processed"]), (&json!("RETRYING"), &json!(false)));

    let known = told(&run(&url, &["groups", "list"]).await);
    let of =
        |group: &Value| (group["group"].clone(), group["kind"].clone(), group["members"].as_array().unwrap().len());
    let seen: Vec<_> = known["groups"].as_array().unwrap().iter().map(of).collect();
    let member = |group: &str, kind: &str| (json!(group), json!(kind), 1);
    assert_eq!(seen, [member("streamgauge", "counting"), member("stock", "delivery"), member("mail", "delivery")]);
    let lag = async |group: &str| told(&run(&url, &["groups", "lag", group]).await)["groups"][0].take();
    let behind = lag("stock").await;
    assert_eq!((&behind["lag"], behind["partitions"].as_array().unwrap().len()), (&json!(1), 6), "{behind}");
    assert!(behind["lagSeconds"].as_f64().is_some_and(|seconds| seconds > 0.0), "{behind}");
    let holders = behind["partitions"].as_array().unwrap().iter().filter(|partition| partition["member"].is_string());
    assert_eq!(holders.count(), 6);
    // A status is told before the position behind its event is kept.
    process.until("mail is done", async |_| (lag("mail").await["lag"] == 0).then_some(())).await;
    let (code, said) = run(&url, &["groups", "lag", "stok"]).await;
    assert!(code == Some(1) && said.contains("did you mean stock?"), "{code:?}: {said}");

    is_mended.store(true, Ordering::SeqCst);
    let done = status(&process, "?wait=20s").await;
    assert_eq!((&done["status"], &done["processed"]), (&json!("PROCESSED"), &json!(true)), "{done}");
    assert!(done["groups"]["stock"]["attempts"].as_u64().unwrap() > 1, "{done}");
    process
        .until("nothing is left", async |process| {
            let (_, answer) = process.get("/api/groups/stock/lag").await;
            (answer["data"]["lag"] == 0 && answer["data"]["lagSeconds"] == 0.0).then_some(())
        })
        .await;
    assert!(process.terminate().await.success(), "{}", process.said());
}
