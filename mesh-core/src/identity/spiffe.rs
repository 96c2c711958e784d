//! SPIFFE ids: `spiffe://TRUST-DOMAIN/PATH` (SPIFFE: `standards/SPIFFE-ID.md`, section 2).
//!
//! An id is a name that policies compare byte by byte, so there is one way to write it, and whatever
//! is not written that way is no id: nothing is normalized, for two texts that mean the same would be
//! a way around a policy.
//!
//! - The scheme is `spiffe`. RFC 3986 takes schemes in any case, and so does the standard; here only
//!   the lower case is one, which is what every issuer writes.
//! - The trust domain has `a`–`z`, `0`–`9`, `.`, `-` and `_`; it is not empty and has 255 bytes at
//!   most. No port, no user, no percent-encoding.
//! - The path is empty or has segments of `a`–`z`, `A`–`Z`, `0`–`9`, `.`, `-` and `_`; none is empty,
//!   `.` or `..`, so there is no slash at the end.
//! - No query, no fragment. 2048 bytes at most in all.
//!
//! What it does not do: say whether a certificate may carry the id (X.509-SVID: exactly one URI name);
//! [`PeerCertificate`](super::PeerCertificate) does.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// What every id begins with.
const SCHEME: &str = "spiffe://";

/// A SPIFFE id.
///
/// # Examples
///
/// ```
/// use mesh_core::identity::SpiffeId;
///
/// let id: SpiffeId = "spiffe://example.org/ns/default/sa/reviews".parse()?;
/// assert_eq!(id.trust_domain().as_str(), "example.org");
/// assert_eq!(id.path(), "/ns/default/sa/reviews");
/// assert!("spiffe://example.org/ns//sa".parse::<SpiffeId>().is_err());
/// # Ok::<(), mesh_core::identity::SpiffeIdError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpiffeId {
    text: Arc<str>,
    /// Where the path begins.
    path: u16,
}

impl SpiffeId {
    /// The longest id, in bytes (SPIFFE-ID, section 2.3).
    pub const MAX_LEN: usize = 2048;

    /// Reads an id.
    ///
    /// # Errors
    /// [`SpiffeIdError`]: the rule that is broken, and where.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        let at = |at, rule| SpiffeIdError { at, rule };
        if text.len() > Self::MAX_LEN {
            return Err(at(Self::MAX_LEN, SpiffeIdRule::TooLong));
        }
        let rest = text.strip_prefix(SCHEME).ok_or_else(|| {
            let same = text.bytes().zip(SCHEME.bytes()).take_while(|(a, b)| a == b).count();
            at(same, SpiffeIdRule::Scheme)
        })?;
        let path = SCHEME.len() + rest.find('/').unwrap_or(rest.len());
        check_trust_domain(&text[SCHEME.len()..path], SCHEME.len())?;
        check_path(&text[path..], path)?;
        // At most `MAX_LEN`.
        Ok(Self { text: Arc::from(text), path: u16::try_from(path).unwrap_or(u16::MAX) })
    }

    /// The whole id.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The trust domain.
    #[must_use]
    pub fn trust_domain(&self) -> TrustDomain {
        TrustDomain(Arc::from(&self.text[SCHEME.len()..usize::from(self.path)]))
    }

    /// The path with its leading slash, or the empty string: then the id is that of the trust domain
    /// itself, which no workload has (X.509-SVID, section 3.1).
    #[must_use]
    pub fn path(&self) -> &str {
        &self.text[usize::from(self.path)..]
    }

    /// Whether the id is of `domain`.
    #[must_use]
    pub fn is_member_of(&self, domain: &TrustDomain) -> bool {
        self.text[SCHEME.len()..usize::from(self.path)] == *domain.0
    }
}

impl FromStr for SpiffeId {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for SpiffeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// A trust domain: the part of an id whose keys sign it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TrustDomain(Arc<str>);

impl TrustDomain {
    /// The longest trust domain, in bytes (SPIFFE-ID, section 2.1).
    pub const MAX_LEN: usize = 255;

