//! [`Secret`]: key material under a name (Envoy: `extensions.transport_sockets.tls.v3.Secret`).
//!
//! A cluster only names its secrets ([`UpstreamTls`](super::tls::UpstreamTls)); the secrets themselves come
//! beside it ([`Secrets`](crate::update::Secrets)), because many clusters share one and it changes by itself.
//!
//! Nothing here shows a private key: `Debug` tells how many bytes there are, and there is no other way to
//! print. What a file holds is not looked at here.

use super::SanMatcher;
use super::tls::SpiffeBundles;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A secret.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Secret {
    /// Its name: what clusters name.
    pub name: Arc<str>,
    /// What it is.
    pub content: SecretContent,
}

/// What a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretContent {
    /// Who we are (Envoy: `tls_certificate`).
    Certificate(SecretCertificate),
    /// What a peer must prove (Envoy: `validation_context`).
    Validation(SecretValidation),
}

/// A chain of certificates and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretCertificate {
    /// The chain, in PEM, ours first.
    pub chain: SecretSource,
    /// The private key of the first certificate, in PEM, not encrypted.
    pub private_key: SecretSource,
}

/// What a peer must prove.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SecretValidation {
    /// Who signs its certificate; [`SecretRoots::Unsaid`]: as the default says that it is merged into.
    pub roots: SecretRoots,
    /// Any of these must match a subject alternative name; empty: nothing is said.
    pub san: Vec<SanMatcher>,
    /// Lists of revoked certificates in PEM (Envoy: `crl`); `None`: nothing is said.
    pub crl: Option<SecretSource>,
}

/// Who signs a peer's certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretRoots {
    /// Nothing is said: those that it is merged with count.
    #[default]
    Unsaid,
    /// The public certificate authorities that the system trusts.
    System,
    /// Certificates in PEM.
    Pem(SecretSource),
    /// Those of each trust domain, for its members only (Envoy: `envoy.tls.cert_validator.spiffe`).
    Spiffe(Arc<SpiffeBundles>),
}

/// Where the bytes are.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretSource {
    /// In this file, which may be replaced.
    File(Arc<Path>),
    /// Here.
    Inline(Arc<[u8]>),
}

impl Secret {
    /// A secret of this name.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, content: SecretContent) -> Self {
        Self { name: name.into(), content }
    }

    /// Whether a private key is in it, or it leads to one: such a secret is never written down.
    #[must_use]
    pub const fn has_private_key(&self) -> bool {
        matches!(self.content, SecretContent::Certificate(_))
    }
}

impl SecretCertificate {
    /// A chain and the key of its first certificate.
    #[must_use]
    pub const fn new(chain: SecretSource, private_key: SecretSource) -> Self {
        Self { chain, private_key }
    }
}

impl SecretValidation {
    /// Signed by these, of any name.
    #[must_use]
    pub const fn new(roots: SecretRoots) -> Self {
        Self { roots, san: Vec::new(), crl: None }
    }
}

impl fmt::Debug for SecretSource {
    /// The path, or the number of bytes.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => f.debug_tuple("File").field(path).finish(),
            Self::Inline(bytes) => write!(f, "Inline({} bytes)", bytes.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_never_shown() {
        let inline = |text: &str| SecretSource::Inline(text.as_bytes().into());
        let certificate = SecretCertificate::new(inline("CHAIN"), inline("TOPSECRET"));
        let secret = Secret::new("default", SecretContent::Certificate(certificate));
        for shown in [format!("{secret:?}"), format!("{secret:#?}")] {
            assert!(shown.contains("default") && shown.contains("9 bytes"), "{shown}");
            // As text, and as the numbers of its bytes.
            assert!(!shown.contains("TOPSECRET") && !shown.contains("84, 79, 80"), "{shown}");
        }
        assert!(secret.has_private_key());
    }
}
