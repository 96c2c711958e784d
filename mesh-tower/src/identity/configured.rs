//! What a configuration calls `identity`, as a source.

use super::{FileIdentity, IdentitySource};
use mesh_core::model::{IdentityConfig, IdentityOrigin};

/// Why the source of a configured identity can't be started.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableIdentity {
    /// This program can't speak to a Workload API.
    #[error(
        "an identity from the Workload API at `{0}` needs the feature `spiffe` of mesh-tower: build with it, or name files"
    )]
    NoWorkloadApi(std::sync::Arc<str>),
    /// What it comes from is new to this release.
    #[error("an identity of this kind is not known here")]
    Unknown,
}

/// Whether there is a source for it.
///
/// # Errors
/// [`UnusableIdentity`]: this program has none of the kind.
pub(crate) fn check(config: &IdentityConfig) -> Result<(), UnusableIdentity> {
    source(config).map(drop)
}

/// The source.
///
/// # Errors
/// [`UnusableIdentity`]: this program has none of the kind.
pub(crate) fn source(config: &IdentityConfig) -> Result<Box<dyn IdentitySource>, UnusableIdentity> {
    match &config.source {
        IdentityOrigin::Files(files) => {
            Ok(Box::new(FileIdentity::new(&*files.cert, &*files.key, &*files.roots)))
        }
        IdentityOrigin::WorkloadApi(address) => {
            Err(UnusableIdentity::NoWorkloadApi(address.clone()))
        }
        _ => Err(UnusableIdentity::Unknown),
    }
}
