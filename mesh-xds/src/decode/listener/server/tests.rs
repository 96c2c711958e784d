//! What listeners mean to a server, and what is wrong with them (gRFC A36, A29, A41).

mod accepted;
mod fields;
mod ports;
mod refused;

use crate::decode::testing::{self, any};
use crate::decode::{Context, Decoded, decode};
use crate::{Resource, ResourceType, XdsServer};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::config::listener::v3 as pb;
use envoy_types::pb::envoy::config::rbac::v3 as pb_rbac;
use envoy_types::pb::envoy::config::route::v3 as pb_route;
use envoy_types::pb::envoy::extensions::filters::http::rbac::v3::Rbac as HttpRbac;
use envoy_types::pb::envoy::extensions::filters::http::router::v3::Router;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as hcm;
use envoy_types::pb::envoy::extensions::filters::network::rbac::v3::Rbac as NetworkRbac;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3 as tls;
use envoy_types::pb::google::protobuf::Any;
use hcm::http_connection_manager::RouteSpecifier;
use prost::Message;
use std::sync::Arc;

/// A listener of a server: one chain whose manager has the routes `r`.
fn base() -> pb::Listener {
    pb::Listener {
        name: "in".into(),
        address: testing::address(testing::socket("127.0.0.1", 8080)),
        filter_chains: vec![chain(&manager())],
        traffic_direction: core::TrafficDirection::Inbound as i32,
        ..Default::default()
    }
}

fn manager() -> hcm::HttpConnectionManager {
    let routes = hcm::Rds { config_source: testing::ads(), route_config_name: "r".into() };
    hcm::HttpConnectionManager {
        route_specifier: Some(RouteSpecifier::Rds(routes)),
        http_filters: vec![http_filter("router", any(&Router::default()))],
        ..Default::default()
    }
}

fn http_filter(name: &str, config: Any) -> hcm::HttpFilter {
    let config_type = Some(hcm::http_filter::ConfigType::TypedConfig(config));
    hcm::HttpFilter { name: name.into(), config_type, ..Default::default() }
}

fn network_filter(name: &str, config: Any) -> pb::Filter {
    pb::Filter { name: name.into(), config_type: Some(pb::filter::ConfigType::TypedConfig(config)) }
}

fn chain(manager: &hcm::HttpConnectionManager) -> pb::FilterChain {
    pb::FilterChain { filters: vec![network_filter("http", any(manager))], ..Default::default() }
}

/// Changes the manager of the first chain.
fn http(listener: &mut pb::Listener, change: impl FnOnce(&mut hcm::HttpConnectionManager)) {
    let mut manager = manager();
    change(&mut manager);
    listener.filter_chains[0].filters = vec![network_filter("http", any(&manager))];
}

/// Secures the first chain: our certificate, and those who sign clients', come from the provider `mesh`.
fn secure(listener: &mut pb::Listener, change: impl FnOnce(&mut tls::DownstreamTlsContext)) {
    let mut context = tls::DownstreamTlsContext::default();
    common(&mut context).tls_certificate_provider_instance = Some(instance("mesh"));
    validation(&mut context).ca_certificate_provider_instance = Some(instance("mesh"));
    change(&mut context);
    listener.filter_chains[0].transport_socket = Some(socket(any(&context)));
}

fn socket(config: Any) -> core::TransportSocket {
    let config_type = Some(core::transport_socket::ConfigType::TypedConfig(config));
    core::TransportSocket { name: "x".into(), config_type }
}

fn common(context: &mut tls::DownstreamTlsContext) -> &mut tls::CommonTlsContext {
    context.common_tls_context.get_or_insert_default()
}

fn validation(context: &mut tls::DownstreamTlsContext) -> &mut tls::CertificateValidationContext {
    use tls::common_tls_context::ValidationContextType as Kind;
    let kind = &mut common(context).validation_context_type;
    match kind.get_or_insert_with(|| Kind::ValidationContext(Default::default())) {
        Kind::ValidationContext(validation) => validation,
        other => panic!("{other:?}"),
    }
}

fn instance(name: &str) -> tls::CertificateProviderPluginInstance {
    tls::CertificateProviderPluginInstance { instance_name: name.into(), ..Default::default() }
}

/// The match of the first chain.
fn matching(listener: &mut pb::Listener) -> &mut pb::FilterChainMatch {
    listener.filter_chains[0].filter_chain_match.get_or_insert_default()
}

