//! Conditions in CEL: an expression and a request → whether it holds.
//!
//! Why not a library: conditions run for each request, on what strangers send. So they are compiled once
//! (names to attributes, patterns to automata, what is constant to its value), they have no way to panic,
//! and each evaluation has a bound ([`MAX_COST`]).
//!
//! - A condition holds if it is `true`. An error, or another value, is as if it were `false` (Envoy:
//!   `Expr::matches`); so a DENY policy whose condition asks for a header that is missing denies nothing:
//!   ask `has` first, or `in`.
//! - Only where the bound is reached this differs: then a DENY policy does deny. The bound is ours, and
//!   nobody gets in by making a decision dear.
//! - `&&` and `||` are decided by one side, whichever it is; an error counts only if neither decides
//!   (CEL: "Logical Operators"). `?:` looks at one of its branches.
//! - Numbers of different types are compared as numbers; other values of different types are not equal.
//!   Arithmetic takes one type at a time, and what does not fit is an error.
//! - What is not known here (names, attributes, functions) is refused when it is compiled.
//!
//! | module | what |
//! |---|---|
//! | `attributes.rs` | what may be asked of a request |
//! | `compile.rs` | model → [`Program`], or what is wrong |
//! | `library.rs` | the functions there are |
//! | `eval.rs` | a program and a request → a value or a [`Failure`] |
//! | `operators.rs`, `functions.rs` | what operators and functions do |
//! | `value.rs`, `moment.rs` | values, and time among them |
//!
//! What it does not do: parse; protobuf messages; types as values (`type(x) == int`); macros of two
//! variables, optional values and zones of time by name. `matches` wants its pattern to be a literal.

mod attributes;
mod compile;
mod eval;
mod functions;
mod library;
mod moment;
mod operators;
#[cfg(test)]
mod tests;
mod value;

use super::rule::Sight;
use crate::model::Condition;
use crate::model::rbac::RbacAction;
use crate::router::{CompiledRegex, RegexError};
use attributes::Attribute;
use eval::Evaluation;
use library::Function;
use std::sync::Arc;
use value::Value;

/// How deep an expression may be, and lists within lists: protobuf allows about 45.
pub(super) const MAX_DEPTH: usize = 48;
/// How many nodes an expression may have.
const MAX_NODES: usize = 1024;
/// How much one evaluation may do: a node is 1, each element that is looked at or made is 1, and so is
/// every 64 bytes of text that are looked at, or 8 that are made.
pub const MAX_COST: u32 = 10_000;

/// Why a condition was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConditionError {
    /// A name that stands for nothing.
    #[error("`{name}` is no name that is known here: there are {known}")]
    UnknownName {
        /// The name.
        name: Arc<str>,
        /// What there is.
        known: &'static str,
    },
    /// An attribute that there is not.
    #[error("there is no attribute `{name}`: there are {known}")]
    UnknownAttribute {
        /// The attribute.
        name: Arc<str>,
        /// What there is.
        known: &'static str,
    },
    /// An attribute of Envoy's that can't be looked at here.
    #[error("`{name}` can't be asked for: {why}")]
    NotKnownHere {
        /// The attribute.
        name: Arc<str>,
        /// Why not.
        why: &'static str,
    },
    /// An object of attributes is used as a value.
    #[error("`{name}` is no value by itself: ask for one of {known}")]
    Whole {
        /// The object.
        name: Arc<str>,
        /// What there is in it.
        known: &'static str,
    },
    /// All headers are used as a value.
    #[error(
        "`request.headers` is no value by itself: ask for one header, `request.headers['x']`, or \
         `'x' in request.headers`"
    )]
    Headers,
    /// Something of HTTP, where there are connections.
    #[error("`{name}` is of a request, and this is about connections: use the HTTP filter")]
    NoHttp {
        /// The attribute.
        name: Arc<str>,
    },
    /// What is asked of the headers is no name of one.
    #[error("`{name}` is no name of a header")]
    HeaderName {
        /// The name.
        name: Arc<str>,
    },
    /// A function that there is not.
    #[error("there is no function `{name}` here")]
    UnknownFunction {
        /// Its name.
        name: Arc<str>,
    },
    /// A function is called with other arguments than it takes.
    #[error("`{name}` does not take {count} arguments{}", if *.method { " as a method" } else { "" })]
    Arguments {
        /// Its name.
        name: Arc<str>,
        /// How many there are, without the object of a method.
        count: usize,
        /// Whether it is called as a method.
        method: bool,
    },
    /// A function that has to be switched on.
    #[error("`{name}` is off by default: set `cel_config.{switch}`")]
    Off {
        /// Its name.
        name: Arc<str>,
        /// The field that switches it on.
        switch: &'static str,
    },
    /// A zone of time that is said by its name.
    #[error("there is no zone of time `{zone}` here: say how far it is from UTC, as `+02:00`")]
    UnknownZone {
        /// The zone.
        zone: Arc<str>,
    },
    /// The pattern of `matches` is computed.
    #[error("the pattern of `matches` must be a literal text: patterns are compiled beforehand")]
    PatternNotLiteral,
    /// The pattern of `matches` is refused.
    #[error("the pattern of `matches`: {0}")]
    Pattern(#[from] RegexError),
    /// It is nested too deep.
    #[error("the expression is nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// It is too large.
    #[error("the expression has more than {MAX_NODES} nodes")]
    TooLarge,
}

