//! What became of an event in a group: the status of tracked topics.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// How long a status is kept after its event was processed, ms.
const KEPT_PROCESSED_MS: u64 = 3_600_000;
/// How long any other one is, ms.
const KEPT_OTHERS_MS: u64 = 24 * 3_600_000;

/// How far an event is, the least finished first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Progress {
    /// It is published, and nothing is known to have happened to it.
    Pending,
    /// It is being worked on.
    Processing,
    /// It failed, and will be tried again.
    Retrying,
    /// It failed for good: it is a dead letter.
    Failed,
    /// It is done.
    Processed,
}

impl Progress {
    /// The name that users see.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Processing => "PROCESSING",
            Self::Retrying => "RETRYING",
            Self::Failed => "FAILED",
            Self::Processed => "PROCESSED",
        }
    }

    /// Whether nothing more will happen by itself.
    pub const fn is_final(self) -> bool {
        matches!(self, Self::Failed | Self::Processed)
    }
}

/// The status of an event in a group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    /// How far it is.
    pub progress: Progress,
    /// How often it was tried.
    pub attempts: u32,
    /// Where its record is.
    pub topic: Arc<str>,
    /// Partition.
    pub partition: i32,
    /// Offset.
    pub offset: i64,
    /// When this came to be, milliseconds since 1970.
    pub at_ms: i64,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Box<str>>,
    /// The topic of its dead letter.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dead_letter: Option<Box<str>>,
}

impl Status {
    /// The document.
    pub fn to_json(&self) -> String {
        // Plain values: writing them to memory cannot fail.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Reads a document; `None` where it is none.
    pub fn parse(json: &str) -> Option<Self> {
        serde_json::from_str(json).ok()
    }

    /// How long it is kept, ms.
    pub const fn kept_ms(&self) -> u64 {
        match self.progress {
            Progress::Processed => KEPT_PROCESSED_MS,
            _ => KEPT_OTHERS_MS,
        }
    }
}

/// Statuses by the ids of their events.
pub type Statuses = Vec<(Box<str>, GroupStatus)>;

/// A status, of whom and in which group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// The group: counting's, or one that events are delivered to.
    pub group: Arc<str>,
    /// What became of the event there.
    pub status: Status,
}
