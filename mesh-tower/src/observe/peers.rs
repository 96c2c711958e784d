//! [`Peers`]: connections, and the calls on them, by how they are secured and to whom.
//!
//! Who a peer is it says itself, though it proves it: so the number of peers that are told apart is bounded.
//! Connections are counted when they are made, which is no matter of nanoseconds: a lock will do. Calls are
//! counted by their connection, in a cell of its own, which is read from here: a call takes no lock, and two
//! connections share no cache line.

use super::events::Security;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most peers of one cluster, or of one listener, that are told apart, over its life; later ones count
/// as `other`.
pub(crate) const MAX_PEERS: usize = 100;

/// Counts by security and peer.
#[derive(Default)]
pub(super) struct Peers(Mutex<BTreeMap<Security, Counts>>);

#[derive(Default)]
struct Counts {
    connections: u64,
    /// Calls on connections that have ended.
    calls: u64,
    /// Of those that may be open.
    open: Vec<Arc<AtomicU64>>,
}

/// What was counted of one peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counted {
    pub(super) connections: u64,
    pub(super) calls: u64,
}

impl Counts {
    fn opened(&mut self, calls: Option<&Arc<AtomicU64>>) {
        self.connections += 1;
        self.settle();
        self.open.extend(calls.cloned());
    }

    /// Takes over the counts of connections that have ended: nobody else has their cell any more.
    fn settle(&mut self) {
        let ended = &mut self.calls;
        self.open.retain_mut(|calls| match Arc::get_mut(calls) {
            Some(calls) => {
                *ended += *calls.get_mut();
                false
            }
            None => true,
        });
    }

    fn read(&mut self) -> Counted {
        self.settle();
        let open = self.open.iter().map(|calls| calls.load(Ordering::Relaxed));
        Counted { connections: self.connections, calls: self.calls + open.sum::<u64>() }
    }
}

impl Peers {
    /// A connection became usable, on which so many calls are sent.
    pub(super) fn count(&self, security: &Security, calls: Option<&Arc<AtomicU64>>) {
        let mut known = self.0.lock();
        if let Some(counts) = known.get_mut(security) {
            counts.opened(calls);
            return;
        }
        let is_new = known.len() < MAX_PEERS || *security == Security::Plaintext;
        let security = if is_new { security.clone() } else { security.of_other() };
        known.entry(security).or_default().opened(calls);
    }

    /// All counts.
    pub(super) fn read(&self) -> Vec<(Security, Counted)> {
        self.0
            .lock()
            .iter_mut()
            .map(|(security, counts)| (security.clone(), counts.read()))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counted(connections: u64, calls: u64) -> Counted {
        Counted { connections, calls }
    }

    #[test]
    fn peers_are_told_apart_up_to_a_bound() {
        let peers = Peers::default();
        for number in 0..MAX_PEERS + 3 {
            let security = Security::MutualTls(format!("spiffe://a/{number:03}").into());
            let calls = Arc::new(AtomicU64::new(5));
            (0..2).for_each(|_| peers.count(&security, Some(&calls)));
        }
        peers.count(&Security::Plaintext, None);
        let found = peers.read();
        // And plaintext, and the others.
        assert_eq!(found.len(), MAX_PEERS + 2);
        assert!(found.contains(&(Security::Plaintext, counted(1, 0))));
        let other = Security::MutualTls("other".into());
        let (_, of_others) = found.iter().find(|(security, _)| *security == other).unwrap();
        assert_eq!(of_others.connections, 6);
        let seventh = Security::MutualTls("spiffe://a/007".into());
        assert!(found.iter().any(|(security, n)| *security == seventh && n.connections == 2));
    }

    #[test]
    fn calls_count_while_their_connection_is_open_and_after() {
        let peers = Peers::default();
        let security = Security::Tls("a".into());
        let (first, second) = (Arc::<AtomicU64>::default(), Arc::<AtomicU64>::default());
        peers.count(&security, Some(&first));
        peers.count(&security, Some(&second));
        first.fetch_add(3, Ordering::Relaxed);
        second.fetch_add(4, Ordering::Relaxed);
        assert_eq!(peers.read(), [(security.clone(), counted(2, 7))]);
        drop(first);
        assert_eq!(peers.read(), [(security.clone(), counted(2, 7))]);
        second.fetch_add(1, Ordering::Relaxed);
        drop(second);
        peers.count(&security, None);
        assert_eq!(peers.read(), [(security, counted(3, 8))]);
    }
}
