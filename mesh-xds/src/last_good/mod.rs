//! The copy of the last good configuration on disk.
//!
//! A control plane that is down must not keep a process from starting: what was good yesterday is better
//! than nothing. So the resources that are in use are kept in a file as they came, and a process that
//! starts alone decodes them as if a control plane had just sent them. The file is also the one place
//! where a configuration outlives its process, which makes these rules:
//!
//! - It is all or nothing. A file that is cut off, altered, too large, of a newer format or of somebody
//!   else is refused, with the reason; no part of it is used.
//! - It is somebody's: the [`Origin`] says for which control plane and node it was written.
//! - It holds no private key. Of SDS only roots are kept: certificates are refused, even those whose key is
//!   in a file, and so is any resource with a key in PEM inside ([`holds_private_key`]); who writes leaves
//!   them out, and what needs them waits.
//! - What a server still serves by is in it beside the newest that it can't serve by ([`KeptListener`]).
//! - It is bounded: [`DEFAULT_MAX_BYTES`], when it is written and before it is read.
//!
//! ```text
//!  0   8  "meshgood"                             16  …  protobuf: origin, date, resources
//!  8   4  format version, little-endian: 1       end-8  XXH64 of all before it, little-endian
//! 12   4  length of the protobuf, little-endian
//! ```
//!
//! The checksum is against accidents, not against enemies: who can write the file can compute it. XXH64
//! never misses a change within eight bytes, and others by chance of 2^-64. Against enemies there are the
//! file's permissions ([`mod@file`]).
//!
//! What it does not do: read clocks (the caller computes the age from [`LastGood::written`]), decode
//! resources, or decide when to write.

mod container;
pub mod file;
#[cfg(test)]
mod tests;

pub use container::{read, write};

use crate::bootstrap::Bootstrap;
use crate::decode::{Context, decode};
use crate::{Resource, ResourceType};
use bytes::Bytes;
use mesh_core::WallTime;
use std::collections::BTreeSet;
use std::sync::Arc;
use xxhash_rust::xxh64::xxh64;

/// The largest file that is written and read, unless another bound is given: 64 MiB.
///
/// An endpoint takes about 100 bytes in EDS, so that half a million of them fit.
pub const DEFAULT_MAX_BYTES: usize = 64 * 1024 * 1024;

/// The newest format that is written and read.
pub const FORMAT_VERSION: u32 = 1;

/// What was in use, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastGood {
    origin: Origin,
    written: WallTime,
    roots: Vec<Root>,
    resources: Vec<RawResource>,
    kept: Vec<KeptListener>,
    keys: BTreeSet<(ResourceType, Arc<str>)>,
}

/// Whose configuration it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    server_uri: Arc<str>,
    node_hash: u64,
}

/// An authority that calls were made to: what the resources were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Root {
    /// The authority.
    pub authority: Arc<str>,
    /// The port that stands for none in it.
    pub default_port: u16,
}

/// A resource as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RawResource {
    /// Its kind.
    pub kind: ResourceType,
    /// Its name.
    pub name: Arc<str>,
    /// Its version, as the control plane calls it.
    pub version: Arc<str>,
    /// The `value` of its `Any`.
    pub body: Bytes,
}

/// What a server serves by, although there is a newer listener of that name, or newer routes: nobody can serve by those
/// (gRFC A88). The resources of a copy are the newest, which calls may go by.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeptListener {
    /// The listener.
    pub listener: RawResource,
    /// The route configurations that it names.
    pub routes: Vec<RawResource>,
}

