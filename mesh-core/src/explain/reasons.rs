//! What a code means: response flags, reasons of local replies, what stops a retry, events.
//!
//! One table for all of them, so that `mesh explain CODE`, a runbook and a support answer say the same.
//! Flags are Envoy's letters (`UH`) or long names; reasons are [`Reason::code`], what
//! stops a retry [`RetryStop::code`], events [`Event::code`](crate::event::Event::code). The codes of diagnostics are in
//! [`config::code_explanations`](crate::config) (feature `config`), and are found here too.
//!
//! Two kinds may share a name: `unknown_cluster` refuses a file, and a call. So [`find`] gives all.

mod events;
mod flags;
mod refusals;
mod stops;
mod table;

#[cfg(test)]
mod tests;

#[cfg(feature = "config")]
pub use super::json::to_json;
pub use events::events;
pub use flags::flags;
pub use refusals::refusals;
pub use stops::retry_stops;
pub use table::reasons;

use crate::call::RetryStop;
use crate::local_reply::{Reason, ResponseFlag};
use crate::router::distance;
use std::fmt;

/// What a code means.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Meaning {
    /// The code.
    pub code: &'static str,
    /// What it is a code of.
    pub kind: CodeKind,
    /// What it says, in a sentence.
    pub meaning: &'static str,
    /// How it usually comes about.
    pub causes: &'static str,
    /// What to look at, and what to do.
    pub look_at: &'static str,
}

/// What a code is a code of.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum CodeKind {
    /// A response flag, as access logs show it.
    Flag(ResponseFlag),
    /// Why a call failed or was refused.
    Reason(Reason),
    /// Why a failed attempt was not tried again; beside the call's answer, never in its place.
    RetryStop(RetryStop),
    /// Something that happened to a cluster or endpoint.
    Event,
    /// Why a server refused a request.
    Refusal,
    /// Something wrong with a file: true for an error, false for a warning.
    Check {
        /// Whether the file is refused for it.
        refuses: bool,
    },
}

/// Everything that `code` may mean: a flag in either spelling (letters of any case), a reason, what
/// stops a retry, an event, a refusal of a server, or a diagnostic. Empty: it is no code.
#[must_use]
pub fn find(code: &str) -> Vec<Meaning> {
    let matches = |meaning: &Meaning| match &meaning.kind {
        CodeKind::Flag(flag) => meaning.code.eq_ignore_ascii_case(code) || flag.long_name() == code,
        _ => meaning.code == code,
    };
    all().filter(matches).collect()
}

/// The code that is most like `text`: for "did you mean".
#[must_use]
pub fn closest(text: &str) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let distance = |code: &str| distance(code.to_ascii_lowercase().as_bytes(), text.as_bytes());
    let near = all().map(|known| (distance(known.code), known.code));
    let near = near.filter(|(distance, code)| distance * 3 <= code.len().max(text.len()));
    near.min_by_key(|(distance, _)| *distance).map(|(_, code)| code)
}

/// Every code with its meaning: flags, reasons, what stops retries, events, refusals of servers, then those of
/// diagnostics.
pub fn all() -> impl Iterator<Item = Meaning> {
    let told = flags().chain(reasons()).chain(retry_stops()).chain(events());
    told.chain(refusals()).chain(checks())
}

#[cfg(feature = "config")]
fn checks() -> impl Iterator<Item = Meaning> {
    use crate::config::{Severity, code_explanations};
    code_explanations().iter().map(|known| Meaning {
        code: known.code,
        kind: CodeKind::Check { refuses: known.severity == Severity::Error },
        meaning: known.meaning,
        causes: known.causes,
        look_at: known.look_at,
    })
}

#[cfg(not(feature = "config"))]
fn checks() -> impl Iterator<Item = Meaning> {
    std::iter::empty()
}

impl fmt::Display for Meaning {
    /// Some lines of plain words.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            CodeKind::Flag(flag) => {
                writeln!(f, "{} ({}), a response flag", self.code, flag.long_name())?
            }
            CodeKind::Reason(_) => writeln!(f, "{}, why a call failed", self.code)?,
            CodeKind::RetryStop(_) => writeln!(f, "{}, why a retry was not made", self.code)?,
            CodeKind::Event => writeln!(f, "{}, an event", self.code)?,
            CodeKind::Refusal => writeln!(f, "{}, why a server refused a request", self.code)?,
            CodeKind::Check { refuses: true } => writeln!(f, "{}, an error in a file", self.code)?,
            CodeKind::Check { refuses: false } => {
                writeln!(f, "{}, a warning about a file", self.code)?
            }
        }
        writeln!(f)?;
        writeln!(f, "meaning   {}", self.meaning)?;
        writeln!(f, "causes    {}", self.causes)?;
        writeln!(f, "look at   {}", self.look_at)?;
        match &self.kind {
            CodeKind::Flag(flag) => {
                let codes: Vec<_> = reasons_of(*flag).map(|meaning| meaning.code).collect();
                if !codes.is_empty() {
                    writeln!(f, "reasons   {}", codes.join(", "))?;
                }
                let stops: Vec<_> = stops_of(*flag).map(|meaning| meaning.code).collect();
                if !stops.is_empty() {
                    writeln!(f, "stops     {}", stops.join(", "))?;
                }
                Ok(())
            }
            CodeKind::Reason(reason) => writeln!(
                f,
                "answers   HTTP {}, gRPC {}, flag {}",
                reason.http_status(),
                reason.grpc_status(),
                reason.flag()
            ),
            CodeKind::RetryStop(stop) => match stop.flag() {
                Some(flag) => writeln!(f, "adds      flag {flag} to the answer's own"),
                None => Ok(()),
            },
            CodeKind::Event | CodeKind::Refusal | CodeKind::Check { .. } => Ok(()),
        }
    }
}

/// What stops a retry and adds a flag.
pub fn stops_of(flag: ResponseFlag) -> impl Iterator<Item = Meaning> {
    retry_stops().filter(
        move |meaning| matches!(&meaning.kind, CodeKind::RetryStop(stop) if stop.flag() == Some(flag)),
    )
}

/// The reasons that carry a flag.
pub fn reasons_of(flag: ResponseFlag) -> impl Iterator<Item = Meaning> {
    reasons().filter(
        move |meaning| matches!(&meaning.kind, CodeKind::Reason(reason) if reason.flag() == flag),
    )
}
