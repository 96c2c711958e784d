//! What became of calls to destinations that no virtual host serves: counted, told once each, and
//! written down as the list that would be needed.
//!
//! Nothing here is on the way of a call that a route takes. Bounds: [`MAX_DESTINATIONS`] are remembered
//! and told; of more, the calls are counted, and it is told once that there are more.

use super::names::{Metric, label_values};
use mesh_core::config::egress_rule;
use mesh_core::egress::{EgressRefusal, EgressVerdict};
use mesh_core::head::Peer;
use mesh_core::model::EgressHost;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::fmt::{self, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The most destinations that are remembered.
pub const MAX_DESTINATIONS: usize = 1024;

label_values! {
    /// What became of a call to an unknown destination (label `outcome` of `mesh_egress_calls_total`).
    pub(crate) enum EgressOutcome {
        /// It left: everything may, or a rule lets it.
        Allowed = "allowed",
        /// It left, and would be refused.
        Logged = "logged",
        /// It was refused.
        Refused = "refused",
    }
}

/// Calls by what became of them and why: `None`: it may leave.
type Cells = [[AtomicU64; EgressRefusal::ALL.len() + 1]; EgressOutcome::ALL.len()];

/// What became of calls to unknown destinations.
#[derive(Debug, Default)]
pub(crate) struct EgressLog {
    calls: Cells,
    /// Connections that something was against.
    connections: Cells,
    seen: Mutex<Seen>,
    /// Where the list is written to.
    learn: Mutex<Option<Arc<Path>>>,
}

#[derive(Debug, Default)]
struct Seen {
    destinations: BTreeMap<Arc<str>, Known>,
    /// Changes with every new one.
    version: u64,
    /// Whether it was told that there are more than are remembered.
    told_of_more: bool,
}

/// What is known of a destination. The two verdicts are of different times, so one is no news of the other.
#[derive(Debug, Default)]
struct Known {
    calls: u64,
    /// Who called it last.
    source: Source,
    /// What is against calls to it.
    routing: Option<EgressRefusal>,
    /// What is against where its name led the last time.
    leads: Option<EgressRefusal>,
    /// What was told of calls to it, and of where its name leads: once each, or callers that change between two of them
    /// fill the log.
    told: [[bool; EgressRefusal::ALL.len() + 1]; 2],
}

impl Known {
    /// Whether this is told for the first time.
    fn is_untold(&mut self, of: Of, refusal: Option<EgressRefusal>) -> bool {
        !std::mem::replace(&mut self.told[of as usize][place(refusal)], true)
    }
}

#[derive(Clone, Copy)]
enum Of {
    Calls,
    Names,
}

/// Who calls.
#[derive(Clone, Debug, Default)]
enum Source {
    /// This process, on nobody's behalf.
    #[default]
    Process,
    /// Somebody who has proven nothing.
    Address(IpAddr),
    Identity(Arc<str>),
}

impl Source {
    fn of(peer: Peer<'_>) -> Self {
        match (peer.identity, peer.address) {
            (Some(identity), _) => Self::Identity(identity.into()),
            (None, Some(address)) => Self::Address(address.ip()),
            (None, None) => Self::Process,
        }
    }

    /// Whether it is this one: the same callers come again and again.
    fn is(&self, peer: Peer<'_>) -> bool {
        match self {
            Self::Identity(own) => peer.identity == Some(&**own),
            Self::Address(own) => {
                peer.identity.is_none() && peer.address.is_some_and(|peer| peer.ip() == *own)
            }
            Self::Process => peer.identity.is_none() && peer.address.is_none(),
        }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Process => f.write_str("this process"),
            Self::Address(address) => address.fmt(f),
            Self::Identity(identity) => f.write_str(identity),
        }
    }
}

/// What a call is to those who are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    None,
    /// It is to be told.
    Told,
    /// Its destination is the first that is not remembered.
    TooMany,
}

/// A destination that no virtual host serves, and that calls were made to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EgressDestination {
    /// Host and port, however the calls wrote them: the host in lower case and without a last dot, and without a port that of
    /// their scheme ([`mesh_core::egress::destination`]).
    pub authority: Arc<str>,
    /// How many calls there were.
    pub calls: u64,
    /// Why it may not be called; `None`: it may. Of a name that leads to a private address it is that, whatever else is
    /// against it.
    pub refusal: Option<EgressRefusal>,
}

