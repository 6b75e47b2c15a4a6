//! What a reader of one schema makes of what a writer of another wrote.
//!
//! Each keyword of the reader is held against what the writer may write: where something can be written that the reader
//! refuses, that is told with its path. Where a keyword is beyond this, such as `anyOf`, it says that it cannot tell.
//! One thing is taken for granted, since nothing could ever be added otherwise: a writer writes no property that its schema
//! does not name.

mod bounds;
mod kinds;
mod node;

use std::{collections::HashSet, sync::LazyLock};

use serde_json::{Map, Value};

use self::{
    kinds::Kinds,
    node::{BEYOND, Node},
};
use super::Schema;

/// Something in the way of a reader.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Obstacle {
    /// Where in an event: a JSON pointer, with `*` for every item of an array. Empty for the whole.
    pub path: String,
    /// The reader refuses what can be written; `false` where that cannot be told.
    pub breaks: bool,
    /// What it is.
    pub message: String,
}

/// Which schema is compared with which.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// What messages call it.
    pub name: &'a str,
    /// The schema.
    pub schema: &'a Schema,
}

/// Everything in the way of `reader` where it reads what `writer` wrote.
pub fn obstacles(reader: Side<'_>, writer: Side<'_>) -> Vec<Obstacle> {
    // Both were JSON when they were compiled.
    let parse = |side: Side<'_>| serde_json::from_str(side.schema.text()).unwrap_or(Value::Bool(true));
    let (reader_root, writer_root) = (parse(reader), parse(writer));
    let mut comparison = Comparison {
        reader: (reader.name, &reader_root),
        writer: (writer.name, &writer_root),
        seen: HashSet::new(),
        path: String::new(),
        is_vague: false,
        found: Vec::new(),
    };
    comparison.node(&reader_root, &writer_root);
    comparison.found
}

struct Comparison<'a> {
    reader: (&'a str, &'a Value),
    writer: (&'a str, &'a Value),
    /// Pairs that are compared already, by where they lie: schemas may lead to themselves.
    seen: HashSet<(*const Value, *const Value)>,
    path: String,
    /// The writer may write less than is seen of it here.
    is_vague: bool,
    found: Vec<Obstacle>,
}

/// What a writer may write where its schema says nothing.
static ANYTHING: Value = Value::Bool(true);
/// No keywords, no properties.
static NONE: LazyLock<Map<String, Value>> = LazyLock::new(Map::new);

impl<'a> Comparison<'a> {
    fn node(&mut self, reader: &'a Value, writer: &'a Value) {
        let (reader, writer) = match (Node::of(self.reader.1, reader), Node::of(self.writer.1, writer)) {
            (Ok(reader), Ok(writer)) => (reader, writer),
            (Err(why), _) | (_, Err(why)) => return self.cannot_tell(why),
        };
        if !self.seen.insert((reader.value, writer.value)) {
            return;
        }
        match (reader.members(), writer.members()) {
            (_, None) if writer.is_nothing() => {}
            (None, _) if reader.is_nothing() => {
                let message = format!("{} takes nothing here", self.reader.0);
                self.breaks(message);
            }
            (None, _) => {}
            (Some(members), written) => {
                let was_vague = self.is_vague;
                self.keywords(reader, members, writer, written.unwrap_or(&NONE));
                self.is_vague = was_vague;
            }
        }
    }

    fn keywords(
        &mut self,
        reader: Node<'a>,
        takes: &'a Map<String, Value>,
        writer: Node<'a>,
        writes: &Map<String, Value>,
    ) {
        if let Some(values) = kinds::values(writes) {
            return self.values(reader, &values);
        }
        for keyword in BEYOND.iter().filter(|keyword| takes.contains_key(**keyword)) {
            if !node::says_the_same(keyword, (self.reader.1, takes), (self.writer.1, writes)) {
                let message = format!("{} has `{keyword}`", self.reader.0);
                self.cannot_tell(message);
            }
        }
        self.is_vague |= BEYOND.iter().any(|keyword| writes.contains_key(*keyword));
        let (taken, written) = (Kinds::of(takes), Kinds::of(writes));
        if let Some(values) = kinds::values(takes) {
            match written.all_values() {
                Some(written) => self.values(reader, &written.iter().collect::<Vec<_>>()),
                None => {
                    let message = format!(
                        "{} takes only {}, {} writes more",
                        self.reader.0,
                        kinds::listed(&values),
                        self.writer.0
                    );
                    self.breaks(message);
                }
            }
            return;
        }
        if !written.without(taken).is_empty() {
            let message = format!("{} takes {taken}, {} writes {written}", self.reader.0, self.writer.0);
            self.breaks(message);
        }
        let both = written.both(taken);
        for problem in bounds::problems(both, takes, writes) {
            let message = problem.told(self.reader.0, self.writer.0);
            if problem.breaks { self.breaks(message) } else { self.cannot_tell(message) }
        }
        if both.has_arrays() {
            let items = |members: &'a Map<String, Value>| members.get("items");
            if let Some(taken) = items(takes) {
                let written = writer.members().and_then(items).unwrap_or(&ANYTHING);
                self.at("*", |comparison| comparison.node(taken, written));
            }
        }
        if both.has_objects() {
            self.object(takes, writer);
        }
    }

