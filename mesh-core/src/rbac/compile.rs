//! Model → [`CompiledRbac`]: each condition made ready, then simplified without changing what it says.
//!
//! Istio nests every condition in an `and` of an `or`, most of them of one; those are taken away.
//! Alternatives of one kind become one table: exact paths, exact principals, blocks of addresses.

use super::cel::{ConditionError, Program};
use super::index::Index;
use super::ip_set::IpSet;
use super::metadata::{CompiledFilterState, CompiledMetadata};
use super::rule::{Origin, Rule, Texts};
use super::template::{self, TemplateError};
use super::{CompiledPolicy, CompiledRbac};
use crate::identity::CompiledSanMatchers;
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::rbac::{
    AuditCondition, Permission, Policy, Principal, Rbac, RbacHeader, RbacHeaderName,
};
use crate::model::san::{SanKind, SanMatcher};
use crate::model::{Cidr, MetadataMatcher, StringMatcher};
use crate::router::{CompiledHeaderValue, CompiledStringMatcher, MatcherError};
use http::Method;
use std::ops::Range;
use std::sync::Arc;

/// How deep conditions may be nested: Istio needs 5, and protobuf allows about 45.
pub const MAX_DEPTH: usize = 48;
/// How many policies there may be.
pub const MAX_POLICIES: usize = 100_000;

/// Why policies were refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("policy `{policy}`, {place}: {kind}")]
#[non_exhaustive]
pub struct RbacError {
    /// The policy's name; empty: all of them.
    pub policy: Arc<str>,
    /// The condition: `permissions[0].and[1]`.
    pub place: String,
    /// What is wrong with it.
    pub kind: RbacErrorKind,
}

