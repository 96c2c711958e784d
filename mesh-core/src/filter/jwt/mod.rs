//! Tokens: which a request needs, which it carries, what they claim (Envoy: `jwt_authn`).
//!
//! Everything but the arithmetic of signatures is here. What is cheap comes first, as with Envoy: a
//! token that is malformed, expired or for somebody else is refused before any key is looked for.
//!
//! ```text
//!  head ── place ──> texts ── token, claims ──> good so far ──> Question::Tokens ──> adapter
//!                              │                                                        │ keys, signatures
//!                              └── refused ────────> requirement <── Answer::Tokens ────┘
//!                                                        │
//!                                        headers, metadata, or a refusal
//! ```
//!
//! | module | what |
//! |---|---|
//! | `place.rs` | where tokens are in a request |
//! | `token.rs` | a token's parts |
//! | `claims.rs` | what a token must claim, and claims as headers and metadata |
//! | `jwks.rs`, `der.rs` | keys, as JSON has them and as verifiers want them |
//! | `compile.rs` | model → [`CompiledJwt`], or what is wrong |
//! | `requirement.rs` | one request's tokens, and whether they are enough |
//!
//! - `alg: none` and every HMAC are refused by their name, so that a public key can never pass for a
//!   shared secret; a key is only asked about algorithms of its own kind (RFC 8725 §3.1).
//! - Headers that claims are written to are removed from every request that the filter sees, whether it
//!   needs a token or not: a caller can't claim by hand, nor by a name with underscores for dashes, which is the same to
//!   applications that know headers as variables. (Envoy removes them where a rule requires something.)

mod claims;
mod compile;
mod der;
mod jwks;
mod place;
mod requirement;
#[cfg(test)]
mod tests;
mod token;

pub use compile::{CompiledJwt, JwtConfigError};
pub use jwks::{Key, KeySet, KeySetError, MAX_JWKS, MAX_KEYS};
pub(super) use requirement::Pending;
pub use token::{Algorithm, Token};

use crate::model::http_filter::JwksSource;
use std::sync::Arc;

/// The filter's name in metadata, as everybody knows it (Envoy: `envoy.filters.http.jwt_authn`).
pub const JWT_NAMESPACE: &str = "envoy.filters.http.jwt_authn";

/// Whether one token's signature is good.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TokenCheck {
    /// The provider, for logs.
    pub provider: Arc<str>,
    /// The keys.
    pub keys: Keys,
    /// The token; its claims are good.
    pub token: Arc<Token>,
    /// How many good tokens of this provider may be remembered.
    pub cache_size: u32,
}

/// Where keys are.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Keys {
    /// Here.
    Here(Arc<KeySet>),
    /// The adapter has them, or has to get them.
    At(Arc<JwksSource>),
}

/// Why a token is not good. The texts are Envoy's where it has them, for callers may look at them.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// There is none.
    #[error("Jwt is missing")]
    Missing,
    /// It is no token.
    #[error("Jwt is not in the form of Header.Payload.Signature: {0}")]
    Malformed(&'static str),
    /// It is too long to be looked at.
    #[error("Jwt is longer than {limit} bytes")]
    TooLong {
        /// The limit.
        limit: u32,
    },
    /// The algorithm is none that is taken.
    #[error("Jwt header [alg] is not supported")]
    Algorithm,
    /// The issuer is not the provider's.
    #[error("Jwt issuer is not configured")]
    UnknownIssuer,
    /// It is too old.
    #[error("Jwt is expired")]
    Expired,
    /// It is not good yet.
    #[error("Jwt not yet valid")]
    NotYetValid,
    /// It has no end, and has to have one.
    #[error("Jwt has no expiration, and one is required")]
    NoExpiration,
    /// It is good for too long.
    #[error("Jwt lifetime is longer than is allowed")]
    LifetimeTooLong,
    /// It is for somebody else.
    #[error("Audiences in Jwt are not allowed")]
    Audience,
    /// It is about somebody else.
    #[error("Jwt subject is not allowed")]
    Subject,
    /// No key has its id and its algorithm.
    #[error("Jwks doesn't have key to match kid or alg from Jwt")]
    NoKey,
    /// The signature is wrong.
    #[error("Jwt verification fails")]
    Signature,
    /// There are no keys.
    #[error("Jwks remote fetch is failed")]
    KeysUnavailable,
}

impl JwtError {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Missing => "jwt_missing",
            Self::Malformed(_) => "jwt_malformed",
            Self::TooLong { .. } => "jwt_too_long",
            Self::Algorithm => "jwt_algorithm",
            Self::UnknownIssuer => "jwt_unknown_issuer",
            Self::Expired => "jwt_expired",
            Self::NotYetValid => "jwt_not_yet_valid",
            Self::NoExpiration => "jwt_no_expiration",
            Self::LifetimeTooLong => "jwt_lifetime_too_long",
            Self::Audience => "jwt_audience",
            Self::Subject => "jwt_subject",
            Self::NoKey => "jwt_no_key",
            Self::Signature => "jwt_signature",
            Self::KeysUnavailable => "jwt_keys_unavailable",
        }
    }

    /// Whether it says more than that there is no token that could be meant.
    const fn is_telling(&self) -> bool {
        !matches!(self, Self::Missing | Self::UnknownIssuer)
    }
}
