//! [`DomainIndex`]: which virtual host serves an authority.
//!
//! The order is Envoy's and gRPC's (gRFC A28; Envoy: `VirtualHost.domains`): an exact domain, else
//! the longest suffix wildcard, else the longest prefix wildcard, else `*`. ASCII letters compare
//! without case. A wildcard stands for at least one byte.
//!
//! Ports go beyond Envoy (see [`Domain`]): a pattern without a port is compared with the authority
//! without its port, a pattern with one with the whole authority. Among wildcards of one kind the
//! longer text wins, and of equally long ones the one with a port. The colons of a bracketed IPv6
//! literal are no port, and neither are those of a bare one.

use super::compile::{CompileError, CompileErrorKind, Errors};
use super::prefix_map::{PrefixMap, Side};
use crate::head::port_start;
use crate::model::virtual_host::InvalidDomain;
use crate::model::{Domain, VirtualHost};
use crate::scan;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// The longest pattern, in bytes.
const LONGEST: usize = 512;

/// Where a domain pattern stands in the configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct DomainPlace {
    /// The virtual host's index in the route configuration.
    pub(super) host: u32,
    /// The pattern's index in the virtual host.
    pub(super) domain: u32,
}

/// Finds virtual hosts by authority.
#[derive(Clone, Debug)]
pub(super) struct DomainIndex {
    /// Patterns without a port, compared with the host alone.
    any_port: Patterns,
    /// Patterns with a port, compared with the whole authority.
    with_port: Patterns,
    any: Option<DomainPlace>,
    /// There is no other pattern than `*`, as in most servers: nothing has to be read.
    is_any_alone: bool,
}

#[derive(Clone, Debug)]
struct Patterns {
    exact: HashMap<Box<[u8]>, DomainPlace>,
    suffix: PrefixMap<Found>,
    prefix: PrefixMap<Found>,
}

#[derive(Clone, Copy, Debug)]
struct Found {
    len: u32,
    place: DomainPlace,
}

/// The patterns of one kind, on their way into a [`PrefixMap`].
type Wildcards = Vec<(Box<[u8]>, DomainPlace)>;

#[derive(Default)]
struct Sources {
    exact: HashMap<Box<[u8]>, DomainPlace>,
    suffix: Wildcards,
    prefix: Wildcards,
}

impl DomainIndex {
    /// Indexes the domains of all virtual hosts; reports empty, too long and repeated ones.
    pub(super) fn build(hosts: &[Arc<VirtualHost>], errors: &mut Errors) -> Self {
        let (mut any_port, mut with_port) = (Sources::default(), Sources::default());
        let mut any = None;
        let mut seen: HashMap<Domain, u32> = HashMap::new();
        for (host, model) in (0u32..).zip(hosts) {
            for (domain, pattern) in (0u32..).zip(&model.domains) {
                let pattern = lowered(pattern);
                let error = |kind| CompileError::domain(&model.name, domain as usize, kind);
                if let Some(invalid) = check_length(&pattern) {
                    errors.push(error(CompileErrorKind::Domain(invalid)));
                    continue;
                }
                if let Some(first) = seen.get(&pattern) {
                    let first = hosts[*first as usize].name.clone();
                    errors.push(error(CompileErrorKind::DuplicateDomain { pattern, first }));
                    continue;
                }
                let place = DomainPlace { host, domain };
                let has_port = port_start(text_of(&pattern).as_bytes()).is_some();
                let into = if has_port { &mut with_port } else { &mut any_port };
                match &pattern {
                    Domain::Exact(text) => drop(into.exact.insert(text.as_bytes().into(), place)),
                    Domain::Suffix(text) => into.suffix.push((text.as_bytes().into(), place)),
                    Domain::Prefix(text) => into.prefix.push((text.as_bytes().into(), place)),
                    Domain::Any => any = Some(place),
                }
                seen.insert(pattern, host);
            }
        }
        let (any_port, with_port) = (any_port.build(), with_port.build());
        let is_any_alone = any_port.is_empty() && with_port.is_empty();
        Self { any_port, with_port, any, is_any_alone }
    }

    /// The pattern that serves `authority`.
    ///
    /// Allocates only for an authority of more than 256 bytes with capital letters.
    #[inline]
    pub(super) fn find(&self, authority: &str) -> Option<DomainPlace> {
        if self.is_any_alone { self.any } else { self.find_among(authority.as_bytes()) }
    }

    fn find_among(&self, authority: &[u8]) -> Option<DomainPlace> {
        // Patterns of any port have neither capitals nor a port: an authority that is one of them letter by letter need
        // not be looked through. With a digit at its end it most likely has a port, and is none of them.
        let may_be_exact = authority.last().is_some_and(|last| !last.is_ascii_digit());
        if may_be_exact && let Some(place) = self.any_port.exact(authority) {
            return Some(place);
        }
        if scan::has_capital(authority) {
            return self.find_with_capitals(authority);
        }
        self.find_lowered(authority, may_be_exact)
    }

