//! What catalogues promise: bad files are told with place and remedy, good ones become the plan that they say.
//!
//! Longer than most files: it is tables, one row per mistake that a file can have.

// What is wrong in a helper of a test fails the test.
#![allow(clippy::unwrap_used, clippy::panic)]

#[path = "catalog/builtin.rs"]
mod builtin;
#[path = "catalog/editors.rs"]
mod editors;
#[path = "catalog/schemas.rs"]
mod schemas;
#[path = "catalog/shared.rs"]
mod shared;

use streamgauge::catalog::{
    self, CatalogChoice, CatalogError, Source,
    plan::{Action, Amount, Catalog, IdentityPart, Priority, Shape, Template},
    retry::TopicRetry,
};

fn source(file: &str, text: &str) -> Source {
    Source { file: file.to_owned(), text: text.to_owned() }
}

fn compile(text: &str) -> Catalog {
    catalog::compile(&[source("c.toml", text)]).unwrap_or_else(|findings| panic!("{text}\n{findings:#?}"))
}

/// A catalogue of one topic `t` keyed by `a`, with more topic lines and the rules of its type `e`.
fn with(topic_lines: &str, rules: &str) -> String {
    format!(
        "name = \"c\"\n[[topic]]\nname = \"t\"\nkey = [\"a\"]\n{topic_lines}\n[[topic.event]]\ntype = \"e\"\nrules = [\n{rules}\n]\n"
    )
}

/// Expects exactly one finding: its line, its column, and words of the message and the help.
#[track_caller]
fn expect(text: &str, line: usize, column: usize, message: &str, help: &str) {
    let findings = catalog::lint(&[source("c.toml", text)]);
    let fits = findings.len() == 1
        && (findings[0].line, findings[0].column) == (line, column)
        && findings[0].message.contains(message)
        && findings[0].help.contains(help);
    assert!(fits, "wanted {line}:{column} {message} / {help} for\n{text}\n{findings:#?}");
}

#[test]
fn a_line_of_a_topic_that_is_wrong_is_told_with_its_place() {
    for (line, column, message, help) in [
        ("partition = 3", 1, "a topic has no field `partition`", "did you mean `partitions`?"),
        ("partitions = 0", 14, "`partitions` is 0", "between 1 and 10000; the default is 6"),
        ("partitions = \"6\"", 14, "`partitions` is a string", "a whole number"),
        ("partitions = 10_001", 14, "`partitions` is 10001", "between 1 and 10000"),
        ("replication = \"brocker\"", 15, "no value `brocker`", "did you mean `broker`?"),
        ("replication = 0", 15, "`replication` is 0", "between 1"),
        ("retention = \"7 days\"", 13, "no duration: \"7 days\"", "ms, s, m, h or d"),
        ("retention = \"0s\"", 13, "no duration", "above 0"),
        ("compression = \"gizp\"", 15, "no value `gizp`", "did you mean `gzip`?"),
        ("cleanup = \"compact\"", 11, "known but not in this version yet", "\"delete\""),
        ("cleanup = \"delet\"", 11, "no value `delet`", "did you mean `delete`?"),
        ("track = 1", 9, "`track` is", "true or false"),
        ("shape = [\"cloudevent\"]", 10, "no value `cloudevent`", "did you mean `cloudevents`?"),
        ("shape = [\"flat\", \"nestd\"]", 18, "no value `nestd`", "did you mean `nested`?"),
        ("shape = \"flat\"", 9, "`shape` is a string", "a list of texts"),
        ("identity = [\"id\", \"\"]", 19, "name of the field is empty", "videoId"),
        ("identity = [\"id\", \"id\"]", 19, "names `id` twice", "leave one"),
        ("dedupe = { window = \"1h\", offset = 5 }", 27, "no field `offset`", "did you mean `offsets`?"),
        ("dedupe = { offsets = 16777217 }", 22, "`offsets` is 16777217", "between 0 and 16777216"),
        ("max_retries = -1", 15, "`max_retries` is -1", "between 0"),
        ("retry = 5", 9, "`retry` is an integer", "initial_ms = 5000"),
        ("retry = { inital_ms = 5 }", 11, "`retry` has no field `inital_ms`", "did you mean `initial_ms`?"),
        ("retry = { initial_ms = 0 }", 24, "`initial_ms` is 0", "between 1 and 86400000"),
        ("retry = { max_delay_ms = \"5m\" }", 26, "`max_delay_ms` is a string", "a whole number"),
        ("retry = { factor = 0.5 }", 20, "`factor` is 0.5", "between 1 and 100"),
        ("retry = { factor = nan }", 20, "`factor` is nan", "between 1 and 100"),
        ("retry = { factor = \"2\" }", 20, "`factor` is a string", "a number"),
        ("priority = \"hihg\"", 12, "no value `hihg`", "did you mean `high`?"),
        ("sensitive = [\"e mail\"]", 14, "' ' may not stand in the name of a field", "videoId"),
    ] {
        expect(&with(line, "{ count = \"k:{a}\" }"), 5, column, message, help);
    }
}

