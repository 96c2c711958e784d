//! What may stand where a host is named: an address, or a host name.
//!
//! Checked before anything is sent, so that a slip in the configuration is named as such and not
//! as a failing name server. Lengths and characters are RFC 1035 §2.3.4 and RFC 952 with the
//! underscore that private zones use; a name that ends in a number is an address mistyped (WHATWG
//! URL, "ends in a number checker").

use std::net::{IpAddr, Ipv6Addr};

/// Why a text is not a host name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedName {
    /// There is nothing.
    #[error("it is empty")]
    Empty,
    /// Over 253 bytes.
    #[error("it is longer than 253 bytes")]
    TooLong,
    /// Two dots in a row, or a dot in front.
    #[error("it has an empty label")]
    EmptyLabel,
    /// A label is over 63 bytes.
    #[error("it has a label of more than 63 bytes")]
    LabelTooLong,
    /// Something that is neither letter, digit, `-`, `_` nor dot.
    #[error("`{0}` may not stand in a name (international names are written in punycode, `xn--…`)")]
    Character(char),
    /// It ends in a number but is no IPv4 address.
    #[error("it looks like an IPv4 address but is none")]
    NotAnAddress,
}

/// A host, as configuration names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Host<'a> {
    /// Nothing to look up.
    Address(IpAddr),
    /// A name; may end in a dot, which keeps search domains out.
    Name(&'a str),
}

impl<'a> Host<'a> {
    /// Reads an address (IPv6 with or without brackets) or a name.
    pub(super) fn parse(text: &'a str) -> Result<Self, MalformedName> {
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self::Address(address));
        }
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(Ok(address)) = inner.map(str::parse::<Ipv6Addr>) {
            return Ok(Self::Address(address.into()));
        }
        check_name(text).map(|()| Self::Name(text))
    }
}

/// `name` without the dot that keeps search domains out: what certificates and SNI speak of.
pub(super) fn without_root(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn check_name(name: &str) -> Result<(), MalformedName> {
    let name = without_root(name);
    if name.is_empty() {
        return Err(MalformedName::Empty);
    }
    if name.len() > 253 {
        return Err(MalformedName::TooLong);
    }
    for label in name.split('.') {
        check_label(label)?;
    }
    let last = name.rsplit('.').next().unwrap_or(name);
    if last.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(MalformedName::NotAnAddress);
    }
    Ok(())
}

fn check_label(label: &str) -> Result<(), MalformedName> {
    if label.is_empty() {
        return Err(MalformedName::EmptyLabel);
    }
    if let Some(bad) =
        label.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_')))
    {
        return Err(MalformedName::Character(bad));
    }
    if label.len() > 63 {
        return Err(MalformedName::LabelTooLong);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses_are_told_apart() {
        for name in ["a", "db.internal", "db.internal.", "_x-1.a", "r3---sn.b", "1.2.3.com"] {
            assert_eq!(Host::parse(name), Ok(Host::Name(name)));
        }
        for address in ["127.0.0.1", "::1"] {
            assert_eq!(Host::parse(address), Ok(Host::Address(address.parse().unwrap())));
        }
        assert_eq!(Host::parse("[::1]"), Ok(Host::Address("::1".parse().unwrap())));
    }

    #[test]
    fn each_mistake_has_its_name() {
        use MalformedName as M;
        let (long, label) = ("a.".repeat(127) + "b", "a".repeat(64));
        for (text, mistake) in [
            ("", M::Empty),
            (".", M::Empty),
            ("a..b", M::EmptyLabel),
            (".a", M::EmptyLabel),
            ("a b", M::Character(' ')),
            ("db:80", M::Character(':')),
            ("bücher.de", M::Character('ü')),
            ("10.0.0.256", M::NotAnAddress),
            (long.as_str(), M::TooLong),
            (label.as_str(), M::LabelTooLong),
        ] {
            assert_eq!(Host::parse(text), Err(mistake), "{text:?}");
        }
    }
}
