//! Ten thousand malformed and hostile events: none stops anything, each counts or is a dead letter for the right reason, and no
//! two different ids ever share a key.

use std::{collections::HashMap, sync::Arc};

use streamgauge::{
    catalog::{self, Source},
    core::{
        batch::{Batch, Purpose},
        decode::Decoded,
        dedupe::{IdentitySecret, SECRET_BYTES},
        worker::Worker,
    },
    model::{Delta, TopicPartition},
};

use crate::support::{
    blocks::block,
    events::Random,
    hostile::{CATALOG, Expected, Hostile, hostile},
    oracle::Record,
};

const EVENTS: usize = 10_000;
#[test]
fn hostile_events_count_or_are_dead_letters_and_never_share_a_key() {
    let seed = std::env::var("CORE_SEED").map_or(7, |seed| seed.parse().expect("CORE_SEED is a number"));
    let mut random = Random::new(seed ^ 0x0bad);
    let catalog = catalog::compile(&[Source { file: "c.toml".to_owned(), text: CATALOG.to_owned() }]).unwrap();
    let topic = Arc::clone(&catalog.topics[0]);
    let secret = Arc::new(IdentitySecret([7; SECRET_BYTES]));
    let mut worker = Worker::new(topic, TopicPartition::new("t", 0), "g".into(), secret, 0, 1);
    let mut decoded = Decoded::default();
    let mut ids_of: HashMap<Box<str>, (String, String)> = HashMap::new();
    let (mut counted, mut dead) = (0, HashMap::new());
    for offset in 0..EVENTS as i64 {
        let Hostile { value, headers, expected } = hostile(&mut random);
        let shown = String::from_utf8_lossy(&value).chars().take(300).collect::<String>();
        let record = Record { offset, timestamp_ms: 1_700_000_000_000, key: None, value: Some(value), headers };
        let batches = worker.step(&block(&[record], offset + 1, offset + 1), &mut decoded).unwrap();
        match (outcome(&batches), expected) {
            (Ok(key), Expected::Counts(a, b)) => {
                counted += 1;
                let ids = ids_of.entry(key.clone()).or_insert_with(|| (a.clone(), b.clone()));
                assert_eq!(*ids, (a, b), "seed {seed}: two ids share the key {key}: {shown}");
                assert_eq!(ids_in(&key), *ids, "seed {seed}: {key}");
            }
            (Err(reason), Expected::Dead(wanted)) => {
                assert_eq!(reason, wanted, "seed {seed}, offset {offset}: {shown}");
                *dead.entry(reason).or_insert(0) += 1;
            }
            (_, Expected::Either) => {}
            (Ok(key), Expected::Dead(wanted)) => panic!("seed {seed}: {key} counted, not {wanted}: {shown}"),
            (Err(reason), Expected::Counts(..)) => panic!("seed {seed}: {reason}, not counted: {shown}"),
        }
    }
    eprintln!("{counted} counted under {} keys; dead letters: {dead:?}", ids_of.len());
    let reasons = [
        "not-json",
        "no-shape",
        "unknown-type",
        "missing-field",
        "bad-field",
        "bad-amount",
        "bad-time",
        "key-too-long",
    ];
    for reason in reasons {
        assert!(dead.contains_key(reason), "no event was a dead letter for {reason}");
    }
}

/// The one key that the record counted under, or the one reason why it is a dead letter.
fn outcome(batches: &[Batch]) -> Result<Box<str>, &'static str> {
    let deltas: Vec<_> = batches.iter().flat_map(|batch| &batch.deltas).collect();
    let sent: Vec<_> = batches.iter().flat_map(|batch| &batch.outgoing).collect();
    match (&deltas[..], &sent[..]) {
        ([(key, Delta::Count(_))], []) => Ok(key.name.clone()),
        ([], [letter]) => match &letter.purpose {
            Purpose::DeadLetter(reason) => Err(reason.code()),
            other => panic!("{other:?}"),
        },
        other => panic!("neither one key nor one dead letter: {other:?}"),
    }
}

/// The ids that a key was made of, read back: a colon always separates, the rest is percent-decoded.
fn ids_in(key: &str) -> (String, String) {
    let parts: Vec<String> = key.split(':').map(decoded_text).collect();
    let [k, a, b, n] = &parts[..] else { panic!("{key} has {} parts", parts.len()) };
    assert_eq!((&**k, &**n), ("k", "n"));
    (a.clone(), b.clone())
}

fn decoded_text(text: &str) -> String {
    let mut pieces = text.split('%');
    let mut bytes = pieces.next().unwrap().as_bytes().to_vec();
    for piece in pieces {
        bytes.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        bytes.extend(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).unwrap()
}
