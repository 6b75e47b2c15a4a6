//! Short byte strings, such as ids, copied and compared as two numbers that overlap: a call for each would cost more than they do.

/// Copies between slices of one length.
#[inline]
pub(super) fn copy(to: &mut [u8], from: &[u8]) {
    fn ends<const N: usize>(to: &mut [u8], from: &[u8]) -> bool {
        if let (Some(first), Some(last)) = (from.first_chunk::<N>(), from.last_chunk::<N>())
            && from.len() <= 2 * N
        {
            if let Some(to) = to.first_chunk_mut::<N>() {
                *to = *first;
            }
            if let Some(to) = to.last_chunk_mut::<N>() {
                *to = *last;
            }
            return true;
        }
        false
    }
    if !ends::<8>(to, from) && !ends::<4>(to, from) && !ends::<2>(to, from) {
        to.copy_from_slice(from);
    }
}

/// What lies behind `begin` in `bytes`; `None` where they begin otherwise.
#[inline]
pub(super) fn behind<'a>(bytes: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    fn ends<const N: usize>(one: &[u8], other: &[u8]) -> Option<bool> {
        let ends = (one.first_chunk::<N>()?, one.last_chunk::<N>()?);
        let others = (other.first_chunk::<N>()?, other.last_chunk::<N>()?);
        (one.len() <= 2 * N).then(|| ends == others)
    }
    let (start, rest) = bytes.split_at_checked(begin.len())?;
    let are_alike = ends::<8>(start, begin).or_else(|| ends::<4>(start, begin)).or_else(|| ends::<2>(start, begin));
    are_alike.unwrap_or_else(|| start == begin).then_some(rest)
}

/// Whether they are the same.
#[inline]
pub(super) fn are_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && behind(one, other).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn are_copied_whole(from in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40)) {
            let mut to = vec![0; from.len()];
            copy(&mut to, &from);
            proptest::prop_assert_eq!(to, from);
        }

        #[test]
        fn begin_as_the_slices_say(bytes in "[ab]{0,6}a{0,14}", begin in "[ab]{0,6}a{0,14}") {
            let expected = bytes.strip_prefix(&begin).map(str::as_bytes);
            proptest::prop_assert_eq!(behind(bytes.as_bytes(), begin.as_bytes()), expected);
        }

        #[test]
        fn are_equal_as_the_slices_say(one in "[ab]{0,6}a{0,14}", other in "[ab]{0,6}a{0,14}") {
            for other in [&one, &other] {
                proptest::prop_assert_eq!(are_equal(one.as_bytes(), other.as_bytes()), &one == other);
            }
        }

        #[test]
        fn begin_with_what_they_begin_with(bytes in "[ab]{0,40}", length in 0_usize..41) {
            let (begin, rest) = bytes.as_bytes().split_at(length.min(bytes.len()));
            proptest::prop_assert_eq!(behind(bytes.as_bytes(), begin), Some(rest));
        }
    }
}
