//! A batch with another codec, as a broker keeps it whose topic says so (`compression.type`).

use super::{
    Batch, CodecError, Compression, HEADER_BYTES, LENGTH_PREFIX_BYTES, MAX_BATCH_BYTES, RecordError, Scratch,
    build::seal, codec::Compressor,
};

/// The bits of a batch's attributes that name its codec.
const CODEC_BITS: i16 = 0x07;

/// Appends the batch, its records compressed so. Records, times, offsets and producer stay as they are.
///
/// # Errors
/// The records cannot be decompressed, or are too large for a batch that way; `out` is as before then.
pub(in crate::log) fn recompress(batch: &Batch<'_>, to: Compression, out: &mut Vec<u8>) -> Result<(), RecordError> {
    let codec = |compression| {
        move |source: CodecError| RecordError::Codec { base_offset: batch.base_offset, compression, source }
    };
    let invalid = |reason| RecordError::Header { base_offset: batch.base_offset, reason };
    let from = batch.attributes.compression().ok_or_else(|| invalid("its codec is none that exists"))?;
    if from == to {
        out.extend_from_slice(batch.bytes);
        return Ok(());
    }
    let mut scratch = Scratch::default();
    let records = scratch.decompress(from, batch.payload()).map_err(codec(from))?;
    let at = out.len();
    out.extend_from_slice(&batch.bytes[..HEADER_BYTES]);
    let compressed = Compressor::default().compress(to, records, out).map_err(codec(to));
    let size_bytes = out.len() - at;
    let compressed = match compressed {
        Ok(()) if size_bytes > MAX_BATCH_BYTES => Err(codec(to)(CodecError::TooLarge)),
        other => other,
    };
    if compressed.is_err() {
        out.truncate(at);
        return compressed;
    }
    let new = &mut out[at..];
    let attributes = batch.attributes.0 & !CODEC_BITS | to.bits();
    new[8..12].copy_from_slice(&((size_bytes - LENGTH_PREFIX_BYTES) as i32).to_be_bytes());
    new[21..23].copy_from_slice(&attributes.to_be_bytes());
    seal(new);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::record::{BuildOptions, Builder, Producer};

    #[test]
    fn only_the_codec_changes() {
        let records: Vec<crate::log::OutRecord> = (0..50)
            .map(|n| crate::log::OutRecord {
                key: Some(format!("key {n}").into_bytes()),
                value: Some(vec![b'x'; 100]),
                headers: vec![("h".to_owned(), vec![1])],
                timestamp_ms: Some(1_000 + n),
            })
            .collect();
        let producer = Producer { id: 7, epoch: 1, base_sequence: 12 };
        for from in Compression::ALL {
            let mut built = Vec::new();
            let options = BuildOptions { compression: from, now_ms: 0, producer };
            Builder::default().build(&records, &options, &mut built).unwrap();
            let batch = Batch::read(&built).unwrap();
            for to in Compression::ALL {
                let mut out = b"before".to_vec();
                recompress(&batch, to, &mut out).unwrap();
                let new = Batch::read(&out[6..]).unwrap();
                new.check_crc().unwrap();
                assert_eq!(new.attributes.compression(), Some(to), "{from} to {to}");
                let (mut one, mut other) = (Scratch::default(), Scratch::default());
                let plain = one.decompress(from, batch.payload()).unwrap();
                assert_eq!(other.decompress(to, new.payload()).unwrap(), plain, "{from} to {to}");
                assert_eq!(Batch { attributes: batch.attributes, crc: batch.crc, bytes: batch.bytes, ..new }, batch);
            }
        }
        let mut damaged = Vec::new();
        let options = BuildOptions { compression: Compression::Gzip, now_ms: 0, producer };
        Builder::default().build(&records, &options, &mut damaged).unwrap();
        damaged[HEADER_BYTES] ^= 0xff;
        let mut out = b"before".to_vec();
        assert!(recompress(&Batch::read(&damaged).unwrap(), Compression::Lz4, &mut out).is_err());
        assert_eq!(out, b"before");
    }
}
