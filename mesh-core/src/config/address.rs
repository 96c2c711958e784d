//! Addresses: `127.0.0.1:80`, `[::1]:80`, `unix:/run/app.sock`, and for DNS `host:port`.

use super::node::{Node, Span, shorten};
use super::{code, reader::Reader};
use crate::model::Address;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// The longest path of a Unix socket, in bytes (Linux: `sun_path`, the ending zero apart).
const LONGEST_SOCKET_PATH: usize = 107;

/// Why a text is no address, and what would be one.
pub(super) type Wrong = (&'static str, Option<String>);

/// Reads an endpoint's address.
pub(super) fn address(reader: &mut Reader<'_>, node: &Node) -> Option<Address> {
    let scalar = reader.scalar(node, "an address")?;
    match endpoint(&scalar.text) {
        Ok(address) => Some(address),
        Err(wrong) => {
            report(reader, &scalar.text, node.span, wrong);
            None
        }
    }
}

/// Reads a host name with its port.
pub(super) fn name_and_port(reader: &mut Reader<'_>, node: &Node) -> Option<(Arc<str>, u16)> {
    let scalar = reader.scalar(node, "a host name and port")?;
    match host_and_port(&scalar.text) {
        Ok((host, port)) if is_host(host) => Some((host.trim_matches(['[', ']']).into(), port)),
        Ok(_) => {
            let wrong = ("this is no host name", None);
            report(reader, &scalar.text, node.span, wrong);
            None
        }
        Err(wrong) => {
            report(reader, &scalar.text, node.span, wrong);
            None
        }
    }
}

fn report(reader: &mut Reader<'_>, text: &str, span: Span, (why, suggestion): Wrong) {
    let message = format!("`{}`: {why}", shorten(text));
    reader.report.add(code::INVALID_ADDRESS, span, message).suggest_if(suggestion);
}

fn endpoint(text: &str) -> Result<Address, Wrong> {
    if let Some(path) = text.strip_prefix("unix:") {
        return unix(path);
    }
    let (host, port) = host_and_port(text)?;
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(Address::Socket(address));
    }
    if is_host(host) && !host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let suggestion = format!("host names are resolved: `dns: \"{host}:{port}\"`");
        return Err(("an endpoint is an IP address", Some(suggestion)));
    }
    Err(("this is no IP address", None))
}

fn unix(path: &str) -> Result<Address, Wrong> {
    check_socket_path(path)?;
    Ok(Address::Unix(Path::new(path).into()))
}

/// Whether a Unix socket may be at `path`.
pub(super) fn check_socket_path(path: &str) -> Result<(), Wrong> {
    if !path.starts_with('/') {
        return Err(("the path of a Unix socket starts with `/`", None));
    }
    if path.len() > LONGEST_SOCKET_PATH || path.contains('\0') {
        return Err(("the path of a Unix socket has at most 107 bytes, none of them zero", None));
    }
    Ok(())
}

/// Splits at the last colon, with a port from 1 to 65535.
fn host_and_port(text: &str) -> Result<(&str, u16), Wrong> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Err(("an IPv6 address stands in brackets", Some(format!("`[{text}]:80`"))));
    }
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(("the port is missing", Some(format!("for example `{}:80`", shorten(text)))));
    };
    if host.contains(':') && !host.starts_with('[') {
        let suggestion = host.parse::<Ipv6Addr>().is_ok().then(|| format!("`[{host}]:{port}`"));
        return Err(("an IPv6 address stands in brackets", suggestion));
    }
    match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok((host, port)),
        _ => Err(("a port is a number from 1 to 65535", None)),
    }
}

/// A host name, and no address.
pub(super) fn is_name(host: &str) -> bool {
    // Digits and dots alone are an address to some resolvers.
    is_host(host)
        && !host.starts_with('[')
        && !host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

/// A host name of letters, digits, `-`, `_` and dots (RFC 1123 with underscores), or an IP address.
fn is_host(host: &str) -> bool {
    if let Some(inner) = host.strip_prefix('[') {
        return inner.strip_suffix(']').is_some_and(|inner| inner.parse::<Ipv6Addr>().is_ok());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    (1..=253).contains(&name.len())
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back() {
        for text in ["127.0.0.1:80", "[::1]:8080", "[fe80::1]:1", "unix:/run/app.sock"] {
            assert_eq!(endpoint(text).unwrap().to_string(), text);
        }
    }

    #[track_caller]
    fn refuses(text: &str, reason: &str) {
        let (why, _) = endpoint(text).unwrap_err();
        assert!(why.contains(reason), "{text}: {why}");
    }

    #[test]
    fn what_is_no_address_says_why() {
        refuses("127.0.0.1", "port is missing");
        refuses("127.0.0.1:0", "1 to 65535");
        refuses("127.0.0.1:70000", "1 to 65535");
        refuses("127.0.0.1:http", "1 to 65535");
        refuses("::1:8080", "brackets");
        refuses("::1", "brackets");
        refuses("fe80::1:2:3:4:5:6:7:8:80", "brackets");
        refuses("localhost:80", "IP address");
        refuses("1.2.3:80", "no IP address");
        refuses("unix:run", "starts with");
        refuses(&format!("unix:/{}", "a".repeat(107)), "107");
        refuses("", "port is missing");
    }

    #[test]
    fn host_names() {
        assert!(is_host("db.internal") && is_host("a_b-c.") && is_host("[::1]"));
        assert!(!is_host("a..b") && !is_host("") && !is_host("a b") && !is_host("[x]"));
    }
}