    /// The values that can be written, and no others.
    fn values(&mut self, reader: Node<'a>, written: &[&Value]) {
        match reader.judge(self.reader.1) {
            Some(judge) => {
                let refused: Vec<&Value> =
                    written.iter().copied().filter(|value| judge.check(&value.to_string()).is_err()).collect();
                if !refused.is_empty() {
                    let message = format!("{} does not take {}", self.reader.0, kinds::listed(&refused));
                    self.breaks(message);
                }
            }
            None => self.cannot_tell(format!("{} cannot be asked about single values here", self.reader.0)),
        }
    }

    fn object(&mut self, takes: &'a Map<String, Value>, writer: Node<'a>) {
        let (reader_name, writer_name) = (self.reader.0, self.writer.0);
        let writes = writer.members().unwrap_or(&NONE);
        let required = |members: &'a Map<String, Value>| {
            members.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
        };
        let named =
            |members: &'a Map<String, Value>| members.get("properties").and_then(Value::as_object).unwrap_or(&NONE);
        for name in required(takes) {
            if required(writes).all(|known| known != name) {
                self.at(name, |comparison| {
                    comparison.breaks(format!("{reader_name} requires it, {writer_name} may leave it out"))
                });
            }
        }
        let (taken, written) = (named(takes), named(writes));
        let (taken_beside, written_beside) = (takes.get("additionalProperties"), writes.get("additionalProperties"));
        for (name, written) in written {
            match (taken.get(name), taken_beside) {
                (Some(taken), _) => self.at(name, |comparison| comparison.node(taken, written)),
                // `patternProperties` were told of before.
                (None, Some(_)) if takes.contains_key("patternProperties") => {}
                (None, Some(Value::Bool(false))) if *written != Value::Bool(false) => {
                    self.at(name, |comparison| {
                        comparison.breaks(format!("{reader_name} does not know it, and refuses what it does not know"))
                    });
                }
                (None, Some(beside)) => self.at(name, |comparison| comparison.node(beside, written)),
                (None, None) => {}
            }
        }
        if let Some(written) = written_beside.filter(|written| !matches!(written, Value::Bool(_))) {
            for (name, taken) in taken.iter().filter(|(name, _)| !named(writes).contains_key(*name)) {
                self.at(name, |comparison| comparison.node(taken, written));
            }
        }
        match (taken_beside, written_beside) {
            (None | Some(Value::Bool(true)), _) | (_, Some(Value::Bool(false))) => {}
            (Some(taken), Some(written @ Value::Object(_))) => {
                if *taken == Value::Bool(false) {
                    self.breaks(format!("{reader_name} refuses properties that it does not know, {writer_name} writes any"));
                } else {
                    self.at("*", |comparison| comparison.node(taken, written));
                }
            }
            (Some(_), _) => self.cannot_tell(format!(
                "{reader_name} limits properties that it does not know, and {writer_name} does not say that it writes no others"
            )),
        }
    }

    fn at(&mut self, step: &str, compare: impl FnOnce(&mut Self)) {
        let length = self.path.len();
        self.path.push('/');
        self.path.push_str(&step.replace('~', "~0").replace('/', "~1"));
        compare(self);
        self.path.truncate(length);
    }

    fn breaks(&mut self, message: String) {
        if self.is_vague {
            return self.cannot_tell(format!("{message}, unless another keyword keeps it from that"));
        }
        self.found.push(Obstacle { path: self.path.clone(), breaks: true, message });
    }

    fn cannot_tell(&mut self, message: String) {
        self.found.push(Obstacle { path: self.path.clone(), breaks: false, message });
    }
}

#[cfg(test)]
mod tests;
