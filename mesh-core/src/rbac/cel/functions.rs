//! What functions do: texts, conversions, parts of dates.

use super::eval::Evaluation;
use super::library::Function;
use super::moment::{self, Moment};
use super::value::{Held, List, Value};
use super::{Failure, Outcome};
use std::sync::Arc;

impl<'a> Evaluation<'a> {
    pub(super) fn function(&mut self, function: Function, arg: Value<'a>) -> Outcome<'a> {
        match function {
            Function::Same => Ok(arg),
            Function::Size => self.size(&arg),
            Function::ToInt => to_int(&arg),
            Function::ToUint => to_uint(&arg),
            Function::ToDouble => to_double(&arg),
            Function::ToText => self.text_of(arg),
            Function::ToBytes => match arg {
                Value::Text(text) => {
                    self.charge(text.len() / 8)?;
                    Ok(Value::Bytes(Held::Own(Arc::from(text.as_bytes()))))
                }
                Value::Bytes(_) => Ok(arg),
                _ => Err(Failure::NoOverload),
            },
            Function::ToBool => match &arg {
                Value::Text(text) => bool_of(text).map(Value::Bool),
                Value::Bool(_) => Ok(arg),
                _ => Err(Failure::NoOverload),
            },
            Function::ToTimestamp => match &arg {
                Value::Text(text) => Moment::parse_date(short(text)?).map(Value::Timestamp),
                Value::Int(seconds) => Moment::date_of_seconds(*seconds).map(Value::Timestamp),
                Value::Timestamp(_) => Ok(arg),
                _ => Err(Failure::NoOverload),
            },
            Function::ToDuration => match &arg {
                Value::Text(text) => Moment::parse_span(short(text)?).map(Value::Duration),
                Value::Duration(_) => Ok(arg),
                _ => Err(Failure::NoOverload),
            },
            Function::LowerAscii | Function::UpperAscii => {
                let Value::Text(text) = arg else { return Err(Failure::NoOverload) };
                self.charge(text.len() / 8)?;
                Ok(Value::text(match function {
                    Function::LowerAscii => text.to_ascii_lowercase(),
                    _ => text.to_ascii_uppercase(),
                }))
            }
            Function::Date(part) => match arg {
                Value::Timestamp(date) => Ok(Value::Int(date.part(part, 0))),
                Value::Duration(span) => {
                    span.span_part(part).map(Value::Int).ok_or(Failure::NoOverload)
                }
                _ => Err(Failure::NoOverload),
            },
            _ => Err(Failure::NoOverload),
        }
    }

    pub(super) fn function_of_two(
        &mut self,
        function: Function,
        one: &Value<'a>,
        other: &Value<'a>,
    ) -> Outcome<'a> {
        if let (Function::Date(part), Value::Timestamp(date), Value::Text(zone)) =
            (function, one, other)
        {
            let offset = moment::zone_offset(zone).ok_or(Failure::Conversion)?;
            return Ok(Value::Int(date.part(part, offset)));
        }
        let (Value::Text(text), Value::Text(part)) = (one, other) else {
            return Err(Failure::NoOverload);
        };
        self.charge_bytes(text.len() + part.len())?;
        Ok(match function {
            Function::Contains => Value::Bool(text.contains(&**part)),
            Function::StartsWith => Value::Bool(text.starts_with(&**part)),
            Function::EndsWith => Value::Bool(text.ends_with(&**part)),
            Function::Split => return self.split(text, part),
            _ => return Err(Failure::NoOverload),
        })
    }

    /// Code points of a text, bytes, elements or entries.
    fn size(&mut self, arg: &Value<'a>) -> Outcome<'a> {
        let size = match arg {
            Value::Text(text) => {
                self.charge_bytes(text.len())?;
                text.chars().count()
            }
            Value::Bytes(bytes) => bytes.len(),
            Value::List(list) => list.len(),
            Value::Map(map) => map.len(),
            _ => return Err(Failure::NoOverload),
        };
        i64::try_from(size).map(Value::Int).map_err(|_large| Failure::Overflow)
    }

    /// An empty separator splits between code points, as in CEL's library of texts.
    fn split(&mut self, text: &str, separator: &str) -> Outcome<'a> {
        self.charge(text.len() / 8)?;
        let mut parts = Vec::new();
        let mut part = |evaluation: &mut Self, part: &str| {
            evaluation.charge(1)?;
            parts.push(Value::text(part));
            Ok(())
        };
        if separator.is_empty() {
            let mut bytes = [0; 4];
            for letter in text.chars() {
                part(self, letter.encode_utf8(&mut bytes))?;
            }
        } else {
            for piece in text.split(separator) {
                part(self, piece)?;
            }
        }
        Ok(Value::List(List::made(parts.into())?))
    }