    #[cold]
    fn find_with_capitals(&self, authority: &[u8]) -> Option<DomainPlace> {
        let mut lowered: SmallVec<[u8; 256]> = SmallVec::from_slice(authority);
        lowered.make_ascii_lowercase();
        self.find_lowered(&lowered, false)
    }

    /// Whether a pattern without a `*` serves `authority`, in lower case.
    pub(super) fn has_exact(&self, authority: &str) -> bool {
        let authority = authority.as_bytes();
        let host = port_start(authority).map_or(authority, |port| &authority[..port]);
        self.with_port.exact(authority).or_else(|| self.any_port.exact(host)).is_some()
    }

    /// `is_not_exact`: no pattern of any port is just `authority`.
    fn find_lowered(&self, authority: &[u8], is_not_exact: bool) -> Option<DomainPlace> {
        let port = port_start(authority);
        let host = port.map_or(authority, |port| &authority[..port]);
        if port.is_none() || self.with_port.is_empty() {
            let is_not_exact = is_not_exact && port.is_none();
            let exact = if is_not_exact { None } else { self.any_port.exact(host) };
            return exact.or_else(|| self.any_port.wildcard(host)).or(self.any);
        }
        let (with_port, any_port) = (&self.with_port, &self.any_port);
        let exact = with_port.exact(authority).or_else(|| any_port.exact(host));
        let suffix = || longer(with_port.suffix(authority), any_port.suffix(host));
        let prefix = || longer(with_port.prefix(authority), any_port.prefix(host));
        exact.or_else(|| suffix().or_else(prefix).map(|found| found.place)).or(self.any)
    }
}

impl Patterns {
    #[inline]
    fn exact(&self, text: &[u8]) -> Option<DomainPlace> {
        if self.exact.is_empty() { None } else { self.exact.get(text).copied() }
    }

    /// The longest suffix that is shorter than `text`.
    #[inline]
    fn suffix(&self, text: &[u8]) -> Option<Found> {
        self.suffix.longest(text, text.len().saturating_sub(1))
    }

    /// The longest prefix that is shorter than `text`.
    #[inline]
    fn prefix(&self, text: &[u8]) -> Option<Found> {
        self.prefix.longest(text, text.len().saturating_sub(1))
    }

    /// Of the longest suffix, or else of the longest prefix.
    fn wildcard(&self, text: &[u8]) -> Option<DomainPlace> {
        self.suffix(text).or_else(|| self.prefix(text)).map(|found| found.place)
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.suffix.is_empty() && self.prefix.is_empty()
    }
}

impl Sources {
    fn build(self) -> Patterns {
        let map = |side, wildcards: Wildcards| {
            let found = wildcards.into_iter().map(|(text, place)| {
                let len = text.len() as u32;
                (text, Found { len, place })
            });
            PrefixMap::build(side, found.collect(), |_, own| own)
        };
        Patterns {
            exact: self.exact,
            suffix: map(Side::End, self.suffix),
            prefix: map(Side::Start, self.prefix),
        }
    }
}

/// The longer of two patterns; of equally long ones that with a port.
fn longer(with_port: Option<Found>, any_port: Option<Found>) -> Option<Found> {
    match (with_port, any_port) {
        (Some(port), Some(any)) if any.len > port.len => Some(any),
        (None, any) => any,
        (port, _) => port,
    }
}

/// `pattern` in lower case, for configurations that were not made by [`Domain::parse`].
fn lowered(pattern: &Domain) -> Domain {
    let lower = |text: &Arc<str>| match text.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => text.to_ascii_lowercase().into(),
        false => text.clone(),
    };
    match pattern {
        Domain::Exact(text) => Domain::Exact(lower(text)),
        Domain::Suffix(text) => Domain::Suffix(lower(text)),
        Domain::Prefix(text) => Domain::Prefix(lower(text)),
        Domain::Any => Domain::Any,
    }
}

/// The text of a pattern, without its `*`.
pub(super) fn text_of(pattern: &Domain) -> &str {
    match pattern {
        Domain::Exact(text) | Domain::Suffix(text) | Domain::Prefix(text) => text,
        Domain::Any => "",
    }
}

fn check_length(pattern: &Domain) -> Option<InvalidDomain> {
    match (pattern, text_of(pattern).len()) {
        (Domain::Any, _) => None,
        (_, 0) => Some(InvalidDomain::Empty),
        (_, len) => (len > LONGEST).then_some(InvalidDomain::TooLong),
    }
}

#[cfg(test)]
mod tests;
