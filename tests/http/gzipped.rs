//! Bodies that are compressed.

const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

/// A gzip member that holds `data` as it is, in one stored block (RFC 1951, 3.2.4; RFC 1952).
pub fn gzip(data: &[u8]) -> Vec<u8> {
    let length = u16::try_from(data.len()).unwrap();
    let mut out = [&GZIP_HEADER[..], &[1], &length.to_le_bytes(), &(!length).to_le_bytes(), data].concat();
    let crc = data.iter().fold(!0_u32, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    out.extend((!crc).to_le_bytes());
    out.extend(u32::from(length).to_le_bytes());
    out
}

/// A gzip member of blanks that never ends properly: one literal, then `repeats` copies of 258 bytes at distance 1, each 13
/// bits (RFC 1951, 3.2.6: fixed codes, most significant bit first).
pub fn gzip_bomb(repeats: usize) -> Vec<u8> {
    let mut bits: Vec<bool> = vec![true, true, false];
    let push =
        |bits: &mut Vec<bool>, code: u16, width: u32| bits.extend((0..width).rev().map(|bit| code >> bit & 1 == 1));
    push(&mut bits, 0x30 + u16::from(b' '), 8);
    for _ in 0..repeats {
        push(&mut bits, 0b1100_0101, 8);
        push(&mut bits, 0, 5);
    }
    let bytes = bits.chunks(8).map(|byte| byte.iter().rev().fold(0, |sum, bit| sum << 1 | u8::from(*bit)));
    GZIP_HEADER.into_iter().chain(bytes).collect()
}