    pub(super) fn replace(
        &mut self,
        text: &Value<'_>,
        old: &Value<'_>,
        new: &Value<'_>,
    ) -> Outcome<'a> {
        let (Value::Text(text), Value::Text(old), Value::Text(new)) = (text, old, new) else {
            return Err(Failure::NoOverload);
        };
        self.charge_bytes(text.len())?;
        let found = text.matches(&**old).count();
        // Before it is made: a short text may become a long one.
        self.charge(text.len().saturating_add(found.saturating_mul(new.len())) / 8)?;
        Ok(Value::text(text.replace(&**old, new)))
    }

    fn text_of(&mut self, arg: Value<'a>) -> Outcome<'a> {
        Ok(Value::text(match arg {
            Value::Text(_) => return Ok(arg),
            Value::Bool(flag) => flag.to_string(),
            Value::Int(number) => number.to_string(),
            Value::Uint(number) => number.to_string(),
            Value::Double(number) => number.to_string(),
            Value::Bytes(bytes) => {
                self.charge(bytes.len() / 8)?;
                let text = std::str::from_utf8(&bytes).map_err(|_bad| Failure::Conversion)?;
                text.to_owned()
            }
            Value::Timestamp(date) => date.date_text(),
            Value::Duration(span) => span.span_text(),
            Value::Null | Value::List(_) | Value::Map(_) => return Err(Failure::NoOverload),
        }))
    }
}

fn to_int<'a>(arg: &Value<'a>) -> Outcome<'a> {
    Ok(Value::Int(match arg {
        Value::Int(number) => *number,
        Value::Uint(number) => i64::try_from(*number).map_err(|_large| Failure::Overflow)?,
        Value::Double(number) => {
            let whole = whole(number.trunc()).and_then(|whole| i64::try_from(whole).ok());
            whole.ok_or(Failure::Overflow)?
        }
        Value::Text(text) => parsed(text)?,
        Value::Timestamp(date) => date.seconds(),
        _ => return Err(Failure::NoOverload),
    }))
}

fn to_uint<'a>(arg: &Value<'a>) -> Outcome<'a> {
    Ok(Value::Uint(match arg {
        Value::Uint(number) => *number,
        Value::Int(number) => u64::try_from(*number).map_err(|_below| Failure::Overflow)?,
        Value::Double(number) => {
            let whole = whole(number.trunc()).and_then(|whole| u64::try_from(whole).ok());
            whole.ok_or(Failure::Overflow)?
        }
        Value::Text(text) => parsed(text)?,
        _ => return Err(Failure::NoOverload),
    }))
}

#[expect(clippy::cast_precision_loss, reason = "CEL: to the nearest double")]
fn to_double<'a>(arg: &Value<'a>) -> Outcome<'a> {
    Ok(Value::Double(match arg {
        Value::Double(number) => *number,
        Value::Int(number) => *number as f64,
        Value::Uint(number) => *number as f64,
        Value::Text(text) => parsed(text)?,
        _ => return Err(Failure::NoOverload),
    }))
}

/// A whole number that fits into 64 bits, signed or not; `None`: there is a fraction, or it does not.
#[expect(clippy::cast_possible_truncation, reason = "it is whole, and within 2^64")]
pub(super) fn whole(number: f64) -> Option<i128> {
    /// 2^64.
    const BEYOND: f64 = (1_u128 << 64) as f64;
    (number.fract().abs() <= 0.0 && number.abs() < BEYOND).then_some(number as i128)
}

/// Numbers and dates have few letters, so that a long text is none.
fn short(text: &str) -> Result<&str, Failure> {
    const MOST: usize = 64;
    if text.len() > MOST { Err(Failure::Conversion) } else { Ok(text) }
}

fn parsed<T: std::str::FromStr>(text: &str) -> Result<T, Failure> {
    short(text)?.parse().map_err(|_none| Failure::Conversion)
}

/// CEL: "Type Conversions".
fn bool_of(text: &str) -> Result<bool, Failure> {
    match text {
        "1" | "t" | "true" | "TRUE" | "True" => Ok(true),
        "0" | "f" | "false" | "FALSE" | "False" => Ok(false),
        _ => Err(Failure::Conversion),
    }
}
