//! Where an object's members lie in the record's text.

use std::ops::Range;

use super::{
    json::Holds,
    members::{Envelope, Layout},
    scalar::Scalar,
};
use crate::catalog::plan::Slot;

/// What a value is, as far as its first byte and what it holds tell.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Form {
    /// It is not there, or null.
    #[default]
    Missing,
    /// A string without escapes that is not empty: what lies between its quotes is its text.
    Text,
    /// Digits that do not begin with 0: a whole number as it is written everywhere.
    Digits,
    /// Anything else.
    Other,
}

/// A value's place in the text.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    /// Without the quotes of a [`Form::Text`].
    start: u32,
    end: u32,
    form: Form,
    holds: Holds,
}

/// The places of an object's members by the layout's index. Used again from record to record.
#[derive(Debug, Default)]
pub(super) struct Places(Vec<Place>);

/// Of an object that is not there.
pub(super) static NONE: Places = Places(Vec::new());

impl Places {
    /// Forgets all, and makes room for the layout's names.
    pub(super) fn clear(&mut self, layout: &Layout) {
        self.0.clear();
        self.0.resize(layout.len(), Place::default());
    }

    /// Notes the place of a member. Of several members with one name the last counts, as in JavaScript.
    #[inline]
    pub(super) fn put(&mut self, index: usize, place: Place) {
        if let Some(known) = self.0.get_mut(index) {
            *known = place;
        }
    }

    /// Notes where a member begins that is an object.
    pub(super) fn open(&mut self, index: usize, start: usize) {
        self.put(index, Place { start: start as u32, end: start as u32, form: Form::Other, holds: Holds::Plain });
    }

    /// Notes where the object ends.
    pub(super) fn close(&mut self, index: usize, end: usize) {
        if let Some(known) = self.0.get_mut(index) {
            known.end = end as u32;
        }
    }

    /// The text of a member of the envelope; empty where it is absent or null.
    #[inline]
    pub(super) fn envelope<'a>(&self, name: Envelope, text: &'a str) -> &'a str {
        match self.place(name as usize) {
            Some(place) if place.form != Form::Missing => place.raw(text),
            _ => "",
        }
    }

    /// The digits of a member of the envelope that is a whole number as it is written everywhere; `None` where it is another
    /// value.
    #[inline]
    pub(super) fn envelope_digits<'a>(&self, name: Envelope, text: &'a str) -> Option<&'a [u8]> {
        let Place { start, end, form, .. } = self.place(name as usize)?;
        if form == Form::Digits { text.as_bytes().get(start as usize..end as usize) } else { None }
    }

    /// The value of a member of the envelope.
    #[inline]
    pub(super) fn envelope_value<'a>(&self, name: Envelope, text: &'a str) -> Scalar<'a> {
        match self.place(name as usize) {
            Some(place) if place.form != Form::Missing => place.value(text),
            _ => Scalar::Missing,
        }
    }

    /// Whether a field is absent or null.
    #[inline]
    pub(super) fn is_missing(&self, layout: &Layout, slot: Slot) -> bool {
        self.at(layout, slot).is_none_or(|place| place.form == Form::Missing)
    }

    /// The value of a field.
    pub(super) fn field<'a>(&self, layout: &Layout, slot: Slot, text: &'a str) -> Scalar<'a> {
        self.at(layout, slot).map_or(Scalar::Missing, |place| place.value(text))
    }

    /// The value of the member with this index in the layout.
    pub(super) fn value_at<'a>(&self, index: usize, text: &'a str) -> Scalar<'a> {
        self.place(index).map_or(Scalar::Missing, |place| place.value(text))
    }

    /// Where a field's text lies as it takes part in names ([`Scalar::name`]), where that is there as it lies; `None` where the
    /// field's value must be looked at.
    #[inline]
    pub(super) fn plain_name(&self, layout: &Layout, slot: Slot) -> Option<Range<usize>> {
        let Place { start, end, form, .. } = self.at(layout, slot)?;
        match form {
            Form::Text | Form::Digits => Some(start as usize..end as usize),
            Form::Missing | Form::Other => None,
        }
    }

    #[inline]
    fn at(&self, layout: &Layout, slot: Slot) -> Option<Place> {
        self.place(layout.index(slot)?)
    }

    #[inline]
    fn place(&self, index: usize) -> Option<Place> {
        self.0.get(index).copied()
    }
}

impl Place {
    /// The place of the value that `text` has from `start` to `end`.
    pub(super) fn new(text: &[u8], start: usize, end: usize, holds: Holds) -> Self {
        match text.get(start..end) {
            Some([b'"', _, .., b'"']) if holds == Holds::Plain => Self::of_text(start + 1, end - 1),
            Some([b'1'..=b'9', ..]) if holds == Holds::Plain => Self::of_digits(start, end),
            None | Some([] | [b'n', ..]) => Self::default(),
            Some(_) => Self { start: start as u32, end: end as u32, form: Form::Other, holds },
        }
    }

    /// The place of a string without escapes that is not empty, without its quotes.
    #[inline]
    pub(super) fn of_text(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32, form: Form::Text, holds: Holds::Plain }
    }

    /// The place of digits that do not begin with 0.
    #[inline]
    pub(super) fn of_digits(start: usize, end: usize) -> Self {
        Self { start: start as u32, end: end as u32, form: Form::Digits, holds: Holds::Plain }
    }

    #[inline]
    fn raw(self, text: &str) -> &str {
        let quotes = u32::from(self.form == Form::Text);
        text.get((self.start - quotes) as usize..(self.end + quotes) as usize).unwrap_or_default()
    }

    #[inline]
    fn value(self, text: &str) -> Scalar<'_> {
        Scalar::of(self.raw(text), self.holds)
    }
}
