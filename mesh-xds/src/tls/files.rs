//! [`Material`]: what certificate files hold. Reading blocks; what is made of the bytes does not.

use super::CertificateError;
use crate::bootstrap::{CertificateFiles, IdentityFiles};
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// The largest certificate file, in bytes.
pub const MAX_FILE: u64 = 1 << 20;

/// What [`CertificateFiles`] hold. It is not shown by `Debug`: it has a private key.
pub(crate) struct Material {
    /// The chain and its key.
    pub(crate) identity: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
    /// The roots, if a file is named.
    pub(crate) roots: Option<Roots>,
}

/// Certificates that are roots; at least one.
pub(crate) struct Roots {
    pub(crate) store: RootCertStore,
    /// The same, whole.
    pub(crate) certificates: Vec<CertificateDer<'static>>,
}

impl Material {
    /// Reads all files. It blocks.
    pub(crate) fn read(files: &CertificateFiles) -> Result<Self, CertificateError> {
        if let Some(path) = files.spiffe_trust_bundle_map() {
            // Other roots instead would trust others than was meant.
            return Err(CertificateError::SpiffeBundles { path: path.to_owned() });
        }
        let pair = |IdentityFiles { certificate, private_key }: &IdentityFiles| {
            Ok((chain(certificate, &read(certificate)?)?, key(private_key, &read(private_key)?)?))
        };
        let identity = files.identity().map(pair).transpose()?;
        let store = |path: &Path| roots(path, &read(path)?);
        let roots = files.ca_certificate().map(store).transpose()?;
        Ok(Self { identity, roots })
    }
}

fn read(path: &Path) -> Result<Vec<u8>, CertificateError> {
    let unreadable = |error: std::io::Error| {
        let reason = error.to_string();
        CertificateError::Unreadable { path: path.to_owned(), reason }
    };
    // Before it is opened: opening a pipe waits for who writes it.
    if !std::fs::metadata(path).map_err(unreadable)?.is_file() {
        return Err(CertificateError::NotAFile { path: path.to_owned() });
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    match u64::try_from(bytes.len()).is_ok_and(|length| length <= MAX_FILE) {
        true => Ok(bytes),
        false => Err(CertificateError::TooLarge { path: path.to_owned() }),
    }
}

fn chain(path: &Path, bytes: &[u8]) -> Result<Vec<CertificateDer<'static>>, CertificateError> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(bytes).collect();
    let chain = chain.map_err(|error| broken(path, &error))?;
    match chain.is_empty() {
        true => Err(CertificateError::NoCertificate { path: path.to_owned() }),
        false => Ok(chain),
    }
}

fn key(path: &Path, bytes: &[u8]) -> Result<PrivateKeyDer<'static>, CertificateError> {
    PrivateKeyDer::from_pem_slice(bytes).map_err(|error| match error {
        pem::Error::NoItemsFound => CertificateError::NoPrivateKey { path: path.to_owned() },
        error => broken(path, &error),
    })
}

/// What is no certificate that can be a root is left out, as long as there is another one: bundles of a
/// system hold old kinds.
fn roots(path: &Path, bytes: &[u8]) -> Result<Roots, CertificateError> {
    let (mut store, mut certificates) = (RootCertStore::empty(), chain(path, bytes)?);
    let all = certificates.len();
    certificates.retain(|root| store.add(root.clone()).is_ok());
    let left_out = all - certificates.len();
    if left_out > 0 {
        tracing::debug!(target: "mesh::xds", path = %path.display(), left_out, "roots left out");
    }
    match store.is_empty() {
        true => Err(CertificateError::NoRoot { path: path.to_owned() }),
        false => Ok(Roots { store, certificates }),
    }
}

/// Only the kind of the mistake: a line of the file might be a part of a key.
fn broken(path: &Path, error: &pem::Error) -> CertificateError {
    let reason = match error {
        pem::Error::MissingSectionEnd { .. } => "a part has no `-----END`, it was cut off",
        pem::Error::IllegalSectionStart { .. } => "a line with `-----BEGIN` is malformed",
        pem::Error::Base64Decode(_) => "something between `BEGIN` and `END` is no base64",
        _ => "it is no PEM",
    };
    CertificateError::BrokenPem { path: path.to_owned(), reason: reason.to_owned() }
}
