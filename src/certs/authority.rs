//! A CA for tests: a key, a certificate, and what it signs.
//!
//! Its certificates are what X.509-SVID wants: one SPIFFE id, a critical key usage, both sides of TLS. Keys
//! are ECDSA P-256. It is for trying things out: its own key lies in a file.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::time::{Duration, SystemTime};

/// How long a CA lasts: ten years.
const CA_DAYS: u64 = 3650;
/// Clocks differ: certificates begin this long before they are made.
const BACKDATED: Duration = Duration::from_secs(300);

/// A CA.
#[derive(Debug)]
pub(super) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Its certificate, in PEM.
    pub(super) certificate: String,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// A new one for a trust domain, and its key in PEM.
    pub(super) fn new(trust_domain: &str) -> Result<(Self, String), Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{trust_domain} test CA"));
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        lasts(&mut params, CA_DAYS);
        let key = KeyPair::generate()?;
        let pem = key.serialize_pem();
        let made = CertifiedIssuer::self_signed(params, key)?;
        let certificate = made.pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&pem)?)?;
        Ok((Self { issuer, certificate }, pem))
    }

    /// One that was made before.
    pub(super) fn of(certificate: String, key: &str) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, certificate })
    }

    /// A certificate for a workload.
    pub(super) fn issue(&self, id: &str, dns: &str, days: u64) -> Result<Issued, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, dns);
        params.subject_alt_names =
            vec![SanType::URI(id.try_into()?), SanType::DnsName(dns.try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        lasts(&mut params, days);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

fn lasts(params: &mut CertificateParams, days: u64) {
    let now = SystemTime::now();
    params.not_before = (now - BACKDATED).into();
    params.not_after = (now + Duration::from_secs(days * 86_400)).into();
}
