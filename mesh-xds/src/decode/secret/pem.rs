//! Whether PEM can be read: as much as is seen without a reader of X.509. Pure.
//!
//! It is never stricter than who reads it for a connection: of several parts all must be base64 (RFC 7468), and
//! one must be whole DER.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

/// As a reader of PEM has it: padding and the bits behind the last byte do not matter.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Looks at the parts that have such a label.
///
/// # Errors
/// `missing`: there is none. Or what is wrong; nothing of the text is in it.
pub(super) fn check(
    text: &str,
    is_label: fn(&str) -> bool,
    missing: &'static str,
) -> Result<(), &'static str> {
    let parts = text.split("-----BEGIN ").skip(1);
    let parts = parts.filter_map(|part| part.split_once("-----"));
    let (mut found, mut whole) = (false, false);
    for (_, body) in parts.filter(|(label, _)| is_label(label)) {
        let (body, _) = body
            .split_once("-----END ")
            .ok_or("broken PEM: a part has no `-----END`, it was cut off")?;
        let body: String = body.split_ascii_whitespace().collect();
        let der = BASE64.decode(body);
        let der =
            der.map_err(|_invalid| "broken PEM: something between `BEGIN` and `END` is no base64")?;
        (found, whole) = (true, whole || is_whole(&der));
    }
    match (found, whole) {
        (false, _) => Err(missing),
        (true, false) => Err("what is in its PEM is cut off, or no DER"),
        (true, true) => Ok(()),
    }
}

/// Whether it is one SEQUENCE, as certificates, lists and keys are, with as many bytes as it says (X.690 section
/// 8.1.3).
fn is_whole(der: &[u8]) -> bool {
    const SEQUENCE: u8 = 0x30;
    let Some((&SEQUENCE, [first, rest @ ..])) = der.split_first() else { return false };
    let more = usize::from(first & 0x7f);
    match first & 0x80 {
        0 => rest.len() == more,
        _ => rest.split_at_checked(more).is_some_and(|(length, content)| {
            let length = length.iter().try_fold(0_usize, |sum, byte| {
                sum.checked_mul(256)?.checked_add(usize::from(*byte))
            });
            more > 0 && length == Some(content.len())
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MISSING: &str = "missing";

    #[track_caller]
    fn check_parts(text: &str, expected: Result<(), &str>) {
        let found = check(text, |label| label == "A", MISSING);
        match expected {
            Ok(()) => assert_eq!(found, Ok(()), "{text}"),
            Err(part) => assert!(found.unwrap_err().contains(part), "{text}: {found:?}"),
        }
    }

    #[test]
    fn what_is_seen_of_pem() {
        let part = |body: &str| format!("-----BEGIN A-----\n{body}\n-----END A-----\n");
        let other = "-----BEGIN B-----\n!\n";
        // An empty SEQUENCE; without its padding; in several lines; with bits behind its end.
        for body in ["MAA=", "MAA", "M\r\n A\nA=", "MAB="] {
            check_parts(&part(body), Ok(()));
        }
        check_parts(&format!("text {other}{}{other}", part("MAA=")), Ok(()));
        check_parts(&(part("MQA=") + &part("MAA=")), Ok(()));
        for none in ["", "MAA=", other, "-----BEGIN A"] {
            check_parts(none, Err(MISSING));
        }
        check_parts("-----BEGIN A-----\nMAA=\n", Err("was cut off"));
        check_parts(&(part("MAA=") + "-----BEGIN A-----\nMA"), Err("was cut off"));
        check_parts(&(part("MAA=") + &part("M!A=")), Err("no base64"));
        for body in ["", "MA==", "MQA=", "MAE=", "MAAA"] {
            check_parts(&part(body), Err("no DER"));
        }
    }

    #[test]
    fn lengths_of_der() {
        let of = |head: &[u8], content| [head, &vec![0; content]].concat();
        let whole = [of(&[0x30, 0x7f], 127), of(&[0x30, 0x81, 0x80], 128)];
        assert!(whole.iter().all(|der| is_whole(der)));
        assert!(is_whole(&of(&[0x30, 0x82, 1, 0], 256)));
        for (head, content) in [
            (&[0x30][..], 0),
            (&[0x30, 0x80], 0),
            (&[0x30, 0x82, 1], 0),
            (&[0x30, 0x82, 1, 0], 255),
            (&[0x30, 0x82, 1, 0], 257),
            (&[0x30, 0x89, 1, 0, 0, 0, 0, 0, 0, 0, 0], 0),
            (&[0x30, 0xff], 0),
        ] {
            assert!(!is_whole(&of(head, content)), "{head:?}");
        }
    }
}
