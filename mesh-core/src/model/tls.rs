//! How a cluster's connections are secured.

use super::StringMatcher;
use std::sync::Arc;

/// How a cluster's connections are secured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsPolicy {
    /// Plaintext.
    #[default]
    Off,
    /// TLS; what the peer must prove is said inside. A transport that can't do it fails closed.
    On(Arc<UpstreamTls>),
}

/// What a TLS peer must prove, and what we show (Envoy: `UpstreamTlsContext`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct UpstreamTls {
    /// Who signs the peer's certificate.
    pub roots: TlsRoots,
    /// The name sent as SNI; `None`: the endpoint's hostname, or none.
    pub sni: Option<Arc<str>>,
    /// Any of these must match a subject alternative name; empty: the SNI must.
    pub san: Vec<StringMatcher>,
    /// Whether our own identity is shown to the peer (mutual TLS).
    pub present_identity: bool,
}

/// Who signs the peer's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TlsRoots {
    /// The public certificate authorities that the system trusts.
    #[default]
    System,
    /// The mesh's own, of the identity in force.
    Mesh,
    /// The certificates of a PEM text.
    Pem(Arc<str>),
}
