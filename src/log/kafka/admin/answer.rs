//! What a broker's error codes mean for the callers of the admin calls.

use kafka_protocol::{
    error::{ParseResponseErrorCode, ResponseError as Code},
    protocol::StrBytes,
};

use crate::log::LogError;

/// Takes an answer's error code apart. `what` names the call and what it was about; `target` is the topic, partition or
/// group alone; `message` is what the broker said beside the code.
///
/// # Errors
/// The code is not 0. Codes that pass by themselves (another controller, a coordinator that is still loading) become
/// [`LogError::Unavailable`].
pub(in crate::log::kafka) fn explain(
    code: i16,
    message: Option<&StrBytes>,
    what: &str,
    target: &str,
) -> Result<(), LogError> {
    let Some(code) = code.err() else { return Ok(()) };
    let what = what.to_owned();
    let said = message.map(|message| message.trim()).filter(|message| !message.is_empty());
    let reason = said.map_or_else(|| code.to_string(), |message| format!("{code}: {message}"));
    Err(match code {
        Code::UnknownTopicOrPartition | Code::UnknownTopicId | Code::GroupIdNotFound => {
            LogError::Unknown { what: target.to_owned() }
        }
        Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress | Code::NonEmptyGroup => {
            LogError::Refused {
                what,
                reason: format!(
                    "{reason}; consumers of group {target} are running, and only they may commit for it. Stop them, or \
                     choose another group"
                ),
            }
        }
        Code::UnsupportedVersion => LogError::Unsupported { what, reason },
        Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed => {
            LogError::Refused { what, reason: format!("{reason}; grant the client this right on the broker") }
        }
        Code::TopicDeletionDisabled => {
            LogError::Refused { what, reason: format!("{reason}; the brokers run with delete.topic.enable=false") }
        }
        Code::UnknownServerError => LogError::Unavailable { what, reason },
        code if code.is_retriable() => LogError::Unavailable { what, reason },
        _ => LogError::Refused { what, reason },
    })
}

/// For an answer that leaves out what was asked for.
pub(super) fn silent(what: &str) -> LogError {
    LogError::Unavailable { what: what.to_owned(), reason: "the broker's answer leaves it out".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_told_by_what_to_do_about_them() {
        let message = StrBytes::from_static_str("Unknown topic config name: retension.ms");
        let cases = [
            (0, None, "ok"),
            (3, None, "unknown"),
            (69, None, "unknown"),
            (14, None, "unavailable"),
            (15, None, "unavailable"),
            (16, None, "unavailable"),
            (41, None, "unavailable"),
            (-1, None, "unavailable"),
            (25, None, "refused"),
            (27, None, "refused"),
            (29, None, "refused"),
            (40, Some(&message), "refused"),
            (35, None, "unsupported"),
            (9999, None, "refused"),
        ];
        for (code, message, kind) in cases {
            let told = explain(code, message, "changing t", "t");
            assert_eq!(told.as_ref().map_or_else(LogError::kind, |()| "ok"), kind, "{code}");
            if let (Some(message), Err(error)) = (message, told) {
                assert!(error.to_string().contains(&**message) && error.to_string().contains("changing t"), "{error}");
            }
        }
    }

    #[test]
    fn a_group_with_members_is_told_with_the_ways_out() {
        let told = explain(25, None, "committing offsets of group g", "g").map_err(|error| error.to_string());
        assert!(
            told.is_err_and(|text| text.contains("consumers of group g are running") && text.contains("Stop them"))
        );
    }
}