/// Another chain of this match.
fn add(listener: &mut pb::Listener, matcher: pb::FilterChainMatch) {
    let other = pb::FilterChain { filter_chain_match: Some(matcher), ..chain(&manager()) };
    listener.filter_chains.push(other);
}

fn block(address: &str, bits: u32) -> core::CidrRange {
    core::CidrRange { address_prefix: address.into(), prefix_len: testing::n(bits) }
}

/// A policy that allows everybody everything.
fn allow_all() -> pb_rbac::Rbac {
    let policy = pb_rbac::Policy {
        permissions: vec![pb_rbac::Permission { rule: Some(pb_rbac::permission::Rule::Any(true)) }],
        principals: vec![pb_rbac::Principal {
            identifier: Some(pb_rbac::principal::Identifier::Any(true)),
        }],
        ..Default::default()
    };
    pb_rbac::Rbac { policies: [("all".to_owned(), policy)].into(), ..Default::default() }
}

fn http_rbac() -> Any {
    any(&HttpRbac { rules: Some(allow_all()), ..Default::default() })
}

fn network_rbac() -> Any {
    any(&NetworkRbac { rules: Some(allow_all()), stat_prefix: "x".into(), ..Default::default() })
}

fn read(change: impl FnOnce(&mut pb::Listener), context: &Context) -> Decoded {
    let mut listener = base();
    change(&mut listener);
    decode(ResourceType::Listener, &listener.encode_to_vec(), context)
}

#[track_caller]
fn server(decoded: &Decoded) -> Arc<XdsServer> {
    match &decoded.resource {
        Ok(Resource::Listener(listener)) => match &listener.server {
            Some(Ok(server)) => Arc::clone(server),
            other => panic!("{other:#?}"),
        },
        other => panic!("{other:#?}"),
    }
}

/// Changes the base, which is refused at this path, for a reason with this text in it, and for nothing else.
#[track_caller]
fn check_refused(change: impl FnOnce(&mut pb::Listener), path: &str, text: &str) {
    let decoded = read(change, &testing::context());
    let errors = match decoded.resource {
        Err(errors) => errors,
        Ok(found) => panic!("{path}: accepted: {found:#?}"),
    };
    assert_eq!(errors.len(), 1, "{path}: {errors:#?}");
    assert_eq!(errors[0].path, path, "{}", errors[0].message);
    assert!(errors[0].message.contains(text), "{path}: `{}` lacks `{text}`", errors[0].message);
}

/// A listener that nobody asked for by name is kept, with what is wrong with it for a server.
#[test]
fn of_all_listeners_one_that_can_not_serve_is_kept() {
    let context = Context { all_listeners: true, ..testing::context() };
    let decoded = read(|l| l.use_original_dst = testing::yes(), &context);
    let Ok(Resource::Listener(listener)) = decoded.resource else { panic!("{decoded:#?}") };
    let errors = listener.server.as_ref().unwrap().as_ref().unwrap_err();
    assert_eq!(errors[0].path, "use_original_dst");
    assert_eq!(listener.http, None);
}

/// One without a direction may be for clients as well: it is refused for what only a server minds where a server asks for
/// it by name.
#[test]
fn a_listener_without_a_direction_is_for_both() {
    let unspecified = |l: &mut pb::Listener| l.traffic_direction = 0;
    let decoded = read(unspecified, &testing::context());
    let Ok(Resource::Listener(listener)) = &decoded.resource else { panic!("{decoded:#?}") };
    assert!(listener.http.is_some());
    assert_eq!(server(&decoded).listener.filter_chains.len(), 1);
    let decoded = read(
        |l| {
            unspecified(l);
            secure(l, |t| t.require_sni = testing::yes());
        },
        &testing::context(),
    );
    let Ok(Resource::Listener(listener)) = &decoded.resource else { panic!("{decoded:#?}") };
    assert!(listener.http.is_some() && listener.server.as_ref().unwrap().is_err());
    let asked = Context { servers: ["in".into()].into(), ..testing::context() };
    let wrong = |l: &mut pb::Listener| {
        (l.name, l.traffic_direction) = ("in".into(), 0);
        secure(l, |t| t.require_sni = testing::yes());
    };
    // gRFC A36: a server asks for it by its name.
    let decoded = read(wrong, &asked);
    assert!(decoded.resource.unwrap_err()[0].path.ends_with("require_sni"));
    let decoded = read(wrong, &Context { all_listeners: true, ..asked });
    assert!(decoded.resource.unwrap_err()[0].path.ends_with("require_sni"));
    let outbound = core::TrafficDirection::Outbound as i32;
    let decoded = read(|l| l.traffic_direction = outbound, &testing::context());
    let Ok(Resource::Listener(listener)) = &decoded.resource else { panic!("{decoded:#?}") };
    assert_eq!(listener.server, None);
}

