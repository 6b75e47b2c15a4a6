//! Notes as a table: which one decides, and what says nothing.

use super::*;
use crate::log::OutRecord;

const A: Fingerprint = Fingerprint(0xa);
const B: Fingerprint = Fingerprint(0xb);
const C: Fingerprint = Fingerprint(0xc);

fn scope() -> Scope {
    Scope { prefix: "p\":".to_owned(), group: "g".to_owned(), shards: 3 }
}

fn t() -> TopicPartition {
    TopicPartition::new("t", 1)
}

fn table(entries: &[(Fingerprint, i64)]) -> Switches {
    Switches(entries.iter().map(|(fingerprint, from)| Switch { fingerprint: *fingerprint, from: *from }).collect())
}

/// The note of the last entry of a table.
fn last(entries: &[(Fingerprint, i64)]) -> Note {
    Noted::default().missing(&t(), &table(entries)).pop().unwrap()
}

fn read(notes: &[(Scope, Note)]) -> Register {
    let mut register = Register::default();
    for (written_by, note) in notes {
        let OutRecord { key, value, .. } = note.record(written_by, None);
        register.take_in(&scope(), key.as_deref(), value.as_deref()).unwrap();
    }
    register
}

fn of_us(notes: &[Note]) -> Register {
    read(&notes.iter().map(|note| (scope(), note.clone())).collect::<Vec<_>>())
}

#[test]
fn the_first_note_of_a_thing_decides() {
    const TOLD: &[(Fingerprint, i64)] = &[(A, 0), (B, UNKNOWN)];
    const BOTH: &[(Fingerprint, i64)] = &[(A, 0), (B, 100)];
    let first = last(&[(A, 0)]);
    for (notes, expected) in [
        (vec![], &[][..]),
        (vec![first.clone(), last(&[(B, 0)])], &[(A, 0)]),
        (vec![first.clone(), last(TOLD), last(&[(A, 0), (C, UNKNOWN)])], TOLD),
        (vec![first.clone(), last(TOLD), last(BOTH), last(&[(A, 0), (B, 120)])], BOTH),
        // Late: it was announced before what stands there now.
        (vec![first.clone(), last(BOTH), last(&[(A, 0), (C, UNKNOWN)]), last(TOLD)], BOTH),
        // Made for another table.
        (vec![first.clone(), last(BOTH), last(&[(A, 0), (C, 90), (A, 100)])], BOTH),
        (vec![first.clone(), last(BOTH), last(&[(A, 0), (C, 90), (A, UNKNOWN)])], BOTH),
        (vec![last(BOTH), first.clone()], &[(A, 0)]),
        // Going back in the log means nothing.
        (vec![first.clone(), last(BOTH), last(&[(A, 0), (B, 100), (C, 99)])], BOTH),
        (vec![first.clone(), last(BOTH), last(&[(A, 0), (B, 100), (C, 100)])], &[(A, 0), (B, 100), (C, 100)]),
    ] {
        assert_eq!(of_us(&notes).noted(&t(), None).switches(), table(expected), "{notes:?}");
    }
    let origins = of_us(&[Note::Origin(t(), 7), Note::Origin(t(), 9)]);
    assert_eq!(origins.noted(&t(), None).origin, Some(7));
    assert_eq!(origins.begun().count(), 0, "nothing was counted yet");
    let texts = of_us(&[Note::Text(A, "one".into()), Note::Text(A, "two".into())]);
    assert_eq!(texts.text(A).map(|text| &**text), Some("one"));
    assert_eq!(texts.without_text(&[last(BOTH), last(&[(A, 0)])]), [B].into());
}

#[test]
fn what_is_missing_makes_any_table_out_of_its_beginning() {
    let whole = table(&[(A, 0), (B, 100), (A, 100), (C, UNKNOWN)]);
    for length in 0..=whole.0.len() {
        let begun = Noted::default().missing(&t(), &Switches(whole.0[..length].to_vec()));
        let mut notes = begun.clone();
        notes.extend(of_us(&begun).noted(&t(), None).missing(&t(), &whole));
        let register = of_us(&notes);
        assert_eq!(register.noted(&t(), None).switches(), whole, "from {length} on");
        assert_eq!(register.begun().collect::<Vec<_>>(), [&t()]);
        assert!(register.noted(&t(), None).missing(&t(), &table(&[(B, 0), (C, 1), (A, 2), (A, 3)])).is_empty());
    }
}

