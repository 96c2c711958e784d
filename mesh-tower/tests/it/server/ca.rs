//! A certificate authority for the tests of servers.

use mesh_tower::identity::Material;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, CertifiedIssuer, DnType,
    IsCa, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
};
use std::time::{Duration, SystemTime};

pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, in PEM.
#[derive(Clone)]
pub(crate) struct Pair {
    pub(crate) chain: String,
    pub(crate) key: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    pub(crate) fn issue(&self, uri: &str) -> Pair {
        self.issue_for(uri, (-3600, 3600), 1)
    }

    /// Valid between these seconds from now.
    pub(crate) fn issue_for(&self, uri: &str, (from, to): (i64, i64), serial: u64) -> Pair {
        let mut params = CertificateParams::default();
        params.subject_alt_names = vec![
            SanType::URI(uri.try_into().unwrap()),
            SanType::DnsName("localhost".try_into().unwrap()),
        ];
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (from_now(from).into(), from_now(to).into());
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }

    /// A list that revokes this serial number, and ends so many seconds from now.
    pub(crate) fn revoke(&self, serial: u64, ends: i64) -> String {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: from_now(-60).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: from_now(-7200).into(),
            next_update: from_now(ends).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&self.0).unwrap().pem().unwrap()
    }

    pub(crate) fn material(&self, pair: &Pair) -> Material {
        let (chain, key, roots) = (pair.chain.as_bytes(), pair.key.as_bytes(), self.pem());
        Material::from_pem(chain, key, roots.as_bytes()).unwrap()
    }
}

fn from_now(seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
}
