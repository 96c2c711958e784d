//! [`ClientRefused`]: why a client's certificate was not good: who came, who was expected, which roots
//! were tried.

use crate::identity::Certificate;
use crate::identity::claimed::Claimed;
use mesh_core::WallTime;
use mesh_core::identity::peer::NoSpiffeId;
use mesh_core::identity::san::SanMismatch;
use mesh_core::identity::{Peer, TrustDomain};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A client's certificate was not good. No key is in it, and of certificates only what everybody may see.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClientRefused {
    /// What is wrong.
    pub reason: ClientRefusal,
    /// Who came; `None`: nobody showed a certificate that can be read.
    pub came: Option<CameCertificate>,
    /// What was tried.
    pub roots: TriedRoots,
}

/// What is wrong with a client's certificate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClientRefusal {
    /// It showed none, and one is required (Envoy: `require_client_certificate`).
    #[error("it showed no certificate, and one is required")]
    NoCertificate,
    /// It is no X.509 certificate.
    #[error("its certificate can't be read: {0}")]
    Unreadable(String),
    /// It is over.
    #[error("its certificate ended {} s ago", .0.as_secs())]
    Expired(Duration),
    /// It has not begun.
    #[error("its certificate begins in {} s", .0.as_secs())]
    NotYetValid(Duration),
    /// No root has signed it, not even through the certificates that came with it.
    #[error("no root that we believe has signed its certificate")]
    UnknownIssuer,
    /// We have no roots of its trust domain (gRFC A87).
    #[error("there are no roots of its trust domain `{0}`")]
    NoBundle(TrustDomain),
    /// It has no SPIFFE id, and roots are chosen by it (gRFC A87).
    #[error("roots are chosen by its SPIFFE id, and {0}")]
    NoSpiffeId(NoSpiffeId),
    /// Its key may sign certificates or lists of revoked ones, which no SVID's may (X.509-SVID section 5.2).
    #[error("its key may sign other certificates (key usage), which no SVID's may")]
    SignsOthers,
    /// It has none of the names that are asked for.
    #[error("{0}")]
    Names(Box<SanMismatch>),
    /// It was revoked.
    #[error("its certificate, or one that signed it, was revoked")]
    Revoked,
    /// No list says whether it was revoked (Envoy: `crl`; with one, each issuer needs its own).
    #[error("no revocation list is of its issuer")]
    RevocationUnknown,
    /// The list of revoked certificates is over.
    #[error("the revocation list of its issuer ended {} s ago: a newer one is needed", .0.as_secs())]
    RevocationListExpired(Duration),
    /// It is not for clients (RFC 5280 section 4.2.1.12).
    #[error("its certificate is not for clients (extended key usage)")]
    NotForClients,
    /// Anything else that the verifier found.
    #[error("its certificate does not verify: {0}")]
    Other(String),
}

/// The certificate that came.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct CameCertificate {
    /// What it calls itself: its first principal. Not proven: it was refused.
    pub name: Arc<str>,
    /// Its serial number, in hexadecimal.
    pub serial: Arc<str>,
    /// Who is said to have issued it.
    pub issuer: Arc<str>,
    /// Its end.
    pub not_after: WallTime,
}

/// The roots that were tried.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TriedRoots {
    /// How many, of all trust domains.
    pub count: usize,
    /// How many of these are over, or not valid yet, and so sign for nobody.
    pub out_of_time: usize,
    /// Where they come from.
    pub origin: Arc<str>,
    /// Since when they are used.
    pub since: WallTime,
}

impl CameCertificate {
    pub(super) fn new(certificate: &Certificate) -> Self {
        let peer = Peer::Certified(Arc::new(certificate.names.clone()));
        Self {
            name: peer.name().into(),
            serial: Arc::clone(&certificate.serial),
            issuer: Arc::clone(&certificate.issuer),
            not_after: certificate.validity.not_after,
        }
    }
}

impl std::error::Error for ClientRefused {}

impl fmt::Display for ClientRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the client is refused: {}", self.reason)?;
        if let Some(came) = &self.came {
            write!(
                f,
                "; who came: `{}` (serial {}, issued by `{}`, ends on {})",
                Claimed(&came.name),
                came.serial,
                Claimed(&came.issuer),
                came.not_after
            )?;
        }
        let TriedRoots { count, out_of_time, origin, since } = &self.roots;
        let over = OutOfTime(*out_of_time);
        write!(f, "; tried: {count} roots of {origin}{over}, used since {since}")
    }
}

/// How many roots sign for nobody now, where there are any.
pub(super) struct OutOfTime(pub(super) usize);

impl fmt::Display for OutOfTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            0 => Ok(()),
            some => write!(f, " (of which {some} out of their time sign for nobody)"),
        }
    }
}
