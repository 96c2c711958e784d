//! [`Target`]: where a server is, in the forms of gRPC's name syntax.
//!
//! ```text
//! dns:[///]host[:port]   host[:port]            a name to resolve; an IP address stands for itself
//! ipv4:addr[:port][,…]   ipv6:[addr][:port][,…]  addresses
//! unix:path              unix:///absolute/path   a Unix socket
//! unix-abstract:name                             a Unix socket without a file (Linux)
//! ```
//!
//! A port that is missing is 443 (grpc/grpc doc/naming.md). What has no scheme that gRPC knows is a host
//! (same place: "If no scheme […] the default scheme `dns` is used").

use super::error::shorten;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The port of a target that names none.
pub const DEFAULT_PORT: u16 = 443;

/// The most addresses in one target.
pub const MAX_ADDRESSES: usize = 64;

/// The longest path of a Unix socket, in bytes (Linux: `sun_path`, the ending zero apart).
const LONGEST_SOCKET_PATH: usize = 107;

/// Where a server is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Target {
    /// A host name to resolve.
    Dns {
        /// The name.
        host: Arc<str>,
        /// The port.
        port: u16,
    },
    /// Addresses, tried in their order; at least one, at most [`MAX_ADDRESSES`].
    Addresses(Arc<[SocketAddr]>),
    /// A Unix socket; a relative path is relative to the working directory.
    Unix(Arc<Path>),
    /// A Unix socket in Linux's abstract name space.
    UnixAbstract(Arc<str>),
}

/// Why a text is no target.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{}` is no target: {reason}", shorten(.target))]
#[non_exhaustive]
pub struct InvalidTarget {
    /// What was given.
    pub target: String,
    /// What is wrong with it.
    pub reason: TargetReason,
}

/// What is wrong with a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TargetReason {
    /// Nothing is there.
    #[error("it is empty; write for example `dns:///istiod.istio-system.svc:15012`")]
    Empty,
    /// `xds:` leads to a control plane, so it can't lead to the first one.
    #[error("a control plane is not found through `xds:`; write `dns:///host:port`")]
    Xds,
    /// `http:` or `https:`.
    #[error(
        "a target is no URL; write `dns:///host:port`, `channel_creds` says whether TLS is used"
    )]
    Url,
    /// Another scheme.
    #[error("its scheme is not supported; use `dns`, `ipv4`, `ipv6`, `unix` or `unix-abstract`")]
    Scheme,
    /// Something between `//` and `/`.
    #[error(
        "something is between `//` and `/`: a name server of one's own is not supported, and a socket \
         has no host; write `dns:///host:port` or `unix:///path`, with three slashes"
    )]
    Authority,
    /// A host that can't be one.
    #[error("a host is a name of letters, digits, `-`, `_` and dots, or an IP address")]
    Host,
    /// An IPv6 address without brackets.
    #[error("an IPv6 address stands in brackets: `[::1]:443`")]
    Brackets,
    /// A port that can't be one.
    #[error("a port is a number from 1 to 65535")]
    Port,
    /// `ipv4:` or `ipv6:` with something else.
    #[error(
        "`ipv4:` and `ipv6:` hold addresses of their family, separated by commas; names go to `dns:`"
    )]
    Family,
    /// More addresses than [`MAX_ADDRESSES`].
    #[error("it has more than {MAX_ADDRESSES} addresses; use a name, or a list of servers")]
    TooMany,
    /// A path that can't be one.
    #[error("the path of a Unix socket has 1 to {LONGEST_SOCKET_PATH} bytes, none of them zero")]
    Path,
}

impl Target {
    /// Reads a target.
    ///
    /// # Errors
    ///
    /// When it has none of the forms above.
    pub fn parse(text: &str) -> Result<Self, InvalidTarget> {
        parse(text).map_err(|reason| InvalidTarget { target: text.to_owned(), reason })
    }
}

impl fmt::Display for Target {
    /// In its full form, which reads back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dns { host, port } => write!(f, "dns:///{host}:{port}"),
            Self::Addresses(addresses) => {
                let is_v4 = addresses.first().is_some_and(SocketAddr::is_ipv4);
                f.write_str(if is_v4 { "ipv4:" } else { "ipv6:" })?;
                for (index, address) in addresses.iter().enumerate() {
                    write!(f, "{}{address}", if index == 0 { "" } else { "," })?;
                }
                Ok(())
            }
            // What begins with two slashes would be read as an authority.
            Self::Unix(path) if path.as_os_str().as_encoded_bytes().starts_with(b"//") => {
                write!(f, "unix://{}", path.display())
            }
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::UnixAbstract(name) => write!(f, "unix-abstract:{name}"),
        }
    }
}

