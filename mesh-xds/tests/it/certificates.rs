//! Certificates that live for an hour, made when they are needed.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, SanType,
};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

const HOUR: Duration = Duration::from_secs(3600);

/// A certificate authority.
pub(crate) struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

/// A certificate and its key, in PEM.
pub(crate) struct Issued {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        live(&mut params, SystemTime::now());
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        Self { issuer }
    }

    pub(crate) fn pem(&self) -> String {
        self.issuer.pem()
    }

    /// For these names: a SPIFFE id, an IP address or a host, for both sides of a connection.
    pub(crate) fn issue(&self, names: &[&str]) -> Issued {
        self.issue_at(names, SystemTime::now())
    }

    /// One that ends in so many seconds, or ended so many ago.
    pub(crate) fn issue_until(&self, names: &[&str], ends_in: i64) -> Issued {
        let end = SystemTime::now() - HOUR;
        let by = Duration::from_secs(ends_in.unsigned_abs());
        self.issue_at(names, if ends_in < 0 { end - by } else { end + by })
    }

    fn issue_at(&self, names: &[&str], now: SystemTime) -> Issued {
        let name = |name: &&str| match name.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) if name.contains("://") => SanType::URI((*name).try_into().unwrap()),
            Err(_) => SanType::DnsName((*name).try_into().unwrap()),
        };
        let mut params = CertificateParams::default();
        params.subject_alt_names = names.iter().map(name).collect();
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        live(&mut params, now);
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        Issued { certificate, key: key.serialize_pem() }
    }
}

/// From an hour before `now` to an hour after it.
fn live(params: &mut CertificateParams, now: SystemTime) {
    params.not_before = (now - HOUR).into();
    params.not_after = (now + HOUR).into();
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key`, and says where.
    pub(crate) fn write(&self, directory: &Path, name: &str) -> [PathBuf; 2] {
        let paths = ["pem", "key"].map(|end| directory.join(format!("{name}.{end}")));
        std::fs::write(&paths[0], &self.certificate).unwrap();
        std::fs::write(&paths[1], &self.key).unwrap();
        paths
    }
}
