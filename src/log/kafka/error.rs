//! What rskafka's errors mean for the callers of the `Log` seam: it lists topics.

use std::io;

use rskafka::{
    BackoffError, ConnectionError, SaslError,
    client::error::{Error, ProtocolError, RequestError},
};

use super::{access::AccessError, security::Security};
use crate::log::LogError;

/// What to do where the broker knows us and does not let us.
pub(super) const GRANT: &str = "the broker does not let this user do that: grant it DESCRIBE and READ to count a topic, WRITE to publish, \
                     CREATE where topics are made at the start (kafka-acls --add)";

/// What an error of getting in means; `None` where the broker had let us in.
pub(super) fn access(error: &Error, security: &Security) -> Option<AccessError> {
    match error {
        Error::RetryFailed(BackoffError::DeadlineExceded { source, .. }) => access(source.downcast_ref()?, security),
        Error::Connection(ConnectionError::Transport { broker, error }) => {
            let error = std::error::Error::source(error)?.downcast_ref::<io::Error>()?;
            Some(AccessError::of_io(error, broker, security))
        }
        Error::Connection(ConnectionError::SaslFailed(SaslError::Callback(error))) => error.downcast_ref().cloned(),
        _ => None,
    }
}

/// Says what an error means. `what` names the call and what it was about; `target` is the topic or partition alone.
pub(super) fn explain(error: Error, what: &str, target: &str) -> LogError {
    let what = what.to_owned();
    match error {
        // rskafka gave up at its own deadline and boxed what it met last.
        Error::RetryFailed(BackoffError::DeadlineExceded { source, .. }) => match source.downcast::<Error>() {
            Ok(inner) => explain(*inner, &what, target),
            Err(other) => LogError::Unavailable { what, reason: other.to_string() },
        },
        Error::ServerError { protocol_error, error_message, .. } => {
            explain_server(protocol_error, error_message, what, target)
        }
        Error::Connection(ConnectionError::RetryFailed(BackoffError::DeadlineExceded { source, .. })) => {
            LogError::Unavailable { what, reason: source.to_string() }
        }
        Error::Connection(ConnectionError::SaslFailed(
            reason @ (SaslError::ApiError(_) | SaslError::UnsupportedSaslMechanism),
        )) => LogError::Refused { what, reason: format!("the broker refused us ({reason}); check KAFKA_SASL_*") },
        Error::Request(request) => explain_request(&request, what),
        other => LogError::Unavailable { what, reason: other.to_string() },
    }
}

fn explain_request(error: &RequestError, what: String) -> LogError {
    match error {
        RequestError::ReadError(_) | RequestError::ReadVersionedError(_) | RequestError::TooMuchData { .. } => {
            LogError::Unsupported { what, reason: format!("the answer cannot be decoded ({error})") }
        }
        RequestError::NoVersionMatch { .. } => LogError::Unsupported {
            what,
            reason: format!("{error}; the broker is too old or too new for this version"),
        },
        other => LogError::Unavailable { what, reason: other.to_string() },
    }
}

fn explain_server(error: ProtocolError, message: Option<String>, what: String, target: &str) -> LogError {
    let reason = message.map_or_else(|| error.to_string(), |message| format!("{error}: {message}"));
    match error {
        ProtocolError::UnknownTopicOrPartition => LogError::Unknown { what: target.to_owned() },
        ProtocolError::TopicAuthorizationFailed | ProtocolError::ClusterAuthorizationFailed => {
            LogError::Refused { what, reason: format!("{reason}; {GRANT}") }
        }
        ProtocolError::InvalidTopicException | ProtocolError::InvalidRequest => LogError::Refused { what, reason },
        _ => LogError::Unavailable { what, reason },
    }
}
