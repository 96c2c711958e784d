//! Scalars of a text → values of a field's kind, by the rules of protobuf's JSON mapping.
//!
//! - Whole numbers may be in quotes, and may be written with a fraction of zero (`1e3`, `5.0`).
//! - An enumeration's value is its name, or its number.
//! - Bytes are base64, of either alphabet, with or without `=`.
//! - A text field takes a scalar as it is written: `name: 80` is the text `80`, as in `mesh.yaml`.

use super::wire::Value;
use base64::Engine as _;
use base64::alphabet;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use mesh_core::config::foreign::shorten;
use prost_reflect::{EnumDescriptor, Kind};

/// Why a scalar is none of the kind that its field has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mismatch {
    /// The code of the diagnostic.
    pub(super) code: &'static str,
    /// What is wrong.
    pub(super) message: String,
    /// A word that is close to none of these.
    pub(super) words: Vec<String>,
}

impl Mismatch {
    pub(super) fn new(code: &'static str, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), words: Vec::new() }
    }

    fn expected(what: &str, text: &str) -> Self {
        Self::new("wrong_type", format!("expected {what}, found `{}`", shorten(text)))
    }
}

/// A scalar as a value of `kind`, which is no message. `plain`: it is written without quotes.
pub(super) fn value(kind: &Kind, text: &str, plain: bool) -> Result<Value, Mismatch> {
    match kind {
        Kind::String => Ok(Value::bytes(text)),
        Kind::Bytes => bytes(text).map(Value::bytes),
        Kind::Bool => match (text, plain) {
            ("true", true) => Ok(Value::varint(1)),
            ("false", true) => Ok(Value::varint(0)),
            _ => Err(Mismatch::expected("`true` or `false`", text)),
        },
        Kind::Enum(words) => enumeration(words, text),
        Kind::Double => real(text).map(|number| Value::fixed64(number.to_bits())),
        Kind::Float => real(text).map(|number| Value::fixed32((number as f32).to_bits())),
        Kind::Uint32 | Kind::Fixed32 => {
            let number = whole(text, 0, u32::MAX.into())? as u32;
            let fixed = matches!(kind, Kind::Fixed32);
            Ok(if fixed { Value::fixed32(number) } else { Value::varint(number.into()) })
        }
        Kind::Uint64 | Kind::Fixed64 => {
            let number = whole(text, 0, u64::MAX.into())? as u64;
            let fixed = matches!(kind, Kind::Fixed64);
            Ok(if fixed { Value::fixed64(number) } else { Value::varint(number) })
        }
        Kind::Int32 | Kind::Sint32 | Kind::Sfixed32 => {
            let number = whole(text, i32::MIN.into(), i32::MAX.into())? as i32;
            Ok(match kind {
                Kind::Sint32 => Value::varint(((number << 1) ^ (number >> 31)) as u32 as u64),
                Kind::Sfixed32 => Value::fixed32(number as u32),
                // Negative numbers take ten bytes, as if they were of 64 bits.
                _ => Value::varint(i64::from(number) as u64),
            })
        }
        Kind::Int64 | Kind::Sint64 | Kind::Sfixed64 => {
            let number = whole(text, i64::MIN.into(), i64::MAX.into())? as i64;
            Ok(match kind {
                Kind::Sint64 => Value::varint(((number << 1) ^ (number >> 63)) as u64),
                Kind::Sfixed64 => Value::fixed64(number as u64),
                _ => Value::varint(number as u64),
            })
        }
        Kind::Message(_) => Err(Mismatch::expected("a mapping", text)),
    }
}

fn whole(text: &str, least: i128, most: i128) -> Result<i128, Mismatch> {
    let number = text.parse::<i128>().ok().or_else(|| {
        // Within 2^53, where every whole number is one of these.
        let number = real(text).ok().filter(|number| number.fract() == 0.0)?;
        (number.abs() <= 9_007_199_254_740_992.0).then_some(number as i128)
    });
    let Some(number) = number.filter(|_| !text.starts_with('+')) else {
        return Err(Mismatch::expected("a whole number", text));
    };
    if (least..=most).contains(&number) {
        return Ok(number);
    }
    Err(Mismatch::new("out_of_range", format!("{number} is not within {least} to {most}")))
}

/// A number as JSON has it, or one of the three that JSON has no digits for.
pub(super) fn real(text: &str) -> Result<f64, Mismatch> {
    match text {
        "NaN" => return Ok(f64::NAN),
        "Infinity" => return Ok(f64::INFINITY),
        "-Infinity" => return Ok(f64::NEG_INFINITY),
        _ => {}
    }
    let digits = text.strip_prefix('-').unwrap_or(text);
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite());
    number
        .filter(|_| digits.starts_with(|first: char| first.is_ascii_digit()))
        .ok_or_else(|| Mismatch::expected("a number", text))
}

