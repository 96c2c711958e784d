//! [`Certificate`]: what a certificate says, for those who decide by its names, watch its end or explain it.
//!
//! rustls and webpki verify; what they hide (names other than DNS ones, validity, key usage) is read
//! here, once, when a certificate is taken in or a peer has proven itself. Nothing is verified here.

use super::CertificateError;
use mesh_core::WallTime;
use mesh_core::identity::{OtherName, PeerCertificate, Validity};
use rustls::pki_types::CertificateDer;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use x509_parser::asn1_rs::{Any, Class, FromDer as _};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::time::ASN1Time;

/// What a certificate says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Certificate {
    /// Its names and subject.
    pub names: PeerCertificate,
    /// Who issued it: a distinguished name.
    pub issuer: Arc<str>,
    /// Its serial number, in hexadecimal.
    pub serial: Arc<str>,
    /// When it is valid.
    pub validity: Validity,
    /// Whether it may issue others (`basicConstraints`).
    pub is_ca: bool,
    /// What its key may do; `None`: nothing is said, so everything.
    pub key_usage: Option<KeyUsage>,
    /// Whether it may be shown by a server; nothing said means yes.
    pub for_servers: bool,
    /// Whether it may be shown by a client; nothing said means yes.
    pub for_clients: bool,
}

/// What a certificate's key may do (RFC 5280 section 4.2.1.3), as far as TLS and SPIFFE ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyUsage {
    /// Sign handshakes.
    pub digital_signature: bool,
    /// Sign certificates.
    pub key_cert_sign: bool,
    /// Sign lists of revoked certificates.
    pub crl_sign: bool,
}

impl Certificate {
    /// Reads a certificate. Its signature is not looked at.
    ///
    /// # Errors
    /// [`CertificateError::NotX509`]: the bytes are no certificate.
    pub fn parse(der: &CertificateDer<'_>) -> Result<Self, CertificateError> {
        let (_, read) = X509Certificate::from_der(der)
            .map_err(|error| CertificateError::NotX509 { reason: error.to_string() })?;
        let mut certificate = Self {
            names: PeerCertificate::new(read.subject().to_string()),
            issuer: read.issuer().to_string().into(),
            serial: hexadecimal(read.raw_serial()).into(),
            validity: Validity {
                not_before: wall(read.validity().not_before),
                not_after: wall(read.validity().not_after),
            },
            is_ca: false,
            key_usage: None,
            for_servers: true,
            for_clients: true,
        };
        for extension in read.extensions() {
            certificate.take(extension.parsed_extension());
        }
        Ok(certificate)
    }

    /// Whether its key may sign certificates or lists of revoked ones, which no workload's may (X509-SVID sections
    /// 4.3 and 5.2).
    pub(crate) fn signs_others(&self) -> bool {
        self.key_usage.is_some_and(|usage| usage.key_cert_sign || usage.crl_sign)
    }

    fn take(&mut self, extension: &ParsedExtension<'_>) {
        match extension {
            ParsedExtension::BasicConstraints(constraints) => self.is_ca = constraints.ca,
            ParsedExtension::KeyUsage(usage) => {
                self.key_usage = Some(KeyUsage {
                    digital_signature: usage.digital_signature(),
                    key_cert_sign: usage.key_cert_sign(),
                    crl_sign: usage.crl_sign(),
                });
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.for_servers = usage.any || usage.server_auth;
                self.for_clients = usage.any || usage.client_auth;
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                names.general_names.iter().for_each(|name| self.name(name));
            }
            _ => {}
        }
    }

    fn name(&mut self, name: &GeneralName<'_>) {
        let names = &mut self.names;
        match name {
            GeneralName::URI(uri) => names.uris.push(Arc::from(*uri)),
            GeneralName::DNSName(dns) => names.dns_names.push(Arc::from(*dns)),
            GeneralName::RFC822Name(mail) => names.emails.push(Arc::from(*mail)),
            GeneralName::IPAddress(bytes) => names.ips.extend(address(bytes)),
            GeneralName::OtherName(oid, value) => {
                if let Some(value) = text(value) {
                    names.other_names.push(OtherName { oid: oid.to_id_string().into(), value });
                }
            }
            _ => {}
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(|bytes| Ipv4Addr::from(bytes).into());
    let v6 = <[u8; 16]>::try_from(bytes).map(|bytes| Ipv6Addr::from(bytes).into());
    v4.or(v6).ok()
}

/// The text of another name's value, `[0] EXPLICIT` around it or not.
fn text(value: &[u8]) -> Option<Arc<str>> {
    let (_, outer) = Any::from_der(value).ok()?;
    let inner = match outer.class() == Class::Universal {
        true => outer,
        false => Any::from_der(outer.data).ok()?.1,
    };
    std::str::from_utf8(inner.data).ok().map(Arc::from)
}

pub(super) fn hexadecimal(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        // Writing into a text does not fail.
        let _infallible = write!(text, "{byte:02x}");
    }
    text
}

/// Dates before 1970 are 1970: they are over either way.
pub(super) fn wall(time: ASN1Time) -> WallTime {
    WallTime::from_unix_seconds(u64::try_from(time.timestamp()).unwrap_or(0))
}
