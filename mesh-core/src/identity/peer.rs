//! What is known of the other side of a connection, as data.
//!
//! The TLS layer makes one per connection, once; everything that asks who is there reads it: SAN
//! matchers, authorization, logs. It holds names that the other side *proved*: a certificate whose
//! chain was not verified against our roots is given as [`Peer::Tls`], never as
//! [`Peer::Certified`].

use super::spiffe::{SpiffeId, SpiffeIdError};
use std::net::IpAddr;
use std::sync::Arc;

/// The other side of a connection, as far as it is proven.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: no TLS, TLS, TLS with a certificate")]
pub enum Peer {
    /// The connection is not encrypted.
    #[default]
    Plaintext,
    /// TLS, without a certificate of the other side that was verified.
    Tls,
    /// TLS, with a certificate that was verified against our roots.
    Certified(Arc<PeerCertificate>),
}

impl Peer {
    /// The certificate, if there is one.
    #[must_use]
    pub fn certificate(&self) -> Option<&PeerCertificate> {
        match self {
            Self::Certified(certificate) => Some(certificate),
            Self::Plaintext | Self::Tls => None,
        }
    }

    /// The SPIFFE id, if the certificate has one.
    #[must_use]
    pub fn spiffe_id(&self) -> Option<SpiffeId> {
        self.certificate()?.spiffe_id().ok()
    }

    /// The names of which a policy's `authenticated.principal_name` has to match one (gRFC A41): all
    /// URI names; without any, all DNS names; without those, the subject. It is the empty text without
    /// a certificate, and there is none at all without TLS.
    pub fn principals(&self) -> impl Iterator<Item = &str> {
        let (names, one): (&[Arc<str>], Option<&str>) = match self {
            Self::Plaintext => (&[], None),
            Self::Tls => (&[], Some("")),
            Self::Certified(certificate) => {
                match (certificate.uris.as_slice(), certificate.dns_names.as_slice()) {
                    ([], []) => (&[], Some(&certificate.subject)),
                    ([], names) | (names, _) => (names, None),
                }
            }
        };
        names.iter().map(|name| &**name).chain(one)
    }

    /// How the peer is called in logs: its first principal, or what is known instead.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Plaintext => "plaintext",
            Self::Tls => "tls without certificate",
            Self::Certified(_) => self.principals().next().unwrap_or_default(),
        }
    }
}

/// The names of a verified certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PeerCertificate {
    /// URI names (type 6), in the certificate's order.
    pub uris: Vec<Arc<str>>,
    /// DNS names (type 2), as they are written; wildcards included.
    pub dns_names: Vec<Arc<str>>,
    /// E-mail addresses (type 1).
    pub emails: Vec<Arc<str>>,
    /// IP addresses (type 7).
    pub ips: Vec<IpAddr>,
    /// Other names (type 0), as far as their values have a text.
    pub other_names: Vec<OtherName>,
    /// The subject's distinguished name as RFC 2253 writes it; empty: there is none.
    pub subject: Arc<str>,
}

impl PeerCertificate {
    /// A certificate without alternative names.
    #[must_use]
    pub fn new(subject: impl Into<Arc<str>>) -> Self {
        Self {
            uris: Vec::new(),
            dns_names: Vec::new(),
            emails: Vec::new(),
            ips: Vec::new(),
            other_names: Vec::new(),
            subject: subject.into(),
        }
    }

    /// The same without all names but those of URIs: the others are nothing that SPIFFE restricts, and so nothing that
    /// a trust domain proves.
    #[must_use]
    pub fn only_uris(&self) -> Self {
        Self { uris: self.uris.clone(), ..Self::new(Arc::clone(&self.subject)) }
    }

    /// A certificate with `id` as its only name.
    #[must_use]
    pub fn of(id: &SpiffeId) -> Self {
        Self { uris: vec![Arc::from(id.as_str())], ..Self::new("") }
    }

