//! What listeners mean, and what is wrong with them.

mod fields;
mod filters;

use super::{MANAGER, pb};
use crate::decode::route::tests::{base as routes, packed};
use crate::decode::{Context, Decoded, decode};
use crate::{HttpFilter, Resource, ResourceType, RouteSource, XdsListener};
use envoy_types::pb::envoy::config::core::v3 as pb_core;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3 as pb_hcm;
use envoy_types::pb::google::protobuf::{Any, Duration};
use pb_core::config_source::ConfigSourceSpecifier;
use pb_hcm::http_connection_manager::RouteSpecifier;
use prost::Message;
use std::sync::Arc;

const ROUTER: &str = "envoy.extensions.filters.http.router.v3.Router";
const FAULT: &str = "envoy.extensions.filters.http.fault.v3.HTTPFault";

/// A listener under test: its connection manager apart, so that both can be edited.
#[derive(Clone, Default)]
struct Draft {
    listener: pb::Listener,
    manager: pb_hcm::HttpConnectionManager,
}

impl Draft {
    /// An API listener whose manager asks for the routes `r`.
    fn base() -> Self {
        let manager = pb_hcm::HttpConnectionManager {
            http_filters: vec![filter("router", ROUTER)],
            route_specifier: Some(RouteSpecifier::Rds(rds("r"))),
            ..Default::default()
        };
        let listener = pb::Listener {
            name: "l".into(),
            api_listener: Some(pb::ApiListener::default()),
            ..Default::default()
        };
        Self { listener, manager }
    }

    /// A socket listener with a chain of that manager.
    fn socket(&mut self) {
        self.listener.api_listener = None;
        self.listener.address = Some(pb_core::Address::default());
        self.listener.filter_chains = vec![chain(&self.manager)];
        self.listener.traffic_direction = pb_core::TrafficDirection::Outbound as i32;
    }

    fn read(&self) -> Decoded {
        let mut listener = self.listener.clone();
        // What a row has put there stays.
        if listener.api_listener == Some(pb::ApiListener::default()) {
            let manager = packed(MANAGER, self.manager.encode_to_vec());
            listener.api_listener = Some(pb::ApiListener { api_listener: Some(manager) });
        }
        decode(ResourceType::Listener, &listener.encode_to_vec(), &Context::default())
    }
}

fn filter(name: &str, message: &str) -> pb_hcm::HttpFilter {
    pb_hcm::HttpFilter {
        name: name.into(),
        config_type: Some(pb_hcm::http_filter::ConfigType::TypedConfig(packed(
            message,
            Vec::new(),
        ))),
        ..Default::default()
    }
}

fn rds(name: &str) -> pb_hcm::Rds {
    let ads = ConfigSourceSpecifier::Ads(Default::default());
    let source = pb_core::ConfigSource { config_source_specifier: Some(ads), ..Default::default() };
    pb_hcm::Rds { config_source: Some(source), route_config_name: name.into() }
}

fn chain(manager: &pb_hcm::HttpConnectionManager) -> pb::FilterChain {
    let config = pb::filter::ConfigType::TypedConfig(packed(MANAGER, manager.encode_to_vec()));
    let filter = pb::Filter { name: "http".into(), config_type: Some(config) };
    pb::FilterChain { filters: vec![filter], ..Default::default() }
}

/// A chain that passes bytes on.
fn tcp() -> pb::FilterChain {
    let proxy = packed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", Vec::new());
    let config = pb::filter::ConfigType::TypedConfig(proxy);
    let filter = pb::Filter { name: "tcp".into(), config_type: Some(config) };
    pb::FilterChain { filters: vec![filter], ..Default::default() }
}

#[track_caller]
fn accepted(decoded: &Decoded) -> Arc<XdsListener> {
    match &decoded.resource {
        Ok(Resource::Listener(listener)) => listener.clone(),
        other => panic!("{other:#?}"),
    }
}

