//! Scripts: sent by their digest, by their text where the server does not know them; and what they answer.

use std::time::Duration;

use fred::{error::Error, types::Value};

use super::{
    failure::{server_code, store_error},
    lanes::{Call, Lanes, Purpose},
    reading::{corrupt, list, optional_text, text},
};
use crate::{
    model::{Checkpoint, Outcome, Refusal, RefusalReason, SwapOutcome},
    store::StoreError,
};

/// A script and its digest.
pub(super) struct Script {
    source: &'static str,
    digest: String,
}

impl Script {
    pub(super) fn new(source: &'static str) -> Self {
        Self { source, digest: fred::util::sha1_hash(source) }
    }

    /// Runs the script. A server that was started again has forgotten it, and learns it from the text.
    pub(super) async fn run(
        &self,
        lanes: &Lanes,
        doing: &str,
        keys: &[&String],
        args: Vec<Value>,
        deadline: Duration,
    ) -> Result<Value, StoreError> {
        let lane = (lanes, Purpose::Write);
        let answers = self.run_before(lane, doing, keys, args, Vec::new, deadline).await?;
        first(answers).map_err(|error| store_error(doing, &error))
    }

    /// Runs the script and after it other commands, in one exchange; the answers in that order.
    pub(super) async fn run_before(
        &self,
        (lanes, purpose): (&Lanes, Purpose),
        doing: &str,
        keys: &[&String],
        args: Vec<Value>,
        others: impl Fn() -> Vec<Call>,
        deadline: Duration,
    ) -> Result<Vec<Result<Value, Error>>, StoreError> {
        let calls = |name, script: &str| {
            let mut all = vec![Value::from(script), Value::from(keys.len() as i64)];
            all.extend(keys.iter().map(|key| Value::from(key.as_str())));
            all.extend(args.iter().cloned());
            std::iter::once(Call::script(name, all)).chain(others()).collect()
        };
        let answers = lanes.run(purpose, doing, calls("EVALSHA", &self.digest), deadline).await?;
        match answers.first() {
            Some(Err(error)) if server_code(error) == Some("NOSCRIPT") => {
                lanes.run(purpose, doing, calls("EVAL", self.source), deadline).await
            }
            _ => Ok(answers),
        }
    }
}

fn first<E>(answers: Vec<Result<Value, E>>) -> Result<Value, E> {
    answers.into_iter().next().unwrap_or(Ok(Value::Null))
}

/// What `flush.lua` says of one section.
pub(super) fn outcome(doing: &str, value: Value) -> Result<Outcome, StoreError> {
    let parts = list(value);
    let [tag, rest @ ..] = parts.as_slice() else { return Err(corrupt(doing, "an outcome of the script is empty")) };
    match (text(doing, tag)?.as_str(), rest) {
        ("A", _) => Ok(Outcome::Applied),
        ("D", _) => Ok(Outcome::AlreadyApplied),
        ("C", stored) => {
            let stored = optional_text(doing, stored.first().unwrap_or(&Value::Null))?;
            let stored: Result<Option<Checkpoint>, _> = stored.map(|text| text.parse()).transpose();
            // A text that is no checkpoint stops its partition only.
            let key = || "counters:checkpoints".to_owned();
            Ok(stored.map_or_else(
                |_| Outcome::Refused(Refusal { key: key(), reason: RefusalReason::WrongType }),
                |stored| Outcome::Conflict { stored },
            ))
        }
        ("R", [reason, key]) => {
            let reason = match text(doing, reason)?.as_str() {
                "type" => RefusalReason::WrongType,
                "number" => RefusalReason::NotANumber,
                "overflow" => RefusalReason::Overflow,
                other => return Err(corrupt(doing, format!("the script refused for an unknown reason {other:?}"))),
            };
            Ok(Outcome::Refused(Refusal { key: text(doing, key)?, reason }))
        }
        (other, _) => Err(corrupt(doing, format!("the script answered an unknown outcome {other:?}"))),
    }
}

/// What `swap.lua` says of one swap.
pub(super) fn swap_outcome(doing: &str, value: Value) -> Result<SwapOutcome, StoreError> {
    let mut parts = list(value).into_iter();
    let tag = parts.next().as_ref().map(|tag| text(doing, tag)).transpose()?;
    match tag.as_deref() {
        Some("S") => Ok(SwapOutcome::Swapped),
        Some("D") => Ok(SwapOutcome::Differs(parts.next().and_then(Value::into_owned_bytes))),
        _ => Err(corrupt(doing, "the script answered an unknown outcome of a swap")),
    }
}