#[test]
fn a_rule_that_is_wrong_is_told_with_its_place() {
    for (rule, column, message, help) in [
        ("{ cuont = \"k\" }", 1, "no known kind: it has cuont", "did you mean `count`?"),
        ("{ count = \"k\", top = \"l\" }", 1, "one of count and top", "two rules"),
        ("{ count = \"k\", bye = 1 }", 16, "no field `bye`", "did you mean `by`?"),
        ("{ count = \"k:{a\" }", 14, "a `{` without its `}`", "close"),
        ("{ count = \"k:{}\" }", 14, "name of the field is empty", "videoId"),
        ("{ count = \"ç:100%\" }", 17, "'%' may not stand", "percent-encoded"),
        ("{ count = \"\" }", 11, "`count` is empty", "text"),
        ("{ count = 5 }", 11, "`count` is an integer", "text in quotes"),
        ("{ count = \"k\", by = 0 }", 21, "`by` is 0", "1, -1"),
        ("{ count = \"k\", by = { field = \"x\", scal = 2 } }", 36, "no field `scal`", "did you mean `scale`?"),
        ("{ count = \"k:{hour}\", retention = \"1d\" }", 35, "`retention` needs {day} in the key", "orders:{day}"),
        ("{ count = \"k:{day}\", retention = \"0d\" }", 34, "no duration", "above 0"),
        (
            "{ count = \"k:{day}\", retention = \"1d\" }, { count = \"k:{a}\" }",
            52,
            "has retention without end",
            "same retention",
        ),
        ("{ count = \"sg:{a}\" }", 11, "reserved", "word of your own"),
        ("{ count = \"{a}:x\" }", 11, "reserved", "word of your own"),
        ("{ count = \"counters:metadata\" }", 11, "begin with `counters:meta`", "word of your own"),
        ("{ unique = \"u\" }", 1, "unique needs `of`", "of = "),
        ("{ unique = \"u\", of = \"{a}\", per = \"dya\" }", 35, "no value `dya`", "did you mean `day`?"),
        ("{ recent = \"r\", of = \"{a}\", cap = 10001 }", 35, "`cap` is 10001", "between 1 and 10000"),
        ("{ top = \"t\", of = \"{a}\", windows = [\"5h\"] }", 37, "cannot have \"5h\"", "divide a day"),
        ("{ top = \"t\", of = \"{a}\", windows = [\"30m\"] }", 37, "cannot have \"30m\"", "whole hours"),
        ("{ top = \"t\", of = \"{a}\", windows = [\"1d\", \"24h\"] }", 43, "are the same", "leave one"),
        ("{ top = \"t\", of = \"{a}\", windows = [] }", 1, "names 0 windows", "1 to 16"),
        ("{ max = \"m\" }", 1, "max needs `of`", "field = "),
        ("{ max = \"m\", of = { field = \"x\", negate = true } }", 34, "no field `negate`", "field"),
        ("{ last = \"m\", of = \"{x}\" }", 20, "`of` is a string", "field = "),
        ("{ member = \"s:{a}\", of = \"{b}\", op = \"ad\" }", 38, "no value `ad`", "did you mean `add`?"),
        ("{ member = \"s:{a}\", of = \"{b}\" }", 1, "a rule needs `op`", "add"),
        (
            "{ member = \"s:{a}\", of = \"{b}\", op = \"add\", tombstones = \"7d\" }",
            58,
            "no effect with order = \"log\"",
            "order = \"time\"",
        ),
        (
            "{ member = \"s:{c}\", of = \"{b}\", op = \"add\", order = \"time\", tombstones = \"0d\" }",
            74,
            "no duration",
            "above 0",
        ),
        ("{ member = \"s:{c}\", of = \"{b}\", op = \"add\" }", 12, "key has a, which is neither", "race"),
        ("{ forward = \"t\" }", 13, "forwards go round: t -> t", "does not lead back"),
        ("{ forward = \"a b\" }", 13, "`a b` is no topic name", "characters"),
        ("{ forward = \"x.dlq\" }", 13, "dead letter topic", "another topic"),
        (
            "{ count = \"k:{a}\" }, { max = \"k:{b}\", of = { field = \"c\" } }",
            30,
            "a max, can be the same key",
            "another key",
        ),
        ("{ recent = \"k\", of = \"{a}\" }, { recent = \"k\", of = \"{a}\", cap = 5 }", 42, "has cap 5", "same cap"),
    ] {
        let help = if help == "race" { "name {a}" } else { help };
        expect(&with("", rule), 9, column, message, help);
    }
}

