//! What is packed beside sections: swaps, what is exchanged, totals that are put back.

use bytes::Bytes;
use rmp::encode::ByteBuf;

use super::Packer;
use crate::model::{ExchangePlan, GroupStatus, Kind, Swap};

/// Packs swaps as `swap.lua` reads them.
pub(in crate::store::redis) fn swaps(swaps: &[Swap]) -> Bytes {
    let mut out = Packer(ByteBuf::new());
    out.array(swaps.len());
    for swap in swaps {
        out.array(4);
        out.text(&swap.name);
        out.optional(swap.expect.as_deref());
        out.optional(swap.next.as_deref());
        out.optional(swap.ttl_ms.map(|ms| ms.to_string()));
    }
    Bytes::from(out.0.into_vec())
}

/// Packs statuses as `status.lua` reads them.
pub(in crate::store::redis) fn statuses(statuses: &[&(Box<str>, GroupStatus)]) -> Bytes {
    let mut out = Packer(ByteBuf::new());
    out.statuses(statuses.iter().copied());
    Bytes::from(out.0.into_vec())
}

impl Packer {
    /// A flat list: event id, group, status, ms to keep.
    pub(super) fn statuses<'s>(&mut self, statuses: impl ExactSizeIterator<Item = &'s (Box<str>, GroupStatus)>) {
        self.array(4 * statuses.len());
        for (event_id, GroupStatus { group, status }) in statuses {
            self.text(event_id);
            self.text(group);
            self.text(&status.to_json());
            self.text(&status.kept_ms().to_string());
        }
    }
}

/// Packs what is to be exchanged as `exchange_begin.lua` reads it.
pub(in crate::store::redis) fn plan(plan: &ExchangePlan, instead_of: Option<&str>) -> Bytes {
    let mut out = Packer(ByteBuf::new());
    out.array(4);
    out.text(&plan.id);
    out.optional(instead_of);
    out.texts(plan.topics.iter().map(String::as_str));
    out.array(plan.targets.len());
    for target in &plan.targets {
        out.array(5);
        out.text(&target.partition.to_string());
        for checkpoint in [target.checkpoint, target.mark(), target.in_shadow()] {
            out.text(&checkpoint.to_string());
        }
        out.optional(target.gap.map(|gap| format!("{}:{}", gap.from, gap.to)));
    }
    Bytes::from(out.0.into_vec())
}

/// Packs names as `exchange_step.lua` reads them: counters, sets, then the others.
pub(in crate::store::redis) fn names(names: &[(Kind, String)]) -> Bytes {
    let list_of = |kind: Kind| match kind {
        Kind::Count | Kind::Max | Kind::Last => 0,
        Kind::Member => 1,
        Kind::Unique | Kind::Recent | Kind::Top => 2,
    };
    let mut out = Packer(ByteBuf::new());
    out.array(3);
    for list in 0..3 {
        let wanted = names.iter().filter(|(kind, _)| list_of(*kind) == list);
        let wanted: Vec<&str> = wanted.map(|(_, name)| name.as_str()).collect();
        out.texts(wanted.into_iter());
    }
    Bytes::from(out.0.into_vec())
}

/// Packs lists of texts as `put_back.lua` reads them.
pub(in crate::store::redis) fn lists<const N: usize>(lists: [&[String]; N]) -> Bytes {
    let mut out = Packer(ByteBuf::new());
    out.array(N);
    for list in lists {
        out.texts(list.iter().map(String::as_str));
    }
    Bytes::from(out.0.into_vec())
}
