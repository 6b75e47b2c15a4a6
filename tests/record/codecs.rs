//! Decompression: each form that is in the wild, the cap, and what is refused.

use std::io::Write;

use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
use streamgauge::log::record::{CodecError, Compression, MAX_DECOMPRESSED_BYTES, Scratch};

/// Text that compresses somewhat, and repeats from far away.
fn text(size_bytes: usize) -> Vec<u8> {
    let mut state = 7_u32;
    let mut text = Vec::with_capacity(size_bytes + 40);
    while text.len() < size_bytes {
        state = state.wrapping_mul(1_103_515_245).wrapping_add(12_345);
        write!(text, "{{\"user\":\"{}\",\"n\":{}}}", state >> 20, state >> 9 & 0xff).unwrap();
    }
    text.truncate(size_bytes);
    text
}

fn lz4(info: FrameInfo, text: &[u8]) -> Vec<u8> {
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn gzip(text: &[u8], level: u32) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(level));
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn java_snappy(text: &[u8], block_bytes: usize) -> Vec<u8> {
    let mut out = b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01".to_vec();
    for block in text.chunks(block_bytes) {
        let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
        out.extend((block.len() as u32).to_be_bytes());
        out.extend(block);
    }
    out
}

/// As Java's producer: a stream, whose frame does not say its size.
fn zstd_stream(text: &[u8]) -> Vec<u8> {
    let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).unwrap();
    text.chunks(1_000).for_each(|part| encoder.write_all(part).unwrap());
    encoder.finish().unwrap()
}

/// Name, codec, and the text in that form.
fn forms(text: &[u8]) -> Vec<(String, Compression, Vec<u8>)> {
    let mut forms = vec![("none".to_owned(), Compression::None, text.to_vec())];
    let mut add = |name: String, compression, bytes| forms.push((name, compression, bytes));
    for (mode, mode_name) in [(BlockMode::Independent, "independent"), (BlockMode::Linked, "linked")] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for checksums in [false, true] {
                let info = FrameInfo::new().block_mode(mode).block_size(size);
                let info = info.content_checksum(checksums).block_checksums(checksums);
                let info = info.content_size(checksums.then_some(text.len() as u64));
                add(format!("lz4 {mode_name} {size:?} {checksums}"), Compression::Lz4, lz4(info, text));
            }
        }
    }
    let (head, tail) = text.split_at(text.len() / 3);
    let two =
        [lz4(FrameInfo::new(), head), vec![0x5a, 0x2a, 0x4d, 0x18, 2, 0, 0, 0, 1, 2], lz4(FrameInfo::new(), tail)];
    add("lz4, two frames and one to be skipped".to_owned(), Compression::Lz4, two.concat());
    for level in [0, 1, 6, 9] {
        add(format!("gzip {level}"), Compression::Gzip, gzip(text, level));
    }
    add("gzip, two members".to_owned(), Compression::Gzip, [gzip(head, 6), gzip(tail, 1)].concat());
    add("snappy raw".to_owned(), Compression::Snappy, snap::raw::Encoder::new().compress_vec(text).unwrap());
    add("snappy of Java".to_owned(), Compression::Snappy, java_snappy(text, 32 * 1024));
    add("snappy of Java, small blocks".to_owned(), Compression::Snappy, java_snappy(text, 100));
    add("zstd".to_owned(), Compression::Zstd, zstd::bulk::compress(text, 3).unwrap());
    add("zstd stream".to_owned(), Compression::Zstd, zstd_stream(text));
    let two = [zstd_stream(head), zstd::bulk::compress(tail, 1).unwrap()].concat();
    add("zstd, two frames".to_owned(), Compression::Zstd, two);
    forms
}

#[test]
fn every_form_is_read() {
    // One for all, so that each finds what others have left in the buffer.
    let mut scratch = Scratch::default();
    for size_bytes in [0, 1, 100, 65_535, 65_536, 65_537, 300_000, 5_000_000] {
        let text = text(size_bytes);
        for (name, compression, bytes) in forms(&text) {
            let read = scratch.decompress(compression, &bytes);
            assert!(read == Ok(&text[..]), "{name}, {size_bytes} bytes: {:?}", read.map(<[u8]>::len));
        }
    }
}

#[test]
fn what_is_cut_off_or_changed_is_an_error_or_other_text_but_never_a_panic() {
    let text = text(70_000);
    let mut scratch = Scratch::default();
    for (name, compression, bytes) in
        forms(&text).into_iter().filter(|(_, compression, _)| *compression != Compression::None)
    {
        for cut in (0..bytes.len()).step_by(997).chain(0..40).chain(bytes.len() - 12..bytes.len()) {
            let read = scratch.decompress(compression, &bytes[..cut]);
            // At a boundary of frames or blocks, less is valid; the batch's checksum and record count tell that.
            assert!(read.clone().is_err() || read.is_ok_and(|read| text.starts_with(read)), "{name} cut at {cut}");
            let mut changed = bytes.clone();
            changed[cut] ^= 0x41;
            let _ = scratch.decompress(compression, &changed);
        }
    }
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        for bytes in [&b""[..], b"no such thing", &[0; 64], &[0xff; 64]] {
            let read = scratch.decompress(compression, bytes);
            // Zeros are an empty snappy block with something behind it; zstd takes no bytes for no frames.
            assert!(read.is_err() || read == Ok(&[]), "{compression} {bytes:?}: {read:?}");
        }
    }
}

#[test]
fn bombs_stop_at_the_cap() {
    let zeros = vec![0; MAX_DECOMPRESSED_BYTES + 1];
    let linked = FrameInfo::new().block_mode(BlockMode::Linked).block_size(BlockSize::Max4MB);
    let mut scratch = Scratch::default();
    for (name, compression, bytes) in [
        ("gzip", Compression::Gzip, gzip(&zeros, 6)),
        ("snappy", Compression::Snappy, snap::raw::Encoder::new().compress_vec(&zeros).unwrap()),
        ("snappy of Java", Compression::Snappy, java_snappy(&zeros, 1 << 20)),
        ("lz4", Compression::Lz4, lz4(FrameInfo::new().block_size(BlockSize::Max64KB), &zeros)),
        ("lz4 linked", Compression::Lz4, lz4(linked, &zeros)),
        ("zstd", Compression::Zstd, zstd::bulk::compress(&zeros, 3).unwrap()),
        ("zstd stream", Compression::Zstd, zstd_stream(&zeros)),
    ] {
        assert_eq!(scratch.decompress(compression, &bytes), Err(CodecError::TooLarge), "{name}");
    }
}

#[test]
fn names_and_bits() {
    for (bits, (compression, name)) in
        Compression::ALL.into_iter().zip(["none", "gzip", "snappy", "lz4", "zstd"]).enumerate()
    {
        assert_eq!((compression.name(), compression.bits()), (name, bits as i16));
        assert_eq!(name.parse(), Ok(compression));
        assert_eq!(Compression::from_bits(bits as i16), Some(compression));
    }
    assert!("brotli".parse::<Compression>().is_err() && Compression::from_bits(5).is_none());
}
