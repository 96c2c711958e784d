//! What a request is hashed by (Envoy: `RouteAction.HashPolicy`; gRFC A42).

use super::RegexPattern;
use http::HeaderName;
use std::sync::Arc;
use std::time::Duration;

/// One input of the request's hash.
///
/// Inputs are combined in order: the first hash as it is, then `rotl(hash, 1) ^ next`. A
/// [`terminal`](Self::terminal) input ends the list when a hash exists after it. With no hash at all
/// the pick is random.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HashPolicy {
    /// Where the input comes from.
    pub source: HashSource,
    /// Stops here when there is a hash.
    pub terminal: bool,
}

impl HashPolicy {
    /// An input that does not end the list.
    #[must_use]
    pub const fn new(source: HashSource) -> Self {
        Self { source, terminal: false }
    }
}

/// Where an input of the request's hash comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum HashSource {
    /// The values of a header, joined with `,`, optionally rewritten first.
    Header {
        /// The header's name.
        name: HeaderName,
        /// A pattern and what each match of it is replaced by (`\1` is the first group).
        rewrite: Option<(RegexPattern, Arc<str>)>,
    },
    /// A cookie's value. With a `ttl`, a request without it is given one, in a `set-cookie` of the
    /// response; a `ttl` of zero makes a session cookie.
    Cookie {
        /// The cookie's name.
        name: Arc<str>,
        /// Lifetime of a cookie made here; `None`: none is made.
        ttl: Option<Duration>,
        /// `Path` of a cookie made here.
        path: Option<Arc<str>>,
    },
    /// The address of the directly connected peer.
    SourceIp,
    /// The authenticated identity of the peer.
    PeerIdentity,
    /// The first value of a query parameter.
    QueryParameter(Arc<str>),
    /// One value for the whole channel (gRPC's filter state `io.grpc.channel_id`).
    ChannelId,
}
