//! [`CertificateError`]: why certificates can't be used.

use super::MAX_FILE;
use std::path::PathBuf;

/// Why certificates can't be used: the file, what is wrong with it, and a way out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CertificateError {
    /// A file can't be read.
    #[error("`{}` can't be read: {reason}; check that it is there and readable for this process", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// A directory, a pipe or a device.
    #[error("`{}` is no regular file: name a file in PEM", path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// More than [`MAX_FILE`].
    #[error("`{}` has more than {MAX_FILE} bytes: is it the right file?", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// Something between `BEGIN` and `END` is broken.
    #[error("`{}` is broken: {reason}; write it anew, whole, in PEM", path.display())]
    BrokenPem {
        /// The file.
        path: PathBuf,
        /// What is broken.
        reason: String,
    },
    /// No certificate.
    #[error("`{}` holds no certificate: it must have `-----BEGIN CERTIFICATE-----` (PEM)", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No certificate that can be a root.
    #[error("`{}` holds no certificate that can be used as a root: is it the right file?", path.display())]
    NoRoot {
        /// The file.
        path: PathBuf,
    },
    /// No private key.
    #[error(
        "`{}` holds no private key: it must have one in PEM (PKCS #8, PKCS #1 or SEC 1), not encrypted",
        path.display()
    )]
    NoPrivateKey {
        /// The file.
        path: PathBuf,
    },
    /// The two don't go together.
    #[error(
        "the key of `{}` does not fit the certificate of `{}`: replace both, the key first",
        private_key.display(), certificate.display()
    )]
    KeyDoesNotFit {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        private_key: PathBuf,
    },
    /// The pair is of a kind, or in a form, that can't be used.
    #[error(
        "`{}` and `{}` can't be used: {reason}; use an RSA, ECDSA (P-256, P-384) or Ed25519 key",
        certificate.display(), private_key.display()
    )]
    Unusable {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        private_key: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// A server without a certificate.
    #[error("there is no certificate to serve with: name the files of a certificate and its key")]
    NoIdentity,
    /// Roots by trust domain.
    #[error(
        "`{}`: SPIFFE trust bundles are not supported here: leave `spiffe_trust_bundle_map_file` out, and \
         put the roots into `ca_certificate_file`",
        path.display()
    )]
    SpiffeBundles {
        /// The file.
        path: PathBuf,
    },
    /// The system has no roots.
    #[error(
        "the system has no root certificates{reason}: set `ca_certificate_file`, or `SSL_CERT_FILE`"
    )]
    NoSystemRoots {
        /// What kept it from having some, with a leading space; or nothing.
        reason: String,
    },
    /// The program was built without crypto, and has installed none.
    #[error(
        "nobody encrypts: build with the feature `tls-aws-lc` or `tls-ring`, or install a default \
         `CryptoProvider` of rustls"
    )]
    NoCrypto,
    /// The crypto that the program installed can't do what is needed.
    #[error("the crypto that is installed can't be used: {reason}; it must have TLS 1.2 or 1.3")]
    Crypto {
        /// What it can't.
        reason: String,
    },
}
