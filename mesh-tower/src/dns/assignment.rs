//! Answers to endpoints.
//!
//! Pure: what a cluster's names resolved to goes in, its endpoints come out, in an order that does
//! not depend on the order in which a name server happens to list them.

use mesh_core::model::{Address, ClusterLoadAssignment, Endpoint};
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// One place that a cluster's names lead to.
#[derive(Clone, Debug)]
pub(super) struct Resolved<'a> {
    /// The name, without a final dot; `None` for an IP address.
    pub(super) hostname: Option<&'a Arc<str>>,
    /// Its addresses, best first.
    pub(super) addresses: &'a [IpAddr],
    /// The port that was configured beside the name.
    pub(super) port: u16,
}

/// Every address of every name, sorted; an address that two names share takes the first one's name.
pub(super) fn strict<'a>(names: impl Iterator<Item = Resolved<'a>>) -> ClusterLoadAssignment {
    let mut endpoints = BTreeMap::new();
    for resolved in names {
        for ip in resolved.addresses {
            let address = SocketAddr::new(*ip, resolved.port);
            endpoints.entry(address).or_insert_with(|| endpoint(address, resolved.hostname));
        }
    }
    ClusterLoadAssignment::of(endpoints.into_values())
}

/// One endpoint: the first address of the first name that has one.
///
/// Envoy's `LOGICAL_DNS` likewise opens new connections to the first address of the newest answer.
/// Here an address is an endpoint's identity: when the answer leads elsewhere, the old endpoint
/// drains (calls in flight finish) and the new one starts with fresh statistics. A name whose server
/// rotates its answers therefore moves with every refresh; use a strict cluster for those.
pub(super) fn logical<'a>(names: impl Iterator<Item = Resolved<'a>>) -> ClusterLoadAssignment {
    let first = names.into_iter().find_map(|resolved| {
        let ip = resolved.addresses.first()?;
        Some(endpoint(SocketAddr::new(*ip, resolved.port), resolved.hostname))
    });
    ClusterLoadAssignment::of(first)
}

/// Whether a connection to `ip` can mean the host that was named.
///
/// Zones blackhole names with `0.0.0.0`, which connects to this very host.
pub(super) fn is_usable(ip: &IpAddr) -> bool {
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(broadcast || ip.is_unspecified() || ip.is_multicast())
}

fn endpoint(address: SocketAddr, hostname: Option<&Arc<str>>) -> Endpoint {
    let mut endpoint = Endpoint::new(Address::Socket(address));
    endpoint.hostname = hostname.cloned();
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `name:port=address,address` … → `address(name)` ….
    #[track_caller]
    fn check(
        build: fn(std::vec::IntoIter<Resolved<'_>>) -> ClusterLoadAssignment,
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
                addresses,
                port: *port,
            })
            .collect::<Vec<_>>();
        let assignment = build(resolved.into_iter());
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
        check(|names| logical(names), names, &["10.0.0.2:81(b)"]);
        check(|names| logical(names), &[], &[]);
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
