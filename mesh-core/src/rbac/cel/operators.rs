//! What operators do: equality, order, arithmetic, `in` and `[]`.

use super::eval::Evaluation;
use super::library::Function;
use super::value::{Held, List, Map, Value};
use super::{Failure, Node, Outcome};
use std::cmp::Ordering;
use std::sync::Arc;

impl<'a> Evaluation<'a> {
    /// A function or an operator of which all arguments are looked at.
    pub(super) fn call(&mut self, function: Function, args: &'a [Node]) -> Outcome<'a> {
        match (function, args) {
            (Function::NotStrictlyFalse, [arg]) => match self.eval(arg) {
                Err(Failure::TooCostly) => Err(Failure::TooCostly),
                found => Ok(Value::Bool(!matches!(found, Ok(Value::Bool(false))))),
            },
            (function, [arg]) => {
                let arg = self.eval(arg)?;
                self.unary(function, arg)
            }
            (function, [one, other]) => {
                let (one, other) = (self.eval(one)?, self.eval(other)?);
                self.binary(function, &one, &other)
            }
            (Function::Replace, [text, old, new]) => {
                let (text, old, new) = (self.eval(text)?, self.eval(old)?, self.eval(new)?);
                self.replace(&text, &old, &new)
            }
            _ => Err(Failure::NoOverload),
        }
    }

    fn unary(&mut self, function: Function, arg: Value<'a>) -> Outcome<'a> {
        match (function, arg) {
            (Function::Not, Value::Bool(flag)) => Ok(Value::Bool(!flag)),
            (Function::Negate, Value::Int(number)) => {
                number.checked_neg().map(Value::Int).ok_or(Failure::Overflow)
            }
            (Function::Negate, Value::Double(number)) => Ok(Value::Double(-number)),
            (Function::Not | Function::Negate, _) => Err(Failure::NoOverload),
            (function, arg) => self.function(function, arg),
        }
    }

    fn binary(&mut self, function: Function, one: &Value<'a>, other: &Value<'a>) -> Outcome<'a> {
        match function {
            Function::Equal => self.equal(one, other).map(Value::Bool),
            Function::NotEqual => self.equal(one, other).map(|equal| Value::Bool(!equal)),
            Function::Less => self.ordered(one, other, Ordering::is_lt),
            Function::LessOrEqual => self.ordered(one, other, Ordering::is_le),
            Function::Greater => self.ordered(one, other, Ordering::is_gt),
            Function::GreaterOrEqual => self.ordered(one, other, Ordering::is_ge),
            Function::Index => self.index(one, other),
            Function::In => self.is_in(one, other).map(Value::Bool),
            Function::Add | Function::AddTexts => self.add(function, one, other),
            Function::Subtract => subtract(one, other),
            Function::Multiply | Function::Divide | Function::Modulo => {
                arithmetic(function, one, other)
            }
            function => self.function_of_two(function, one, other),
        }
    }

    /// Whether two values are the same. Those of different types are not, but numbers are numbers.
    #[expect(clippy::float_cmp, reason = "CEL: equality of doubles is IEEE 754's")]
    pub(super) fn equal(&mut self, one: &Value<'_>, other: &Value<'_>) -> Result<bool, Failure> {
        self.charge(1)?;
        Ok(match (one, other) {
            (Value::Null, Value::Null) => true,
            (Value::Bool(one), Value::Bool(other)) => one == other,
            (Value::Double(one), Value::Double(other)) => one == other,
            (Value::Text(one), Value::Text(other)) => {
                self.charge_bytes(one.len().min(other.len()))?;
                **one == **other
            }
            (Value::Bytes(one), Value::Bytes(other)) => {
                self.charge_bytes(one.len().min(other.len()))?;
                **one == **other
            }
            (Value::Timestamp(one), Value::Timestamp(other))
            | (Value::Duration(one), Value::Duration(other)) => one == other,
            (Value::List(one), Value::List(other)) => self.equal_lists(one, other)?,
            (Value::Map(one), Value::Map(other)) => self.equal_maps(one, other)?,
            (one, other) => match (one.number(), other.number()) {
                (Some(one), Some(other)) => one.compare(other) == Some(Ordering::Equal),
                _ => false,
            },
        })
    }

    fn equal_lists(&mut self, one: &List<'_>, other: &List<'_>) -> Result<bool, Failure> {
        if one.len() != other.len() {
            return Ok(false);
        }
        for (one, other) in one.iter().zip(other.iter()) {
            if !self.equal(&one, &other)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn equal_maps(&mut self, one: &Map<'_>, other: &Map<'_>) -> Result<bool, Failure> {
        if one.len() != other.len() {
            return Ok(false);
        }
        self.charge(one.len())?;
        for (key, value) in one.entries() {
            self.charge_lookup(other)?;
            let Some(found) = other.get(&key) else { return Ok(false) };
            if !self.equal(&value, &found)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn ordered(
        &mut self,
        one: &Value<'_>,
        other: &Value<'_>,
        wanted: fn(Ordering) -> bool,
    ) -> Outcome<'a> {
        let order = match (one, other) {
            (Value::Bool(one), Value::Bool(other)) => Some(one.cmp(other)),
            (Value::Text(one), Value::Text(other)) => {
                self.charge_bytes(one.len().min(other.len()))?;
                Some((**one).cmp(&**other))
            }
            (Value::Bytes(one), Value::Bytes(other)) => {
                self.charge_bytes(one.len().min(other.len()))?;
                Some((**one).cmp(&**other))
            }
            (Value::Timestamp(one), Value::Timestamp(other))
            | (Value::Duration(one), Value::Duration(other)) => Some(one.cmp(other)),
            (one, other) => {
                let numbers = one.number().zip(other.number()).ok_or(Failure::NoOverload)?;
                numbers.0.compare(numbers.1)
            }
        };
        Ok(Value::Bool(order.is_some_and(wanted)))
    }

    /// `list[1]`, `map['key']` and `map.key`.
    fn index(&mut self, object: &Value<'a>, key: &Value<'_>) -> Outcome<'a> {
        match object {
            Value::Map(map) => {
                self.charge_lookup(map)?;
                map.get(key).ok_or(Failure::Missing)
            }
            Value::List(list) => {
                let at = position(key)?.ok_or(Failure::Missing)?;
                list.get(at).ok_or(Failure::Missing)
            }
            _ => Err(Failure::NoOverload),
        }
    }

    fn is_in(&mut self, element: &Value<'_>, container: &Value<'a>) -> Result<bool, Failure> {
        match container {
            Value::Map(map) => {
                self.charge_lookup(map)?;
                Ok(map.get(element).is_some())
            }
            Value::List(list) => {
                for other in list.iter() {
                    if self.equal(element, &other)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            _ => Err(Failure::NoOverload),
        }
    }

    fn add(&mut self, function: Function, one: &Value<'a>, other: &Value<'a>) -> Outcome<'a> {
        match (one, other) {
            (Value::Text(one), Value::Text(other)) if function == Function::AddTexts => {
                // What is made is kept, so it costs more than what is only looked at.
                self.charge((one.len() + other.len()) / 8)?;
                Ok(Value::text([&**one, &**other].concat()))
            }
            (Value::Bytes(one), Value::Bytes(other)) if function == Function::AddTexts => {
                self.charge((one.len() + other.len()) / 8)?;
                Ok(Value::Bytes(Held::Own(Arc::from([&**one, &**other].concat()))))
            }
            (Value::List(one), Value::List(other)) => {
                self.charge(one.len() + other.len())?;
                let items: Vec<_> = one.iter().chain(other.iter()).collect();
                Ok(Value::List(List::made(items.into())?))
            }
            (Value::Timestamp(date), Value::Duration(span))
            | (Value::Duration(span), Value::Timestamp(date)) => {
                date.plus(*span)?.as_date().map(Value::Timestamp)
            }
            (Value::Duration(one), Value::Duration(other)) => {
                one.plus(*other)?.as_span().map(Value::Duration)
            }
            (one, other) => arithmetic(Function::Add, one, other),
        }
    }
}

/// The place of an element; `None`: there is none.
fn position(key: &Value<'_>) -> Result<Option<usize>, Failure> {
    match key {
        Value::Int(at) => Ok(usize::try_from(*at).ok()),
        Value::Uint(at) => Ok(usize::try_from(*at).ok()),
        // CEL: a double that is a whole number will do.
        Value::Double(at) => {
            Ok(super::functions::whole(*at).and_then(|at| usize::try_from(at).ok()))
        }
        _ => Err(Failure::NoOverload),
    }
}

fn subtract<'a>(one: &Value<'a>, other: &Value<'a>) -> Outcome<'a> {
    match (one, other) {
        (Value::Timestamp(one), Value::Timestamp(other)) => {
            one.minus(*other)?.as_span().map(Value::Duration)
        }
        (Value::Timestamp(date), Value::Duration(span)) => {
            date.minus(*span)?.as_date().map(Value::Timestamp)
        }
        (Value::Duration(one), Value::Duration(other)) => {
            one.minus(*other)?.as_span().map(Value::Duration)
        }
        (one, other) => arithmetic(Function::Subtract, one, other),
    }
}

/// Of two numbers of one type; what does not fit is an error, and so is dividing by zero (of doubles
/// neither is: CEL, "Numeric Values").
fn arithmetic<'a>(function: Function, one: &Value<'a>, other: &Value<'a>) -> Outcome<'a> {
    let divides = matches!(function, Function::Divide | Function::Modulo);
    if divides && matches!(other, Value::Int(0) | Value::Uint(0)) {
        return match (one, other) {
            (Value::Int(_), Value::Int(_)) | (Value::Uint(_), Value::Uint(_)) => {
                Err(Failure::DivisionByZero)
            }
            _ => Err(Failure::NoOverload),
        };
    }
    match (one, other) {
        (Value::Int(one), Value::Int(other)) => {
            let found = match function {
                Function::Add => one.checked_add(*other),
                Function::Subtract => one.checked_sub(*other),
                Function::Multiply => one.checked_mul(*other),
                Function::Divide => one.checked_div(*other),
                _ => one.checked_rem(*other),
            };
            found.map(Value::Int).ok_or(Failure::Overflow)
        }
        (Value::Uint(one), Value::Uint(other)) => {
            let found = match function {
                Function::Add => one.checked_add(*other),
                Function::Subtract => one.checked_sub(*other),
                Function::Multiply => one.checked_mul(*other),
                Function::Divide => one.checked_div(*other),
                _ => one.checked_rem(*other),
            };
            found.map(Value::Uint).ok_or(Failure::Overflow)
        }
        (Value::Double(one), Value::Double(other)) => Ok(Value::Double(match function {
            Function::Add => one + other,
            Function::Subtract => one - other,
            Function::Multiply => one * other,
            Function::Divide => one / other,
            _ => return Err(Failure::NoOverload),
        })),
        _ => Err(Failure::NoOverload),
    }
}
