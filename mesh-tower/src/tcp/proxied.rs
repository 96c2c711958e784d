//! [`Proxied`]: who connects, as the PROXY protocol says it to who is connected to.
//!
//! HAProxy: "The PROXY protocol", versions 1 and 2. A header comes before everything else on a connection, that of TLS
//! included. It is read to its last byte and not further, so that nothing of what follows has to be kept.

use bytes::Bytes;
use mesh_core::model::ProxyProtocol;
use proxy_header::{ParseConfig, Protocol, ProxiedAddress, ProxyHeader};
use std::io;
use std::net::SocketAddr;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The ends of a connection that is passed on, as it came to the first proxy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a connection has two ends")]
pub struct Proxied {
    /// Who connected, and where to; `None`: the proxy itself (a health check), or nothing is known of it.
    pub ends: Option<(SocketAddr, SocketAddr)>,
}

/// The first bytes of version 2.
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// How long its fixed part is; its last two bytes say how much more comes.
const FIXED: usize = 16;
/// The most that a header of version 2 may have: no sender needs more for addresses and what Envoy, HAProxy and the
/// load balancers of clouds say beside them.
const MAX_V2: usize = 4096;
/// The shortest header of version 1: `PROXY UNKNOWN\r\n`.
const MIN_V1: usize = 15;
/// The longest (section 2.1).
const MAX_V1: usize = 107;

impl Proxied {
    /// The header of this version.
    pub(crate) fn header(self, version: ProxyProtocol) -> Bytes {
        let header = match self.ends {
            Some((source, destination)) => {
                let (source, destination) = of_one_family(source, destination);
                ProxyHeader::with_address(ProxiedAddress::stream(source, destination))
            }
            None => ProxyHeader::with_local(),
        };
        let mut bytes = [0; MAX_V1 + FIXED];
        let written = match version {
            ProxyProtocol::V1 => header.encode_to_slice_v1(&mut bytes),
            ProxyProtocol::V2 => header.encode_to_slice_v2(&mut bytes),
        };
        // There is room: nothing is said but addresses.
        Bytes::copy_from_slice(&bytes[..written.unwrap_or_default()])
    }

    /// Reads the header that a connection begins with.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`]: it does not begin with one. Otherwise what the connection says.
    ///
    /// # Cancel safety
    /// Not: what was read is lost, and the connection with it.
    pub(crate) async fn read(io: &mut (impl AsyncRead + Unpin)) -> io::Result<Self> {
        let mut header = vec![0; MIN_V1];
        io.read_exact(&mut header).await?;
        if header.starts_with(SIGNATURE) {
            header.push(io.read_u8().await?);
            let rest = usize::from(u16::from_be_bytes([header[FIXED - 2], header[FIXED - 1]]));
            if FIXED + rest > MAX_V2 {
                return Err(invalid(format!("it has {rest} bytes; at most {MAX_V2} are read")));
            }
            header.resize(FIXED + rest, 0);
            io.read_exact(&mut header[FIXED..]).await?;
        } else if header.starts_with(b"PROXY ") {
            while !header.ends_with(b"\r\n") {
                if header.len() == MAX_V1 {
                    return Err(invalid("its line has more than 107 bytes"));
                }
                header.push(io.read_u8().await?);
            }
        } else {
            return Err(invalid("there is none"));
        }
        let parsed = ProxyHeader::parse(&header, ParseConfig::default());
        let (parsed, _length) = parsed.map_err(|error| invalid(error.to_string()))?;
        let address = parsed.proxied_address();
        let address = address.filter(|address| address.protocol == Protocol::Stream);
        Ok(Self { ends: address.map(|address| (address.source, address.destination)) })
    }
}

fn invalid(why: impl Into<String>) -> io::Error {
    let why = why.into();
    io::Error::new(io::ErrorKind::InvalidData, format!("no header of the PROXY protocol: {why}"))
}

