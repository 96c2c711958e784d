//! How often a call may be tried, whatever is configured.

use crate::model::BackOff;
use std::time::Duration;

/// The most transparent retries of a request that never left: no connection, or one that closed
/// before the request was sent.
pub const MAX_UNSENT: u8 = 3;

/// The most transparent retries of a request on a stream that the server refused: REFUSED_STREAM.
/// Once, as gRFC A6 says: who sheds load must not get the same request again and again.
pub const MAX_REFUSED: u8 = 1;

/// The most transparent retries of a request on streams above the last one of a GOAWAY.
///
/// RFC 9113 section 6.8: such a request was not looked at, and can safely be sent again. It crossed the
/// server's GOAWAY on the way, or had not left yet; so nobody was asked to do anything, and the next
/// connection is a new one. gRFC A6 counts this like a refusal, once; while a fleet restarts, and its
/// servers say GOAWAY one after another, once loses calls. A server that says GOAWAY to every
/// connection at once is where the bound is reached.
pub const MAX_GOAWAY: u8 = 8;

/// The most retries by policy, whatever `num_retries` or a caller's header says.
pub const MAX_RETRIES: u32 = 100;

/// How long a call that waits for ready pauses between rounds of connects that fail: at most 100 ms, then
/// twice as long each time, up to 5 s.
pub(super) const RECONNECT: BackOff =
    BackOff::new(Duration::from_millis(100), Duration::from_secs(5));
