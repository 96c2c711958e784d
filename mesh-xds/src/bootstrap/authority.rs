//! [`Authority`]: who gives the resources of an `xdstp:` authority (gRFC A47).

use super::error::shorten;
use super::json::{Reader, Value};
use super::percent::Part;
use super::server::{self, Server};
use super::template::Template;
use std::sync::Arc;

/// An entry of `authorities`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authority {
    name: Arc<str>,
    client_listener_template: Template,
    servers: Vec<Server>,
    fallback_on_reachability_only: bool,
}

/// A template that does not belong to its authority.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` does not begin with `{prefix}`: a client listener of an authority is one of its own names \
     (gRFC A47); begin with it, or leave the field out for `{prefix}envoy.config.listener.v3.Listener/%s`",
    shorten(.template)
)]
#[non_exhaustive]
pub struct ForeignTemplate {
    /// What was given.
    pub template: String,
    /// What it has to begin with.
    pub prefix: String,
}

impl Authority {
    /// The authority of this name, as plain text: with the servers of the whole bootstrap, and listeners
    /// named `xdstp://<name>/envoy.config.listener.v3.Listener/%s` (gRFC A47).
    ///
    /// The empty name is that of `xdstp:///…`.
    #[must_use]
    pub fn new(name: &str) -> Self {
        let name = Part::Authority.encode(name);
        let template = format!("xdstp://{name}/envoy.config.listener.v3.Listener/%s");
        Self {
            name: name.into(),
            client_listener_template: Template::new(template),
            servers: Vec::new(),
            fallback_on_reachability_only: false,
        }
    }

    /// Its own servers, the preferred ones first; none: those of the whole bootstrap.
    #[must_use]
    pub fn with_servers(mut self, servers: impl IntoIterator<Item = Server>) -> Self {
        self.servers = servers.into_iter().collect();
        self
    }

    /// Its own names of client listeners.
    ///
    /// # Errors
    ///
    /// When the template does not begin with `xdstp://<name>/` (gRFC A47).
    pub fn with_client_listener_template(
        mut self,
        template: Template,
    ) -> Result<Self, ForeignTemplate> {
        let prefix = format!("xdstp://{}/", self.name);
        if !template.as_str().starts_with(&prefix) {
            return Err(ForeignTemplate { template: template.to_string(), prefix });
        }
        self.client_listener_template = template;
        Ok(self)
    }

    /// Whether an unreachable server is reason enough to use the next one, even if nothing is missing
    /// (gRFC A95; gRFC A71 asks for both).
    #[must_use]
    pub const fn with_fallback_on_reachability_only(mut self, only: bool) -> Self {
        self.fallback_on_reachability_only = only;
        self
    }

    /// Its name, percent-encoded as in a [`ResourceName`](super::ResourceName).
    #[must_use]
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Its own servers; empty: those of the whole bootstrap count.
    #[must_use]
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The names of its client listeners.
    #[must_use]
    pub const fn client_listener_template(&self) -> &Template {
        &self.client_listener_template
    }

    /// See [`Authority::with_fallback_on_reachability_only`].
    #[must_use]
    pub const fn fallback_on_reachability_only(&self) -> bool {
        self.fallback_on_reachability_only
    }
}

/// Reads an entry of `authorities`.
pub(super) fn read<'t>(reader: &mut Reader<'t>, name: &str, value: Value<'t>) -> Option<Authority> {
    let object = reader.object(value)?;
    let mut authority = Authority::new(name);
    // gRFC A47: "If not specified, the top-level server list is used"; an empty list is the same
    // (C-core).
    if let Some(servers) = reader.optional(&object, "xds_servers", |r, v| r.list(v, server::read)) {
        authority = authority.with_servers(servers);
    }
    let only = reader.optional(&object, "fallback_on_reachability_only", Reader::boolean);
    authority = authority.with_fallback_on_reachability_only(only.unwrap_or_default());
    let template =
        reader.optional(&object, "client_listener_resource_name_template", |reader, value| {
            let text = reader.string(value)?;
            let with_template = match text.is_empty() {
                true => Ok(authority.clone()),
                false => authority.clone().with_client_listener_template(Template::new(text)),
            };
            reader.checked(value, with_template)
        });
    Some(template.unwrap_or(authority))
}