#[test]
fn whole_files_that_are_wrong() {
    let event = "[[topic.event]]\ntype = \"e\"\n";
    let topic = format!("[[topic]]\nname = \"t\"\n{event}");
    for (text, line, column, message, help) in [
        ("name = \"c\"\n".to_owned(), 1, 1, "the catalogue has no topic", "[[topic]]"),
        (topic.clone(), 1, 1, "a catalogue needs `name`", "name = \"shop\""),
        (format!("name = \"c\"\n[[topics]]\n[[topic]]\nname = \"t\"\n{event}"), 2, 3, "no field `topics`", "`topic`"),
        (format!("name = \"c\"\n[[topic]]\n{event}"), 2, 1, "a topic needs `name`", "video.views"),
        (format!("name = \"c\"\n[[topic]]\nname = \"t.dlq\"\n{event}"), 3, 8, "dead letter topic", "another"),
        ("name = \"c\"\n[[topic]]\nname = \"t\"\n".to_owned(), 2, 1, "has no event type", "[[topic.event]]"),
        (format!("name = \"c\"\n{topic}version = \"v1\"\n"), 6, 11, "\"v1\" is no version", "\"1.0\""),
        (
            format!("name = \"c\"\n{topic}[[topic.event]]\ntype = \"e\"\nversion = \"1.0.0\"\n"),
            7,
            8,
            "already there",
            "raise",
        ),
        (format!("name = \"c\"\n{topic}{topic}"), 7, 8, "topic `t` of catalogue `c` is already in", "another name"),
        (
            format!(
                "name = \"c\"\n[[topic]]\nname = \"t\"\nshape = [\"bare\"]\n{event}[[topic.event]]\ntype = \"f\"\n"
            ),
            4,
            10,
            "which type",
            "one event type",
        ),
    ] {
        expect(&text, line, column, message, help);
    }
}

#[test]
fn all_findings_are_told_in_order_and_broken_toml_too() {
    let text = "name = \"c\"\n[[topic]]\nname = \"t\"\npartitions = 0\nretenton = \"1d\"\n[[topic.event]]\ntype = \"e\"\nrules = [{ count = \"a%\" }]\n";
    let lines: Vec<usize> = catalog::lint(&[source("c", text)]).iter().map(|finding| finding.line).collect();
    assert_eq!(lines, [4, 5, 8]);
    let findings = catalog::lint(&[source("c", "name = \"c\"\nx = = 1\n")]);
    assert!(findings.iter().any(|f| f.line == 2 && f.message.starts_with("not TOML")), "{findings:#?}");
}

