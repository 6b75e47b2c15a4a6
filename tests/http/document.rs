//! The document and the service agree, as far as no request that is made up would show: what comes before any handler, and
//! what every operation answers. `integration/openapi.rs` tries the rest.

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::fixture::{App, problem};

/// Operations of the document: method, path, and what is said of it.
fn operations(document: &Value) -> impl Iterator<Item = (&str, &str, &Value)> {
    let paths = document["paths"].as_object().unwrap().iter();
    paths.flat_map(|(path, operations)| {
        operations.as_object().unwrap().iter().map(move |(method, operation)| (&**method, &**path, operation))
    })
}

/// A path with something in the place of its parameter.
fn filled(path: &str) -> String {
    let path = path.replace("{key}", "trending:videos").replace("{topic}", "views.checked");
    path.replace("{eventId}", "e").replace("{group}", "g")
}

#[tokio::test]
async fn every_operation_says_what_comes_before_its_handler_and_errors_have_one_form() {
    let app = App::start().await;
    let (_, document) = app.get("/openapi.json").await;
    for (method, path, operation) in operations(&document) {
        let responses = operation["responses"].as_object().unwrap();
        let mut wanted = vec!["200", "414", "415", "431", "500", "503"];
        if operation.get("requestBody").is_some() {
            wanted.extend(["400", "408", "413"]);
        }
        for status in wanted {
            assert!(responses.contains_key(status), "{method} {path} lacks {status}");
        }
        for (status, response) in responses.iter().filter(|(status, _)| status.starts_with(['4', '5'])) {
            if ["414", "431"].contains(&&**status) {
                assert!(response.get("content").is_none(), "{method} {path} {status}");
                continue;
            }
            let schema = &response["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/Problem", "{method} {path} {status}");
            let retry_after = response["headers"].get("Retry-After").is_some();
            assert_eq!(retry_after, ["409", "503", "504"].contains(&&**status), "{method} {path} {status}");
        }
        // What axum and the layers answer by themselves.
        let request = app.request(&method.to_uppercase(), &filled(path)).header("content-encoding", "br").body("{}");
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 415, "{method} {path}");
        problem(&answer.json().await.unwrap(), 415, "", "gzip", &filled(path));
    }
}

#[tokio::test]
async fn paths_and_methods_that_there_are_not_are_problems_and_head_is_get_without_a_body() {
    let app = App::start().await;
    let (_, document) = app.get("/openapi.json").await;
    for (path, operations) in document["paths"].as_object().unwrap() {
        let (filled, get) = (filled(path), operations.get("get").is_some());
        for method in ["HEAD", "OPTIONS", "TRACE", "PROPFIND"] {
            let answer = app.request(method, &filled).send().await.unwrap();
            if method == "HEAD" && get {
                // 400: the stream wants to know what is followed.
                assert!([200, 400].contains(&answer.status().as_u16()), "{filled}: {}", answer.status());
            } else {
                let allowed = if get { "GET,HEAD" } else { "POST" };
                assert_eq!((answer.status().as_u16(), &answer.headers()["allow"]), (405, &allowed.parse().unwrap()));
                assert_eq!(answer.headers()["content-type"], "application/problem+json", "{method} {filled}");
            }
            let text = answer.text().await.unwrap();
            assert_eq!(text.is_empty(), method == "HEAD", "{method} {filled}: {text}");
        }
    }
    for path in ["/", "/api", "/api/counters/", "/api/counters/a/b", "/api/events/publish/", "/metrics/x"] {
        for method in ["GET", "POST", "DELETE"] {
            let answer = app.request(method, path).send().await.unwrap();
            problem(&answer.json().await.unwrap(), 404, "", "/openapi.json", path);
        }
        assert_eq!(app.request("HEAD", path).send().await.unwrap().status(), 404);
    }
}

#[tokio::test]
async fn what_may_pass_says_after_what_time() {
    let app = App::start().await;
    app.results.break_store();
    for path in ["/api/counters/a", "/api/sets/s", "/api/events/processed/e", "/api/stream?key=a"] {
        let answer = app.request("GET", path).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), &answer.headers()["retry-after"]),
            (503, &"1".parse().unwrap()),
            "{path}"
        );
    }
}

#[tokio::test]
async fn a_head_that_is_too_large_is_answered_before_there_is_a_request() {
    let app = App::start().await;
    let long = format!("GET /?{} HTTP/1.1\r\nhost: x\r\n\r\n", "x".repeat(65_535));
    let many = (0..101).fold("GET /health HTTP/1.1\r\n".to_owned(), |head, number| format!("{head}x-{number}: x\r\n"));
    for (head, status) in [(long, "414"), (many + "\r\n", "431")] {
        let mut connection = tokio::net::TcpStream::connect(app.address).await.unwrap();
        connection.write_all(head.as_bytes()).await.unwrap();
        let mut answer = vec![0; 1_024];
        let length = connection.read(&mut answer).await.unwrap();
        let answer = std::str::from_utf8(&answer[..length]).unwrap();
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")) && answer.ends_with("\r\n\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn whole_numbers_are_taken_as_they_are_written() {
    let app = App::start().await;
    for (limit, status) in [
        ("1", 200),
        ("1.0", 200),
        ("1e2", 200),
        ("null", 200),
        ("0", 400),
        ("1.5", 400),
        ("-1", 400),
        ("1001.0", 400),
        ("\"1\"", 400),
    ] {
        let request = app.request("POST", "/api/counters/query").header("content-type", "application/json");
        let answer = request.body(format!("{{\"prefix\":\"a\",\"limit\":{limit}}}")).send().await.unwrap();
        assert_eq!(answer.status(), status, "{limit}");
    }
}
