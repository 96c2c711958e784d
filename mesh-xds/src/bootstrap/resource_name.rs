//! [`ResourceName`]: what a resource is called, in the old style or the new one (gRFC A47, xRFC TP1).
//!
//! ```text
//! xdstp://<authority>/<type>/<id>?<key>=<value>&…#<directives>
//! ```
//!
//! Two spellings of one name are one resource: context parameters count in the order of their keys, the
//! last of two with the same key wins, and what needs no percent-encoding has none. Directives are no part
//! of a name (gRPC leaves them out). Whatever does not begin with `xdstp:` is a name of the old style and
//! stands for itself.

use super::error::shorten;
use super::percent::{BadPercent, Part};
use crate::ResourceType;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::Arc;

/// The name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceName {
    canonical: Arc<str>,
    authority: Option<Arc<str>>,
    id: Arc<str>,
    context: BTreeMap<String, String>,
}

/// Why a text is no name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no {kind} resource: {reason}", shorten(.name))]
#[non_exhaustive]
pub struct InvalidName {
    /// What was given.
    pub name: String,
    /// What kind of resource was asked for.
    pub kind: ResourceType,
    /// What is wrong with it.
    pub reason: NameReason,
}

/// What is wrong with the name of a resource.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NameReason {
    /// `xdstp:` without `//`.
    #[error(
        "`//` and the authority follow on `xdstp:` (gRFC A47): `xdstp://<authority>/<type>/<id>`"
    )]
    NoAuthority,
    /// The path has no type.
    #[error("the type is missing (gRFC A47): `xdstp://<authority>/<type>/<id>`")]
    NoType,
    /// The path has nothing after the type.
    #[error("nothing follows the type (gRFC A47): `xdstp://<authority>/<type>/<id>`")]
    NoId,
    /// The type is another.
    #[error("its type is `{}`, expected `{expected}` (gRFC A47)", shorten(.found))]
    WrongType {
        /// The type in the name.
        found: String,
        /// The type that was asked for.
        expected: &'static str,
    },
    /// A `%` without two hexadecimal digits.
    #[error("two hexadecimal digits follow on a `%` (RFC 3986); a `%` itself is `%25`")]
    Percent,
    /// A context parameter without a key.
    #[error("a context parameter has a key (xRFC TP1): `?key=value`")]
    NoKey,
}

impl ResourceName {
    /// Reads the name of a resource of this kind.
    ///
    /// # Errors
    ///
    /// When it begins with `xdstp:` and is not of the form above, or of another type.
    ///
    /// # Examples
    ///
    /// ```
    /// use mesh_xds::{ResourceType, bootstrap::ResourceName};
    ///
    /// let name = "xdstp://a/envoy.config.cluster.v3.Cluster/x?b=2&a=1&b=3";
    /// let name = ResourceName::parse(ResourceType::Cluster, name)?;
    /// assert_eq!(name.canonical(), "xdstp://a/envoy.config.cluster.v3.Cluster/x?a=1&b=3");
    /// # Ok::<(), mesh_xds::bootstrap::InvalidName>(())
    /// ```
    pub fn parse(kind: ResourceType, name: &str) -> Result<Self, InvalidName> {
        match name.strip_prefix("xdstp:") {
            None => Ok(Self {
                canonical: name.into(),
                authority: None,
                id: name.into(),
                context: BTreeMap::new(),
            }),
            Some(rest) => parse(kind, rest).map_err(|reason| InvalidName {
                name: name.to_owned(),
                kind,
                reason,
            }),
        }
    }

    /// Its one spelling, by which it is asked for and remembered.
    #[must_use]
    pub fn canonical(&self) -> &str {
        &self.canonical
    }

    /// Its authority, percent-encoded; `None`: a name of the old style, for which no entry of
    /// `authorities` counts.
    #[must_use]
    pub fn authority(&self) -> Option<&str> {
        self.authority.as_deref()
    }

    /// What follows the type, percent-encoded; the whole name in the old style.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its context parameters, percent-encoded.
    #[must_use]
    pub const fn context(&self) -> &BTreeMap<String, String> {
        &self.context
    }

    /// Whether it stands for all names with its beginning (xRFC TP1: glob collections, for the
    /// incremental protocol only).
    #[must_use]
    pub fn is_collection(&self) -> bool {
        self.authority.is_some() && (&*self.id == "*" || self.id.ends_with("/*"))
    }
}

impl fmt::Display for ResourceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.canonical)
    }
}

fn parse(kind: ResourceType, rest: &str) -> Result<ResourceName, NameReason> {
    let rest = rest.strip_prefix("//").ok_or(NameReason::NoAuthority)?;
    let rest = rest.split_once('#').map_or(rest, |(name, _directives)| name);
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_once('/').ok_or(NameReason::NoType)?;
    let (found, id) = path.split_once('/').unwrap_or((path, ""));
    let expected = message_name(kind);
    let found = Part::Path.normalise(found)?;
    if found.is_empty() {
        return Err(NameReason::NoType);
    }
    if found != expected {
        return Err(NameReason::WrongType { found, expected });
    }
    if id.is_empty() {
        return Err(NameReason::NoId);
    }
    let authority = Part::Authority.normalise(authority)?;
    let id = Part::Path.normalise(id)?;
    let context = context_of(query)?;
    let mut canonical = format!("xdstp://{authority}/{expected}/{id}");
    for (index, (key, value)) in context.iter().enumerate() {
        // Writing to a string can't fail.
        let _fits: fmt::Result =
            write!(canonical, "{}{key}={value}", if index == 0 { '?' } else { '&' });
    }
    Ok(ResourceName {
        canonical: canonical.into(),
        authority: Some(authority.into()),
        id: id.into(),
        context,
    })
}

/// gRFC A47: sorted by key, the last of the same key wins. Nothing between two `&` is skipped.
fn context_of(query: &str) -> Result<BTreeMap<String, String>, NameReason> {
    let mut context = BTreeMap::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if key.is_empty() {
            return Err(NameReason::NoKey);
        }
        context.insert(Part::Parameter.normalise(key)?, Part::Parameter.normalise(value)?);
    }
    Ok(context)
}

/// The type as it stands in a name: its type URL without the part up to the slash.
fn message_name(kind: ResourceType) -> &'static str {
    let url = kind.type_url();
    url.split_once('/').map_or(url, |(_, name)| name)
}

impl From<BadPercent> for NameReason {
    fn from(BadPercent: BadPercent) -> Self {
        Self::Percent
    }
}
