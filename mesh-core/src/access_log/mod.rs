//! The access log: what is written of a call or of a served request when it is over, and how.
//!
//! A line of a log is evidence. So two things are decided here, once, and by nobody else: what a line may tell,
//! and that no request can write a line, or a field, that is not its own. Both are pure: a [`Format`] is compiled
//! from text, a [`Record`] borrows what is known of one request, and rendering is a function of the two.
//!
//! # Formats
//! Those of Envoy (`config.core.v3.SubstitutionFormatString`): a text with operators, [`Format::text`], and a
//! template of JSON, [`Format::json`], whose strings are such texts.
//!
//! - An operator is `%NAME%`, `%NAME(PARAMETER)%` or `%NAME(PARAMETER):LENGTH%`; `%%` is a percent sign. Names are
//!   in upper case. A name that is unknown, a parameter that is missing, wrong or too much, and a length of what
//!   has none are errors with their place ([`FormatError`]).
//! - What is not known is `-` in text and `null` in JSON. A JSON string that is one operator has its type: numbers
//!   stay numbers.
//! - Keys of JSON are sorted, as Envoy's are.
//!
//! # What no line tells unless it is asked to
//! - Values of `authorization`, `proxy-authorization`, `cookie` and `set-cookie`, and of headers that the program
//!   marked [sensitive](http::HeaderValue::is_sensitive), are [`REDACTED`] even where the format names them.
//!   `%MESH_UNREDACTED_REQ(AUTHORIZATION)%` asks for the value itself, and so do `MESH_UNREDACTED_RESP` and
//!   `MESH_UNREDACTED_TRAILER`.
//! - Queries and fragments are cut off `:path`, `x-envoy-original-path`, `referer`, `location` and
//!   `content-location`. `%PATH(WQ)%` has the query of one operator, [`Format::keep_query`] those of all, as
//!   Envoy's are.
//! - Other headers are told where the format names them, and nowhere else: there is no operator for all headers.
//!
//! # What a request can't do
//! In text, a byte that is no visible ASCII character, a quotation mark and a backslash are written as `\xNN`,
//! `\"` and `\\` (nginx: `escape=default`), and outside of the format's own quotation marks a space is `\x20`: so
//! a value ends where the format says. Fields that are told apart by anything else than spaces want quotation
//! marks. In JSON, strings are escaped as RFC 8259 has it, and so are line separators of Unicode; what is no UTF-8
//! is U+FFFD. No value has more than [`MAX_VALUE_BYTES`] unless the format gives it another length.
//!
//! # Operators
#![doc = include_str!("operators.md")]
//!
//! Times are in UTC, durations in milliseconds: whole ones where Envoy has the operator, with fractions in those of
//! ours. Not here: `ENVIRONMENT`, `DYNAMIC_METADATA`, `FILTER_STATE` and the like, of which nothing here is known.

mod defaults;
mod error;
mod filter;
mod format;
mod grpc;
mod header;
mod json;
mod name;
mod operator;
mod parse;
mod record;
mod start_time;
#[cfg(test)]
mod tests;
mod text;
mod value;

pub use defaults::{DEFAULT_JSON, DEFAULT_TEXT};
pub use error::{FormatError, FormatProblem};
pub use filter::AccessLogFilter;
pub use format::Format;
pub use header::REDACTED;
pub use record::{Attempt, Record, Side};
pub use text::MAX_VALUE_BYTES;
