//! Which calls are offered, in which versions.

use kafka_protocol::messages::ApiKey;

use crate::log::broker::shape::{self, Layout};

/// A call that is offered.
pub struct Offer {
    /// Which.
    pub key: ApiKey,
    /// First version served; older ones down to `listed_min` are listed where clients look for them.
    pub min: i16,
    /// Last version served.
    pub max: i16,
    /// First version that ApiVersions lists.
    pub listed_min: i16,
    /// The request's fields; ApiVersions is answered without looking at them.
    pub layout: &'static Layout,
}

const fn offer(key: ApiKey, min: i16, max: i16, layout: &'static Layout) -> Offer {
    Offer { key, min, max, listed_min: min, layout }
}

/// What ApiVersions lists: as far as `kafka-protocol` knows a call, but Fetch only before the versions whose tagged fields
/// would be decoded on trust (see [`shape`]).
///
/// librdkafka looks at this list for more than it says: without Produce from 0 it sends no compressed batches at all, without
/// FindCoordinator no lz4 ones. Kafka 4 lists old Produce versions for that reason too (KAFKA-18659). They are not used then.
/// JoinGroup and the rest of group membership are not here, by which clients know that there is none.
pub static OFFERED: [Offer; 21] = [
    Offer { key: ApiKey::Produce, min: 3, max: 13, listed_min: 0, layout: &shape::PRODUCE },
    offer(ApiKey::Fetch, 4, 16, &shape::FETCH),
    offer(ApiKey::ListOffsets, 1, 10, &shape::LIST_OFFSETS),
    offer(ApiKey::Metadata, 0, 13, &shape::METADATA),
    offer(ApiKey::OffsetCommit, 2, 9, &shape::OFFSET_COMMIT),
    offer(ApiKey::OffsetFetch, 1, 9, &shape::OFFSET_FETCH),
    offer(ApiKey::FindCoordinator, 0, 6, &shape::FIND_COORDINATOR),
    offer(ApiKey::DescribeGroups, 0, 5, &shape::DESCRIBE_GROUPS),
    offer(ApiKey::ListGroups, 0, 5, &shape::LIST_GROUPS),
    offer(ApiKey::ApiVersions, 0, 3, &shape::API_VERSIONS),
    offer(ApiKey::CreateTopics, 2, 7, &shape::CREATE_TOPICS),
    offer(ApiKey::DeleteTopics, 1, 6, &shape::DELETE_TOPICS),
    offer(ApiKey::DeleteRecords, 0, 2, &shape::DELETE_RECORDS),
    offer(ApiKey::InitProducerId, 0, 5, &shape::INIT_PRODUCER_ID),
    offer(ApiKey::OffsetForLeaderEpoch, 2, 4, &shape::OFFSET_FOR_LEADER_EPOCH),
    offer(ApiKey::DescribeConfigs, 1, 4, &shape::DESCRIBE_CONFIGS),
    offer(ApiKey::DescribeLogDirs, 1, 4, &shape::DESCRIBE_LOG_DIRS),
    offer(ApiKey::CreatePartitions, 0, 3, &shape::CREATE_PARTITIONS),
    offer(ApiKey::DeleteGroups, 0, 2, &shape::DELETE_GROUPS),
    offer(ApiKey::IncrementalAlterConfigs, 0, 1, &shape::INCREMENTAL_ALTER_CONFIGS),
    offer(ApiKey::DescribeCluster, 0, 2, &shape::DESCRIBE_CLUSTER),
];

/// The offer of this call in this version.
pub fn find(key: i16, version: i16) -> Option<&'static Offer> {
    OFFERED.iter().find(|offer| offer.key as i16 == key && (offer.min..=offer.max).contains(&version))
}
