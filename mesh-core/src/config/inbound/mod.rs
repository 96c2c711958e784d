//! `inbound`: ports that serve, who may connect, and who may ask for what.
//!
//! A port is closed in two ways until somebody opens it: its peers must prove who they are (`mtls: strict`),
//! and what no rule of `allow` names is refused. Rules of `deny` come first. It becomes a
//! [`Listener`] of Envoy's: two filter chains for `mtls: permissive`, one otherwise, an RBAC filter for each
//! of the two lists, what asks for a token, who is asked, a local rate limit, and one route to the server itself.
//!
//! | module | what |
//! |---|---|
//! | `chains.rs` | `mtls` → filter chains |
//! | `forward.rs` | the application behind it, for `mesh proxy` |
//! | `options.rs` | limits, path, what is done with XFCC |
//! | `rule.rs` | one rule → one policy |
//! | `peers.rs` | `from` → principals |
//! | `permission.rs` | `match` → a permission |
//! | `jwt.rs` | the token that requests carry |
//! | `ext_authz.rs` | who is asked about requests |
//! | `rate_limit.rs` | how many requests in how much time |

mod chains;
mod ext_authz;
mod forward;
mod jwt;
pub(super) mod options;
mod peers;
mod permission;
mod rate_limit;
mod rule;

pub(super) use chains::Mtls;
pub(super) use forward::{
    Application, PROXY_PROTOCOLS, check_loop_of_cluster, check_loops, check_speaks_http, only_route,
};

use super::address::address;
use super::fields::Fields;
use super::node::{Entry, Node, Span};
use super::protocol::{DETECT_TIMEOUT_KEY, PROTOCOL, Speaks, cannot_detect};
use super::shape::{Kind, Shape, key, words};
use super::{code, reader::Reader};
use crate::model::http_filter::{ExtAuthz, JwtAuthn};
use crate::model::{
    Address, HttpConnectionManager, HttpFilter, HttpFilterConfig, Listener, LocalRateLimit,
    RateLimitScope, Rbac, RbacAction, RbacFilter,
};
use chains::{Carried, MTLS_KIND, Security};
use ext_authz::EXT_AUTHZ_KIND;
use forward::FORWARD_KIND;
use jwt::JWT_KIND;
use options::{FORWARD_CLIENT_CERT, LIMITS, PATH};
use rate_limit::RATE_LIMIT_KIND;
use rule::{RULES, Rules};
use std::net::IpAddr;
use std::sync::Arc;

/// Keys that mean something only where there are requests.
const OF_REQUESTS: [&str; 7] = [
    "jwt",
    "ext_authz",
    "rate_limit",
    "limits",
    "path",
    "forward_client_cert",
    "xff_num_trusted_hops",
];

/// Why bytes would go nowhere, and the way out.
const NOWHERE: (&str, &str) = (
    "the program that serves has no use for bytes",
    "say where they go: `forward: \"127.0.0.1:8080\"`, or write `protocol: http`",
);

