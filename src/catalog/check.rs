//! What can only be seen over all topics together: names that are taken, forwards that go round, rules that meet in a key.

use std::collections::{BTreeSet, HashMap, VecDeque};

use super::{
    draft::{DraftFile, DraftRule, DraftTopic},
    duration::format_ms,
    finding::Finding,
    pattern::Pattern,
    plan::{Action, EventType, Part, Slot, Template},
};
use crate::model::Kind;

/// What keys of rules may not begin with: what is ours and no result of a rule lies there.
const RESERVED: &[&str] = &[
    "counters:aggregated",
    "counters:persistent",
    "counters:checkpoints",
    "counters:origins",
    "counters:gaps",
    "counters:meta",
    "counters:last",
    "sg:",
];

/// Most bytes of schemas of one topic: their text is kept with its rules, as one record on the broker.
const MAX_TOPIC_SCHEMA_BYTES: usize = 384 * 1024;

/// Checks all files together.
pub(super) fn all(files: &[DraftFile], findings: &mut Vec<Finding>) {
    let topics: Vec<&DraftTopic> = files.iter().flat_map(|file| &file.topics).collect();
    topic_names(&topics, findings);
    for topic in &topics {
        event_types(topic, findings);
        members(topic, findings);
    }
    forwards(&topics, findings);
    keys(&topics, findings);
}

/// No topic twice, and no two topics with one number.
fn topic_names(topics: &[&DraftTopic], findings: &mut Vec<Finding>) {
    let mut by_name: HashMap<&str, &DraftTopic> = HashMap::new();
    let mut by_hash: HashMap<u32, &DraftTopic> = HashMap::new();
    for draft in topics {
        let (topic, place) = (&draft.topic, &draft.place);
        if let Some(first) = by_name.get(&*topic.name) {
            let message = format!(
                "topic `{}` of catalogue `{}` is already in catalogue `{}` ({})",
                topic.name, topic.catalog, first.topic.catalog, first.place
            );
            findings.push(Finding::at(place, message, "choose one of the two, or give one topic another name"));
            continue;
        }
        by_name.insert(&topic.name, draft);
        if let Some(first) = by_hash.insert(topic.hash, draft) {
            let message = format!("topics `{}` and `{}` have the same number in origins", topic.name, first.topic.name);
            findings.push(Finding::at(place, message, "give one of them another name"));
        }
    }
}

fn event_types(draft: &DraftTopic, findings: &mut Vec<Finding>) {
    let schemas = draft.topic.events.iter().filter_map(|event| event.schema.as_ref());
    if schemas.map(|schema| schema.text().len()).sum::<usize>() > MAX_TOPIC_SCHEMA_BYTES {
        let message =
            format!("the schemas of topic `{}` have more than {MAX_TOPIC_SCHEMA_BYTES} bytes", draft.topic.name);
        findings.push(Finding::at(&draft.place, message, "write smaller ones, or split the topic"));
    }
    let mut seen = HashMap::new();
    for (event, places) in draft.topic.events.iter().zip(&draft.events) {
        if let Some(first) = seen.insert((&event.name, &event.version), &places.place) {
            let message = format!("event type `{}` version {} is already there ({first})", event.name, event.version);
            findings.push(Finding::at(&places.place, message, "put the rules of both into one, or raise the version"));
        }
    }
}

/// The fields that a template mentions.
fn template_slots(template: &Template) -> impl Iterator<Item = Slot> {
    template.parts.iter().filter_map(|part| match part {
        Part::Field { slot, .. } => Some(*slot),
        _ => None,
    })
}

