//! Enforced and shadow rules of a filter, several filters in a row, and what a denial says.

use super::{CompiledRbac, Connection, Narrowed, RbacError, Request, Verdict};
use crate::model::rbac::{RbacAction, RbacFilter};
use crate::model::{Metadata, MetadataValue};
use std::fmt;
use std::sync::Arc;

/// One filter, ready to decide.
#[derive(Clone, Debug)]
pub struct CompiledRbacFilter {
    rules: Option<CompiledRbac>,
    shadow: Option<CompiledRbac>,
    rules_stat_prefix: Arc<str>,
    shadow_rules_stat_prefix: Arc<str>,
    /// The names of what shadow rules say, in metadata: the policy, the result.
    shadow_keys: [Arc<str>; 2],
}

/// The name of the filter in metadata (Envoy).
pub const RBAC_NAMESPACE: &str = "envoy.filters.http.rbac";

impl CompiledRbacFilter {
    /// Compiles a filter.
    ///
    /// # Errors
    /// [`RbacError`]: the first thing that is wrong, in its rules or in its shadow rules.
    pub fn new(model: &RbacFilter) -> Result<Self, RbacError> {
        let compile = |rules: &Option<Arc<_>>| rules.as_deref().map(CompiledRbac::new).transpose();
        Ok(Self {
            rules: compile(&model.rules)?,
            shadow: compile(&model.shadow_rules)?,
            rules_stat_prefix: model.rules_stat_prefix.clone(),
            shadow_rules_stat_prefix: model.shadow_rules_stat_prefix.clone(),
            shadow_keys: ["shadow_effective_policy_id", "shadow_engine_result"]
                .map(|key| format!("{}{key}", model.shadow_rules_stat_prefix).into()),
        })
    }

    /// The rules that are enforced.
    #[must_use]
    pub const fn rules(&self) -> Option<&CompiledRbac> {
        self.rules.as_ref()
    }

    /// The rules that are only told.
    #[must_use]
    pub const fn shadow_rules(&self) -> Option<&CompiledRbac> {
        self.shadow.as_ref()
    }

    /// What is put before the names of the metrics of rules and shadow rules.
    #[must_use]
    pub fn stat_prefixes(&self) -> (&str, &str) {
        (&self.rules_stat_prefix, &self.shadow_rules_stat_prefix)
    }

    /// Writes what the shadow rules say: `shadow_engine_result`, `allowed` or `denied`, and
    /// `shadow_effective_policy_id`, if a policy matched, both behind the prefix of the shadow rules (Envoy:
    /// dynamic metadata of the filter). Istio chooses by it which requests an authorizer is asked about.
    pub fn write_shadow(&self, verdict: &Verdict<'_>, metadata: &mut Metadata) {
        let [policy, result] = &self.shadow_keys;
        let own = match metadata.0.get_mut(RBAC_NAMESPACE) {
            Some(own) => own,
            None => metadata.0.entry(Arc::from(RBAC_NAMESPACE)).or_default(),
        };
        if let Some(name) = verdict.policy {
            own.insert(Arc::clone(policy), MetadataValue::Text(Arc::clone(name)));
        }
        let text = if verdict.allowed { "allowed" } else { "denied" };
        own.insert(Arc::clone(result), MetadataValue::Text(Arc::from(text)));
    }

