//! [`Options`]: how the stream behaves, with what the gRFCs name as defaults; and the bounds.

use std::time::Duration;

/// How a resource that nobody has heard of is given up (gRFC A57).
const DOES_NOT_EXIST_TIMEOUT: Duration = Duration::from_secs(15);
/// The same with `resource_timer_is_transient_error` (gRFC A88).
const TRANSIENT_TIMEOUT: Duration = Duration::from_secs(30);

/// The most names of one type, watched or learned by wildcard. A watch beyond is refused, a resource
/// beyond makes the answer a NACK.
pub const MAX_NAMES: usize = 100_000;
/// The longest text of a NACK, in bytes. What is cut ends in "… and N more".
pub const MAX_NACK_TEXT: usize = 16 * 1024;
/// The longest error that is kept and told for one resource or for the stream, in bytes.
pub const MAX_RESOURCE_ERROR: usize = 4 * 1024;

/// The two ways to speak the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed by the xDS protocol")]
pub enum Variant {
    /// A request names all that is wanted, and a response holds all of it (of LDS and CDS) or some.
    StateOfTheWorld,
    /// Requests and responses hold what changed.
    Delta,
}

impl Variant {
    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::StateOfTheWorld => Self::Delta,
            Self::Delta => Self::StateOfTheWorld,
        }
    }
}

/// How the stream to one server behaves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// The preferred variant; the other one is taken when the server does not implement it.
    pub variant: Variant,
    /// Server feature `fail_on_data_errors` (gRFC A88): a deletion, a refused update or an error of
    /// kind NOT_FOUND or PERMISSION_DENIED drops what was held. Default: the last good is kept.
    pub fail_on_data_errors: bool,
    /// Server feature `resource_timer_is_transient_error` (gRFC A88): a resource that never came is
    /// unavailable, and not known to be absent.
    pub resource_timer_is_transient_error: bool,
    /// How long a resource is waited for, from the request on. `None`: 15 s (gRFC A57), or 30 s when
    /// the timer is a transient error (gRFC A88). Zero: for ever (Envoy: `initial_fetch_timeout`).
    pub does_not_exist_timeout: Option<Duration>,
    /// How long an attempt to open a stream may last. Default: 20 s (gRPC: connection-backoff,
    /// `MIN_CONNECT_TIMEOUT`).
    pub connect_timeout: Duration,
    /// How long a stream may say nothing at all while something unknown is asked for. Default: 60 s,
    /// so that the timers of resources come first: a server may be silent about what it has not.
    pub mute_timeout: Duration,
    /// The pause after the first stream without a response; each next one is 1.6 times longer, all are
    /// spread by ±20 % (gRPC: connection-backoff). Default: 1 s.
    pub initial_backoff: Duration,
    /// The longest pause, before it is spread. Default: 120 s.
    pub max_backoff: Duration,
    /// The least time from the start of one stream to the start of the next, whatever ended it: a
    /// server that answers and then closes is not called in a hot loop. Default: 1 s.
    pub min_stream_interval: Duration,
}

impl Options {
    /// The defaults, with this preferred variant.
    #[must_use]
    pub const fn new(variant: Variant) -> Self {
        Self {
            variant,
            fail_on_data_errors: false,
            resource_timer_is_transient_error: false,
            does_not_exist_timeout: None,
            connect_timeout: Duration::from_secs(20),
            mute_timeout: Duration::from_secs(60),
            initial_backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(120),
            min_stream_interval: Duration::from_secs(1),
        }
    }

    /// How long a resource is waited for; `None`: for ever.
    pub(super) fn resource_timeout(&self) -> Option<Duration> {
        let default = match self.resource_timer_is_transient_error {
            true => TRANSIENT_TIMEOUT,
            false => DOES_NOT_EXIST_TIMEOUT,
        };
        Some(self.does_not_exist_timeout.unwrap_or(default)).filter(|timeout| !timeout.is_zero())
    }
}

impl Default for Options {
    /// State of the world, as every control plane speaks it.
    fn default() -> Self {
        Self::new(Variant::StateOfTheWorld)
    }
}
