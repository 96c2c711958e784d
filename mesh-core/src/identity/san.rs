//! Whether a peer's certificate has one of the names that were asked for.
//!
//! Any matcher that any name fulfils will do (gRFC A29; Envoy: `match_typed_subject_alt_names`); an
//! empty list accepts every certificate. The match takes the place of a check of the host name.
//!
//! - A matcher sees names of its type only; the old matchers without a type see DNS, URI, e-mail and
//!   IP, not other names (Envoy: `match_subject_alt_names`).
//! - An *exact* DNS name follows the rules of DNS: letters without case, and a wildcard *in the
//!   certificate* stands for its left-most label or a part of it. Every other kind of comparison sees
//!   the certificate's text as it is (Envoy: `StringSanMatcher`, `Utility::dnsNameMatch`).
//! - An address is compared as text in its canonical form (gRFC A29).
//! - Of other names the type has to be the same.
//!
//! When nothing matches, the error says what came nearest: most mistakes are a wrong trust domain, a
//! wrong service account, upper case, or the right name in a field of another type.

mod dns;
mod nearest;

use super::peer::{Peer, PeerCertificate};
use crate::model::matcher::StringPattern;
use crate::model::san::{SanKind, SanMatcher};
use crate::router::{CompiledStringMatcher, MatcherError};
use std::fmt;
use std::sync::Arc;

pub use nearest::{Difference, Nearest};

/// Conditions on the names of a certificate, ready to run.
#[derive(Clone, Debug)]
pub struct CompiledSanMatchers {
    matchers: Box<[Compiled]>,
}

#[derive(Clone, Debug)]
struct Compiled {
    model: SanMatcher,
    /// The name of an exact matcher that may see DNS names, in lower case.
    dns: Option<Box<str>>,
    text: CompiledStringMatcher,
}

impl CompiledSanMatchers {
    /// Compiles `matchers`, of which one has to match.
    ///
    /// # Errors
    /// [`MatcherError`] of the matcher at the index beside it.
    pub fn new(matchers: &[SanMatcher]) -> Result<Self, (usize, MatcherError)> {
        let compile = |(at, model): (usize, &SanMatcher)| {
            let text = CompiledStringMatcher::new(&model.matcher).map_err(|error| (at, error))?;
            let dns = match (&model.kind, &model.matcher.pattern) {
                (SanKind::Dns | SanKind::Any, StringPattern::Exact(name)) => {
                    Some(name.to_ascii_lowercase().into())
                }
                _ => None,
            };
            Ok(Compiled { model: model.clone(), dns, text })
        };
        Ok(Self { matchers: matchers.iter().enumerate().map(compile).collect::<Result<_, _>>()? })
    }

    /// Whether every certificate will do.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.matchers.is_empty()
    }

    /// Whether a name of the peer's certificate is one of those asked for.
    #[must_use]
    pub fn matches(&self, certificate: &PeerCertificate) -> bool {
        self.is_empty() || self.matchers.iter().any(|matcher| matcher.matches(certificate))
    }

    /// Checks that the peer proved one of the names that are asked for.
    ///
    /// # Errors
    /// [`SanMismatch`]: it did not, and what came nearest. Making it costs more than a match.
    pub fn check(&self, peer: &Peer) -> Result<(), SanMismatch> {
        let Some(certificate) = peer.certificate() else {
            return Err(SanMismatch { reason: MismatchReason::NoCertificate, asked: self.asked() });
        };
        if self.matches(certificate) {
            return Ok(());
        }
        let reason = match nearest::nearest(self.models(), certificate) {
            _ if certificate.is_nameless() => MismatchReason::Nameless,
            Some(nearest) => MismatchReason::Nearest(nearest),
            None => MismatchReason::NoneOfType,
        };
        Err(SanMismatch { reason, asked: self.asked() })
    }

    fn models(&self) -> impl Iterator<Item = &SanMatcher> {
        self.matchers.iter().map(|matcher| &matcher.model)
    }

    fn asked(&self) -> Box<[SanMatcher]> {
        self.models().cloned().collect()
    }
}

impl Compiled {
    fn matches(&self, certificate: &PeerCertificate) -> bool {
        let kind = &self.model.kind;
        let any = *kind == SanKind::Any;
        let texts =
            |names: &[Arc<str>]| names.iter().any(|name| self.text.matches(name.as_bytes()));
        let is = |wanted: &SanKind| any || kind == wanted;
        (is(&SanKind::Uri) && texts(&certificate.uris))
            || (is(&SanKind::Dns) && self.matches_dns(&certificate.dns_names))
            || (is(&SanKind::Email) && texts(&certificate.emails))
            || (is(&SanKind::Ip) && self.matches_ip(certificate))
            || self.matches_other(certificate)
    }

    fn matches_dns(&self, names: &[Arc<str>]) -> bool {
        names.iter().any(|name| match &self.dns {
            Some(wanted) => dns::matches(wanted, name),
            None => self.text.matches(name.as_bytes()),
        })
    }

    fn matches_ip(&self, certificate: &PeerCertificate) -> bool {
        certificate.ips.iter().any(|ip| self.text.matches(ip.to_string().as_bytes()))
    }

    fn matches_other(&self, certificate: &PeerCertificate) -> bool {
        let SanKind::OtherName(oid) = &self.model.kind else { return false };
        let mut names = certificate.other_names.iter().filter(|name| name.oid == *oid);
        names.any(|name| self.text.matches(name.value.as_bytes()))
    }
}

/// The peer proved none of the names that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct SanMismatch {
    /// What came nearest, or why nothing could.
    pub reason: MismatchReason,
    /// What was asked for, any of it; empty: any certificate.
    pub asked: Box<[SanMatcher]>,
}

/// Why no name was one of those asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: what may be missing in a certificate")]
pub enum MismatchReason {
    /// The peer showed no certificate.
    NoCertificate,
    /// Its certificate has no alternative names (gRFC A29: the subject does not count).
    Nameless,
    /// None of its names can be compared with what was asked for.
    NoneOfType,
    /// This came nearest.
    Nearest(Nearest),
}

impl fmt::Display for SanMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.reason {
            MismatchReason::NoCertificate => f.write_str("the peer showed no certificate")?,
            MismatchReason::Nameless => {
                f.write_str("the peer's certificate has no subject alternative name")?;
            }
            MismatchReason::NoneOfType => {
                f.write_str("the peer's certificate has no name of the type that was asked for")?;
            }
            MismatchReason::Nearest(nearest) => nearest.fmt(f)?,
        }
        match &self.asked[..] {
            [] | [_] => Ok(()),
            several => write!(f, " (of {} names that were asked for)", several.len()),
        }
    }
}

#[cfg(test)]
mod tests;
