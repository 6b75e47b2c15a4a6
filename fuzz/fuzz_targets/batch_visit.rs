//! Any bytes through everything that reads record batches. Checksums are not compared, or nothing would get past them.
//!
//! The first byte says whether the rest is taken as it is, or as the payload of a batch with a valid header and, in its low
//! bits, these attributes: that is how the codecs are reached.

#![no_main]

use std::cell::RefCell;

use libfuzzer_sys::fuzz_target;
use streamgauge::log::record::{AbortedFilter, AbortedTransaction, HEADER_BYTES, Scratch, batches};

const AS_IT_IS: u8 = 0x80;
/// Records that a made header announces, and offsets.
const RECORDS: i32 = 64;

thread_local! {
    // Kept, so that what one input leaves behind meets the next.
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

fuzz_target!(|data: &[u8]| {
    let Some((&first, rest)) = data.split_first() else { return };
    if first & AS_IT_IS != 0 {
        read(rest);
    } else {
        read(&with_header(first, rest));
    }
});

fn with_header(attributes: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; HEADER_BYTES];
    bytes[8..12].copy_from_slice(&((HEADER_BYTES - 12 + payload.len()) as i32).to_be_bytes());
    bytes[16] = 2;
    bytes[22] = attributes;
    bytes[23..27].copy_from_slice(&(RECORDS - 1).to_be_bytes());
    bytes[57..61].copy_from_slice(&RECORDS.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

fn read(bytes: &[u8]) {
    let mut filter = AbortedFilter::new(vec![AbortedTransaction { producer_id: 0, first_offset: 0 }]);
    for batch in batches(bytes) {
        let Ok(batch) = batch else { return };
        let _ = batch.check_crc();
        let _ = filter.is_aborted(&batch);
        let _ = batch.marker();
        let mut expected = batch.base_offset..batch.next_offset();
        let mut records = 0;
        let _ = SCRATCH.with_borrow_mut(|scratch| {
            batch.visit(0, scratch, &mut |record| {
                assert!(expected.contains(&record.offset), "{} is not in {expected:?}", record.offset);
                expected.start = record.offset + 1;
                records += 1;
            })
        });
        assert!(records <= batch.record_count);
    }
}
