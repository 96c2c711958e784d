//! Who may do what: policies, a peer and a request → allowed or denied, and by which policy.
//!
//! Everything is compiled once: patterns to automata, lists of names and addresses to sorted tables,
//! policies to an index. So a decision allocates nothing, takes no lock, and costs what the policies
//! cost that could match, not what all of them do.
//!
//! - A policy matches when one permission *and* one principal fit, and its condition holds. Policies are looked at in the order
//!   of their names, and the first that matches is told (Envoy: `RBAC.policies`).
//! - ALLOW: allowed if one matches, so nothing is without policies. DENY: denied if one matches. LOG:
//!   allowed; whether one matches is told.
//! - Shadow rules are decided beside and never enforced.
//! - Several filters are asked in their order, and the first denial is the answer: Istio's deny
//!   policies come before its allow policies ([`decide`]).
//! - What can't be known (a header of a connection without HTTP, an address of a Unix socket) never
//!   matches; under `not` it therefore does.
//!
//! | module | what |
//! |---|---|
//! | `compile.rs` | model → [`CompiledRbac`], or the place of what is wrong |
//! | `rule.rs` | one condition, and whether it holds |
//! | `index.rs` | which policies could match a peer and a path |
//! | `narrowed.rs` | what a connection has decided of them |
//! | `audit.rs` | what is told of an audited decision |
//! | `cel/` | conditions in CEL |
//! | `filter.rs` | enforced and shadow rules, several filters, what a denial says |
//!
//! What it does not do: match trees (Envoy: `RBAC.matcher`), and read policies; a condition in CEL comes as
//! a tree.

mod audit;
mod cel;
mod compile;
mod filter;
mod index;
mod ip_set;
mod metadata;
mod narrowed;
mod request;
mod rule;
mod template;
#[cfg(test)]
mod tests;

pub use audit::AuditRecord;
pub use cel::{ConditionError, MAX_COST, check_condition};
pub use compile::{MAX_DEPTH, MAX_POLICIES, RbacError, RbacErrorKind};
pub use filter::{
    CompiledRbacFilter, Denied, NarrowedFilter, RBAC_NAMESPACE, RbacDecision, decide,
};
pub(crate) use metadata::CompiledMetadata;
pub use narrowed::Narrowed;
pub use request::{Connection, Request};
pub use template::{TemplateError, check_template};

use crate::model::rbac::{AuditCondition, AuditLogger, Rbac, RbacAction};
use cel::Program;
use index::{Candidates, Index};
use rule::{Rule, Sight};
use std::sync::Arc;

/// Policies, ready to decide.
#[derive(Clone, Debug)]
pub struct CompiledRbac {
    action: RbacAction,
    audit: AuditCondition,
    audit_loggers: Box<[AuditLogger]>,
    /// In the order of their names.
    policies: Box<[CompiledPolicy]>,
    index: Index,
}

#[derive(Clone, Debug)]
struct CompiledPolicy {
    name: Arc<str>,
    permissions: Rule,
    principals: Rule,
    /// Boxed: most policies have none.
    condition: Option<Box<Program>>,
}

impl CompiledPolicy {
    /// Whether its condition holds, if it has one.
    fn holds(&self, sight: &Sight<'_>, action: RbacAction) -> bool {
        self.condition.as_ref().is_none_or(|condition| condition.holds(sight, action))
    }
}

/// What policies decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "what was decided and by what, nothing else")]
pub struct Verdict<'r> {
    /// Whether the request may go on.
    pub allowed: bool,
    /// What a match means.
    pub action: RbacAction,
    /// The first policy that matched; `None`: none did.
    pub policy: Option<&'r Arc<str>>,
    /// Whether the decision is to be audited (gRFC A59).
    pub audited: bool,
}

/// How close a policy comes to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "a policy is what, who and when, nothing else")]
pub struct Near<'r> {
    /// Its name.
    pub policy: &'r Arc<str>,
    /// Whether a principal fits.
    pub who_fits: bool,
    /// Whether a permission fits.
    pub what_fits: bool,
    /// Whether its condition holds; `true`: it has none.
    pub when_fits: bool,
}

impl Verdict<'_> {
    /// Envoy's `access_log_hint`: whether the request should be logged; `None`: the action is not LOG,
    /// and says nothing of it.
    #[must_use]
    pub const fn access_log_hint(&self) -> Option<bool> {
        match self.action {
            RbacAction::Log => Some(self.policy.is_some()),
            RbacAction::Allow | RbacAction::Deny => None,
        }
    }
}

impl CompiledRbac {
    /// Compiles policies.
    ///
    /// # Errors
    /// [`RbacError`]: the first thing that is wrong, with its policy and its place.
    pub fn new(model: &Rbac) -> Result<Self, RbacError> {
        compile::compile(model)
    }

    /// What a match means.
    #[must_use]
    pub const fn action(&self) -> RbacAction {
        self.action
    }

    /// Who is told of audited decisions.
    #[must_use]
    pub fn audit_loggers(&self) -> &[AuditLogger] {
        &self.audit_loggers
    }

    /// The names of the policies, in their order.
    pub fn policies(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.policies.iter().map(|policy| &policy.name)
    }

    /// How close each policy comes to a request, in their order; for people, not for the request path.
    pub fn near<'r>(&'r self, request: &Request<'_>) -> impl Iterator<Item = Near<'r>> {
        let sight = Sight::new(request);
        self.policies.iter().map(move |policy| Near {
            policy: &policy.name,
            who_fits: policy.principals.holds(&sight),
            what_fits: policy.permissions.holds(&sight),
            when_fits: policy.holds(&sight, self.action),
        })
    }

    /// Decides about a request, or about a connection.
    #[must_use]
    pub fn evaluate(&self, request: &Request<'_>) -> Verdict<'_> {
        let sight = Sight::new(request);
        let mut candidates = Candidates::default();
        self.index.find(&sight, &mut candidates);
        let matched = candidates.find(|at| {
            let policy = &self.policies[*at];
            policy.permissions.holds(&sight)
                && policy.principals.holds(&sight)
                && policy.holds(&sight, self.action)
        });
        self.verdict(matched.map(|at| &self.policies[at]))
    }

    /// What follows from the first policy that matched.
    fn verdict<'r>(&'r self, matched: Option<&'r CompiledPolicy>) -> Verdict<'r> {
        let policy = matched.map(|policy| &policy.name);
        let allowed = match self.action {
            RbacAction::Allow => policy.is_some(),
            RbacAction::Deny => policy.is_none(),
            RbacAction::Log => true,
        };
        Verdict { allowed, action: self.action, policy, audited: self.audit.takes(allowed) }
    }
}
