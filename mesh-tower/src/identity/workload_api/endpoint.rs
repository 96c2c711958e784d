//! [`WorkloadEndpoint`]: where a Workload API is (SPIFFE: `standards/SPIFFE_Workload_Endpoint.md`, section 4).
//!
//! - `unix:///run/spire/agent.sock` or `unix:/run/spire/agent.sock`: a Unix socket. No host; the path is
//!   absolute.
//! - `tcp://127.0.0.1:8000`: the host is an IP address, the port must be said; no path.
//! - No query, no fragment, no user.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// The variable that names the endpoint.
pub(super) const VARIABLE: &str = "SPIFFE_ENDPOINT_SOCKET";

/// Where a Workload API is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WorkloadEndpoint {
    /// The path of a Unix socket.
    Unix(String),
    /// Without TLS, as the standard has it.
    Tcp(SocketAddr),
}

/// Why a text is no endpoint of a Workload API.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEndpoint {
    /// It breaks a rule of the standard.
    #[error("`{text}` is no Workload API endpoint: {rule}")]
    Rule {
        /// The text.
        text: String,
        /// The rule.
        rule: &'static str,
    },
    /// Nothing says where it is.
    #[error(
        "`{VARIABLE}` is not set: set it to the agent's socket, such as `unix:///run/spire/agent.sock`"
    )]
    NotSet,
}

impl WorkloadEndpoint {
    /// Reads an endpoint.
    ///
    /// # Errors
    /// [`InvalidEndpoint::Rule`]: the rule that it breaks.
    pub(super) fn parse(text: &str) -> Result<Self, InvalidEndpoint> {
        let broken = |rule| InvalidEndpoint::Rule { text: text.to_owned(), rule };
        if text.contains(['?', '#']) {
            return Err(broken("it must have neither query nor fragment"));
        }
        match text.split_once(':') {
            Some(("unix", rest)) => unix(rest).map_err(broken),
            Some(("tcp", rest)) => tcp(rest).map_err(broken),
            _ => Err(broken("it must begin with `unix:` or `tcp:`")),
        }
    }

    /// As tonic wants it.
    pub(super) fn uri(&self) -> String {
        match self {
            Self::Unix(path) => format!("unix:{path}"),
            Self::Tcp(address) => format!("http://{address}"),
        }
    }
}

fn unix(rest: &str) -> Result<WorkloadEndpoint, &'static str> {
    let path = match rest.strip_prefix("//") {
        Some(path) if path.starts_with('/') => path,
        Some(_) => return Err("a Unix socket has no host: write three slashes, `unix:///path`"),
        None => rest,
    };
    if !path.starts_with('/') || path.len() < 2 {
        return Err("the socket's path must be absolute, `unix:///path`");
    }
    Ok(WorkloadEndpoint::Unix(path.to_owned()))
}

fn tcp(rest: &str) -> Result<WorkloadEndpoint, &'static str> {
    const RULE: &str =
        "it must be an IP address and a port, and nothing after them: `tcp://127.0.0.1:8000`";
    let (host, port) =
        rest.strip_prefix("//").and_then(|rest| rest.rsplit_once(':')).ok_or(RULE)?;
    let port = port.parse().ok().filter(|port| *port != 0).ok_or(RULE)?;
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let ip = match v6 {
        Some(v6) => v6.parse().map(|v6: Ipv6Addr| IpAddr::V6(v6)).ok(),
        None => host.parse().map(IpAddr::V4).ok(),
    };
    Ok(WorkloadEndpoint::Tcp(SocketAddr::new(ip.ok_or(RULE)?, port)))
}

impl fmt::Display for WorkloadEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{path}"),
            Self::Tcp(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Result<&str, &str>) {
        match (WorkloadEndpoint::parse(text), expected) {
            (Ok(endpoint), Ok(expected)) => assert_eq!(endpoint.to_string(), expected),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "{error}"),
            (found, expected) => panic!("{text}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn endpoints_are_as_the_standard_has_them() {
        check("unix:///run/agent.sock", Ok("unix:///run/agent.sock"));
        check("unix:/run/agent.sock", Ok("unix:///run/agent.sock"));
        check("tcp://127.0.0.1:8000", Ok("tcp://127.0.0.1:8000"));
        check("tcp://[::1]:8000", Ok("tcp://[::1]:8000"));
        for relative in ["unix:agent.sock", "unix:", "unix:/", "unix:///"] {
            check(relative, Err("absolute"));
        }
        check("unix://run/agent.sock", Err("three slashes"));
        check("/run/agent.sock", Err("begin with"));
        check("http://127.0.0.1:1", Err("begin with"));
        check("unix:///run/agent.sock?x", Err("query"));
        check("unix:///run/agent.sock#x", Err("fragment"));
        let bad = ["localhost:1", "127.0.0.1", "127.0.0.1:", "127.0.0.1:0", "127.0.0.1:65536"];
        for address in bad.into_iter().chain(["127.0.0.1:1/x", "u@127.0.0.1:1", "::1:8000", ""]) {
            check(&format!("tcp://{address}"), Err("an IP address and a port"));
        }
    }
}
