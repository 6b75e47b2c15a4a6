//! Which keys a template can render, and whether two templates can render the same one.
//!
//! A substituted value is never empty and never has `:`, `{`, `}`, white space or control characters (they are
//! percent-encoded), so a template is a pattern of literal characters and runs of value characters. Whether two patterns
//! have a word in common is decided exactly, each placeholder taken by itself. What matters for that: every `:` is literal,
//! so two templates can only meet if their `:`-separated segments meet one by one.

use super::plan::{Part, Template, Window};

/// What one place of a rendered key may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symbol {
    /// This character.
    Literal(char),
    /// One decimal digit.
    Digit,
    /// One character of a substituted value.
    Value,
    /// Any number of characters of a substituted value.
    Values,
    /// Any number of any characters.
    Anything,
}

impl Symbol {
    fn is_run(self) -> bool {
        matches!(self, Self::Values | Self::Anything)
    }

    /// Some character fits both; a run stands for one of its characters here.
    fn meets(self, other: Self) -> bool {
        match (self, other) {
            (Self::Anything, _) | (_, Self::Anything) => true,
            (Self::Literal(a), Self::Literal(b)) => a == b,
            (Self::Literal(c), Self::Digit) | (Self::Digit, Self::Literal(c)) => c.is_ascii_digit(),
            (Self::Literal(c), _) | (_, Self::Literal(c)) => c == '%' || !is_encoded(c),
            _ => true,
        }
    }
}

/// The character is percent-encoded in substituted values.
fn is_encoded(c: char) -> bool {
    matches!(c, '%' | ':' | '{' | '}') || c.is_whitespace() || c.is_control()
}

/// The keys that a template can render.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Symbol>);

impl Pattern {
    /// The keys of a template in events of this topic and type.
    pub(super) fn of(template: &Template, topic: &str, event_type: &str) -> Self {
        let mut pattern = Self(Vec::new());
        for part in &template.parts {
            match part {
                Part::Literal(text) => pattern.push_literal(text),
                Part::Field { .. } => pattern.0.extend([Symbol::Value, Symbol::Values]),
                Part::Type => pattern.push_value(event_type),
                Part::Topic => pattern.push_value(topic),
                Part::Day => pattern.push_day(),
                Part::Hour => pattern.push_hour(),
            }
        }
        pattern
    }

    /// The keys that begin with `prefix`.
    pub(super) fn beginning_with(prefix: &str) -> Self {
        let mut pattern = Self(Vec::new());
        pattern.push_literal(prefix);
        pattern.0.push(Symbol::Anything);
        pattern
    }

    /// The one key of this name.
    pub(super) fn exactly(name: &str) -> Self {
        let mut pattern = Self(Vec::new());
        pattern.push_literal(name);
        pattern
    }

    /// With `:{day}` added, as the keys of a unique per day.
    pub(super) fn per_day(mut self) -> Self {
        self.push_literal(":");
        self.push_day();
        self
    }

    /// With `:{window}:{start}` added, as the keys of a top.
    pub(super) fn per_window(mut self, window: &Window) -> Self {
        self.push_literal(":");
        self.push_literal(&window.label);
        self.push_literal(":");
        if window.length_ms % super::duration::DAY_MS == 0 {
            self.push_day();
        } else {
            self.push_hour();
        }
        self
    }

    fn push_literal(&mut self, text: &str) {
        self.0.extend(text.chars().map(Symbol::Literal));
    }

    /// A value that is known now: percent-encoded, as it will be rendered.
    fn push_value(&mut self, value: &str) {
        for c in value.chars() {
            if is_encoded(c) {
                let mut utf8 = [0; 4];
                for byte in c.encode_utf8(&mut utf8).bytes() {
                    self.push_literal(&format!("%{byte:02X}"));
                }
            } else {
                self.0.push(Symbol::Literal(c));
            }
        }
    }

    fn push_day(&mut self) {
        use Symbol::{Digit, Literal};
        self.0.extend([Digit, Digit, Digit, Digit, Literal('-'), Digit, Digit, Literal('-'), Digit, Digit]);
    }

    fn push_hour(&mut self) {
        self.push_day();
        self.0.extend([Symbol::Literal('T'), Symbol::Digit, Symbol::Digit]);
    }

