//! Which listener's virtual host serves which domain, where several listeners have different routes.

use super::{Group, Note, NoteKind, domains};
use crate::ResourceType;
use mesh_core::model::{Domain, RouteConfiguration, VirtualHost};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Who serves which domain: the index of a group, and of a virtual host in it.
pub(super) struct Claims<'n> {
    taken: BTreeMap<Domain, (usize, usize)>,
    /// The domains of each virtual host, in the order in which they were claimed.
    domains: BTreeMap<(usize, usize), Vec<Domain>>,
    notes: &'n mut Vec<Note>,
}

impl<'n> Claims<'n> {
    pub(super) fn new(groups: &[Group<'_>], notes: &'n mut Vec<Note>) -> Self {
        let mut claims = Self { taken: BTreeMap::new(), domains: BTreeMap::new(), notes };
        for (index, group) in groups.iter().enumerate() {
            for name in &group.authorities {
                claims.authority(index, group, name, groups);
            }
        }
        let rivals: Vec<_> = groups.iter().map(Rivals::new).collect();
        for (index, group) in groups.iter().enumerate().filter(|(_, group)| group.has_socket) {
            claims.socket(index, group, (groups, &rivals));
        }
        claims
    }

    /// gRFC A27: an API listener is the authority that it is named after.
    fn authority(
        &mut self,
        index: usize,
        group: &Group<'_>,
        name: &Arc<str>,
        groups: &[Group<'_>],
    ) {
        match domains::find(&group.routes.model.virtual_hosts, name) {
            Some(host) => {
                let domain = Domain::Exact(name.to_ascii_lowercase().into());
                self.claim(domain, (index, host), groups);
            }
            None => self.notes.push(Note {
                at: (ResourceType::Listener, Arc::clone(name)),
                kind: NoteKind::Unused("its routes have no virtual host for its name"),
            }),
        }
    }

    fn socket(
        &mut self,
        index: usize,
        group: &Group<'_>,
        (groups, rivals): (&[Group<'_>], &[Rivals<'_>]),
    ) {
        let mut shared: BTreeMap<usize, Vec<Domain>> = BTreeMap::new();
        for (host, model) in group.routes.model.virtual_hosts.iter().enumerate() {
            for domain in &model.domains {
                let place = (index, host);
                // Nothing could tell it apart: the earlier one is taken.
                if group.ports.is_empty() {
                    self.claim(domain.clone(), place, groups);
                    continue;
                }
                for port in &group.ports {
                    if let Some(domain) = at_port(domain, *port) {
                        self.claim(domain, place, groups);
                    }
                }
                let mut others = rivals.iter().enumerate().filter(|(other, _)| *other != index);
                match others.find(|(_, rivals)| rivals.serve(domain)) {
                    None => self.claim(domain.clone(), place, groups),
                    Some((other, _)) => shared.entry(other).or_default().push(domain.clone()),
                }
            }
        }
        for (other, domains) in shared {
            let kind = NoteKind::Shared(domains, Arc::clone(&groups[other].at.1));
            self.notes.push(Note { at: group.at.clone(), kind });
        }
    }

    fn claim(&mut self, domain: Domain, place: (usize, usize), groups: &[Group<'_>]) {
        match self.taken.get(&domain) {
            Some(taken) if *taken == place => {}
            Some((first, _)) => {
                let kind = NoteKind::Taken(domain, Arc::clone(&groups[*first].at.1));
                self.notes.push(Note { at: groups[place.0].at.clone(), kind });
            }
            None => {
                self.taken.insert(domain.clone(), place);
                self.domains.entry(place).or_default().push(domain);
            }
        }
    }

    /// The virtual hosts that serve anything.
    pub(super) fn routes(self, groups: &[Group<'_>]) -> RouteConfiguration {
        let mut routes = RouteConfiguration::default();
        let mut names = BTreeSet::new();
        for ((group, host), domains) in self.domains {
            let group = &groups[group];
            let above = &group.routes.model.headers;
            let model = &group.routes.model.virtual_hosts[host];
            let mut host =
                VirtualHost::clone(&domains::with_levels(model, above, group.max_stream_duration));
            host.domains = domains;
            if !names.insert(Arc::clone(&host.name)) {
                host.name = format!("{}/{}", group.at.1, host.name).into();
                names.insert(Arc::clone(&host.name));
            }
            routes.virtual_hosts.push(Arc::new(host));
        }
        routes
    }
}

/// The domain at a port; `None`: no pattern says it, or it has a port of its own, and stays as it is.
fn at_port(domain: &Domain, port: u16) -> Option<Domain> {
    match domain {
        Domain::Exact(text) | Domain::Suffix(text) if has_port(text) => None,
        Domain::Exact(text) => Some(Domain::Exact(format!("{text}:{port}").into())),
        Domain::Suffix(text) => Some(Domain::Suffix(format!("{text}:{port}").into())),
        Domain::Any => Some(Domain::Suffix(format!(":{port}").into())),
        Domain::Prefix(_) => None,
    }
}

/// The domains of a group that have no port, to be asked whether one of them stands for a name of another's.
#[derive(Default)]
struct Rivals<'a> {
    exact: BTreeSet<&'a str>,
    with_port: BTreeSet<&'a Domain>,
    wildcards: Vec<&'a Domain>,
}

impl<'a> Rivals<'a> {
    fn new(group: &Group<'a>) -> Self {
        let mut rivals = Self::default();
        if group.ports.is_empty() {
            return rivals;
        }
        for domain in group.routes.model.virtual_hosts.iter().flat_map(|host| &host.domains) {
            match domain {
                Domain::Exact(text) | Domain::Suffix(text) if has_port(text) => {
                    rivals.with_port.insert(domain);
                }
                Domain::Exact(text) => {
                    rivals.exact.insert(text);
                }
                Domain::Suffix(_) | Domain::Prefix(_) | Domain::Any => {
                    rivals.wildcards.push(domain);
                }
            }
        }
        rivals
    }

    /// Whether a call could be meant for this group as well as for a virtual host of `domain`.
    fn serve(&self, domain: &Domain) -> bool {
        match domain {
            Domain::Exact(text) | Domain::Suffix(text) if has_port(text) => {
                self.with_port.contains(domain)
            }
            Domain::Exact(text) => {
                self.exact.contains(&**text) || self.wildcards.iter().any(|one| fits(one, text))
            }
            Domain::Suffix(_) | Domain::Prefix(_) | Domain::Any => {
                self.exact.iter().any(|text| fits(domain, text))
                    || self.wildcards.iter().any(|other| overlap(domain, other))
            }
        }
    }
}

/// Whether a pattern stands for a text; a wildcard for at least one byte.
fn fits(pattern: &Domain, text: &str) -> bool {
    match pattern {
        Domain::Exact(exact) => **exact == *text,
        Domain::Suffix(end) => text.len() > end.len() && text.ends_with(&**end),
        Domain::Prefix(start) => text.len() > start.len() && text.starts_with(&**start),
        Domain::Any => true,
    }
}

/// Whether a text may be one of both wildcards'.
fn overlap(one: &Domain, other: &Domain) -> bool {
    match (one, other) {
        (Domain::Suffix(one), Domain::Suffix(other)) => {
            one.ends_with(&**other) || other.ends_with(&**one)
        }
        (Domain::Prefix(one), Domain::Prefix(other)) => {
            one.starts_with(&**other) || other.starts_with(&**one)
        }
        _ => true,
    }
}

/// Whether a pattern ends in a port: digits after a colon that is no part of a bare IPv6 address.
fn has_port(text: &str) -> bool {
    let Some((host, port)) = text.rsplit_once(':') else { return false };
    let digits = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    digits && (!host.contains(':') || host.ends_with(']'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_two_serve() {
        let table = [
            ("*", "*.a", true),
            ("*.a", "*.b.a", true),
            ("*.a", "*.b", false),
            ("a.*", "a.b.*", true),
            ("a.*", "b.*", false),
            ("a.*", "*.b", true),
        ];
        for (one, other, expected) in table {
            let [one, other] = [one, other].map(|text| Domain::parse(text).unwrap());
            assert_eq!(overlap(&one, &other), expected, "{one} {other}");
            assert_eq!(overlap(&other, &one), expected, "{other} {one}");
        }
    }

    #[test]
    fn domains_at_ports() {
        let table = [
            ("reviews", Some("reviews:80")),
            ("*.shop", Some("*.shop:80")),
            ("*", Some("*:80")),
            ("reviews:9080", None),
            ("[::1]", Some("[::1]:80")),
            ("[::1]:9080", None),
            ("reviews.*", None),
        ];
        for (domain, expected) in table {
            let expected = expected.map(|text| Domain::parse(text).unwrap());
            assert_eq!(at_port(&Domain::parse(domain).unwrap(), 80), expected, "{domain}");
        }
    }
}
