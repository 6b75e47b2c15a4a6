//! What `[[subscription]]` promises, as tables.

use std::io::Write;

use serde_json::json;

use super::*;
use crate::config::{Environment, load};

fn loaded(text: &str, pairs: &[(&str, &str)]) -> Result<crate::config::Config, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    let environment: Environment = pairs.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
    load(&environment, Some(file.path())).map(|loaded| loaded.config).map_err(|error| error.to_string())
}

const SPEC: &str = r#"
[[subscription]]
group = "notification-service-group"
topics = ["order.created", "payment.succeeded"]
url = "http://127.0.0.1:9000/events"
types = []                    # of these topics: all, or these
filter = { priority = ["critical", "high"], data = { country = "BR", n = [1, 2.5, true] } }
mode = "binary"
concurrency = 16
timeout_ms = 10000
unfinished = 10000
start = "latest"
secret = ""
retry = { max = 3, initial_ms = 5000, factor = 2.0, max_delay_ms = 300000 }
"#;

#[test]
fn what_the_documents_show_is_read_and_most_of_it_is_the_default() {
    let config = loaded(SPEC, &[]).unwrap();
    let [read] = &config.subscriptions[..] else { panic!("{:?}", config.subscriptions) };
    assert_eq!(read.priorities, [Priority::Critical, Priority::High]);
    let country = ("country".to_owned(), vec![json!("BR")]);
    assert_eq!(read.data, [country, ("n".to_owned(), vec![json!(1), json!(2.5), json!(true)])]);
    let retry = RetryConfig { max: Some(3), initial_ms: Some(5_000), factor: Some(2.0), max_delay_ms: Some(300_000) };
    assert_eq!((read.retry, config.retry), (retry, retry));
    let short = "[[subscription]]\ngroup = \"notification-service-group\"\nurl = \"http://127.0.0.1:9000/events\"\n\
                 topics = [\"order.created\", \"payment.succeeded\"]";
    let mut short = loaded(short, &[]).unwrap().subscriptions.remove(0);
    assert_eq!(short.retry, RetryConfig::default());
    (short.retry, short.priorities, short.data) = (retry, read.priorities.clone(), read.data.clone());
    assert_eq!(short, *read);
}

#[test]
fn every_problem_of_every_subscription_is_told_and_no_secret() {
    let text = r#"
[[subscription]]
group = "a"
topic = "order.created"
url = "ftp://me:hunter2@host"
mode = "fast"
concurrency = 0
filter = { priority = "urgent", date = 1, data = { x = {} } }
retry = { maximum = 3, factor = 0.5 }
secret = "whsec_hunter2"
batch_size = 5
[[subscription]]
group = "a"
topics = ["t"]
url = "http://host"
secret = "hunter2"
secret_file = "/x"
[[subscription]]
group = "streamgauge"
topics = "t"
url = "http://host"
secret_file = "/nowhere/at/all"
"#;
    let error = loaded(text, &[]).unwrap_err();
    for part in [
        "subscription a: topic is no field; the nearest is topics",
        "subscription a: topics and types are both empty",
        "subscription a: url must be where events are posted to",
        "subscription a: mode must be one of binary, structured, batch",
        "subscription a: concurrency must be a whole number from 1 to 256",
        "subscription a: priority must be some of critical",
        "subscription a: filter.date is no field; the nearest is filter.data",
        "subscription a: x must be a value",
        "subscription a: retry.maximum is no field; the nearest is retry.max",
        "subscription a: factor must be a number from 1 to 100",
        "subscription a: secret begins with whsec_",
        "subscription a: batch_size needs mode",
        "subscription a: group has a subscription already",
        "subscription a: secret_file is given together with secret",
        "subscription streamgauge: group is the counting group",
        "subscription streamgauge: secret_file cannot be read",
    ] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
    assert!(!error.contains("hunter2"), "{error}");
    for (text, part) in [("subscription = 1", "must be tables"), ("[subscription]\ngroup = \"g\"", "must be tables")] {
        assert!(loaded(text, &[]).unwrap_err().contains(part), "{text}");
    }
}

#[test]
fn a_secret_comes_from_a_file_too_and_never_shows() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter2\n").unwrap();
    let text = format!(
        "[[subscription]]\ngroup = \"g\"\ntypes = [\"t\"]\nurl = \"http://me:hunter2@host\"\nsecret_file = {:?}",
        file.path()
    );
    let config = loaded(&text, &[]).unwrap();
    assert_eq!(config.subscriptions[0].post.as_ref().unwrap().secret.as_ref().unwrap().reveal(), "hunter2");
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn retries_are_set_for_all() {
    let pairs = [("MAX_RETRIES", "7"), ("RETRY_FACTOR", "1.5"), ("RETRY_INITIAL_MS", "10")];
    let retry = loaded("", &pairs).unwrap().retry;
    assert_eq!(
        (retry.max, retry.initial_ms, retry.factor, retry.max_delay_ms),
        (Some(7), Some(10), Some(1.5), Some(300_000))
    );
    assert!(loaded("", &[("RETRY_FACTOR", "x")]).unwrap_err().contains("from 1 to 100"));
}