#[test]
fn a_recount_is_noted_of_an_entry_that_stands() {
    let both = Noted::default().missing(&t(), &table(&[(A, 0), (B, 100)]));
    let recounted = |entry| Note::Recounted(t(), entry);
    for (notes, expected) in [
        (vec![recounted(1)], 0),
        ([both.clone(), vec![recounted(2)]].concat(), 0),
        ([both.clone(), vec![recounted(1), recounted(0)]].concat(), 1),
    ] {
        assert_eq!(of_us(&notes).noted(&t(), None).recounted, expected, "{notes:?}");
    }
}

#[test]
fn notes_of_others_are_passed_over_and_origins_outlive_the_number_of_shards() {
    let written_by = |prefix: &str, group: &str, shards| Scope { prefix: prefix.into(), group: group.into(), shards };
    let own = scope();
    for (other, origin) in [
        (written_by("other:", &own.group, own.shards), None),
        (written_by(&own.prefix, "other", own.shards), None),
        (written_by(&own.prefix, &own.group, 4), Some(7)),
    ] {
        let register = read(&[(other.clone(), Note::Origin(t(), 7)), (other, last(&[(A, 0)]))]);
        assert_eq!(register.noted(&t(), None), Noted { origin, ..Noted::default() });
    }
}

#[test]
fn a_topic_that_is_made_again_is_another() {
    let (former, now) = (Some(Uuid::from_u128(1)), Some(Uuid::from_u128(2)));
    let mut register = Register::default();
    let mut add = |note: Note, topic_id| {
        let OutRecord { key, value, .. } = note.record(&scope(), topic_id);
        register.take_in(&scope(), key.as_deref(), value.as_deref()).unwrap();
        [register.noted(&t(), former).origin, register.noted(&t(), now).origin, register.noted(&t(), None).origin]
    };
    // Noted before the broker told ids; then of the topic that it had, then of another one.
    assert_eq!(add(Note::Origin(t(), 7), None), [Some(7); 3]);
    assert_eq!(add(last(&[(A, 0)]), former), [Some(7), None, Some(7)]);
    assert_eq!(add(Note::Origin(t(), 0), now), [None, Some(0), Some(0)]);
    assert!(!register.noted(&t(), now).has_begun());
}

#[test]
fn what_cannot_be_read_says_nothing() {
    let about = Note::Origin(t(), 7).record(&scope(), None).key;
    let texts = Note::Text(A, "".into()).record(&scope(), None).key;
    let value = |text: &str| Some(text.as_bytes().to_vec());
    for (key, value) in [
        (None, value("{}")),
        (value("{}"), value("{}")),
        (value("[]"), value("{}")),
        (about.clone(), None),
        (about.clone(), value("")),
        (about.clone(), value(r#"{"note":"later","offset":1}"#)),
        (about.clone(), value(r#"{"note":"switch","shards":3,"entry":0,"rules":"x","from":0,"after":"0"}"#)),
        (about.clone(), value(r#"{"note":"announced","shards":3,"entry":0,"rules":"a","after":"x"}"#)),
        (value(r#"{"prefix":"p\":","group":"g"}"#), value("{}")),
        (value(r#"{"prefix":"p\":","group":"g","rules":"x"}"#), value("text")),
        (texts.clone(), Some(vec![0xff])),
    ] {
        let mut register = of_us(&[last(&[(A, 0)])]);
        let before = register.clone();
        assert_eq!(register.take_in(&scope(), key.as_deref(), value.as_deref()), Err(NotNoted::Unreadable));
        assert_eq!(register, before);
    }
    let mut register = Register::default();
    let large = vec![b'x'; MAX_TEXT_BYTES + 1];
    assert_eq!(register.take_in(&scope(), texts.as_deref(), Some(&large)), Err(NotNoted::Full));
}
