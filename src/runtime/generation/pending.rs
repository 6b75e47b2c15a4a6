//! What a reader sees of a generation: values that are counted and not yet stored.

use std::sync::{PoisonError, atomic::Ordering};

use async_trait::async_trait;

use super::Generations;
use crate::{
    model::{Delta, Key, Kind},
    runtime::{
        reads::{PendingCounters, PendingValue},
        tenure::TenureId,
    },
};

#[async_trait]
impl PendingCounters for Generations {
    async fn settled(&self) -> u64 {
        loop {
            let settled = self.settled.notified();
            let number = self.flush_number();
            if number.is_multiple_of(2) {
                return number;
            }
            settled.await;
        }
    }

    fn flush_number(&self) -> u64 {
        self.flush_number.load(Ordering::Acquire)
    }

    fn pending(&self, name: &str) -> Option<PendingValue> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        let find = |kind: Kind| {
            let deltas = open.deltas.get(&Key::new(kind, name))?;
            let progress = open.progress.lock().unwrap_or_else(PoisonError::into_inner);
            let is_alive = |id: &TenureId| progress.get(id).is_some_and(|progress| progress.tenure.is_alive());
            Some(deltas.iter().filter(|(id, _)| is_alive(id)).map(|(_, delta)| delta.clone()).collect::<Vec<_>>())
        };
        if let Some(deltas) = find(Kind::Count) {
            let sum = deltas.iter().map(|delta| match delta {
                Delta::Count(sum) | Delta::CountUntil { sum, .. } => *sum,
                _ => 0,
            });
            return Some(PendingValue::Sum(sum.fold(0, i64::saturating_add)));
        }
        let deltas = find(Kind::Max)?;
        let values = deltas.iter().filter_map(|delta| if let Delta::Max(value) = delta { Some(*value) } else { None });
        values.max().map(PendingValue::Highest)
    }
}
