//! Which filter chain a connection gets (Envoy: `FilterChainMatch`; gRFC A36).
//!
//! Envoy asks in this order, and each step narrows what is left to the chains with the most specific
//! answer: destination port, destination address, server name, transport protocol, application
//! protocols, direct source address, source type, source address, source port. A chain that says
//! nothing of a step is the least specific there. There is no way back: when a later step leaves no
//! chain, the default chain is what remains.

use crate::model::filter_chain::{SourceType, TransportProtocol};
use crate::model::{Cidr, FilterChain, FilterChainMatch};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

/// What is known of a connection before it has a chain.
#[derive(Clone, Copy, Debug)]
#[expect(
    clippy::exhaustive_structs,
    reason = "made by every adapter; a new field is to be thought of by each"
)]
pub struct ConnectionFacts<'a> {
    /// Our end, before any redirection; `None`: it has no IP address.
    pub destination: Option<SocketAddr>,
    /// The socket's other end.
    pub direct_source: Option<SocketAddr>,
    /// The other end, by the proxy protocol if that was read; else as `direct_source`.
    pub source: Option<SocketAddr>,
    /// What the connection begins with.
    pub transport_protocol: TransportProtocol,
    /// The server name of its ClientHello, in lower case; empty: none.
    pub server_name: &'a str,
    /// The protocols that its ClientHello offers, in the client's order.
    pub application_protocols: &'a [&'a str],
}

/// Two chains are for the same connections.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the filter chains `{first}` and `{second}` are for the same connections: change the match of one"
)]
#[expect(clippy::exhaustive_structs, reason = "two names")]
pub struct DuplicateMatch {
    /// The first.
    pub first: Arc<str>,
    /// The second.
    pub second: Arc<str>,
}

/// Checks that no two chains are for the same connections.
///
/// A match stands for the combinations of what it lists, and no two chains may have one in common (gRFC A36:
/// "Cartesian product"; Envoy: "overlapping matching rules"). It costs a comparison for each pair of chains.
///
/// # Errors
/// [`DuplicateMatch`]: the first two that have.
pub fn check_matches(chains: &[Arc<FilterChain>]) -> Result<(), DuplicateMatch> {
    for (at, chain) in chains.iter().enumerate() {
        let same = |other: &&Arc<FilterChain>| overlap(&other.matcher, &chain.matcher);
        if let Some(first) = chains[..at].iter().find(same) {
            let (first, second) = (Arc::clone(&first.name), Arc::clone(&chain.name));
            return Err(DuplicateMatch { first, second });
        }
    }
    Ok(())
}

/// Whether two matches have a combination in common. Saying nothing is a value of its own.
fn overlap(a: &FilterChainMatch, b: &FilterChainMatch) -> bool {
    fn share<T: PartialEq>(a: &[T], b: &[T]) -> bool {
        (a.is_empty() && b.is_empty()) || a.iter().any(|one| b.contains(one))
    }
    // Of those that are for no connection there may be many.
    a.transport_protocol != Some(TransportProtocol::Undetected)
        && a.destination_port == b.destination_port
        && a.source_type == b.source_type
        && a.transport_protocol == b.transport_protocol
        && share(&a.prefix_ranges, &b.prefix_ranges)
        && share(&a.direct_source_prefix_ranges, &b.direct_source_prefix_ranges)
        && share(&a.source_prefix_ranges, &b.source_prefix_ranges)
        && share(&a.source_ports, &b.source_ports)
        && share(&a.server_names, &b.server_names)
        && share(&a.application_protocols, &b.application_protocols)
}

/// The matches of the chains of a listener, in their order.
#[derive(Debug)]
pub(super) struct ChainMatch(Box<[FilterChainMatch]>);

/// How well a chain answers one step; the greatest counts.
type Rank = Option<u32>;

impl ChainMatch {
    pub(super) fn compile(chains: &[Arc<FilterChain>]) -> Result<Self, DuplicateMatch> {
        check_matches(chains)?;
        Ok(Self(chains.iter().map(|chain| chain.matcher.clone()).collect()))
    }

