//! The functions and operators there are, by CEL's names for them.

use super::ConditionError;
use super::moment::Part;
use crate::model::Condition;

/// A function or an operator of which all arguments are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
    Negate,
    Not,
    Index,
    In,
    /// What is no boolean counts as true: `all` and `exists` go on over errors.
    NotStrictlyFalse,
    Size,
    Contains,
    StartsWith,
    EndsWith,
    ToInt,
    ToUint,
    ToDouble,
    ToText,
    ToBytes,
    ToBool,
    ToTimestamp,
    ToDuration,
    Same,
    LowerAscii,
    UpperAscii,
    Replace,
    Split,
    Date(Part),
    /// `+` of texts and bytes is switched on.
    AddTexts,
}

/// How a function is called: `f(x)`, `x.f()`, or either.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Free,
    Method,
    Either,
}

use Function as F;
use Style::{Either, Free, Method};

/// Name, function, style, the fewest and the most arguments, the object of a method among them.
const LIBRARY: &[(&str, Function, Style, usize, usize)] = &[
    ("_==_", F::Equal, Free, 2, 2),
    ("_!=_", F::NotEqual, Free, 2, 2),
    ("_<_", F::Less, Free, 2, 2),
    ("_<=_", F::LessOrEqual, Free, 2, 2),
    ("_>_", F::Greater, Free, 2, 2),
    ("_>=_", F::GreaterOrEqual, Free, 2, 2),
    ("_+_", F::Add, Free, 2, 2),
    ("_-_", F::Subtract, Free, 2, 2),
    ("_*_", F::Multiply, Free, 2, 2),
    ("_/_", F::Divide, Free, 2, 2),
    ("_%_", F::Modulo, Free, 2, 2),
    ("-_", F::Negate, Free, 1, 1),
    ("!_", F::Not, Free, 1, 1),
    ("_[_]", F::Index, Free, 2, 2),
    ("@in", F::In, Free, 2, 2),
    ("_in_", F::In, Free, 2, 2),
    ("in", F::In, Free, 2, 2),
    ("@not_strictly_false", F::NotStrictlyFalse, Free, 1, 1),
    ("__not_strictly_false__", F::NotStrictlyFalse, Free, 1, 1),
    ("size", F::Size, Either, 1, 1),
    ("contains", F::Contains, Method, 2, 2),
    ("startsWith", F::StartsWith, Method, 2, 2),
    ("endsWith", F::EndsWith, Method, 2, 2),
    ("int", F::ToInt, Free, 1, 1),
    ("uint", F::ToUint, Free, 1, 1),
    ("double", F::ToDouble, Free, 1, 1),
    ("string", F::ToText, Free, 1, 1),
    ("bytes", F::ToBytes, Free, 1, 1),
    ("bool", F::ToBool, Free, 1, 1),
    ("timestamp", F::ToTimestamp, Free, 1, 1),
    ("duration", F::ToDuration, Free, 1, 1),
    ("dyn", F::Same, Free, 1, 1),
    ("lowerAscii", F::LowerAscii, Method, 1, 1),
    ("upperAscii", F::UpperAscii, Method, 1, 1),
    ("replace", F::Replace, Method, 3, 3),
    ("split", F::Split, Method, 2, 2),
    ("getFullYear", F::Date(Part::FullYear), Method, 1, 2),
    ("getMonth", F::Date(Part::Month), Method, 1, 2),
    ("getDate", F::Date(Part::Date), Method, 1, 2),
    ("getDayOfMonth", F::Date(Part::DayOfMonth), Method, 1, 2),
    ("getDayOfWeek", F::Date(Part::DayOfWeek), Method, 1, 2),
    ("getDayOfYear", F::Date(Part::DayOfYear), Method, 1, 2),
    ("getHours", F::Date(Part::Hours), Method, 1, 2),
    ("getMinutes", F::Date(Part::Minutes), Method, 1, 2),
    ("getSeconds", F::Date(Part::Seconds), Method, 1, 2),
    ("getMilliseconds", F::Date(Part::Milliseconds), Method, 1, 2),
];

/// The function called `name`, for `count` arguments and as a method if `method`.
pub(super) fn function(
    name: &str,
    method: bool,
    count: usize,
    condition: &Condition,
) -> Result<Function, ConditionError> {
    let Some(&(_, function, style, least, most)) = LIBRARY.iter().find(|row| row.0 == name) else {
        return Err(ConditionError::UnknownFunction { name: name.into() });
    };
    let styled = style == Either || (style == Method) == method;
    let given = count + usize::from(method);
    if !styled || !(least..=most).contains(&given) {
        return Err(ConditionError::Arguments { name: name.into(), count, method });
    }
    let off = |switch| Err(ConditionError::Off { name: name.into(), switch });
    match function {
        F::ToText if !condition.string_conversion => off("enable_string_conversion"),
        F::LowerAscii | F::UpperAscii | F::Replace | F::Split if !condition.string_functions => {
            off("enable_string_functions")
        }
        F::Add if condition.string_concat => Ok(F::AddTexts),
        function => Ok(function),
    }
}
