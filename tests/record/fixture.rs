//! Batches made by hand, byte by byte, and records that outlive them.

use streamgauge::log::record::{Batch, HEADER_BYTES, RecordError, Scratch};

/// A record with its bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owned {
    pub offset: i64,
    pub timestamp_ms: i64,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// What a visit sees.
pub fn visited(batch: &Batch<'_>, from_offset: i64) -> Result<Vec<Owned>, RecordError> {
    let mut seen = Vec::new();
    batch.visit(from_offset, &mut Scratch::default(), &mut |record| {
        seen.push(Owned {
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key.map(<[u8]>::to_vec),
            value: record.value.map(<[u8]>::to_vec),
            headers: record.headers.iter().map(|(name, value)| (name.to_vec(), value.map(<[u8]>::to_vec))).collect(),
        });
    })?;
    Ok(seen)
}

/// A batch to be written, as its header says it.
#[derive(Clone, Debug)]
pub struct Draft {
    pub base_offset: i64,
    pub magic: u8,
    pub attributes: i16,
    pub last_offset_delta: i32,
    pub base_timestamp_ms: i64,
    pub max_timestamp_ms: i64,
    pub producer_id: i64,
    pub record_count: i32,
    pub payload: Vec<u8>,
}

impl Default for Draft {
    fn default() -> Self {
        Self {
            base_offset: 100,
            magic: 2,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp_ms: 1_000,
            max_timestamp_ms: 5_000,
            producer_id: -1,
            record_count: 0,
            payload: Vec::new(),
        }
    }
}

impl Draft {
    /// A batch of these records, one offset after the other.
    pub fn of(records: &[Vec<u8>]) -> Self {
        let count = records.len() as i32;
        Self { last_offset_delta: count - 1, record_count: count, payload: records.concat(), ..Self::default() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend(self.base_offset.to_be_bytes());
        bytes.extend(((HEADER_BYTES - 12 + self.payload.len()) as i32).to_be_bytes());
        bytes.extend(7_i32.to_be_bytes());
        bytes.push(self.magic);
        bytes.extend([0; 4]);
        bytes.extend(self.attributes.to_be_bytes());
        bytes.extend(self.last_offset_delta.to_be_bytes());
        bytes.extend(self.base_timestamp_ms.to_be_bytes());
        bytes.extend(self.max_timestamp_ms.to_be_bytes());
        bytes.extend(self.producer_id.to_be_bytes());
        bytes.extend(3_i16.to_be_bytes());
        bytes.extend(9_i32.to_be_bytes());
        bytes.extend(self.record_count.to_be_bytes());
        assert_eq!(bytes.len(), HEADER_BYTES);
        bytes.extend(&self.payload);
        let crc = crc32c::crc32c(&bytes[21..]);
        bytes[17..21].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

/// A number of variable length, written the slow way.
pub fn varint(value: i64) -> Vec<u8> {
    let mut left = (value.wrapping_mul(2) ^ if value < 0 { -1 } else { 0 }) as u64;
    let mut bytes = Vec::new();
    loop {
        let low = (left % 128) as u8;
        left /= 128;
        if left == 0 {
            bytes.push(low);
            return bytes;
        }
        bytes.push(low + 128);
    }
}

fn sized(bytes: Option<&[u8]>) -> Vec<u8> {
    match bytes {
        Some(bytes) => [varint(bytes.len() as i64), bytes.to_vec()].concat(),
        None => varint(-1),
    }
}

/// A record as laid out.
pub fn record(
    time_delta: i64,
    offset_delta: i64,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[(&[u8], Option<&[u8]>)],
) -> Vec<u8> {
    let mut body = vec![0];
    body.extend(varint(time_delta));
    body.extend(varint(offset_delta));
    body.extend(sized(key));
    body.extend(sized(value));
    body.extend(varint(headers.len() as i64));
    for (name, value) in headers {
        body.extend(sized(Some(name)));
        body.extend(sized(*value));
    }
    [varint(body.len() as i64), body].concat()
}

/// A record with a value only.
pub fn simple(offset_delta: i64, value: &[u8]) -> Vec<u8> {
    record(offset_delta * 10, offset_delta, None, Some(value), &[])
}
