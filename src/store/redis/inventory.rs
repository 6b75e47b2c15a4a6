//! Keys by name, found with SCAN, and all of them removed.

use std::collections::BTreeMap;

use async_trait::async_trait;
use fred::{types::Value, util::redis_keyslot};

use super::{
    RedisStore,
    hosts::Node,
    lanes::{Call, Purpose},
    reading::{self, corrupt, list},
};
use crate::{
    model::{Kind, Origin},
    store::{Inventory, KeyPage, StoreError},
};

/// Most keys that one page looks at.
const PAGE_MAX: usize = 10_000;
/// Beginnings of what is ours and no result.
pub(super) const OURS: [&str; 2] = ["counters:", "sg:"];
/// Before the name of a set: what was taken out of it, where the latest event decides (`flush.lua`).
pub(super) const OUT: &str = "sg:out:";

impl RedisStore {
    /// A page of keys under the prefix, prefix included.
    async fn page(&self, doing: &str, cursor: &str, limit: usize) -> Result<(Option<String>, Vec<String>), StoreError> {
        self.page_of(doing, &self.layouts.common.prefix, cursor, limit).await
    }

    /// A page of keys under any prefix, prefix included.
    pub(super) async fn page_of(
        &self,
        doing: &str,
        prefix: &str,
        cursor: &str,
        limit: usize,
    ) -> Result<(Option<String>, Vec<String>), StoreError> {
        let nodes = self.lanes.nodes(doing).await?;
        let (at, cursor) = place(doing, &nodes, cursor)?;
        let Some(node) = nodes.get(at) else { return Ok((None, Vec::new())) };
        let (pattern, count) = (reading::prefix_pattern(prefix), limit.clamp(1, PAGE_MAX).to_string());
        let call = Call::at(node, "SCAN", [cursor.as_str(), "MATCH", &pattern, "COUNT", &count]);
        let answer = self.run(Purpose::Read, doing, vec![call]).await?.pop();
        let (next, keys) = reading::page(doing, answer.unwrap_or(Value::Null))?;
        let next = match (next, nodes.get(at + 1)) {
            (Some(next), _) => Some(cursor_in(node, &next)),
            (None, Some(behind)) => Some(cursor_in(behind, "0")),
            (None, None) => None,
        };
        // A key that is no text is none of ours.
        Ok((next, keys.iter().filter_map(Value::as_string).collect()))
    }

    /// Removes keys: in a cluster by slot, since one call is about one slot.
    async fn unlink(&self, doing: &str, keys: Vec<String>) -> Result<u64, StoreError> {
        let mut by_slot: BTreeMap<u16, Vec<String>> = BTreeMap::new();
        for key in keys {
            let slot = if self.lanes.is_cluster() { redis_keyslot(key.as_bytes()) } else { 0 };
            by_slot.entry(slot).or_default().push(key);
        }
        let calls: Vec<Call> = by_slot.into_values().map(|keys| Call::new("UNLINK", keys)).collect();
        if calls.is_empty() {
            return Ok(0);
        }
        let answers = self.run(Purpose::Write, doing, calls).await?;
        Ok(answers.iter().filter_map(Value::as_u64).sum())
    }

    /// What keys hold, as far as they can be some of ours.
    pub(super) async fn kinds(
        &self,
        doing: &str,
        names: Vec<String>,
        key: impl Fn(&str) -> String,
    ) -> Result<Vec<(String, Kind)>, StoreError> {
        let mut calls = Vec::with_capacity(2 * names.len());
        for name in &names {
            let key = key(name);
            calls.push(Call::new("TYPE", [key.clone()]));
            // The error of a key that is no sorted set is no matter.
            calls.push(Call::new("ZRANGE", [key, "0".to_owned(), "0".to_owned()]));
        }
        if calls.is_empty() {
            return Ok(Vec::new());
        }
        let answers = self.lanes.run(Purpose::Read, doing, calls, super::CALL_DEADLINE).await?;
        if answers.len() != 2 * names.len() {
            return Err(corrupt(doing, "answers are missing"));
        }
        let mut keys = Vec::with_capacity(names.len());
        for (name, [kind, first]) in names.into_iter().zip(answers.as_chunks::<2>().0) {
            let kind = kind.as_ref().ok().and_then(Value::as_string);
            let first =
                first.as_ref().ok().map(|first| list(first.clone())).and_then(|first| first.first()?.as_string());
            keys.extend(kind_of(kind.as_deref(), first.as_deref()).map(|kind| (name, kind)));
        }
        Ok(keys)
    }