/// One partition decides about each element of a set: all records of the element have the topic's key. Where the latest event
/// decides instead, any partition may have it.
fn members(draft: &DraftTopic, findings: &mut Vec<Finding>) {
    let topic = &draft.topic;
    let names =
        |slots: &[Slot]| slots.iter().map(|slot| &*topic.fields[usize::from(*slot)]).collect::<Vec<_>>().join(", ");
    for (_, rule, places) in draft.rules() {
        let Action::Member { key, of, tombstones_ms: None, .. } = &rule.action else { continue };
        let mentioned: BTreeSet<Slot> = template_slots(key).chain(template_slots(of)).collect();
        let missing: Vec<Slot> = topic.key.iter().copied().filter(|slot| !mentioned.contains(slot)).collect();
        let why = "two partitions could then race for one element, and the order of their records is not known";
        if topic.key.is_empty() {
            let message =
                format!("topic `{}` has no key, so events of one element of `{key}` lie anywhere: {why}", topic.name);
            findings.push(Finding::at(
                &places.place,
                message,
                "give the topic a key of fields that `member` or `of` name",
            ));
        } else if !missing.is_empty() {
            let missing = names(&missing);
            let message = format!(
                "the topic's key has {missing}, which is neither in `{key}` nor in `{of}`, so events of one element can lie in several partitions: {why}"
            );
            let help = format!("name {{{missing}}} in `member` or `of`, or key the topic by fields that they name");
            findings.push(Finding::at(&places.place, message, help));
        }
    }
}

/// No forward comes back to its topic.
fn forwards(topics: &[&DraftTopic], findings: &mut Vec<Finding>) {
    let mut targets: HashMap<&str, Vec<&str>> = HashMap::new();
    for draft in topics {
        targets.entry(&draft.topic.name).or_default().extend(draft.topic.forward_targets());
    }
    for draft in topics {
        let mut reported = BTreeSet::new();
        for (_, rule, places) in draft.rules() {
            let Action::Forward { topic: target, .. } = &rule.action else { continue };
            let Some(way) = way(&targets, target, &draft.topic.name).filter(|_| reported.insert(target)) else {
                continue;
            };
            let message = format!("forwards go round: {} -> {}", draft.topic.name, way.join(" -> "));
            findings.push(Finding::at(&places.place, message, "forward to a topic that does not lead back here"));
        }
    }
}

/// The topics on a shortest way along forwards, both ends included.
fn way<'n>(targets: &HashMap<&'n str, Vec<&'n str>>, from: &'n str, to: &str) -> Option<Vec<&'n str>> {
    let mut came_from: HashMap<&str, Option<&str>> = HashMap::from([(from, None)]);
    let mut open = VecDeque::from([from]);
    while let Some(here) = open.pop_front() {
        if here == to {
            let mut way: Vec<&str> =
                std::iter::successors(Some(here), |at| came_from.get(at).copied().flatten()).collect();
            way.reverse();
            return Some(way);
        }
        for next in targets.get(here).into_iter().flatten().copied() {
            if let std::collections::hash_map::Entry::Vacant(free) = came_from.entry(next) {
                free.insert(Some(here));
                open.push_back(next);
            }
        }
    }
    None
}

/// Keys that one rule feeds.
struct Feed<'d> {
    draft: &'d DraftTopic,
    places: &'d DraftRule,
    template: &'d Template,
    /// What the keys hold, in words.
    kind: &'static str,
    pattern: Pattern,
    /// What rules that share a key must say alike.
    setting: Option<(&'static str, String)>,
}

