//! What lies in the log, folded once, to hold the store against.

// A test may stop at what it did not expect; clippy's own leave covers functions marked as tests only.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::{collections::BTreeSet, fmt, time::Instant};

use streamgauge::catalog::plan::Catalog;

use crate::{
    place::Place,
    support::{
        oracle::{Results, fold},
        results::{self, Partitions},
    },
};

/// The log and its fold.
pub struct Ledger {
    catalog: Catalog,
    events: Partitions,
    expected: Results,
}

impl Ledger {
    /// Reads the log, which holds exactly what was published.
    pub async fn read(place: &Place, published: usize) -> Self {
        let (catalog, began) = (place.catalog(), Instant::now());
        let events = results::read_events(&place.log(), &catalog).await;
        let read = began.elapsed();
        assert_eq!(results::count(&events), published, "records in the log");
        let expected = fold(&catalog, &events);
        eprintln!("the log was read in {read:.1?} and folded in {:.1?}", began.elapsed() - read);
        Self { catalog, events, expected }
    }

    /// Every key of every rule equals the fold, no other key is there, and every dead letter and forward was sent.
    pub async fn assert_stored(&self, place: &Place) {
        results::assert_stored(&place.store(), &place.reference(), &self.expected).await;
        place.assert_keys(&self.expected);
        let log = place.log();
        let letters = results::dead_letters(&log, &self.events).await;
        assert_eq!(letters, results::expected_letters(&self.expected));
        let targets = self.catalog.topics.iter().flat_map(|topic| topic.forward_targets().map(str::to_owned));
        let targets: BTreeSet<String> = targets.collect();
        let (sent, expected) = (results::forwards(&log, &targets).await, results::expected_forwards(&self.expected));
        assert_eq!(expected.difference(&sent).count(), 0, "forwards are missing");
        assert_eq!(sent.difference(&expected).count(), 0, "forwards of nothing");
    }
}

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Results { counters, uniques, recents, tops, sets, dead, forwards, duplicates, counted, .. } =
            &self.expected;
        let keys = counters.len() + uniques.len() + recents.len() + tops.len() + sets.len();
        write!(f, "{} records: {counted} counted, {duplicates} duplicates, ", results::count(&self.events))?;
        write!(f, "{} dead letters, {} forwards; {keys} keys equal the fold", dead.len(), forwards.len())
    }
}
