//! A certificate authority for tests.

use crate::identity::{Certificate, Material, certificates};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    ExtendedKeyUsagePurpose, IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams,
    SanType, SerialNumber,
};
use std::path::Path;
use std::time::{Duration, SystemTime};

pub(crate) const OURS: &str = "spiffe://mesh.example/shop";

pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// What is unusual about a certificate.
#[derive(Default)]
pub(crate) struct Odd<'a> {
    pub(crate) uris: Option<&'a [&'a str]>,
    /// Seconds from now.
    pub(crate) life: Option<(i64, i64)>,
    pub(crate) is_ca: bool,
    pub(crate) usage: &'a [KeyUsagePurpose],
    pub(crate) extended: Option<ExtendedKeyUsagePurpose>,
}

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "ca of the tests");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// An authority that this one signed, with a key of its own, for so many seconds from now.
    pub(crate) fn sign(&self, key: &KeyPair, until: i64) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "between");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        (params.not_before, params.not_after) = (from_now(-3600).into(), from_now(until).into());
        let key = KeyPair::from_pem(&key.serialize_pem()).unwrap();
        Self(CertifiedIssuer::signed_by(params, key, &self.0).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, odd: Odd<'_>) -> Pair {
        let mut params = CertificateParams::default();
        let uris = odd.uris.unwrap_or(&[OURS]).iter();
        params.subject_alt_names =
            uris.map(|uri| SanType::URI((*uri).try_into().unwrap())).collect();
        params.subject_alt_names.push(SanType::DnsName("shop.example".try_into().unwrap()));
        let (from, to) = odd.life.unwrap_or((-3600, 3600));
        (params.not_before, params.not_after) = (from_now(from).into(), from_now(to).into());
        if odd.is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.key_usages = odd.usage.to_vec();
        params.extended_key_usages = odd.extended.into_iter().collect();
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }

    pub(crate) fn der(&self) -> Vec<u8> {
        self.0.der().to_vec()
    }

    /// A list that revokes these, in PEM.
    pub(crate) fn revoke(&self, pairs: &[&Pair]) -> String {
        let revoked = pairs.iter().map(|pair| RevokedCertParams {
            serial_number: pair.serial().into(),
            revocation_time: from_now(-60).into(),
            reason_code: None,
            invalidity_date: None,
        });
        let list = CertificateRevocationListParams {
            this_update: from_now(-60).into(),
            next_update: from_now(3600).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap().pem().unwrap()
    }

    pub(crate) fn material(&self, pair: &Pair) -> Material {
        let (chain, key, roots) = (pair.chain.as_bytes(), pair.key.as_bytes(), self.pem());
        Material::from_pem(chain, key, roots.as_bytes()).unwrap()
    }
}

impl Pair {
    fn serial(&self) -> Vec<u8> {
        let first = certificates(self.chain.as_bytes()).unwrap().remove(0);
        let serial = Certificate::parse(&first).unwrap().serial;
        let byte = |at| u8::from_str_radix(&serial[at..at + 2], 16).unwrap();
        (0..serial.len()).step_by(2).map(byte).collect()
    }

    pub(crate) fn write(&self, directory: &Path) {
        std::fs::write(directory.join("cert.pem"), &self.chain).unwrap();
        std::fs::write(directory.join("key.pem"), &self.key).unwrap();
    }
}

fn from_now(seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
}