    /// The chain's place.
    pub(super) fn find(&self, facts: &ConnectionFacts<'_>) -> Option<usize> {
        let steps: [fn(&FilterChainMatch, &ConnectionFacts<'_>) -> Rank; 9] = [
            destination_port,
            destination,
            server_name,
            transport_protocol,
            application_protocols,
            direct_source,
            source_type,
            source,
            source_port,
        ];
        let mut left: Vec<usize> = (0..self.0.len()).collect();
        for step in steps {
            let ranks = left.iter().map(|at| step(&self.0[*at], facts));
            let ranks: Vec<Rank> = ranks.collect();
            let best = ranks.iter().flatten().max().copied()?;
            let kept = left.iter().zip(ranks).filter(|(_, rank)| *rank == Some(best));
            left = kept.map(|(at, _)| *at).collect();
        }
        left.first().copied()
    }
}

/// 0: nothing is said. 1: it is said, and fits.
fn said(nothing: bool, fits: bool) -> Rank {
    match (nothing, fits) {
        (true, _) => Some(0),
        (false, true) => Some(1),
        (false, false) => None,
    }
}

fn destination_port(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    let port = facts.destination.map(|address| address.port());
    said(matcher.destination_port.is_none(), matcher.destination_port == port)
}

fn destination(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    longest(&matcher.prefix_ranges, facts.destination)
}

fn direct_source(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    longest(&matcher.direct_source_prefix_ranges, facts.direct_source)
}

fn source(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    longest(&matcher.source_prefix_ranges, facts.source)
}

/// The longest prefix that holds the address.
fn longest(ranges: &[Cidr], address: Option<SocketAddr>) -> Rank {
    if ranges.is_empty() {
        return Some(0);
    }
    let ip = address?.ip().to_canonical();
    let holding = ranges.iter().filter(|range| range.contains(ip));
    holding.map(|range| u32::from(range.prefix_len()) + 1).max()
}

/// An exact name before a wildcard, and a longer wildcard before a shorter one.
fn server_name(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    if matcher.server_names.is_empty() {
        return Some(0);
    }
    let ranks = matcher.server_names.iter().filter_map(|name| match name.strip_prefix('*') {
        None => (**name == *facts.server_name).then_some(u32::MAX),
        Some(suffix) => {
            let name = facts.server_name;
            let fits = name.len() > suffix.len() && name.ends_with(suffix);
            fits.then(|| u32::try_from(suffix.len()).unwrap_or(u32::MAX - 1))
        }
    });
    ranks.max()
}

fn transport_protocol(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    let fits = matcher.transport_protocol == Some(facts.transport_protocol);
    said(matcher.transport_protocol.is_none(), fits)
}

/// The client's order decides: the first of what it offers that any chain has (Envoy:
/// `findFilterChainForApplicationProtocols`).
fn application_protocols(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    let names = &matcher.application_protocols;
    if names.is_empty() {
        return Some(0);
    }
    let has = |offered: &&str| names.iter().any(|name| **name == **offered);
    let place = facts.application_protocols.iter().position(has)?;
    Some(u32::MAX - u32::try_from(place).unwrap_or(u32::MAX - 1))
}

fn source_type(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    let is_local = is_same_or_loopback(facts);
    match matcher.source_type {
        SourceType::Any => Some(0),
        SourceType::SameIpOrLoopback => said(false, is_local),
        SourceType::External => said(false, !is_local),
    }
}

/// A peer without an IP address is on this machine: a Unix socket.
fn is_same_or_loopback(facts: &ConnectionFacts<'_>) -> bool {
    let ip = |address: Option<SocketAddr>| -> Option<IpAddr> {
        address.map(|address| address.ip().to_canonical())
    };
    let Some(source) = ip(facts.source) else { return true };
    source.is_loopback() || Some(source) == ip(facts.destination)
}

fn source_port(matcher: &FilterChainMatch, facts: &ConnectionFacts<'_>) -> Rank {
    let port = facts.source.map(|address| address.port());
    let fits = port.is_some_and(|port| matcher.source_ports.contains(&port));
    said(matcher.source_ports.is_empty(), fits)
}