    /// Whether some key fits both patterns.
    pub(super) fn can_collide(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        let width = b.len() + 1;
        let mut seen = vec![false; (a.len() + 1) * width];
        let mut open = vec![(0, 0)];
        while let Some((i, j)) = open.pop() {
            if i == a.len() && j == b.len() {
                return true;
            }
            if std::mem::replace(&mut seen[i * width + j], true) {
                continue;
            }
            let (x, y) = (a.get(i).copied(), b.get(j).copied());
            // A run may end here, or take what the other side has here.
            if x.is_some_and(Symbol::is_run) {
                open.push((i + 1, j));
            }
            if y.is_some_and(Symbol::is_run) {
                open.push((i, j + 1));
            }
            if let (Some(x), Some(y)) = (x, y)
                && x.meets(y)
            {
                open.push((i + usize::from(!x.is_run()), j + usize::from(!y.is_run())));
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::catalog::template::{self, NamedPart};

    fn pattern(text: &str) -> Pattern {
        let parts = template::parse(text).unwrap().into_iter().map(|part| match part {
            NamedPart::Literal(text) => Part::Literal(text.into()),
            NamedPart::Field { optional, .. } => Part::Field { slot: 0, optional },
            NamedPart::Type => Part::Type,
            NamedPart::Day => Part::Day,
            NamedPart::Hour => Part::Hour,
            NamedPart::Topic => Part::Topic,
        });
        Pattern::of(&Template { text: text.into(), parts: parts.collect() }, "t.x", "video.view")
    }

    #[test]
    fn templates_that_can_and_cannot_meet() {
        for (a, b, collide) in [
            ("a:b", "a:b", true),
            ("a:b", "a:c", false),
            ("a:{x}", "a:{y}", true),
            ("a:{x}", "a:b", true),
            ("a:{x}", "a:b:c", false),
            ("a:{x}:c", "a:b:{y}", true),
            ("a:{x}:c", "{y}:b:d", false),
            ("a:{x}", "a:", false),
            ("a:pre{x}", "a:{y}post", true),
            ("a:pre{x}", "a:po{y}", false),
            ("a:{x}b{y}", "a:b", false),
            ("a:{x}b{y}", "a:abc", true),
            ("a:{x}", "a:b c", false),
            ("a:{day}", "a:total", false),
            ("a:{day}", "a:2026-11-21", true),
            ("a:{day}", "a:{hour}", false),
            ("a:{day}", "a:{x}", true),
            ("a:{type}", "a:video.view", true),
            ("a:{type}", "a:video.like", false),
            ("a:{topic}", "a:{type}", false),
            ("{x}", "a:b", false),
        ] {
            assert_eq!(pattern(a).can_collide(&pattern(b)), collide, "{a} with {b}");
            assert_eq!(pattern(b).can_collide(&pattern(a)), collide, "{b} with {a}");
        }
    }

    #[test]
    fn days_and_windows_are_part_of_the_key() {
        let window = |label: &str, length_ms| Window { label: label.into(), length_ms };
        let top = pattern("t").per_window(&window("1h", super::super::duration::HOUR_MS));
        assert!(top.can_collide(&pattern("t:1h:{hour}")));
        assert!(!top.can_collide(&pattern("t:1h:{day}")));
        assert!(!top.can_collide(&pattern("t").per_window(&window("1d", super::super::duration::DAY_MS))));
        assert!(pattern("v:{x}").per_day().can_collide(&pattern("v:{x}:{y}")));
        assert!(!pattern("v:{x}").per_day().can_collide(&pattern("v:{x}")));
    }

    #[test]
    fn reserved_beginnings() {
        let reserved = Pattern::beginning_with("sg:");
        for (text, collide) in [("sg:x", true), ("{x}:y", true), ("{x}", false), ("sgx:{y}", false), ("s{x}:y", true)] {
            assert_eq!(pattern(text).can_collide(&reserved), collide, "{text}");
        }
    }

    proptest! {
        /// Two templates that render one key are always said to collide.
        #[test]
        fn whatever_renders_alike_collides(
            key in proptest::collection::vec("[ab]{1,3}", 1..4),
            cuts in proptest::collection::vec((0_usize..4, any::<bool>()), 8),
        ) {
            // Replaces a non-empty tail of each segment by a placeholder where the cut falls inside it.
            let generalise = |cuts: &[(usize, bool)]| {
                let segments = key.iter().zip(cuts).map(|(segment, (cut, replace))| {
                    if *replace && *cut < segment.len() { format!("{}{{x}}", &segment[..*cut]) } else { segment.clone() }
                });
                segments.collect::<Vec<_>>().join(":")
            };
            let (a, b) = (generalise(&cuts[..4]), generalise(&cuts[4..]));
            prop_assert!(pattern(&a).can_collide(&pattern(&b)), "{} with {}", a, b);
        }
    }
}
