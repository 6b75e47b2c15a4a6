//! Server-sent events: changes of counters as they are flushed.

use std::{convert::Infallible, time::Duration};

use axum::{
    extract::{Query, State},
    http::{HeaderMap, StatusCode, Uri},
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use futures::{Stream, stream};
use serde::Serialize;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{Object, ObjectBuilder, Type},
};

use super::{AppState, Problem, document::values::Key, extract::check_key};
use crate::runtime::changes::{Change, ChangesError, MAX_COUNTERS, Subject, Subscription};

/// A comment is sent so often where nothing changes, so that whoever is in between keeps the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// A server-sent event, as its fields say.
#[derive(ToSchema)]
#[expect(dead_code, reason = "describes what `Event` writes")]
pub(super) struct StreamEvent {
    /// `counters`; or `end`, where the stream cannot go on: the data says why.
    event: StreamEventName,
    /// Names the state after the event. Give it as Last-Event-ID to go on from there.
    #[schema(nullable = false)]
    id: Option<String>,
    /// Of `counters`: JSON.
    #[schema(schema_with = changed)]
    data: String,
}

/// What the data is of an event `counters`.
fn changed() -> Object {
    let text = ObjectBuilder::new().schema_type(Type::String).content_media_type("application/json");
    text.content_schema(Some(Changed::schema())).build()
}

/// What events there are.
#[derive(ToSchema)]
#[schema(rename_all = "lowercase")]
#[expect(dead_code, reason = "describes names that are written as texts")]
pub(super) enum StreamEventName {
    Counters,
    End,
}

/// Counters that have changed: the data of an event.
#[derive(Serialize, ToSchema)]
pub(super) struct Changed {
    #[schema(inline)]
    counters: Vec<ChangedCounter>,
}

/// A counter that has changed.
#[derive(Serialize, ToSchema)]
pub(super) struct ChangedCounter {
    key: String,
    /// What is stored now; 0 where it was removed.
    value: i64,
    exists: bool,
}

/// Follows counters: an event `counters` for each change, beginning with all that exist. Values are absolute, so whoever reads
/// slowly gets fewer and newer ones.
#[utoipa::path(get, path = "/api/stream", tag = "results", params(
    ("key" = inline(Option<Vec<Key>>), Query, min_items = 1, max_items = 1000, description = "A counter; several times for several, at most 1,000"),
    ("prefix" = inline(Option<Key>), Query, description = "Instead: the beginning of the names, of at most 1,000 counters; looked for every 2 s"),
    ("Last-Event-ID" = Option<String>, Header, description = "The id of the last event that was seen: where nothing has changed since, nothing is sent again"),
), responses(
    (status = 200, description = "Server-sent events, with comments as heartbeats", body = StreamEvent, content_type = "text/event-stream"),
    (status = 400, description = "The request is wrong", body = Problem, content_type = "application/problem+json"),
    (status = 503, description = "The store does not answer, or too many streams are open", body = Problem, content_type = "application/problem+json"),
))]
pub(super) async fn follow(
    State(state): State<AppState>,
    uri: Uri,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let subject = subject(&uri)?;
    let seen = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let subscription = state.parts().changes.subscribe(subject, seen).await.map_err(refused)?;
    let events = stream::unfold(Some((subscription, state)), |following| async move {
        let (mut subscription, state) = following?;
        tokio::select! {
            biased;
            () = state.parts().ending.cancelled() => None,
            told = next(&mut subscription) => {
                let (event, goes_on) = told;
                Some((Ok(event), goes_on.then_some((subscription, state))))
            }
        }
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(HEARTBEAT)))
}

/// The next event, and whether others follow.
async fn next(subscription: &mut Subscription) -> (Event, bool) {
    match subscription.next().await {
        Ok((id, changes)) => {
            let counter = |Change { key, value }: Change| ChangedCounter {
                key,
                value: value.unwrap_or_default(),
                exists: value.is_some(),
            };
            let changed = Changed { counters: changes.into_iter().map(counter).collect() };
            // Plain values: writing them to memory cannot fail.
            let data = serde_json::to_string(&changed).unwrap_or_default();
            (Event::default().event("counters").id(id).data(data), true)
        }
        Err(error) => (Event::default().event("end").data(error.to_string().replace(['\n', '\r'], " ")), false),
    }
}

/// What is followed. Read by hand, since a key may be named several times.
fn subject(uri: &Uri) -> Result<Subject, Problem> {
    let Query(given) = Query::<Vec<(String, String)>>::try_from_uri(uri)
        .map_err(|rejection| Problem::bad_request(rejection.body_text()))?;
    let (mut keys, mut prefix) = (Vec::new(), None);
    for (name, value) in given {
        match name.as_str() {
            "key" => {
                check_key(&value)?;
                keys.push(value);
            }
            "prefix" if prefix.is_none() => {
                check_key(&value)?;
                prefix = Some(value);
            }
            other => return Err(Problem::bad_request(format!("unknown field `{other}`, or it is there twice"))),
        }
    }
    let given = keys.len();
    keys.sort_unstable();
    keys.dedup();
    match (prefix, given) {
        (Some(prefix), 0) => Ok(Subject::Prefix(prefix)),
        (None, 1..=MAX_COUNTERS) => Ok(Subject::Keys(keys)),
        _ => Err(Problem::bad_request(format!("give 1 to {MAX_COUNTERS} times key, or prefix once"))),
    }
}

fn refused(error: ChangesError) -> Problem {
    let detail = error.to_string();
    match error {
        ChangesError::Full => Problem::named(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail),
        ChangesError::TooMuch(_) => Problem::bad_request(detail),
        ChangesError::Read(error) => Problem::from(error),
    }
}
