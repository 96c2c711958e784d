//! Conditions in CEL, as a parser leaves them (protobuf: `google.api.expr.v1alpha1.Expr`; the language:
//! `google/cel-spec`).
//!
//! There is no text here and no parser: control planes send the tree. What it may ask for, and what it
//! means, says [`crate::rbac`].

use std::sync::Arc;

/// A condition of a policy, and what it may do beyond comparing.
///
/// What it may not do keeps its cost low; Envoy has the same switches, all off by default
/// (`core.v3.CelExpressionConfig`).
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Condition {
    /// What has to be true.
    pub expr: CelExpr,
    /// Whether there is `string(x)`. Default: no.
    pub string_conversion: bool,
    /// Whether `+` joins texts, and bytes. Default: no.
    pub string_concat: bool,
    /// Whether there are `lowerAscii`, `upperAscii`, `replace` and `split`. Default: no.
    pub string_functions: bool,
}

impl Condition {
    /// A condition with everything off, as Envoy has it by default.
    #[must_use]
    pub const fn new(expr: CelExpr) -> Self {
        Self { expr, string_conversion: false, string_concat: false, string_functions: false }
    }
}

/// An expression.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by CEL's `Expr`")]
pub enum CelExpr {
    /// A literal.
    Const(CelConstant),
    /// A name: `request`, or a variable of a comprehension.
    Ident(Arc<str>),
    /// A field: `operand.field`.
    Select {
        /// Of what.
        operand: Box<Self>,
        /// Its name.
        field: Arc<str>,
        /// `has(operand.field)`: whether it is there.
        test_only: bool,
    },
    /// A function, a method or an operator, by CEL's name: `size`, `_&&_`, `_[_]`.
    Call {
        /// The object of a method.
        target: Option<Box<Self>>,
        /// The name.
        function: Arc<str>,
        /// The arguments, in order.
        args: Vec<Self>,
    },
    /// `[a, b]`.
    List(Vec<Self>),
    /// `{a: b}`, in the order it is written.
    Map(Vec<(Self, Self)>),
    /// What the macros `all`, `exists`, `exists_one`, `map` and `filter` stand for.
    Comprehension(Box<CelComprehension>),
}

impl CelExpr {
    /// A name.
    #[must_use]
    pub fn ident(name: impl Into<Arc<str>>) -> Self {
        Self::Ident(name.into())
    }

    /// `self.field`.
    #[must_use]
    pub fn select(self, field: impl Into<Arc<str>>) -> Self {
        Self::Select { operand: Box::new(self), field: field.into(), test_only: false }
    }

    /// A function or an operator.
    #[must_use]
    pub fn call(function: impl Into<Arc<str>>, args: Vec<Self>) -> Self {
        Self::Call { target: None, function: function.into(), args }
    }

    /// A text.
    #[must_use]
    pub fn text(text: impl Into<Arc<str>>) -> Self {
        Self::Const(CelConstant::Text(text.into()))
    }
}

/// A literal.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_enums, reason = "closed by CEL's `Constant`")]
pub enum CelConstant {
    /// `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// `1`.
    Int(i64),
    /// `1u`.
    Uint(u64),
    /// `1.0`.
    Double(f64),
    /// `"a"`.
    Text(Arc<str>),
    /// `b"a"`.
    Bytes(Arc<[u8]>),
}

/// A loop over a list, or over the keys of a map: `accu_var` begins as `accu_init`, and while
/// `loop_condition` holds each element makes a new one by `loop_step`.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::exhaustive_structs, reason = "closed by CEL's `Expr.Comprehension`")]
pub struct CelComprehension {
    /// The name of the element.
    pub iter_var: Arc<str>,
    /// What is gone through.
    pub iter_range: CelExpr,
    /// The name of what is gathered.
    pub accu_var: Arc<str>,
    /// What it begins as.
    pub accu_init: CelExpr,
    /// Whether the loop goes on.
    pub loop_condition: CelExpr,
    /// What it becomes.
    pub loop_step: CelExpr,
    /// What comes of the loop.
    pub result: CelExpr,
}
