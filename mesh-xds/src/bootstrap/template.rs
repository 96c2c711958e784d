//! [`Template`]: names of listeners, with `%s` where the service or the address goes (gRFC A47).

use super::percent::Part;
use std::fmt;
use std::sync::Arc;

/// A name with any number of `%s` in it.
///
/// Nothing else in it is special, and it need not have a `%s`: then every name is the same.
///
/// # Examples
///
/// ```
/// use mesh_xds::bootstrap::Template;
///
/// assert_eq!(Template::new("lds/%s").fill("[::1]:80"), "lds/[::1]:80");
/// let template = Template::new("xdstp://xds.example/envoy.config.listener.v3.Listener/%s");
/// let name = template.fill("[::1]:80");
/// assert_eq!(name, "xdstp://xds.example/envoy.config.listener.v3.Listener/%5B::1%5D:80");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Template(Arc<str>);

impl Template {
    /// The template of this text.
    #[must_use]
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The name for `value`.
    ///
    /// gRFC A47: `value` is percent-encoded when the template begins with `xdstp:`, by what a path holds
    /// (RFC 3986 section 3.3, `/` included), and stands as it is otherwise.
    #[must_use]
    pub fn fill(&self, value: &str) -> String {
        match self.0.starts_with("xdstp:") {
            true => self.0.replace("%s", &Part::Path.encode(value)),
            false => self.0.replace("%s", value),
        }
    }

    /// As it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Template {
    /// `%s`: the value itself (gRFC A47, `client_default_listener_resource_name_template`).
    fn default() -> Self {
        Self::new("%s")
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