static INBOUND: Shape = Shape::new(
    "inbound",
    &[&[
        key(
            "listen",
            Kind::Text,
            "Where it listens: `0.0.0.0:8443`, `[::]:8443`, `unix:/run/app.sock`. Default where the program says.",
        ),
        key(
            "protocol",
            PROTOCOL,
            "http, or tcp: bytes, of which only `from` of rules is asked; or detect: what is not HTTP are bytes, and refused where anything but `from` is asked for. Default http.",
        ),
        DETECT_TIMEOUT_KEY,
        key(
            "forward",
            FORWARD_KIND,
            "The application, for `mesh proxy`: where what passes is sent. Default nowhere.",
        ),
        key(
            "proxy_protocol",
            Kind::Flag,
            "Each connection begins with a header of the PROXY protocol, version 1 or 2, which says where it comes from; one without is closed. Default false.",
        ),
        key(
            "mtls",
            MTLS_KIND,
            "strict: peers prove who they are. permissive: plaintext is taken as well. off: plaintext. Default strict.",
        ),
        key("deny", RULES, "What is refused, whatever `allow` says. Default nothing."),
        key("allow", RULES, "What is taken; all the rest is refused. Default nothing is taken."),
        key(
            "jwt",
            JWT_KIND,
            "The token that each request carries, if `allow` lets it in. Default none is asked for.",
        ),
        key(
            "ext_authz",
            EXT_AUTHZ_KIND,
            "Who is asked about each request that `allow` lets in and whose token is good. Default nobody.",
        ),
        key(
            "rate_limit",
            RATE_LIMIT_KIND,
            "How many requests are taken in how much time, of those that nothing before it refuses; beyond it 429, or RESOURCE_EXHAUSTED. Default no limit.",
        ),
        key(
            "limits",
            Kind::Mapping(&LIMITS),
            "What a request may be like, and how long silence may last.",
        ),
        key(
            "path",
            Kind::Mapping(&PATH),
            "What is done with the path before anything looks at it.",
        ),
        key(
            "forward_client_cert",
            Kind::Word(&words(&FORWARD_CLIENT_CERT)),
            "What is done with x-forwarded-client-cert, as Envoy names it. Default sanitize_set.",
        ),
        key(
            "xff_num_trusted_hops",
            Kind::U32,
            "How many proxies before us are believed in x-forwarded-for. Default 0.",
        ),
        key(
            "handshake_timeout",
            Kind::POSITIVE_TIME,
            "Limit from accepting to the end of the TLS handshake. Default 15s.",
        ),
    ]],
);
/// One port.
pub(super) static INBOUND_KIND: Kind = Kind::Mapping(&INBOUND);

/// A port with the places that lints point at.
pub(super) struct InboundSite<'n> {
    pub(super) name: Span,
    pub(super) node: &'n Node,
    pub(super) value: Arc<Listener>,
    pub(super) security: Security,
    pub(super) deny: Rules,
    pub(super) allow: Rules,
    /// Who shares a rate limit; `None`: there is none.
    pub(super) rate_limit_by: Option<RateLimitScope>,
    /// The application behind it, for `mesh proxy`.
    pub(super) application: Option<Application>,
}

impl InboundSite<'_> {
    /// The value of a key, or the port's name when it has no such key.
    pub(super) fn span(&self, key: &str) -> Span {
        self.node.get(key).map_or(self.name, |entry| entry.value.span)
    }
}

/// Reads one port.
pub(super) fn inbound<'n>(reader: &mut Reader<'_>, entry: &'n Entry) -> Option<InboundSite<'n>> {
    reader.check_name(&entry.key, entry.key_span);
    let fields = Fields::open(reader, &entry.value, &INBOUND_KIND)?;
    let mut listener = Listener::new(&*entry.key);
    listener.address = fields.value("listen").and_then(|(node, _)| address(reader, node));
    let speaks = Speaks::read(reader, &fields).unwrap_or(Speaks::Http);
    let bytes = speaks == Speaks::Bytes;
    let application = forward::forward(reader, &fields, (entry, bytes));
    if speaks.detects().is_some() && fields.own("forward").is_none() {
        cannot_detect(reader, fields.own("protocol"), NOWHERE);
    }
    listener.forward = application.as_ref().map(|application| application.forward.clone());
    fields.set(reader, "proxy_protocol", &mut listener.proxy_protocol);
    let security = chains::security(reader, &fields, entry);
    let mut deny = Rules::read(reader, &fields, "deny");
    let mut allow = Rules::read(reader, &fields, "allow");
    if listener.proxy_protocol {
        deny.are_of_proxied();
        allow.are_of_proxied();
    }
    let rate_limit: Option<LocalRateLimit> = fields.read(reader, "rate_limit");
    let rate_limit_by = rate_limit.as_ref().map(|limit| limit.scope);
    let asking = Asking {
        jwt: fields.read(reader, "jwt"),
        ext_authz: fields.read(reader, "ext_authz"),
        rate_limit,
    };
    let mut carried = HttpConnectionManager::serving(Vec::new());
    options::read(reader, &fields, &mut carried);
    let carried = if bytes {
        fields.misplaced(reader, &OF_REQUESTS, "on a port of `protocol: tcp`");
        deny.need_requests(reader);
        allow.need_requests(reader);
        Carried::Bytes(network_rbac(deny.policies.clone(), allow.policies.clone()))
    } else {
        carried.http_filters = filters(deny.policies.clone(), allow.policies.clone(), asking);
        Carried::Http(Arc::new(carried), speaks.detects())
    };
    let handshake = fields.read(reader, "handshake_timeout");
    let security = security?;
    if security.mode == Mtls::Off {
        deny.need_proof(reader);
        allow.need_proof(reader);
    }
    listener.filter_chains = security.chains(&carried, handshake);
    let (name, node) = (entry.key_span, &*entry.value);
    let value = Arc::new(listener);
    Some(InboundSite { name, node, value, security, deny, allow, rate_limit_by, application })
}

