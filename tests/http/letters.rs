//! The calls for dead letters, where there are none yet.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use serde_json::json;
use streamgauge::{
    catalog::plan::Catalog,
    log::{At, Block, FetchLimits, FetchPosition, Log, LogError, OutRecord, TopicInfo, TopicSpec},
    model::{LogIdentity, TopicPartition},
    runtime::dead_letters::{DeadLetterParts, DeadLetters, Trimming},
    store::Store,
};

use crate::fixture::{App, problem};

/// A log without topics.
struct Nothing;

/// Dead letters of a log that has none.
pub fn none(catalog: &Arc<Catalog>, store: Arc<dyn Store>) -> Arc<DeadLetters> {
    Arc::new(DeadLetters::new(DeadLetterParts {
        log: Arc::new(Nothing),
        store,
        trimming: Arc::new(Nothing),
        catalog: Arc::clone(catalog),
        max_replays: 5,
        request_timeout: Duration::from_secs(1),
    }))
}

#[async_trait]
impl Trimming for Nothing {
    async fn delete_before(&self, partition: &TopicPartition, _: i64) -> Result<i64, LogError> {
        Err(LogError::Unknown { what: partition.to_string() })
    }
}

#[async_trait]
impl Log for Nothing {
    async fn topics(&self) -> Result<Vec<TopicInfo>, LogError> {
        Ok(Vec::new())
    }

    async fn create_topic(&self, _: &TopicSpec) -> Result<bool, LogError> {
        unreachable!("the API makes no topics")
    }

    async fn offset_at(&self, partition: &TopicPartition, _: At) -> Result<i64, LogError> {
        Err(LogError::Unknown { what: partition.to_string() })
    }

    async fn identity(&self, _: &TopicPartition) -> Result<LogIdentity, LogError> {
        Ok(LogIdentity::default())
    }

    async fn fetch(&self, _: &[FetchPosition], _: FetchLimits) -> Vec<(TopicPartition, Result<Block, LogError>)> {
        Vec::new()
    }

    async fn produce(&self, _: &TopicPartition, _: Vec<OutRecord>) -> Vec<Result<i64, LogError>> {
        unreachable!("there is nothing to replay")
    }
}

#[tokio::test]
async fn what_is_asked_wrongly_is_told() {
    let app = App::start().await;
    let (status, all) = app.get("/api/dlq").await;
    assert_eq!(status, 200, "{all}");
    let topic = all["data"][0]["topic"].as_str().unwrap().to_owned();
    assert_eq!(all["data"][0]["waiting"], 0);
    let path = format!("/api/dlq/{topic}");
    assert_eq!(app.get(&path).await, (200, json!({ "success": true, "data": [], "lookedAt": 0 })));
    for (query, detail) in [
        ("sinse=1", "no query parameter sinse"),
        ("since=yesterday", "how long ago"),
        ("limit=0", "limit is 0"),
        ("limit=x", "limit"),
        ("cursor=x", "no cursor"),
        ("letter=x:1", "partition:offset"),
        ("origin=other:0:1", "partition:offset"),
        ("parked=maybe", "true or false"),
    ] {
        let (_, answer) = app.get(&format!("{path}?{query}")).await;
        problem(&answer, 400, "about:blank", detail, &path);
    }
    for (verb, body, detail) in [
        ("replay", json!({ "filter": { "tipe": "x" } }), "unknown field"),
        ("replay", json!({ "rate": 0 }), "begin at 1"),
        ("replay", json!({ "by": "a\nb" }), "by has at most"),
        ("purge", json!({}), "give one of filter"),
        ("purge", json!({ "filter": {} }), "give one of filter"),
        ("purge", json!({ "all": true, "before": "0:1" }), "give one of filter"),
        ("purge", json!({ "before": "1" }), "partition:offset"),
    ] {
        let at = format!("{path}/{verb}");
        let (_, answer) = app.post(&at, &body).await;
        problem(&answer, 400, "about:blank", detail, &at);
    }
    let (_, unknown) = app.get("/api/dlq/nothing-like-it").await;
    problem(&unknown, 404, "unknown-topic", "no catalogue has", "/api/dlq/nothing-like-it");
    let (status, done) = app.post(&format!("{path}/replay"), &json!({})).await;
    assert_eq!((status, &done["data"]["replayed"]), (200, &json!(0)), "{done}");
    let (status, done) = app.post(&format!("{path}/purge"), &json!({ "all": true, "dryRun": true })).await;
    assert_eq!((status, &done["data"]["purged"]), (200, &json!(0)), "{done}");
}