#[test]
fn forwards_that_go_round_over_two_catalogues_are_refused() {
    let topic = |name: &str, target: &str| {
        format!(
            "name = \"c{name}\"\n[[topic]]\nname = \"{name}\"\n[[topic.event]]\ntype = \"e\"\nrules = [{{ forward = \"{target}\" }}]\n"
        )
    };
    let findings = catalog::lint(&[source("1", &topic("a", "b")), source("2", &topic("b", "a"))]);
    let messages: Vec<&str> = findings.iter().map(|finding| &*finding.message).collect();
    assert_eq!(messages, ["forwards go round: a -> b -> a", "forwards go round: b -> a -> b"]);
    assert!(catalog::lint(&[source("1", &topic("a", "b")), source("2", &topic("b", "c"))]).is_empty());
}

#[test]
fn what_is_not_said_has_its_default() {
    let catalog = compile(
        "name = \"c\"\n[[topic]]\nname = \"t\"\n[[topic.event]]\ntype = \"e\"\nrules = [\n{ unique = \"u\", of = \"{a}\" }, { recent = \"r\", of = \"{a}\" }, { top = \"p\", of = \"{a}\" }, { count = \"n\", by = { field = \"m\" } }, { max = \"x\", of = { field = \"m\" } } ]\n",
    );
    let topic = catalog.topic("t").unwrap();
    assert_eq!((topic.partitions, topic.replication, topic.retention_ms), (6, None, 604_800_000));
    assert_eq!((topic.compression, topic.retry, topic.priority), (None, TopicRetry::default(), Priority::Normal));
    assert_eq!((&topic.identity[..], topic.dedupe.window_ms), (&[IdentityPart::Id][..], 3_600_000));
    assert_eq!((topic.dedupe.offsets, topic.publish_shape), (262_144, Shape::Nested));
    assert_eq!(topic.shapes, Shape::ALL);
    assert_eq!(&*topic.events[0].version, "1");
    assert_eq!(topic.fields.iter().map(|f| &**f).collect::<Vec<_>>(), ["a", "m"]);
    let actions: Vec<&Action> = topic.events[0].rules.iter().map(|rule| &rule.action).collect();
    assert!(matches!(actions[0], Action::Unique { per_day: true, retention_ms: Some(3_024_000_000), .. }));
    assert!(matches!(actions[1], Action::Recent { cap: 100, .. }));
    let Action::Top { by: Amount::Constant(1), windows, retention_ms: 604_800_000, .. } = actions[2] else { panic!() };
    assert_eq!(
        windows.iter().map(|w| (&*w.label, w.length_ms)).collect::<Vec<_>>(),
        [("1h", 3_600_000), ("1d", 86_400_000)]
    );
    assert!(matches!(actions[3], Action::Count { by: Amount::Field(field), .. } if field.scale == 2));
    assert!(matches!(actions[4], Action::Max { of, .. } if of.scale == 0));
}

#[test]
fn of_several_versions_the_newest_is_meant() {
    let event = |version: &str| format!("[[topic.event]]\ntype = \"e\"\nversion = \"{version}\"\n");
    let text = format!("name = \"c\"\n[[topic]]\nname = \"t\"\n{}{}{}", event("10.0"), event("9"), event("1.0.0"));
    let catalog = compile(&text);
    assert_eq!(catalog.topics[0].event_type("e").map(|event| &*event.version), Some("10"));
}

