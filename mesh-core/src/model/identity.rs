//! Who the mesh is, as the configuration says it: where its certificates come from.
//!
//! What is in the places that are named here is not looked at here, and no key is.

use crate::identity::SpiffeId;
use std::path::Path;
use std::sync::Arc;

/// Who the mesh is: what clusters with `tls: mesh` show and believe, and what its servers show.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityConfig {
    /// Where it comes from.
    pub source: IdentityOrigin,
    /// Who it has to be: a certificate of somebody else is not put into force. `None`: whoever the first
    /// certificate says; of a SPIRE agent, the first identity that it gives.
    pub spiffe_id: Option<SpiffeId>,
}

/// Where an identity comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum IdentityOrigin {
    /// Files in PEM, which may be replaced at any time.
    Files(IdentityFiles),
    /// The SPIFFE Workload API at this address, `unix:///path` or `tcp://IP:PORT` (SPIFFE Workload
    /// Endpoint section 4).
    WorkloadApi(Arc<str>),
}

/// The files of an identity, in PEM.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct IdentityFiles {
    /// The chain of certificates, the workload's first.
    pub cert: Arc<Path>,
    /// The private key of the first certificate, not encrypted.
    pub key: Arc<Path>,
    /// Who signs the certificates of peers.
    pub roots: Arc<Path>,
    /// Lists of certificates that were revoked; `None`: none.
    pub crl: Option<Arc<Path>>,
}

impl IdentityConfig {
    /// Whoever the certificates from `source` say.
    #[must_use]
    pub const fn new(source: IdentityOrigin) -> Self {
        Self { source, spiffe_id: None }
    }

    /// Its files; `None`: it comes from elsewhere.
    #[must_use]
    pub const fn files(&self) -> Option<&IdentityFiles> {
        match &self.source {
            IdentityOrigin::Files(files) => Some(files),
            IdentityOrigin::WorkloadApi(_) => None,
        }
    }
}

impl IdentityFiles {
    /// A chain, its key, and roots, without lists of revoked certificates.
    #[must_use]
    pub fn new(
        cert: impl Into<Arc<Path>>,
        key: impl Into<Arc<Path>>,
        roots: impl Into<Arc<Path>>,
    ) -> Self {
        Self { cert: cert.into(), key: key.into(), roots: roots.into(), crl: None }
    }
}