    /// Removes every key under the prefix, whatever it is, and says how many there were.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the prefix is empty: that would be everything. Else the store cannot be reached; a part
    /// is removed then.
    pub async fn remove_all(&self) -> Result<u64, StoreError> {
        let doing = format!("removing the keys under {:?}", self.layouts.common.prefix);
        if self.layouts.common.prefix.is_empty() {
            return Err(StoreError::Refused { doing, reason: "no prefix is given".to_owned() });
        }
        let (mut removed, mut cursor) = (0, String::new());
        loop {
            let (next, keys) = self.page(&doing, &cursor, PAGE_MAX).await?;
            removed += self.unlink(&doing, keys).await?;
            match next {
                Some(next) => cursor = next,
                None => return Ok(removed),
            }
        }
    }
}

/// The cursor of a node: as Redis has it where there is one, else `slot-mark-cursor`.
fn cursor_in(node: &Node, cursor: &str) -> String {
    match node.slot {
        Some(slot) => format!("{slot}-{:x}-{cursor}", node.mark),
        None => cursor.to_owned(),
    }
}

/// The node that a cursor stands in, and the cursor within it. A cursor means nothing to another node: where somebody else has
/// the slot now, after a failover, its keys are listed from the beginning, so that some come twice and none is left out.
fn place(doing: &str, nodes: &[Node], cursor: &str) -> Result<(usize, String), StoreError> {
    if nodes.iter().all(|node| node.slot.is_none()) || cursor.is_empty() {
        return Ok((0, reading::cursor(doing, cursor)?));
    }
    let parts = |cursor: &str| -> Option<(u16, u32, String)> {
        let (slot, rest) = cursor.split_once('-')?;
        let (mark, within) = rest.split_once('-')?;
        Some((slot.parse().ok()?, u32::from_str_radix(mark, 16).ok()?, within.to_owned()))
    };
    let Some((slot, mark, within)) = parts(cursor).filter(|(_, _, within)| !within.is_empty()) else {
        return Err(StoreError::no_cursor(doing, cursor));
    };
    let within = reading::cursor(doing, &within)?;
    // Behind the slot where a node took over those of another one.
    let at = nodes.iter().position(|node| node.slot >= Some(slot)).unwrap_or(nodes.len());
    let is_same = nodes.get(at).is_some_and(|node| node.slot == Some(slot) && node.mark == mark);
    Ok((at, if is_same { within } else { "0".to_owned() }))
}

#[async_trait]
impl Inventory for RedisStore {
    async fn keys(&self, cursor: &str, limit: usize) -> Result<KeyPage, StoreError> {
        let doing = "listing keys";
        let (cursor, found) = self.page(doing, cursor, limit).await?;
        let name = |key: String| self.layouts.name(&key).map(str::to_owned);
        let mut names: Vec<String> = found.into_iter().filter_map(name).collect();
        names.retain(|name| !OURS.iter().any(|ours| name.starts_with(ours)));
        let keys = self.kinds(doing, names, |name| self.layouts.of(name).key(name)).await?;
        Ok(KeyPage { keys, cursor })
    }
}

/// What a key of a Redis type holds, as far as it can be one of ours.
fn kind_of(redis_type: Option<&str>, first_member: Option<&str>) -> Option<Kind> {
    let has_origin =
        || first_member.and_then(|member| member.get(..Origin::WIDTH)).and_then(Origin::from_hex).is_some();
    match redis_type? {
        "string" => Some(Kind::Unique),
        "set" => Some(Kind::Member),
        "zset" => Some(if has_origin() { Kind::Recent } else { Kind::Top }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_says_its_node_and_begins_anew_where_another_one_has_its_place() {
        let node = |slot, mark| Node { slot: Some(slot), mark };
        let nodes = [node(0, 0xa), node(5461, 0xb), node(10923, 0xc)];
        let at = |cursor| place("listing", &nodes, cursor).ok();
        let place_of = |at: usize, within: &str| Some((at, within.to_owned()));
        assert_eq!(cursor_in(&nodes[1], "17"), "5461-b-17");
        assert_eq!([at(""), at("5461-b-17"), at("5461-d-17")], [place_of(0, "0"), place_of(1, "17"), place_of(1, "0")]);
        assert_eq!([at("5000-b-17"), at("12000-c-17")], [place_of(1, "0"), place_of(3, "0")]);
        for wrong in ["17", "5461-17", "5461-b-", "x-b-1", "5461-z-1", "5461-b-x"] {
            assert_eq!(at(wrong), None, "{wrong}");
        }
        let one = [Node { slot: None, mark: 0 }];
        let at = |cursor| place("listing", &one, cursor).ok();
        assert_eq!([at(""), at("17"), at("1-2-3")], [place_of(0, "0"), place_of(0, "17"), None]);
    }
}
