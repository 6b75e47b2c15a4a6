//! The layout of each request that is offered, in the versions that are (see Kafka's message definitions).
//!
//! A layout leaves out tagged fields, which are walked by their length. So no version may be offered in which the decoder
//! knows a tagged field that other fields follow: its length there would be taken on trust (Fetch from version 17 on).

use super::{
    Array, Blob,
    Field::{Between, Since, Until},
    Fixed, Layout, List, Text,
};

const ID_BYTES: usize = 16;

/// Produce, versions 3 to 13.
pub static PRODUCE: Layout = Layout {
    flexible_since: 9,
    fields: &[
        Since(0, Text),
        Since(0, Fixed(6)),
        Since(
            0,
            Array(&[
                Until(12, Text),
                Since(13, Fixed(ID_BYTES)),
                Since(0, Array(&[Since(0, Fixed(4)), Since(0, Blob)])),
            ]),
        ),
    ],
};
/// Fetch, versions 4 to 16.
pub static FETCH: Layout = Layout {
    flexible_since: 12,
    fields: &[
        Until(14, Fixed(4)),
        Since(0, Fixed(13)),
        Since(7, Fixed(8)),
        Since(
            0,
            Array(&[
                Until(12, Text),
                Since(13, Fixed(ID_BYTES)),
                Since(
                    0,
                    Array(&[
                        Since(0, Fixed(4)),
                        Since(9, Fixed(4)),
                        Since(0, Fixed(8)),
                        Since(12, Fixed(4)),
                        Since(5, Fixed(8)),
                        Since(0, Fixed(4)),
                    ]),
                ),
            ]),
        ),
        Since(7, Array(&[Until(12, Text), Since(13, Fixed(ID_BYTES)), Since(0, List(&Fixed(4)))])),
        Since(11, Text),
    ],
};
/// ListOffsets, versions 1 to 10.
pub static LIST_OFFSETS: Layout = Layout {
    flexible_since: 6,
    fields: &[
        Since(0, Fixed(4)),
        Since(2, Fixed(1)),
        Since(
            0,
            Array(&[Since(0, Text), Since(0, Array(&[Since(0, Fixed(4)), Since(4, Fixed(4)), Since(0, Fixed(8))]))]),
        ),
        Since(10, Fixed(4)),
    ],
};
/// Metadata, versions 0 to 13.
pub static METADATA: Layout = Layout {
    flexible_since: 9,
    fields: &[
        Since(0, Array(&[Since(10, Fixed(ID_BYTES)), Since(0, Text)])),
        Since(4, Fixed(1)),
        Between(8, 10, Fixed(1)),
        Since(8, Fixed(1)),
    ],
};
/// CreateTopics, versions 2 to 7.
pub static CREATE_TOPICS: Layout = Layout {
    flexible_since: 5,
    fields: &[
        Since(
            0,
            Array(&[
                Since(0, Text),
                Since(0, Fixed(6)),
                Since(0, Array(&[Since(0, Fixed(4)), Since(0, List(&Fixed(4)))])),
                Since(0, Array(&[Since(0, Text), Since(0, Text)])),
            ]),
        ),
        Since(0, Fixed(5)),
    ],
};
/// CreatePartitions, versions 0 to 3.
pub static CREATE_PARTITIONS: Layout = Layout {
    flexible_since: 2,
    fields: &[
        Since(0, Array(&[Since(0, Text), Since(0, Fixed(4)), Since(0, Array(&[Since(0, List(&Fixed(4)))]))])),
        Since(0, Fixed(5)),
    ],
};
/// DeleteTopics, versions 1 to 6.
pub static DELETE_TOPICS: Layout = Layout {
    flexible_since: 4,
    fields: &[Until(5, List(&Text)), Since(6, Array(&[Since(0, Text), Since(0, Fixed(ID_BYTES))])), Since(0, Fixed(4))],
};
/// DeleteRecords, versions 0 to 2.
pub static DELETE_RECORDS: Layout = Layout {
    flexible_since: 2,
    fields: &[Since(0, Array(&[Since(0, Text), Since(0, Array(&[Since(0, Fixed(12))]))])), Since(0, Fixed(4))],
};
/// DescribeConfigs, versions 1 to 4.
pub static DESCRIBE_CONFIGS: Layout = Layout {
    flexible_since: 4,
    fields: &[
        Since(0, Array(&[Since(0, Fixed(1)), Since(0, Text), Since(0, List(&Text))])),
        Since(0, Fixed(1)),
        Since(3, Fixed(1)),
    ],
};
/// IncrementalAlterConfigs, versions 0 and 1.
pub static INCREMENTAL_ALTER_CONFIGS: Layout = Layout {
    flexible_since: 1,
    fields: &[
        Since(
            0,
            Array(&[
                Since(0, Fixed(1)),
                Since(0, Text),
                Since(0, Array(&[Since(0, Text), Since(0, Fixed(1)), Since(0, Text)])),
            ]),
        ),
        Since(0, Fixed(1)),
    ],
};
/// DescribeLogDirs, versions 1 to 4.
pub static DESCRIBE_LOG_DIRS: Layout =
    Layout { flexible_since: 2, fields: &[Since(0, Array(&[Since(0, Text), Since(0, List(&Fixed(4)))]))] };
