//! `deny` and `allow`: rules, each of which becomes one policy.
//!
//! A rule fits when its `from` fits who asks and one of its `match` fits what is asked for. In `allow`, who
//! may come is always written; in `deny`, a rule without `from` is about everybody.

use super::super::fields::Fields;
use super::super::node::{Content, Node, Span};
use super::super::reader::Reader;
use super::super::shape::{Kind, Shape, key};
use super::super::{code, value::Value};
use super::peers::{FROM, From};
use super::permission::{POLICY_MATCH, PolicyMatch};
use crate::model::{Permission, Policy, Principal};
use std::collections::BTreeMap;
use std::sync::Arc;

static RULE: Shape = Shape::new(
    "rule",
    &[&[
        key(
            "name",
            Kind::Text,
            "For logs, metrics and `mesh explain`. Made from the place by default.",
        ),
        key(
            "from",
            FROM,
            "Who: SPIFFE ids, `spiffe://example.org/*`, anyone, authenticated, or mappings; one must fit. In `deny` anyone by default.",
        ),
        key(
            "match",
            Kind::OneOrMany(&Kind::Mapping(&POLICY_MATCH)),
            "What; one must fit. Default everything.",
        ),
    ]],
);
static RULE_KIND: Kind = Kind::Mapping(&RULE);
pub(super) const RULES: Kind = Kind::List(&RULE_KIND);

pub(super) type Policies = BTreeMap<Arc<str>, Policy>;

/// The rules of one list.
#[derive(Debug, Default)]
pub(in crate::config) struct Rules {
    /// Whether the list is written.
    pub(in crate::config) is_there: bool,
    pub(super) policies: Policies,
    /// Where the rules are that allow or deny everything to anyone.
    pub(in crate::config) for_all: Vec<Span>,
    /// Where rules say what they are about, which only requests have.
    of_requests: Vec<Span>,
    /// Where those are that name somebody who has to prove it.
    pub(in crate::config) of_identities: Vec<Span>,
}

impl Rules {
    /// Reads the list under `name`.
    pub(super) fn read(reader: &mut Reader<'_>, fields: &Fields<'_>, name: &str) -> Self {
        let Some((node, _)) = fields.value(name) else { return Self::default() };
        let Content::Sequence(items) = &node.content else {
            reader.wrong_type(node, "a list");
            return Self::default();
        };
        let mut rules = Self { is_there: true, ..Self::default() };
        // Policies are looked at in the order of their names: that of the list.
        let digits = items.len().saturating_sub(1).to_string().len();
        for (index, item) in items.iter().enumerate() {
            if !reader.admit(item.span) {
                break;
            }
            rules.rule(reader, item, (name, format!("{name}[{index:0digits$}]")));
        }
        rules
    }

    fn rule(&mut self, reader: &mut Reader<'_>, node: &Node, (list, place): (&str, String)) {
        let Some(fields) = Fields::open(reader, node, &RULE_KIND) else { return };
        let name: Option<Arc<str>> = fields.read(reader, "name");
        let from: Option<From> = fields.read(reader, "from");
        let what: Option<Vec<PolicyMatch>> = fields.read(reader, "match");
        if list == "allow" && fields.own("from").is_none() {
            reader
                .report
                .add(code::MISSING_KEY, node.span, "a rule of `allow` says who may come")
                .suggest("write `from: [\"spiffe://example.org/name\"]`, or `from: anyone`");
        }
        let everything = fields.own("match").is_none();
        self.of_requests.extend(fields.own("match").map(|entry| entry.key_span));
        if let (Some(what), Some((node, _))) = (&what, fields.value("match"))
            && what.is_empty()
            && node.one_or_many().is_empty()
        {
            let message = "an empty `match` fits nothing";
            let suggestion = "leave it out: the rule is about everything then";
            reader.report.add(code::OUT_OF_RANGE, node.span, message).suggest(suggestion);
        }
        let from = from.unwrap_or_else(From::anyone);
        if from.is_anyone() && everything {
            self.for_all.push(node.span);
        }
        if from.of_identities {
            self.of_identities.push(fields.own("from").map_or(node.span, |e| e.value.span));
        }
        let permissions = match what {
            Some(what) if !everything => {
                let of_list = |matcher: PolicyMatch| match list {
                    "deny" => matcher.denied,
                    _ => matcher.allowed,
                };
                what.into_iter().map(of_list).collect()
            }
            _ => vec![Permission::Any],
        };
        let policy = Policy { permissions, principals: from.principals, condition: None };
        let name = name.unwrap_or_else(|| place.into());
        if self.policies.insert(Arc::clone(&name), policy).is_some() {
            let span = fields.own("name").map_or(node.span, |entry| entry.value.span);
            let message = format!("another rule of `{list}` is called `{name}`");
            let suggestion = "give each its own name, or none";
            reader.report.add(code::DUPLICATE_NAME, span, message).suggest(suggestion);
        }
    }

    /// Connections come from a proxy that says who connects to it: addresses are of those.
    pub(super) fn are_of_proxied(&mut self) {
        let principals = self.policies.values_mut().flat_map(|policy| &mut policy.principals);
        for principal in principals {
            if let Principal::DirectRemoteIp(block) = principal {
                *principal = Principal::RemoteIp(*block);
            }
        }
    }

    /// Reports rules about requests, on a port of bytes.
    pub(super) fn need_requests(&self, reader: &mut Reader<'_>) {
        for span in &self.of_requests {
            let message = "a port of `protocol: tcp` has no requests to match";
            let finding = reader.report.add(code::MISPLACED_KEY, *span, message);
            finding.suggest("leave `match` out: the rule is about who may connect");
        }
    }

    /// Reports rules about identities, on a port where nobody proves one.
    pub(super) fn need_proof(&self, reader: &mut Reader<'_>) {
        for span in &self.of_identities {
            reader
                .report
                .add(
                    code::IDENTITY_NEVER_PROVEN,
                    *span,
                    "under `mtls: off` nobody proves who they are, so this rule never fits",
                )
                .suggest("write `mtls: strict` or `permissive`, or `from: anyone`");
        }
    }
}

impl From {
    /// Whether it fits everybody.
    fn is_anyone(&self) -> bool {
        self.principals.contains(&Principal::Any)
    }
}

impl Value for PolicyMatch {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        super::permission::read(reader, node, kind)
    }
}