impl EgressLog {
    /// A call to `authority`, a [`destination`](mesh_core::egress::destination), made for `peer` if that is known.
    pub(crate) fn called(&self, authority: &str, verdict: EgressVerdict, peer: Peer<'_>) {
        let (outcome, refusal) = parts(verdict);
        self.calls[outcome as usize][place(refusal)].fetch_add(1, Ordering::Relaxed);
        match self.remember(authority, refusal, peer) {
            News::None => return,
            News::Told => {}
            News::TooMany => {
                tracing::warn!(
                    target: "mesh::egress", destination = authority, most = MAX_DESTINATIONS,
                    "there are more unknown destinations than are remembered: calls to others are counted, and \
                     neither told nor learnt"
                );
                return;
            }
        }
        let source = tracing::field::display(Source::of(peer));
        match (outcome, refusal) {
            (EgressOutcome::Refused, Some(why)) => tracing::warn!(
                target: "mesh::egress", destination = authority, source, rule = why.code(),
                "a call was refused: {why}"
            ),
            (_, Some(why)) => tracing::warn!(
                target: "mesh::egress", destination = authority, source, rule = why.code(),
                "a call left that would be refused: {why}"
            ),
            (_, None) => tracing::debug!(
                target: "mesh::egress", destination = authority, source, "a call left"
            ),
        }
    }

    /// The name of a destination was resolved for a connection. `against`: one of its addresses is not admitted.
    pub(crate) fn connects(&self, authority: &str, against: Option<EgressVerdict>) {
        let (outcome, refusal) = parts(against.unwrap_or(EgressVerdict::Allowed(None)));
        if refusal.is_some() {
            self.connections[outcome as usize][place(refusal)].fetch_add(1, Ordering::Relaxed);
        }
        self.leads_to(authority, against);
    }

    /// The name of a destination leads there, or would. `against`: one of its addresses is not admitted.
    pub(crate) fn leads_to(&self, authority: &str, against: Option<EgressVerdict>) {
        let (outcome, refusal) = parts(against.unwrap_or(EgressVerdict::Allowed(None)));
        let Some(source) = self.leads(authority, refusal) else { return };
        let source = tracing::field::display(source);
        match (outcome, refusal) {
            (EgressOutcome::Refused, Some(why)) => tracing::warn!(
                target: "mesh::egress", destination = authority, source, rule = why.code(),
                "an address was refused: {why}"
            ),
            (_, Some(why)) => tracing::warn!(
                target: "mesh::egress", destination = authority, source, rule = why.code(),
                "a connection is made that would be refused: {why}"
            ),
            (_, None) => {}
        }
    }

    /// Whether it is to be told: it is new, or something is wrong with it that was not before.
    fn remember(&self, authority: &str, refusal: Option<EgressRefusal>, peer: Peer<'_>) -> News {
        let mut seen = self.seen.lock();
        if let Some(known) = seen.destinations.get_mut(authority) {
            known.calls = known.calls.saturating_add(1);
            if !known.source.is(peer) {
                known.source = Source::of(peer);
            }
            let is_untold = known.is_untold(Of::Calls, refusal);
            // That is one call's, and says nothing of the destination.
            if refusal != Some(EgressRefusal::AuthorityMismatch) {
                let is_news = known.routing != refusal;
                known.routing = refusal;
                seen.version += u64::from(is_news);
            }
            return if is_untold { News::Told } else { News::None };
        }
        if seen.destinations.len() >= MAX_DESTINATIONS {
            let is_first = !std::mem::replace(&mut seen.told_of_more, true);
            // Whoever writes the list says so.
            seen.version += u64::from(is_first);
            return if is_first { News::TooMany } else { News::None };
        }
        let source = Source::of(peer);
        let mut known = Known { calls: 1, source, routing: refusal, ..Known::default() };
        known.is_untold(Of::Calls, refusal);
        seen.destinations.insert(authority.into(), known);
        seen.version += 1;
        News::Told
    }

