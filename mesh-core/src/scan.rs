//! Looking for bytes in short texts, eight at a time.
//!
//! Every call scans its authority and its path; byte by byte that costs more than all look-ups of the
//! router together.

const ONES: u64 = 0x0101_0101_0101_0101;
const HIGHS: u64 = 0x8080_8080_8080_8080;

/// Where `a` or `b` stands first.
#[inline]
pub(crate) fn find_either(text: &[u8], a: u8, b: u8) -> Option<usize> {
    // A byte that is zero gives a high bit; only bits above a true one can be false.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGHS;
    let hits =
        |word: u64| zeros(word ^ (ONES * u64::from(a))) | zeros(word ^ (ONES * u64::from(b)));
    let first = |hits: u64| hits.trailing_zeros() as usize / 8;
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().position(|byte| *byte == a || *byte == b);
    };
    for (at, word) in text.as_chunks::<8>().0.iter().enumerate() {
        let hits = hits(u64::from_le_bytes(*word));
        if hits != 0 {
            return Some(at * 8 + first(hits));
        }
    }
    // The last eight, some of which were looked at already and are none.
    let hits = hits(u64::from_le_bytes(*last));
    (hits != 0).then(|| text.len() - 8 + first(hits))
}

/// Whether an ASCII capital letter stands anywhere.
#[inline]
pub(crate) fn has_capital(text: &[u8]) -> bool {
    let Some(last) = text.last_chunk::<8>() else {
        return text.iter().any(u8::is_ascii_uppercase);
    };
    let capitals = |word: &[u8; 8]| {
        let word = u64::from_le_bytes(*word);
        let low = word & !HIGHS;
        let from_a = low + ONES * u64::from(0x80 - b'A');
        let above_z = low + ONES * u64::from(0x7f - b'Z');
        from_a & !above_z & !word & HIGHS != 0
    };
    text.as_chunks::<8>().0.iter().any(capitals) || capitals(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn both_find_what_a_scan_finds(text in prop::collection::vec(any::<u8>(), 0..40)) {
            let naive = text.iter().position(|byte| matches!(byte, b'?' | b'#'));
            prop_assert_eq!(find_either(&text, b'?', b'#'), naive);
            prop_assert_eq!(has_capital(&text), text.iter().any(u8::is_ascii_uppercase));
        }

        #[test]
        fn dense_texts_are_found_in(text in "[?#@-\\[`a\u{80}]{0,30}") {
            let bytes = text.as_bytes();
            prop_assert_eq!(find_either(bytes, b'?', b'#'), text.find(['?', '#']));
            prop_assert_eq!(has_capital(bytes), bytes.iter().any(u8::is_ascii_uppercase));
        }
    }
}
