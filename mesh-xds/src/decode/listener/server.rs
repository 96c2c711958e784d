//! A socket listener → what a server does by it (gRFC A36; Envoy: `Listener`).
//!
//! Where gRPC refuses what Envoy has a meaning for and our servers can do, Envoy's meaning holds, so that one
//! listener means the same to both: a port, server names, `tls` and ALPN in a match (of which gRPC says that
//! such a chain never matches), secrets, network RBAC, and the TLS inspector, which our acceptor is by itself.
//!
//! What it does not do: compile. Routes that come by RDS are put in by the cascade.

mod chain;
mod chain_match;
mod manager;
mod network;
mod proxy;
mod tcp_proxy;
#[cfg(test)]
mod tests;
mod tls;

use crate::decode::address::address;
use crate::decode::common::{self, Walk, type_name};
use crate::decode::{Context, FieldError, Ignored, words};
use crate::{RouteSource, XdsChainRoutes, XdsServer};
use envoy_types::pb::envoy::config::listener::v3 as pb;
use mesh_core::inbound::{CompiledListener, check_matches};
use mesh_core::model::{Capture, FilterChain, Forward, ForwardTo, Listener, RouteConfiguration};
use pb::listener_filter::ConfigType;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use words::Words;

/// Sees the ClientHello before a chain is chosen, as our acceptor does.
const TLS_INSPECTOR: &str = "envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector";
/// Sees which protocol plaintext is; a connection is not told apart by it here.
const HTTP_INSPECTOR: &str = "envoy.extensions.filters.listener.http_inspector.v3.HttpInspector";

/// What came of a listener, or everything that is wrong with it; and what does nothing.
pub(super) type Read<T> = (Result<T, Vec<FieldError>>, Vec<Ignored>);

/// What a server does by a listener; or everything that is wrong with it for a server. What does nothing is
/// beside it.
pub(super) fn decode(message: &pb::Listener, context: &Context) -> Read<XdsServer> {
    let mut walk = Walk::default();
    unsupported(&mut walk, message, false);
    let (mut found, routes) = listener(&mut walk, message, context, false);
    words::read(&mut walk, message.metadata.as_ref(), |walk, words| {
        words.within(walk, "forward", |walk, words| found.forward = forward(walk, words));
        found.proxy_protocol = words.flag(walk, "proxy_protocol").unwrap_or_default();
        found.capture = capture(walk, words);
    });
    let (mut errors, ignored) = walk.into_parts();
    if !errors.is_empty() {
        return (Err(errors), ignored);
    }
    let server = with_routes(found, routes);
    // What its own routes say of filters, for one. Of routes that are elsewhere the cascade knows.
    let compiled = CompiledListener::compile(&server.listener, None).err().unwrap_or_default();
    errors.extend(compiled.iter().map(|wrong| common::error("filter_chains", wrong)));
    match errors.is_empty() {
        true => (Ok(server), ignored),
        false => (Err(errors), ignored),
    }
}

pub(super) use proxy::decode as decode_proxy;

/// A server's listener. Routes that are elsewhere are none until they are there.
fn with_routes(mut listener: Listener, routes: Vec<XdsChainRoutes>) -> XdsServer {
    let mut names = Vec::with_capacity(routes.len());
    let chains = listener.filter_chains.iter_mut().chain(&mut listener.default_filter_chain);
    for (chain, routes) in chains.zip(routes) {
        let (own, name) = match routes.source {
            RouteSource::Inline(routes) => (Arc::clone(&routes.model), None),
            RouteSource::Rds(name) => {
                let mut empty = RouteConfiguration::default();
                empty.name = Arc::clone(&name);
                (Arc::new(empty), Some(name))
            }
        };
        if let Some(http) = &mut Arc::make_mut(chain).http {
            let own = own.for_filters(&http.http_filters);
            Arc::make_mut(http).route_configuration = own;
        }
        names.push(name);
    }
    XdsServer::new(Arc::new(listener), names)
}

/// What holds for its connections, and where the routes of each chain are, in the order of
/// [`Listener::chains`].
fn listener(
    walk: &mut Walk,
    message: &pb::Listener,
    context: &Context,
    is_proxy: bool,
) -> (Listener, Vec<XdsChainRoutes>) {
    let mut found = Listener::new(&*message.name);
    found.address = address(walk, message.address.as_ref());
    let listener = found.name.clone();
    let reader = Reader { context, listener: &listener, is_proxy };
    let mut chains = Chains { names: BTreeSet::new(), reader };
    let mut routes = Vec::new();
    for (at, chain) in message.filter_chains.iter().enumerate() {
        walk.at(format_args!("filter_chains[{at}]"), |walk| {
            let place = format!("filter_chains[{at}]");
            if let Some((chain, own)) = chains.read(walk, chain, &place) {
                found.filter_chains.push(Arc::new(chain));
                routes.push(own);
            }
        });
    }
    if let Some(chain) = &message.default_filter_chain {
        walk.at("default_filter_chain", |walk| {
            walk.ignored(
                chain.filter_chain_match.is_some(),
                "filter_chain_match",
                "the default chain is for all that no other chain is for",
            );
            if let Some((chain, own)) = chains.read(walk, chain, "default_filter_chain") {
                found.default_filter_chain = Some(Arc::new(chain));
                routes.push(own);
            }
        });
    }
    if message.filter_chains.is_empty() && message.default_filter_chain.is_none() {
        walk.error_at(
            "filter_chains",
            "a server needs one, or a `default_filter_chain` (gRFC A36)",
        );
    }
    // gRFC A36: also when only one pair of their combinations is the same.
    if let Err(duplicate) = check_matches(&found.filter_chains) {
        walk.error_at("filter_chains", format_args!("{duplicate} (gRFC A36)"));
    }
    (found, routes)
}