    /// Who called last, if it is news where the name of a destination leads: a connection is for all callers. Of those
    /// that are not remembered, nothing is news.
    fn leads(&self, authority: &str, refusal: Option<EgressRefusal>) -> Option<Source> {
        let mut seen = self.seen.lock();
        let known = seen.destinations.get_mut(authority)?;
        let is_untold = known.is_untold(Of::Names, refusal);
        let is_news = known.leads != refusal;
        known.leads = refusal;
        let source = is_untold.then(|| known.source.clone());
        seen.version += u64::from(is_news);
        source
    }

    /// The destinations, by name.
    pub(crate) fn destinations(&self) -> Vec<EgressDestination> {
        let seen = self.seen.lock();
        let destinations = seen.destinations.iter().map(|(authority, known)| EgressDestination {
            authority: Arc::clone(authority),
            calls: known.calls,
            refusal: known.leads.or(known.routing),
        });
        destinations.collect()
    }

    /// The list of destinations is written to `path` from now on; `None`: nowhere.
    pub(crate) fn learn_to(&self, path: Option<Arc<Path>>) {
        *self.learn.lock() = path;
    }

    /// Where the list is written to.
    pub(crate) fn learns_to(&self) -> Option<Arc<Path>> {
        self.learn.lock().clone()
    }

    /// Changes when the destinations do, their numbers of calls aside.
    pub(crate) fn version(&self) -> u64 {
        self.seen.lock().version
    }

    /// Gives `visit` all counts of a metric that are not zero.
    pub(crate) fn visit(
        &self,
        metric: Metric,
        mut visit: impl FnMut(&'static str, &'static str, u64),
    ) {
        let cells = match metric {
            Metric::EgressConnections => &self.connections,
            _ => &self.calls,
        };
        for (outcome, cells) in EgressOutcome::ALL.iter().zip(cells) {
            let whys = std::iter::once("").chain(EgressRefusal::ALL.map(EgressRefusal::code));
            for (why, cell) in whys.zip(cells) {
                let times = cell.load(Ordering::Relaxed);
                if times > 0 {
                    visit(outcome.as_str(), why, times);
                }
            }
        }
    }
}

const fn parts(verdict: EgressVerdict) -> (EgressOutcome, Option<EgressRefusal>) {
    match verdict {
        EgressVerdict::Allowed(_) => (EgressOutcome::Allowed, None),
        EgressVerdict::Logged(why) => (EgressOutcome::Logged, Some(why)),
        EgressVerdict::Refused(why) => (EgressOutcome::Refused, Some(why)),
    }
}

fn place(refusal: Option<EgressRefusal>) -> usize {
    let of = |why| EgressRefusal::ALL.iter().position(|one| *one == why);
    refusal.and_then(of).map_or(0, |at| at + 1)
}

/// The `egress` of a `mesh.yaml` that lets these destinations.
///
/// What was refused for another reason than that it is not listed stands as a comment: a list does not
/// cure it, or somebody should look first. So does that there may be more destinations than are remembered, and what is no rule, or one for more than itself: callers write what they
/// like.
#[must_use]
pub fn allow_list(destinations: &[EgressDestination]) -> String {
    let mut text = String::from("egress:\n  allow:\n");
    if destinations.len() >= MAX_DESTINATIONS {
        // A `String` takes everything.
        let _written = writeln!(
            text,
            "    # These are {MAX_DESTINATIONS}, as many as are remembered: there may be more."
        );
    }
    for EgressDestination { authority, calls, refusal } in destinations {
        let is_curable = matches!(refusal, None | Some(EgressRefusal::NotListed));
        let why = refusal.map_or("listed or allowed", EgressRefusal::code);
        let (comment, no_rule) = match (is_rule_for_itself(authority), is_curable) {
            (true, true) => ("", ""),
            (true, false) => ("# ", ""),
            (false, _) => ("# ", ", no rule"),
        };
        // A `String` takes everything.
        let _written =
            writeln!(text, "    {comment}- {authority:?}  # {calls} calls, {why}{no_rule}");
    }
    text
}

/// Whether an authority is an entry of the list that lets it alone: no suffix, and no block of several addresses.
fn is_rule_for_itself(authority: &str) -> bool {
    match egress_rule(authority).map(|rule| rule.host) {
        Some(EgressHost::Exact(_)) => true,
        Some(EgressHost::Addresses(_)) => !authority.contains('/'),
        Some(EgressHost::Suffix(_)) | None => false,
    }
}

#[cfg(test)]
mod tests;
