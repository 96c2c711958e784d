//! What became of calls to destinations that no virtual host serves: counted, told once each, and
//! written down as the list that would be needed.
//!
//! Nothing here is on the way of a call that a route takes. Bounds: [`MAX_DESTINATIONS`] are remembered
//! and told; of more, the calls are counted.

use super::names::{Metric, label_values};
use mesh_core::config::egress_rule;
use mesh_core::egress::{EgressRefusal, EgressVerdict};
use mesh_core::head::port_start;
use mesh_core::model::EgressHost;
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::Write as _;
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
}

/// What is known of a destination. The two verdicts are of different times, so one is no news of the other.
#[derive(Debug, Default)]
struct Known {
    calls: u64,
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

/// A destination that no virtual host serves, and that calls were made to.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct EgressDestination {
    /// Host and port, as the calls wrote them; without one, that of their scheme.
    pub authority: Arc<str>,
    /// How many calls there were.
    pub calls: u64,
    /// Why it may not be called; `None`: it may. Of a name that leads to a private address it is that, whatever else is
    /// against it.
    pub refusal: Option<EgressRefusal>,
}

impl EgressLog {
    /// A call to `authority`, made for `source` if that is known.
    pub(crate) fn called(&self, authority: &str, verdict: EgressVerdict, source: Option<&str>) {
        let (outcome, refusal) = parts(verdict);
        self.calls[outcome as usize][place(refusal)].fetch_add(1, Ordering::Relaxed);
        if !self.remember(authority, refusal) {
            return;
        }
        let source = source.unwrap_or("this process");
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
        if !self.leads(authority, refusal) {
            return;
        }
        match (outcome, refusal) {
            (EgressOutcome::Refused, Some(why)) => tracing::warn!(
                target: "mesh::egress", destination = authority, rule = why.code(),
                "an address was refused: {why}"
            ),
            (_, Some(why)) => tracing::warn!(
                target: "mesh::egress", destination = authority, rule = why.code(),
                "a connection is made that would be refused: {why}"
            ),
            (_, None) => {}
        }
    }

    /// Whether it is to be told: it is new, or something is wrong with it that was not before.
    fn remember(&self, authority: &str, refusal: Option<EgressRefusal>) -> bool {
        let mut seen = self.seen.lock();
        if let Some(known) = seen.destinations.get_mut(authority) {
            known.calls = known.calls.saturating_add(1);
            let is_untold = known.is_untold(Of::Calls, refusal);
            // That is one call's, and says nothing of the destination.
            if refusal != Some(EgressRefusal::AuthorityMismatch) {
                let is_news = known.routing != refusal;
                known.routing = refusal;
                seen.version += u64::from(is_news);
            }
            return is_untold;
        }
        if seen.destinations.len() >= MAX_DESTINATIONS {
            return false;
        }
        let mut known = Known { calls: 1, routing: refusal, ..Known::default() };
        known.is_untold(Of::Calls, refusal);
        seen.destinations.insert(authority.into(), known);
        seen.version += 1;
        true
    }

