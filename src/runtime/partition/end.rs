//! How a tenure ends.

use crate::runtime::tenure::Verdict;

/// Why a tenure is over.
pub enum End {
    /// The member stops.
    Stopped,
    /// Begin again from what is stored.
    Again(String),
    /// Everything that its rules count is counted and flushed: begin again under the next ones.
    Reached(i64),
    /// Someone must mend something first; it is tried again all the same.
    Stuck(Stop),
}

/// Why a partition has stopped.
#[derive(Clone, Debug)]
pub struct Stop {
    /// The reason, and what to do.
    pub why: String,
    /// It goes on only when the store has taken a flush again, not when a tenure begins.
    pub until_flush: bool,
}

impl End {
    /// A tenure cannot begin, or the log has nothing for it.
    pub fn stuck(why: impl ToString) -> Self {
        Self::Stuck(Stop { why: why.to_string(), until_flush: false })
    }

    /// The store refuses what the tenure brings.
    pub(super) fn refused(why: String) -> Self {
        Self::Stuck(Stop { why, until_flush: true })
    }
}

/// The end of a tenure whose verdict was spoken, or that was let go.
pub(super) fn ended(verdict: Option<Verdict>) -> End {
    match verdict {
        Some(Verdict::Refused(why)) => End::refused(why),
        Some(Verdict::Conflict(why)) => End::Again(why),
        None => End::Stopped,
    }
}