/// DescribeCluster, versions 0 to 2.
pub static DESCRIBE_CLUSTER: Layout =
    Layout { flexible_since: 0, fields: &[Since(0, Fixed(1)), Since(1, Fixed(1)), Since(2, Fixed(1))] };
/// InitProducerId, versions 0 to 5.
pub static INIT_PRODUCER_ID: Layout =
    Layout { flexible_since: 2, fields: &[Since(0, Text), Since(0, Fixed(4)), Since(3, Fixed(10))] };
/// OffsetForLeaderEpoch, versions 2 to 4.
pub static OFFSET_FOR_LEADER_EPOCH: Layout = Layout {
    flexible_since: 4,
    fields: &[Since(3, Fixed(4)), Since(0, Array(&[Since(0, Text), Since(0, Array(&[Since(0, Fixed(12))]))]))],
};
/// FindCoordinator, versions 0 to 6.
pub static FIND_COORDINATOR: Layout =
    Layout { flexible_since: 3, fields: &[Until(3, Text), Since(1, Fixed(1)), Since(4, List(&Text))] };
/// OffsetCommit, versions 2 to 9.
pub static OFFSET_COMMIT: Layout = Layout {
    flexible_since: 8,
    fields: &[
        Since(0, Text),
        Since(0, Fixed(4)),
        Since(0, Text),
        Since(7, Text),
        Until(4, Fixed(8)),
        Since(0, Array(&[Since(0, Text), Since(0, Array(&[Since(0, Fixed(12)), Since(6, Fixed(4)), Since(0, Text)]))])),
    ],
};
/// OffsetFetch, versions 1 to 9.
pub static OFFSET_FETCH: Layout = Layout {
    flexible_since: 6,
    fields: &[
        Until(7, Text),
        Until(7, Array(&[Since(0, Text), Since(0, List(&Fixed(4)))])),
        Since(
            8,
            Array(&[
                Since(0, Text),
                Since(9, Text),
                Since(9, Fixed(4)),
                Since(0, Array(&[Since(0, Text), Since(0, List(&Fixed(4)))])),
            ]),
        ),
        Since(7, Fixed(1)),
    ],
};
/// ListGroups, versions 0 to 5.
pub static LIST_GROUPS: Layout = Layout { flexible_since: 3, fields: &[Since(4, List(&Text)), Since(5, List(&Text))] };
/// DescribeGroups, versions 0 to 5.
pub static DESCRIBE_GROUPS: Layout = Layout { flexible_since: 5, fields: &[Since(0, List(&Text)), Since(3, Fixed(1))] };
/// DeleteGroups, versions 0 to 2.
pub static DELETE_GROUPS: Layout = Layout { flexible_since: 2, fields: &[Since(0, List(&Text))] };
/// ApiVersions is answered without its body: a version of the far future must get its answer too.
pub static API_VERSIONS: Layout = Layout { flexible_since: i16::MAX, fields: &[] };
