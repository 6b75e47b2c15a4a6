//! Asking for a producer id (InitProducerId, KIP-98).

use std::ops::RangeInclusive;

use kafka_protocol::{
    error::ResponseError,
    messages::{InitProducerIdRequest, ProducerId},
};
use tokio::time::Instant;

use super::queue::Identity;
use crate::log::{
    LogError,
    kafka::wire::{NodeId, Wire},
    record::Producer,
};

/// All versions do without a transaction; later ones differ in what concerns transactions only.
const INIT_PRODUCER_ID: RangeInclusive<i16> = 0..=5;

/// What a broker says of our identity.
pub(super) enum Given {
    /// Here it is.
    Identity(Identity),
    /// There is none to be had, for this reason.
    None(String),
}

/// Asks a broker for a producer id of our own.
///
/// # Errors
/// It cannot be reached, or cannot say now.
pub(super) async fn ask(wire: &Wire, node: NodeId, deadline: Instant) -> Result<Given, LogError> {
    let request = |_| {
        InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1)
    };
    let answer = match wire.call::<InitProducerIdRequest>(node, &INIT_PRODUCER_ID, deadline, request).await {
        Ok(answer) => answer,
        Err(LogError::Unsupported { reason, .. }) => return Ok(Given::None(reason)),
        Err(error) => return Err(error),
    };
    match ResponseError::try_from_code(answer.error_code) {
        None => Ok(Given::Identity(Identity::Known(Producer {
            id: answer.producer_id.0,
            epoch: answer.producer_epoch,
            base_sequence: 0,
        }))),
        Some(ResponseError::ClusterAuthorizationFailed) => Ok(Given::None(
            "the client may not; grant it IDEMPOTENT_WRITE on the cluster (since Kafka 3.0 WRITE on a topic is enough)"
                .to_owned(),
        )),
        Some(error @ (ResponseError::UnsupportedVersion | ResponseError::InvalidRequest)) => {
            Ok(Given::None(error.to_string()))
        }
        Some(error) => {
            Err(LogError::Unavailable { what: "asking for a producer id".to_owned(), reason: error.to_string() })
        }
    }
}
