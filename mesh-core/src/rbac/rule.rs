//! One condition, and whether it holds.
//!
//! Permissions and principals are one kind of tree here: what they ask differs, how they are put
//! together does not.

use super::ip_set::IpSet;
use super::metadata::{CompiledFilterState, CompiledMetadata};
use super::request::Request;
use crate::identity::{CompiledSanMatchers, Peer};
use crate::model::metadata::{Metadata, MetadataSource};
use crate::model::rbac::HeaderTarget;
use crate::router::{CompiledHeaderValue, CompiledRegex, CompiledStringMatcher, HeaderValues};
use http::Method;
use std::net::SocketAddr;
use std::ops::Range;
use std::sync::Arc;

/// A condition, ready to run.
#[derive(Clone, Debug)]
pub(super) enum Rule {
    Always,
    All(Box<[Self]>),
    AnyOf(Box<[Self]>),
    Not(Box<Self>),
    Header(HeaderTarget, CompiledHeaderValue),
    /// The method is this one: most policies ask for it.
    Method(Method),
    Path(CompiledStringMatcher),
    PathPrefix(Arc<str>),
    /// The path is one of these.
    PathIn(Texts),
    Template(CompiledRegex),
    LocalIp(IpSet),
    LocalPort(Range<u32>),
    ServerName(CompiledStringMatcher),
    Metadata(CompiledMetadata),
    FilterState(CompiledFilterState),
    /// The connection is one of TLS.
    Tls,
    Principal(CompiledStringMatcher),
    PrincipalPrefix(Arc<str>),
    /// A principal is one of these.
    PrincipalIn(Texts),
    /// There is a verified certificate.
    Certified,
    San {
        names: CompiledSanMatchers,
        /// The URI that is asked for, when it is one.
        uri: Option<Arc<str>>,
    },
    Source(Origin, IpSet),
}

/// Which end of whose connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    Source,
    DirectRemote,
    Remote,
}

impl Origin {
    pub(super) const ALL: [Self; 3] = [Self::Source, Self::DirectRemote, Self::Remote];
}

/// Texts, sorted.
#[derive(Clone, Debug, Default)]
pub(super) struct Texts(Box<[Arc<str>]>);

impl Texts {
    pub(super) fn new(mut texts: Vec<Arc<str>>) -> Self {
        texts.sort_unstable();
        texts.dedup();
        Self(texts.into())
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        match &*self.0 {
            [one] => **one == *text,
            texts => texts.binary_search_by(|known| (**known).cmp(text)).is_ok(),
        }
    }

    pub(super) fn all(&self) -> &[Arc<str>] {
        &self.0
    }
}

/// What is looked at, with what every policy would look up anew.
pub(super) struct Sight<'a> {
    pub(super) request: &'a Request<'a>,
    /// Without query and fragment; `None`: there is none (CONNECT has none either).
    pub(super) path: Option<&'a str>,
}

impl<'a> Sight<'a> {
    pub(super) fn new(request: &'a Request<'a>) -> Self {
        let path = request.head.map(|head| head.path()).filter(|path| !path.is_empty());
        Self { request, path }
    }

    pub(super) fn peer(&self) -> &'a Peer {
        self.request.connection.peer
    }

    pub(super) fn header(&self, target: &HeaderTarget) -> Option<HeaderValues<'a>> {
        let head = self.request.head?;
        let one = |text: &'a str| (!text.is_empty()).then(|| HeaderValues::One(text.as_bytes()));
        match target {
            HeaderTarget::Method => one(head.method.as_str()),
            HeaderTarget::Path => one(head.path_and_query),
            HeaderTarget::Authority => one(head.authority),
            // gRFC A41: "Implementations must not match hop-by-hop headers".
            HeaderTarget::HopByHop(_) => None,
            // As they were sent: neither gRPC's content type nor `-bin` is special (gRFC A41).
            HeaderTarget::Header(name) => HeaderValues::of(head.headers, name),
        }
    }

    const fn metadata(&self, source: MetadataSource) -> Option<&'a Metadata> {
        match source {
            MetadataSource::Dynamic => self.request.metadata,
            MetadataSource::Route => self.request.route_metadata,
        }
    }

    pub(super) fn origin(&self, origin: Origin) -> Option<SocketAddr> {
        match origin {
            Origin::Source => self.request.connection.source,
            Origin::DirectRemote => self.request.connection.direct_remote,
            Origin::Remote => self.request.remote,
        }
    }
}

impl Rule {
    /// Whether the condition holds. Nothing holds of a header on a connection without HTTP, not even
    /// that it is missing.
    pub(super) fn holds(&self, sight: &Sight<'_>) -> bool {
        let connection = sight.request.connection;
        let (path, local) = (sight.path, connection.local);
        match self {
            Self::Always => true,
            Self::All(rules) => rules.iter().all(|rule| rule.holds(sight)),
            Self::AnyOf(rules) => rules.iter().any(|rule| rule.holds(sight)),
            Self::Not(rule) => !rule.holds(sight),
            Self::Header(target, value) => {
                sight.request.head.is_some() && value.matches(sight.header(target).as_deref())
            }
            Self::Method(method) => sight.request.head.is_some_and(|head| head.method == method),
            Self::PathPrefix(start) => path.is_some_and(|path| path.starts_with(&**start)),
            Self::Path(matcher) => path.is_some_and(|path| matcher.matches(path.as_bytes())),
            Self::PathIn(paths) => path.is_some_and(|path| paths.contains(path)),
            Self::Template(regex) => path.is_some_and(|path| regex.is_match(path.as_bytes())),
            Self::LocalIp(blocks) => within(blocks, local),
            Self::LocalPort(ports) => {
                local.is_some_and(|local| ports.contains(&u32::from(local.port())))
            }
            Self::ServerName(matcher) => {
                matcher.matches(connection.requested_server_name.as_bytes())
            }
            Self::Metadata(matcher) => matcher.matches(sight.metadata(matcher.source)),
            Self::FilterState(matcher) => matcher.matches(sight.request.filter_state),
            Self::Tls => *connection.peer != Peer::Plaintext,
            Self::PrincipalPrefix(start) => {
                connection.peer.principals().any(|name| name.starts_with(&**start))
            }
            Self::Principal(matcher) => {
                connection.peer.principals().any(|name| matcher.matches(name.as_bytes()))
            }
            Self::PrincipalIn(names) => {
                connection.peer.principals().any(|name| names.contains(name))
            }
            Self::Certified => connection.peer.certificate().is_some(),
            Self::San { names, .. } => {
                connection.peer.certificate().is_some_and(|peer| names.matches(peer))
            }
            Self::Source(origin, blocks) => within(blocks, sight.origin(*origin)),
        }
    }
}

fn within(blocks: &IpSet, address: Option<SocketAddr>) -> bool {
    address.is_some_and(|address| blocks.contains(address.ip()))
}
