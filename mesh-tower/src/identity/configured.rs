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
    /// The address of the Workload API is none.
    #[cfg(feature = "spiffe")]
    #[error(transparent)]
    Endpoint(#[from] super::InvalidEndpoint),
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
            let source = FileIdentity::new(&*files.cert, &*files.key, &*files.roots);
            Ok(Box::new(match &files.crl {
                Some(lists) => source.and_revoked(&**lists),
                None => source,
            }))
        }
        IdentityOrigin::WorkloadApi(address) => workload_api(address, config),
        _ => Err(UnusableIdentity::Unknown),
    }
}

#[cfg(feature = "spiffe")]
fn workload_api(
    address: &str,
    config: &IdentityConfig,
) -> Result<Box<dyn IdentitySource>, UnusableIdentity> {
    let source = super::WorkloadIdentity::new(address)?;
    Ok(Box::new(match &config.spiffe_id {
        Some(id) => source.id(id.clone()),
        None => source,
    }))
}

#[cfg(not(feature = "spiffe"))]
fn workload_api(
    address: &str,
    _: &IdentityConfig,
) -> Result<Box<dyn IdentitySource>, UnusableIdentity> {
    Err(UnusableIdentity::NoWorkloadApi(address.into()))
}
