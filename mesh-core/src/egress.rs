//! Whether a call may go where no virtual host leads.
//!
//! Two questions, at two times: may a call to this authority leave at all ([`CompiledEgress::decide`], when
//! it is routed), and may its connection go to this address ([`CompiledEgress::admits`], when the name has
//! been resolved). The second is there because whoever answers for a name decides where it leads.
//!
//! | tried | refused because |
//! |---|---|
//! | a name that is not listed, or with another port | [`EgressRefusal::NotListed`] |
//! | an address instead of a name, in any notation | [`EgressRefusal::AddressNotListed`]: names allow names |
//! | a redirect inward that the caller follows | it is a call like any other |
//! | a listed name that leads to a private address | [`EgressRefusal::PrivateAddress`] |
//! | a `Host` that is not the authority | [`EgressRefusal::AuthorityMismatch`] |

#[cfg(test)]
mod tests;

use crate::head::port_start;
use crate::model::egress::{Egress, EgressHost, EgressRule};
use crate::update::UnknownHosts;
use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// What is said of unknown destinations, ready to decide.
#[derive(Clone, Debug, Default)]
pub struct CompiledEgress {
    model: Arc<Egress>,
    unknown_hosts: UnknownHosts,
    /// By name: the rules' places.
    exact: BTreeMap<Arc<str>, Vec<usize>>,
    /// By suffix, and their lengths, the longest first.
    suffixes: BTreeMap<Arc<str>, Vec<usize>>,
    lengths: Vec<usize>,
    blocks: Vec<usize>,
}

/// What becomes of a call to an unknown destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_enums, reason = "closed: allowed, told, or refused")]
pub enum EgressVerdict {
    /// It may leave, by the rule at this place; `None`: everything may.
    Allowed(Option<usize>),
    /// It may leave, and is told: it would be refused.
    Logged(EgressRefusal),
    /// It may not.
    Refused(EgressRefusal),
}

/// Why a call may not leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, thiserror::Error)]
#[expect(clippy::exhaustive_enums, reason = "closed: what the rules say")]
pub enum EgressRefusal {
    /// No rule has the host and its port.
    #[error("no rule of `egress.allow` has this host and port")]
    NotListed,
    /// It is an address, and no rule's block holds it.
    #[error("it is an address, and no block of `egress.allow` holds it: names allow names alone")]
    AddressNotListed,
    /// The name leads to a private address, and no rule's block holds that.
    #[error(
        "the name leads to a private address, which no block of `egress.allow` holds: list the block if it is meant"
    )]
    PrivateAddress,
    /// The request's `Host` is not its authority.
    #[error("the `Host` header is not the authority that the request goes to")]
    AuthorityMismatch,
}

impl EgressRefusal {
    /// All of them.
    pub const ALL: [Self; 4] =
        [Self::NotListed, Self::AddressNotListed, Self::PrivateAddress, Self::AuthorityMismatch];

    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::NotListed => "not_listed",
            Self::AddressNotListed => "address_not_listed",
            Self::PrivateAddress => "private_address",
            Self::AuthorityMismatch => "authority_mismatch",
        }
    }
}

impl CompiledEgress {
    /// Makes rules ready.
    #[must_use]
    pub fn new(model: &Arc<Egress>, unknown_hosts: UnknownHosts) -> Self {
        let mut compiled = Self { model: Arc::clone(model), unknown_hosts, ..Self::default() };
        let mut lengths = BTreeSet::new();
        for (at, rule) in model.allow.iter().enumerate() {
            match &rule.host {
                EgressHost::Exact(name) => {
                    compiled.exact.entry(Arc::clone(name)).or_default().push(at);
                }
                EgressHost::Suffix(suffix) => {
                    compiled.suffixes.entry(Arc::clone(suffix)).or_default().push(at);
                    lengths.insert(suffix.len());
                }
                EgressHost::Addresses(_) => compiled.blocks.push(at),
            }
        }
        compiled.lengths = lengths.into_iter().rev().collect();
        compiled
    }

    /// Whether it is made of these.
    #[must_use]
    pub fn is_of(&self, model: &Egress, unknown_hosts: UnknownHosts) -> bool {
        self.unknown_hosts == unknown_hosts && *self.model == *model
    }

