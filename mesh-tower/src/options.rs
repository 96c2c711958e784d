//! What a caller may say about one call, in the request's extensions.
//!
//! ```
//! use mesh_tower::CallOptions;
//! use std::time::Duration;
//!
//! let mut request = http::Request::new(());
//! request.extensions_mut().insert(
//!     CallOptions::new().timeout(Duration::from_millis(200)).no_retry(),
//! );
//! ```

use std::time::Duration;

/// What a caller says about one call; put it into [`http::Request::extensions_mut`].
///
/// What is not said here is the route's. Nothing here can widen a limit that the caller's own caller
/// set: the earlier deadline wins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallOptions {
    pub(crate) timeout: Option<Duration>,
    pub(crate) no_retry: bool,
    pub(crate) wait_for_ready: bool,
    pub(crate) hash: Option<u64>,
    pub(crate) report: bool,
    pub(crate) server_timing: bool,
}

impl CallOptions {
    /// Nothing said.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            timeout: None,
            no_retry: false,
            wait_for_ready: false,
            hash: None,
            report: false,
            server_timing: false,
        }
    }

    /// Limits the whole call, in place of the route's timeout; zero: no limit but the caller's.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Makes one attempt only. What a server did not process is still sent elsewhere.
    #[must_use]
    pub const fn no_retry(mut self) -> Self {
        self.no_retry = true;
        self
    }

    /// Waits, within the deadline, for an endpoint that can be picked and that takes connections (grpc/grpc
    /// `doc/wait-for-ready.md`). Between rounds of connects that fail there are pauses, up to 5 s.
    #[must_use]
    pub const fn wait_for_ready(mut self) -> Self {
        self.wait_for_ready = true;
        self
    }

    /// Hashes the call by `key` in place of the route's hash policy.
    #[must_use]
    pub fn hash_key(mut self, key: &[u8]) -> Self {
        self.hash = Some(mesh_core::router::hash_key(key));
        self
    }

    /// Puts a [`CallReport`](crate::observe::CallReport) into the response's extensions.
    #[must_use]
    pub const fn report(mut self) -> Self {
        self.report = true;
        self
    }

    /// Adds the report to the response's headers too, as `Server-Timing`
    /// ([`CallReport::server_timing`](crate::observe::CallReport::server_timing)), for who passes the
    /// response on to a browser.
    #[must_use]
    pub const fn server_timing(mut self) -> Self {
        (self.report, self.server_timing) = (true, true);
        self
    }
}
