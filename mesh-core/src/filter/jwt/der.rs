//! The little DER that keys and signatures need (X.690; RFC 8017 appendix A.1.1, RFC 3279 §2.2.3).

const INTEGER: u8 = 0x02;
const SEQUENCE: u8 = 0x30;

/// The `RSAPublicKey` of a modulus and an exponent.
pub(super) fn rsa_public_key(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    sequence(&[modulus, exponent])
}

/// The `Ecdsa-Sig-Value` of a signature whose halves have `half` bytes each (RFC 7518 §3.4); `None`: it
/// has another length.
pub(super) fn ecdsa_signature(signature: &[u8], half: usize) -> Option<Vec<u8>> {
    (signature.len() == 2 * half).then(|| {
        let (r, s) = signature.split_at(half);
        sequence(&[r, s])
    })
}

/// A sequence of unsigned numbers, big end first.
fn sequence(numbers: &[&[u8]]) -> Vec<u8> {
    let mut content = Vec::new();
    for number in numbers {
        let zeros = number.iter().take_while(|byte| **byte == 0).count();
        let digits = number.get(zeros..).unwrap_or_default();
        // A first bit that is set would be a sign; zero is one byte.
        let pad = digits.first().is_none_or(|first| *first >= 0x80);
        content.push(INTEGER);
        length(&mut content, digits.len() + usize::from(pad));
        content.extend(pad.then_some(0));
        content.extend_from_slice(digits);
    }
    let mut whole = vec![SEQUENCE];
    length(&mut whole, content.len());
    whole.extend_from_slice(&content);
    whole
}

fn length(out: &mut Vec<u8>, length: usize) {
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => out.push(short),
        _ => {
            let bytes = length.to_be_bytes();
            let digits = bytes.iter().skip_while(|byte| **byte == 0);
            // At most the eight bytes of a `usize`.
            out.push(0x80 | u8::try_from(digits.clone().count()).unwrap_or_default());
            out.extend(digits);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(numbers: &[&[u8]], expected: &[u8]) {
        assert_eq!(sequence(numbers), expected);
    }

    #[test]
    fn numbers_are_shortest_and_positive() {
        check(&[&[0, 0, 1], &[0x80]], &[0x30, 7, 2, 1, 1, 2, 2, 0, 0x80]);
        check(&[&[0, 0], &[]], &[0x30, 6, 2, 1, 0, 2, 1, 0]);
        let long = [0x7f; 200];
        let mut expected = vec![0x30, 0x81, 203, 2, 0x81, 200];
        expected.extend(long);
        check(&[&long], &expected);
        assert_eq!(&sequence(&[&[1; 300]])[..8], &[0x30, 0x82, 1, 48, 2, 0x82, 1, 44]);
    }

    #[test]
    fn halves_have_their_length() {
        assert_eq!(ecdsa_signature(&[1, 2], 1), Some(vec![0x30, 6, 2, 1, 1, 2, 1, 2]));
        assert_eq!(ecdsa_signature(&[1, 2, 3], 1), None);
    }
}
