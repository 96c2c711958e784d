//! HTTP filters, and overrides of them (gRFC A39).

use super::*;
use crate::decode::listener::http_filter::{FILTERS, Treatment};
use crate::decode::typed::{TYPED_STRUCTS, TypedStruct};
use envoy_types::pb::envoy::config::route::v3::FilterConfig;

/// A filter that does nothing here.
const CORS: &str = "envoy.extensions.filters.http.cors.v3.Cors";
const UNKNOWN: &str = "envoy.extensions.filters.http.lua.v3.Lua";
const RULE: &str = "gRFC A39";

/// The filters of the base are `filters`; gives what is listed of them.
#[track_caller]
fn lists(filters: Vec<pb_hcm::HttpFilter>, expected: &[&str]) -> Vec<String> {
    let listener = accepted(&check(RULE, |d| d.manager.http_filters = filters, expected));
    let listed = listener.http.as_ref().unwrap().http_filters.iter();
    listed.map(|filter| format!("{} {}", filter.name, filter.type_url)).collect()
}

#[track_caller]
fn refuses(filters: Vec<pb_hcm::HttpFilter>, expected: &[&str]) {
    check(RULE, |d| d.manager.http_filters = filters, expected);
}

fn router() -> pb_hcm::HttpFilter {
    filter("router", ROUTER)
}

fn wrapped(wrapper: &str, message: &str) -> Any {
    let inner = TypedStruct { type_url: format!("type.googleapis.com/{message}"), value: None };
    packed(wrapper, inner.encode_to_vec())
}

#[test]
fn known_filters_are_listed_and_reported() {
    for (message, treatment, why) in FILTERS {
        if *treatment == Treatment::Terminal {
            continue;
        }
        let reported = format!("~ M.http_filters[0].typed_config: {why}");
        let listed = lists(vec![filter("f", message), router()], &[&reported]);
        assert_eq!(listed, [format!("f type.googleapis.com/{message}")]);
    }
}

#[test]
fn the_router_is_last_and_only_last() {
    refuses(vec![], &["! M.http_filters: at least one"]);
    refuses(vec![router(), filter("again", ROUTER)], &["! M.http_filters[0]: terminal"]);
    refuses(
        vec![router(), filter("fault", FAULT)],
        &[
            "! M.http_filters[0]: terminal",
            "! M.http_filters[1]: no router",
            "~ M.http_filters[1].typed_config: faults",
        ],
    );
    refuses(
        vec![filter("fault", FAULT)],
        &["! M.http_filters[0]: no router", "~ M.http_filters[0].typed_config: faults"],
    );
    refuses(
        vec![pb_hcm::HttpFilter { disabled: true, ..router() }],
        &["! M.http_filters[0]: enabled"],
    );
}

#[test]
fn names_are_unique_and_types_known() {
    refuses(
        vec![filter("router", FAULT), router()],
        &["! M.http_filters[1].name: twice", "~ M.http_filters[0].typed_config: faults"],
    );
    refuses(vec![filter("", ROUTER)], &["! M.http_filters[0].name: name"]);
    refuses(vec![filter("lua", UNKNOWN), router()], &["! M.http_filters[0]: Lua"]);
    refuses(
        vec![pb_hcm::HttpFilter { config_type: None, ..filter("f", FAULT) }, router()],
        &["! M.http_filters[0].typed_config: configuration"],
    );
    let discovered = Some(pb_hcm::http_filter::ConfigType::ConfigDiscovery(Default::default()));
    refuses(
        vec![
            pb_hcm::HttpFilter { config_type: discovered.clone(), ..filter("f", FAULT) },
            router(),
        ],
        &["! M.http_filters[0]: config_discovery"],
    );
    for config_type in [filter("lua", UNKNOWN).config_type, discovered, None] {
        let optional = pb_hcm::HttpFilter { is_optional: true, config_type, ..filter("f", FAULT) };
        assert!(
            lists(vec![optional, router()], &["~ M.http_filters[0].is_optional: optional"])
                .is_empty()
        );
    }
    let disabled = pb_hcm::HttpFilter { disabled: true, ..filter("lua", UNKNOWN) };
    assert!(
        lists(vec![disabled, router()], &["~ M.http_filters[0].disabled: disabled"]).is_empty()
    );
}

