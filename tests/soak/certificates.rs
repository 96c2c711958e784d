//! Certificates as faults need them.

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa,
    KeyPair, KeyUsagePurpose, SanType,
};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Who signs, and where it puts what it signed.
pub(crate) struct Certificates {
    authority: CertifiedIssuer<'static, KeyPair>,
    directory: PathBuf,
}

/// When a certificate ends.
#[derive(Clone, Copy)]
pub(crate) enum Ends {
    /// A minute ago.
    Over,
    /// From now.
    In(Duration),
}

impl Certificates {
    /// A new authority; its certificate is in `ca.pem`.
    pub(crate) fn new(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "soak");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        fs::write(directory.join("ca.pem"), authority.pem()).unwrap();
        Self { authority, directory: directory.to_owned() }
    }

    /// Issues `NAME.pem` and `NAME-key.pem`.
    pub(crate) fn issue(&self, name: &str, ends: Ends) {
        let mut params = CertificateParams::default();
        let id = format!("spiffe://soak.test/{name}");
        params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().unwrap())];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = match ends {
            Ends::Over => now - Duration::from_secs(60),
            Ends::In(time) => now + time,
        }
        .into();
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.authority).unwrap().pem();
        self.put(&format!("{name}.pem"), certificate.as_bytes());
        self.put(&format!("{name}-key.pem"), key.serialize_pem().as_bytes());
    }

    /// Writes a file whole.
    pub(crate) fn put(&self, name: &str, content: &[u8]) {
        let new = self.directory.join(".new");
        fs::write(&new, content).unwrap();
        fs::rename(new, self.directory.join(name)).unwrap();
    }

    pub(crate) fn remove(&self, name: &str) {
        fs::remove_file(self.directory.join(name)).unwrap();
    }
}
