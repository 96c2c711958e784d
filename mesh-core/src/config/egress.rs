//! `egress`: where calls may go that no virtual host serves.

use super::fields::Fields;
use super::identity::beside;
use super::node::{Node, shorten};
use super::shape::{Kind, Shape, key};
use super::value::Value;
use super::{code, reader::Reader};
use crate::model::{Cidr, Egress, EgressHost, EgressRule};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

static EGRESS: Shape = Shape::new(
    "egress",
    &[&[
        key(
            "allow",
            Kind::List(&Kind::Text),
            "Hosts, each with a port or for any: `api.example.org`, `*.example.org:443`, `10.1.0.0/16`, \
             `[2001:db8::/32]:53`. Names allow no addresses, and lead to private ones only where a block says so.",
        ),
        key(
            "learn",
            Kind::Text,
            "A file that the list which would be needed is written to, beside this one.",
        ),
    ]],
);

pub(super) const EGRESS_KIND: Kind = Kind::Mapping(&EGRESS);

impl Value for Egress {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut egress = Self::default();
        fields.set(reader, "allow", &mut egress.allow);
        egress.learn = fields.value("learn").and_then(|(node, _)| learn(reader, node));
        Some(egress)
    }
}

/// A file that is written to, from the directory of the document.
fn learn(reader: &mut Reader<'_>, node: &Node) -> Option<Arc<Path>> {
    let path = reader.scalar(node, "the path of a file")?.text;
    if path.is_empty() || path.ends_with('/') {
        let message = format!("`{}` is not the path of a file", shorten(&path));
        let suggestion = "for example `learn: egress.yaml`, beside this file";
        reader.report.add(code::WRONG_TYPE, node.span, message).suggest(suggestion);
        return None;
    }
    let path = beside(reader, node.span, &path);
    if reader.documents.iter().any(|document| Path::new(document.name) == path) {
        let message = "this file is read, and would be written over";
        let suggestion = "for example `learn: egress.yaml`, beside this file";
        reader.report.add(code::WRITTEN_OVER, node.span, message).suggest(suggestion);
        return None;
    }
    Some(path.into())
}

impl Value for EgressRule {
    fn read(reader: &mut Reader<'_>, node: &Node, _: &'static Kind) -> Option<Self> {
        let scalar = reader.scalar(node, "a host, `*.` and a name, or a block of addresses")?;
        match rule(&scalar.text) {
            Ok(rule) => Some(rule),
            Err(why) => {
                let message = format!("`{}`: {why}", shorten(&scalar.text));
                reader.report.add(code::INVALID_ADDRESS, node.span, message).suggest(
                    "for example `api.example.org`, `*.example.org:443`, `10.1.0.0/16`, `[2001:db8::/32]:53`",
                );
                None
            }
        }
    }
}

/// The rule that an entry of `egress.allow` is; `None`: it is none, and an error in a document.
///
/// # Examples
/// ```
/// use mesh_core::config::egress_rule;
///
/// assert!(egress_rule("api.example.org:443").is_some());
/// assert!(egress_rule("api.example.org:0").is_none());
/// ```
#[must_use]
pub fn egress_rule(text: &str) -> Option<EgressRule> {
    rule(text).ok()
}

fn rule(text: &str) -> Result<EgressRule, &'static str> {
    // An address of IPv6 has colons itself: what is a block as a whole has no port.
    let whole = block(text);
    if let Some(Ok(block)) = whole {
        return Ok(EgressRule { host: EgressHost::Addresses(block), port: None });
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => match (port.parse::<u16>(), whole) {
            (Ok(port), _) if port > 0 => (host, Some(port)),
            (_, Some(Err(why))) => return Err(why),
            _ => return Err("a port is a number from 1 to 65535"),
        },
        None => (text, None),
    };
    let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if let Some(block) = block(inner) {
        return Ok(EgressRule { host: EgressHost::Addresses(block?), port });
    }
    // A last dot says that a name is whole, and is not looked at in calls either.
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    let name = host.strip_prefix("*.").unwrap_or(&host);
    if !super::address::is_name(name) {
        return Err("this is no host name and no block of addresses");
    }
    let host = match host.strip_prefix('*') {
        Some(suffix) => EgressHost::Suffix(suffix.into()),
        None => EgressHost::Exact(host.as_str().into()),
    };
    Ok(EgressRule { host, port })
}

/// A block, or an address alone; `None`: it is none.
fn block(text: &str) -> Option<Result<Cidr, &'static str>> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address = address.parse::<IpAddr>().ok()?;
    let whole = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Some(whole), |prefix| prefix.parse().ok());
    let cidr = prefix.and_then(|prefix| Cidr::new(address, prefix).ok());
    Some(cidr.ok_or("the prefix is a number of bits that the address has"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_read_back() {
        for text in [
            "api.example.org",
            "api.example.org:443",
            "*.example.org",
            "*.example.org:8443",
            "10.1.0.0/16",
            "[2001:db8::/32]:53",
            "2001:db8::/32",
            "10.1.0.0/16:80",
        ] {
            assert_eq!(rule(text).unwrap().to_string(), text);
        }
        assert_eq!(rule("127.0.0.1").unwrap().to_string(), "127.0.0.1/32");
        assert_eq!(rule("127.0.0.1:80").unwrap().to_string(), "127.0.0.1/32:80");
        assert_eq!(rule("[::1]:80").unwrap().to_string(), "[::1/128]:80");
        assert_eq!(rule("API.Example.org").unwrap().to_string(), "api.example.org");
    }

    #[test]
    fn what_is_no_rule_says_why() {
        for (text, why) in [
            ("", "no host name"),
            ("*", "no host name"),
            ("a.*", "no host name"),
            ("a b", "no host name"),
            ("127.1", "no host name"),
            ("a:0", "port"),
            ("a:http", "port"),
            ("10.0.0.0/33", "number of bits"),
            ("10.0.0.0/x", "number of bits"),
            ("10.0.0.0/33:80", "number of bits"),
            ("10.0.0.0/8:0", "number of bits"),
            ("2001:db8::/129", "number of bits"),
            ("https://a", "port"),
        ] {
            let found = rule(text).unwrap_err();
            assert!(found.contains(why), "{text}: {found}");
        }
    }
}
