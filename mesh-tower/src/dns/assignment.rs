//! Answers to endpoints.
//!
//! Pure: what a cluster's names resolved to goes in, its endpoints come out, in an order that does
//! not depend on the order in which a name server happens to list them.

use mesh_core::model::{Address, ClusterLoadAssignment, DnsLookupFamily, Endpoint};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One place that a cluster's names lead to.
#[derive(Clone, Debug)]
pub(super) struct Resolved<'a> {
    /// The name, without a final dot; `None` for an IP address.
    pub(super) hostname: Option<&'a Arc<str>>,
    /// Its addresses, best first.
    pub(super) addresses: Vec<IpAddr>,
    /// The port that was configured beside the name.
    pub(super) port: u16,
}

/// Every address of every name, sorted; an address that two names share takes the first one's name.
pub(super) fn strict<'a>(names: impl Iterator<Item = &'a Resolved<'a>>) -> ClusterLoadAssignment {
    let mut endpoints = BTreeMap::new();
    for resolved in names {
        for ip in &resolved.addresses {
            let address = SocketAddr::new(*ip, resolved.port);
            let made = || endpoint(Address::Socket(address), resolved.hostname);
            endpoints.entry(address).or_insert_with(made);
        }
    }
    ClusterLoadAssignment::of(endpoints.into_values())
}

/// One endpoint, at one address of the first name that has some; and all of those, best first, to
/// connect to (RFC 8305).
///
/// Envoy's `LOGICAL_DNS` is one host for ever. Here an address is an endpoint's identity, so the one in
/// use, `current`, stays while the newest answer has it, wherever in the answer: a name server that
/// rotates its answers moves nothing. When it is gone, the old endpoint drains (calls in flight
/// finish) and the new one starts with fresh statistics.
pub(super) fn logical<'a>(
    mut names: impl Iterator<Item = &'a Resolved<'a>>,
    current: Option<&Address>,
) -> (ClusterLoadAssignment, Arc<[Address]>) {
    let Some(resolved) = names.find(|resolved| !resolved.addresses.is_empty()) else {
        return (ClusterLoadAssignment::of([]), Arc::new([]));
    };
    let sockets = resolved.addresses.iter().map(|ip| SocketAddr::new(*ip, resolved.port));
    let addresses: Arc<[Address]> = sockets.map(Address::Socket).collect();
    let stays = current.filter(|current| addresses.contains(current));
    let chosen = stays.or_else(|| addresses.first()).cloned();
    let endpoint = chosen.map(|address| endpoint(address, resolved.hostname));
    (ClusterLoadAssignment::of(endpoint), addresses)
}

/// Leaves the addresses that `family` wants.
pub(super) fn select(addresses: &mut Vec<IpAddr>, family: DnsLookupFamily) {
    let has_v4 = addresses.iter().any(IpAddr::is_ipv4);
    let has_v6 = addresses.iter().any(IpAddr::is_ipv6);
    match family {
        DnsLookupFamily::All => {}
        DnsLookupFamily::V4Only => addresses.retain(IpAddr::is_ipv4),
        DnsLookupFamily::V6Only => addresses.retain(IpAddr::is_ipv6),
        DnsLookupFamily::V4Preferred if has_v4 => addresses.retain(IpAddr::is_ipv4),
        DnsLookupFamily::Auto if has_v6 => addresses.retain(IpAddr::is_ipv6),
        DnsLookupFamily::V4Preferred | DnsLookupFamily::Auto => {}
    }
}

/// Whether a connection to `ip` can mean the host that was named.
///
/// Zones blackhole names with `0.0.0.0`, which connects to this very host.
pub(super) fn is_usable(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_multicast())
}

