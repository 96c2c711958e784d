//! [`Value`]: how each plain type is read from a node, within the bounds of its [`Kind`].

use super::duration::{self, InvalidDuration};
use super::node::{Content, Node, Span, shorten};
use super::{code, fields::list, reader::Reader, shape::Kind};
use crate::model::{Fraction, RegexPattern};
use crate::time::WallTime;
use http::{HeaderName, HeaderValue, StatusCode};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

/// A type that can be read from a node. What is wrong goes to the report.
pub(super) trait Value: Sized {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self>;
}

impl Value for String {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        reader.scalar(node, "text").map(|scalar| scalar.text.into_owned())
    }
}

impl Value for Arc<str> {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        reader.scalar(node, "text").map(|scalar| scalar.text.into())
    }
}

impl Value for bool {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "`true` or `false`")?;
        match &*scalar.text {
            "true" if scalar.plain => return Some(true),
            "false" if scalar.plain => return Some(false),
            _ => {}
        }
        let suggestion = match scalar.text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Some("write `true`".to_owned()),
            "false" | "no" | "off" | "0" => Some("write `false`".to_owned()),
            _ => None,
        };
        let message = format!("expected `true` or `false`, found `{}`", shorten(&scalar.text));
        reader.report.add(code::WRONG_TYPE, node.span, message).suggest_if(suggestion);
        None
    }
}

/// Whole numbers, within the bounds of a [`Kind::Count`].
fn count(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<i64> {
    let (least, most) = kind.find(|kind| match kind {
        Kind::Count { least, most } => Some((*least, *most)),
        _ => None,
    })?;
    let scalar = reader.scalar(node, "a whole number")?;
    let text = &*scalar.text;
    let digits = text.strip_prefix('-').unwrap_or(text);
    if !scalar.plain || digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("expected a whole number, found `{}`", shorten(text));
        let quoted = !scalar.plain && text.parse::<i64>().is_ok();
        let suggestion = quoted.then(|| format!("write {text}, without quotes"));
        reader.report.add(code::WRONG_TYPE, node.span, message).suggest_if(suggestion);
        return None;
    }
    match text.parse::<i64>() {
        Ok(number) if (least..=most).contains(&number) => Some(number),
        _ => {
            let message = format!("`{}` is not between {least} and {most}", shorten(text));
            reader.report.add(code::OUT_OF_RANGE, node.span, message);
            None
        }
    }
}

macro_rules! counts {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
                count(reader, node, kind).and_then(|number| Self::try_from(number).ok())
            }
        }
    )*};
}
counts!(u16, u32, i64);

impl Value for f64 {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let (least, most) = kind.find(|kind| match kind {
            Kind::Number { least, most } => Some((*least, *most)),
            _ => None,
        })?;
        let scalar = reader.scalar(node, "a number")?;
        let number = Self::from_str(&scalar.text).ok().filter(|n| scalar.plain && n.is_finite());
        let Some(number) = number else {
            let message = format!("expected a number, found `{}`", shorten(&scalar.text));
            reader.report.add(code::WRONG_TYPE, node.span, message);
            return None;
        };
        if !(least..=most).contains(&number) {
            let message = format!("`{}` is not between {least} and {most}", shorten(&scalar.text));
            reader.report.add(code::OUT_OF_RANGE, node.span, message);
            return None;
        }
        Some(number)
    }
}

impl Value for Duration {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let least =
            kind.find(|kind| if let Kind::Time { least } = kind { Some(*least) } else { None })?;
        let scalar = reader.scalar(node, "a duration")?;
        let text = shorten(&scalar.text);
        let error = match duration::parse(&scalar.text) {
            Ok(duration) if duration >= least => return Some(duration),
            Ok(_) => {
                let message = format!("`{text}` is shorter than {}", duration::show(least));
                reader.report.add(code::OUT_OF_RANGE, node.span, message);
                return None;
            }
            Err(error) => error,
        };
        if error == InvalidDuration::TooLong {
            let message = format!("`{text}` is longer than {}", duration::show(duration::LONGEST));
            reader.report.add(code::OUT_OF_RANGE, node.span, message);
            return None;
        }
        let (why, suggestion) = match error {
            InvalidDuration::NoUnit => {
                ("a duration needs its unit", format!("write `{text}s` or `{text}ms`"))
            }
            InvalidDuration::UnknownUnit => {
                ("one number and one unit: ms, s, m or h", "for example `1.5s`".to_owned())
            }
            InvalidDuration::Negative => ("a duration is not negative", "`0s` is none".to_owned()),
            InvalidDuration::NotANumber | InvalidDuration::TooLong => {
                ("not a duration", "for example `500ms`, `1.5s`, `2m`, `1h`".to_owned())
            }
        };
        let finding =
            reader.report.add(code::INVALID_DURATION, node.span, format!("`{text}`: {why}"));
        finding.suggest(suggestion);
        None
    }
}

impl Value for WallTime {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "a date")?;
        let time = Self::parse_rfc3339(&scalar.text);
        if time.is_none() {
            let message = format!("`{}` is no date (RFC 3339)", shorten(&scalar.text));
            reader.report.add(code::INVALID_DATE, node.span, message).suggest(
                "for example `2030-12-31`, `2030-12-31T08:00:00Z`, `2030-12-31T08:00+01:00`",
            );
        }
        time
    }
}

