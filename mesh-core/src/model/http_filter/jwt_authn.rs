//! Tokens that a request must carry (Envoy: `extensions.filters.http.jwt_authn.v3`).

use super::HttpUri;
use crate::model::{RouteMatch, StringMatcher};
use http::HeaderName;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// Which requests need which tokens (Envoy: `JwtAuthentication`).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtAuthn {
    /// Who issues tokens, by the names that requirements use.
    pub providers: BTreeMap<Arc<str>, JwtProvider>,
    /// What requests need; the first whose conditions hold counts, and a request for which none do
    /// needs nothing.
    pub rules: Vec<JwtRule>,
    /// Requirements that rules and routes name (Envoy: `requirement_map`).
    pub requirements: BTreeMap<Arc<str>, JwtRequirement>,
    /// A CORS preflight request needs nothing. Default false.
    pub bypass_cors_preflight: bool,
    /// The caller is not told why it was refused. Default false.
    pub strip_failure_response: bool,
    /// Nothing is refused, and nothing of a request changed: what would be refused is counted. Ours; default false.
    pub shadow: bool,
}

/// What some requests need (Envoy: `RequirementRule`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `RequirementRule`")]
pub struct JwtRule {
    /// Which requests. A `runtime_fraction` is refused: whether a token is needed is no matter of luck.
    pub matcher: RouteMatch,
    /// What they need; `None`: nothing.
    pub requires: Option<JwtRequirement>,
}

/// What a request needs (Envoy: `JwtRequirement`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwtRequirement {
    /// A token of a provider. Every token at the provider's places must be good: an application might
    /// take another one than the one that was verified.
    Provider {
        /// The provider.
        name: Arc<str>,
        /// One of these is among the token's audiences; empty: one of the provider's
        /// (Envoy: `provider_and_audiences`).
        audiences: Vec<Arc<str>>,
    },
    /// One of these (Envoy: `requires_any`).
    Any(Vec<Self>),
    /// All of these (Envoy: `requires_all`).
    All(Vec<Self>),
    /// A token may be missing, and must not be bad. Within [`Any`](Self::Any) it is about the tokens of
    /// the providers there, else about those of all.
    AllowMissing,
    /// Anything goes. What is good is passed on as if it had been asked for.
    AllowMissingOrFailed,
    /// The requirement of this name (Envoy: `requirement_name`).
    Named(Arc<str>),
}

impl JwtRequirement {
    /// A token of this provider.
    #[must_use]
    pub fn provider(name: impl Into<Arc<str>>) -> Self {
        Self::Provider { name: name.into(), audiences: Vec::new() }
    }
}

/// Who issues tokens, where they are, and what becomes of them (Envoy: `JwtProvider`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct JwtProvider {
    /// What `iss` must be; `None`: anything.
    pub issuer: Option<Arc<str>>,
    /// One of these is among `aud`; empty: it does not matter. `http://` or `https://` before, and a
    /// slash after, do not count on either side (Envoy).
    pub audiences: Vec<Arc<str>>,
    /// What `sub` must be; `None`: anything.
    pub subjects: Option<StringMatcher>,
    /// A token without `exp` is refused. Default false.
    pub require_expiration: bool,
    /// The longest that a token may be good for, from `iat` (or else now) to `exp`; `None`: any time.
    /// With it a token without `exp` is refused.
    pub max_lifetime: Option<Duration>,
    /// The keys.
    pub jwks: JwksSource,
    /// Whether the token goes on to the application. Default false: it is removed from headers and from the query; what
    /// is in a cookie stays there (Envoy).
    pub forward: bool,
    /// Headers that it is in, each with what comes before it.
    ///
    /// Without any place: `authorization` after `Bearer `, then the parameter `access_token`.
    pub from_headers: Vec<JwtHeader>,
    /// Parameters of the query that it is in.
    pub from_params: Vec<Arc<str>>,
    /// Cookies that it is in.
    pub from_cookies: Vec<Arc<str>>,
    /// The header that tells the application the claims, as base64url. What a caller writes there is
    /// removed.
    pub forward_payload_header: Option<HeaderName>,
    /// With `=` at its end. Default false.
    pub pad_forward_payload_header: bool,
    /// The key under which the claims are in the metadata of `envoy.filters.http.jwt_authn`.
    pub payload_in_metadata: Option<Arc<str>>,
    /// Claims of words with spaces between that become lists there (Envoy:
    /// `normalize_payload_in_metadata.space_delimited_claims`).
    pub space_delimited_claims: Vec<Arc<str>>,
    /// The key under which the token's header is there.
    pub header_in_metadata: Option<Arc<str>>,
    /// The key under which the reason of a refusal is there.
    pub failed_status_in_metadata: Option<Arc<str>>,
    /// Claims that become headers. What a caller writes there is removed.
    pub claim_to_headers: Vec<ClaimToHeader>,
    /// How far clocks may differ. Default 60 s.
    pub clock_skew: Duration,
    /// How many good tokens are remembered, so that their signatures are not checked again
    /// (Envoy: `jwt_cache_config`). Default 0: none; Envoy's own, where it is asked for, is 100.
    pub cache_size: u32,
    /// The longest token that is looked at, in bytes. Default 4096; at most [`MAX_TOKEN`].
    pub max_token_bytes: u32,
}

