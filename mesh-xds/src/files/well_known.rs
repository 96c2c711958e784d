//! Messages that JSON has a form of its own for (protobuf: "JSON Mapping").
//!
//! | message | as text |
//! |---|---|
//! | `Any` | a mapping with `@type`, and the message's own fields; `value`, if it is one of this table |
//! | `Duration` | `1.5s` |
//! | `BoolValue`, `UInt32Value`, … | what is in it |
//! | `Struct`, `Value`, `ListValue` | any mapping, value, list |
//!
//! An `Any` of a type that is not known here is left empty, which is reported. Its bytes can be given:
//! `{ "@type": …, value: <base64> }`.

use super::descriptors;
use super::message::Writer;
use super::scalar::{self, Mismatch};
use super::wire::{Fields, Value};
use mesh_core::config::foreign::{Content, Node, shorten};
use prost_reflect::MessageDescriptor;

/// The longest duration, in seconds (protobuf: 10,000 years).
const LONGEST: u64 = 315_576_000_000;

/// The bytes of a message of the table; `None`: it is none of these.
pub(super) fn read(
    writer: &mut Writer<'_, '_>,
    node: &Node,
    message: &MessageDescriptor,
) -> Option<Vec<u8>> {
    let name = message.full_name().strip_prefix("google.protobuf.")?;
    Some(match name {
        "Any" => any(writer, node),
        "Duration" => match &node.content {
            Content::Scalar { text, .. } => {
                writer.checked(duration(text), node.span).unwrap_or_default()
            }
            Content::Null | Content::Unknown | Content::Sequence(_) | Content::Mapping(_) => {
                writer.wrong_type(node, "a duration as `1.5s`");
                Vec::new()
            }
        },
        "Struct" => structure(writer, node),
        "ListValue" => list(writer, node),
        "Value" => value(writer, node),
        "Timestamp" => {
            let what = "times are not read here";
            writer.report("invalid_resource", node.span, what).suggest("leave it out");
            Vec::new()
        }
        _ if name.ends_with("Value") => {
            let inner = message.get_field(1)?;
            let mut fields = Fields::default();
            // What is wrong is reported, and left out.
            if let Some(value) = writer.value(&inner.kind(), node) {
                fields.push_set(1, &value);
            }
            fields.finish()
        }
        _ => return None,
    })
}

fn duration(text: &str) -> Result<Vec<u8>, Mismatch> {
    let wrong = || {
        let message = format!("`{}` is no duration: write seconds, as `1.5s`", shorten(text));
        Mismatch::new("invalid_duration", message)
    };
    let seconds = text.strip_suffix('s').ok_or_else(wrong)?;
    let (negative, digits) = match seconds.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, seconds),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let plain = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !plain(whole) || !plain(fraction) || fraction.len() > 9 {
        return Err(wrong());
    }
    let whole: u64 = whole.parse().ok().filter(|whole| *whole <= LONGEST).ok_or_else(wrong)?;
    let nanos: i64 = format!("{fraction:0<9}").parse().map_err(|_digits| wrong())?;
    // 0 to LONGEST, and 0 to 999,999,999: both fit.
    let (seconds, nanos) = match negative {
        true => (-(whole as i64), -nanos),
        false => (whole as i64, nanos),
    };
    let mut fields = Fields::default();
    fields.push_set(1, &Value::varint(seconds as u64));
    fields.push_set(2, &Value::varint(nanos as u64));
    Ok(fields.finish())
}

// === any ===

fn any(writer: &mut Writer<'_, '_>, node: &Node) -> Vec<u8> {
    let Content::Mapping(entries) = &node.content else {
        writer.wrong_type(node, "a mapping with `@type`");
        return Vec::new();
    };
    let Some(entry) = node.get("@type") else {
        let span = entries.first().map_or(node.span, |entry| entry.key_span);
        writer
            .report("unknown_type", span, "there is no `@type`, which says what this is")
            .suggest("add `\"@type\": type.googleapis.com/…`");
        return Vec::new();
    };
    let Content::Scalar { text: url, .. } = &entry.value.content else {
        writer.wrong_type(&entry.value, "the URL of a type");
        return Vec::new();
    };
    let Some((_, name)) = url.rsplit_once('/') else {
        let what = format!("`{}` is no URL of a type", shorten(url));
        let suggestion = format!("write `type.googleapis.com/{}`", shorten(url));
        writer.report("unknown_type", entry.value.span, what).suggest(suggestion);
        return Vec::new();
    };
    let bytes = match descriptors::message(name) {
        Some(message) if has_a_form(name) => {
            let value = node.get("value");
            value.map_or_else(Vec::new, |value| writer.message(&value.value, &message))
        }
        Some(message) => writer.fields(node, &message, true),
        None => unknown(writer, node, name),
    };
    let mut fields = Fields::default();
    fields.push_set(1, &Value::bytes(&**url));
    fields.push_set(2, &Value::bytes(bytes));
    fields.finish()
}