/// The keys that a rule feeds, windows and days included.
fn feeds<'d>(draft: &'d DraftTopic, event: &EventType, action: &'d Action, places: &'d DraftRule) -> Vec<Feed<'d>> {
    let setting = match action {
        Action::Count { retention_ms, .. } => {
            Some(("retention", retention_ms.map_or_else(|| "without end".to_owned(), format_ms)))
        }
        Action::Unique { per_day: true, retention_ms, .. } => retention_ms.map(|ms| ("retention", format_ms(ms))),
        Action::Recent { cap, .. } => Some(("cap", cap.to_string())),
        Action::Top { retention_ms, .. } => Some(("retention", format_ms(*retention_ms))),
        Action::Member { tombstones_ms: Some(ms), .. } => Some(("tombstones", format_ms(*ms))),
        _ => None,
    };
    let feed = |(template, holds, pattern)| {
        let kind = match (holds, action) {
            (Kind::Count, Action::Member { tombstones_ms: None, .. }) => "a counter that a member moves",
            (Kind::Count, Action::Member { .. }) => "a counter that a member ordered by time moves",
            (Kind::Count, _) => "a count",
            (Kind::Max, _) => "a max",
            (Kind::Last, _) => "a last",
            (Kind::Unique, Action::Unique { per_day: false, .. }) => "a unique for ever",
            (Kind::Unique, _) => "a unique per day",
            (Kind::Recent, _) => "a recent",
            (Kind::Top, _) => "a top",
            (Kind::Member, Action::Member { tombstones_ms: Some(_), .. }) => "a member ordered by time",
            (Kind::Member, _) => "a member",
        };
        // Sets that are forgotten after different times may move one counter.
        let setting = setting.clone().filter(|_| !(holds == Kind::Count && matches!(action, Action::Member { .. })));
        Feed { draft, places, template, kind, pattern, setting }
    };
    super::feeds::of(action, &draft.topic.name, &event.name).into_iter().map(feed).collect()
}

/// No key is reserved, and rules that can meet in one key agree about it.
fn keys(topics: &[&DraftTopic], findings: &mut Vec<Finding>) {
    let mut known: Vec<Feed<'_>> = Vec::new();
    for draft in topics {
        for (event, rule, places) in draft.rules() {
            let feeds = feeds(draft, event, &rule.action, places);
            for feed in &feeds {
                let reserved = RESERVED.iter().find(|name| feed.pattern.can_collide(&Pattern::beginning_with(name)));
                if let Some(reserved) = reserved {
                    let message = format!("the key `{}` can begin with `{reserved}`, which is reserved", feed.template);
                    let help = "begin the key with a word of your own, as in \"video:{videoId}:views\"";
                    findings.push(Finding::at(&places.place, message, help));
                }
            }
            for feed in feeds {
                // One finding a key is enough; the next run shows what is left.
                findings.extend(known.iter().find_map(|other| meet(other, &feed)));
                known.push(feed);
            }
        }
    }
}

/// What is wrong where two rules can feed one key.
fn meet(first: &Feed<'_>, second: &Feed<'_>) -> Option<Finding> {
    let one_topic = first.draft.topic.name == second.draft.topic.name;
    let agree = first.kind == second.kind && first.setting == second.setting;
    let shared = first.places.shared && second.places.shared && first.kind != "a member";
    if (agree && (one_topic || shared)) || !first.pattern.can_collide(&second.pattern) {
        return None;
    }
    let at = &first.places.place;
    let (message, help) = if first.kind != second.kind {
        let message = format!(
            "`{}`, {}, can be the same key as `{}` ({at}), {}",
            second.template, second.kind, first.template, first.kind
        );
        (message, "give one of them another key".to_owned())
    } else if let (Some((name, one)), Some((_, other))) = (&first.setting, &second.setting)
        && one != other
    {
        let message = format!(
            "`{}` has {name} {other}, but `{}` ({at}), which can be the same key, has {one}",
            second.template, first.template
        );
        (message, format!("give both the same {name}, or one of them another key"))
    } else if first.kind == "a member" {
        let message = format!(
            "`{}` can be the same set as `{}` of topic `{}` ({at}): partitions of two topics could then race for one element",
            second.template, first.template, first.draft.topic.name
        );
        (message, "give one of them another key".to_owned())
    } else {
        let message = format!(
            "`{}` can be the same key as `{}` of topic `{}` ({at}), and not both say that they share it",
            second.template, first.template, first.draft.topic.name
        );
        (message, "write shared = true in both rules, or give one of them another key".to_owned())
    };
    Some(Finding::at(&second.places.place, message, help))
}
