//! [`Rules`]: what leads connections to a proxy that were made to others (Linux: netfilter, REDIRECT).
//!
//! ```text
//!  an application connects to 10.1.2.3:80
//!     │
//!     ├─ the proxy's own user ──────────> as it is: what the proxy calls is not captured again
//!     ├─ this machine, what is excluded > as it is
//!     ├─ a port that a port captures ───> that port of the proxy
//!     └─ any other ─────────────────────> the port of `capture: true`
//! ```
//!
//! The proxy learns of each connection where it was meant to go. The rules are in chains of their own, as those of
//! Istio are, so that they can be made anew and taken away without anything else. They are text, for a shell; nothing
//! is run here.

#[cfg(test)]
mod tests;

use crate::model::{Address, Capture, Cidr, Listener};
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The chain of what this machine's programs call.
const OUTPUT: &str = "MESH_OUTPUT";
/// The chain of what others call here.
const INBOUND: &str = "MESH_INBOUND";
/// Each of them with the chain that leads to it.
const OF_OUTPUT: (&str, &str) = ("OUTPUT", OUTPUT);
const OF_INBOUND: (&str, &str) = ("PREROUTING", INBOUND);

/// Rules that capture connections.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rules {
    /// Ports of the proxy, and what is led to them.
    ports: Vec<(IpAddr, u16, Capture)>,
    /// The proxy's user, by number or name: what it calls is not captured.
    user: String,
    /// Blocks of addresses that are not captured.
    pub exclude: Vec<Cidr>,
    /// Ports that are not captured, whatever their address is.
    pub exclude_ports: Vec<u16>,
    /// Ports that others call here, and the ports of the proxy that they are led to.
    pub inbound: Vec<(u16, u16)>,
}

/// Why there are no rules.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoRules {
    /// Nothing captures anything.
    #[error(
        "no port of `outbound` captures connections: give one `capture: true`, with `listen: \"127.0.0.1:15001\"`"
    )]
    NothingCaptured,
    /// A port has no number before it is open.
    #[error("`{0}` listens at any free port, which rules can't name: give it one")]
    AnyPort(std::sync::Arc<str>),
    /// What is captured comes to the machine itself.
    #[error(
        "`{port}` listens at {address}, and what is captured comes to the loopback address: listen on `{wanted}`"
    )]
    NotLoopback {
        /// The port's name.
        port: std::sync::Arc<str>,
        /// Where it listens.
        address: IpAddr,
        /// Where it should.
        wanted: String,
    },
    /// A user that a shell might take for something else.
    #[error("`{0}` is no user: a number, or a name of letters, digits, `.`, `_` and `-`")]
    User(String),
}

