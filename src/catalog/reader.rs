//! Takes typed values out of a TOML table and reports whatever does not fit, with its place.

use std::ops::RangeInclusive;

use toml::de::{DeTable, DeValue};

use super::{
    duration,
    finding::{Finding, Lines, Place, instead},
};

/// A table with the byte offset where it begins and what it is called in findings.
#[derive(Clone, Copy)]
pub(super) struct Table<'t> {
    pub values: &'t DeTable<'t>,
    pub at: usize,
    /// As `a topic`.
    pub what: &'static str,
}

/// A value that was found, and the byte offset where it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct At<T> {
    pub value: T,
    pub at: usize,
}

/// Reads one file; findings gather in it.
pub(super) struct Reader<'t> {
    pub lines: Lines<'t>,
    pub findings: Vec<Finding>,
}

impl<'t> Reader<'t> {
    pub(super) fn place(&self, at: usize) -> Place {
        self.lines.place(at)
    }

    pub(super) fn report(&mut self, at: usize, message: impl Into<String>, help: impl Into<String>) {
        self.findings.push(Finding::at(&self.place(at), message, help));
    }

    /// Reports that a part of the format is not done yet.
    pub(super) fn not_yet(&mut self, at: usize, what: &str, help: &str) {
        self.report(at, format!("{what} is known but not in this version yet"), help);
    }

    /// Reports every field of `table` that is not one of `known`.
    pub(super) fn only(&mut self, table: Table<'t>, known: &[&str]) {
        for key in table.values.keys() {
            let name = key.get_ref();
            if !known.contains(&&**name) {
                self.report(key.span().start, format!("{} has no field `{name}`", table.what), instead(name, known));
            }
        }
    }

    /// The value of a field, and where it stands.
    pub(super) fn value(&self, table: Table<'t>, name: &str) -> Option<At<&'t DeValue<'t>>> {
        table.values.get(name).map(|value| At { value: value.get_ref(), at: value.span().start })
    }

    fn wrong_type(&mut self, found: At<&DeValue<'_>>, name: &str, wanted: &str) {
        let article = if matches!(found.value, DeValue::Integer(_) | DeValue::Array(_)) { "an" } else { "a" };
        self.report(
            found.at,
            format!("`{name}` is {article} {}", found.value.type_str()),
            format!("`{name}` takes {wanted}"),
        );
    }

