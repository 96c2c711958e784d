//! Why a server takes a request, or does not: which chain, which rule, and which rules were close.
//!
//! The chain is chosen by the listener's own matches and the rules are asked by the code that decides about
//! requests. A rule that was close is one of which a half fits: who asks, or what is asked for. Filters that
//! ask somebody outside, or count, are named and not asked. The path is the one that a server makes of what is
//! written.

use super::policies::time;
use crate::head::RequestHead;
use crate::identity::{Peer, PeerCertificate, SpiffeId};
use crate::inbound::path::{NormalizedPath, normalize};
use crate::inbound::{CompiledFilterChain, CompiledListener, ConnectionFacts, Refusal};
use crate::model::filter_chain::TransportProtocol;
use crate::model::{HttpFilterConfig, RateLimitScope, RbacAction, RbacFilter, TokenBucket};
use crate::proxy::detect::Beginning;
use crate::random::SplitMix64;
use crate::rbac::{CompiledRbac, Connection, Near, Request};
use crate::time::WallTime;
use http::{HeaderMap, Method};

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

/// The most rules that were close of one filter.
const NEAR: usize = 20;

/// A request to a server.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct InboundRequest {
    /// Who asks, by a certificate that was verified; `None`: in plaintext.
    pub from: Option<SpiffeId>,
    /// Where it comes from; `None`: from nowhere that has an IP address.
    pub address: Option<SocketAddr>,
    /// Its method.
    pub method: Method,
    /// Its path and query.
    pub path: String,
    /// Its authority.
    pub authority: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// When it comes, for chains that are for a while ([`FilterChain::until`](crate::model::FilterChain::until));
    /// `None`: while they are.
    pub now: Option<WallTime>,
}

impl InboundRequest {
    /// A `GET` of `path`, in plaintext, without headers.
    #[must_use]
    pub fn new(path: impl Into<String>) -> Self {
        Self {
            from: None,
            address: None,
            method: Method::GET,
            path: path.into(),
            authority: String::new(),
            headers: HeaderMap::new(),
            now: None,
        }
    }
}

/// What becomes of a request to a server, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedInbound {
    /// The port's name.
    pub port: Arc<str>,
    /// The connection's chain, and how it is secured; `None`: it is closed.
    pub chain: Option<(Arc<str>, &'static str)>,
    /// Where the port finds out what its connections carry: what becomes of one that is not HTTP.
    pub not_http: Option<String>,
    /// Path and query as rules and the service see them; `None`: as they came.
    pub path: Option<String>,
    /// What each filter says, until one refuses.
    pub filters: Vec<ExplainedFilter>,
    /// What it ends in.
    pub conclusion: InboundConclusion,
}

/// What a filter says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ExplainedFilter {
    /// Its name.
    pub name: Arc<str>,
    /// What it decides, in words.
    pub says: String,
    /// The rules that were close, when no rule fits.
    pub near: Vec<String>,
}

/// What a request to a server ends in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InboundConclusion {
    /// It goes on to the service.
    Allowed,
    /// The connection is not taken, for this reason.
    Closed(&'static str),
    /// What is wrong with the request, which says the status as well.
    Refused(Refusal),
    /// The caller is sent to this path (307); of gRPC it is refused.
    Redirected(String),
    /// This filter answers 403; gRPC: PERMISSION_DENIED.
    Denied(Arc<str>),
}

/// Explains what becomes of a request to a server.
#[must_use]
pub fn explain_inbound(listener: &CompiledListener, request: &InboundRequest) -> ExplainedInbound {
    let peer = match &request.from {
        Some(id) => Peer::Certified(Arc::new(PeerCertificate::of(id))),
        None => Peer::Plaintext,
    };
    let mut explained = ExplainedInbound {
        port: Arc::clone(&listener.model().name),
        chain: None,
        not_http: None,
        path: None,
        filters: Vec::new(),
        conclusion: InboundConclusion::Allowed,
    };
    let Some(chain) = chain_of(listener, request) else {
        explained.conclusion =
            InboundConclusion::Closed("no filter chain is for such a connection");
        return explained;
    };
    let until = chain.model().until;
    let secured = chain.model().tls.as_ref();
    let word = match secured {
        None => "plaintext",
        Some(tls) if tls.wants_certificate(None) => "mutual TLS",
        Some(_) => "TLS",
    };
    explained.chain = Some((Arc::clone(&chain.model().name), word));
    explained.not_http =
        chain.detection().map(|detection| match detection.decide(Beginning::Other) {
            Ok(_) => "passed on as bytes, by the same rules".to_owned(),
            Err(needs) => format!("refused: {needs}"),
        });
    if until.zip(request.now).is_some_and(|(until, now)| until <= now) {
        explained.conclusion = InboundConclusion::Closed("its time is over (`until`)");
        return explained;
    }
    match (secured, &peer) {
        (Some(_), Peer::Plaintext) => {
            explained.conclusion =
                InboundConclusion::Closed("the port takes TLS only, and this is plaintext");
        }
        (None, Peer::Certified(_)) => {
            explained.conclusion = InboundConclusion::Closed(
                "the port takes plaintext only, where nobody proves an identity",
            );
        }
        _ => filters(chain, request, &peer, &mut explained),
    }
    explained
}

