//! The bootstrap: where the control plane is, and who we are.
//!
//! The format is gRPC's, so that a file made for gRPC works as it is: Istio's agent writes one into every
//! pod that asks for it. Some decisions have to be made before the first byte from a control plane, and
//! all of them are here: which server, by what credentials, as which node, and under what names listeners
//! are asked for.
//!
//! ```text
//! environment ── choose ──> path or text ── Bootstrap::parse ──┐
//!                                                              ├──> Bootstrap
//! code ───────── Bootstrap::new(server).with_node(…) ──────────┘
//! ```
//!
//! **The rules**, each with its source:
//!
//! | field | rule |
//! |---|---|
//! | the text | at most [`MAX_BYTES`]; unknown fields are ignored (gRFC A27); `null` is as good as none; no key twice |
//! | `xds_servers` | one at least; the first is preferred, the others are for when it fails (gRFC A71) |
//! | `server_uri` | a [`Target`] |
//! | `channel_creds` | the first type that is supported counts: `insecure`, `tls` (gRFC A27, A65) |
//! | `call_creds` | every type that is supported counts: `jwt_token_file`; not over `insecure` (gRFC A97) |
//! | `server_features` | unknown ones are ignored, whatever their type (gRFC A30) |
//! | `node` | a [`Node`]; none of its fields is required |
//! | `certificate_providers` | a plugin that is not known is an error only when it is used (gRFC A29) |
//! | `authorities` | servers and names of `xdstp:` authorities (gRFC A47, A95) |
//! | `…_listener_resource_name_template` | `%s` is the service or the address, percent-encoded in `xdstp:` names (gRFC A36, A47) |
//!
//! Every problem of a text is told, with its field, line and column; with one of them there is no
//! bootstrap. Values that are made in code are checked where they are made, so that a [`Bootstrap`] is
//! always whole.
//!
//! What it does not do: read the environment, files, or certificates.

mod authority;
mod choice;
mod creds;
mod duration;
mod error;
mod files;
mod json;
mod node;
mod percent;
mod provider;
mod read;
mod resource_name;
mod server;
mod target;
mod template;
#[cfg(test)]
mod tests;

pub use authority::{Authority, ForeignTemplate};
pub use choice::{Choice, INLINE_VARIABLE, PATH_VARIABLE, choose};
pub use creds::{CallCreds, ChannelCreds};
pub use error::{BootstrapError, MAX_PROBLEMS, Problem};
pub use files::{CertificateFiles, DEFAULT_REFRESH_INTERVAL, IdentityFiles, MIN_REFRESH_INTERVAL};
pub use node::{
    CLIENT_FEATURES, LRS_CLIENT_FEATURE, Locality, MAX_METADATA_DEPTH, MetadataTooDeep, Node,
    USER_AGENT_NAME,
};
pub use provider::{CertificateProvider, NothingToWatch, ProviderError};
pub use read::MAX_BYTES;
pub use resource_name::{InvalidName, NameReason, ResourceName};
pub use server::{InsecureToken, Server, ServerFeature};
pub use target::{DEFAULT_PORT, InvalidTarget, MAX_ADDRESSES, Target, TargetReason};
pub use template::Template;

use error::shorten;
use percent::Part;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// Where the control plane is, and who we are.
///
/// # Examples
///
/// ```
/// use mesh_xds::bootstrap::{Bootstrap, ChannelCreds, Node, Server};
///
/// let server = Server::new("dns:///control-plane:18000", ChannelCreds::Insecure)?;
/// let bootstrap = Bootstrap::new(server).with_node(Node::new("checkout-1"));
/// assert_eq!(bootstrap.client_listener_name(None, "reviews:8080")?, "reviews:8080");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// One at least.
    servers: Vec<Server>,
    node: Node,
    authorities: BTreeMap<Arc<str>, Authority>,
    certificate_providers: BTreeMap<Arc<str>, CertificateProvider>,
    client_default_listener_template: Template,
    server_listener_template: Option<Template>,
}

/// An authority that the bootstrap does not have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the authority `{}` is not in the bootstrap: add it to `authorities` (gRFC A47)",
    shorten(.authority)
)]
#[non_exhaustive]
pub struct UnknownAuthority {
    /// Its name, percent-encoded.
    pub authority: String,
}

/// A server without a name for its listener.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the bootstrap has no `server_listener_resource_name_template`, which a server needs and which has no \
     default (gRFC A36)"
)]
#[non_exhaustive]
pub struct NoServerTemplate;

impl Bootstrap {
    /// A bootstrap with one server.
    #[must_use]
    pub fn new(server: Server) -> Self {
        Self {
            servers: vec![server],
            node: Node::default(),
            authorities: BTreeMap::new(),
            certificate_providers: BTreeMap::new(),
            client_default_listener_template: Template::default(),
            server_listener_template: None,
        }
    }

    /// Reads a bootstrap from JSON.
    ///
    /// # Errors
    ///
    /// With everything that is wrong with it.
    pub fn parse(text: &str) -> Result<Self, BootstrapError> {
        read::parse(text)
    }