/// Why something is not written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WriteError {
    /// A resource of SDS that is not roots alone.
    #[error(
        "the secret `{name}` does not belong on disk, where only roots are kept: leave it out, and ask the \
         control plane for it after a start"
    )]
    Secret {
        /// Its name.
        name: Arc<str>,
    },
    /// A resource with a private key inside.
    #[error(
        "the {kind} resource `{name}` holds a private key, which does not belong on disk: leave it out, \
         and let it name a certificate provider instead"
    )]
    PrivateKey {
        /// Its kind.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
    },
    /// A second resource of the same kind and name.
    #[error("the {kind} resource `{name}` is there twice: keep the one that is in use")]
    Twice {
        /// Its kind.
        kind: ResourceType,
        /// Its name.
        name: Arc<str>,
    },
    /// More than the bound.
    #[error("the configuration takes {bytes} bytes on disk, more than {max}: raise the bound")]
    TooLarge {
        /// How many bytes it takes.
        bytes: usize,
        /// The bound.
        max: usize,
    },
}

/// Why a file is not used. Whatever the reason, the next write replaces it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ReadError {
    /// More than the bound.
    #[error("the file has {bytes} bytes, more than {max}: raise the bound, or remove the file")]
    TooLarge {
        /// How many bytes it has.
        bytes: usize,
        /// The bound.
        max: usize,
    },
    /// It does not begin as it must.
    #[error(
        "this is no last good configuration: it does not begin with `meshgood`; is the path right?"
    )]
    NotOurs,
    /// Its format is not known.
    #[error(
        "the file has format {found}, and this version reads format {FORMAT_VERSION}: it is of another \
         version of this library"
    )]
    Format {
        /// Its format.
        found: u32,
    },
    /// It ends too early or too late.
    #[error("the file has {found} bytes where it says {expected}: it was cut off or appended to")]
    Length {
        /// How many bytes it has.
        found: usize,
        /// How many it should have; when even that is cut off, the fewest that a file has.
        expected: usize,
    },
    /// Its bytes are not those that were written.
    #[error("the checksum does not fit: the file was altered or is damaged")]
    Checksum,
    /// It fits its checksum and can't be read: no version of this library wrote it.
    #[error("the file can't be read, though its checksum fits: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// It is of another control plane.
    #[error("the file was written for the control plane `{found}`, and this is for `{expected}`")]
    ForeignServer {
        /// The control plane in the file.
        found: Arc<str>,
        /// The control plane of this process.
        expected: Arc<str>,
    },
    /// It is of another node.
    #[error(
        "the file was written for another node, whose id is not ours: each node needs its own path"
    )]
    ForeignNode,
}

impl Origin {
    /// A control plane by its address as it was written, and a node by its id.
    ///
    /// Of the id only a hash is kept: to tell nodes apart, not to hide them.
    #[must_use]
    pub fn new(server_uri: impl Into<Arc<str>>, node_id: &str) -> Self {
        Self { server_uri: server_uri.into(), node_hash: xxh64(node_id.as_bytes(), 0) }
    }

    /// The origin of a process with this bootstrap: its preferred server, and its node.
    #[must_use]
    pub fn of(bootstrap: &Bootstrap) -> Self {
        let server = bootstrap.servers().first();
        let uri = server.map_or_else(|| Arc::from(""), |server| Arc::clone(server.uri()));
        Self::new(uri, bootstrap.node().id())
    }

    /// The control plane.
    #[must_use]
    pub fn server_uri(&self) -> &Arc<str> {
        &self.server_uri
    }
}

impl Root {
    /// An authority, and the port that stands for none in it.
    #[must_use]
    pub fn new(authority: impl Into<Arc<str>>, default_port: u16) -> Self {
        Self { authority: authority.into(), default_port }
    }
}

impl RawResource {
    /// A resource as it was received.
    #[must_use]
    pub fn new(
        kind: ResourceType,
        name: impl Into<Arc<str>>,
        version: impl Into<Arc<str>>,
        body: Bytes,
    ) -> Self {
        Self { kind, name: name.into(), version: version.into(), body }
    }
}

impl KeptListener {
    /// A listener, and the route configurations that it names.
    #[must_use]
    pub const fn new(listener: RawResource, routes: Vec<RawResource>) -> Self {
        Self { listener, routes }
    }
}