    /// As it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<Egress> {
        &self.model
    }

    /// What becomes of those that no rule lets pass.
    #[must_use]
    pub const fn unknown_hosts(&self) -> UnknownHosts {
        self.unknown_hosts
    }

    /// The rule at this place.
    #[must_use]
    pub fn rule(&self, at: usize) -> Option<&EgressRule> {
        self.model.allow.get(at)
    }

    /// Whether a call to `authority` may leave; without a port it is `default_port`. `host`: the request's
    /// `Host` header, when it has both.
    #[must_use]
    pub fn decide(&self, authority: &str, host: Option<&str>, default_port: u16) -> EgressVerdict {
        if self.unknown_hosts == UnknownHosts::Passthrough {
            return EgressVerdict::Allowed(None);
        }
        if host.is_some_and(|host| !is_same(host, authority, default_port)) {
            return self.not_allowed(EgressRefusal::AuthorityMismatch);
        }
        let (name, port) = split(authority, default_port);
        if let Some(address) = address_of(&name) {
            return match self.block_of(address, port) {
                Some(at) => EgressVerdict::Allowed(Some(at)),
                None => self.not_allowed(EgressRefusal::AddressNotListed),
            };
        }
        match self.named(&name, port).filter(|_| is_name(&name)) {
            Some(at) => EgressVerdict::Allowed(Some(at)),
            None => self.not_allowed(EgressRefusal::NotListed),
        }
    }

    /// Whether a call that may leave by a name may go to `address`, which the name leads to.
    #[must_use]
    pub fn admits(&self, address: IpAddr, port: u16) -> EgressVerdict {
        match self.unknown_hosts {
            UnknownHosts::Passthrough => EgressVerdict::Allowed(None),
            _ if !is_private(address) => EgressVerdict::Allowed(None),
            _ => match self.block_of(address, port) {
                Some(at) => EgressVerdict::Allowed(Some(at)),
                None => self.not_allowed(EgressRefusal::PrivateAddress),
            },
        }
    }

    /// Whether a call that was let pass may go to `address`, which is what its authority says. Where a name is read
    /// otherwise when it is connected to than when it was decided about, no rule is for what it says there.
    #[must_use]
    pub fn admits_literal(&self, address: IpAddr, port: u16) -> bool {
        self.unknown_hosts != UnknownHosts::Refuse
            || self.block_of(address.to_canonical(), port).is_some()
    }

    const fn not_allowed(&self, why: EgressRefusal) -> EgressVerdict {
        match self.unknown_hosts {
            UnknownHosts::Log => EgressVerdict::Logged(why),
            UnknownHosts::Refuse | UnknownHosts::Passthrough => EgressVerdict::Refused(why),
        }
    }

    fn named(&self, name: &str, port: u16) -> Option<usize> {
        let fits = |places: &Vec<usize>| places.iter().copied().find(|at| self.has_port(*at, port));
        let exact = self.exact.get(name).and_then(fits);
        exact.or_else(|| {
            let shorter = self.lengths.iter().filter(|length| **length < name.len());
            let mut ends = shorter.filter_map(|length| name.get(name.len() - length..));
            ends.find_map(|end| self.suffixes.get(end).and_then(fits))
        })
    }

    fn block_of(&self, address: IpAddr, port: u16) -> Option<usize> {
        let holds = |at: &usize| match self.model.allow.get(*at) {
            Some(EgressRule { host: EgressHost::Addresses(block), .. }) => block.contains(address),
            _ => false,
        };
        let mut blocks = self.blocks.iter().copied();
        blocks.find(|at| holds(at) && self.has_port(*at, port))
    }

    fn has_port(&self, at: usize, port: u16) -> bool {
        self.rule(at).is_some_and(|rule| rule.port.is_none_or(|wanted| wanted == port))
    }
}

/// How a destination is called, however a call writes it: names have no case (RFC 3986, 3.2.2), a last dot says nothing
/// that [`CompiledEgress::decide`] goes by, and without a port it is `default_port`.
#[must_use]
pub fn destination(authority: &str, default_port: u16) -> Cow<'_, str> {
    let at = port_start(authority.as_bytes()).unwrap_or(authority.len());
    let (host, port) = authority.split_at_checked(at).unwrap_or((authority, ""));
    let name = Some(host.trim_end_matches('.')).filter(|name| !name.is_empty()).unwrap_or(host);
    let is_plain = name.len() == host.len() && !name.bytes().any(|byte| byte.is_ascii_uppercase());
    if is_plain && !port.is_empty() {
        return Cow::Borrowed(authority);
    }
    let mut written = name.to_ascii_lowercase();
    if port.is_empty() {
        // A `String` takes everything.
        let _written = write!(written, ":{default_port}");
    } else {
        written.push_str(port);
    }
    Cow::Owned(written)
}