/// A rule in one line.
fn shown(action: &Action) -> String {
    let key = |key: &Option<Template>| key.as_ref().map_or_else(String::new, |key| format!(" {key}"));
    match action {
        Action::Count { key, by: Amount::Constant(by), retention_ms: None } => format!("count {key} {by:+}"),
        Action::Unique { key, of, per_day, .. } => format!("unique {key} {of} {per_day}"),
        Action::Recent { key, of, cap } => format!("recent {key} {of} {cap}"),
        Action::Top { key, of, windows, .. } => format!("top {key} {of} {}", windows.len()),
        Action::Member { key, of, is_add, moves, tombstones_ms: None } => {
            format!("member {key} {of} {is_add}{}", key_of(moves))
        }
        Action::Forward { topic, key: to } => format!("forward {topic}{}", key(to)),
        other => format!("{other:?}"),
    }
}

fn key_of(template: &Option<Template>) -> String {
    template.as_ref().map_or_else(String::new, |template| format!(" {template}"))
}

#[test]
fn the_built_in_video_catalogue_does_what_it_is_said_to() {
    let catalog = Catalog::load(&CatalogChoice::default()).unwrap();
    assert_eq!(catalog.names, ["video"]);
    let mut lines = Vec::new();
    for topic in &catalog.topics {
        assert_eq!(
            (&topic.shapes[..], topic.publish_shape, topic.retry.max),
            (&[Shape::Flat][..], Shape::Flat, Some(10))
        );
        let field = |slot: &u16| &*topic.fields[usize::from(*slot)];
        let identity = topic.identity.iter().map(|part| match part {
            IdentityPart::Field(slot) => field(slot),
            IdentityPart::Type => "type",
            IdentityPart::Timestamp => "timestamp",
            IdentityPart::Id => "id",
        });
        let identity = identity.collect::<Vec<_>>().join(" ");
        lines.push(format!(
            "{} [{}] {identity}",
            topic.name,
            topic.key.iter().map(field).collect::<Vec<_>>().join(" ")
        ));
        for event in &topic.events {
            let rules: Vec<String> = event.rules.iter().map(|rule| shown(&rule.action)).collect();
            lines.push(format!("  {}: {}", event.name, rules.join("; ")));
            assert!(event.rules.iter().zip(0..).all(|(rule, effect)| rule.effect == effect));
        }
    }
    let expected = "\
video.views [videoId] type videoId userId timestamp
  video.view: count video:{videoId}:views +1; unique video:{videoId}:viewers {userId} true; recent user:{userId}:history {videoId} 100; top trending:videos {videoId} 2
video.likes [userId] type videoId userId timestamp
  video.like: count video:{videoId}:likes +1; count video:{videoId}:engagement +1; forward recommendation.signals {userId}
  video.unlike: count video:{videoId}:likes -1; count video:{videoId}:engagement -1; forward recommendation.signals {userId}
  video.dislike: count video:{videoId}:dislikes +1; count video:{videoId}:engagement +1; forward recommendation.signals {userId}
video.uploads [channelId] type channelId userId timestamp
  video.upload: count channel:{channelId}:videos +1
video.comments [videoId] type videoId userId timestamp
  comment.create: count video:{videoId}:comments +1; count user:{userId}:comments +1; count video:{videoId}:engagement +1
  comment.delete: count video:{videoId}:comments -1
  comment.like: count comment:{commentId}:likes +1
video.subscriptions [channelId] type channelId userId timestamp
  subscription.create: member user:{userId}:subscriptions {channelId} true channel:{channelId}:subscribers
  subscription.delete: member user:{userId}:subscriptions {channelId} false channel:{channelId}:subscribers";
    assert_eq!(lines.join("\n"), expected);
}

