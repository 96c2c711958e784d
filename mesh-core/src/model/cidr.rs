//! Ranges of addresses (Envoy: `core.v3.CidrRange`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A block of addresses: all that share the first bits with one.
///
/// An IPv4 address that came over an IPv6 socket (`::ffff:10.0.0.1`) is the IPv4 address, here and in
/// [`contains`](Self::contains): what a listener's socket happens to be must not change who may call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    /// With all bits behind the prefix cleared.
    address: IpAddr,
    prefix: u8,
}

/// A prefix is longer than its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a prefix of {prefix} bits is longer than the address, which has {most}")]
#[expect(clippy::exhaustive_structs, reason = "two numbers, nothing else")]
pub struct PrefixTooLong {
    /// The prefix, in bits.
    pub prefix: u32,
    /// The bits of the address: 32 or 128.
    pub most: u8,
}

impl Cidr {
    /// The addresses that share their first `prefix` bits with `address`. Bits behind them are dropped,
    /// as Envoy does (`Address::CidrRange::truncateIpAddressAndLength`).
    ///
    /// # Errors
    /// [`PrefixTooLong`]: more than 32 bits, or 128 for IPv6.
    pub fn new(address: IpAddr, prefix: u32) -> Result<Self, PrefixTooLong> {
        let most = if address.is_ipv4() { 32 } else { 128 };
        let too_long = PrefixTooLong { prefix, most };
        let bits = u8::try_from(prefix).ok().filter(|bits| *bits <= most).ok_or(too_long)?;
        let address = match address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) & mask32(bits))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & mask128(bits))),
        };
        // `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
        Ok(match address.to_canonical() {
            v4 @ IpAddr::V4(_) if address.is_ipv6() && bits >= 96 => {
                Self { address: v4, prefix: bits - 96 }
            }
            _ => Self { address, prefix: bits },
        })
    }

    /// The first of the addresses.
    #[must_use]
    pub const fn address(&self) -> IpAddr {
        self.address
    }

    /// How many bits the addresses share.
    #[must_use]
    pub const fn prefix_len(&self) -> u8 {
        self.prefix
    }

    /// Whether `address` is in the block. An IPv4 address is in no block of IPv6, nor the other way.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(block), IpAddr::V4(v4)) => {
                u32::from(v4) & mask32(self.prefix) == u32::from(block)
            }
            (IpAddr::V6(block), IpAddr::V6(v6)) => {
                u128::from(v6) & mask128(self.prefix) == u128::from(block)
            }
            _ => false,
        }
    }

    /// Its first address.
    #[must_use]
    pub const fn first(&self) -> IpAddr {
        self.address
    }

    /// Its last address.
    #[must_use]
    pub fn last(&self) -> IpAddr {
        match self.address {
            IpAddr::V4(v4) => IpAddr::V4(Ipv4Addr::from(u32::from(v4) | !mask32(self.prefix))),
            IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) | !mask128(self.prefix))),
        }
    }

    /// How many bits all its addresses share.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.prefix
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// An address of IPv4 that is written as one of IPv6 (`::ffff:10.0.0.9`) as what it is; any other as it is, without what
/// belongs to a socket alone (flow, scope).
#[must_use]
pub const fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

fn mask32(prefix: u8) -> u32 {
    u32::MAX.checked_shl(32 - u32::from(prefix)).unwrap_or(0)
}

fn mask128(prefix: u8) -> u128 {
    u128::MAX.checked_shl(128 - u32::from(prefix)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cidr(text: &str) -> Cidr {
        let (address, prefix) = text.split_once('/').unwrap();
        Cidr::new(address.parse().unwrap(), prefix.parse().unwrap()).unwrap()
    }

    #[test]
    fn blocks() {
        for (block, address, expected) in [
            ("10.0.0.0/8", "10.255.0.1", true),
            ("10.0.0.0/8", "11.0.0.1", false),
            ("10.1.2.3/8", "10.9.9.9", true),
            ("10.1.2.3/32", "10.1.2.3", true),
            ("10.1.2.3/32", "10.1.2.4", false),
            ("0.0.0.0/0", "255.255.255.255", true),
            ("0.0.0.0/0", "::1", false),
            ("::/0", "::1", true),
            ("::/0", "1.2.3.4", false),
            ("2001:db8::/32", "2001:db8:1::1", true),
            ("2001:db8::/32", "2001:db9::1", false),
            ("10.0.0.0/8", "::ffff:10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "10.0.0.1", true),
            ("::ffff:10.0.0.0/104", "11.0.0.1", false),
        ] {
            let block = cidr(block);
            let address = address.parse().unwrap();
            assert_eq!(block.contains(address), expected, "{block} {address}");
            assert!(block.contains(block.first()) && block.contains(block.last()), "{block}");
        }
        assert_eq!(cidr("10.1.2.3/8").to_string(), "10.0.0.0/8");
        assert_eq!(cidr("10.0.0.0/8").last(), IpAddr::from([10, 255, 255, 255]));
        for (address, prefix) in [("10.0.0.0", 33), ("::", 129), ("::", 1000)] {
            assert!(Cidr::new(address.parse().unwrap(), prefix).is_err());
        }
    }

    #[test]
    fn ipv4_is_ipv4_by_whatever_socket_it_came() {
        for (address, expected) in [
            ("[::ffff:10.0.0.9]:80", "10.0.0.9:80"),
            ("[::ffff:0.0.0.0]:0", "0.0.0.0:0"),
            ("10.0.0.9:80", "10.0.0.9:80"),
            ("[2001:db8::1]:443", "[2001:db8::1]:443"),
            // Such addresses of IPv4 are no more (RFC 4291 section 2.5.5.1), or go through a translator (RFC 6052).
            ("[::10.0.0.9]:80", "[::a00:9]:80"),
            ("[64:ff9b::10.0.0.9]:80", "[64:ff9b::a00:9]:80"),
            ("[fe80::1%3]:80", "[fe80::1]:80"),
        ] {
            let address: SocketAddr = address.parse().unwrap();
            let expected: SocketAddr = expected.parse().unwrap();
            assert_eq!(canonical(address), expected, "{address}");
            assert_eq!(canonical(expected), expected, "not stable");
        }
    }
}
