//! [`Clients`]: who is connected to a control plane, and how far each has come.
//!
//! A control plane that pushes without looking does not know whether a change has arrived. So every
//! response is noted when it is sent, and again when its answer comes: accepted (ACK) or refused (NACK).
//!
//! Bounds: [`MAX_STREAMS`] streams, [`MAX_TEXT`] bytes of a client's own words each, [`MAX_UNANSWERED`]
//! responses of a kind that wait for their answer.

use super::connection::Peer;
use super::wire::{Asked, Sent};
use crate::ResourceType;
use crate::protocol::Variant;
use parking_lot::Mutex;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::time::Instant;

/// The most streams at a time; the next is refused.
pub const MAX_STREAMS: usize = 10_000;
/// What is kept of a node's name or of the reason of a NACK, in bytes.
pub const MAX_TEXT: usize = 4 << 10;
/// The most responses of a kind that are remembered until their answer comes; of more, the oldest are
/// forgotten.
pub const MAX_UNANSWERED: usize = 64;

/// Everyone who is connected, and totals since the start. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    shared: Arc<Mutex<Registry>>,
}

/// One stream.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Client {
    /// Counts streams from 1.
    pub id: u64,
    /// What the node calls itself; empty until its first request.
    pub node_id: String,
    /// How it speaks.
    pub variant: Variant,
    /// Where it is; `None`: not known.
    pub peer: Option<SocketAddr>,
    /// The SPIFFE id of its certificate, which was verified; `None`: it has none.
    pub identity: Option<Arc<str>>,
    /// When it connected.
    pub since: SystemTime,
    /// How far it has come, for each kind that it was sent.
    pub kinds: BTreeMap<ResourceType, Progress>,
}

/// How far a client has come with one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// The version that was sent last.
    pub sent: String,
    /// The version that it accepted last; empty: none yet.
    pub acked: String,
    /// What it refused and did not accept since.
    pub nacked: Option<Refusal>,
    /// Counts of responses and their answers.
    pub totals: Totals,
    /// Time from the last response that it accepted to its answer.
    pub lag: Option<Duration>,
    /// Responses without an answer.
    unanswered: VecDeque<Unanswered>,
}

/// A version that a client refused.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Refusal {
    /// The version.
    pub version: String,
    /// Why, in the client's words.
    pub message: String,
}

/// Counts of responses and their answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Totals {
    /// Responses that were sent.
    pub pushes: u64,
    /// Responses that were accepted.
    pub acks: u64,
    /// Responses that were refused.
    pub nacks: u64,
    /// The sum of the times from a response to its acceptance.
    pub lag: Duration,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Unanswered {
    nonce: String,
    version: String,
    at: Instant,
}

#[derive(Debug, Default)]
struct Registry {
    last_id: u64,
    connected: BTreeMap<u64, Client>,
    totals: BTreeMap<ResourceType, Totals>,
    refused_streams: u64,
    refused_connections: u64,
    crowded_out: u64,
}

/// What an answer says of a response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    Ack { version: String, lag: Duration },
    Nack(Refusal),
}

impl Clients {
    /// Who is connected now, the oldest first.
    #[must_use]
    pub fn connected(&self) -> Vec<Client> {
        self.shared.lock().connected.values().cloned().collect()
    }

    /// Counts since the start by kind, of those who are gone, too.
    #[must_use]
    pub fn totals(&self) -> BTreeMap<ResourceType, Totals> {
        self.shared.lock().totals.clone()
    }

    /// How many streams were refused because of [`MAX_STREAMS`].
    #[must_use]
    pub fn refused_streams(&self) -> u64 {
        self.shared.lock().refused_streams
    }

    /// How many connections ended before they were secure.
    #[must_use]
    pub fn refused_connections(&self) -> u64 {
        self.shared.lock().refused_connections
    }

    /// How many connections ended before they were secure because others waited for their place: those are not among
    /// the [refused ones](Self::refused_connections).
    #[must_use]
    pub fn crowded_out_connections(&self) -> u64 {
        self.shared.lock().crowded_out
    }