fn endpoint(address: Address, hostname: Option<&Arc<str>>) -> Endpoint {
    let mut endpoint = Endpoint::new(address);
    endpoint.hostname = hostname.cloned();
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:port=address,address` … → `address(name)` ….
    #[track_caller]
    fn check(
        build: fn(std::slice::Iter<'_, Resolved<'_>>) -> ClusterLoadAssignment,
        names: &[(&str, u16, &[&str])],
        expected: &[&str],
    ) {
        let parsed = names
            .iter()
            .map(|(name, port, ips)| {
                let ips = ips.iter().map(|ip| ip.parse().unwrap()).collect::<Vec<IpAddr>>();
                (Arc::<str>::from(*name), *port, ips)
            })
            .collect::<Vec<_>>();
        let resolved = parsed
            .iter()
            .map(|(name, port, addresses)| Resolved {
                hostname: (!name.is_empty()).then_some(name),
                addresses: addresses.clone(),
                port: *port,
            })
            .collect::<Vec<_>>();
        let assignment = build(resolved.iter());
        let shown = assignment.localities[0]
            .endpoints
            .iter()
            .map(|e| format!("{}({})", e.address, e.hostname.as_deref().unwrap_or("")))
            .collect::<Vec<_>>();
        assert_eq!(shown, expected);
    }

    #[test]
    fn strict_takes_all_sorted_and_once() {
        check(
            |names| strict(names),
            &[
                ("b", 80, &["10.0.0.2", "::1", "10.0.0.1", "10.0.0.2"]),
                ("c", 80, &["10.0.0.1"]),
                ("c", 81, &["10.0.0.1"]),
                ("", 9, &["10.0.0.1"]),
            ],
            &["10.0.0.1:9()", "10.0.0.1:80(b)", "10.0.0.1:81(c)", "10.0.0.2:80(b)", "[::1]:80(b)"],
        );
    }

    #[test]
    fn logical_takes_the_first_address_of_the_first_name_that_has_one() {
        let names: &[(&str, u16, &[&str])] =
            &[("a", 80, &[]), ("b", 81, &["10.0.0.2", "10.0.0.1"]), ("c", 82, &["10.0.0.3"])];
        check(|names| logical(names, None).0, names, &["10.0.0.2:81(b)"]);
        check(|names| logical(names, None).0, &[], &[]);
    }

    #[test]
    fn logical_stays_while_the_answer_has_its_address() {
        fn at(names: std::slice::Iter<'_, Resolved<'_>>) -> ClusterLoadAssignment {
            let current = Address::Socket("10.0.0.1:80".parse().unwrap());
            let (assignment, addresses) = logical(names, Some(&current));
            assert!(addresses.len() >= 2, "all of them are there to connect to");
            assignment
        }
        check(at, &[("a", 80, &["10.0.0.2", "10.0.0.1"])], &["10.0.0.1:80(a)"]);
        check(at, &[("a", 80, &["10.0.0.2", "10.0.0.3"])], &["10.0.0.2:80(a)"]);
        check(at, &[("a", 81, &["10.0.0.2", "10.0.0.1"])], &["10.0.0.2:81(a)"]);
    }

    #[test]
    fn a_lookup_family_selects_addresses() {
        let select = |family, text: &str| {
            let mut addresses = text.split(' ').map(|ip| ip.parse().unwrap()).collect();
            select(&mut addresses, family);
            addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
        };
        for (family, both, v4, v6) in [
            (DnsLookupFamily::Auto, "::1 ::2", "1.1.1.1", "::1"),
            (DnsLookupFamily::V4Only, "1.1.1.1", "1.1.1.1", ""),
            (DnsLookupFamily::V6Only, "::1 ::2", "", "::1"),
            (DnsLookupFamily::V4Preferred, "1.1.1.1", "1.1.1.1", "::1"),
            (DnsLookupFamily::All, "1.1.1.1 ::1 ::2", "1.1.1.1", "::1"),
        ] {
            assert_eq!(select(family, "1.1.1.1 ::1 ::2"), both, "{family:?}");
            assert_eq!(select(family, "1.1.1.1"), v4, "{family:?}");
            assert_eq!(select(family, "::1"), v6, "{family:?}");
        }
    }

    #[test]
    fn addresses_that_mean_this_host_or_many_are_not_usable() {
        for bad in ["0.0.0.0", "::", "255.255.255.255", "224.0.0.1", "ff02::1"] {
            assert!(!is_usable(&bad.parse().unwrap()), "{bad}");
        }
        for good in ["127.0.0.1", "::1", "10.0.0.1", "fe80::1"] {
            assert!(is_usable(&good.parse().unwrap()), "{good}");
        }
    }
}
