//! Templates filled in with an event's values.

use super::{event::Event, keys::Pieces, reason::Reason, scalar::Scalar, time};
use crate::catalog::plan::{Part, Slot, Template, Topic};

/// Most bytes of a rendered key or element.
pub const MAX_NAME_BYTES: usize = 1024;

/// Appends a template's text to `out`. `false` where an optional field is missing: the rule is skipped.
///
/// Values are percent-encoded for `% : { }`, white space and control characters, so that two different ids never share a
/// key: a literal colon always separates.
///
/// # Errors
/// A field is missing or cannot stand in a key, or the text would be too long.
pub fn render(template: &Template, topic: &Topic, event: &Event<'_>, out: &mut String) -> Result<bool, Reason> {
    let start = out.len();
    for part in &template.parts {
        match part {
            Part::Literal(text) => out.push_str(text),
            Part::Field { slot, optional } => match event.plain_name(*slot) {
                Some(name) => push_encoded(out, name),
                None if !push_field(*slot, *optional, topic, event, out)? => return Ok(false),
                None => {}
            },
            Part::Type => push_encoded(out, &topic.events[event.event_type].name),
            Part::Day => time::push_day(out, event.time_ms),
            Part::Hour => time::push_hour(out, event.time_ms),
            Part::Topic => out.push_str(&topic.name),
        }
        if out.len() - start > MAX_NAME_BYTES {
            return Err(Reason::KeyTooLong { what: template.to_string(), max_bytes: MAX_NAME_BYTES });
        }
    }
    Ok(true)
}

/// A template with the event whose values it names.
#[derive(Clone, Copy)]
pub struct Naming<'a> {
    seed: u64,
    template: &'a Template,
    topic: &'a Topic,
    event: &'a Event<'a>,
    only_value: Option<&'a [u8]>,
}

impl<'a> Naming<'a> {
    /// What names an event by this template, which is that of the event type's effect with this number.
    pub fn new(effect: u16, template: &'a Template, topic: &'a Topic, event: &'a Event<'a>) -> Self {
        let only_value = match &*template.parts {
            [Part::Field { slot, .. }]
            | [Part::Literal(_), Part::Field { slot, .. }]
            | [Part::Literal(_), Part::Field { slot, .. }, Part::Literal(_)] => event.plain_bytes(*slot),
            _ => None,
        };
        // Of one event type and effect, names have the same text between their values.
        Self { seed: (event.event_type as u64) << 16 | u64::from(effect), template, topic, event, only_value }
    }
}

impl Pieces for Naming<'_> {
    #[inline]
    fn seed(&self) -> u64 {
        self.seed
    }

    #[inline]
    fn only_value(&self) -> Option<&[u8]> {
        self.only_value
    }

    #[inline]
    fn each(&self, mut piece: impl FnMut(&[u8], bool) -> bool) -> bool {
        self.template.parts.iter().all(|part| match part {
            Part::Literal(text) => piece(text.as_bytes(), false),
            Part::Field { slot, .. } => self.event.plain_bytes(*slot).is_some_and(|name| piece(name, true)),
            Part::Type => piece(self.topic.events[self.event.event_type].name.as_bytes(), false),
            Part::Topic => piece(self.topic.name.as_bytes(), false),
            Part::Day | Part::Hour => false,
        })
    }
}

/// Appends a field that must be looked at; `false` where it is missing and may be.
fn push_field(slot: Slot, optional: bool, topic: &Topic, event: &Event<'_>, out: &mut String) -> Result<bool, Reason> {
    let value = event.field(slot);
    if let Some(name) = value.name() {
        push_encoded(out, name);
        return Ok(true);
    }
    let field = || topic.fields[slot as usize].to_string();
    match value {
        Scalar::Missing if optional => Ok(false),
        Scalar::Missing => Err(Reason::MissingField { field: field() }),
        other => Err(Reason::BadField { field: field(), found: other.describe() }),
    }
}

/// Appends a value, percent-encoded.
pub fn push_encoded(out: &mut String, value: &str) {
    let is_plain = |byte: u8| byte.is_ascii_graphic() && !matches!(byte, b'%' | b':' | b'{' | b'}');
    if value.bytes().all(is_plain) {
        out.push_str(value);
        return;
    }
    for character in value.chars() {
        let encode = matches!(character, '%' | ':' | '{' | '}') || character.is_whitespace() || character.is_control();
        if !encode {
            out.push(character);
            continue;
        }
        for byte in character.encode_utf8(&mut [0; 4]).bytes() {
            out.push('%');
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

const HEX: [char; 16] = ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'A', 'B', 'C', 'D', 'E', 'F'];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_could_be_taken_for_structure_are_encoded() {
        let cases = [
            ("abc-123_Z.~/", "abc-123_Z.~/"),
            ("a:b", "a%3Ab"),
            ("100%", "100%25"),
            ("{x}", "%7Bx%7D"),
            ("a b\n", "a%20b%0A"),
            ("é", "é"),
            ("a\u{2003}b", "a%E2%80%83b"),
            ("\u{85}", "%C2%85"),
            ("\u{7f}", "%7F"),
        ];
        for (value, expected) in cases {
            let mut out = String::new();
            push_encoded(&mut out, value);
            assert_eq!(out, expected, "{value:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_two_values_share_an_encoding(a in ".*", b in ".*") {
            let encode = |value: &str| { let mut out = String::new(); push_encoded(&mut out, value); out };
            proptest::prop_assert_eq!(a == b, encode(&a) == encode(&b));
            let has_structure = encode(&a).contains([':', '{', '}', ' ', '\n']);
            proptest::prop_assert!(!has_structure);
        }
    }
}