    /// The SPIFFE id: that of the one URI name (X.509-SVID, section 2; gRFC A87). It is read anew.
    ///
    /// # Errors
    /// [`NoSpiffeId`]: there is no URI name, there are several, or it is no SPIFFE id of a workload.
    pub fn spiffe_id(&self) -> Result<SpiffeId, NoSpiffeId> {
        match self.uris.as_slice() {
            [] => Err(NoSpiffeId::NoUri),
            [uri] => {
                let id = SpiffeId::parse(uri)?;
                // X.509-SVID, section 3.1: the id of a leaf has a path.
                if id.path().is_empty() { Err(NoSpiffeId::NoPath) } else { Ok(id) }
            }
            several => Err(NoSpiffeId::SeveralUris(several.len())),
        }
    }

    /// Whether there is no alternative name of any type.
    #[must_use]
    pub const fn is_nameless(&self) -> bool {
        self.uris.is_empty()
            && self.dns_names.is_empty()
            && self.emails.is_empty()
            && self.ips.is_empty()
            && self.other_names.is_empty()
    }
}

/// A name of a type of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by RFC 5280 section 4.2.1.6, `OtherName`")]
pub struct OtherName {
    /// The type, as numbers with dots: `1.3.6.1.4.1.311.20.2.3`.
    pub oid: Arc<str>,
    /// The value as text.
    pub value: Arc<str>,
}

/// Why a certificate has no SPIFFE id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed by SPIFFE's X.509-SVID")]
pub enum NoSpiffeId {
    /// It has no URI name.
    #[error("the certificate has no URI name")]
    NoUri,
    /// It has several URI names, so nobody can say which one is meant.
    #[error("the certificate has {0} URI names, and an SVID has exactly one")]
    SeveralUris(usize),
    /// Its URI name is no SPIFFE id.
    #[error("the certificate's URI name is no SPIFFE id: {0}")]
    NotSpiffe(#[from] SpiffeIdError),
    /// Its id is that of a trust domain, which only a signer has.
    #[error("the certificate's SPIFFE id has no path, so it names a trust domain and no workload")]
    NoPath,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(uris: &[&str], dns: &[&str], subject: &str, principals: &[&str]) {
        let mut certificate = PeerCertificate::new(subject);
        certificate.uris = uris.iter().map(|name| Arc::from(*name)).collect();
        certificate.dns_names = dns.iter().map(|name| Arc::from(*name)).collect();
        let peer = Peer::Certified(Arc::new(certificate));
        assert_eq!(peer.principals().collect::<Vec<_>>(), principals);
        assert_eq!(peer.name(), principals[0]);
    }

    #[test]
    fn principals_are_of_the_first_kind_there_is() {
        check(&["spiffe://a/b", "u:2"], &["d"], "CN=s", &["spiffe://a/b", "u:2"]);
        check(&[], &["d", "*.e"], "CN=s", &["d", "*.e"]);
        check(&[], &[], "CN=s", &["CN=s"]);
        check(&[], &[], "", &[""]);
        assert_eq!(Peer::Tls.principals().collect::<Vec<_>>(), [""]);
        assert_eq!(Peer::Plaintext.principals().count(), 0);
    }

    #[test]
    fn an_svid_has_one_uri_with_a_path() {
        for (uris, expected) in [
            (&[][..], "the certificate has no URI name"),
            (&["spiffe://a/b"], "spiffe://a/b"),
            (
                &["spiffe://a/b", "spiffe://a/c"],
                "the certificate has 2 URI names, and an SVID has exactly one",
            ),
            (
                &["https://a/b"],
                "the certificate's URI name is no SPIFFE id: a SPIFFE id begins with `spiffe://`, at byte 0",
            ),
            (
                &["spiffe://a"],
                "the certificate's SPIFFE id has no path, so it names a trust domain and no workload",
            ),
        ] {
            let mut certificate = PeerCertificate::new("");
            certificate.uris = uris.iter().map(|uri| Arc::from(*uri)).collect();
            let found = match certificate.spiffe_id() {
                Ok(id) => id.to_string(),
                Err(none) => none.to_string(),
            };
            assert_eq!(found, expected);
        }
    }
}
