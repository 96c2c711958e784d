//! Matchers: how a route says which requests it wants.

mod fraction;
mod header;
mod path;
mod string;

pub use fraction::Fraction;
pub use header::{HeaderMatcher, HeaderMatcherKind};
pub use path::{PathMatcher, QueryParameterMatcher};
pub use string::{RegexPattern, StringMatcher, StringPattern};