fn enumeration(words: &EnumDescriptor, text: &str) -> Result<Value, Mismatch> {
    let other_case = || words.values().find(|word| word.name().eq_ignore_ascii_case(text));
    if let Some(word) = words.get_value_by_name(text).or_else(other_case) {
        return Ok(Value::varint(i64::from(word.number()) as u64));
    }
    // Numbers that no word has are for a decoder to refuse.
    if let Ok(number) = whole(text, i32::MIN.into(), i32::MAX.into()) {
        return Ok(Value::varint(number as i64 as u64));
    }
    let message = format!("`{}` is no word of {}", shorten(text), words.name());
    let words = words.values().map(|word| word.name().to_owned()).collect();
    Err(Mismatch { words, ..Mismatch::new("unknown_word", message) })
}

const LENIENT: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);

/// What base64 stands for.
pub(super) fn bytes(text: &str) -> Result<Vec<u8>, Mismatch> {
    let url_safe = text.contains(['-', '_']);
    let letters = if url_safe { &alphabet::URL_SAFE } else { &alphabet::STANDARD };
    GeneralPurpose::new(letters, LENIENT).decode(text).map_err(|invalid| {
        let invalid = invalid.to_string().to_lowercase();
        Mismatch::new("wrong_type", format!("`{}` is not base64: {invalid}", shorten(text)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(kind: &Kind, text: &str, expected: Result<Value, &str>) {
        let found = value(kind, text, true);
        match (found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{text}"),
            (Err(found), Err(part)) => assert!(found.message.contains(part), "{found:?}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn numbers() {
        check(&Kind::Uint32, "80", Ok(Value::varint(80)));
        check(&Kind::Uint32, "1e3", Ok(Value::varint(1000)));
        check(&Kind::Uint32, "5.0", Ok(Value::varint(5)));
        check(&Kind::Uint32, "4294967296", Err("is not within 0 to 4294967295"));
        check(&Kind::Uint32, "-1", Err("is not within 0 to"));
        check(&Kind::Uint32, "5.5", Err("expected a whole number"));
        check(&Kind::Uint32, "+5", Err("expected a whole number"));
        check(&Kind::Uint32, "0x10", Err("expected a whole number"));
        check(&Kind::Uint32, "", Err("expected a whole number"));
        check(&Kind::Uint64, "18446744073709551615", Ok(Value::varint(u64::MAX)));
        check(&Kind::Int32, "-1", Ok(Value::varint(u64::MAX)));
        check(&Kind::Int64, "-2", Ok(Value::varint(u64::MAX - 1)));
        check(&Kind::Sint32, "-1", Ok(Value::varint(1)));
        check(&Kind::Sint64, "2", Ok(Value::varint(4)));
        check(&Kind::Sfixed32, "-1", Ok(Value::fixed32(u32::MAX)));
        check(&Kind::Sfixed64, "-1", Ok(Value::fixed64(u64::MAX)));
        check(&Kind::Fixed32, "3", Ok(Value::fixed32(3)));
        check(&Kind::Fixed64, "3", Ok(Value::fixed64(3)));
        check(&Kind::Double, "-1.5e2", Ok(Value::fixed64((-150.0_f64).to_bits())));
        check(&Kind::Double, "Infinity", Ok(Value::fixed64(f64::INFINITY.to_bits())));
        check(&Kind::Double, "inf", Err("expected a number"));
        check(&Kind::Double, "1e999", Err("expected a number"));
        check(&Kind::Float, "0.5", Ok(Value::fixed32(0.5_f32.to_bits())));
    }

    #[test]
    fn words_in_any_case() {
        let pool = crate::files::descriptors::pool();
        let kind = pool.get_enum_by_name("envoy.config.cluster.v3.Cluster.DiscoveryType").unwrap();
        let kind = Kind::Enum(kind);
        check(&kind, "STRICT_DNS", Ok(Value::varint(1)));
        check(&kind, "Strict_Dns", Ok(Value::varint(1)));
        check(&kind, "4", Ok(Value::varint(4)));
        check(&kind, "strict-dns", Err("is no word of DiscoveryType"));
        check(&kind, "", Err("is no word of DiscoveryType"));
    }

    #[test]
    fn texts_bytes_and_truth() {
        check(&Kind::String, "80", Ok(Value::bytes("80")));
        check(&Kind::Bytes, "aGk=", Ok(Value::bytes("hi")));
        check(&Kind::Bytes, "aGk", Ok(Value::bytes("hi")));
        check(&Kind::Bytes, "_-8", Ok(Value::bytes(vec![0xff, 0xef])));
        check(&Kind::Bytes, "a!", Err("is not base64"));
        check(&Kind::Bool, "true", Ok(Value::varint(1)));
        check(&Kind::Bool, "yes", Err("expected `true` or `false`"));
        assert!(value(&Kind::Bool, "true", false).is_err(), "in quotes it is a text");
    }
}
