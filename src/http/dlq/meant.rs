//! Which dead letters a request means.

use axum::{extract::FromRequestParts, extract::Query, http::request::Parts};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

use super::PageParams;
use crate::{
    catalog::plan::Topic,
    core::letter::{Filter, Spot, moment_ms},
    http::{
        Problem,
        document::values::{Moment, Place},
    },
    runtime::dead_letters::Cursor,
};

/// Names of the parameters of a list.
const NAMES: [&str; 12] =
    ["since", "until", "type", "error", "key", "group", "origin", "letter", "parked", "limit", "cursor", "full"];

/// Which dead letters are meant: everything that is named must fit.
#[derive(Clone, Debug, Default, Deserialize, IntoParams, ToSchema)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(in crate::http) struct LetterParams {
    /// Written then or later: RFC 3339, milliseconds since 1970, or as long ago as `90s`, `30m`, `2h`, `7d`.
    #[param(inline, value_type = Option<Moment>)]
    #[schema(inline, value_type = Option<Moment>)]
    since: Option<String>,
    /// Written before then, in the same forms.
    #[param(inline, value_type = Option<Moment>)]
    #[schema(inline, value_type = Option<Moment>)]
    until: Option<String>,
    /// The event's type.
    #[serde(rename = "type")]
    #[param(rename = "type")]
    event_type: Option<String>,
    /// The reason's code, or a part of its text.
    error: Option<String>,
    /// The original's key.
    key: Option<String>,
    /// The group that failed.
    group: Option<String>,
    /// Where the original lies: `partition:offset`, or `topic:partition:offset`.
    #[param(inline, value_type = Option<Place>)]
    #[schema(inline, value_type = Option<Place>)]
    origin: Option<String>,
    /// Where the dead letter lies, in the same forms.
    #[param(inline, value_type = Option<Place>)]
    #[schema(inline, value_type = Option<Place>)]
    letter: Option<String>,
    /// Only those that were replayed as often as may be (`true`).
    parked: Option<bool>,
}

/// What a list asks for.
pub(in crate::http) struct Meant {
    pub(super) filter: LetterParams,
    pub(super) page: PageParams,
}

impl<S: Send + Sync> FromRequestParts<S> for Meant {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let wrong = |rejection: axum::extract::rejection::QueryRejection| Problem::bad_request(rejection.body_text());
        let Query(named) = Query::<Vec<(String, String)>>::try_from_uri(&parts.uri).map_err(wrong)?;
        if let Some((name, _)) = named.iter().find(|(name, _)| !NAMES.contains(&name.as_str())) {
            return Err(Problem::bad_request(format!(
                "there is no query parameter {name}; there are {}",
                NAMES.join(", ")
            )));
        }
        let Query(page) = Query::<PageParams>::try_from_uri(&parts.uri).map_err(wrong)?;
        let of_page = ["limit", "cursor", "full"];
        // The rest alone, as the filter of a body is read: unknown names are refused there.
        let mut filter = LetterParams::default();
        for (name, value) in named.into_iter().filter(|(name, _)| !of_page.contains(&name.as_str())) {
            filter.set(&name, value)?;
        }
        Ok(Self { filter, page })
    }
}

impl LetterParams {
    fn set(&mut self, name: &str, value: String) -> Result<(), Problem> {
        let place = match name {
            "since" => &mut self.since,
            "until" => &mut self.until,
            "type" => &mut self.event_type,
            "error" => &mut self.error,
            "key" => &mut self.key,
            "group" => &mut self.group,
            "origin" => &mut self.origin,
            "letter" => &mut self.letter,
            _ => {
                let parked = value.parse();
                self.parked = Some(parked.map_err(|_| Problem::bad_request("parked is true or false"))?);
                return Ok(());
            }
        };
        *place = Some(value);
        Ok(())
    }

    /// Whether nothing is named.
    pub(super) fn is_empty(&self) -> bool {
        self.words().is_empty()
    }

    /// What is named, for people.
    pub(super) fn words(&self) -> String {
        let named = [
            ("since", &self.since),
            ("until", &self.until),
            ("type", &self.event_type),
            ("error", &self.error),
            // A key may be made of what is sensitive.
            ("key", &self.key.as_ref().map(|_| crate::model::MASK.to_owned())),
            ("group", &self.group),
            ("origin", &self.origin),
            ("letter", &self.letter),
            ("parked", &self.parked.filter(|parked| *parked).map(|_| "true".to_owned())),
        ];
        let words = named.into_iter().filter_map(|(name, value)| Some(format!("{name}={}", value.as_ref()?)));
        words.collect::<Vec<_>>().join(" ")
    }

    /// The filter.
    pub(super) fn read(&self, topic: &Topic) -> Result<Filter, Problem> {
        let now_ms = chrono::Utc::now().timestamp_millis();
        let at = |name: &str, text: &Option<String>| text.as_deref().map(|text| moment(name, text, now_ms)).transpose();
        let place =
            |name: &str, text: &Option<String>, of: &str| text.as_deref().map(|text| spot(name, text, of)).transpose();
        Ok(Filter {
            since_ms: at("since", &self.since)?,
            until_ms: at("until", &self.until)?,
            event_type: self.event_type.clone(),
            error: self.error.clone(),
            key: self.key.clone(),
            group: self.group.clone(),
            origin: place("origin", &self.origin, &topic.name)?,
            letter: place("letter", &self.letter, &topic.dead_letter_topic())?,
            is_parked: self.parked.unwrap_or_default(),
        })
    }
}

fn moment(name: &str, text: &str, now_ms: i64) -> Result<i64, Problem> {
    moment_ms(text, now_ms).ok_or_else(|| {
        Problem::bad_request(format!(
            "{name} is {text:?}: give a time like 2026-11-21T13:00:00Z, or how long ago, like 90s, 30m, 2h, 7d"
        ))
    })
}

/// A place in a topic.
pub(super) fn spot(name: &str, text: &str, topic: &str) -> Result<Spot, Problem> {
    let read = Spot::parse(text).filter(|(of, _)| of.is_none_or(|of| of == topic)).map(|(_, spot)| spot);
    read.ok_or_else(|| {
        Problem::bad_request(format!("{name} is {text:?}: give partition:offset, such as 0:12, or {topic}:0:12"))
    })
}

/// Where an earlier answer ended.
pub(super) fn cursor(text: Option<&str>) -> Result<Option<Cursor>, Problem> {
    text.map(str::parse).transpose().map_err(Problem::bad_request)
}
