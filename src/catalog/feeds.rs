//! Which keys the rules make: for the lint, and for whoever finds a key and asks whose it is.

use std::sync::Arc;

use chrono::{NaiveDate, NaiveTime, TimeDelta};

use super::{
    pattern::Pattern,
    plan::{Action, Catalog, Part, Template, Topic},
};
use crate::model::Kind;

/// The keys that a rule makes: the template as written, what they hold, and their pattern, windows and days included.
pub(super) fn of<'a>(action: &'a Action, topic: &str, event_type: &str) -> Vec<(&'a Template, Kind, Pattern)> {
    let pattern = |template| Pattern::of(template, topic, event_type);
    match action {
        Action::Count { key, .. } => vec![(key, Kind::Count, pattern(key))],
        Action::Max { key, .. } => vec![(key, Kind::Max, pattern(key))],
        Action::Last { key, .. } => vec![(key, Kind::Last, pattern(key))],
        Action::Unique { key, per_day: false, .. } => vec![(key, Kind::Unique, pattern(key))],
        Action::Unique { key, .. } => vec![(key, Kind::Unique, pattern(key).per_day())],
        Action::Recent { key, .. } => vec![(key, Kind::Recent, pattern(key))],
        Action::Top { key, windows, .. } => {
            windows.iter().map(|window| (key, Kind::Top, pattern(key).per_window(window))).collect()
        }
        Action::Member { key, moves, .. } => {
            let counter = moves.as_ref().map(|moves| (moves, Kind::Count, pattern(moves)));
            std::iter::once((key, Kind::Member, pattern(key))).chain(counter).collect()
        }
        Action::Forward { .. } => Vec::new(),
    }
}

/// The keys that the rules of some topics make.
#[derive(Clone, Debug, Default)]
pub struct Feeds {
    keys: Vec<(Kind, Pattern)>,
    days: Vec<DayCounter>,
}

/// A rule whose counters are removed some time after the day that they name.
#[derive(Clone, Debug)]
struct DayCounter {
    template: Template,
    topic: Arc<str>,
    event_type: Box<str>,
    retention_ms: i64,
}

/// Characters of a day: `2026-11-21`.
const DAY_CHARS: usize = 10;

impl Feeds {
    /// Of these topics.
    pub fn of(topics: &[Arc<Topic>]) -> Self {
        let mut feeds = Self::default();
        for topic in topics {
            for event in &topic.events {
                for rule in &event.rules {
                    let made = of(&rule.action, &topic.name, &event.name);
                    feeds.keys.extend(made.into_iter().map(|(_, kind, pattern)| (kind, pattern)));
                    if let Action::Count { key, retention_ms: Some(retention_ms), .. } = &rule.action {
                        feeds.days.push(DayCounter {
                            template: key.clone(),
                            topic: Arc::clone(&topic.name),
                            event_type: event.name.clone(),
                            retention_ms: *retention_ms,
                        });
                    }
                }
            }
        }
        feeds
    }

    /// What a key of this name holds; `None` where no rule makes it. Rules that can make one key agree about that, which the
    /// lint sees to, but for a counter that several kinds of rules may move.
    pub fn kind(&self, name: &str) -> Option<Kind> {
        let name = Pattern::exactly(name);
        self.keys.iter().find(|(_, pattern)| pattern.can_collide(&name)).map(|(kind, _)| *kind)
    }

    /// When the counter of this name expires, milliseconds since 1970; `None` where it never does.
    pub fn expires_at_ms(&self, name: &str) -> Option<i64> {
        let exactly = Pattern::exactly(name);
        let days = (0..name.len()).filter_map(|at| name.get(at..at + DAY_CHARS));
        let days = days.filter_map(|day| Some((day, NaiveDate::parse_from_str(day, "%Y-%m-%d").ok()?)));
        let expiries = days.flat_map(|(day, date)| {
            let end_ms = (date.and_time(NaiveTime::MIN) + TimeDelta::days(1)).and_utc().timestamp_millis();
            let makes = self.days.iter().filter(|counter| counter.on(day).can_collide(&exactly));
            makes.map(|counter| end_ms + counter.retention_ms).collect::<Vec<_>>()
        });
        expiries.max()
    }

    /// Whether both can make one key.
    fn meet(&self, other: &Self) -> bool {
        self.keys.iter().any(|(_, one)| other.keys.iter().any(|(_, two)| one.can_collide(two)))
    }
}

impl DayCounter {
    /// The keys of one day.
    fn on(&self, day: &str) -> Pattern {
        let mut template = self.template.clone();
        template.parts.iter_mut().filter(|part| **part == Part::Day).for_each(|part| *part = Part::Literal(day.into()));
        Pattern::of(&template, &self.topic, &self.event_type)
    }
}