#[test]
fn the_fingerprint_is_of_what_is_counted_and_of_nothing_else() {
    let of = |text: &str| compile(text).topics[0].fingerprint;
    let rules = "{ count = \"k:{a}\" }, { unique = \"u\", of = \"{b}\" }, { top = \"p\", of = \"{b}\" }";
    let base = of(&with("", rules));
    for same in [
        with(
            "# a comment\npartitions = 12\nretention = \"1d\"\ncompression = \"lz4\"\nmax_retries = 9\nretry = { factor = 3 }\nsensitive = [\"z\"]",
            rules,
        ),
        with("identity = [\"id\"]\ndedupe = { offsets = 262144, window = \"60m\" }", rules),
        with(
            "",
            "{ by = 1, count = \"k:{a}\" },\n# why\n{ of = \"{b}\", retention = \"35d\", unique = \"u\" }, { top = \"p\", of = \"{b}\" }",
        ),
        with("", rules).replace("type = \"e\"", "version = \"1.0.0\"\ntype = \"e\""),
    ] {
        assert_eq!(of(&same), base, "{same}");
    }
    let mut seen = vec![base];
    for other in [
        with("identity = [\"type\", \"a\"]", rules),
        with("dedupe = { window = \"2h\" }", rules),
        with("dedupe = { offsets = 10 }", rules),
        with("shape = [\"flat\"]", rules),
        with("", rules).replace("type = \"e\"", "type = \"e\"\nversion = \"2\""),
        with("", rules).replace("type = \"e\"", "type = \"e\"\nrequired = [\"a\"]"),
        with("", rules).replace("type = \"e\"", "type = \"f\""),
        with("", &rules.replace("k:{a}", "k:{b}")),
        with("", &rules.replace("\"k:{a}\"", "\"k:{a}\", by = -1")),
        with("", &rules.replace("\"k:{a}\"", "\"k:{a}\", by = { field = \"c\" }")),
        with("", &rules.replace("\"k:{a}\"", "\"k:{a}\", by = { field = \"c\", scale = 3 }")),
        with("", &rules.replace("\"k:{a}\"", "\"k:{a}\", by = { field = \"c?\" }")),
        with("", &rules.replace("\"k:{a}\"", "\"k:{a}\", by = { field = \"c\", negate = true }")),
        with("", &rules.replace("\"u\"", "\"u\", per = \"ever\"")),
        with("", &rules.replace("\"u\"", "\"u\", retention = \"1d\"")),
        with("", &rules.replace("\"p\"", "\"p\", windows = [\"1h\"]")),
        with("", "{ unique = \"u\", of = \"{b}\" }, { count = \"k:{a}\" }, { top = \"p\", of = \"{b}\" }"),
    ] {
        let fingerprint = of(&other);
        assert!(!seen.contains(&fingerprint), "{other}");
        seen.push(fingerprint);
    }
}

#[test]
fn catalogues_are_found_by_name_file_and_folder() {
    let choice = |names: &[&str], path: Option<&std::path::Path>| CatalogChoice {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        path: path.map(Into::into),
    };
    let error = |names: &[&str]| Catalog::load(&choice(names, None)).unwrap_err().to_string();
    assert!(error(&["vidoe"]).contains("did you mean `video`?"));
    assert!(error(&["sales"]).contains("there are: video, commerce, social, creator, live"));
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(Catalog::load(&choice(&[], Some(folder.path()))), Err(CatalogError::FileCount { count: 0, .. })));
    assert!(matches!(Catalog::load(&choice(&[], Some(&folder.path().join("no")))), Err(CatalogError::Io { .. })));
    let own = folder.path().join("shop.toml");
    std::fs::write(&own, with("", "{ count = \"k:{a}\" }")).unwrap();
    std::fs::write(folder.path().join("notes.txt"), "no catalogue").unwrap();
    for path in [&own, folder.path()] {
        assert_eq!(Catalog::load(&choice(&[], Some(path))).unwrap().names, ["c"]);
        assert_eq!(Catalog::load(&choice(&["video"], Some(path))).unwrap().names, ["video", "c"]);
    }
    std::fs::write(&own, with("", "{ count = \"k:{a}\" }").replace("name = \"t\"", "name = \"video.views\"")).unwrap();
    let Err(CatalogError::Findings(findings)) = Catalog::load(&choice(&["video"], Some(&own))) else { panic!() };
    assert!(findings[0].message.contains("`video.views` of catalogue `c` is already in catalogue `video`"));
}
