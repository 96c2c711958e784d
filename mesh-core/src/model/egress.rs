//! Where calls may go that no virtual host serves. Ours: Envoy only knows "any" or "none" of it
//! (Istio: `outboundTrafficPolicy`).

use super::Cidr;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

/// What is said of unknown destinations beside [`UnknownHosts`](crate::update::UnknownHosts).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Egress {
    /// Where calls may go although no virtual host serves it. Default: nowhere.
    pub allow: Vec<EgressRule>,
    /// Where the list that would be needed is written to; `None`: nowhere.
    pub learn: Option<Arc<Path>>,
}

/// One place where calls may go.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_structs, reason = "a host and a port")]
pub struct EgressRule {
    /// Which hosts.
    pub host: EgressHost,
    /// Which port; `None`: any.
    pub port: Option<u16>,
}

/// Hosts.
///
/// A name is never an address, and an address never a name: `10.0.0.1` is allowed by a block alone. A name
/// that is allowed may lead to a private address (RFC 6890) only if a block holds that too, so that nobody
/// who answers for the name can lead calls inward (DNS rebinding). That holds for connections of the mesh's own: a
/// transport of the user's resolves names itself, and nothing here sees where they lead.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed: a name, names below one, addresses")]
pub enum EgressHost {
    /// This name, in lower case.
    Exact(Arc<str>),
    /// Names that end with this, in lower case, from its dot on: `.example.org`.
    Suffix(Arc<str>),
    /// These addresses.
    Addresses(Cidr),
}

impl fmt::Display for EgressRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.host, self.port) {
            (EgressHost::Exact(name), _) => f.write_str(name)?,
            (EgressHost::Suffix(suffix), _) => write!(f, "*{suffix}")?,
            (EgressHost::Addresses(block), Some(_)) if block.first().is_ipv6() => {
                write!(f, "[{block}]")?;
            }
            (EgressHost::Addresses(block), _) => write!(f, "{block}")?,
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}