    /// Reads a trust domain's name, without a scheme.
    ///
    /// # Errors
    /// [`SpiffeIdError`]: the rule that is broken, and where.
    pub fn parse(text: &str) -> Result<Self, SpiffeIdError> {
        check_trust_domain(text, 0)?;
        Ok(Self(Arc::from(text)))
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for TrustDomain {
    type Err = SpiffeIdError;

    fn from_str(text: &str) -> Result<Self, SpiffeIdError> {
        Self::parse(text)
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// Why a text is no SPIFFE id. The text itself is not in it: it comes from outside, and may be long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{rule}, at byte {at}")]
#[expect(clippy::exhaustive_structs, reason = "a place and a rule, nothing else")]
pub struct SpiffeIdError {
    /// The byte at which the rule is broken.
    pub at: usize,
    /// The rule.
    pub rule: SpiffeIdRule,
}

/// The rules of SPIFFE ids (SPIFFE-ID, section 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed by SPIFFE's standard")]
pub enum SpiffeIdRule {
    /// It begins with `spiffe://`.
    #[error("a SPIFFE id begins with `spiffe://`")]
    Scheme,
    /// There are 2048 bytes at most.
    #[error("a SPIFFE id has 2048 bytes at most")]
    TooLong,
    /// There is a trust domain.
    #[error("a trust domain is not empty")]
    EmptyTrustDomain,
    /// A trust domain has 255 bytes at most.
    #[error("a trust domain has 255 bytes at most")]
    TrustDomainTooLong,
    /// A trust domain has no user in front of it.
    #[error("a trust domain has no user: leave out what is before the `@`")]
    UserInfo,
    /// A trust domain has no port.
    #[error("a trust domain has no port")]
    Port,
    /// A trust domain is written in lower case.
    #[error("a trust domain is written in lower case")]
    UpperCase,
    /// A trust domain has letters, digits, `.`, `-` and `_`.
    #[error("a trust domain has a-z, 0-9, `.`, `-` and `_` only")]
    TrustDomainCharacter,
    /// Nothing is percent-encoded.
    #[error("nothing in a SPIFFE id is percent-encoded")]
    PercentEncoding,
    /// There is no query.
    #[error("a SPIFFE id has no query")]
    Query,
    /// There is no fragment.
    #[error("a SPIFFE id has no fragment")]
    Fragment,
    /// No segment of the path is empty.
    #[error("no segment of a path is empty")]
    EmptySegment,
    /// A path does not end in a slash.
    #[error("a path does not end in `/`")]
    TrailingSlash,
    /// No segment of the path is `.` or `..`.
    #[error("no segment of a path is `.` or `..`")]
    DotSegment,
    /// A path has letters, digits, `.`, `-` and `_`.
    #[error("a path has a-z, A-Z, 0-9, `.`, `-`, `_` and `/` only")]
    PathCharacter,
}

/// Checks a trust domain that begins at byte `start` of what is read.
fn check_trust_domain(text: &str, start: usize) -> Result<(), SpiffeIdError> {
    let error = |at: usize, rule| Err(SpiffeIdError { at: start + at, rule });
    let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'-' | b'_');
    if let Some(at) = text.bytes().position(|byte| !allowed(byte)) {
        let rule = match text.as_bytes()[at] {
            _ if text.contains('@') => SpiffeIdRule::UserInfo,
            b':' => SpiffeIdRule::Port,
            b'A'..=b'Z' => SpiffeIdRule::UpperCase,
            b'%' => SpiffeIdRule::PercentEncoding,
            b'?' => SpiffeIdRule::Query,
            b'#' => SpiffeIdRule::Fragment,
            _ => SpiffeIdRule::TrustDomainCharacter,
        };
        return error(at, rule);
    }
    match text.len() {
        0 => error(0, SpiffeIdRule::EmptyTrustDomain),
        len if len > TrustDomain::MAX_LEN => {
            error(TrustDomain::MAX_LEN, SpiffeIdRule::TrustDomainTooLong)
        }
        _ => Ok(()),
    }
}

/// Checks a path, empty or with its leading slash, that begins at byte `start` of what is read.
fn check_path(path: &str, start: usize) -> Result<(), SpiffeIdError> {
    let Some(segments) = path.strip_prefix('/') else { return Ok(()) };
    let mut at = start + 1;
    for segment in segments.split('/') {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
        if let Some(wrong) = segment.bytes().position(|byte| !allowed(byte)) {
            let rule = match segment.as_bytes()[wrong] {
                b'%' => SpiffeIdRule::PercentEncoding,
                b'?' => SpiffeIdRule::Query,
                b'#' => SpiffeIdRule::Fragment,
                _ => SpiffeIdRule::PathCharacter,
            };
            return Err(SpiffeIdError { at: at + wrong, rule });
        }
        let is_last = at + segment.len() == start + path.len();
        let rule = match segment {
            "" if is_last => Some(SpiffeIdRule::TrailingSlash),
            "" => Some(SpiffeIdRule::EmptySegment),
            "." | ".." => Some(SpiffeIdRule::DotSegment),
            _ => None,
        };
        if let Some(rule) = rule {
            return Err(SpiffeIdError { at, rule });
        }
        at += segment.len() + 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests;