/// Whether a condition can be used: `http` says whether it is about requests, or about connections alone.
///
/// # Errors
/// [`ConditionError`]: the first thing that is wrong.
pub fn check_condition(condition: &Condition, http: bool) -> Result<(), ConditionError> {
    compile::compile(condition, http).map(|_| ())
}

/// Why an evaluation came to no value. Only whether it is the cost makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Failure {
    /// There is no such function for values of these types.
    NoOverload,
    /// An attribute, a field, a key or an element is not there.
    Missing,
    /// A number, a date or a span does not fit.
    Overflow,
    DivisionByZero,
    /// A text is not what it is to be converted to.
    Conversion,
    /// A map has a key twice.
    DuplicateKey,
    /// It would do more than [`MAX_COST`], or nest deeper than [`MAX_DEPTH`].
    TooCostly,
}

type Outcome<'a> = Result<Value<'a>, Failure>;

/// A condition, ready to run.
#[derive(Clone, Debug)]
pub(super) struct Program(Node);

/// An expression, compiled.
#[derive(Clone, Debug)]
enum Node {
    Const(Value<'static>),
    Attribute(Attribute),
    HasAttribute(Attribute),
    /// A header by a name that is computed; whether it is there.
    HeaderNamed(Box<Self>),
    HasHeaderNamed(Box<Self>),
    /// What a comprehension goes through or gathers, by its place.
    Variable(usize),
    Has(Box<Self>, Value<'static>),
    And(Box<[Self; 2]>),
    Or(Box<[Self; 2]>),
    If(Box<[Self; 3]>),
    Matches(Box<Self>, CompiledRegex),
    Call(Function, Box<[Self]>),
    List(Box<[Self]>),
    Map(Box<[(Self, Self)]>),
    Fold(Box<Fold>),
}

/// A comprehension: what is gathered is the variable at `place`, the element the one after it.
#[derive(Clone, Debug)]
struct Fold {
    place: usize,
    range: Node,
    init: Node,
    condition: Node,
    step: Node,
    result: Node,
}

impl Program {
    /// It holds of everything.
    pub(super) const TRUE: Self = Self(Node::Const(Value::Bool(true)));

    /// # Errors
    /// The first thing that is wrong.
    pub(super) fn new(condition: &Condition) -> Result<Self, ConditionError> {
        compile::compile(condition, true)
    }

    /// Whether it is `true` of everything.
    pub(super) const fn always(&self) -> bool {
        matches!(self.0, Node::Const(Value::Bool(true)))
    }

    /// Whether it holds, as a condition of a policy of `action`.
    pub(super) fn holds(&self, sight: &Sight<'_>, action: RbacAction) -> bool {
        match Evaluation::new(Some(sight)).eval(&self.0) {
            Ok(Value::Bool(holds)) => holds,
            // Nobody gets in by making a decision dear.
            Err(Failure::TooCostly) => action == RbacAction::Deny,
            Ok(_) | Err(_) => false,
        }
    }
}
