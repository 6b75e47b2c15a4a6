//! Keys by name, found with SCAN, and all of them removed.

use async_trait::async_trait;
use fred::types::Value;

use super::{
    RedisStore,
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
const OURS: [&str; 2] = ["counters:", "sg:"];

impl RedisStore {
    /// A page of keys under the prefix, prefix included.
    async fn page(&self, doing: &str, cursor: &str, limit: usize) -> Result<(Option<String>, Vec<String>), StoreError> {
        let cursor = reading::cursor(doing, cursor)?;
        let (pattern, count) = (reading::prefix_pattern(&self.layout.prefix), limit.clamp(1, PAGE_MAX).to_string());
        let call = Call::new("SCAN", [cursor.as_str(), "MATCH", &pattern, "COUNT", &count]);
        let answer = self.run(Purpose::Read, doing, vec![call]).await?.pop();
        let (cursor, keys) = reading::page(doing, answer.unwrap_or(Value::Null))?;
        // A key that is no text is none of ours.
        Ok((cursor, keys.iter().filter_map(Value::as_string).collect()))
    }

    /// Removes every key under the prefix, whatever it is, and says how many there were.
    ///
    /// # Errors
    /// [`StoreError::Refused`] where the prefix is empty: that would be everything. Else the store cannot be reached; a part
    /// is removed then.
    pub async fn remove_all(&self) -> Result<u64, StoreError> {
        let doing = format!("removing the keys under {:?}", self.layout.prefix);
        if self.layout.prefix.is_empty() {
            return Err(StoreError::Refused { doing, reason: "no prefix is given".to_owned() });
        }
        let (mut removed, mut cursor) = (0, String::new());
        loop {
            let (next, keys) = self.page(&doing, &cursor, PAGE_MAX).await?;
            if !keys.is_empty() {
                let answers = self.run(Purpose::Write, &doing, vec![Call::new("UNLINK", keys)]).await?;
                removed += answers.first().and_then(Value::as_u64).unwrap_or(0);
            }
            match next {
                Some(next) => cursor = next,
                None => return Ok(removed),
            }
        }
    }
}

#[async_trait]
impl Inventory for RedisStore {
    async fn keys(&self, cursor: &str, limit: usize) -> Result<KeyPage, StoreError> {
        let doing = "listing keys";
        let (cursor, found) = self.page(doing, cursor, limit).await?;
        let name = |key: String| key.strip_prefix(&self.layout.prefix).map(str::to_owned);
        let mut names: Vec<String> = found.into_iter().filter_map(name).collect();
        names.retain(|name| !OURS.iter().any(|ours| name.starts_with(ours)));
        let mut calls = Vec::with_capacity(2 * names.len());
        for name in &names {
            let key = self.layout.key(name);
            calls.push(Call::new("TYPE", [key.clone()]));
            // The error of a key that is no sorted set is no matter.
            calls.push(Call::new("ZRANGE", [key, "0".to_owned(), "0".to_owned()]));
        }
        if calls.is_empty() {
            return Ok(KeyPage { keys: Vec::new(), cursor });
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
