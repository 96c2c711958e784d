//! A CA for tests: a key, a certificate, and what it signs.
//!
//! Its certificates are what X.509-SVID wants: one SPIFFE id, a critical key usage, both sides of TLS. Keys
//! are ECDSA P-256. It is for trying things out: its own key lies in a file.

use mesh_core::WallTime;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, Error, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyPair, KeyUsagePurpose, SanType,
};
use std::time::{Duration, UNIX_EPOCH};

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
    /// Its last second.
    ends: WallTime,
}

/// A certificate and its key, in PEM.
#[derive(Debug)]
pub(super) struct Issued {
    pub(super) certificate: String,
    pub(super) key: String,
}

impl Authority {
    /// A new one for a trust domain, and its key in PEM.
    pub(super) fn new(trust_domain: &str, now: WallTime) -> Result<(Self, String), Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, format!("{trust_domain} test CA"));
        params.subject_alt_names =
            vec![SanType::URI(format!("spiffe://{trust_domain}").try_into()?)];
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ends = after(now, CA_DAYS);
        lasts(&mut params, now, ends);
        let key = KeyPair::generate()?;
        let pem = key.serialize_pem();
        let made = CertifiedIssuer::self_signed(params, key)?;
        let certificate = made.pem();
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(&pem)?)?;
        Ok((Self { issuer, certificate, ends }, pem))
    }

    /// One that was made before, and `ends` then.
    pub(super) fn of(certificate: String, key: &str, ends: WallTime) -> Result<Self, Error> {
        let issuer = Issuer::from_ca_cert_pem(&certificate, KeyPair::from_pem(key)?)?;
        Ok(Self { issuer, certificate, ends })
    }

    /// The last second of a certificate that is to last so many days, and whether it is the CA's: nobody believes a
    /// certificate for longer than its CA.
    pub(super) fn until(&self, now: WallTime, days: u64) -> (WallTime, bool) {
        let asked = after(now, days);
        (asked.min(self.ends), asked > self.ends)
    }

    /// A certificate for a workload, from now on.
    pub(super) fn issue(
        &self,
        id: &str,
        dns: &str,
        (now, until): (WallTime, WallTime),
    ) -> Result<Issued, Error> {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, dns);
        params.subject_alt_names =
            vec![SanType::URI(id.try_into()?), SanType::DnsName(dns.try_into()?)];
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        lasts(&mut params, now, until);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued { certificate, key: key.serialize_pem() })
    }
}

fn lasts(params: &mut CertificateParams, now: WallTime, until: WallTime) {
    let at = |time: WallTime| UNIX_EPOCH + Duration::from_secs(time.as_unix_seconds());
    params.not_before = (at(now) - BACKDATED).into();
    params.not_after = at(until).into();
}

fn after(now: WallTime, days: u64) -> WallTime {
    WallTime::from_unix_seconds(now.as_unix_seconds().saturating_add(days * 86_400))
}