    /// Decides about a request, or about a connection. Shadow rules are decided first, as Envoy does.
    #[must_use]
    pub fn decide(&self, request: &Request<'_>) -> RbacDecision<'_> {
        self.decide_narrowed(None, request)
    }

    /// What `connection` decides of them.
    #[must_use]
    pub fn narrow(&self, connection: &Connection<'_>) -> NarrowedFilter {
        let narrow = |rules: &Option<CompiledRbac>| rules.as_ref()?.narrow(connection);
        NarrowedFilter { rules: narrow(&self.rules), shadow: narrow(&self.shadow) }
    }

    /// As [`decide`](Self::decide), of a request on the connection that `narrowed` was made for.
    #[must_use]
    pub fn decide_narrowed(
        &self,
        narrowed: Option<&NarrowedFilter>,
        request: &Request<'_>,
    ) -> RbacDecision<'_> {
        let shadow = narrowed.and_then(|narrowed| narrowed.shadow.as_ref());
        let shadow = evaluate(self.shadow.as_ref(), shadow, request);
        let rules = narrowed.and_then(|narrowed| narrowed.rules.as_ref());
        RbacDecision { enforced: evaluate(self.rules.as_ref(), rules, request), shadow }
    }
}

fn evaluate<'r>(
    rules: Option<&'r CompiledRbac>,
    narrowed: Option<&Narrowed>,
    request: &Request<'_>,
) -> Option<Verdict<'r>> {
    let rules = rules?;
    Some(match narrowed {
        Some(narrowed) => rules.evaluate_narrowed(narrowed, request),
        None => rules.evaluate(request),
    })
}

/// What a connection has decided of a filter's rules.
#[derive(Clone, Debug)]
pub struct NarrowedFilter {
    rules: Option<Narrowed>,
    shadow: Option<Narrowed>,
}

/// What a filter decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "two verdicts, nothing else")]
pub struct RbacDecision<'r> {
    /// What is enforced; `None`: there are no rules, so it may go on.
    pub enforced: Option<Verdict<'r>>,
    /// What would be, by the shadow rules.
    pub shadow: Option<Verdict<'r>>,
}

impl RbacDecision<'_> {
    /// Why the request may not go on.
    #[must_use]
    pub fn denied(&self) -> Option<Denied> {
        let verdict = self.enforced.filter(|verdict| !verdict.allowed)?;
        Some(Denied { policy: verdict.policy.cloned() })
    }
}

/// Asks filters in their order, and tells of each decision. The first denial ends it.
///
/// Istio puts its policies into one filter each for what an external authorizer is asked, for DENY
/// and for ALLOW, in this order; so a denial wins over what is allowed.
///
/// # Errors
/// [`Denied`]: the policy that denied, or that none allowed.
pub fn decide<'r>(
    filters: impl IntoIterator<Item = &'r CompiledRbacFilter>,
    request: &Request<'_>,
    mut tell: impl FnMut(&'r CompiledRbacFilter, RbacDecision<'r>),
) -> Result<(), Denied> {
    for filter in filters {
        let decision = filter.decide(request);
        tell(filter, decision);
        if let Some(denied) = decision.denied() {
            return Err(denied);
        }
    }
    Ok(())
}

/// A request was denied.
///
/// Who asked is told the text of Envoy and of gRPC, [`Denied::BODY`], and no more: the names of
/// policies are for logs.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[expect(clippy::exhaustive_structs, reason = "a policy or none")]
pub struct Denied {
    /// The policy that denied; `None`: no policy allowed it.
    pub policy: Option<Arc<str>>,
}

impl Denied {
    /// What the peer is told: the body of the 403 (Envoy), or the message of PERMISSION_DENIED.
    pub const BODY: &str = "RBAC: access denied";

    /// What Envoy writes into its access log for it: `%RESPONSE_CODE_DETAILS%`.
    #[must_use]
    pub fn response_code_details(&self) -> String {
        let name = self.policy.as_deref().unwrap_or("none");
        let name: String = name.chars().map(|c| if c.is_whitespace() { '_' } else { c }).collect();
        format!("rbac_access_denied_matched_policy[{name}]")
    }
}

impl fmt::Display for Denied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.policy {
            Some(policy) => write!(f, "denied by policy `{policy}`"),
            None => f.write_str("no policy allows it"),
        }
    }
}

impl fmt::Display for RbacAction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Allow => "ALLOW",
            Self::Deny => "DENY",
            Self::Log => "LOG",
        })
    }
}
