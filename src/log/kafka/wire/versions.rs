//! Which version of a call to use with a broker.

use std::ops::RangeInclusive;

use kafka_protocol::{messages::ApiVersionsResponse, protocol::Request};

use super::message::name;
use crate::log::LogError;

/// The calls that a broker offers, and in which versions (its answer to ApiVersions).
#[derive(Clone, Debug, Default)]
pub(in crate::log::kafka) struct Versions(Vec<(i16, RangeInclusive<i16>)>);

impl Versions {
    pub(super) fn of(answer: &ApiVersionsResponse) -> Self {
        Self(answer.api_keys.iter().map(|api| (api.api_key, api.min_version..=api.max_version)).collect())
    }

    /// The newest version that the broker, the caller (`wanted`) and our codec know.
    ///
    /// # Errors
    /// There is none.
    pub(in crate::log::kafka) fn choose<R: Request>(
        &self,
        wanted: &RangeInclusive<i16>,
        address: &str,
    ) -> Result<i16, LogError> {
        let Some((_, offered)) = self.0.iter().find(|(key, _)| *key == R::KEY) else {
            return Err(LogError::Unsupported {
                what: address.to_owned(),
                reason: format!("the broker does not offer {}; Kafka 2.1 or later is needed", name::<R>()),
            });
        };
        let newest = (*wanted.end()).min(R::VERSIONS.max).min(*offered.end());
        let oldest = (*wanted.start()).max(R::VERSIONS.min).max(*offered.start());
        if newest < oldest {
            return Err(LogError::Unsupported {
                what: address.to_owned(),
                reason: format!(
                    "the broker offers {} in versions {} to {}, this client needs {} to {}",
                    name::<R>(),
                    offered.start(),
                    offered.end(),
                    wanted.start(),
                    wanted.end(),
                ),
            });
        }
        Ok(newest)
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::{FetchRequest, ProduceRequest};

    use super::*;

    #[test]
    fn the_newest_common_version_is_chosen() {
        let versions = Versions(vec![(FetchRequest::KEY, 4..=11)]);
        let cases = [(4..=12, Some(11)), (4..=9, Some(9)), (11..=13, Some(11)), (12..=13, None), (0..=3, None)];
        for (wanted, chosen) in cases {
            assert_eq!(versions.choose::<FetchRequest>(&wanted, "a:1").ok(), chosen, "{wanted:?}");
        }
        let missing = versions.choose::<ProduceRequest>(&(3..=9), "a:1").map_err(|error| error.to_string());
        assert!(missing.is_err_and(|text| text.contains("does not offer Produce")));
    }
}
