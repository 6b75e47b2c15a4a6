//! Talking with the cluster: one request to a broker, one look-up of a leader. Nothing here touches the places.

use std::time::Duration;

use kafka_protocol::messages::{FetchRequest, FetchResponse};
use tokio::time::{Instant, timeout_at};

use super::{
    answer::{self, Outcome},
    request::{Asked, Round},
};
use crate::{
    log::{
        LogError,
        kafka::wire::{Lane, Leader, NodeId, Wire},
    },
    model::TopicPartition,
};

/// Longest that a broker may have us wait by its throttle time (KIP-219).
const MAX_QUIET: Duration = Duration::from_secs(30);

/// A partition whose leader is to be looked up.
#[derive(Clone, Debug)]
pub(super) struct Search {
    pub(super) partition: TopicPartition,
    pub(super) deadline: Instant,
}

/// What came of a [`Search`].
pub(super) struct Looked {
    pub(super) partition: TopicPartition,
    pub(super) began: Instant,
    pub(super) found: Result<Leader, LogError>,
}

/// What came of a [`Round`].
pub(super) struct Answered {
    pub(super) node: NodeId,
    /// The broker wants to hear nothing for so long.
    pub(super) quiet: Duration,
    pub(super) outcomes: Vec<(Asked, Outcome)>,
}

/// Asks the cluster who leads a partition.
pub(super) async fn look_up(wire: &Wire, search: Search) -> Looked {
    let Search { partition, deadline } = search;
    let began = Instant::now();
    let found = timeout_at(deadline, wire.leader(&partition)).await.unwrap_or_else(|_| {
        let after_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        Err(LogError::TimedOut { what: format!("looking for the leader of {partition}"), after_ms })
    });
    Looked { partition, began, found }
}

/// Sends a request and waits for its answer.
pub(super) async fn ask(wire: &Wire, round: Round) -> Answered {
    let node = round.node;
    match exchange(wire, &round).await {
        Ok((quiet, answer)) => {
            let outcomes = answer::read(answer, round.asked);
            take_to_heart(wire, &outcomes);
            Answered { node, quiet, outcomes }
        }
        Err(error) => {
            // Whoever it led may be led by another now.
            wire.distrust();
            let outcome = |error: LogError| match error {
                why if why.is_retriable() => Outcome::Moved { to: None, why },
                error => Outcome::Told(error),
            };
            let outcomes = round.asked.into_iter().map(|asked| (asked, outcome(error.clone()))).collect();
            Answered { node, quiet: Duration::ZERO, outcomes }
        }
    }
}

async fn exchange(wire: &Wire, round: &Round) -> Result<(Duration, FetchResponse), LogError> {
    let limit = wire.options.request_timeout;
    let connection = wire.connection(round.node, Lane::Fetch, Instant::now() + limit).await?;
    let version = connection.version::<FetchRequest>(&round.versions())?;
    let answer = connection.call(&round.request(), version, Instant::now() + round.max_wait + limit).await?;
    connection.throttle(answer.throttle_time_ms);
    let quiet_ms = u64::try_from(answer.throttle_time_ms).unwrap_or(0);
    Ok((Duration::from_millis(quiet_ms).min(MAX_QUIET), answer))
}

/// Has the leaders looked up anew where they are not what was thought.
fn take_to_heart(wire: &Wire, outcomes: &[(Asked, Outcome)]) {
    for (asked, outcome) in outcomes {
        match outcome {
            Outcome::Moved { to: Some(to), .. } if to.epoch > asked.leader.epoch => {
                wire.learn_leader(&asked.partition, to.node, to.epoch, to.address.clone());
            }
            Outcome::Moved { .. } | Outcome::NotThere => wire.distrust(),
            _ => {}
        }
    }
}