/// What can be wrong with a condition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RbacErrorKind {
    /// There is nothing in a list: say `any` to allow anything.
    #[error("the list is empty; say `any` if anything is meant (Envoy: min_items 1)")]
    Empty,
    /// Conditions are nested too deep.
    #[error("conditions are nested deeper than {MAX_DEPTH}")]
    TooDeep,
    /// There are too many policies.
    #[error("there are more than {MAX_POLICIES} policies")]
    TooMany,
    /// A range of ports has no port.
    #[error("the range of ports {}..{} is none: from 0, up to 65536", .0.start, .0.end)]
    PortRange(Range<u32>),
    /// A matcher is refused.
    #[error(transparent)]
    Matcher(#[from] MatcherError),
    /// A template is refused.
    #[error(transparent)]
    Template(#[from] TemplateError),
    /// A condition in CEL is refused.
    #[error(transparent)]
    Condition(#[from] ConditionError),
}

/// Compiles all policies.
pub(super) fn compile(model: &Rbac) -> Result<CompiledRbac, RbacError> {
    if model.policies.len() > MAX_POLICIES {
        let (policy, place) = (Arc::from(""), "policies".to_owned());
        return Err(RbacError { policy, place, kind: RbacErrorKind::TooMany });
    }
    let policies = model.policies.iter().map(|(name, policy)| {
        compiled_policy(name, policy).map_err(|(place, kind)| RbacError {
            policy: name.clone(),
            place,
            kind,
        })
    });
    let policies: Box<[CompiledPolicy]> = policies.collect::<Result<_, _>>()?;
    let index = Index::new(policies.iter().map(|policy| (&policy.permissions, &policy.principals)));
    Ok(CompiledRbac {
        action: model.action,
        // gRFC A59: without a logger nobody is told.
        audit: match model.audit_loggers.is_empty() {
            true => AuditCondition::None,
            false => model.audit,
        },
        audit_loggers: model.audit_loggers.iter().cloned().collect(),
        policies,
        index,
    })
}

type Failed = (String, RbacErrorKind);

fn compiled_policy(name: &Arc<str>, policy: &Policy) -> Result<CompiledPolicy, Failed> {
    let mut place = Place::default();
    let permissions = place.list("permissions", &policy.permissions, permission)?;
    let principals = place.list("principals", &policy.principals, principal)?;
    let condition = match &policy.condition {
        Some(condition) => place.within(("condition", None), |place| {
            Program::new(condition).map_err(|error| place.failed(error))
        })?,
        None => Program::TRUE,
    };
    Ok(CompiledPolicy {
        name: name.clone(),
        permissions: any_of(permissions),
        principals: any_of(principals),
        condition: (!condition.always()).then(|| Box::new(condition)),
    })
}

/// Where in a policy we are.
#[derive(Default)]
struct Place(Vec<(&'static str, Option<usize>)>);

impl Place {
    fn failed(&self, kind: impl Into<RbacErrorKind>) -> Failed {
        let steps = self.0.iter().map(|(name, at)| match at {
            Some(at) => format!("{name}[{at}]"),
            None => (*name).to_owned(),
        });
        (steps.collect::<Vec<_>>().join("."), kind.into())
    }

    fn within<T>(
        &mut self,
        step: (&'static str, Option<usize>),
        look: impl FnOnce(&mut Self) -> Result<T, Failed>,
    ) -> Result<T, Failed> {
        self.0.push(step);
        let result = match self.0.len() > MAX_DEPTH {
            true => Err(self.failed(RbacErrorKind::TooDeep)),
            false => look(self),
        };
        self.0.pop();
        result
    }

    fn list<M>(
        &mut self,
        name: &'static str,
        models: &[M],
        compile: fn(&mut Self, &M) -> Result<Rule, Failed>,
    ) -> Result<Vec<Rule>, Failed> {
        if models.is_empty() {
            return self.within((name, None), |place| Err(place.failed(RbacErrorKind::Empty)));
        }
        let models = models.iter().enumerate();
        models
            .map(|(at, model)| self.within((name, Some(at)), |place| compile(place, model)))
            .collect()
    }

    fn header(&self, header: &RbacHeader) -> Result<Rule, Failed> {
        if let Some(method) = only_method(header) {
            return Ok(Rule::Method(method));
        }
        let value =
            CompiledHeaderValue::new(&header.kind, header.invert, header.treat_missing_as_empty);
        Ok(Rule::Header(header.name.target().clone(), value.map_err(|error| self.failed(error))?))
    }

    fn string(&self, matcher: &StringMatcher) -> Result<CompiledStringMatcher, Failed> {
        CompiledStringMatcher::new(matcher).map_err(|error| self.failed(error))
    }

    fn path(&self, matcher: &StringMatcher) -> Result<Rule, Failed> {
        Ok(match exact(matcher) {
            Some(path) => Rule::PathIn(Texts::new(vec![path.clone()])),
            None => {
                let compiled = self.string(matcher)?;
                prefix(matcher).map_or(Rule::Path(compiled), Rule::PathPrefix)
            }
        })
    }

    fn metadata(&self, matcher: &MetadataMatcher) -> Result<Rule, Failed> {
        if matcher.path.is_empty() {
            return Err(self.failed(RbacErrorKind::Empty));
        }
        let compiled = CompiledMetadata::new(matcher).map_err(|error| self.failed(error))?;
        Ok(Rule::Metadata(compiled))
    }

    fn san(&self, matcher: &SanMatcher) -> Result<Rule, Failed> {
        let names = CompiledSanMatchers::new(std::slice::from_ref(matcher))
            .map_err(|(_, error)| self.failed(error))?;
        let uri = exact(&matcher.matcher).filter(|_| matcher.kind == SanKind::Uri).cloned();
        Ok(Rule::San { names, uri })
    }
}

/// The text that is asked for byte by byte.
fn exact(matcher: &StringMatcher) -> Option<&Arc<str>> {
    match &matcher.pattern {
        StringPattern::Exact(text) if !matcher.ignore_case => Some(text),
        _ => None,
    }
}

/// The beginning that is asked for byte by byte.
fn prefix(matcher: &StringMatcher) -> Option<Arc<str>> {
    match &matcher.pattern {
        StringPattern::Prefix(text) if !matcher.ignore_case => Some(text.clone()),
        _ => None,
    }
}

/// The one method that a header asks for, if that is all it does.
fn only_method(header: &RbacHeader) -> Option<Method> {
    let HeaderMatcherKind::String(matcher) = &header.kind else { return None };
    let wanted = exact(matcher).filter(|_| header.name == RbacHeaderName::METHOD)?;
    if header.invert { None } else { Method::from_bytes(wanted.as_bytes()).ok() }
}

fn permission(place: &mut Place, model: &Permission) -> Result<Rule, Failed> {
    Ok(match model {
        Permission::Any => Rule::Always,
        Permission::And(rules) => all(place.list("and", rules, permission)?),
        Permission::Or(rules) => any_of(place.list("or", rules, permission)?),
        Permission::Not(rule) => not(place.within(("not", None), |place| permission(place, rule))?),
        Permission::Header(header) => place.header(header)?,
        Permission::UrlPath(matcher) => place.path(matcher)?,
        Permission::DestinationIp(block) => Rule::LocalIp(IpSet::new([block])),
        Permission::DestinationPort(port) => {
            Rule::LocalPort(u32::from(*port)..u32::from(*port) + 1)
        }
        Permission::DestinationPortRange(ports) if ports.is_empty() || ports.end > 65_536 => {
            return Err(place.failed(RbacErrorKind::PortRange(ports.clone())));
        }
        Permission::DestinationPortRange(ports) => Rule::LocalPort(ports.clone()),
        Permission::Metadata(matcher) => place.metadata(matcher)?,
        Permission::RequestedServerName(matcher) => Rule::ServerName(place.string(matcher)?),
        Permission::UriTemplate(text) => {
            Rule::Template(template::compile(text).map_err(|error| place.failed(error))?)
        }
    })
}

fn principal(place: &mut Place, model: &Principal) -> Result<Rule, Failed> {
    let source = |origin, block: &Cidr| Rule::Source(origin, IpSet::new([block]));
    Ok(match model {
        Principal::Any => Rule::Always,
        Principal::And(rules) => all(place.list("and", rules, principal)?),
        Principal::Or(rules) => any_of(place.list("or", rules, principal)?),
        Principal::Not(rule) => not(place.within(("not", None), |place| principal(place, rule))?),
        Principal::Authenticated(None) => Rule::Tls,
        Principal::Authenticated(Some(matcher)) => match exact(matcher) {
            Some(name) => Rule::PrincipalIn(Texts::new(vec![name.clone()])),
            None => {
                let compiled = place.string(matcher)?;
                prefix(matcher).map_or(Rule::Principal(compiled), Rule::PrincipalPrefix)
            }
        },
        Principal::MtlsAuthenticated(None) => Rule::Certified,
        Principal::MtlsAuthenticated(Some(matcher)) => place.san(matcher)?,
        Principal::SourceIp(block) => source(Origin::Source, block),
        Principal::DirectRemoteIp(block) => source(Origin::DirectRemote, block),
        Principal::RemoteIp(block) => source(Origin::Remote, block),
        Principal::Header(header) => place.header(header)?,
        Principal::UrlPath(matcher) => place.path(matcher)?,
        Principal::Metadata(matcher) => place.metadata(matcher)?,
        Principal::FilterState(matcher) => Rule::FilterState(
            CompiledFilterState::new(matcher).map_err(|error| place.failed(error))?,
        ),
    })
}

fn all(mut rules: Vec<Rule>) -> Rule {
    rules.retain(|rule| !matches!(rule, Rule::Always));
    match rules.len() {
        0 => Rule::Always,
        1 => rules.remove(0),
        _ => Rule::All(rules.into()),
    }
}

/// The order of conditions decides nothing, so tables come first: they are cheap.
fn any_of(rules: Vec<Rule>) -> Rule {
    if rules.iter().any(|rule| matches!(rule, Rule::Always)) {
        return Rule::Always;
    }
    let (mut paths, mut names, mut others) = (Vec::new(), Vec::new(), Vec::new());
    let (mut local, mut sources) = (Vec::new(), [const { Vec::new() }; 3]);
    let rules = rules.into_iter().flat_map(|rule| match rule {
        Rule::AnyOf(inner) => inner.into_vec(),
        other => vec![other],
    });
    for rule in rules {
        match rule {
            Rule::PathIn(texts) => paths.extend_from_slice(texts.all()),
            Rule::PrincipalIn(texts) => names.extend_from_slice(texts.all()),
            Rule::LocalIp(blocks) => local.push(blocks),
            Rule::Source(origin, blocks) => sources[origin as usize].push(blocks),
            other => others.push(other),
        }
    }
    let mut all = Vec::with_capacity(others.len() + 6);
    all.extend((!paths.is_empty()).then(|| Rule::PathIn(Texts::new(paths))));
    all.extend((!names.is_empty()).then(|| Rule::PrincipalIn(Texts::new(names))));
    all.extend((!local.is_empty()).then(|| Rule::LocalIp(IpSet::union(&local))));
    for (origin, blocks) in Origin::ALL.into_iter().zip(&sources) {
        all.extend((!blocks.is_empty()).then(|| Rule::Source(origin, IpSet::union(blocks))));
    }
    all.extend(others);
    match all.len() {
        1 => all.remove(0),
        _ => Rule::AnyOf(all.into()),
    }
}

fn not(rule: Rule) -> Rule {
    match rule {
        Rule::Not(inner) => *inner,
        other => Rule::Not(Box::new(other)),
    }
}
