//! [`Watched`]: which connections have outlived what they were made with.
//!
//! A connection verifies its peer once, and may live for days. So each is looked at, once a second:
//!
//! - Our certificate that it showed, or the peer's, is over: no new calls, and it ends with its last one.
//! - What is believed now is not what was believed then: the peer's chain is verified again, by the roots and
//!   the names in force. A root that was withdrawn retires what led to it.
//! - The endpoint has another hostname, and that is who is expected: the chain is verified again, too.
//! - A certificate of ours that was renewed changes nothing: the old one is good until its end.
//!
//! What says nothing about the peer ends nothing, as at servers: an identity that is over and can't be asked for, a
//! list that is over or missing, a clock that went back. The ends of the certificates do. Nor is anybody believed on
//! for that: roots, names and lists are in force without an identity, roots and names without lists.
//!
//! One task for the connections of one policy, while there are any. Where looking at one panics, that is told, and it is
//! looked at again with the others.

use super::client::{ClientTls, expected};
use super::client_refused::NotSecured;
use super::client_verify::Verifier;
use crate::clock;
use crate::observe::events::CloseReason;
use crate::unwind;
use mesh_core::WallTime;
use mesh_core::model::Address;
use mesh_core::model::tls::UpstreamTls;
use mesh_core::outcome::ConnectFailure;
use rustls::pki_types::CertificateDer;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;

/// How often is looked.
pub(super) const LOOK: Duration = Duration::from_secs(1);

/// How many chains are verified before others may run.
const BATCH: usize = 16;

/// What a connection was made with.
#[derive(Debug)]
pub(crate) struct Evidence {
    pub(super) verifier: Arc<Verifier>,
    pub(super) chain: Arc<[CertificateDer<'static>]>,
    /// Where it leads.
    pub(super) address: Address,
    /// The endpoint's hostname when it was last verified.
    pub(super) hostname: Option<Arc<str>>,
    /// The earlier end of the peer's certificate and of ours, if it was shown.
    pub(super) until: WallTime,
}

/// A connection that can be told to take no new calls.
pub(crate) trait Retire: Send + Sync {
    /// Whether it is still there.
    fn is_there(&self) -> bool;
    /// The hostname that its endpoint has now.
    fn hostname(&self) -> Option<Arc<str>>;
    /// It takes no new calls from now on, and ends with its last one.
    fn retire(&self, why: CloseReason);
}

/// The connections that are looked at.
#[derive(Default)]
pub(super) struct Watched {
    all: Vec<(Evidence, Box<dyn Retire>)>,
    /// Somebody looks.
    is_running: bool,
}

impl ClientTls {
    /// Looks after a connection from now on.
    #[expect(clippy::disallowed_methods, reason = "who looks after connections is a task")]
    pub(crate) fn watch(
        self: &Arc<Self>,
        evidence: Evidence,
        connection: Box<dyn Retire>,
        runtime: &Handle,
    ) {
        let mut watched = self.watched().lock();
        watched.all.push((evidence, connection));
        if !std::mem::replace(&mut watched.is_running, true) {
            let tls = Arc::clone(self);
            drop(runtime.spawn(async move { while tls.look_again().await {} }));
        }
    }

    /// `false`: there is nothing to look at any more.
    async fn look_again(&self) -> bool {
        tokio::time::sleep(LOOK).await;
        let mut all = std::mem::take(&mut self.watched().lock().all);
        all.retain(|(_, connection)| connection.is_there());
        if !all.is_empty() {
            self.look(&mut all, clock::wall()).await;
        }
        let mut watched = self.watched().lock();
        watched.all.append(&mut all);
        watched.is_running = !watched.all.is_empty();
        watched.is_running
    }

    /// Retires what has outlived what it was made with, and keeps the others: also those at which looking panics.
    pub(super) async fn look(&self, all: &mut Vec<(Evidence, Box<dyn Retire>)>, now: WallTime) {
        let in_force = unwind::caught(self.verifier_in_force(now)).await;
        let in_force = in_force.unwrap_or_else(panicked);
        let mut verified = 0;
        for (mut evidence, connection) in std::mem::take(all) {
            let by = (in_force.as_ref(), &**self.policy());
            let judged = unwind::call(|| evidence.judge(by, &*connection, now));
            let judged =
                judged.or_else(panicked).unwrap_or(Judged { stays: true, verified: false });
            verified += usize::from(judged.verified);
            if judged.stays {
                all.push((evidence, connection));
            }
            if verified == BATCH {
                verified = 0;
                tokio::task::yield_now().await;
            }
        }
    }
}

/// What became of a connection that was looked at.
struct Judged {
    stays: bool,
    /// Its chain was verified again.
    verified: bool,
}

fn panicked<T>() -> Option<T> {
    tracing::error!(target: "mesh::tls", "looking after open connections panicked; they stay, and are looked at again");
    None
}

impl Evidence {
    /// Retires the connection, if it has outlived this.
    fn judge(
        &mut self,
        (in_force, policy): (Option<&Arc<Verifier>>, &UpstreamTls),
        connection: &dyn Retire,
        now: WallTime,
    ) -> Judged {
        if now > self.until {
            connection.retire(CloseReason::CertificateEnded);
            return Judged { stays: false, verified: false };
        }
        let hostname = connection.hostname();
        let verifier = Arc::clone(in_force.unwrap_or(&self.verifier));
        if Arc::ptr_eq(&verifier, &self.verifier) && hostname == self.hostname {
            return Judged { stays: true, verified: false };
        }
        let found = self.renew(verifier, policy, hostname, now);
        let ends = found.err().and_then(|error| Some((outlived(error.failure)?, error)));
        let stays = ends.is_none();
        // One that has just gone has no hostname, which says nothing about it.
        if let Some((why, error)) = ends.filter(|_| connection.is_there()) {
            tracing::warn!(target: "mesh::tls", %error, "a connection is not trusted any more");
            connection.retire(why);
        }
        Judged { stays, verified: true }
    }

    /// Verifies the peer again, by what is believed now, as the endpoint of this name: once, but for a clock that is
    /// before the certificate: nothing else was asked then.
    fn renew(
        &mut self,
        verifier: Arc<Verifier>,
        policy: &UpstreamTls,
        hostname: Option<Arc<str>>,
        now: WallTime,
    ) -> Result<(), NotSecured> {
        let found = expected(policy, &self.address, hostname.as_deref())
            .and_then(|(expected, _)| verifier.verify(&self.chain, &expected, now));
        let is_early = |error: &NotSecured| error.failure == ConnectFailure::TlsNotYetValid;
        if !found.as_ref().is_err_and(is_early) {
            (self.verifier, self.hostname) = (verifier, hostname);
        }
        found.map(drop)
    }
}

/// What a refusal of today means for who was believed yesterday; `None`: it says nothing about the peer.
const fn outlived(failure: ConnectFailure) -> Option<CloseReason> {
    match failure {
        ConnectFailure::TlsNotYetValid | ConnectFailure::TlsRevocationUnknown => None,
        ConnectFailure::TlsExpired => Some(CloseReason::CertificateEnded),
        _ => Some(CloseReason::Untrusted),
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("connections", &self.all.len()).finish_non_exhaustive()
    }
}
