//! [`Peers`]: a cluster's connections, by how they are secured and to whom.
//!
//! Who a peer is it says itself, though it proves it: so the number of peers that are told apart is bounded.
//! Counted when a connection is made, which is no matter of nanoseconds: a lock will do.

use super::events::Security;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// The most peers of one cluster that are told apart, over its life; later ones count as `other`.
pub(crate) const MAX_PEERS: usize = 100;

/// Counts by security and peer.
#[derive(Default)]
pub(super) struct Peers(Mutex<BTreeMap<Security, u64>>);

impl Peers {
    /// A connection became usable.
    pub(super) fn count(&self, security: &Security) {
        let mut known = self.0.lock();
        if let Some(count) = known.get_mut(security) {
            *count += 1;
            return;
        }
        let is_new = known.len() < MAX_PEERS || *security == Security::Plaintext;
        let security = if is_new { security.clone() } else { security.of_other() };
        *known.entry(security).or_default() += 1;
    }

    /// All counts.
    pub(super) fn read(&self) -> Vec<(Security, u64)> {
        self.0.lock().iter().map(|(security, count)| (security.clone(), *count)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_are_told_apart_up_to_a_bound() {
        let peers = Peers::default();
        for number in 0..MAX_PEERS + 3 {
            let security = Security::MutualTls(format!("spiffe://a/{number:03}").into());
            (0..2).for_each(|_| peers.count(&security));
        }
        peers.count(&Security::Plaintext);
        let found = peers.read();
        // And plaintext, and the others.
        assert_eq!(found.len(), MAX_PEERS + 2);
        assert!(found.contains(&(Security::Plaintext, 1)));
        assert!(found.contains(&(Security::MutualTls("other".into()), 6)));
        assert!(found.contains(&(Security::MutualTls("spiffe://a/007".into()), 2)));
    }
}