/// Edits the base and compares what is found: `! path: text` is an error, `~ path: text` is reported as
/// ignored, and there is nothing else. `M` is the connection manager. `rule` says why.
#[track_caller]
fn check(rule: &str, edit: impl FnOnce(&mut Draft), expected: &[&str]) -> Decoded {
    let mut draft = Draft::base();
    edit(&mut draft);
    let decoded = draft.read();
    let errors = decoded.resource.as_ref().err().into_iter().flatten();
    let errors = errors.map(|error| format!("! {}: {}", error.path, error.message));
    let ignored =
        decoded.ignored.iter().map(|ignored| format!("~ {}: {}", ignored.path, ignored.reason));
    let found: Vec<String> = errors.chain(ignored).collect();
    assert_eq!(found.len(), expected.len(), "{rule}: {found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        let expected = expected.replacen(" M", " api_listener.api_listener", 1);
        let (place, text) = expected.split_once(": ").unwrap();
        let (at, why) = found.split_once(": ").unwrap();
        assert_eq!(at, place, "{rule}: {found}");
        assert!(why.contains(text), "{rule}: {found} lacks `{text}`");
    }
    decoded
}

#[test]
fn an_api_listener() {
    let listener = accepted(&check("gRFC A27", |_| {}, &[]));
    assert!(listener.is_api);
    let manager = listener.http.clone().unwrap();
    assert_eq!(manager.routes, RouteSource::Rds("r".into()));
    assert_eq!((manager.max_stream_duration, manager.http_filters), (None, vec![]));
    check("gRFC A27", |d| d.listener.name.clear(), &["! name: asked for"]);
    check(
        "gRFC A27",
        |d| {
            d.listener.api_listener =
                Some(pb::ApiListener { api_listener: Some(packed("x.Y", vec![])) })
        },
        &["! M: `type.googleapis.com/x.Y`"],
    );
    check(
        "protobuf",
        |d| {
            d.listener.api_listener =
                Some(pb::ApiListener { api_listener: Some(packed(MANAGER, vec![0xff])) })
        },
        &["! M: not a valid HttpConnectionManager"],
    );
    check(
        "Envoy: exclusive",
        |d| {
            d.listener.address = Some(Default::default());
            d.listener.filter_chains = vec![tcp()];
        },
        &["~ filter_chains: api_listener", "~ address: api_listener"],
    );
    let decoded = decode(ResourceType::Listener, &[0xff], &Context::default());
    assert_eq!(decoded.name, None);
    assert!(decoded.resource.unwrap_err()[0].message.contains("not a valid message"));
    // The name survives what is wrong beside it.
    let decoded = check("gRFC A46", |d| d.manager.route_specifier = None, &["! M: no routes"]);
    assert_eq!(decoded.name.as_deref(), Some("l"));
}

#[test]
fn where_routes_are() {
    const RULE: &str = "gRFC A27, A47";
    let source = |d: &mut Draft, specifier: Option<ConfigSourceSpecifier>| {
        let mut rds = rds("r");
        rds.config_source = specifier.map(|specifier| pb_core::ConfigSource {
            config_source_specifier: Some(specifier),
            ..Default::default()
        });
        d.manager.route_specifier = Some(RouteSpecifier::Rds(rds));
    };
    check(RULE, |d| source(d, Some(ConfigSourceSpecifier::Self_(Default::default()))), &[]);
    let at = "! M.rds.config_source: `ads` or `self`";
    check(RULE, |d| source(d, None), &[at]);
    check(
        RULE,
        |d| source(d, Some(ConfigSourceSpecifier::ApiConfigSource(Default::default()))),
        &[at],
    );
    check(
        RULE,
        |d| source(d, Some(ConfigSourceSpecifier::PathConfigSource(Default::default()))),
        &[at],
    );
    check(
        RULE,
        |d| d.manager.route_specifier = Some(RouteSpecifier::Rds(rds(""))),
        &["! M.rds.route_config_name: name"],
    );
    check(
        RULE,
        |d| d.manager.route_specifier = Some(RouteSpecifier::ScopedRoutes(Default::default())),
        &["! M.scoped_routes: rds"],
    );
    check(RULE, |d| d.manager.route_specifier = None, &["! M: no routes"]);

    let inline = |listener: &XdsListener| match &listener.http.as_ref().unwrap().routes {
        RouteSource::Inline(routes) => routes.clone(),
        RouteSource::Rds(name) => panic!("{name}"),
    };
    let found = inline(&accepted(&check(
        "A27: inline",
        |d| d.manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes())),
        &[],
    )));
    assert_eq!(
        (&*found.name, found.clusters[0].len(), found.model.virtual_hosts.len()),
        ("r", 1, 1)
    );
    let found = inline(&accepted(&check(
        "A27: inline, unnamed",
        |d| {
            let mut routes = routes();
            routes.name.clear();
            d.manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
        },
        &[],
    )));
    assert_eq!(&*found.name, "l");
    check(
        "paths go on inside",
        |d| {
            let mut routes = routes();
            routes.virtual_hosts[0].domains.clear();
            routes.virtual_hosts[0].require_tls = 1;
            d.manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
        },
        &[
            "! M.route_config.virtual_hosts[0].domains: at least one",
            "~ M.route_config.virtual_hosts[0].require_tls: TLS",
        ],
    );
}