fn has_a_form(name: &str) -> bool {
    let name = name.strip_prefix("google.protobuf.");
    name.is_some_and(|name| name != "Empty")
}

/// The bytes of a message of a type that is not known.
fn unknown(writer: &mut Writer<'_, '_>, node: &Node, name: &str) -> Vec<u8> {
    if let (2, Some(value)) = (node.entries().len(), node.get("value"))
        && let Content::Scalar { text, .. } = &value.value.content
        && let Ok(bytes) = scalar::bytes(text)
    {
        return bytes;
    }
    writer.set_opaque();
    let span = node.get("@type").map_or(node.span, |entry| entry.value.span);
    let names: Vec<String> = descriptors::names().collect();
    let suggestion = writer.reading.did_you_mean(name, names.iter().map(String::as_str));
    let what = format!(
        "the type `{}` is not known here: what is in it is neither checked nor used",
        shorten(name)
    );
    writer.report("unchecked_content", span, what).suggest_if(suggestion);
    Vec::new()
}

// === any value at all ===

fn structure(writer: &mut Writer<'_, '_>, node: &Node) -> Vec<u8> {
    let Content::Mapping(entries) = &node.content else {
        writer.wrong_type(node, "a mapping");
        return Vec::new();
    };
    let mut pairs: Vec<_> = entries.iter().map(|entry| (&*entry.key, &entry.value)).collect();
    pairs.sort_by_key(|(key, _)| *key);
    let mut fields = Fields::default();
    for (key, node) in pairs {
        let mut pair = Fields::default();
        pair.push_set(1, &Value::bytes(key));
        pair.push(2, &Value::message(value(writer, node)));
        fields.push(1, &Value::message(pair.finish()));
    }
    fields.finish()
}

fn list(writer: &mut Writer<'_, '_>, node: &Node) -> Vec<u8> {
    let Content::Sequence(items) = &node.content else {
        writer.wrong_type(node, "a list");
        return Vec::new();
    };
    let mut fields = Fields::default();
    for item in items {
        fields.push(1, &Value::message(value(writer, item)));
    }
    fields.finish()
}

fn value(writer: &mut Writer<'_, '_>, node: &Node) -> Vec<u8> {
    let mut fields = Fields::default();
    match &node.content {
        Content::Unknown => {}
        Content::Null => fields.push(1, &Value::varint(0)),
        Content::Scalar { text, plain } => match (&**text, plain) {
            ("true", true) => fields.push(4, &Value::varint(1)),
            ("false", true) => fields.push(4, &Value::varint(0)),
            (_, true) if scalar::real(text).is_ok_and(f64::is_finite) => {
                let number = scalar::real(text).unwrap_or_default();
                fields.push(2, &Value::fixed64(number.to_bits()));
            }
            _ => fields.push(3, &Value::bytes(&**text)),
        },
        Content::Mapping(_) => fields.push(5, &Value::message(structure(writer, node))),
        Content::Sequence(_) => fields.push(6, &Value::message(list(writer, node))),
    }
    fields.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use envoy_types::pb::google::protobuf::Duration;
    use prost::Message;

    #[test]
    fn durations() {
        let good = [
            ("1s", 1, 0),
            ("0s", 0, 0),
            ("1.5s", 1, 500_000_000),
            ("-0.000000001s", 0, -1),
            ("315576000000s", 315_576_000_000, 0),
        ];
        for (text, seconds, nanos) in good {
            let bytes = duration(text).unwrap();
            assert_eq!(Duration::decode(&*bytes), Ok(Duration { seconds, nanos }), "{text}");
        }
        for text in
            ["1", "s", "1ms", "1.s", ".5s", "1.0000000000s", "1e3s", "+1s", "9999999999999s"]
        {
            assert_eq!(duration(text).unwrap_err().code, "invalid_duration", "{text}");
        }
    }
}
