//! What is noted outside of the store ([`crate::core::register`]): which rules count from where on, and where the group began.
//!
//! [`LogOutside`] keeps it in a topic of the log, so that it does not fall back with the store.

mod log;

use std::sync::Arc;

use async_trait::async_trait;

pub use self::log::{LogOutside, TOPIC};
use super::{
    SWITCHES_PART,
    counting::Counting,
    health::Level,
    partition::End,
    switching::text_of,
    takeover::{ask, until_stored},
};
use crate::{
    core::register::{Note, Register},
    log::LogError,
    model::{Fingerprint, Swap, SwapOutcome, Switches, SwitchesError, TopicPartition},
    store::{Store, StoreError},
};

/// The table outside: what is noted of this group, by whichever member.
#[async_trait]
pub trait Outside: Send + Sync + 'static {
    /// What is noted: everything at least that was added before this was called.
    ///
    /// # Errors
    /// It cannot be read to its end. [`LogError::Refused`] where a person must mend that.
    async fn read(&self) -> Result<Arc<Register>, LogError>;

    /// Adds notes, in order. One counts unless the same thing was noted before: read on to see.
    ///
    /// # Errors
    /// Some may have been added, and some not: adding all of them again is the same.
    async fn add(&self, notes: &[Note]) -> Result<(), LogError>;
}

/// What is noted outside; `None` where a store of one shard must do without, since a person would have to mend that first.
///
/// # Errors
/// It cannot be read, and must be.
pub async fn as_far_as_needed(outside: &dyn Outside, shards: usize) -> Result<Option<Arc<Register>>, LogError> {
    match outside.read().await {
        Err(error) if shards < 2 && !error.is_retriable() && !matches!(error, LogError::Unknown { .. }) => {
            tracing::debug!(%error, "nothing is known of what is noted outside of the store");
            Ok(None)
        }
        read => read.map(Some),
    }
}

/// What is noted outside, waited for; `None` where a store of one shard must do without.
///
/// One shard is counted exactly without, as long as it does not fall back over a change of rules: that is no reason not to count
/// where nobody may make the topic. Several shards need it to change their rules at one offset.
pub(super) async fn read(counting: &Counting, shards: usize) -> Result<Option<Arc<Register>>, End> {
    let now = std::time::Instant::now();
    match ask(counting, || counting.outside.read()).await {
        Ok(register) => {
            counting.health.mend(SWITCHES_PART, now);
            Ok(Some(register))
        }
        Err(error) if shards < 2 => {
            let what = format!(
                "switches of rules and the group's beginnings are not noted outside of the store: {error}. Counting goes on; a \
                 store that falls back to before a change of rules would change them elsewhere"
            );
            tracing::warn!("{what}");
            counting.health.set(SWITCHES_PART, Level::Degraded, what, now);
            Ok(None)
        }
        Err(error) => Err(End::stuck(error)),
    }
}

/// Notes something and returns what stands there then, which others may have noted before.
pub(super) async fn note(counting: &Counting, notes: &[Note]) -> Result<Arc<Register>, End> {
    ask(counting, || counting.outside.add(notes)).await.map_err(End::stuck)?;
    ask(counting, || counting.outside.read()).await.map_err(End::stuck)
}

/// Notes together with the texts of the rules that they name, as far as the store has these: a store that is emptied has them no
/// more.
pub(super) async fn note_with_texts(
    counting: &Counting,
    register: &Register,
    notes: Vec<Note>,
) -> Result<Arc<Register>, End> {
    let missing: Vec<Fingerprint> = register.without_text(&notes).into_iter().collect();
    let texts = until_stored(counting, || kept_texts(&*counting.store, &missing)).await;
    let texts = texts.into_iter().map(|(fingerprint, text)| Note::Text(fingerprint, text));
    note(counting, &texts.chain(notes).collect::<Vec<_>>()).await
}

async fn kept_texts(store: &dyn Store, of: &[Fingerprint]) -> Result<Vec<(Fingerprint, Arc<str>)>, StoreError> {
    if of.is_empty() {
        return Ok(Vec::new());
    }
    let kept = store.swap(&of.iter().map(|fingerprint| text_of(*fingerprint)).collect::<Vec<_>>()).await?;
    let text = |(fingerprint, kept): (&Fingerprint, SwapOutcome)| match kept {
        SwapOutcome::Differs(Some(text)) => Some((*fingerprint, String::from_utf8(text).ok()?.into())),
        _ => None,
    };
    Ok(of.iter().zip(kept).filter_map(text).collect())
}

/// A look at the document in which versions before this one kept a partition's table, in a store of several shards.
pub fn look_before(partition: &TopicPartition) -> Swap {
    Swap { name: format!("switches:{partition}"), expect: None, next: None, ttl_ms: None }
}

/// What that look says.
///
/// # Errors
/// Something stands there that this version cannot read.
pub fn table_before(answer: Option<SwapOutcome>) -> Result<Option<Switches>, SwitchesError> {
    match answer {
        Some(SwapOutcome::Differs(Some(text))) => String::from_utf8_lossy(&text).parse().map(Some),
        _ => Ok(None),
    }
}