/// Host, in lower case and without a last dot, and port.
fn split(authority: &str, default_port: u16) -> (String, u16) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() && !host.ends_with(':') => {
            match (port.parse(), host.starts_with('[') == host.ends_with(']')) {
                (Ok(port), true) => (host, port),
                _ => (authority, default_port),
            }
        }
        _ => (authority, default_port),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    (host.trim_end_matches('.').to_ascii_lowercase(), port)
}

/// Whether it is a host's name and nothing else: whoever connects must not read another host in it, such as in
/// `[10.0.0.1].example.org` or `internal:x.example.org`.
fn is_name(name: &str) -> bool {
    let is_of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    !name.is_empty() && name.bytes().all(is_of_name)
}

fn is_same(one: &str, other: &str, default_port: u16) -> bool {
    split(one, default_port) == split(other, default_port)
}

/// The address that a host is, in every notation that some resolver takes for one: `127.1`, `0x7f.1`,
/// `2130706433` (POSIX `inet_aton`). What such a resolver would take for an address is no name here.
fn address_of(host: &str) -> Option<IpAddr> {
    let host = host.split_once('%').map_or(host, |(address, _zone)| address);
    if let Ok(address) = host.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let parts: Vec<u64> = host.split('.').map(number).collect::<Option<_>>()?;
    let (last, firsts) = parts.split_last()?;
    if firsts.len() > 3 || firsts.iter().any(|part| *part > 255) {
        return None;
    }
    let left = 8 * (4 - firsts.len());
    if *last >= 1 << left {
        return None;
    }
    let high = firsts.iter().enumerate();
    let high = high.fold(0u64, |all, (at, part)| all | part << (24 - 8 * at));
    u32::try_from(high | last).ok().map(|bits| IpAddr::V4(Ipv4Addr::from(bits)))
}

fn number(text: &str) -> Option<u64> {
    let (digits, radix) = match text.strip_prefix("0x") {
        Some(digits) => (digits, 16),
        None if text.len() > 1 && text.starts_with('0') => (&text[1..], 8),
        None => (text, 10),
    };
    let only = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    u64::from_str_radix(digits, radix).ok().filter(|_| only)
}

/// Addresses that are not of the public internet (RFC 6890 and its successors), those that embed such a one
/// among them (NAT64, 6to4, SIIT, Teredo).
fn is_private(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(v4) => is_private_v4(v4),
        IpAddr::V6(v6) => is_private_v6(v6),
    }
}

fn is_private_v4(address: Ipv4Addr) -> bool {
    let [first, second, third, _] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_multicast()
        || address.is_documentation()
        || first == 0
        || first >= 240
        // Shared address space (RFC 6598), protocol assignments, benchmarks (RFC 2544).
        || (first == 100 && second & 0xc0 == 64)
        || (first, second, third) == (192, 0, 0)
        || (first == 198 && second & 0xfe == 18)
}

fn is_private_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match segments {
        // NAT64 (RFC 6052), 6to4 (RFC 3056), SIIT (RFC 2765) and Teredo (RFC 4380, inverted) lead to an IPv4 address;
        // the rest of 64:ff9b:1 is local.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => {
            return is_private_v4(embedded(high, low));
        }
        [0x64, 0xff9b, 1, ..] => return true,
        [0x2002, high, low, ..] => return is_private_v4(embedded(high, low)),
        [0x2001, 0, server, of, .., high, low] => {
            return is_private_v4(embedded(server, of)) || is_private_v4(embedded(!high, !low));
        }
        _ => {}
    }
    address.is_loopback()
        || address.is_unspecified()
        || address.is_multicast()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        // Site-local of old, documentation (RFC 3849, RFC 9637), protocol assignments (RFC 2928), discard-only
        // (RFC 6666), segment routing (RFC 9602), and IPv4-compatible ones.
        || segments[0] & 0xffc0 == 0xfec0
        || (segments[0], segments[1]) == (0x2001, 0xdb8)
        || (segments[0] == 0x3fff && segments[1] < 0x1000)
        || (segments[0] == 0x2001 && segments[1] < 0x200)
        || segments[..4] == [0x100, 0, 0, 0]
        || segments[0] == 0x5f00
        || segments[..6] == [0; 6]
}