    /// With one more server, for when those before it can't be reached (gRFC A71).
    #[must_use]
    pub fn with_fallback(mut self, server: Server) -> Self {
        self.servers.push(server);
        self
    }

    /// As this node.
    #[must_use]
    pub fn with_node(mut self, node: Node) -> Self {
        self.node = node;
        self
    }

    /// With an authority, in place of one with the same name.
    #[must_use]
    pub fn with_authority(mut self, authority: Authority) -> Self {
        self.authorities.insert(Arc::clone(authority.name()), authority);
        self
    }

    /// With a certificate provider, in place of one with the same name.
    #[must_use]
    pub fn with_certificate_provider(
        mut self,
        name: impl Into<Arc<str>>,
        provider: CertificateProvider,
    ) -> Self {
        self.certificate_providers.insert(name.into(), provider);
        self
    }

    /// With these names of listeners for clients that name no authority.
    #[must_use]
    pub fn with_client_default_listener_template(mut self, template: Template) -> Self {
        self.client_default_listener_template = template;
        self
    }

    /// With these names of listeners for servers.
    #[must_use]
    pub fn with_server_listener_template(mut self, template: Template) -> Self {
        self.server_listener_template = Some(template);
        self
    }

    /// The servers for all names without an authority of their own, the preferred ones first; one at
    /// least.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Who we are.
    #[must_use]
    pub const fn node(&self) -> &Node {
        &self.node
    }

    /// The authorities, by their names.
    pub fn authorities(&self) -> impl Iterator<Item = &Authority> {
        self.authorities.values()
    }

    /// The authority of a name: `None` for a name of the old style, whose servers are
    /// [`Bootstrap::servers`].
    ///
    /// # Errors
    ///
    /// When the bootstrap does not have it (gRFC A47).
    pub fn authority_of(
        &self,
        name: &ResourceName,
    ) -> Result<Option<&Authority>, UnknownAuthority> {
        name.authority().map(|authority| self.authority(authority)).transpose()
    }

    /// The servers of a name, the preferred ones first; one at least.
    ///
    /// # Errors
    ///
    /// When its authority is not in the bootstrap (gRFC A47).
    pub fn servers_of(&self, name: &ResourceName) -> Result<&[Server], UnknownAuthority> {
        let own = self.authority_of(name)?.map_or(&[][..], Authority::servers);
        Ok(if own.is_empty() { &self.servers } else { own })
    }

    /// What the listener of a service is called: of the target `xds://<authority>/<service>`, or
    /// `xds:///<service>` without an authority.
    ///
    /// # Errors
    ///
    /// When the authority is not in the bootstrap (gRFC A47).
    pub fn client_listener_name(
        &self,
        authority: Option<&str>,
        service: &str,
    ) -> Result<String, UnknownAuthority> {
        let template = match authority {
            None => &self.client_default_listener_template,
            Some(name) => self.authority(&Part::Authority.encode(name))?.client_listener_template(),
        };
        Ok(template.fill(service))
    }

    /// What the listener of a server is called that is bound to this address.
    ///
    /// # Errors
    ///
    /// When the bootstrap has no template for it, and there is no default (gRFC A36).
    pub fn server_listener_name(&self, bound: SocketAddr) -> Result<String, NoServerTemplate> {
        let template = self.server_listener_template.as_ref().ok_or(NoServerTemplate)?;
        Ok(template.fill(&bound.to_string()))
    }

    /// The files of a certificate provider.
    ///
    /// # Errors
    ///
    /// When there is none of this name, or its plugin is not supported (gRFC A29).
    pub fn certificate_provider(&self, name: &str) -> Result<&CertificateFiles, ProviderError> {
        match self.certificate_providers.get(name) {
            Some(CertificateProvider::FileWatcher(files)) => Ok(files),
            Some(CertificateProvider::Unsupported { plugin, .. }) => {
                Err(ProviderError::Unsupported {
                    name: name.to_owned(),
                    plugin: Arc::clone(plugin),
                })
            }
            None => Err(ProviderError::Unknown { name: name.to_owned(), known: self.known() }),
        }
    }

    /// The names of the certificate providers that can be used: those that resources may name.
    pub fn certificate_provider_names(&self) -> impl Iterator<Item = &Arc<str>> {
        let providers = self.certificate_providers.iter();
        providers.filter(|(_, provider)| provider.is_supported()).map(|(name, _)| name)
    }

    fn authority(&self, encoded: &str) -> Result<&Authority, UnknownAuthority> {
        let unknown = || UnknownAuthority { authority: encoded.to_owned() };
        self.authorities.get(encoded).ok_or_else(unknown)
    }

    /// The names of all certificate providers, for messages.
    fn known(&self) -> String {
        let names: Vec<&str> = self.certificate_providers.keys().map(|name| &**name).collect();
        match names.is_empty() {
            true => "none".to_owned(),
            false => format!("`{}`", shorten(&names.join("`, `"))),
        }
    }
}
