//! Reading one's own write: waiting until published events are counted.

use std::time::Duration;

use axum::http::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

use super::{
    AppState, Problem,
    document::values::{After, Wait},
};
use crate::{
    catalog,
    model::TopicPartition,
    runtime::{
        counted::{NotCounted, Place},
        publish::PublishError,
    },
};

/// Most events that one request waits for.
const MAX_EVENTS: usize = 16;
/// How long a request waits where it does not say.
const DEFAULT_WAIT: Duration = Duration::from_secs(2);
/// Longest that a request may ask to wait: it must be answered within [`super::REQUEST_TIMEOUT`].
const MAX_WAIT: Duration = Duration::from_secs(20);

/// What a read waits for.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct AfterParams {
    /// Waits until these events are counted: `topic:partition:offset` as a publish answered, several separated by commas (at most
    /// 16).
    #[param(inline, value_type = Option<After>)]
    after: Option<String>,
    /// How long at most: `500ms`, `2s`; default 2s, at most 20s. Only with `after`. Then the answer is 504.
    #[param(inline, value_type = Option<Wait>)]
    wait: Option<String>,
}

impl AfterParams {
    /// Waits until all events are counted that are named.
    pub(super) async fn wait(self, state: &AppState) -> Result<(), Problem> {
        let (after, wait) = match (self.after, self.wait) {
            (Some(after), wait) => (after, wait),
            (None, None) => return Ok(()),
            (None, Some(_)) => return Err(Problem::bad_request("wait needs after: the event that is waited for")),
        };
        let wait = wait.map_or(Ok(DEFAULT_WAIT), |wait| duration(&wait))?;
        let places: Vec<&str> = after.split(',').collect();
        if places.len() > MAX_EVENTS {
            return Err(Problem::bad_request(format!("after names at most {MAX_EVENTS} events, not {}", places.len())));
        }
        let places = places.into_iter().map(|text| place(state, text)).collect::<Result<Vec<_>, _>>()?;
        let until = tokio::time::Instant::now() + wait;
        for place in places {
            let left = until.saturating_duration_since(tokio::time::Instant::now());
            state.parts().counted.wait(&place, left).await.map_err(|error| not_counted(error, wait))?;
        }
        Ok(())
    }
}

/// A time to wait.
pub(super) fn duration(text: &str) -> Result<Duration, Problem> {
    let parsed = catalog::parse_ms(text).and_then(|ms| u64::try_from(ms).ok()).map(Duration::from_millis);
    parsed.filter(|wait| *wait <= MAX_WAIT).ok_or_else(|| {
        Problem::bad_request(format!("wait is {text:?}; it must be like 500ms or 2s, at most {} s", MAX_WAIT.as_secs()))
    })
}

fn place(state: &AppState, text: &str) -> Result<Place, Problem> {
    let parsed = text.rsplit_once(':').and_then(|(partition, offset)| {
        let partition = TopicPartition::parse(partition)?;
        Some(Place { partition, offset: offset.parse().ok()? })
    });
    let place = parsed.filter(|place| place.offset >= 0 && place.partition.partition >= 0).ok_or_else(|| {
        Problem::bad_request(format!("after names {text:?}; it must be topic:partition:offset, as a publish answered"))
    })?;
    let (catalog, topic) = (&state.parts().catalog, &place.partition.topic);
    match catalog.topic(topic) {
        Some(_) => Ok(place),
        None => Err(Problem::from(&PublishError::unknown_topic(catalog, topic))),
    }
}

/// Whoever asked for its own write must not take a value without it for one with it: so this is no 200 with a word in it.
fn not_counted(error: NotCounted, wait: Duration) -> Problem {
    let detail = error.to_string();
    match error {
        NotCounted::Late { .. } => {
            let detail = format!("{detail}, after {} ms of waiting; ask again, or wait longer", wait.as_millis());
            Problem::named(StatusCode::GATEWAY_TIMEOUT, "not-counted-yet", detail)
        }
        NotCounted::Full => Problem::named(StatusCode::SERVICE_UNAVAILABLE, "overloaded", detail),
        NotCounted::Store(error) => Problem::from(crate::runtime::reads::ReadError::Store(error)),
    }
}