impl LastGood {
    /// Nothing yet, as of now.
    #[must_use]
    pub const fn new(origin: Origin, written: WallTime) -> Self {
        Self {
            origin,
            written,
            roots: Vec::new(),
            resources: Vec::new(),
            kept: Vec::new(),
            keys: BTreeSet::new(),
        }
    }

    /// With the authorities that calls are made to.
    #[must_use]
    pub fn with_roots(mut self, roots: Vec<Root>) -> Self {
        self.roots = roots;
        self
    }

    /// Adds a resource.
    ///
    /// # Errors
    ///
    /// [`WriteError::Secret`], [`WriteError::PrivateKey`] for what does not belong on disk, and
    /// [`WriteError::Twice`]. It is unchanged then, and can be written without that resource.
    pub fn push(&mut self, resource: RawResource) -> Result<(), WriteError> {
        let RawResource { kind, name, body, .. } = &resource;
        let (kind, name) = (*kind, Arc::clone(name));
        if kind == ResourceType::Secret && !is_roots(body) {
            return Err(WriteError::Secret { name });
        }
        if holds_private_key(body) {
            return Err(WriteError::PrivateKey { kind, name });
        }
        if !self.keys.insert((kind, Arc::clone(&name))) {
            return Err(WriteError::Twice { kind, name });
        }
        self.resources.push(resource);
        Ok(())
    }

    /// Adds what a server serves by beside the newest.
    ///
    /// # Errors
    ///
    /// [`WriteError::PrivateKey`] for what does not belong on disk, and [`WriteError::Twice`]. It is unchanged then.
    pub fn push_kept(&mut self, kept: KeptListener) -> Result<(), WriteError> {
        for RawResource { kind, name, body, .. } in kept.routes.iter().chain([&kept.listener]) {
            if holds_private_key(body) {
                return Err(WriteError::PrivateKey { kind: *kind, name: Arc::clone(name) });
            }
        }
        let RawResource { kind, name, .. } = &kept.listener;
        if self.kept.iter().any(|known| known.listener.name == *name) {
            return Err(WriteError::Twice { kind: *kind, name: Arc::clone(name) });
        }
        self.kept.push(kept);
        Ok(())
    }

    /// Whose it is.
    #[must_use]
    pub const fn origin(&self) -> &Origin {
        &self.origin
    }

    /// When it was written: when these resources were last known to be in use.
    #[must_use]
    pub const fn written(&self) -> WallTime {
        self.written
    }

    /// The authorities that calls were made to.
    #[must_use]
    pub fn roots(&self) -> &[Root] {
        &self.roots
    }

    /// The resources, in the order in which they were added.
    #[must_use]
    pub fn resources(&self) -> &[RawResource] {
        &self.resources
    }

    /// What servers serve by beside the newest, in the order in which they were added.
    #[must_use]
    pub fn kept(&self) -> &[KeptListener] {
        &self.kept
    }
}

/// Whether a secret says what a peer must prove, and nothing of us. What can't be read does not.
fn is_roots(body: &[u8]) -> bool {
    let decoded = decode(ResourceType::Secret, body, &Context::default());
    matches!(decoded.resource, Ok(Resource::Secret(secret)) if !secret.has_private_key())
}

/// Whether there is a private key in PEM in the body of a resource, wherever it is.
///
/// Protobuf holds strings as they are, so that the label of a key (RFC 7468: `PRIVATE KEY`, with or
/// without the name of an algorithm before it) is found however deeply it is nested; a resource that
/// only speaks of such a label is taken for one with a key. Envoy takes keys in PEM, and in PKCS #12,
/// which is not found: that one is encrypted.
#[must_use]
pub fn holds_private_key(body: &[u8]) -> bool {
    const LABEL: &[u8] = b"PRIVATE KEY-----";
    body.windows(LABEL.len()).any(|window| window == LABEL)
}
