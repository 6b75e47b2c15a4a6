//! Sections in the form that `flush.lua` takes: msgpack, every number a decimal string.

mod others;

use bytes::Bytes;
use rmp::encode::{ByteBuf, write_array_len, write_bool, write_str_len};

pub(super) use others::{lists, names, plan, statuses, swaps};

use crate::model::{Delta, Key, Membership, Presences, Section};

/// Weight up to which whole sections share one script call: such a call takes Redis about 5 ms, in which it answers nobody
/// else. A larger section goes alone.
pub(super) const CALL_WEIGHT: usize = 5_000;

/// What a section costs: its stored values, and its checkpoint.
pub(super) fn weight(section: &Section) -> usize {
    1 + section.statuses.len() + section.deltas.iter().map(|(_, delta)| delta.weight()).sum::<usize>()
}

/// How many of the sections, from the first, make up the next call.
pub(super) fn next_call(sections: &[Section]) -> usize {
    let mut total = 0;
    let fits = |section: &&Section| {
        total += weight(section);
        total <= CALL_WEIGHT
    };
    let count = sections.iter().take_while(fits).count();
    count.max(1).min(sections.len())
}

/// The first part of what `last` and a member ordered by time store: time and origin, so that texts compare as the pairs do.
pub(super) fn last_head(time_ms: i64, origin: crate::model::Origin) -> String {
    // With the sign's bit turned, the order of the unsigned number is that of the signed one.
    format!("{:016x}{}", (time_ms as u64) ^ (1 << 63), origin.to_hex())
}

/// Packs sections as `flush.lua` reads them. `unmarked` says which totals of a section are not known to be among the changes
/// that the persistent tier lacks.
pub(super) fn sections(sections: &[Section], unmarked: impl Fn(&Section) -> Vec<&str>) -> Bytes {
    let mut out = Packer(ByteBuf::new());
    out.array(sections.len());
    for section in sections {
        out.section(section);
        out.texts(unmarked(section).into_iter());
        out.statuses(section.statuses.iter());
    }
    Bytes::from(out.0.into_vec())
}

/// Writes msgpack to memory, which cannot fail: the results of the encoder are of an error type without values.
struct Packer(ByteBuf);

impl Packer {
    fn array(&mut self, len: usize) {
        let _ = write_array_len(&mut self.0, len as u32);
    }

    fn bytes(&mut self, bytes: &[u8]) {
        // Lua's strings are bytes, and so are msgpack's to Redis.
        let _ = write_str_len(&mut self.0, bytes.len() as u32);
        self.0.as_mut_vec().extend_from_slice(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: i64) {
        self.text(&number.to_string());
    }

    /// Absent is `false`: a nil would end a Lua list.
    fn optional(&mut self, value: Option<impl AsRef<[u8]>>) {
        match value {
            Some(value) => self.bytes(value.as_ref()),
            None => {
                let _ = write_bool(&mut self.0, false);
            }
        }
    }

    fn texts<'a>(&mut self, texts: impl ExactSizeIterator<Item = &'a str>) {
        self.array(texts.len());
        texts.for_each(|text| self.text(text));
    }

    fn section(&mut self, section: &Section) {
        // The names to mark follow, and the statuses.
        self.array(20);
        self.text(&section.partition.to_string());
        self.optional(section.expect.map(|checkpoint| checkpoint.to_string()));
        self.text(&section.next.to_string());
        match section.gap {
            Some(gap) => {
                self.array(2);
                self.number(gap.from);
                self.number(gap.to);
            }
            None => self.optional(None::<&str>),
        }
        self.identity(section);
        let of = |wanted: fn(&Delta) -> bool| -> Vec<&(Key, Delta)> {
            section.deltas.iter().filter(|(_, delta)| wanted(delta)).collect()
        };
        // Those that expire stand last, and their times in a list of their own.
        let mut counts = of(|delta| matches!(delta, Delta::Count(_)));
        let until = of(|delta| matches!(delta, Delta::CountUntil { .. }));
        counts.extend_from_slice(&until);
        let highest = of(|delta| matches!(delta, Delta::Max(_)));
        for list in [&counts, &highest] {
            self.texts(list.iter().map(|(key, _)| &*key.name));
            self.array(list.len());
            for (_, delta) in list {
                if let Delta::Count(number) | Delta::CountUntil { sum: number, .. } | Delta::Max(number) = delta {
                    self.number(*number);
                }
            }
        }
        self.latest(&of(|delta| matches!(delta, Delta::Last { .. })));
        for list in [
            of(|delta| matches!(delta, Delta::Unique { .. })),
            of(|delta| matches!(delta, Delta::Recent { .. })),
            of(|delta| matches!(delta, Delta::Top { .. })),
            of(|delta| matches!(delta, Delta::Member { .. })),
            of(|delta| matches!(delta, Delta::MemberByTime(_))),
        ] {
            self.array(list.len());
            for (key, delta) in list {
                self.collection(&key.name, delta);
            }
        }
        self.array(until.len());
        for (_, delta) in until {
            if let Delta::CountUntil { expire_at_ms, .. } = delta {
                self.number(*expire_at_ms);
            }
        }
    }