#[test]
fn a_typed_struct_is_unwrapped() {
    let typed = |config| pb_hcm::HttpFilter {
        config_type: Some(pb_hcm::http_filter::ConfigType::TypedConfig(config)),
        ..filter("f", FAULT)
    };
    for wrapper in TYPED_STRUCTS {
        let listed = lists(
            vec![typed(wrapped(wrapper, FAULT)), router()],
            &["~ M.http_filters[0].typed_config: faults"],
        );
        assert_eq!(listed, [format!("f type.googleapis.com/{FAULT}")]);
        refuses(vec![typed(wrapped(wrapper, UNKNOWN)), router()], &["! M.http_filters[0]: Lua"]);
        refuses(
            vec![typed(packed(wrapper, vec![0xff])), router()],
            &["! M.http_filters[0].typed_config: not a valid"],
        );
    }
    lists(vec![typed(wrapped(TYPED_STRUCTS[0], ROUTER))], &[]);
}

/// A virtual host of inline routes has the override `config` under `f`.
#[track_caller]
fn overrides(config: Any, expected: &[&str]) {
    let place = " M.route_config.virtual_hosts[0].typed_per_filter_config[f]";
    let expected: Vec<_> = expected.iter().map(|text| text.replacen(" F", place, 1)).collect();
    let expected: Vec<_> = expected.iter().map(String::as_str).collect();
    check(
        RULE,
        |d| {
            let mut routes = routes();
            routes.virtual_hosts[0].typed_per_filter_config = [("f".to_owned(), config)].into();
            d.manager.route_specifier = Some(RouteSpecifier::RouteConfig(routes));
        },
        &expected,
    );
}

#[test]
fn overrides_are_of_known_types_or_optional() {
    let config = |inner: Option<Any>, is_optional, disabled| {
        let config = FilterConfig { config: inner, is_optional, disabled };
        packed("envoy.config.route.v3.FilterConfig", config.encode_to_vec())
    };
    // Those of servers are used there.
    overrides(packed(FAULT, vec![]), &[]);
    overrides(config(Some(packed(FAULT, vec![])), false, false), &[]);
    overrides(packed(CORS, vec![]), &["~ F.config: browsers"]);
    overrides(wrapped(TYPED_STRUCTS[1], CORS), &["~ F.config: browsers"]);
    overrides(config(Some(packed(CORS, vec![])), false, false), &["~ F.config: browsers"]);
    overrides(
        config(Some(wrapped(TYPED_STRUCTS[0], CORS)), false, false),
        &["~ F.config: browsers"],
    );
    overrides(config(Some(packed(UNKNOWN, vec![])), true, false), &["~ F.is_optional: optional"]);
    overrides(config(None, true, false), &["~ F.is_optional: optional"]);
    overrides(packed(UNKNOWN, vec![]), &["! F: Lua"]);
    overrides(config(Some(packed(UNKNOWN, vec![])), false, false), &["! F: Lua"]);
    overrides(
        packed("envoy.config.route.v3.FilterConfig", vec![0xff]),
        &["! F: not a valid FilterConfig"],
    );
    overrides(packed(TYPED_STRUCTS[0], vec![0xff]), &["! F.typed_config: not a valid"]);
}

/// What a server's filter is told by a route is read, or refused: left out, the route would be without its limit or its
/// policy.
#[test]
fn what_a_server_is_told_is_never_left_out() {
    const LIMIT: &str = "envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit";
    const PER_ROUTE: &str = "envoy.extensions.filters.http.rbac.v3.RBACPerRoute";
    let config = |inner: Any, is_optional| {
        let config = FilterConfig { config: Some(inner), is_optional, disabled: false };
        packed("envoy.config.route.v3.FilterConfig", config.encode_to_vec())
    };
    for wrapper in TYPED_STRUCTS {
        for message in [LIMIT, FAULT, PER_ROUTE] {
            overrides(wrapped(wrapper, message), &["! F.config: TypedStruct"]);
            overrides(config(wrapped(wrapper, message), false), &["! F.config: TypedStruct"]);
        }
    }
    for (message, way_out) in [
        ("envoy.extensions.filters.http.rbac.v3.RBAC", "RBACPerRoute"),
        ("envoy.extensions.filters.http.buffer.v3.Buffer", "BufferPerRoute"),
        ("envoy.extensions.filters.http.admission_control.v3.AdmissionControl", "disable"),
    ] {
        overrides(packed(message, vec![]), &[&format!("! F: {way_out}")]);
        overrides(wrapped(TYPED_STRUCTS[0], message), &[&format!("! F: {way_out}")]);
        overrides(config(packed(message, vec![]), true), &["~ F.is_optional: optional"]);
    }
}