    #[cfg(feature = "tls")]
    pub(super) fn crowd_out(&self) {
        self.shared.lock().crowded_out += 1;
    }

    #[cfg(feature = "tls")]
    pub(super) fn refuse_connection(&self) {
        self.shared.lock().refused_connections += 1;
    }

    /// Takes a stream in, until what is returned is dropped; `None`: there are too many.
    pub(super) fn connect(&self, variant: Variant, from: &Peer) -> Option<Connected> {
        let mut registry = self.shared.lock();
        if registry.connected.len() >= MAX_STREAMS {
            registry.refused_streams += 1;
            return None;
        }
        registry.last_id += 1;
        let id = registry.last_id;
        let (node_id, kinds, since) = (String::new(), BTreeMap::new(), SystemTime::now());
        let Peer { address: peer, identity, .. } = from.clone();
        let client = Client { id, node_id, variant, peer, identity, since, kinds };
        registry.connected.insert(id, client);
        drop(registry);
        Some(Connected { clients: self.clone(), id })
    }
}

/// A stream's place in the registry; dropping it gives the place back.
#[derive(Debug)]
pub(super) struct Connected {
    clients: Clients,
    id: u64,
}

impl Connected {
    pub(super) const fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn named(&self, node_id: &str) {
        if let Some(client) = self.clients.shared.lock().connected.get_mut(&self.id) {
            client.node_id = cut(node_id);
        }
    }

    /// Notes a response that goes out now.
    pub(super) fn sent(&self, response: &Sent<'_>, now: Instant) {
        let Some(kind) = ResourceType::from_type_url(response.type_url) else { return };
        let registry = &mut *self.clients.shared.lock();
        registry.totals.entry(kind).or_default().pushes += 1;
        if let Some(client) = registry.connected.get_mut(&self.id) {
            client.kinds.entry(kind).or_default().sent(response, now);
        }
    }

    /// Notes what a request answers; `None`: nothing that waits for an answer.
    pub(super) fn answered(
        &self,
        request: &Asked<'_>,
        now: Instant,
    ) -> Option<(ResourceType, Answer)> {
        let kind = ResourceType::from_type_url(request.type_url)?;
        let registry = &mut *self.clients.shared.lock();
        let client = registry.connected.get_mut(&self.id)?;
        let variant = client.variant;
        let answer = client.kinds.get_mut(&kind)?.answered(request, variant, now)?;
        registry.totals.entry(kind).or_default().count(&answer);
        Some((kind, answer))
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.clients.shared.lock().connected.remove(&self.id);
    }
}

impl Progress {
    fn sent(&mut self, response: &Sent<'_>, now: Instant) {
        self.totals.pushes += 1;
        response.version.clone_into(&mut self.sent);
        if self.unanswered.len() >= MAX_UNANSWERED {
            self.unanswered.pop_front();
        }
        self.unanswered.push_back(Unanswered {
            nonce: response.nonce.to_owned(),
            version: response.version.to_owned(),
            at: now,
        });
    }

    fn answered(&mut self, request: &Asked<'_>, variant: Variant, now: Instant) -> Option<Answer> {
        // A request that repeats a nonce changes names and answers nothing: its response is gone from here.
        let at = self.unanswered.iter().position(|sent| sent.nonce == request.nonce)?;
        // A client answers in order: what is older gets no answer any more.
        let Unanswered { version, at, .. } = self.unanswered.drain(..=at).next_back()?;
        let answer = match request.error {
            Some(message) => Answer::Nack(Refusal { version, message: cut(message) }),
            None => Answer::Ack { version, lag: now.saturating_duration_since(at) },
        };
        self.totals.count(&answer);
        match &answer {
            Answer::Nack(refusal) => self.nacked = Some(refusal.clone()),
            Answer::Ack { version, lag } => {
                // One version may come in two incremental responses, what is new and what is gone: that
                // the second is accepted says nothing of the first.
                let half = |refusal: &mut Refusal| {
                    variant == Variant::StateOfTheWorld || refusal.version != *version
                };
                self.nacked.take_if(half);
                if self.nacked.is_none() {
                    self.acked.clone_from(version);
                }
                self.lag = Some(*lag);
            }
        }
        Some(answer)
    }