    /// Whether it is news where the name of a destination leads. Of those that are not remembered, nothing is.
    fn leads(&self, authority: &str, refusal: Option<EgressRefusal>) -> bool {
        let mut seen = self.seen.lock();
        let Some(known) = seen.destinations.get_mut(authority) else { return false };
        let is_untold = known.is_untold(Of::Names, refusal);
        let is_news = known.leads != refusal;
        known.leads = refusal;
        seen.version += u64::from(is_news);
        is_untold
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

/// An authority with its port; without one it is `default_port`.
pub(crate) fn with_port(authority: &str, default_port: u16) -> Cow<'_, str> {
    match port_start(authority.as_bytes()) {
        Some(_) => Cow::Borrowed(authority),
        None => Cow::Owned(format!("{authority}:{default_port}")),
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
/// cure it, or somebody should look first. So does what is no rule, or one for more than itself: callers write what they
/// like.
#[must_use]
pub fn allow_list(destinations: &[EgressDestination]) -> String {
    let mut text = String::from("egress:\n  allow:\n");
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
mod tests {
    use super::*;

    #[test]
    fn a_destination_is_told_once_and_again_when_it_changes() {
        let log = EgressLog::default();
        let refused = EgressVerdict::Refused(EgressRefusal::NotListed);
        let told = |verdict: EgressVerdict| {
            let before = log.version();
            log.called("a.example:443", verdict, None);
            log.version() != before
        };
        assert!(told(refused) && !told(refused));
        assert!(told(EgressVerdict::Allowed(Some(0))) && !told(EgressVerdict::Allowed(None)));
        let mut counts = Vec::new();
        log.visit(Metric::EgressCalls, |outcome, why, calls| {
            counts.push(format!("{outcome} {why} {calls}"))
        });
        assert_eq!(counts, ["allowed  2", "refused not_listed 2"]);
        assert_eq!(log.destinations()[0].calls, 4);
    }

    /// Callers that change between good calls and odd ones, and names that change where they lead, are told of once each.
    #[test]
    fn what_comes_and_goes_is_told_once() {
        let log = EgressLog::default();
        let [listed, odd] = [
            EgressVerdict::Logged(EgressRefusal::NotListed),
            EgressVerdict::Refused(EgressRefusal::AuthorityMismatch),
        ];
        log.called("a.example:443", listed, None);
        let version = log.version();
        let mut told = 0;
        for verdict in [odd, listed, odd, listed, odd] {
            let (_, refusal) = parts(verdict);
            told += u32::from(log.remember("a.example:443", refusal));
        }
        assert_eq!((told, log.version()), (1, version), "and nothing is written anew");
        assert!(!allow_list(&log.destinations()).contains("# -"), "one odd call spoils no list");
        let private = Some(EgressRefusal::PrivateAddress);
        let led = [private, None, private, None].map(|led| log.leads("a.example:443", led));
        assert_eq!(led, [true, true, false, false]);
    }

    /// One call, two verdicts: neither is news of the other.
    #[test]
    fn where_a_name_leads_is_counted_and_told_apart() {
        let log = EgressLog::default();
        let inward = EgressVerdict::Refused(EgressRefusal::PrivateAddress);
        let version = || log.version();
        let call = |against| {
            log.called("a.example", EgressVerdict::Allowed(Some(0)), None);
            log.connects("a.example", against);
            version()
        };
        let told = call(Some(inward));
        assert_eq!(call(Some(inward)), told);
        let known = log.destinations();
        assert_eq!((known.len(), known[0].calls), (1, 2));
        assert_eq!(known[0].refusal, Some(EgressRefusal::PrivateAddress));
        let counts = |metric| {
            let mut counts = Vec::new();
            log.visit(metric, |outcome, why, times| {
                counts.push(format!("{outcome} {why} {times}"))
            });
            counts
        };
        assert_eq!(counts(Metric::EgressCalls), ["allowed  2"]);
        assert_eq!(counts(Metric::EgressConnections), ["refused private_address 2"]);
        assert!(call(None) > told);
        assert_eq!(log.destinations()[0].refusal, None);
        // Nobody has called it.
        log.connects("b.example", Some(inward));
        assert_eq!(log.destinations().len(), 1);
    }

    #[test]
    fn destinations_are_bounded() {
        let log = EgressLog::default();
        for at in 0..2 * MAX_DESTINATIONS {
            log.called(&at.to_string(), EgressVerdict::Allowed(None), None);
        }
        assert_eq!(log.destinations().len(), MAX_DESTINATIONS);
    }

    #[test]
    fn the_list_that_would_be_needed() {
        let log = EgressLog::default();
        log.called("b.example", EgressVerdict::Logged(EgressRefusal::NotListed), None);
        log.called("10.0.0.1", EgressVerdict::Logged(EgressRefusal::AddressNotListed), None);
        assert_eq!(
            allow_list(&log.destinations()),
            "egress:\n  allow:\n    # - \"10.0.0.1\"  # 1 calls, address_not_listed\n    - \"b.example\"  # 1 calls, not_listed\n"
        );
    }

    /// A rule without a port is for all of them.
    #[test]
    fn a_destination_has_its_port() {
        for (authority, expected) in [
            ("a", "a:80"),
            ("a:443", "a:443"),
            ("[::1]", "[::1]:80"),
            ("[::1]:81", "[::1]:81"),
            ("a:", "a:"),
        ] {
            assert_eq!(with_port(authority, 80), expected);
        }
    }

    /// What is pasted is read, and lets no more than what was called.
    #[test]
    fn what_is_no_rule_is_a_comment() {
        let listed = |authority: &str| {
            let log = EgressLog::default();
            log.called(authority, EgressVerdict::Logged(EgressRefusal::NotListed), None);
            !allow_list(&log.destinations()).contains("# -")
        };
        for good in ["b.example", "b.example:443", "B.Example.", "10.0.0.1:80", "[::1]:80"] {
            assert!(listed(good), "{good}");
        }
        for bad in [
            ".suf.test:21200",
            "10.9.1:21200",
            "[allowed.test]:21200",
            "allowed.test:",
            "allowed.test:0",
            "",
            "*.test:80",
            "10.0.0.0/8",
            "a\nb",
        ] {
            assert!(!listed(bad), "{bad}");
        }
    }
}
