//! [`Observer`]: what filters decided, told to metrics, the log and the audit.

use super::enter::Gate;
use mesh_core::WallTime;
use mesh_core::filter::{FilterObserver, Told};
use mesh_core::rbac::{AuditRecord, RbacDecision, Request};
use std::io::Write;
use std::sync::Arc;

/// Who is told of audited decisions (gRFC A59).
pub trait AuditSink: Send + Sync {
    /// A decision was made that is to be audited. Called on the way of the request, before it goes on: it
    /// must not wait.
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
    wall: WallTime,
    wants_policy: bool,
    /// The policy that denied, or the text that says that none allowed.
    pub(super) denied: Option<Arc<str>>,
    /// The policy that the last decision was made by, where the log wants it.
    pub(super) policy: Option<Arc<str>>,
}

impl<'a> Observer<'a> {
    pub(super) const fn new(gate: &'a Gate, wall: WallTime, wants_policy: bool) -> Self {
        Self { gate, wall, wants_policy, denied: None, policy: None }
    }

    fn rbac(&mut self, filter: &Arc<str>, decision: &RbacDecision<'_>, request: &Request<'_>) {
        if let Some(shadow) = decision.shadow.filter(|shadow| !shadow.allowed) {
            let cells = &self.gate.listening.cells;
            cells.refused("rbac_would_deny", filter, &name_of(shadow.policy));
        }
        let Some(enforced) = decision.enforced else { return };
        if self.wants_policy {
            self.policy = enforced.policy.cloned();
        }
        if !enforced.allowed {
            self.denied = Some(name_of(enforced.policy));
        }
        if enforced.audited {
            self.gate.audit.audit(&AuditRecord::new(self.wall, filter, request, &enforced));
        }
    }
}

/// The policy's name; Envoy's word where there is none: no policy allowed it.
fn name_of(policy: Option<&Arc<str>>) -> Arc<str> {
    policy.map_or_else(|| Arc::from("none"), Arc::clone)
}

impl FilterObserver for Observer<'_> {
    fn told(&mut self, filter: &Arc<str>, what: Told<'_>) {
        // What other filters count, they count themselves.
        if let Told::Rbac(decision, request) = what {
            self.rbac(filter, &decision, request);
        }
    }
}
