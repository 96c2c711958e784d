//! Who we are: certificates, keys and roots, from where they are issued to where they are shown.
//!
//! Certificates of a mesh live for minutes to days, so an identity is not a file but a stream of them. A
//! source hands over what it gets; only what a peer would accept is put into force, whole.
//!
//! | source | gets it from |
//! |---|---|
//! | [`FileIdentity`] | a chain, a key, roots and revocations in files, whenever they change |
#![cfg_attr(
    feature = "spiffe",
    doc = "| [`WorkloadIdentity`] | the SPIFFE Workload API, as SPIRE's agent serves it (feature `spiffe`) |"
)]
//! | [`FixedIdentity`] | the program, while it runs; for tests too |
//!
//! Which of them it is may be said by the configuration, `identity:`, and may change (`credentials.rs`).
//! [`examine`] tells what is wrong with it before it is used, [`examine_roots`] with roots of a cluster; [`inspect`] what is in any file.
//!
//! What is decided is decided in [`mesh_core::identity`]: ids, names, when to renew.
//!
//! What it does not do: connect.

pub(crate) mod anchors;
mod bundle_map;
mod certificate;
pub(crate) mod chain;
pub(crate) mod claimed;
mod configured;
mod credentials;
pub(crate) mod crypto;
mod error;
mod examine;
mod file;
mod fixed;
mod inspect;
pub(crate) mod life;
mod material;
pub(crate) mod named;
pub(crate) mod spiffe;
mod status;
mod store;
#[cfg(test)]
mod tests;
mod verify;
#[cfg(feature = "spiffe")]
mod workload_api;

pub(crate) use configured::check;
pub(crate) use credentials::{Credentials, Given};
pub(crate) use crypto::sha256;

pub use bundle_map::{InvalidBundleMap, bundle_map};
pub use certificate::{Certificate, KeyUsage};
pub use configured::UnusableIdentity;
pub use error::{CertificateError, InvalidIdentity, NoIdentity, Part};
pub use examine::{examine, examine_roots};
pub use file::FileIdentity;
pub use fixed::{FixedIdentity, IdentityUpdates};
pub use inspect::{Fitting, Inspected, beside, inspect};
pub(crate) use material::authorities;
pub use material::{Material, Roots, Trust, certificates, private_key, revocation_lists};
pub use status::IdentityStatus;
pub use store::{Identities, IdentitySink};
pub use verify::{Identity, Verified};
#[cfg(feature = "spiffe")]
pub use workload_api::{InvalidEndpoint, WorkloadIdentity};

use futures_core::future::BoxFuture;
use mesh_core::identity::RotationOptions;
use std::fmt;

/// A place that identities come from.
pub trait IdentitySource: Send + fmt::Debug + 'static {
    /// Publishes into `sink` what it has, and again whenever there is something new or
    /// [wanted](IdentitySink::wanted).
    ///
    /// The future runs apart from calls; that it ends changes nothing of what was published, and is a failure
    /// unless it [may](Self::may_end). That it panics is one always.
    fn start(self: Box<Self>, sink: IdentitySink) -> BoxFuture<'static, ()>;

    /// When it is asked for a new identity. Default: at half of a certificate's life.
    fn rotation(&self) -> RotationOptions {
        RotationOptions::default()
    }

    /// Whether it may end, for then nothing more can come of it. Default: no, somebody waits for what is next.
    fn may_end(&self) -> bool {
        false
    }
}
