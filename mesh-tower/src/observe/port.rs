//! [`PortCells`]: the metrics of a port that serves, about its connections.

use super::cell::zeroes;
use super::events::Security as Secured;
use super::names::{Metric, label_values};
use super::peers::Peers;
use super::refusals::Refusals;
use super::registry::{Value, Visit};
use mesh_core::identity::Peer;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

label_values! {
    /// How a connection is secured (label `security`).
    pub(crate) enum Security {
        /// TLS, and the client has proven who it is.
        MutualTls = "mutual_tls",
        /// TLS, by a client without a certificate.
        Tls = "tls",
        /// Neither.
        Plaintext = "plaintext",
    }
}

label_values! {
    /// Why a handshake did not end well (label `reason`).
    pub(crate) enum HandshakeFailure {
        /// The client showed no certificate.
        NoCertificate = "no_certificate",
        /// Its certificate can't be read.
        Unreadable = "unreadable",
        /// It is over.
        Expired = "expired",
        /// It has not begun.
        NotYetValid = "not_yet_valid",
        /// No root has signed it.
        UnknownIssuer = "unknown_issuer",
        /// There are no roots of its trust domain.
        NoBundle = "no_bundle",
        /// It has no SPIFFE id, and roots are chosen by it.
        NoSpiffeId = "no_spiffe_id",
        /// It has none of the names that are asked for.
        WrongName = "wrong_name",
        /// It was revoked.
        Revoked = "revoked",
        /// No revocation list is of its issuer.
        RevocationUnknown = "revocation_unknown",
        /// That list is over.
        RevocationListExpired = "revocation_list_expired",
        /// It is not for clients.
        NotForClients = "not_for_clients",
        /// It does not verify for another reason.
        Unverified = "unverified",
        /// We have nothing to show, or nobody to believe.
        NoIdentity = "no_identity",
        /// The client speaks no TLS where it is asked for.
        NotTls = "not_tls",
        /// It does not begin with a header of the PROXY protocol, where that is asked for.
        NoProxyHeader = "no_proxy_header",
        /// What the client said, or said of us, ends the handshake.
        Protocol = "protocol",
        /// It took too long.
        Timeout = "timeout",
        /// The client left.
        Closed = "closed",
    }
}

label_values! {
    /// Why the configuration refused a connection (label `reason`).
    pub(crate) enum Refusal {
        /// There is no such listener in it, or it is drained.
        NotServing = "not_serving",
        /// No filter chain is for the connection.
        NoChain = "no_chain",
        /// The chain is over.
        Over = "over",
        /// Who connects is not allowed to (network RBAC).
        Rbac = "rbac",
        /// It is not HTTP, and what is asked for can't be asked of bytes.
        NotHttp = "not_http",
        /// The process is near a limit.
        Overloaded = "overloaded",
        /// The system has no descriptor, or no memory, for it.
        NoRoom = "no_room",
    }
}

label_values! {
    /// Why a connection ended before its time (label `reason`).
    pub(crate) enum Broken {
        /// Nothing came that begins a request or a connection.
        Silent = "silent",
        /// A head of HTTP/1.1 did not come in time, or the next one on an idle connection.
        HeadTimeout = "head_timeout",
        /// A head of HTTP/1.1 is too large.
        HeadTooLarge = "head_too_large",
        /// What came is no HTTP/1.1.
        BadRequest = "bad_request",
        /// What came is no HTTP/2.
        Protocol = "protocol",
        /// Streams are reset by who opens them.
        ResetFlood = "reset_flood",
        /// Too many PING.
        PingFlood = "ping_flood",
        /// Too many SETTINGS.
        SettingsFlood = "settings_flood",
        /// Too many DATA without data.
        EmptyDataFlood = "empty_data_flood",
        /// Too many WINDOW_UPDATE.
        WindowUpdateFlood = "window_update_flood",
        /// Too many PRIORITY.
        PriorityFlood = "priority_flood",
        /// Too many CONTINUATION, or a head in them that is far too large.
        ContinuationFlood = "continuation_flood",
        /// Too many frames of unknown types.
        UnknownFlood = "unknown_flood",
        /// Another limit of HTTP/2.
        Excessive = "excessive",
        /// The client does not read.
        WriteStalled = "write_stalled",
        /// The client left in the middle.
        Closed = "closed",
        /// Its drain ended first.
        Deadline = "deadline",
        /// Something else.
        Other = "other",
    }
}

label_values! {
    /// Why a connection was told to take no new requests (label `reason`).
    pub(crate) enum Drained {
        /// The server ends.
        ShutDown = "shut_down",
        /// Its chain is gone, is over, or is secured otherwise.
        Configuration = "configuration",
        /// The client's certificate is over.
        CertificateEnded = "certificate_ended",
        /// The certificate of ours that it was shown is over.
        OwnCertificateEnded = "own_certificate_ended",
        /// The client's certificate was revoked.
        Revoked = "revoked",
        /// The client does not verify any more.
        Untrusted = "untrusted",
        /// It had no requests for too long.
        Idle = "idle",
    }
}

