//! [`XdsSecret`]: what a secret of SDS says.
//!
//! Nothing here shows a private key: `Debug` tells how many bytes there are.

use mesh_core::model::StringMatcher;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// A secret.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct XdsSecret {
    /// Its name.
    pub name: Arc<str>,
    /// What it is.
    pub content: SecretContent,
}

/// What a secret is.
#[derive(Clone, Debug, PartialEq)]
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
    /// The chain, in PEM.
    pub chain: SecretSource,
    /// The private key, in PEM, not encrypted.
    pub private_key: SecretSource,
}

/// What a peer must prove.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct SecretValidation {
    /// Who signs its certificate.
    pub roots: SecretRoots,
    /// Any of these must match a subject alternative name; empty: nothing is said.
    pub san: Vec<StringMatcher>,
}

/// Who signs a peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SecretRoots {
    /// The public certificate authorities that the system trusts.
    System,
    /// Certificates in PEM.
    Pem(SecretSource),
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

impl XdsSecret {
    /// A secret of this name.
    #[must_use]
    pub const fn new(name: Arc<str>, content: SecretContent) -> Self {
        Self { name, content }
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
        Self { roots, san: Vec::new() }
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