impl Rules {
    /// Those for `listeners`, of a proxy that runs as `user`.
    ///
    /// # Errors
    /// [`NoRules`]: none of them captures anything, or can, or there is no such user.
    pub fn new<'l>(
        listeners: impl IntoIterator<Item = &'l Listener>,
        user: &str,
    ) -> Result<Self, NoRules> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if user.is_empty() || user.starts_with('-') || !user.chars().all(is_plain) {
            return Err(NoRules::User(user.to_owned()));
        }
        let mut ports = Vec::new();
        for listener in listeners {
            let (Some(capture), Some(Address::Socket(address))) =
                (&listener.capture, &listener.address)
            else {
                continue;
            };
            if address.port() == 0 {
                return Err(NoRules::AnyPort(listener.name.clone()));
            }
            let ip = address.ip();
            let home = match ip {
                IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
                IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
            };
            if ip != home && !ip.is_unspecified() {
                let wanted = std::net::SocketAddr::new(home, address.port()).to_string();
                return Err(NoRules::NotLoopback {
                    port: listener.name.clone(),
                    address: ip,
                    wanted,
                });
            }
            ports.push((ip, address.port(), capture.clone()));
        }
        if ports.is_empty() {
            return Err(NoRules::NothingCaptured);
        }
        Ok(Self { ports, user: user.to_owned(), ..Self::default() })
    }

    /// A script for a shell that makes the rules, in place of those that an earlier one has made, also where there are
    /// none any more.
    #[must_use]
    pub fn apply(&self) -> String {
        let mut script = begin("Captures what is called from here, but for what the proxy calls.");
        for family in Family::BOTH {
            let captures = self.of(family);
            if captures.is_empty() {
                let _never =
                    writeln!(script, "# No port captures {}: it goes as it is.", family.name());
                away(&mut script, family, OF_OUTPUT);
                away(&mut script, family, OF_INBOUND);
                continue;
            }
            self.output(&mut script, family, &captures);
            if self.inbound.is_empty() {
                away(&mut script, family, OF_INBOUND);
            } else {
                self.inbound(&mut script, family);
            }
        }
        script
    }

    /// A script for a shell that takes all of them away, and nothing else.
    #[must_use]
    pub fn undo(&self) -> String {
        let mut script = begin("Takes away what captures.");
        for family in Family::BOTH {
            away(&mut script, family, OF_OUTPUT);
            away(&mut script, family, OF_INBOUND);
        }
        script
    }

    /// The ports that addresses of a family are led to, those for some of them first.
    fn of(&self, family: Family) -> Vec<(u16, &Capture)> {
        let mut found: Vec<_> = self
            .ports
            .iter()
            // All of IPv6 is all of IPv4, too.
            .filter(|(ip, ..)| family.holds(*ip) || *ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED))
            .map(|(_, port, capture)| (*port, capture))
            .collect();
        found.sort_by_key(|(port, capture)| (**capture == Capture::Rest, *port));
        found
    }

    fn output(&self, script: &mut String, family: Family, captures: &[(u16, &Capture)]) {
        let table = family.table();
        let mut rule = |rule: fmt::Arguments<'_>| {
            let _never = writeln!(script, "{table} {rule}");
        };
        rule(format_args!("-N {OUTPUT} 2>/dev/null || {table} -F {OUTPUT}"));
        rule(format_args!("-A {OUTPUT} -m owner --uid-owner {} -j RETURN", self.user));
        rule(format_args!("-A {OUTPUT} -o lo -j RETURN"));
        rule(format_args!("-A {OUTPUT} -d {} -j RETURN", family.home()));
        for block in self.exclude.iter().filter(|block| family.holds(block.address())) {
            rule(format_args!("-A {OUTPUT} -d {block} -j RETURN"));
        }
        for port in self.exclude_ports.iter().collect::<BTreeSet<_>>() {
            rule(format_args!("-A {OUTPUT} -p tcp --dport {port} -j RETURN"));
        }
        for (to, capture) in captures {
            match capture {
                Capture::Rest => {
                    rule(format_args!("-A {OUTPUT} -p tcp -j REDIRECT --to-ports {to}"));
                }
                Capture::Ports(ports) => {
                    for port in ports {
                        rule(format_args!(
                            "-A {OUTPUT} -p tcp --dport {port} -j REDIRECT --to-ports {to}"
                        ));
                    }
                }
            }
        }
        let jump = format!("OUTPUT -p tcp -j {OUTPUT}");
        rule(format_args!("-C {jump} 2>/dev/null || {table} -A {jump}"));
    }

    fn inbound(&self, script: &mut String, family: Family) {
        let table = family.table();
        let _never = writeln!(script, "{table} -N {INBOUND} 2>/dev/null || {table} -F {INBOUND}");
        for (from, to) in &self.inbound {
            let _never = writeln!(
                script,
                "{table} -A {INBOUND} -p tcp --dport {from} -j REDIRECT --to-ports {to}"
            );
        }
        let jump = format!("PREROUTING -p tcp -j {INBOUND}");
        let _never = writeln!(script, "{table} -C {jump} 2>/dev/null || {table} -A {jump}");
    }
}

fn begin(what: &str) -> String {
    format!("#!/bin/sh\n# {what}\nset -eu\n")
}

/// Takes a chain away, if it is there.
fn away(script: &mut String, family: Family, (from, chain): (&str, &str)) {
    let table = family.table();
    let _never = write!(
        script,
        "if {table} -n -L {chain} >/dev/null 2>&1; then\n  \
         while {table} -D {from} -p tcp -j {chain} 2>/dev/null; do :; done\n  \
         {table} -F {chain}\n  {table} -X {chain}\nfi\n"
    );
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    V4,
    V6,
}

impl Family {
    const BOTH: [Self; 2] = [Self::V4, Self::V6];

    const fn name(self) -> &'static str {
        match self {
            Self::V4 => "IPv4",
            Self::V6 => "IPv6",
        }
    }

    /// Waits for others who change the table.
    const fn table(self) -> &'static str {
        match self {
            Self::V4 => "iptables -w -t nat",
            Self::V6 => "ip6tables -w -t nat",
        }
    }

    const fn home(self) -> &'static str {
        match self {
            Self::V4 => "127.0.0.0/8",
            Self::V6 => "::1/128",
        }
    }

    const fn holds(self, address: IpAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
        }
    }
}