/// The cells of one listener.
pub(crate) struct PortCells {
    name: Arc<str>,
    accepted: [AtomicU64; Security::ALL.len()],
    failed: [AtomicU64; HandshakeFailure::ALL.len()],
    refused: [AtomicU64; Refusal::ALL.len()],
    drained: [AtomicU64; Drained::ALL.len()],
    broken: [AtomicU64; Broken::ALL.len()],
    unborn: AtomicU64,
    stalled: Arc<AtomicU64>,
    /// By outcome, filter chain and policy.
    policies: Refusals,
    active: AtomicU64,
    peers: Peers,
}

/// A connection counts as open as long as this lives.
pub(crate) struct Active(Arc<PortCells>);

impl Drop for Active {
    fn drop(&mut self) {
        self.0.active.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PortCells {
    pub(super) fn new(name: Arc<str>) -> Self {
        let active = AtomicU64::new(0);
        let (accepted, failed) = (zeroes(), zeroes());
        Self {
            name,
            accepted,
            failed,
            refused: zeroes(),
            drained: zeroes(),
            broken: zeroes(),
            unborn: AtomicU64::new(0),
            stalled: Arc::default(),
            policies: Refusals::default(),
            active,
            peers: Peers::default(),
        }
    }

    /// A connection of `peer` was accepted, and is open until the answer is dropped.
    pub(crate) fn accepted(self: &Arc<Self>, peer: &Peer) -> Active {
        let (security, secured) = match peer {
            Peer::Plaintext => (Security::Plaintext, Secured::Plaintext),
            Peer::Tls => (Security::Tls, Secured::Tls("".into())),
            Peer::Certified(_) => (Security::MutualTls, Secured::MutualTls(peer.name().into())),
        };
        self.peers.count(&secured, None);
        self.accepted[security as usize].fetch_add(1, Ordering::Relaxed);
        self.active.fetch_add(1, Ordering::Relaxed);
        Active(Arc::clone(self))
    }

    /// A handshake failed.
    pub(crate) fn failed(&self, why: HandshakeFailure) {
        self.failed[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection was refused.
    pub(crate) fn refused(&self, why: Refusal) {
        self.refused[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Network RBAC of a filter chain denied a connection by `policy` (`none`: no policy allowed it); or its shadow
    /// rules would have.
    pub(crate) fn denied(&self, chain: &Arc<str>, policy: &Arc<str>, shadow: bool) {
        self.policies.count(if shadow { "would_deny" } else { "denied" }, chain, policy);
    }

    /// A connection was told to take no new requests.
    pub(crate) fn drained(&self, why: Drained) {
        self.drained[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// A connection ended before its time.
    pub(crate) fn broken(&self, why: Broken) {
        self.broken[why as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// So many streams were opened and became no requests.
    pub(crate) fn unborn(&self, streams: u64) {
        self.unborn.fetch_add(streams, Ordering::Relaxed);
    }

    /// Where streams are counted that are reset because their client takes nothing of their answer.
    pub(crate) const fn stalled(&self) -> &Arc<AtomicU64> {
        &self.stalled
    }

    /// Gives `visit` all series of `metric`. Reasons that never occurred are left out.
    pub(super) fn visit(&self, metric: Metric, visit: &mut Visit<'_>) {
        let name = &*self.name;
        let number = |cell: &AtomicU64| cell.load(Ordering::Relaxed);
        let mut reasons = |texts: &mut dyn Iterator<Item = (&'static str, &AtomicU64)>| {
            for (reason, cell) in texts {
                let count = number(cell);
                if count > 0 {
                    visit(&[name, reason], Value::Number(count));
                }
            }
        };
        match metric {
            Metric::ServerAccepted => {
                for (security, cell) in Security::ALL.iter().zip(&self.accepted) {
                    visit(&[name, security.as_str()], Value::Number(number(cell)));
                }
            }
            Metric::ServerHandshakes => {
                let texts = HandshakeFailure::ALL.iter().map(|reason| reason.as_str());
                reasons(&mut texts.zip(&self.failed));
            }
            Metric::ServerConnectionsRefused => {
                let texts = Refusal::ALL.iter().map(|reason| reason.as_str());
                reasons(&mut texts.zip(&self.refused));
            }
            Metric::ServerNetworkRbac => self.policies.visit(|[outcome, chain, policy], count| {
                visit(&[name, chain, outcome, policy], Value::Number(count));
            }),
            Metric::ServerPeerConnections => {
                for (with, counted) in self.peers.read() {
                    let labels = [name, with.as_str(), with.peer()];
                    visit(&labels, Value::Number(counted.connections));
                }
            }
            Metric::ServerDrained => {
                let texts = Drained::ALL.iter().map(|reason| reason.as_str());
                reasons(&mut texts.zip(&self.drained));
            }
            Metric::ServerBroken => {
                let texts = Broken::ALL.iter().map(|reason| reason.as_str());
                reasons(&mut texts.zip(&self.broken));
            }
            Metric::ServerUnborn => visit(&[name], Value::Number(number(&self.unborn))),
            Metric::ServerStalled => visit(&[name], Value::Number(number(&self.stalled))),
            Metric::ServerActive => visit(&[name], Value::Number(number(&self.active))),
            _ => {}
        }
    }
}
