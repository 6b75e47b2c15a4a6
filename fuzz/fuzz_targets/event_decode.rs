//! Any bytes as a record's value: what `serde_json` accepts as JSON the decoder must accept as well-formed, and the other way
//! round.

#![no_main]

use std::{cell::RefCell, sync::Arc};

use libfuzzer_sys::fuzz_target;
use serde::de::IgnoredAny;
use streamgauge::{
    catalog::{
        CatalogChoice,
        plan::{Catalog, Topic},
    },
    core::{
        event::{Layout, Scratch, decode},
        reason::Reason,
    },
    log::RecordRef,
};

struct Decoder {
    topics: Vec<(Arc<Topic>, Layout)>,
    scratch: Scratch,
}

thread_local! {
    static DECODER: RefCell<Decoder> = RefCell::new(decoder());
}

fn decoder() -> Decoder {
    let catalog = Catalog::load(&CatalogChoice::default()).expect("the built-in catalogue");
    let topics = catalog.topics.iter().map(|topic| (Arc::clone(topic), Layout::new(topic))).collect();
    Decoder { topics, scratch: Scratch::default() }
}

fuzz_target!(|data: &[u8]| {
    // Skipped and not built, as the decoder does: a number may fit no type, escapes need not pair up, nesting has no limit.
    let is_json = str::from_utf8(data).is_ok_and(|text| serde_json::from_str::<IgnoredAny>(text).is_ok());
    DECODER.with_borrow_mut(|Decoder { topics, scratch }| {
        for (topic, layout) in topics {
            let record =
                RecordRef { offset: 0, timestamp_ms: 1_700_000_000_000, key: None, value: Some(data), headers: &[] };
            let refused = matches!(decode(topic, layout, scratch, data, &record), Err(Reason::NotJson(_)));
            assert_eq!(refused, !is_json, "{:?}", String::from_utf8_lossy(data));
        }
    });
});