    /// A text that is not empty.
    pub(super) fn text(&mut self, table: Table<'t>, name: &str) -> Option<At<&'t str>> {
        let found = self.value(table, name)?;
        match found.value.as_str() {
            Some("") => {
                self.report(found.at, format!("`{name}` is empty"), format!("give `{name}` a text, or leave it out"));
                None
            }
            Some(value) => Some(At { value, at: found.at }),
            None => {
                self.wrong_type(found, name, "a text in quotes");
                None
            }
        }
    }

    /// A text that must be there.
    pub(super) fn required_text(&mut self, table: Table<'t>, name: &str, example: &str) -> Option<At<&'t str>> {
        if table.values.get(name).is_none() {
            let help = format!("add {name} = {example}");
            self.report(table.at, format!("{} needs `{name}`", table.what), help);
            return None;
        }
        self.text(table, name)
    }

    /// A list of texts; `None` where the field is absent.
    pub(super) fn texts(&mut self, table: Table<'t>, name: &str) -> Option<Vec<At<&'t str>>> {
        let found = self.value(table, name)?;
        let Some(list) = found.value.as_array() else {
            self.wrong_type(found, name, "a list of texts, as [\"a\", \"b\"]");
            return None;
        };
        let mut texts: Vec<At<&str>> = Vec::new();
        for item in list.iter() {
            let at = item.span().start;
            match item.get_ref().as_str() {
                Some(value) if texts.iter().any(|known| known.value == value) => {
                    self.report(at, format!("`{name}` names `{value}` twice"), "leave one of them out");
                }
                Some(value) => texts.push(At { value, at }),
                None => self.wrong_type(At { value: item.get_ref(), at }, name, "a list of texts, as [\"a\", \"b\"]"),
            }
        }
        Some(texts)
    }

    /// A whole number within a range; the default where it is absent or wrong.
    pub(super) fn integer(&mut self, table: Table<'t>, name: &str, range: RangeInclusive<i64>, default: i64) -> i64 {
        self.whole(table, name, range, &format!("; the default is {default}")).unwrap_or(default)
    }

    /// A whole number within a range; `None` where it is absent or wrong.
    pub(super) fn given_integer(&mut self, table: Table<'t>, name: &str, range: RangeInclusive<i64>) -> Option<i64> {
        self.whole(table, name, range, "")
    }

    fn whole(&mut self, table: Table<'t>, name: &str, range: RangeInclusive<i64>, otherwise: &str) -> Option<i64> {
        let found = self.value(table, name)?;
        let Some(number) = found.value.as_integer() else {
            self.wrong_type(found, name, "a whole number");
            return None;
        };
        let value = i64::from_str_radix(number.as_str(), number.radix()).ok().filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = range.into_inner();
            let help = format!("`{name}` lies between {low} and {high}{otherwise}");
            self.report(found.at, format!("`{name}` is {number}"), help);
        }
        value
    }

    /// A number within a range; `None` where it is absent or wrong.
    pub(super) fn number(&mut self, table: Table<'t>, name: &str, range: RangeInclusive<f64>) -> Option<f64> {
        let found = self.value(table, name)?;
        let text = match found.value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            _ => {
                self.wrong_type(found, name, "a number");
                return None;
            }
        };
        let value = text.parse().ok().filter(|value| range.contains(value));
        if value.is_none() {
            let (low, high) = range.into_inner();
            self.report(found.at, format!("`{name}` is {text}"), format!("`{name}` lies between {low} and {high}"));
        }
        value
    }

    /// `true` or `false`; false where it is absent or wrong.
    pub(super) fn flag(&mut self, table: Table<'t>, name: &str) -> bool {
        let Some(found) = self.value(table, name) else { return false };
        found.value.as_bool().unwrap_or_else(|| {
            self.wrong_type(found, name, "true or false");
            false
        })
    }

    /// A duration, milliseconds; the default where it is absent or wrong.
    pub(super) fn duration_ms(&mut self, table: Table<'t>, name: &str, default: &str) -> i64 {
        let fallback = duration::parse_ms(default).unwrap_or_default();
        let Some(text) = self.text(table, name) else { return fallback };
        match duration::parse_ms(text.value) {
            Some(ms) if ms > 0 => ms,
            _ => {
                let message = format!("`{name}` is no duration: {:?}", text.value);
                let help = format!(
                    "write a whole number above 0 with ms, s, m, h or d, at most {}; the default is \"{default}\"",
                    duration::format_ms(duration::MAX_MS)
                );
                self.report(text.at, message, help);
                fallback
            }
        }
    }

    /// One of several words; the default where it is absent or wrong.
    pub(super) fn choice<T: Copy>(
        &mut self,
        table: Table<'t>,
        name: &str,
        choices: &[(&'static str, T)],
        default: T,
    ) -> T {
        let Some(text) = self.text(table, name) else { return default };
        self.choose(text, name, choices).unwrap_or(default)
    }

    /// What a word stands for.
    pub(super) fn choose<T: Copy>(&mut self, word: At<&str>, name: &str, choices: &[(&'static str, T)]) -> Option<T> {
        let found = choices.iter().find(|(known, _)| *known == word.value).map(|(_, value)| *value);
        if found.is_none() {
            let known: Vec<&str> = choices.iter().map(|(known, _)| *known).collect();
            let message = format!("`{name}` has no value `{}`", word.value);
            self.report(word.at, message, instead(word.value, &known));
        }
        found
    }

    /// A table within a table.
    pub(super) fn table(
        &mut self,
        table: Table<'t>,
        name: &str,
        what: &'static str,
        wanted: &str,
    ) -> Option<Table<'t>> {
        let found = self.value(table, name)?;
        match found.value.as_table() {
            Some(values) => Some(Table { values, at: found.at, what }),
            None => {
                self.wrong_type(found, name, wanted);
                None
            }
        }
    }

    /// The tables of a list, as `[[topic]]` makes it.
    pub(super) fn tables(&mut self, table: Table<'t>, name: &str, what: &'static str, wanted: &str) -> Vec<Table<'t>> {
        let Some(found) = self.value(table, name) else { return Vec::new() };
        let Some(list) = found.value.as_array() else {
            self.wrong_type(found, name, wanted);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(list.len());
        for item in list.iter() {
            let at = item.span().start;
            match item.get_ref().as_table() {
                Some(values) => tables.push(Table { values, at, what }),
                None => self.wrong_type(At { value: item.get_ref(), at }, name, wanted),
            }
        }
        tables
    }

    /// The offset in the file of a byte within a text value, where the text is written without escapes.
    pub(super) fn within(&self, text: At<&str>, offset: usize) -> usize {
        let quotes = 1;
        let written = self.lines.text().get(text.at + quotes..text.at + quotes + text.value.len());
        if written == Some(text.value) { text.at + quotes + offset } else { text.at }
    }
}