/// Which connections to others are led to it.
fn capture(walk: &mut Walk, words: &mut Words<'_>) -> Option<Capture> {
    let said = words.text(walk, "capture")?;
    if said == "rest" {
        return Some(Capture::Rest);
    }
    let ports: Result<Vec<u16>, _> = said.split(' ').map(str::parse).collect();
    match ports {
        Ok(ports) if !ports.contains(&0) => Some(Capture::Ports(ports)),
        _ => {
            walk.error_at("capture", "it is `rest`, or ports with a space between them");
            None
        }
    }
}

/// Where `mesh proxy` sends what the listener takes.
fn forward(walk: &mut Walk, words: &mut Words<'_>) -> Option<Forward> {
    const TO: [(&str, To); 3] = [
        ("application", |authority| Some(ForwardTo::Application(authority?))),
        ("authority", |authority| Some(ForwardTo::Authority(authority?))),
        ("each_authority", |_| Some(ForwardTo::EachAuthority)),
    ];
    let to = words.one_of(walk, "to", &TO);
    let authority = words.text(walk, "authority").map(Arc::from);
    let idle = words.time(walk, "idle_timeout", Duration::ZERO);
    let to = to.and_then(|to| to(authority));
    if to.is_none() {
        walk.error("it says to whom (`to`), and by which `authority`");
    }
    let mut forward = Forward::new(to?);
    if let Some(idle) = idle {
        forward.idle_timeout = Some(idle).filter(|idle| !idle.is_zero());
    }
    Some(forward)
}

type To = fn(Option<Arc<str>>) -> Option<ForwardTo>;

/// gRFC A36: what a server can't do must not be set. `is_proxy`: nor what a proxy's port can't.
fn unsupported(walk: &mut Walk, message: &pb::Listener, is_proxy: bool) {
    let redirected = message.use_original_dst.is_some_and(|used| used.value);
    for (set, field, why) in [
        (
            redirected,
            "use_original_dst",
            match is_proxy {
                true => {
                    "no other listener takes its connections: leave it out, or `capture` them with a mesh.yaml"
                }
                false => "connections are not redirected here (gRFC A36): leave it out",
            },
        ),
        (
            message.filter_chain_matcher.is_some(),
            "filter_chain_matcher",
            "match trees are not supported: use `filter_chain_match`",
        ),
        (
            message.udp_listener_config.is_some(),
            "udp_listener_config",
            "a server listens on TCP: leave it out",
        ),
    ] {
        if set {
            walk.error_at(field, why);
        }
    }
    for (at, filter) in message.listener_filters.iter().enumerate() {
        walk.at(format_args!("listener_filters[{at}]"), |walk| {
            let Some(ConfigType::TypedConfig(any)) = &filter.config_type else {
                walk.error("a listener filter has a configuration, and only the TLS inspector is known");
                return;
            };
            match type_name(&any.type_url) {
                TLS_INSPECTOR => {}
                proxy::PROXY_PROTOCOL if is_proxy => {}
                HTTP_INSPECTOR => {
                    walk.ignored(true, "typed_config", "plaintext is not told apart by its protocol");
                }
                other if is_proxy => walk.error(format_args!(
                    "the listener filter `{other}` is not supported: only `{TLS_INSPECTOR}` and `{}` are",
                    proxy::PROXY_PROTOCOL
                )),
                other => walk.error(format_args!(
                    "the listener filter `{other}` is not supported: only `{TLS_INSPECTOR}` is (gRFC \
                     A36 refuses all)"
                )),
            }
        });
    }
}

/// Who reads.
#[derive(Clone, Copy)]
struct Reader<'c> {
    context: &'c Context,
    /// The listener's name.
    listener: &'c Arc<str>,
    /// A proxy, and no server: what comes is passed on.
    is_proxy: bool,
}

/// The chains of a listener, as they are read.
struct Chains<'c> {
    names: BTreeSet<Arc<str>>,
    reader: Reader<'c>,
}

impl Chains<'_> {
    /// One chain, and where its routes are. `None`: it can't be.
    ///
    /// A connection finds its chain by name again when the configuration changes, so two chains never have
    /// the same: one without a name, or with one that is taken, is called after its place.
    fn read(
        &mut self,
        walk: &mut Walk,
        message: &pb::FilterChain,
        place: &str,
    ) -> Option<(FilterChain, XdsChainRoutes)> {
        let mut name: Arc<str> = match message.name.is_empty() {
            true => place.into(),
            false => message.name.as_str().into(),
        };
        // It ends: every turn makes the name longer, and the names that are taken are finite.
        while !self.names.insert(Arc::clone(&name)) {
            name = format!("{name} ({place})").into();
        }
        chain::decode(walk, message, name, self.reader)
    }
}