/// Both ends are written in one family: where they differ, as IPv6.
fn of_one_family(source: SocketAddr, destination: SocketAddr) -> (SocketAddr, SocketAddr) {
    let v6 = |address: SocketAddr| match address {
        SocketAddr::V4(address) => {
            SocketAddr::new(address.ip().to_ipv6_mapped().into(), address.port())
        }
        SocketAddr::V6(_) => address,
    };
    match source.is_ipv4() == destination.is_ipv4() {
        true => (source, destination),
        false => (v6(source), v6(destination)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> (io::Result<Proxied>, Vec<u8>) {
        let mut left = bytes;
        let read = Proxied::read(&mut left).await;
        (read, left.to_vec())
    }

    fn ends(source: &str, destination: &str) -> Proxied {
        Proxied { ends: Some((source.parse().unwrap(), destination.parse().unwrap())) }
    }

    #[tokio::test]
    async fn what_is_written_is_read_and_no_byte_more() {
        for proxied in [
            ends("192.0.2.1:56324", "192.0.2.2:443"),
            ends("[2001:db8::1]:65535", "[2001:db8::2]:1"),
            Proxied::default(),
        ] {
            for version in [ProxyProtocol::V1, ProxyProtocol::V2] {
                let bytes = [&proxied.header(version)[..], b"GET / HTTP/1.1\r\n"].concat();
                let (again, left) = read(&bytes).await;
                assert_eq!(again.unwrap(), proxied, "{version:?}");
                assert_eq!(left, b"GET / HTTP/1.1\r\n");
            }
        }
    }

    #[tokio::test]
    async fn ends_of_two_families_are_written_in_one() {
        let header = ends("192.0.2.1:1", "[2001:db8::2]:2").header(ProxyProtocol::V2);
        let (again, _) = read(&header).await;
        assert_eq!(again.unwrap(), ends("[::ffff:192.0.2.1]:1", "[2001:db8::2]:2"));
    }

    #[test]
    fn the_examples_of_the_specification() {
        let v1 = ends("192.168.0.1:56324", "192.168.0.11:443").header(ProxyProtocol::V1);
        assert_eq!(&*v1, b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n");
        assert_eq!(&*Proxied::default().header(ProxyProtocol::V1), b"PROXY UNKNOWN\r\n");
        let v2 = ends("1.2.3.4:5", "6.7.8.9:10").header(ProxyProtocol::V2);
        assert_eq!(&v2[..12], SIGNATURE);
        assert_eq!(&v2[12..], [0x21, 0x11, 0, 12, 1, 2, 3, 4, 6, 7, 8, 9, 0, 5, 0, 10]);
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        let long = format!("PROXY TCP4 {}\r\n", "1".repeat(107));
        let mut huge = SIGNATURE.to_vec();
        huge.extend_from_slice(&[0x21, 0x11, 0xff, 0xff]);
        for (bytes, kind) in [
            (&b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"[..], io::ErrorKind::InvalidData),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 x 1\r\n", io::ErrorKind::InvalidData),
            (long.as_bytes(), io::ErrorKind::InvalidData),
            (&huge, io::ErrorKind::InvalidData),
            (b"PROXY TCP4 1.2.3.4 5.6.7.8 1", io::ErrorKind::UnexpectedEof),
            (b"PRO", io::ErrorKind::UnexpectedEof),
        ] {
            let (error, _) = read(bytes).await;
            let text = String::from_utf8_lossy(bytes);
            assert_eq!(error.unwrap_err().kind(), kind, "{text}");
        }
    }

    #[tokio::test]
    async fn what_it_says_beside_addresses_is_passed_over() {
        // An authority, and a type that nobody knows.
        let mut bytes = SIGNATURE.to_vec();
        let tlvs = [0x02, 0, 1, b'a', 0xe0, 0, 2, 1, 2];
        bytes.extend_from_slice(&[0x21, 0x11, 0, 12 + 9, 1, 2, 3, 4, 6, 7, 8, 9, 0, 5, 0, 10]);
        bytes.extend_from_slice(&tlvs);
        let (again, left) = read(&bytes).await;
        assert_eq!((again.unwrap(), left.len()), (ends("1.2.3.4:5", "6.7.8.9:10"), 0));
        // LOCAL: a health check of the proxy's own.
        let mut local = SIGNATURE.to_vec();
        local.extend_from_slice(&[0x20, 0, 0, 0]);
        assert_eq!(read(&local).await.0.unwrap(), Proxied::default());
    }
}
