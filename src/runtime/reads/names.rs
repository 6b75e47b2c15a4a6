//! Which rule makes a key: keys matched against the catalogue's templates.

use crate::{
    catalog::plan::{Action, Catalog, Part, Template, Window},
    runtime::publish::nearest,
};

/// Whether a unique's key is one by day (`true`) or for ever; `None` where no rule makes it. Where rules of both kinds do,
/// by day.
pub(super) fn unique_per_day(catalog: &Catalog, key: &str) -> Option<bool> {
    let kinds = actions(catalog).filter_map(|action| match action {
        Action::Unique { key: template, per_day, .. } if matches(template, key) => Some(*per_day),
        _ => None,
    });
    kinds.max()
}

/// The windows of a ranking; `None` where no rule makes it.
pub(super) fn windows<'c>(catalog: &'c Catalog, key: &str) -> Option<&'c [Window]> {
    actions(catalog).find_map(|action| match action {
        Action::Top { key: template, windows, .. } if matches(template, key) => Some(windows.as_slice()),
        _ => None,
    })
}

/// The ranking whose template is most like the key.
pub(super) fn nearest_ranking(catalog: &Catalog, key: &str) -> Option<String> {
    let templates = actions(catalog).filter_map(|action| match action {
        Action::Top { key: template, .. } => Some(&*template.text),
        _ => None,
    });
    nearest(key, templates)
}

fn actions(catalog: &Catalog) -> impl Iterator<Item = &Action> {
    catalog.topics.iter().flat_map(|topic| &topic.events).flat_map(|event| &event.rules).map(|rule| &rule.action)
}

/// Whether a template can make this key. Values are percent-encoded, so a field never holds `:`, braces or blanks.
///
/// `ends` marks the places in the key that the parts so far can reach; each part moves the marks once over the key, so the
/// time is the product of both lengths whatever the template is.
fn matches(template: &Template, key: &str) -> bool {
    let bytes = key.as_bytes();
    let mut ends = vec![false; bytes.len() + 1];
    ends[0] = true;
    for part in &template.parts {
        let mut next = vec![false; bytes.len() + 1];
        match part {
            Part::Literal(text) => {
                for (start, _) in ends.iter().enumerate().filter(|(_, reached)| **reached) {
                    if bytes[start..].starts_with(text.as_bytes()) {
                        next[start + text.len()] = true;
                    }
                }
            }
            Part::Field { .. } | Part::Type | Part::Day | Part::Hour | Part::Topic => {
                let mut open = false;
                for (place, byte) in bytes.iter().enumerate() {
                    open = (open || ends[place]) && !matches!(byte, b':' | b'{' | b'}' | 0..=b' ' | 0x7f);
                    next[place + 1] = open;
                }
            }
        }
        ends = next;
    }
    ends[bytes.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_fit_the_templates_that_make_them() {
        let field = || Part::Field { slot: 0, optional: false };
        let literal = |text: &str| Part::Literal(text.into());
        for (parts, key, expected) in [
            (vec![literal("video:"), field(), literal(":viewers")], "video:1:viewers", true),
            (vec![literal("video:"), field(), literal(":viewers")], "video:a%3Ab:viewers", true),
            (vec![literal("video:"), field(), literal(":viewers")], "video:a:b:viewers", false),
            (vec![literal("video:"), field(), literal(":viewers")], "video::viewers", false),
            (vec![literal("video:"), field(), literal(":viewers")], "video:1:viewer", false),
            (vec![literal("video:"), field(), literal(":viewers")], "xvideo:1:viewers", false),
            (vec![literal("a"), field(), literal("a"), field()], "aaaa", true),
            (vec![literal("a"), field(), literal("a"), field()], "aaa", false),
            (vec![field(), literal("-"), Part::Day], "x-2026-11-21", true),
            (vec![literal("all")], "all", true),
            (vec![literal("all")], "", false),
            (vec![literal("é"), field()], "éü", true),
        ] {
            let template = Template { text: "t".into(), parts };
            assert_eq!(matches(&template, key), expected, "{key} {:?}", template.parts);
        }
    }
}
