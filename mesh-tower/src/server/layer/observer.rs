//! [`Observer`]: what filters decided, told to metrics, the log and the audit.

use super::enter::Gate;
use super::served::ServedChain;
use crate::observe::decisions::FilterOutcome;
use mesh_core::filter::{AskDecision, FilterObserver, Injected, Limit, Told};
use mesh_core::rbac::{AuditRecord, RbacDecision, Request};
use mesh_core::{Timestamp, WallTime};
use std::fmt;
use std::io::Write;
use std::sync::Arc;

/// Who is told of audited decisions (gRFC A59).
pub trait AuditSink: Send + Sync {
    /// A decision was made that is to be audited: about a request, or, without a method, about a connection (network
    /// RBAC, whose filter has its `rules_stat_prefix` for a name). Called on its way, before it goes on: it must not
    /// wait.
    fn audit(&self, record: &AuditRecord<'_>);
}

/// A line of JSON to standard output for each (gRFC A59: `stdout_logger`). What can't be written is dropped,
/// as in gRPC.
#[derive(Clone, Copy, Debug, Default)]
#[non_exhaustive]
pub struct StdoutAudit;

impl AuditSink for StdoutAudit {
    fn audit(&self, record: &AuditRecord<'_>) {
        // One write, so that lines of several threads stay apart.
        let line = format!("{record}\n");
        let _dropped = std::io::stdout().lock().write_all(line.as_bytes());
    }
}

/// Told of the decisions about one request.
pub(super) struct Observer<'a> {
    gate: &'a Gate,
    chain: &'a ServedChain,
    now: Timestamp,
    wall: WallTime,
    wants_line: bool,
    pub(super) verdict: Verdict,
}

/// What was decided, for the answer, the metrics and the log.
pub(super) struct Verdict {
    /// Why it is refused, if it is: label `reason` of `mesh_server_refused_total`.
    pub(super) reason: &'static str,
    /// The policy that denied, or the text that says that none allowed.
    pub(super) denied: Option<Arc<str>>,
    /// The policy that the last decision was made by, where the log wants it.
    pub(super) policy: Option<Arc<str>>,
    /// What is to be said of a request that goes on although something is wrong, where the log wants it.
    pub(super) details: Option<Arc<str>>,
}

impl<'a> Observer<'a> {
    pub(super) const fn new(
        gate: &'a Gate,
        chain: &'a ServedChain,
        now: Timestamp,
        wall: WallTime,
        wants_line: bool,
    ) -> Self {
        let verdict = Verdict { reason: "filter", denied: None, policy: None, details: None };
        Self { gate, chain, now, wall, wants_line, verdict }
    }

    fn rbac(&mut self, filter: &Arc<str>, decision: &RbacDecision<'_>, request: &Request<'_>) {
        if let Some(shadow) = decision.shadow.filter(|shadow| !shadow.allowed) {
            let cells = &self.gate.listening.cells;
            cells.refused("rbac_would_deny", filter, &name_of(shadow.policy));
        }
        let Some(enforced) = decision.enforced else { return };
        if self.wants_line {
            self.verdict.policy = enforced.policy.cloned();
        }
        if !enforced.allowed {
            self.verdict.reason = "rbac_denied";
            self.verdict.denied = Some(name_of(enforced.policy));
        }
        if enforced.audited {
            self.gate.audit.audit(&AuditRecord::new(self.wall, filter, request, &enforced));
        }
    }

    fn limit(&mut self, filter: &Arc<str>, limit: Limit) {
        self.count(filter, limit.into());
        match limit {
            Limit::Allowed => {}
            Limit::Limited => self.verdict.reason = "limited",
            Limit::WouldBeLimited if self.wants_line => {
                self.verdict.details = Some(would_be_limited(filter));
            }
            Limit::WouldBeLimited => {}
        }
    }

    fn fault(&mut self, filter: &Arc<str>, fault: Injected) {
        self.count(filter, fault.into());
        match fault {
            Injected::Delay(delay) => self.note(filter, &format_args!("delayed by {delay:?}")),
            Injected::Abort(..) => self.verdict.reason = "fault",
            Injected::Overflow => {}
        }
    }

    fn asked(&mut self, filter: &Arc<str>, decision: &AskDecision<'_>) {
        let outcome = FilterOutcome::from(decision);
        self.count(filter, outcome);
        self.tell_of_failure(filter, decision);
        let AskDecision { code, shadow, .. } = *decision;
        if !shadow && !code.is_empty() {
            self.verdict.reason = code;
        }
        if shadow || decision.failure.is_some() {
            let outcome = outcome.as_str();
            match decision.failure {
                Some(failure) => self.note(filter, &format_args!("{outcome}: {failure}")),
                None => self.note(filter, &format_args!("{outcome} ({code}), in shadow mode")),
            }
        }
    }

    /// The log hears when answers stop and when they come again, not of each request.
    fn tell_of_failure(&self, filter: &Arc<str>, decision: &AskDecision<'_>) {
        let Some(cluster) = decision.cluster else { return };
        let Some(cells) = self.chain.filter(filter) else { return };
        let listener = &*self.gate.listening.listener;
        let (filter, cluster) = (&**filter, &**cluster);
        match decision.failure {
            Some(failure) if cells.answered(false, self.now) => tracing::warn!(
                target: "mesh::filter", listener, filter, cluster, %failure,
                "whoever the filter asks does not answer"
            ),
            None if decision.code != TOO_LARGE && cells.answered(true, self.now) => tracing::info!(
                target: "mesh::filter", listener, filter, cluster,
                "whoever the filter asks answers again"
            ),
            Some(_) | None => {}
        }
    }

    fn count(&self, filter: &Arc<str>, outcome: FilterOutcome) {
        if let Some(cells) = self.chain.filter(filter) {
            cells.count(outcome);
        }
    }

    fn note(&mut self, filter: &str, what: &dyn fmt::Display) {
        if self.wants_line {
            self.verdict.details = Some(format!("filter `{filter}`: {what}").into());
        }
    }
}

/// What the log says of a request that a limit would refuse.
pub(super) fn would_be_limited(filter: &str) -> Arc<str> {
    format!("filter `{filter}`: it would be limited").into()
}

/// The policy's name; Envoy's word where there is none: no policy allowed it.
pub(in crate::server) fn name_of(policy: Option<&Arc<str>>) -> Arc<str> {
    policy.map_or_else(|| Arc::from("none"), Arc::clone)
}

impl FilterObserver for Observer<'_> {
    fn told(&mut self, filter: &Arc<str>, what: Told<'_>) {
        match what {
            Told::Rbac(decision, request) => self.rbac(filter, &decision, request),
            Told::Limit(limit) => self.limit(filter, limit),
            Told::Fault(fault) => self.fault(filter, fault),
            Told::Asked(decision) => self.asked(filter, &decision),
            // What is newer than this is not counted.
            _ => {}
        }
    }
}

/// A body that is too large to ask about: nobody was asked.
const TOO_LARGE: &str = "ext_authz_body_too_large";
