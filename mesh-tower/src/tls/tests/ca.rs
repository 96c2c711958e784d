//! A certificate authority for tests. The integration tests have it, too.

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationList,
    CertificateRevocationListParams, CertifiedIssuer, CustomExtension, DnType, IsCa, KeyIdMethod,
    KeyPair, KeyUsagePurpose, RevokedCertParams, SanType, SerialNumber,
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
        Self::of(name, CertificateParams::default())
    }

    /// One that may give URIs of the host `mesh.example` only.
    pub(crate) fn constrained(name: &str) -> Self {
        // RFC 5280 section 4.2.1.10: permitted subtrees, of which one is a URI.
        let constraints = [&[0x30, 18, 0xa0, 16, 0x30, 14, 0x86, 12][..], b"mesh.example"].concat();
        let mut params = CertificateParams::default();
        let extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], constraints);
        params.custom_extensions.push(extension);
        Self::of(name, params)
    }

    fn of(name: &str, mut params: CertificateParams) -> Self {
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// For an hour before and after now.
    pub(crate) fn issue(&self, name: &str, serial: u64) -> Pair {
        self.issue_for(name, serial, (-3600, 3600))
    }

    /// `name` is a SPIFFE id, an IP address, or else a DNS name, or several; the life is in seconds from now.
    pub(crate) fn issue_for(&self, name: &str, serial: u64, life: (i64, i64)) -> Pair {
        self.sign(CertificateParams::default(), name, serial, life)
    }

    /// Its key may do only this.
    pub(crate) fn issue_with(&self, name: &str, usages: &[KeyUsagePurpose]) -> Pair {
        let mut params = CertificateParams::default();
        params.key_usages = usages.to_vec();
        self.sign(params, name, 1, (-3600, 3600))
    }

    fn sign(
        &self,
        mut params: CertificateParams,
        name: &str,
        serial: u64,
        (from, to): (i64, i64),
    ) -> Pair {
        let san = |name: &str| match (name.contains("://"), name.parse()) {
            (true, _) => SanType::URI(name.try_into().unwrap()),
            (false, Ok(address)) => SanType::IpAddress(address),
            (false, Err(_)) => SanType::DnsName(name.try_into().unwrap()),
        };
        params.subject_alt_names = name.split(' ').map(san).collect();
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (from_now(from).into(), from_now(to).into());
        let key = KeyPair::generate().unwrap();
        let chain = params.signed_by(&key, &self.0).unwrap().pem();
        Pair { chain, key: key.serialize_pem() }
    }

    /// A list of revoked certificates, in DER.
    pub(crate) fn revoke(&self, serial: u64) -> Vec<u8> {
        self.list(serial, 3600).der().to_vec()
    }

    /// The same in PEM.
    pub(crate) fn revoke_pem(&self, serial: u64) -> String {
        self.list(serial, 3600).pem().unwrap()
    }

    /// A list that was to be renewed a minute ago, in DER.
    pub(crate) fn revoke_long_ago(&self, serial: u64) -> Vec<u8> {
        self.list(serial, -60).der().to_vec()
    }

    /// The same in PEM.
    pub(crate) fn revoke_long_ago_pem(&self, serial: u64) -> String {
        self.list(serial, -60).pem().unwrap()
    }

    /// A list that is over so many seconds from now.
    fn list(&self, serial: u64, until: i64) -> CertificateRevocationList {
        let revoked = RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: from_now(-120).into(),
            reason_code: None,
            invalidity_date: None,
        };
        let list = CertificateRevocationListParams {
            this_update: from_now(-120).into(),
            next_update: from_now(until).into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![revoked],
            key_identifier_method: KeyIdMethod::Sha256,
        };
        list.signed_by(&self.0).unwrap()
    }
}

fn from_now(seconds: i64) -> SystemTime {
    let by = Duration::from_secs(seconds.unsigned_abs());
    if seconds < 0 { SystemTime::now() - by } else { SystemTime::now() + by }
}