    /// Each known part is a field of its own, so that a part which is not known now leaves what is stored.
    fn identity(&mut self, section: &Section) {
        let identity = &section.log_identity;
        let parts = [
            ("cluster_id", identity.cluster_id.clone()),
            ("topic_id", identity.topic_id.map(|id| id.to_string())),
            ("leader_epoch", identity.leader_epoch.map(|epoch| epoch.to_string())),
            (super::positions::SWITCHES_PART, section.switches.as_ref().map(ToString::to_string)),
        ];
        self.array(2 * parts.iter().filter(|(_, value)| value.is_some()).count());
        for (part, value) in parts {
            if let Some(value) = value {
                self.text(&super::positions::identity_field(&section.partition, part));
                self.text(&value);
            }
        }
    }

    fn latest(&mut self, list: &[&(Key, Delta)]) {
        self.texts(list.iter().map(|(key, _)| &*key.name));
        for wants_value in [false, true] {
            self.array(list.len());
            for (_, delta) in list {
                if let Delta::Last { time_ms, origin, value } = delta {
                    if wants_value { self.number(*value) } else { self.text(&last_head(*time_ms, *origin)) }
                }
            }
        }
    }

    fn collection(&mut self, name: &str, delta: &Delta) {
        match delta {
            Delta::Count(_) | Delta::CountUntil { .. } | Delta::Max(_) | Delta::Last { .. } => {}
            Delta::Unique { expire_at_ms, elements } => {
                self.array(3);
                self.text(name);
                self.optional(expire_at_ms.map(|ms| ms.to_string()));
                self.texts(elements.iter().map(|element| &**element));
            }
            Delta::Recent { cap, entries } => {
                self.array(3);
                self.text(name);
                self.text(&cap.to_string());
                self.array(2 * entries.len());
                for entry in entries {
                    self.number(entry.time_ms);
                    self.text(&format!("{}{}", entry.origin.to_hex(), entry.element));
                }
            }
            Delta::Top { expire_at_ms, sums } => {
                self.array(4);
                self.text(name);
                self.optional(expire_at_ms.map(|ms| ms.to_string()));
                self.texts(sums.keys().map(|element| &**element));
                self.array(sums.len());
                sums.values().for_each(|sum| self.number(*sum));
            }
            Delta::Member { elements } => {
                self.array(6);
                self.text(name);
                self.texts(elements.keys().map(|element| &**element));
                self.memberships(elements.values());
            }
            Delta::MemberByTime(presences) => {
                self.array(6);
                self.text(name);
                self.presences(presences);
            }
        }
    }

    fn presences(&mut self, presences: &Presences) {
        let list = presences.elements.values();
        self.number(presences.tombstones_ms);
        self.texts(presences.elements.keys().map(|element| &**element));
        self.array(list.len());
        list.clone().for_each(|presence| self.text(&last_head(presence.time_ms, presence.origin)));
        // One digit per element: 1 where it is in.
        let signs: Vec<u8> = list.clone().map(|presence| b'0' + u8::from(presence.is_in)).collect();
        self.bytes(&signs);
        self.array(list.len());
        list.for_each(|presence| self.optional(presence.counter.as_deref().map(str::as_bytes)));
    }

    fn memberships<'a>(&mut self, list: impl ExactSizeIterator<Item = &'a Membership> + Clone) {
        // One digit per element: 1 where the first operation adds, plus 2 where the element is in afterwards.
        let operations: Vec<u8> =
            list.clone().map(|m| b'0' + u8::from(m.first_is_add) + 2 * u8::from(m.present_after)).collect();
        self.bytes(&operations);
        self.array(list.len());
        list.clone().for_each(|m| self.optional(m.first_move.as_ref().map(|(counter, _)| counter.as_bytes())));
        self.array(list.len());
        list.clone().for_each(|m| self.optional(m.first_move.as_ref().map(|(_, amount)| amount.to_string())));
        self.array(list.len());
        for membership in list {
            if membership.later_moves.is_empty() {
                self.optional(None::<&str>);
                continue;
            }
            self.array(2 * membership.later_moves.len());
            for (counter, amount) in &membership.later_moves {
                self.text(counter);
                self.number(*amount);
            }
        }
    }
}

#[cfg(test)]
mod tests;
