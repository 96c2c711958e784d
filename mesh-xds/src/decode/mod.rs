//! Envoy's resources → [`Resource`], and what is wrong with them.
//!
//! In two phases, so that a broken resource keeps its name: first the message is parsed, which gives the
//! name, then it is checked and translated, which gives a [`Resource`] or *every* error in it, each with
//! the path of its field.
//!
//! What is used, ignored and refused of each message, [`support`] says. A resource may be as large as
//! the stream lets it be: what is kept of it, its errors and its reports included, grows with its size
//! and not faster.

mod address;
#[cfg(test)]
mod any_bytes;
mod cluster;
mod common;
mod endpoint;
pub mod filter;
mod listener;
pub mod rbac;
mod route;
mod secret;
#[cfg(test)]
mod secret_testing;
pub mod support;
#[cfg(test)]
mod testing;
mod typed;
mod words;

use crate::{Resource, ResourceType};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

/// What decoding has to know of the control plane.
#[derive(Clone, Debug, Default)]
#[non_exhaustive]
pub struct Context {
    /// The server is trusted (server feature `trusted_xds_server`, gRFC A81).
    pub trusted_server: bool,
    /// The certificate providers of the bootstrap file, by name (gRFC A29).
    pub certificate_providers: BTreeSet<Arc<str>>,
    /// Any name of a certificate provider is taken: the resource stands in a file, which belongs to no bootstrap
    /// file. Whoever connects by it has such a provider, or says that there is none.
    pub any_certificate_provider: bool,
    /// The load balancing policies registered in code, by name (gRFC A52).
    pub lb_policies: BTreeSet<Arc<str>>,
    /// A cluster may name a secret without saying where it comes from: it stands beside the cluster, as in
    /// Envoy's files (`static_resources.secrets`).
    pub static_secrets: bool,
    /// Listeners are not asked for by name: what a control plane, or a file, has for an Envoy comes as well. An
    /// inbound one that no server can serve by here is kept, and a server that asks for it is told; asked for
    /// by name, it is refused (gRFC A36).
    pub all_listeners: bool,
    /// The listeners that servers ask for by these names: what no server can serve by is refused (gRFC A36), also
    /// where clients could use it.
    pub servers: BTreeSet<Arc<str>>,
    /// Somebody may open the ports of socket listeners ([`XdsListener::proxy`](crate::XdsListener::proxy)), as Envoy
    /// does. One that only a port can be made of is none for calls by name, and not refused for it. Default: nobody.
    pub ports: bool,
}

/// Envoy wants a name of a run-time setting in some places: there we write this one, and nobody sets it.
pub(crate) const UNSET_RUNTIME_KEY: &str = "mesh.unset";

/// A resource after decoding.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Decoded {
    /// Its name; `None`: not even that could be read.
    pub name: Option<Arc<str>>,
    /// What it says, or everything that is wrong with it.
    pub resource: Result<Resource, Vec<FieldError>>,
    /// The fields that are set and do nothing here: reported, never silent.
    pub ignored: Vec<Ignored>,
}

/// Something in a resource that can't be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct FieldError {
    /// The field's path: `virtual_hosts[0].routes[3].match.headers[1]`; empty: the whole resource.
    pub path: String,
    /// What is wrong, with the value, the rule, and where it comes from.
    pub message: String,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.is_empty() {
            true => f.write_str(&self.message),
            false => write!(f, "{}: {}", self.path, self.message),
        }
    }
}

/// A field that is set and does nothing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub struct Ignored {
    /// The field's path.
    pub path: String,
    /// Why it does nothing, if that is not plain.
    pub reason: &'static str,
    /// At a port it would keep requests out, or send them elsewhere: without it, more would be let in.
    pub guards: bool,
}

/// Decodes the body of a resource: `value` of its `Any`.
#[must_use]
pub fn decode(kind: ResourceType, body: &[u8], context: &Context) -> Decoded {
    match kind {
        ResourceType::Listener => listener::decode(body, context),
        ResourceType::RouteConfiguration => route::decode(body, context),
        ResourceType::Cluster => cluster::decode(body, context),
        ResourceType::Endpoints => endpoint::decode(body, context),
        ResourceType::Secret => secret::decode(body, context),
    }
}
