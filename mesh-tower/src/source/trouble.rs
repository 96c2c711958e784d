//! [`Trouble`]: why calls have no answer of their source, in words for whoever made them.
//!
//! A call that waited for its source in vain, or whose cluster the source did not give, has a reason
//! ([`Reason`](mesh_core::local_reply::Reason)) that says where it ended. What the caller wants to know is what
//! is wrong over there; only the source knows that, so it leaves it here. It is read when a call fails, and
//! only then.

use mesh_core::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The most clusters that are named in one text.
const MAX_NAMED: usize = 3;

/// A server that can't be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Unreachable {
    since: Timestamp,
    attempts: u32,
    error: Arc<str>,
}

/// What is wrong with a source. Bounded by its servers and by the clusters that it names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Trouble {
    unreachable: BTreeMap<Arc<str>, Unreachable>,
    missing: BTreeMap<Arc<str>, Arc<str>>,
}

impl Trouble {
    /// A server can't be reached: so many attempts in a row failed, the last one with this error.
    pub(super) fn unreachable(
        &mut self,
        server: &Arc<str>,
        attempts: u32,
        error: &Arc<str>,
        now: Timestamp,
    ) {
        let since = self.unreachable.get(server).map_or(now, |before| before.since);
        let error = Arc::clone(error);
        self.unreachable.insert(Arc::clone(server), Unreachable { since, attempts, error });
    }

    /// A server answers.
    pub(super) fn reachable(&mut self, server: &str) {
        self.unreachable.remove(server);
    }

    /// The clusters that routes name and the source does not give, each with the reason.
    pub(super) fn missing(&mut self, clusters: BTreeMap<Arc<str>, Arc<str>>) {
        self.missing = clusters;
    }

    /// Why a call to `authority` has no answer yet.
    pub(crate) fn of_authority(&self, authority: &str, now: Timestamp) -> Arc<str> {
        if self.unreachable.is_empty() {
            let why = format!("the source of configuration has not answered for `{authority}` yet");
            return why.into();
        }
        let of = |(server, of): (&Arc<str>, &Unreachable)| {
            let Unreachable { since, attempts, error } = of;
            let seconds = now.saturating_duration_since(*since).as_secs();
            let attempts = match attempts {
                1 => "1 attempt".to_owned(),
                several => format!("{several} attempts"),
            };
            format!(
                "control plane {server} unreachable for {seconds} s, {attempts}, last error: {error}"
            )
        };
        self.unreachable.iter().map(of).collect::<Vec<_>>().join("; ").into()
    }

    /// Why a cluster is not there, if the source said so of any.
    pub(crate) fn of_clusters(&self) -> Option<Arc<str>> {
        let of = |(name, why): (&Arc<str>, &Arc<str>)| format!("cluster `{name}`: {why}");
        let mut named: Vec<_> = self.missing.iter().take(MAX_NAMED).map(of).collect();
        if self.missing.len() > MAX_NAMED {
            named.push(format!("and {} more", self.missing.len() - MAX_NAMED));
        }
        (!named.is_empty()).then(|| named.join("; ").into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(seconds * 1000)
    }

    #[test]
    fn what_is_unreachable_says_since_when_and_why() {
        let mut trouble = Trouble::default();
        let text = |trouble: &Trouble| trouble.of_authority("shop", at(20)).to_string();
        let none = "the source of configuration has not answered for `shop` yet";
        assert_eq!(text(&trouble), none);
        trouble.unreachable(&"a:1".into(), 1, &"refused".into(), at(10));
        let one = "control plane a:1 unreachable for 10 s, 1 attempt, last error: refused";
        assert_eq!(text(&trouble), one);
        trouble.unreachable(&"a:1".into(), 3, &"bad certificate".into(), at(19));
        let one = "control plane a:1 unreachable for 10 s, 3 attempts, last error: bad certificate";
        assert_eq!(text(&trouble), one);
        trouble.unreachable(&"b:1".into(), 1, &"no".into(), at(20));
        let other = "control plane b:1 unreachable for 0 s, 1 attempt, last error: no";
        assert_eq!(text(&trouble), format!("{one}; {other}"));
        trouble.reachable("a:1");
        assert_eq!(text(&trouble), other);
        trouble.reachable("b:1");
        assert_eq!(text(&trouble), none);
    }

    #[test]
    fn what_is_missing_is_named_by_the_first() {
        let mut trouble = Trouble::default();
        assert_eq!(trouble.of_clusters(), None);
        let missing =
            |names: &[&str]| names.iter().map(|name| (Arc::from(*name), Arc::from("no"))).collect();
        trouble.missing(missing(&["a"]));
        assert_eq!(trouble.of_clusters().as_deref(), Some("cluster `a`: no"));
        trouble.missing(missing(&["a", "b", "c", "d", "e"]));
        let several = "cluster `a`: no; cluster `b`: no; cluster `c`: no; and 2 more";
        assert_eq!(trouble.of_clusters().as_deref(), Some(several));
    }
}
