//! What the library asks of a value, an array and an object.

use std::borrow::Cow;

use jsonschema::{
    JsonType,
    json::{Array, Node, NodeIdentity, Object},
};
use serde_json::Value;

use super::{At, InPlace, Part, Within, amount::Amount};

impl<'a> Node<'a, InPlace> for At<'a> {
    type Object = Members<'a>;
    type Array = Elements<'a>;
    type Number = Amount;

    fn as_object(&self) -> Option<Members<'a>> {
        let Part::Object { length, end } = self.part() else { return None };
        Some(Members(self.within(length, end)))
    }

    fn as_array(&self) -> Option<Elements<'a>> {
        let Part::Array { length, end } = self.part() else { return None };
        Some(Elements(self.within(length, end)))
    }

    fn as_string(&self) -> Option<Cow<'a, str>> {
        self.view.str(self.at).map(Cow::Borrowed)
    }

    fn as_number(&self) -> Option<Amount> {
        match self.part() {
            Part::Signed(number) => Some(Amount::Signed(number)),
            Part::Unsigned(number) => Some(Amount::Unsigned(number)),
            Part::Float(number) => Some(Amount::Float(number)),
            _ => None,
        }
    }

    fn as_boolean(&self) -> Option<bool> {
        if let Part::Bool(value) = self.part() { Some(value) } else { None }
    }

    fn is_null(&self) -> bool {
        self.part() == Part::Null
    }

    fn json_type(&self) -> JsonType {
        match self.part() {
            Part::Null | Part::Overruled => JsonType::Null,
            Part::Bool(_) => JsonType::Boolean,
            Part::Signed(_) | Part::Unsigned(_) | Part::Float(_) => JsonType::Number,
            Part::Text { .. } | Part::Unescaped { .. } => JsonType::String,
            Part::Array { .. } => JsonType::Array,
            Part::Object { .. } => JsonType::Object,
        }
    }

    fn string_length_within(&self, min: u64, max: u64) -> Option<bool> {
        let text = self.view.str(self.at)?;
        // A character takes one to four bytes, so the bytes alone decide nearly always.
        let (fewest, most) = (text.len().div_ceil(4) as u64, text.len() as u64);
        if most < min || fewest > max {
            return Some(false);
        }
        Some(min <= fewest && most <= max || (min..=max).contains(&(text.chars().count() as u64)))
    }

    fn equals_value(&self, expected: &Value) -> bool {
        match (self.view.str(self.at), expected) {
            (Some(text), expected) => expected.as_str() == Some(text),
            (None, Value::String(_)) => false,
            (None, expected) => jsonschema::json::cmp::equal(&self.to_value(), expected),
        }
    }

    fn to_value(&self) -> Cow<'a, Value> {
        Cow::Owned(match self.part() {
            Part::Null | Part::Overruled => Value::Null,
            Part::Bool(value) => Value::Bool(value),
            Part::Signed(number) => Value::from(number),
            Part::Unsigned(number) => Value::from(number),
            Part::Float(number) => Value::from(number),
            Part::Text { .. } | Part::Unescaped { .. } => Value::from(self.view.str(self.at).unwrap_or_default()),
            Part::Array { length, end } => Value::Array(
                Elements(self.within(length, end)).elements().map(|at| at.to_value().into_owned()).collect(),
            ),
            Part::Object { length, end } => {
                let members = Members(self.within(length, end)).members();
                Value::Object(members.map(|(name, at)| (name.to_owned(), at.to_value().into_owned())).collect())
            }
        })
    }

    fn identity(&self) -> Option<NodeIdentity> {
        Some(NodeIdentity::tagged(self.view.parts.as_ptr().addr(), self.at))
    }
}

/// The elements of an array.
#[derive(Clone, Copy, Debug)]
pub(in crate::catalog::schema) struct Elements<'a>(Within<'a>);

impl<'a> Array<'a, InPlace> for Elements<'a> {
    type Node = At<'a>;
    type ElementsIter = Self;

    fn len(&self) -> usize {
        self.0.length as usize
    }

    fn elements(&self) -> Self {
        *self
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = At<'a>;

    fn next(&mut self) -> Option<At<'a>> {
        self.0.next()
    }
}

/// The members of an object, in the order of the text.
#[derive(Clone, Copy, Debug)]
pub(in crate::catalog::schema) struct Members<'a>(Within<'a>);

impl<'a> Object<'a, InPlace> for Members<'a> {
    type Node = At<'a>;
    type MemberName = &'a str;
    type MembersIter = Self;

    fn len(&self) -> usize {
        self.0.length as usize
    }

    fn get(&self, key: &String) -> Option<At<'a>> {
        self.members().find_map(|(name, value)| (name == key).then_some(value))
    }

    fn members(&self) -> Self {
        *self
    }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, At<'a>);

    fn next(&mut self) -> Option<(&'a str, At<'a>)> {
        loop {
            let (name, value) = (self.0.next()?, self.0.next()?);
            if let Some(name) = name.view.str(name.at) {
                return Some((name, value));
            }
        }
    }
}
