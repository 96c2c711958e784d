//! How a stream of bytes that is passed on ended, and what that is called.
//!
//! | end | flag | reason |
//! |---|---|---|
//! | both ends came to theirs | – | – |
//! | nothing went over for the idle timeout | `SI` | `idle_timeout` |
//! | the client reset it, or left while there was more for it | `DC` | `cancelled` |
//! | the endpoint did | `UC` | `reset_connection` |
//! | this process ended it: a drain, a certificate | `LR` | `reset_local` |
//!
//! The flags are Envoy's of requests, where its TCP proxy has none of its own.

use crate::local_reply::Reason;
use crate::outcome::{Failure, Processed, ResetReason};
use std::time::Duration;

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: either end, both, or who is between them")]
pub enum StreamEnd {
    /// Both ends came to theirs.
    Complete,
    /// Nothing went over for too long.
    Idle,
    /// The client broke it.
    Client,
    /// The endpoint broke it.
    Endpoint,
    /// It was ended here.
    Here,
}

impl StreamEnd {
    /// Why it has not come to its end; `None`: it has.
    #[must_use]
    pub const fn reason(self) -> Option<Reason> {
        let reset = match self {
            Self::Complete => return None,
            Self::Idle => return Some(Reason::IdleTimeout),
            Self::Client => {
                let (elapsed, headers_seen) = (Duration::ZERO, true);
                return Some(Reason::Attempt(Failure::Cancelled { elapsed, headers_seen }));
            }
            Self::Endpoint => ResetReason::ConnectionTermination,
            Self::Here => ResetReason::Local,
        };
        Some(Reason::Attempt(Failure::Reset { reason: reset, processed: Processed::Maybe }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_end_has_its_flag_and_its_reason() {
        let all = [
            (StreamEnd::Complete, None),
            (StreamEnd::Idle, Some(("SI", "idle_timeout"))),
            (StreamEnd::Client, Some(("DC", "cancelled"))),
            (StreamEnd::Endpoint, Some(("UC", "reset_connection"))),
            (StreamEnd::Here, Some(("LR", "reset_local"))),
        ];
        for (end, expected) in all {
            let reason = end.reason();
            let told = reason.as_ref().map(|reason| (reason.flag().as_str(), reason.code()));
            assert_eq!(told, expected, "{end:?}");
        }
    }
}