impl Value for Fraction {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "a share such as `10%`")?;
        let text = shorten(&scalar.text);
        let Some(number) = scalar.text.strip_suffix('%') else {
            let message = format!("`{text}` is no share");
            let suggestion = match f64::from_str(&scalar.text) {
                Ok(number) if number.is_finite() => format!("write `{text}%`"),
                _ => "for example `10%` or `0.5%`".to_owned(),
            };
            reader.report.add(code::INVALID_SHARE, node.span, message).suggest(suggestion);
            return None;
        };
        match per_million(number) {
            Some(parts) if parts <= 1_000_000 => Some(Self::per_million(parts)),
            Some(_) => {
                let message = format!("`{text}` is more than 100%");
                reader.report.add(code::OUT_OF_RANGE, node.span, message);
                None
            }
            None => {
                let message = format!("`{text}` is no share");
                reader
                    .report
                    .add(code::INVALID_SHARE, node.span, message)
                    .suggest("digits, and at most four after the point");
                None
            }
        }
    }
}

/// A percentage with up to four digits after the point, as parts per million.
fn per_million(percent: &str) -> Option<u32> {
    let (whole, fraction) = percent.split_once('.').unwrap_or((percent, "0"));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || !(1..=4).contains(&fraction.len()) {
        return None;
    }
    let whole: u32 = if whole.len() > 6 && digits(whole) { 999_999 } else { whole.parse().ok()? };
    let fraction: u32 = format!("{fraction:0<4}").parse().ok()?;
    whole.saturating_mul(10_000).checked_add(fraction)
}

impl Value for RegexPattern {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "a regular expression")?;
        reader.check_pattern(&scalar.text, node.span);
        Some(Self::new(scalar.text))
    }
}

impl Value for HeaderName {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "a header name")?;
        header_name(reader, &scalar.text, node.span)
    }
}

/// A header name that stands at `span`, in lower case.
pub(super) fn header_name(reader: &mut Reader<'_>, text: &str, span: Span) -> Option<HeaderName> {
    if let Ok(name) = HeaderName::from_bytes(text.as_bytes()) {
        return Some(name);
    }
    let suggestion = match text {
        ":method" => Some("match methods with `method: [GET]`".to_owned()),
        ":path" => Some("match paths with `prefix`, `path` or `regex`".to_owned()),
        ":authority" | ":host" => Some("match authorities with `domains`".to_owned()),
        _ => None,
    };
    let message = format!("`{}` is no header name", shorten(text));
    reader.report.add(code::INVALID_HEADER_NAME, span, message).suggest_if(suggestion);
    None
}

impl Value for HeaderValue {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "a header value")?;
        let value = Self::from_str(&scalar.text);
        if value.is_err() {
            let message = format!("`{}` is no header value", shorten(&scalar.text));
            reader
                .report
                .add(code::INVALID_HEADER_VALUE, node.span, message)
                .suggest("visible ASCII characters, spaces and tabs");
        }
        value.ok()
    }
}

impl Value for StatusCode {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        u16::read(reader, node, kind).and_then(|number| Self::from_u16(number).ok())
    }
}

/// Lists, and where the kind says so their only item without brackets.
impl<T: Value> Value for Vec<T> {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let inner = kind.item()?;
        let many = kind.find(|kind| matches!(kind, Kind::OneOrMany(_)).then_some(())).is_some();
        let items = match &node.content {
            Content::Sequence(_) => node.one_or_many(),
            Content::Scalar { .. } | Content::Mapping(_) if many => vec![node],
            Content::Null | Content::Unknown | Content::Scalar { .. } | Content::Mapping(_) => {
                reader.wrong_type(node, "a list");
                return None;
            }
        };
        Some(items.into_iter().filter_map(|item| T::read(reader, item, inner)).collect())
    }
}

/// The meaning of a word of `table`, whose words are those of `kind`.
pub(super) fn word<T: Copy>(
    reader: &mut Reader<'_>,
    node: &Node,
    kind: &'static Kind,
    table: &[(&'static str, T)],
) -> Option<T> {
    debug_assert_eq!(
        kind.words().map(<[_]>::to_vec),
        Some(table.iter().map(|(word, _)| *word).collect()),
        "the words of the reader and of the schema differ"
    );
    let scalar = reader.scalar(node, "a word")?;
    if let Some((_, meaning)) = table.iter().find(|(word, _)| **word == *scalar.text) {
        return Some(*meaning);
    }
    let words: Vec<_> = table.iter().map(|(word, _)| *word).collect();
    unknown_word(reader, &scalar.text, node.span, &words);
    None
}

/// Reports that `text` is none of `words`.
pub(super) fn unknown_word(reader: &mut Reader<'_>, text: &str, span: Span, words: &[&str]) {
    let suggestion = reader.did_you_mean(text, words.iter().copied());
    let message = format!("`{}` is not {}", shorten(text), list(words));
    reader.report.add(code::UNKNOWN_WORD, span, message).suggest_if(suggestion);
}

#[cfg(test)]
mod tests {
    use super::per_million;

    #[test]
    fn percentages_become_parts_per_million() {
        assert_eq!(per_million("10"), Some(100_000));
        assert_eq!(per_million("0.5"), Some(5_000));
        assert_eq!(per_million("0.0001"), Some(1));
        assert_eq!(per_million("100"), Some(1_000_000));
        assert!(per_million("99999999999").is_some_and(|parts| parts > 1_000_000));
        assert_eq!(per_million("0.00001"), None);
        assert_eq!(per_million("-1"), None);
        assert_eq!(per_million(""), None);
        assert_eq!(per_million("1."), None);
    }
}