    /// How many responses have no answer yet, [`MAX_UNANSWERED`] at most.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }
}

impl Totals {
    fn count(&mut self, answer: &Answer) {
        match answer {
            Answer::Ack { lag, .. } => {
                self.acks += 1;
                self.lag = self.lag.saturating_add(*lag);
            }
            Answer::Nack(_) => self.nacks += 1,
        }
    }
}

/// A client's words, [`MAX_TEXT`] bytes at most.
pub(super) fn cut(text: &str) -> String {
    let most = text.len().min(MAX_TEXT);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const CDS: &str = ResourceType::Cluster.type_url();

    fn answer<'a>(nonce: &'a str, error: Option<&'a str>) -> Asked<'a> {
        Asked { type_url: CDS, nonce, error }
    }

    fn after(millis: u64, begun: Instant) -> Instant {
        begun + Duration::from_millis(millis)
    }

    #[test]
    fn an_answer_is_counted_once_and_its_lag_is_known() {
        let (clients, begun) = (Clients::default(), Instant::now());
        let client = clients.connect(Variant::StateOfTheWorld, &Peer::default()).unwrap();
        client.sent(&Sent { type_url: CDS, nonce: "1", version: "a" }, begun);
        let answered = client.answered(&answer("1", None), after(20, begun));
        let lag = Duration::from_millis(20);
        let ack = Answer::Ack { version: "a".to_owned(), lag };
        assert_eq!(answered, Some((ResourceType::Cluster, ack)));
        assert_eq!(client.answered(&answer("1", None), after(30, begun)), None, "only new names");
        assert_eq!(client.answered(&answer("", None), after(30, begun)), None);
        let totals = Totals { pushes: 1, acks: 1, nacks: 0, lag };
        assert_eq!(clients.totals()[&ResourceType::Cluster], totals);
        drop(client);
        assert_eq!(clients.connected(), []);
        assert_eq!(clients.totals()[&ResourceType::Cluster], totals, "totals stay");
    }

    #[test]
    fn a_refusal_stays_until_something_else_is_accepted() {
        for (variant, stays) in [(Variant::StateOfTheWorld, false), (Variant::Delta, true)] {
            let (clients, now) = (Clients::default(), Instant::now());
            let client = clients.connect(variant, &Peer::default()).unwrap();
            let progress = || clients.connected()[0].kinds[&ResourceType::Cluster].clone();
            for (nonce, version, error) in [("1", "a", Some("no")), ("2", "a", None)] {
                client.sent(&Sent { type_url: CDS, nonce, version }, now);
                client.answered(&answer(nonce, error), now);
            }
            assert_eq!(progress().nacked.is_some(), stays, "{variant:?}");
            assert_eq!(progress().acked, if stays { "" } else { "a" }, "{variant:?}");
            client.sent(&Sent { type_url: CDS, nonce: "3", version: "b" }, now);
            client.answered(&answer("3", None), now);
            assert_eq!((progress().nacked, progress().acked), (None, "b".to_owned()));
        }
    }

    #[test]
    fn bounds_hold() {
        let (clients, now) = (Clients::default(), Instant::now());
        let client = clients.connect(Variant::Delta, &Peer::default()).unwrap();
        client.named(&"ä".repeat(MAX_TEXT));
        for nonce in 0..MAX_UNANSWERED + 9 {
            let nonce = nonce.to_string();
            client.sent(&Sent { type_url: CDS, nonce: &nonce, version: "a" }, now);
        }
        let connected = &clients.connected()[0];
        assert_eq!(connected.node_id.len(), MAX_TEXT);
        assert_eq!(connected.kinds[&ResourceType::Cluster].unanswered(), MAX_UNANSWERED);
        let others: Vec<_> =
            (0..MAX_STREAMS).map(|_| clients.connect(Variant::Delta, &Peer::default())).collect();
        assert_eq!(others.iter().flatten().count(), MAX_STREAMS - 1);
        assert_eq!(clients.refused_streams(), 1);
    }
}
