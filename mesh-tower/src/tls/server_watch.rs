//! [`Watched`]: which accepted connections have outlived what they were accepted by.
//!
//! A client is verified once, at its handshake, and its connection may live for days. So each is looked at
//! once a second:
//!
//! - Its certificate is over, or ours that it was shown: the connection is to end.
//! - What is believed now is not what was believed then: its chain is verified again, by the roots, names and
//!   lists in force. A root that was withdrawn, or a list that has it, ends the connection.
//! - A certificate of ours that was renewed changes nothing: the old one is good until its end.
//!
//! What says nothing about the client ends nothing: an identity that is not there, a list that is over or
//! missing, a clock that went back. Another policy drains the whole chain, elsewhere; but who would not be let in by it
//! makes no more calls meanwhile.
//! - A connection that is to end for another reason is looked at on.
//!
//! One timer for the connections of a server, while there are any; requests know nothing of it. Where looking at one
//! panics, that is told, and it is looked at again with the others.

use super::server::ChainTls;
use super::server_refused::{ClientRefusal, ClientRefused};
use crate::server::{Outlived, Over};
use crate::unwind;
use bytes::Bytes;
use mesh_core::WallTime;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;

/// How often is looked.
pub(crate) const LOOK: Duration = Duration::from_secs(1);

/// How many chains are verified before others may run.
const BATCH: usize = 16;

/// What a connection was accepted by.
#[derive(Debug)]
pub(crate) struct Evidence {
    /// The filter chain.
    pub(crate) chain: Arc<str>,
    /// What verified the client last.
    pub(crate) tls: Arc<ChainTls>,
    /// What the client showed, in DER, its own first; empty: nothing.
    pub(crate) shown: Arc<[Bytes]>,
    /// The end of the client's certificate; `None`: it showed none.
    pub(crate) peer_end: Option<WallTime>,
    /// The end of ours that it was shown.
    pub(crate) own_end: Option<WallTime>,
    /// From when on the connection takes no requests.
    pub(crate) over: Over,
}

/// A connection, and how it is told.
#[derive(Debug)]
pub(crate) struct One {
    evidence: Evidence,
    /// `None`: it was told that ours is over, and may outlive more.
    tell: Option<oneshot::Sender<Outlived>>,
}

/// The connections that are looked at.
#[derive(Default)]
pub(crate) struct Watched(Mutex<State>);

#[derive(Default)]
struct State {
    all: Vec<One>,
    /// Somebody looks.
    is_running: bool,
}

/// What is in force, by the name of the filter chain; a chain that can't do TLS now is left out.
pub(crate) type InForce = BTreeMap<Arc<str>, Arc<ChainTls>>;

impl Watched {
    /// Looks after a connection from now on. With `true`, somebody has to look from now on.
    pub(crate) fn add(&self, evidence: Evidence) -> (oneshot::Receiver<Outlived>, bool) {
        let (tell, told) = oneshot::channel();
        let mut state = self.0.lock();
        state.all.push(One { evidence, tell: Some(tell) });
        let was_running = std::mem::replace(&mut state.is_running, true);
        (told, !was_running)
    }

    /// Those that are still open, to be looked at.
    pub(crate) fn take(&self) -> Vec<One> {
        let mut all = std::mem::take(&mut self.0.lock().all);
        all.retain(One::is_open);
        all
    }

    /// Gives back those that stay. `false`: there is nothing to look at any more.
    pub(crate) fn put_back(&self, mut all: Vec<One>) -> bool {
        let mut state = self.0.lock();
        state.all.append(&mut all);
        state.is_running = !state.all.is_empty();
        state.is_running
    }
}

/// The filter chains of these connections.
pub(crate) fn chains(all: &[One]) -> impl Iterator<Item = &Arc<str>> {
    all.iter().map(|one| &one.evidence.chain)
}

/// Tells those that have outlived what they were accepted by; the others.
pub(crate) async fn look(all: Vec<One>, in_force: &InForce, now: WallTime) -> Vec<One> {
    let (mut stay, mut verified) = (Vec::with_capacity(all.len()), 0_usize);
    for mut one in all {
        let next = in_force.get(&one.evidence.chain).filter(|next| one.evidence.is_older(next));
        if next.is_some() {
            verified += 1;
            if verified.is_multiple_of(BATCH) {
                tokio::task::yield_now().await;
            }
        }
        let outlived = unwind::call(|| one.evidence.outlived(next, now));
        match outlived.or_else(panicked).flatten() {
            None => stay.push(one),
            Some(why) => {
                if let Some(tell) = one.tell.take() {
                    // It may have ended meanwhile.
                    let _has_ended = tell.send(why);
                }
                if why == Outlived::OwnCertificateEnded {
                    one.evidence.own_end = None;
                    stay.push(one);
                } else {
                    one.evidence.over.soon();
                }
            }
        }
    }
    stay
}

/// Nothing is known by it.
pub(crate) fn panicked<T>() -> Option<T> {
    tracing::error!(target: "mesh::server", "looking after open connections panicked; they stay, and are looked at again");
    None
}

impl One {
    fn is_open(&self) -> bool {
        self.tell.as_ref().map_or_else(|| self.evidence.over.is_shared(), |tell| !tell.is_closed())
    }
}

impl Evidence {
    /// Whether `next` is something else than what verified the client last.
    fn is_older(&self, next: &Arc<ChainTls>) -> bool {
        !Arc::ptr_eq(&self.tls, next)
    }

    /// Why the connection is to end, by the clock and by what is in force `next`, if that is another one.
    fn outlived(&mut self, next: Option<&Arc<ChainTls>>, now: WallTime) -> Option<Outlived> {
        let is_over = |end: Option<WallTime>| end.is_some_and(|end| now > end);
        if is_over(self.peer_end) {
            return Some(Outlived::CertificateEnded);
        }
        if is_over(self.own_end) {
            return Some(Outlived::OwnCertificateEnded);
        }
        let next = next?;
        match next.verify_again(&self.shown, now) {
            Ok(()) => {
                self.tls = Arc::clone(next);
                None
            }
            Err(refused) => {
                let why = outlived(&refused);
                if why.is_some() {
                    tracing::warn!(target: "mesh::server", chain = %self.chain, "a connection is not trusted any more: {refused}");
                } else if !matches!(refused.reason, ClientRefusal::NotYetValid(_)) {
                    // Once: what is in force says nothing about this client. When the clock is right again, it does.
                    self.tls = Arc::clone(next);
                }
                why
            }
        }
    }
}

/// What a refusal of today means for who was accepted yesterday.
const fn outlived(refused: &ClientRefused) -> Option<Outlived> {
    match &refused.reason {
        ClientRefusal::Expired(_) => Some(Outlived::CertificateEnded),
        ClientRefusal::Revoked => Some(Outlived::Revoked),
        ClientRefusal::Unreadable(_)
        | ClientRefusal::UnknownIssuer
        | ClientRefusal::NoBundle(_)
        | ClientRefusal::NoSpiffeId(_)
        | ClientRefusal::SignsOthers
        | ClientRefusal::Names(_)
        | ClientRefusal::NotForClients
        | ClientRefusal::NoCertificate
        | ClientRefusal::Other(_) => Some(Outlived::Untrusted),
        ClientRefusal::NotYetValid(_)
        | ClientRefusal::RevocationUnknown
        | ClientRefusal::RevocationListExpired(_) => None,
    }
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").field("connections", &self.0.lock().all.len()).finish()
    }
}
