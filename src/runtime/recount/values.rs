//! What keys of all kinds hold, read whole so that two stores can be compared.

use std::collections::BTreeSet;

use crate::{
    model::{Answer, Kind, Query, RecentItem, TopItem},
    store::{Store, StoreError},
};

/// Most elements of a history or window that are compared, the newest or greatest of them; a set of more is not compared.
pub const MAX_ELEMENTS: usize = 1_000_000;
/// Elements of a set asked for at once.
const SET_PAGE: usize = 10_000;
/// Differing elements of a key that are shown.
const SHOWN: usize = 10;

/// A key, by kind and full name.
pub(super) type KeyName = (Kind, String);

/// What a key holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number; `None` where there is none.
    Number(Option<i64>),
    /// An estimate.
    Estimate(Option<u64>),
    /// A history.
    Recent(Vec<RecentItem>),
    /// A window.
    Top(Vec<TopItem>),
    /// A set.
    Set(BTreeSet<String>),
    /// A set of more than [`MAX_ELEMENTS`].
    TooLarge,
    /// It cannot be read; the reason.
    Unreadable(String),
}

impl Value {
    /// Whether the key does not exist.
    pub fn is_absent(&self) -> bool {
        match self {
            Self::Number(number) => number.is_none(),
            Self::Estimate(estimate) => estimate.is_none(),
            Self::Recent(items) => items.is_empty(),
            Self::Top(items) => items.is_empty(),
            Self::Set(elements) => elements.is_empty(),
            Self::TooLarge | Self::Unreadable(_) => false,
        }
    }

    /// What is shown of it beside another one: of collections only the elements that the other lacks, and not all of many.
    pub fn told_beside(&self, other: &Self) -> String {
        let (items, others) = match self {
            Self::Number(Some(number)) => return number.to_string(),
            Self::Estimate(Some(estimate)) => return estimate.to_string(),
            Self::Unreadable(why) => return why.clone(),
            _ if self.is_absent() => return "nothing".to_owned(),
            _ => (self.items(), other.items()),
        };
        let own: Vec<&str> = items.difference(&others).map(String::as_str).collect();
        let shown = own.iter().take(SHOWN).copied().collect::<Vec<_>>().join(", ");
        match own.len() {
            0 => format!("{} elements", items.len()),
            many if many > SHOWN => format!("{shown} and {} more of {}", many - SHOWN, items.len()),
            _ => shown,
        }
    }

    fn items(&self) -> BTreeSet<String> {
        match self {
            Self::Recent(items) => items.iter().map(|item| format!("{} at {}", item.element, item.time_ms)).collect(),
            Self::Top(items) => items.iter().map(|item| format!("{}: {}", item.element, item.sum)).collect(),
            Self::Set(elements) => elements.clone(),
            Self::Number(_) | Self::Estimate(_) | Self::TooLarge | Self::Unreadable(_) => BTreeSet::new(),
        }
    }
}

fn query((kind, name): &KeyName, limit: usize) -> Query {
    let key = name.clone();
    match kind {
        Kind::Count | Kind::Max | Kind::Last => Query::Counter(key),
        Kind::Unique => Query::Unique(key),
        Kind::Recent => Query::Recent { key, limit },
        Kind::Top => Query::Top { key, limit },
        Kind::Member => Query::Members { key, cursor: String::new(), limit: limit.min(SET_PAGE) },
    }
}

/// What keys hold, in order.
pub(super) async fn read(store: &dyn Store, keys: &[KeyName]) -> Result<Vec<Value>, StoreError> {
    read_up_to(store, keys, MAX_ELEMENTS).await
}

/// Which keys exist, in order.
pub(super) async fn exist(store: &dyn Store, keys: &[KeyName]) -> Result<Vec<bool>, StoreError> {
    Ok(read_up_to(store, keys, 1).await?.iter().map(|value| !value.is_absent()).collect())
}

async fn read_up_to(store: &dyn Store, keys: &[KeyName], limit: usize) -> Result<Vec<Value>, StoreError> {
    let queries: Vec<Query> = keys.iter().map(|key| query(key, limit)).collect();
    let answers = match store.read(&queries).await {
        Ok(answers) => answers.into_iter().map(Ok).collect(),
        Err(error) if error.is_retriable() => return Err(error),
        // One key that holds something else must not hide the others.
        Err(_) => one_by_one(store, &queries).await?,
    };
    let mut values = Vec::with_capacity(keys.len());
    for ((_, name), answer) in keys.iter().zip(answers) {
        values.push(match answer {
            Err(why) => Value::Unreadable(why),
            Ok(Answer::Counter(number)) => Value::Number(number),
            Ok(Answer::Unique(estimate)) => Value::Estimate(estimate),
            Ok(Answer::Recent(items)) => Value::Recent(items),
            Ok(Answer::Top(items)) => Value::Top(items),
            Ok(Answer::Members { elements, cursor }) => set(store, name, elements, cursor, limit).await?,
            Ok(Answer::IsMember { .. } | Answer::Status { .. }) => {
                Value::Unreadable("the store answered another question".to_owned())
            }
        });
    }
    Ok(values)
}

async fn one_by_one(store: &dyn Store, queries: &[Query]) -> Result<Vec<Result<Answer, String>>, StoreError> {
    let mut answers = Vec::with_capacity(queries.len());
    for query in queries {
        answers.push(match store.read(std::slice::from_ref(query)).await {
            Ok(mut answer) => answer.pop().ok_or_else(|| "the store gave no answer".to_owned()),
            Err(error) if error.is_retriable() => return Err(error),
            Err(error) => Err(error.to_string()),
        });
    }
    Ok(answers)
}

/// The rest of a set, page by page.
async fn set(
    store: &dyn Store,
    name: &str,
    first: Vec<String>,
    mut cursor: Option<String>,
    limit: usize,
) -> Result<Value, StoreError> {
    let mut all: BTreeSet<String> = first.into_iter().collect();
    while let Some(from) = cursor.take() {
        if all.len() >= limit {
            return Ok(Value::TooLarge);
        }
        let query = Query::Members { key: name.to_owned(), cursor: from, limit: SET_PAGE };
        if let Some(Answer::Members { elements, cursor: next }) = store.read(&[query]).await?.pop() {
            all.extend(elements);
            cursor = next;
        }
    }
    Ok(Value::Set(all))
}