fn parse(text: &str) -> Result<Target, TargetReason> {
    if text.is_empty() {
        return Err(TargetReason::Empty);
    }
    let (scheme, rest) = text.split_once(':').unwrap_or((text, ""));
    match scheme {
        "dns" => host(without_authority(rest)?),
        "unix" => unix(rest),
        "unix-abstract" => abstract_socket(rest),
        "ipv4" => addresses(rest, SocketAddr::is_ipv4),
        "ipv6" => addresses(rest, SocketAddr::is_ipv6),
        "xds" if text.len() > scheme.len() => Err(TargetReason::Xds),
        "http" | "https" if rest.starts_with("//") => Err(TargetReason::Url),
        _ if rest.starts_with("//") => Err(TargetReason::Scheme),
        _ => host(text),
    }
}

/// What follows `dns:`: the endpoint, with or without the slashes of an empty authority.
fn without_authority(rest: &str) -> Result<&str, TargetReason> {
    match rest.strip_prefix("//") {
        None => Ok(rest.strip_prefix('/').unwrap_or(rest)),
        Some(rest) => rest.strip_prefix('/').ok_or(TargetReason::Authority),
    }
}

fn host(text: &str) -> Result<Target, TargetReason> {
    let (host, port) = host_and_port(text)?;
    if let Some(address) = ip_address(host) {
        return Ok(Target::Addresses([SocketAddr::new(address, port)].into()));
    }
    match is_host(host) {
        true => Ok(Target::Dns { host: host.into(), port }),
        false => Err(TargetReason::Host),
    }
}

fn addresses(text: &str, is_family: fn(&SocketAddr) -> bool) -> Result<Target, TargetReason> {
    if text.split(',').count() > MAX_ADDRESSES {
        return Err(TargetReason::TooMany);
    }
    let one = |text: &str| {
        let (host, port) = host_and_port(text)?;
        let address = ip_address(host).map(|address| SocketAddr::new(address, port));
        address.filter(is_family).ok_or(TargetReason::Family)
    };
    let addresses: Vec<SocketAddr> = text.split(',').map(one).collect::<Result<_, _>>()?;
    Ok(Target::Addresses(addresses.into()))
}

fn unix(rest: &str) -> Result<Target, TargetReason> {
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err(TargetReason::Authority),
    };
    socket_name(path).map(|path| Target::Unix(Path::new(path).into()))
}

fn abstract_socket(rest: &str) -> Result<Target, TargetReason> {
    // The first byte of `sun_path` is zero and takes the place of the ending one.
    socket_name(rest).map(|name| Target::UnixAbstract(name.into()))
}

fn socket_name(name: &str) -> Result<&str, TargetReason> {
    match (1..=LONGEST_SOCKET_PATH).contains(&name.len()) && !name.contains('\0') {
        true => Ok(name),
        false => Err(TargetReason::Path),
    }
}

fn host_and_port(text: &str) -> Result<(&str, u16), TargetReason> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(TargetReason::Brackets);
    }
    let (host, port) = match text.rsplit_once(':') {
        // The last colon is within the brackets.
        Some((_, after)) if after.ends_with(']') => (text, None),
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if host.contains(':') && !host.starts_with('[') {
        return Err(TargetReason::Brackets);
    }
    match port {
        None => Ok((host, DEFAULT_PORT)),
        Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => match port.parse() {
            Ok(port) if port > 0 => Ok((host, port)),
            _ => Err(TargetReason::Port),
        },
        Some(_) => Err(TargetReason::Port),
    }
}

fn ip_address(host: &str) -> Option<IpAddr> {
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    match inner {
        Some(inner) => inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
    }
}

/// A host name of letters, digits, `-`, `_` and dots (RFC 1123 with underscores), and no number alone,
/// which would be a broken IPv4 address.
fn is_host(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
    };
    (1..=253).contains(&name.len())
        && name.split('.').all(is_label)
        && !name.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}