/// What only a server can do is not refused for clients, where the listener may be a server's.
#[test]
fn what_only_a_server_can_do_is_not_refused_for_calls() {
    use envoy_types::pb::envoy::extensions::filters::http::jwt_authn::v3::JwtAuthentication;
    let at = "filter_chains[0].filters[0].typed_config";
    let tokens = |m: &mut hcm::HttpConnectionManager| {
        m.http_filters.insert(0, http_filter("tokens", any(&JwtAuthentication::default())));
    };
    let hops = |m: &mut hcm::HttpConnectionManager| m.xff_num_trusted_hops = 1;
    type Change = fn(&mut hcm::HttpConnectionManager);
    for (change, field) in [(tokens as Change, "http_filters[0]"), (hops, "xff_num_trusted_hops")] {
        let path = format!("{at}.{field}");
        let of = |direction: core::TrafficDirection| {
            let direction = direction as i32;
            let change = |l: &mut pb::Listener| {
                l.traffic_direction = direction;
                http(l, change);
            };
            read(change, &testing::context())
        };
        let decoded = of(core::TrafficDirection::Unspecified);
        let Ok(Resource::Listener(listener)) = &decoded.resource else { panic!("{decoded:#?}") };
        assert_eq!(listener.http, None);
        let why = listener.not_for_calls.as_ref().unwrap();
        assert!(why.starts_with(&path), "{why}");
        assert!(testing::ignored(&decoded).contains(&&*path));
        assert_eq!(server(&decoded).listener.filter_chains.len(), 1);
        let decoded = of(core::TrafficDirection::Outbound);
        assert_eq!(decoded.resource.unwrap_err()[0].path, path);
    }
}

/// What Istio sends to a gRPC server (`pilot/pkg/networking/grpcgen`): a chain of mTLS by certificate
/// providers, RBAC, and a route that leads nowhere.
#[test]
fn a_listener_of_istio_for_grpc() {
    let decoded = read(
        |l| {
            l.traffic_direction = 0;
            l.name = "xds.istio.io/grpc/lds/inbound/0.0.0.0:7070".into();
            http(l, |m| {
                m.http_filters.insert(0, http_filter("rbac", http_rbac()));
                let route = pb_route::Route {
                    r#match: Some(pb_route::RouteMatch {
                        path_specifier: Some(pb_route::route_match::PathSpecifier::Prefix(
                            "/".into(),
                        )),
                        ..Default::default()
                    }),
                    action: Some(pb_route::route::Action::NonForwardingAction(Default::default())),
                    ..Default::default()
                };
                let host = pb_route::VirtualHost {
                    name: "inbound|http|7070".into(),
                    domains: vec!["*".into()],
                    routes: vec![route],
                    ..Default::default()
                };
                m.route_specifier =
                    Some(RouteSpecifier::RouteConfig(pb_route::RouteConfiguration {
                        name: "inbound".into(),
                        virtual_hosts: vec![host],
                        ..Default::default()
                    }));
            });
            secure(l, |t| t.require_client_certificate = testing::yes());
        },
        &testing::context(),
    );
    let found = server(&decoded);
    let chain = &found.listener.filter_chains[0];
    let (tls, http) = (chain.tls.as_ref().unwrap(), chain.http.as_ref().unwrap());
    assert!(tls.require_client_certificate && tls.roots.is_some());
    assert_eq!(http.http_filters.len(), 1);
    let route = &http.route_configuration.virtual_hosts[0].routes[0];
    assert_eq!(route.action, mesh_core::model::RouteAction::NonForwarding);
    assert_eq!(found.routes, [None]);
    let listener = mesh_core::inbound::CompiledListener::compile(&found.listener, None);
    assert!(listener.is_ok(), "{listener:?}");
}