/// The chain of the connection: TLS if somebody proves who it is.
fn chain_of<'l>(
    listener: &'l CompiledListener,
    request: &InboundRequest,
) -> Option<&'l Arc<CompiledFilterChain>> {
    let transport_protocol = match request.from {
        Some(_) => TransportProtocol::Tls,
        None => TransportProtocol::RawBuffer,
    };
    let destination = match &listener.model().address {
        Some(crate::model::Address::Socket(address)) => Some(*address),
        _ => None,
    };
    listener.select(&ConnectionFacts {
        destination,
        direct_source: request.address,
        source: request.address,
        transport_protocol,
        server_name: "",
        application_protocols: &["h2", "http/1.1"],
    })
}

fn filters(
    chain: &CompiledFilterChain,
    request: &InboundRequest,
    peer: &Peer,
    explained: &mut ExplainedInbound,
) {
    let connection = Connection {
        peer,
        local: None,
        direct_remote: request.address,
        source: request.address,
        requested_server_name: "",
    };
    let Some(http) = chain.http() else { return };
    match normalize(&request.path, &http.model().path) {
        Ok(NormalizedPath::Unchanged) => {}
        Ok(NormalizedPath::Changed(path)) => explained.path = Some(path),
        Ok(NormalizedPath::Redirect(path)) => {
            explained.conclusion = InboundConclusion::Redirected(path);
            return;
        }
        Err(refused) => {
            explained.conclusion = InboundConclusion::Refused(refused.into());
            return;
        }
    }
    let path = explained.path.clone();
    let path = path.as_deref().unwrap_or(&request.path);
    let head = RequestHead::new(&request.method, &request.authority, path, &request.headers);
    let mut asked = Request::new(&head, &connection);
    // A route by chance is any: what it says is told of one of them.
    let route = http.router().route(&head, &mut SplitMix64::new(0));
    let metadata = route.map(|decision| Arc::clone(&decision.route().model().metadata));
    asked.route_metadata = metadata.as_deref().ok();
    for filter in &http.model().http_filters {
        let Some(rbac) = rules_of(&filter.config) else {
            let (name, says) = (Arc::clone(&filter.name), not_asked(&filter.config));
            explained.filters.push(ExplainedFilter { name, says, near: Vec::new() });
            continue;
        };
        let (told, allowed) = rules(&filter.name, rbac, &asked);
        explained.filters.push(told);
        if !allowed {
            explained.conclusion = InboundConclusion::Denied(Arc::clone(&filter.name));
            return;
        }
    }
}

/// What is told of a filter that is not asked.
fn not_asked(config: &HttpFilterConfig) -> String {
    let rate = match config {
        HttpFilterConfig::LocalRateLimit(limit) => limit.token_bucket.map(|b| (b, limit.scope)),
        _ => None,
    };
    let Some((bucket, scope)) = rate else {
        return "not asked here: it depends on what came before, or on others".to_owned();
    };
    let TokenBucket { max_tokens, tokens_per_fill, fill_interval } = bucket;
    let per = time(fill_interval);
    let whose = match scope {
        RateLimitScope::Process => "of all requests",
        RateLimitScope::Connection => "of each connection",
        RateLimitScope::Peer => "of each peer",
    };
    format!(
        "takes {tokens_per_fill} requests {whose} in {per}, at most {max_tokens} at once; not counted here"
    )
}

/// The rules of a filter; `None`: it decides by something else.
const fn rules_of(config: &HttpFilterConfig) -> Option<&Arc<RbacFilter>> {
    match config {
        HttpFilterConfig::Rbac(rbac) => Some(rbac),
        _ => None,
    }
}