impl Catalog {
    /// These topics and every other one that, directly or over others, can make a key that they make too. A name that no topic
    /// has is left out.
    pub fn with_shared_keys(&self, names: &[String]) -> Vec<Arc<Topic>> {
        let feeds: Vec<Feeds> = self.topics.iter().map(|topic| Feeds::of(std::slice::from_ref(topic))).collect();
        let mut chosen: Vec<bool> =
            self.topics.iter().map(|topic| names.iter().any(|name| **name == *topic.name)).collect();
        let mut open: Vec<usize> = (0..chosen.len()).filter(|index| chosen[*index]).collect();
        while let Some(index) = open.pop() {
            for other in 0..chosen.len() {
                if !chosen[other] && feeds[index].meet(&feeds[other]) {
                    chosen[other] = true;
                    open.push(other);
                }
            }
        }
        self.topics.iter().zip(chosen).filter(|(_, chosen)| *chosen).map(|(topic, _)| Arc::clone(topic)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Source, compile};

    fn catalog() -> Catalog {
        let topic = |name: &str, rules: &str| {
            format!(
                "[[topic]]\nname = \"{name}\"\nkey = [\"x\"]\nidentity = []\n[[topic.event]]\ntype = \"{name}.e\"\nrules = [{rules}]\n"
            )
        };
        let text = [
            "name = \"c\"\n".to_owned(),
            topic("a", "{ count = \"all:{x}\", shared = true }"),
            topic("b", "{ count = \"all:{y}\", shared = true }, { count = \"sum:{day}\", shared = true }"),
            topic("c", "{ count = \"sum:{day}\", shared = true }, { top = \"t\", of = \"{x}\" }"),
            topic("d", "{ member = \"set:{x}\", of = \"{y}\", op = \"add\", moves = \"size:{x}\" }"),
        ];
        let source = Source { file: "c.toml".to_owned(), text: text.concat() };
        compile(&[source]).unwrap_or_else(|findings| panic!("{findings:#?}"))
    }

    #[test]
    fn topics_come_with_those_that_share_their_keys() {
        let names = |asked: &[&str]| -> Vec<String> {
            let asked: Vec<String> = asked.iter().map(ToString::to_string).collect();
            catalog().with_shared_keys(&asked).iter().map(|topic| topic.name.to_string()).collect()
        };
        assert_eq!(names(&["a"]), ["a", "b", "c"], "c shares with b, which shares with a");
        assert_eq!(names(&["d"]), ["d"]);
        assert_eq!(names(&["nobody"]), [""; 0]);
    }

    #[test]
    fn a_name_tells_what_its_key_holds() {
        let feeds = Feeds::of(&catalog().topics);
        for (name, kind) in [
            ("all:1", Some(Kind::Count)),
            ("all:1:2", None),
            ("sum:2026-11-21", Some(Kind::Count)),
            ("sum:today", None),
            ("t:1h:2026-11-21T10", Some(Kind::Top)),
            ("t", None),
            ("set:é", Some(Kind::Member)),
            ("size:é", Some(Kind::Count)),
            ("", None),
        ] {
            assert_eq!(feeds.kind(name), kind, "{name}");
        }
    }

    #[test]
    fn a_name_tells_when_its_counter_expires() {
        let text = "name = \"c\"\n[[topic]]\nname = \"t\"\n[[topic.event]]\ntype = \"e\"\nrules = [
            { count = \"n:{day}:{x?}\", retention = \"2d\" }, { count = \"m:{day}\" }, { count = \"{type}:{x}:{day}\", retention = \"1h\" }]\n";
        let catalog = compile(&[Source { file: "c.toml".to_owned(), text: text.to_owned() }]);
        let feeds = Feeds::of(&catalog.unwrap_or_else(|findings| panic!("{findings:#?}")).topics);
        let ms = |text: &str| chrono::DateTime::parse_from_rfc3339(text).unwrap().timestamp_millis();
        for (name, expires) in [
            ("n:2026-11-21:é", Some("2026-11-24T00:00:00Z")),
            ("n:2026-12-31:2020-01-01", Some("2027-01-03T00:00:00Z")),
            ("e:2030-02-01:2024-02-28", Some("2024-02-29T01:00:00Z")),
            ("n:2026-13-21:x", None),
            ("n:2026-11-21", None),
            ("m:2026-11-21", None),
            ("f:x:2026-11-21", None),
            ("", None),
        ] {
            assert_eq!(feeds.expires_at_ms(name), expires.map(ms), "{name}");
        }
    }
}
