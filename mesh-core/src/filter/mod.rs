//! What is done with a request before it is answered: filters in the configured order, by one machine.
//!
//! A [`Chain`] is compiled once; a [`Pass`] is one request's way through it. The adapter asks for the
//! next [`Step`] and does what it says: go on, answer, wait, or ask somebody outside (an external
//! authorizer, a rate limit service, a server of keys) and hand back what that said.
//!
//! ```text
//!  Pass::start ──> Continue                     to the service
//!                  Reply(FilterReply)           answered here
//!                  Delay(until)  ── handle_delay_over ──> …
//!                  Ask(question) ── handle_answer ──────> …
//! ```
//!
//! - The order is that of the chain, whatever routes say; a route turns filters off, on, or has them
//!   do something else ([`Overrides`]).
//! - Nothing is decided by the adapter: that a question failed is an [`Answer`], too.
//! - Time is an argument. Filters that count keep their counts in the chain, and another
//!   configuration takes over those of filters that stay ([`Chain::compile`]).

pub mod ask;
mod asking;
mod chain;
pub mod ext_authz;
pub mod jwt;
mod pass;
pub mod rate_limit;
mod reply;
#[cfg(test)]
mod tests;

pub use ask::{
    Answer, AskDecision, AskFailure, AskFailureKind, AskOutcome, Question, QuestionKind,
};
pub use chain::{Chain, FilterError, FilterErrorKind, Overrides};
pub use pass::{FilterContext, FilterObserver, Pass, Step, Told};
pub use reply::FilterReply;