/// What the rules of a filter say, and whether the request goes on.
fn rules(name: &Arc<str>, filter: &RbacFilter, asked: &Request<'_>) -> (ExplainedFilter, bool) {
    let told = |says: String, near| ExplainedFilter { name: Arc::clone(name), says, near };
    let rules = filter.rules.as_deref().map(CompiledRbac::new);
    // Rules that can't be compiled are in no listener that is in force.
    let Some(Ok(rules)) = rules else { return (told("has no rules".to_owned(), Vec::new()), true) };
    let verdict = rules.evaluate(asked);
    let says = match (rules.action(), verdict.policy) {
        (RbacAction::Allow, Some(policy)) => format!("`{policy}` allows it"),
        (RbacAction::Deny, Some(policy)) => format!("`{policy}` denies it"),
        (RbacAction::Log, Some(policy)) => format!("`{policy}` has it logged"),
        (RbacAction::Allow, None) if rules.policies().len() == 0 => {
            "there is no rule, so everything is refused".to_owned()
        }
        (RbacAction::Allow, None) => "no rule fits, and what no rule allows is refused".to_owned(),
        (RbacAction::Deny | RbacAction::Log, None) => "no rule fits".to_owned(),
    };
    let near = match verdict.policy {
        Some(_) => Vec::new(),
        None => rules.near(asked).filter_map(close).take(NEAR).collect(),
    };
    (told(says, near), verdict.allowed)
}

/// A rule of which a half fits.
fn close(near: Near<'_>) -> Option<String> {
    let what = match (near.who_fits, near.what_fits) {
        (true, true) if !near.when_fits => {
            "is for who asks and for what is asked, but its condition does not hold"
        }
        (true, false) => "is for who asks, and not for what is asked",
        (false, true) => "is for what is asked, and not for who asks",
        _ => return None,
    };
    Some(format!("`{}` {what}", near.policy))
}

impl fmt::Display for ExplainedInbound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "port        `{}`", self.port)?;
        if let Some((chain, secured)) = &self.chain {
            write!(f, ", chain `{chain}`: {secured}")?;
        }
        writeln!(f)?;
        if let Some(becomes) = &self.not_http {
            writeln!(f, "not HTTP    {becomes}")?;
        }
        if let Some(path) = &self.path {
            writeln!(f, "path        is `{path}`")?;
        }
        for filter in &self.filters {
            writeln!(f, "{:<11} {}", filter.name, filter.says)?;
            for near in &filter.near {
                writeln!(f, "            {near}")?;
            }
        }
        match &self.conclusion {
            InboundConclusion::Allowed => writeln!(f, "\nallowed"),
            InboundConclusion::Closed(why) => writeln!(f, "\nrefused: {why}"),
            InboundConclusion::Refused(why) => {
                let status = why.http_status().as_u16();
                writeln!(f, "\nrefused: {why}: {status}, or INTERNAL of gRPC")
            }
            InboundConclusion::Redirected(path) => {
                writeln!(f, "\nsent to `{path}`: 307, or INTERNAL of gRPC")
            }
            InboundConclusion::Denied(filter) => {
                writeln!(f, "\nrefused by `{filter}`: 403, or PERMISSION_DENIED of gRPC")
            }
        }
    }
}

#[cfg(feature = "config")]
impl ExplainedInbound {
    /// The same as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> crate::Json {
        use serde_json::json;
        let filters: Vec<_> = self
            .filters
            .iter()
            .map(|one| json!({ "name": *one.name, "says": one.says, "near": one.near }))
            .collect();
        let (conclusion, why) = match &self.conclusion {
            InboundConclusion::Allowed => ("allowed", None),
            InboundConclusion::Closed(why) => ("closed", Some((*why).to_owned())),
            InboundConclusion::Refused(why) => ("refused", Some(why.to_string())),
            InboundConclusion::Redirected(path) => ("redirected", Some(path.clone())),
            InboundConclusion::Denied(filter) => ("denied", Some(filter.to_string())),
        };
        crate::Json(json!({
            "port": *self.port,
            "chain": self.chain.as_ref().map(|(name, secured)| json!({ "name": **name, "secured": secured })),
            "not_http": self.not_http,
            "path": self.path,
            "filters": filters,
            "conclusion": conclusion,
            "by": why,
        }))
    }
}
