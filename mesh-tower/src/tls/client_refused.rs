//! [`NotSecured`]: why a connection could not be secured.

use crate::identity::Certificate;
use crate::identity::claimed::Claimed;
use crate::identity::life::when;
use mesh_core::WallTime;
use mesh_core::identity::Peer;
use mesh_core::outcome::ConnectFailure;
use rustls::{AlertDescription, CertificateError, Error};
use std::fmt;
use std::io;
use std::sync::Arc;

/// Why a connection could not be secured: a reason to count, and all that is known, in words. No key is in
/// it, and no part of one.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub(crate) struct NotSecured {
    /// The reason.
    pub(crate) failure: ConnectFailure,
    text: Arc<str>,
}

impl NotSecured {
    pub(super) fn new(failure: ConnectFailure, text: impl fmt::Display) -> Self {
        Self { failure, text: text.to_string().into() }
    }

    /// The one that is behind an error of the byte stream.
    pub(crate) fn behind(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }

    /// What we say to the peer of it: the alert that fits (RFC 8446 section 6.2).
    pub(super) const fn alert(&self) -> CertificateError {
        match self.failure {
            ConnectFailure::TlsUntrusted => CertificateError::UnknownIssuer,
            ConnectFailure::TlsExpired => CertificateError::Expired,
            ConnectFailure::TlsNotYetValid => CertificateError::NotValidYet,
            ConnectFailure::TlsRevoked => CertificateError::Revoked,
            ConnectFailure::TlsRevocationUnknown => CertificateError::UnknownRevocationStatus,
            ConnectFailure::TlsName => CertificateError::NotValidForName,
            _ => CertificateError::ApplicationVerificationFailure,
        }
    }
}

/// What we had to show, and whether we were asked for it.
#[derive(Clone, Debug)]
pub(super) struct Showed {
    /// Whether the peer asked who we are.
    pub(super) asked: bool,
    /// What we have to show, in words; `None`: nothing.
    pub(super) ours: Option<Arc<str>>,
    /// The peer takes no signature that our key makes, so it was shown nothing (RFC 8446 section 4.3.2).
    pub(super) is_unfit: bool,
}

impl Showed {
    /// Whether the peer asked, and was shown nothing.
    const fn is_nobody(&self) -> bool {
        self.asked && (self.ours.is_none() || self.is_unfit)
    }
}

impl fmt::Display for Showed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.ours, self.asked) {
            (Some(ours), true) if self.is_unfit => write!(
                f,
                "we were asked for a certificate, and showed none: the key of ours, {ours}, makes none of the \
                 signatures that the peer takes"
            ),
            (Some(ours), true) => write!(f, "we showed {ours}"),
            (Some(ours), false) => write!(f, "we were not asked for what we have, {ours}"),
            (None, true) => f.write_str(
                "we were asked for a certificate and have none: give the cluster an identity \
                 (`tls: mesh`, a certificate provider or a secret)",
            ),
            (None, false) => f.write_str("we were not asked for a certificate, and have none"),
        }
    }
}

/// A certificate in words: whose, its number, who issued it, its end.
pub(super) struct InWords<'a>(pub(super) &'a Certificate, pub(super) WallTime);

impl fmt::Display for InWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(certificate, now) = self;
        let peer = Peer::Certified(Arc::new(certificate.names.clone()));
        let (name, issuer) = (Claimed(peer.name()), Claimed(&certificate.issuer));
        let serial = &certificate.serial;
        let end = certificate.validity.not_after;
        let verb = if *now > end { "ended" } else { "ends" };
        let when = when(end, *now);
        write!(f, "`{name}` (serial {serial}, issued by `{issuer}`, {verb} {when})")
    }
}

/// Why a handshake failed, by what rustls or the system says.
pub(super) fn failed(error: &io::Error, showed: &Showed) -> NotSecured {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<Error>()) {
        Some(error) => by_rustls(error, showed),
        None if error.kind() == io::ErrorKind::UnexpectedEof => NotSecured::new(
            ConnectFailure::Handshake,
            format_args!(
                "the peer closed in the middle of the TLS handshake: does it speak TLS at this port? ({showed})"
            ),
        ),
        None => NotSecured::new(
            ConnectFailure::Handshake,
            format_args!("the connection broke in the TLS handshake: {error} ({showed})"),
        ),
    }
}

fn by_rustls(error: &Error, showed: &Showed) -> NotSecured {
    match error {
        Error::AlertReceived(alert) => by_alert(*alert, showed),
        Error::InvalidMessage(_) => NotSecured::new(
            ConnectFailure::TlsProtocol,
            format_args!("what came is no TLS: {error}; does the endpoint speak TLS at this port?"),
        ),
        Error::PeerIncompatible(_) | Error::PeerMisbehaved(_) | Error::NoApplicationProtocol => {
            NotSecured::new(ConnectFailure::TlsProtocol, format_args!("TLS handshake: {error}"))
        }
        error => NotSecured::new(ConnectFailure::Tls, format_args!("TLS handshake: {error}")),
    }
}

fn by_alert(alert: AlertDescription, showed: &Showed) -> NotSecured {
    match about_us(alert, showed) {
        true => refused(alert, showed),
        false => NotSecured::new(
            ConnectFailure::TlsProtocol,
            format_args!(
                "the peer ended the TLS handshake by the alert {alert:?}: look at its versions, its ALPN \
                 protocols and its server names ({showed})"
            ),
        ),
    }
}

/// The peer's word about us that came after the handshake: in TLS 1.3 we are done before it has looked.
pub(super) fn refused_late(error: &io::Error, showed: &Showed) -> Option<NotSecured> {
    match error.get_ref()?.downcast_ref::<Error>()? {
        Error::AlertReceived(alert) if about_us(*alert, showed) => Some(refused(*alert, showed)),
        _ => None,
    }
}

fn refused(alert: AlertDescription, showed: &Showed) -> NotSecured {
    let text = format_args!("the peer refused us by the alert {alert:?}; {showed}");
    NotSecured::new(ConnectFailure::TlsRefused, text)
}

/// Whether an alert is about what we showed. Of older versions of TLS, a failure of the handshake is when
/// a certificate was asked for: there is no alert for one that is missing (RFC 5246 section 7.4.6).
fn about_us(alert: AlertDescription, showed: &Showed) -> bool {
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::NoCertificate
        | AlertDescription::BadCertificate
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::CertificateRevoked
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateUnknown
        | AlertDescription::UnknownCA
        | AlertDescription::AccessDenied => true,
        AlertDescription::HandshakeFailure | AlertDescription::DecryptError => showed.asked,
        _ => false,
    }
}

/// The peer asked for a certificate, got none, and closed: its alert may be lost with the connection.
pub(super) fn closed_on(showed: &Showed, became: Option<&io::Error>) -> Option<NotSecured> {
    showed.is_nobody().then(|| {
        let became = became.map(|error| format!(" ({error})")).unwrap_or_default();
        let text = format_args!("the peer closed right after the TLS handshake{became}; {showed}");
        NotSecured::new(ConnectFailure::TlsRefused, text)
    })
}