/// What is asked of those that the rules let in.
struct Asking {
    jwt: Option<JwtAuthn>,
    ext_authz: Option<ExtAuthz>,
    rate_limit: Option<LocalRateLimit>,
}

/// Denied first, then allowed; without `allow`, nobody is. Of what is left, those that cost less come first, and
/// what is refused takes no token of the rate.
fn filters(deny: rule::Policies, allow: rule::Policies, asking: Asking) -> Vec<HttpFilter> {
    let filter = |name: &str, action, policies: rule::Policies| {
        HttpFilter::new(name, HttpFilterConfig::Rbac(rbac(action, policies)))
    };
    let denying = (!deny.is_empty()).then(|| filter("deny", RbacAction::Deny, deny));
    let Asking { jwt, ext_authz, rate_limit } = asking;
    let asking = [
        jwt.map(|jwt| ("jwt", HttpFilterConfig::JwtAuthn(Arc::new(jwt)))),
        ext_authz.map(|authz| ("ext_authz", HttpFilterConfig::ExtAuthz(Arc::new(authz)))),
        rate_limit.map(|limit| ("rate_limit", HttpFilterConfig::LocalRateLimit(Arc::new(limit)))),
    ];
    let asking = asking.into_iter().flatten().map(|(name, config)| HttpFilter::new(name, config));
    let allowing = filter("allow", RbacAction::Allow, allow);
    denying.into_iter().chain([allowing]).chain(asking).collect()
}

fn rbac(action: RbacAction, policies: rule::Policies) -> Arc<RbacFilter> {
    let mut rules = Rbac::default();
    (rules.action, rules.policies) = (action, policies);
    Arc::new(RbacFilter { rules: Some(Arc::new(rules)), ..RbacFilter::default() })
}

/// The same of connections: denied first, then allowed; without `allow`, nobody is.
fn network_rbac(deny: rule::Policies, allow: rule::Policies) -> Vec<Arc<RbacFilter>> {
    let denying = (!deny.is_empty()).then(|| rbac(RbacAction::Deny, deny));
    denying.into_iter().chain([rbac(RbacAction::Allow, allow)]).collect()
}

/// Reports ports of which the system would open only one: at the same address, or at all and at one.
pub(super) fn check_addresses(reader: &mut Reader<'_>, ports: &[(&Address, Span)]) {
    for (at, &(address, span)) in ports.iter().enumerate() {
        let before = ports.iter().take(at).find(|(before, _)| excludes(before, address));
        if let Some((first, there)) = before {
            let message = match *first == address {
                true => format!("`{address}` is listened at already"),
                false => format!("`{address}` is listened at already, by `{first}`"),
            };
            reader.report.add(code::DUPLICATE_LISTEN, span, message).label(*there, "by this one");
        }
    }
}

/// Whether nobody can listen at both. All of IPv6 is all of IPv4, too.
fn excludes(one: &Address, two: &Address) -> bool {
    let (Address::Socket(first), Address::Socket(second)) = (one, two) else { return one == two };
    let (ips, same) = ([first.ip(), second.ip()], first.port() == second.port());
    let [first, second] = ips.map(|ip| ip.to_canonical());
    let takes =
        |all: IpAddr, other: IpAddr| all.is_unspecified() && (all.is_ipv6() || other.is_ipv4());
    same && (first == second || takes(first, second) || takes(second, first))
}

/// Reports a port that wants an identity where there is none.
fn without_identity(reader: &mut Reader<'_>, span: Span, what: &str) {
    let message = format!("{what} needs an identity, and there is none");
    reader.report.add(code::TLS_WITHOUT_IDENTITY, span, message).suggest(
        "say who we are: `identity: { cert: …, key: …, roots: … }`, or open the port: `mtls: off`",
    );
}
