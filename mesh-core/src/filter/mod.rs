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
//!  Pass::handle_response                       the head of the answer, the last filter first
//!  Pass::handle_end                            the end of the answer: what was held is given back
//! ```
//!
//! - The order is that of the chain, whatever routes say; a route turns filters off, on, or has them
//!   do something else ([`Overrides`]).
//! - Nothing is decided by the adapter: that a question failed is an [`Answer`], too.
//! - Time is an argument, and so is chance ([`Pass::new`]). Filters that count keep their counts in the
//!   chain, and another configuration takes over those of filters that stay ([`Chain::compile`]).
//! - Limits take no lock, and a request that passes allocates nothing. Each has a shadow mode, and tells
//!   the observer of what is allowed, limited, and would be limited ([`Limit`]).
//!
//! | module | what |
//! |---|---|
//! | `chain`, `overrides` | filters, compiled; what routes say of them |
//! | `pass`, `held`, `reply` | a request's way; what it holds meanwhile, and gives back once; how it is answered here |
//! | `local_rate_limit`, with `token_bucket` and `buckets` | so many requests in so much time |
//! | `concurrency_limit`, with `gauge` | so many requests at the same time |
//! | `adaptive_concurrency`, with `histogram` | so many as latency allows |
//! | `admission_control`, with `success_window` | fewer while they fail |
//! | `fault` | faults on purpose |
//! | `header_mutation` | edits of headers |
//! | `body_size_limit` | how large a body may be |

mod adaptive_concurrency;
mod admission_control;
pub mod ask;
mod asking;
mod body_size_limit;
mod buckets;
mod chain;
mod concurrency_limit;
pub mod ext_authz;
mod fault;
mod gauge;
mod header_mutation;
mod held;
mod histogram;
pub mod jwt;
mod local_rate_limit;
mod narrowed;
mod overrides;
mod pass;
mod query;
pub mod rate_limit;
mod reply;
mod route_limits;
mod success_window;
#[cfg(test)]
mod tests;
mod token_bucket;

pub use ask::{
    Answer, AskDecision, AskFailure, AskFailureKind, AskOutcome, Question, QuestionKind,
};
pub use body_size_limit::BodyLimit;
pub use chain::{Chain, FilterError, FilterErrorKind};
pub use narrowed::NarrowedChain;
pub(crate) use overrides::OverrideCompiler;
pub use overrides::Overrides;
pub use pass::{End, FilterContext, FilterObserver, Injected, Limit, Pass, Step, Told};
pub use reply::FilterReply;
pub(crate) use route_limits::RouteLimits;
