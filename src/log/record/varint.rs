//! Numbers of variable length: zigzag, seven bits a byte, the lowest first.
//! See <https://protobuf.dev/programming-guides/encoding/#varints>.

/// Takes a number of at most 32 bits off the beginning; `None` where there is none.
#[inline(always)]
pub(super) fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    // Lengths and deltas of nearly every record take one or two bytes.
    match **bytes {
        [a, ref rest @ ..] if a < 0x80 => {
            *bytes = rest;
            Some(unzigzag(u64::from(a)) as i32)
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *bytes = rest;
            Some(unzigzag(u64::from(a & 0x7f) | u64::from(b) << 7) as i32)
        }
        _ => i32::try_from(take_long(bytes, 5)?).ok(),
    }
}

/// Takes a number of at most 64 bits off the beginning; `None` where there is none.
#[inline(always)]
pub(super) fn take_i64(bytes: &mut &[u8]) -> Option<i64> {
    match **bytes {
        [a, ref rest @ ..] if a < 0x80 => {
            *bytes = rest;
            Some(unzigzag(u64::from(a)))
        }
        [a, b, ref rest @ ..] if b < 0x80 => {
            *bytes = rest;
            Some(unzigzag(u64::from(a & 0x7f) | u64::from(b) << 7))
        }
        _ => take_long(bytes, 10),
    }
}

#[inline(never)]
fn take_long(bytes: &mut &[u8], most_bytes: usize) -> Option<i64> {
    let mut value = 0_u64;
    for (at, &byte) in bytes.iter().take(most_bytes).enumerate() {
        let bits = u64::from(byte & 0x7f);
        let shift = 7 * at as u32;
        if bits << shift >> shift != bits {
            return None;
        }
        value |= bits << shift;
        if byte < 0x80 {
            *bytes = &bytes[at + 1..];
            return Some(unzigzag(value));
        }
    }
    None
}

/// Appends a number.
pub(super) fn put(value: i64, out: &mut Vec<u8>) {
    let mut left = zigzag(value);
    while left >= 0x80 {
        out.push(left as u8 | 0x80);
        left >>= 7;
    }
    out.push(left as u8);
}

/// Bytes that [`put`] appends.
pub(super) fn size(value: i64) -> usize {
    let bits = 64 - (zigzag(value) | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

fn zigzag(value: i64) -> u64 {
    (value << 1 ^ value >> 63) as u64
}

#[inline(always)]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn known_numbers() {
        for (value, bytes) in [
            (0_i64, &[0_u8][..]),
            (-1, &[1]),
            (1, &[2]),
            (63, &[0x7e]),
            (-64, &[0x7f]),
            (64, &[0x80, 0x01]),
            (8191, &[0xfe, 0x7f]),
            (8192, &[0x80, 0x80, 0x01]),
            (i64::from(i32::MAX), &[0xfe, 0xff, 0xff, 0xff, 0x0f]),
            (i64::from(i32::MIN), &[0xff, 0xff, 0xff, 0xff, 0x0f]),
            (i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
        ] {
            let mut out = Vec::new();
            put(value, &mut out);
            assert_eq!(out, bytes, "{value}");
            assert_eq!(size(value), bytes.len(), "{value}");
        }
    }

    #[test]
    fn what_is_no_number() {
        for bytes in [&[][..], &[0x80], &[0xff, 0xff], &[0x80; 5], &[0xff, 0xff, 0xff, 0xff, 0x1f]] {
            assert_eq!(take_i32(&mut &*bytes), None, "{bytes:?}");
        }
        for bytes in [&[][..], &[0x80; 9], &[0xff; 10], &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]] {
            assert_eq!(take_i64(&mut &*bytes), None, "{bytes:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_put_is_taken(value in any::<i64>(), shift in 0_u32..64) {
            let value = value >> shift;
            let mut out = Vec::new();
            put(value, &mut out);
            out.push(7);
            let mut left = &out[..];
            prop_assert_eq!(take_i64(&mut left), Some(value));
            prop_assert_eq!(left, &[7]);
            let mut left = &out[..];
            prop_assert_eq!(take_i32(&mut left), i32::try_from(value).ok());
        }
    }
}
