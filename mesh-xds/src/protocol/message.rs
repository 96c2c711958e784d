//! What is received and what is sent, without bytes: a decoded [`Response`], and a [`Request`] to encode.

use crate::ResourceType;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A response after decoding. The decoded values stay with the caller, who finds them again by their
/// index.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// Its type.
    pub kind: ResourceType,
    /// `version_info`; of a delta response `system_version_info`, which only informs.
    pub version: Arc<str>,
    /// `nonce`.
    pub nonce: Arc<str>,
    /// What it holds.
    pub resources: Vec<Received>,
    /// `removed_resources`; of delta responses only.
    pub removed: Vec<Arc<str>>,
    /// `resource_errors` (xDS TP3).
    pub errors: Vec<ResourceError>,
}

/// A resource of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Received {
    /// Its name: the wrapper's (`Resource.name`) where there is one, else what its body says. `None`:
    /// it could not be read.
    pub name: Option<Arc<str>>,
    /// Its own version (`Resource.version`). `None`: that of the response.
    pub version: Option<Arc<str>>,
    /// How long it holds, if it is not sent again (`Resource.ttl`).
    pub ttl: Option<Duration>,
    /// What was in it.
    pub content: Content,
}

/// What was in a resource.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: decoded, not decoded, or nothing to decode")]
pub enum Content {
    /// It was decoded.
    Good {
        /// A hash of its bytes, so that equal content is not told again.
        hash: u64,
    },
    /// It was refused: all that is wrong with it, in one text.
    Bad(Arc<str>),
    /// A name without a body: what was sent before still holds (xDS protocol: "TTL").
    Heartbeat,
}

/// An error of the server for one resource (xDS TP3).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResourceError {
    /// The resource.
    pub name: Arc<str>,
    /// The status code of gRPC; 0: the error that was sent before no longer stands.
    pub code: u32,
    /// What the server says of it.
    pub message: Arc<str>,
}

/// A request to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// Its type.
    pub kind: ResourceType,
    /// Whether it must hold the node: the first request of a stream.
    pub node: bool,
    /// `response_nonce`; empty: none.
    pub nonce: Arc<str>,
    /// `error_detail.message`, which makes it a NACK; its code is INVALID_ARGUMENT. It lists every bad
    /// resource, within [`MAX_NACK_TEXT`](super::MAX_NACK_TEXT).
    pub error: Option<Arc<str>>,
    /// What is asked for.
    pub body: Body,
}

/// What a request asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: the two variants of the protocol")]
pub enum Body {
    /// A `DiscoveryRequest`.
    StateOfTheWorld {
        /// `version_info`: the last version of the type that was accepted; empty: none.
        version: Arc<str>,
        /// `resource_names`: all that is watched, sorted.
        names: Vec<Arc<str>>,
    },
    /// A `DeltaDiscoveryRequest`.
    Delta {
        /// `resource_names_subscribe`, sorted.
        subscribe: Vec<Arc<str>>,
        /// `resource_names_unsubscribe`, sorted.
        unsubscribe: Vec<Arc<str>>,
        /// `initial_resource_versions`: what is held, in the first request of the type on a stream.
        initial_versions: BTreeMap<Arc<str>, Arc<str>>,
    },
}

impl Response {
    /// An empty response.
    #[must_use]
    pub fn new(
        kind: ResourceType,
        version: impl Into<Arc<str>>,
        nonce: impl Into<Arc<str>>,
    ) -> Self {
        Self {
            kind,
            version: version.into(),
            nonce: nonce.into(),
            resources: Vec::new(),
            removed: Vec::new(),
            errors: Vec::new(),
        }
    }
}

impl Received {
    /// A resource without a version of its own and without an end.
    #[must_use]
    pub const fn new(name: Option<Arc<str>>, content: Content) -> Self {
        Self { name, version: None, ttl: None, content }
    }
}

impl ResourceError {
    /// An error of this code.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, code: u32, message: impl Into<Arc<str>>) -> Self {
        Self { name: name.into(), code, message: message.into() }
    }
}
