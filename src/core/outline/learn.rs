//! Learning a record's outline from its text, which is well formed.

use super::{Fixed, Kind, Literal, Object, Outline, Step, Target};
use crate::core::{
    json::{Holds, Scanner},
    members::{Envelope, Layout},
    places::Places,
    shape::Recognised,
};

/// Values of a record that has an outline, at most.
const MAX_VALUES: usize = 64;
/// Bytes of a record that has an outline, at most: what is the same in all is kept.
const MAX_BYTES: usize = 4096;

/// Members of the envelope that say what a record is, and so belong to the outline with their values. Once that is known,
/// they are asked for as fields only.
const TELLING: [Envelope; 5] =
    [Envelope::Type, Envelope::EventType, Envelope::Version, Envelope::Pattern, Envelope::SpecVersion];

struct Learner<'a> {
    layout: &'a Layout,
    text: &'a str,
    scanner: Scanner<'a>,
    /// Where the text at hand begins, which is the same in all records.
    begin: usize,
    steps: Vec<Step>,
    fixed: Vec<Fixed>,
    /// Inner objects that were there.
    seen: Vec<Object>,
}

/// The outline of a record that was recognised; `None` where it has none, such as a very large one.
pub(super) fn outline(layout: &Layout, text: &str, recognised: Recognised) -> Option<Outline> {
    if text.len() > MAX_BYTES || layout.asks_for_objects() {
        return None;
    }
    let scanner = Scanner::new(text.as_bytes());
    let (steps, fixed, seen) = (Vec::new(), Vec::new(), Vec::new());
    let mut learner = Learner { layout, text, scanner, begin: 0, steps, fixed, seen };
    learner.scanner.space();
    learner.object(Object::Top)?;
    learner.scanner.end().ok()?;
    let end = Literal::new(text.get(learner.begin..)?.as_bytes());
    let mut objects = [(); 3].map(|()| Places::default());
    objects.iter_mut().for_each(|places| places.clear(layout));
    Some(Outline { steps: learner.steps, end, fixed_at_end: learner.fixed, recognised, objects })
}

impl Learner<'_> {
    fn object(&mut self, object: Object) -> Option<()> {
        self.scanner.expect(b'{').ok()?;
        self.scanner.space();
        if self.scanner.takes(b'}') {
            return Some(());
        }
        loop {
            let start = self.scanner.at();
            let holds = self.scanner.string().ok()?;
            let index = self.layout.find(self.text.get(start..self.scanner.at())?, holds);
            self.scanner.space();
            self.scanner.expect(b':').ok()?;
            self.scanner.space();
            self.member(object, index)?;
            self.scanner.space();
            if self.scanner.takes(b'}') {
                return Some(());
            }
            self.scanner.expect(b',').ok()?;
            self.scanner.space();
        }
    }

    fn member(&mut self, object: Object, index: Option<usize>) -> Option<()> {
        let is = |name: Envelope| index == Some(name as usize);
        let inner = match object {
            Object::Top if is(Envelope::Metadata) => Some(Object::Metadata),
            Object::Top if is(Envelope::Data) => Some(Object::Data),
            _ => None,
        };
        let is_telling = TELLING.into_iter().any(is);
        if inner.is_some() || is_telling || is(Envelope::Priority) {
            // Of two with one name the last counts, with none of the first one's members.
            if inner.is_some_and(|inner| self.seen.contains(&inner)) {
                return None;
            }
            if let (Some(inner), Some(b'{')) = (inner, self.scanner.peek()) {
                self.seen.push(inner);
                let is_asked_for = is(Envelope::Data) && self.layout.asks_for_data;
                if is_asked_for {
                    self.fixed.push(Fixed::DataBegins(self.scanner.at() - self.begin));
                }
                self.object(inner)?;
                if is_asked_for {
                    self.fixed.push(Fixed::DataEnds(self.scanner.at() - self.begin));
                }
                return Some(());
            }
            let index = index?;
            return self.same(Target { object, index }, !is_telling || self.layout.is_field(index));
        }
        self.differing(index.map(|index| Target { object, index }))
    }

    /// A value that is the same in all records of the outline.
    fn same(&mut self, target: Target, is_asked_for: bool) -> Option<()> {
        let start = self.scanner.at();
        let holds = self.scanner.value().ok()?;
        let (start, length) = (start - self.begin, self.scanner.at() - start);
        if is_asked_for {
            self.fixed.push(Fixed::Value { target, start, length, holds });
        }
        Some(())
    }

    /// A value of its own in each record.
    fn differing(&mut self, target: Option<Target>) -> Option<()> {
        if self.steps.len() >= MAX_VALUES {
            return None;
        }
        let start = self.scanner.at();
        let holds = self.scanner.value().ok()?;
        let value = self.text.as_bytes().get(start..self.scanner.at())?;
        let (kind, quotes) = match value {
            [b'"', _, _, ..] if holds == Holds::Plain => (Kind::Text, 1),
            [b'1'..=b'9', ..] if holds == Holds::Plain => (Kind::Digits, 0),
            _ => (Kind::Other, 0),
        };
        let literal = Literal::new(self.text.as_bytes().get(self.begin..start + quotes)?);
        self.begin = self.scanner.at() - quotes;
        self.steps.push(Step { literal, fixed: std::mem::take(&mut self.fixed), kind, target });
        Some(())
    }
}