#[test]
fn the_longest_life_of_a_stream() {
    let options = |d: &mut Draft, seconds| {
        d.manager.common_http_protocol_options = Some(pb_core::HttpProtocolOptions {
            max_stream_duration: Some(Duration { seconds, nanos: 0 }),
            ..Default::default()
        });
    };
    let listener = accepted(&check("gRFC A31", |d| options(d, 7), &[]));
    assert_eq!(
        listener.http.as_ref().unwrap().max_stream_duration,
        Some(std::time::Duration::from_secs(7))
    );
    check(
        "protobuf",
        |d| options(d, -1),
        &["! M.common_http_protocol_options.max_stream_duration: no duration"],
    );
    check(
        "never silent",
        |d| {
            d.manager.common_http_protocol_options = Some(pb_core::HttpProtocolOptions {
                idle_timeout: Some(Duration::default()),
                headers_with_underscores_action: 1,
                ..Default::default()
            });
        },
        &[
            "~ M.common_http_protocol_options.idle_timeout: connections",
            "~ M.common_http_protocol_options.headers_with_underscores_action: connections",
        ],
    );
}

#[test]
fn a_socket_listener() {
    const RULE: &str = "a sidecar's listener";
    let read = |edit: &dyn Fn(&mut Draft), expected: &[&str]| {
        accepted(&check(
            RULE,
            |d| {
                d.socket();
                edit(d);
            },
            expected,
        ))
    };
    let listener = read(&|_| {}, &[]);
    assert!(!listener.is_api);
    assert_eq!(listener.http.as_ref().unwrap().routes, RouteSource::Rds("r".into()));
    let http = |edit: &dyn Fn(&mut Draft), expected: &[&str]| read(edit, expected).http.is_some();
    assert!(!http(&|d| d.listener.filter_chains = vec![tcp()], &[]));
    assert!(!http(&|d| d.listener.filter_chains.clear(), &[]));
    assert!(http(&|d| d.listener.filter_chains.push(tcp()), &[]));
    assert!(http(&|d| d.listener.filter_chains.insert(0, tcp()), &[]));
    assert!(http(&|d| d.listener.default_filter_chain = d.listener.filter_chains.pop(), &[]));
    assert!(http(&|d| d.listener.filter_chains.push(chain(&d.manager)), &[]));
    assert!(!http(
        &|d| {
            d.manager.route_specifier = Some(RouteSpecifier::Rds(rds("other")));
            d.listener.filter_chains.push(chain(&d.manager));
        },
        &["~ filter_chains: different routes"]
    ));
    assert!(http(&|d| d.listener.traffic_direction = 0, &[]));
    check("gRFC A36", |d| d.listener.api_listener = None, &["! : api_listener"]);
    check(
        "errors have their place",
        |d| {
            d.manager.xff_num_trusted_hops = 1;
            d.socket();
            d.listener.default_filter_chain = d.listener.filter_chains.first().cloned();
        },
        &[
            "! filter_chains[0].filters[0].typed_config.xff_num_trusted_hops: A41",
            "! default_filter_chain.filters[0].typed_config.xff_num_trusted_hops: A41",
        ],
    );
    let named =
        |filters: &[HttpFilter]| filters.iter().map(|f| f.name.to_string()).collect::<Vec<_>>();
    assert_eq!(named(&listener.http.as_ref().unwrap().http_filters), Vec::<String>::new());
}