/// A header that a token is in (Envoy: `JwtHeader`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `JwtHeader`")]
pub struct JwtHeader {
    /// Its name.
    pub name: HeaderName,
    /// What is before the token, anywhere in the value; empty: the whole value is it.
    pub value_prefix: Arc<str>,
}

/// A claim that becomes a header (Envoy: `JwtClaimToHeader`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by Envoy's `JwtClaimToHeader`")]
pub struct ClaimToHeader {
    /// The header.
    pub header_name: HeaderName,
    /// The claim; dots lead into structs (`nested.group`). Lists and structs become base64 of JSON.
    pub claim_name: Arc<str>,
}

/// Where a provider's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum JwksSource {
    /// Here, as JSON (RFC 7517; Envoy: `local_jwks.inline_string`).
    Inline(Arc<str>),
    /// In a file (Envoy: `local_jwks.filename`): read when it is needed first, and anew every ten seconds while it is used.
    /// One that can't be read any more leaves its last good keys.
    File(Arc<Path>),
    /// At a server.
    Remote(RemoteJwks),
}

/// Keys at a server (Envoy: `RemoteJwks`).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RemoteJwks {
    /// Where.
    pub http_uri: HttpUri,
    /// How long keys are good for. After that they are fetched again; until that has come, they stay
    /// good for as long again, so that a server that hangs stops nobody. Default 10 min.
    pub cache_duration: Duration,
    /// Whether they are fetched before the first request needs them. Default false.
    pub async_fetch: bool,
    /// When they are fetched again after that failed. Default 1 s.
    pub failed_refetch: Duration,
}

/// The longest that tokens may be allowed to be, in bytes.
pub const MAX_TOKEN: u32 = 16 * 1024;

impl JwtProvider {
    /// A provider of these keys, with Envoy's defaults.
    #[must_use]
    pub const fn new(jwks: JwksSource) -> Self {
        Self {
            issuer: None,
            audiences: Vec::new(),
            subjects: None,
            require_expiration: false,
            max_lifetime: None,
            jwks,
            forward: false,
            from_headers: Vec::new(),
            from_params: Vec::new(),
            from_cookies: Vec::new(),
            forward_payload_header: None,
            pad_forward_payload_header: false,
            payload_in_metadata: None,
            space_delimited_claims: Vec::new(),
            header_in_metadata: None,
            failed_status_in_metadata: None,
            claim_to_headers: Vec::new(),
            clock_skew: Duration::from_secs(60),
            cache_size: 0,
            max_token_bytes: 4096,
        }
    }
}

impl RemoteJwks {
    /// Keys at `http_uri`, with Envoy's defaults.
    #[must_use]
    pub const fn new(http_uri: HttpUri) -> Self {
        Self {
            http_uri,
            cache_duration: Duration::from_secs(600),
            async_fetch: false,
            failed_refetch: Duration::from_secs(1),
        }
    }
}
