//! `decode(encode(x)) == x`.

use super::super::{
    ALL_ROUTES, Encoded, api_listener, cluster, deterministic, endpoints, resources,
    server_listener, socket_listener, tcp_listener,
};
use super::generated::{Range, update};
use crate::decode::{Context, decode};
use crate::{Resource, ResourceType, RouteSource};
use mesh_core::ConfigUpdate;
use mesh_core::model::RouteConfiguration;
use mesh_core::update::{SecretAnswer, Secrets};
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use prost::Message;
use std::net::SocketAddr;
use std::sync::Arc;

/// What decoding makes of a resource: the one place that knows how it is called.
fn decoded(resource: &Encoded) -> Result<Resource, TestCaseError> {
    // gRFC A81: `auto_host_rewrite` counts only from a server that is trusted.
    let mut context = Context { trusted_server: true, ..Context::default() };
    // gRFC A29, A52: what the bootstrap file and the code have to know.
    context.certificate_providers.extend(["default".into(), "other".into()]);
    context.lb_policies.insert("mine".into());
    let decoded = decode(resource.kind, &resource.body, &context);
    decoded.resource.map_err(|errors| TestCaseError::fail(format!("{errors:?}")))
}

fn there_and_back(update: &ConfigUpdate) -> Result<(), TestCaseError> {
    let model = &update.route_configuration;
    let all = resources(update);
    let mut servers = 0;
    prop_assert_eq!(&*all[0].name, ALL_ROUTES);
    if let Resource::RouteConfiguration(routes) = decoded(&all[0])? {
        prop_assert_eq!(routes.mode.unwrap_or_default(), update.mode);
        prop_assert_eq!(routes.unknown_hosts.unwrap_or_default(), update.unknown_hosts);
        // Its name is that of the resource.
        let mut expected = RouteConfiguration::clone(model);
        expected.name = Arc::clone(&routes.model.name);
        prop_assert_eq!(&*routes.model, &expected);
    }
    for (name, update) in &update.clusters {
        let body = deterministic::cluster(&cluster(&update.cluster));
        let encoded = Encoded::new(ResourceType::Cluster, Arc::clone(name), body);
        if let Resource::Cluster(there) = decoded(&encoded)? {
            prop_assert_eq!(&there.model, &update.cluster);
        }
        let Some(assignment) = &update.endpoints else { continue };
        let body = endpoints(name, assignment).encode_to_vec();
        let encoded = Encoded::new(ResourceType::Endpoints, Arc::clone(name), body);
        if let Resource::Endpoints(there) = decoded(&encoded)? {
            prop_assert_eq!(&there.assignment, assignment);
        }
    }
    for encoded in all.iter().filter(|one| one.kind == ResourceType::Listener && one.by_name_only) {
        let Resource::Listener(there) = decoded(encoded)? else { continue };
        let Some(Ok(server)) = &there.server else { continue };
        // Under both names it is the same.
        let mut expected = (*update.listeners["in"]).clone();
        expected.name = Arc::clone(&encoded.name);
        prop_assert_eq!(&*server.listener, &expected);
        servers += 1;
        let again = Encoded::new(
            ResourceType::Listener,
            Arc::clone(&encoded.name),
            deterministic::listener(&server_listener(&expected)),
        );
        prop_assert_eq!(&again.body, &encoded.body, "the same bytes for the same content");
    }
    prop_assert_eq!(servers, 2);
    let mut secrets = Secrets::new();
    for encoded in all.iter().filter(|one| one.kind == ResourceType::Secret) {
        prop_assert!(encoded.by_name_only, "no one gets keys without asking for them");
        if let Resource::Secret(there) = decoded(encoded)? {
            secrets.insert(Arc::clone(&there.name), SecretAnswer::Known(there));
        }
    }
    prop_assert_eq!(&secrets, &*update.secrets);
    Ok(())
}

proptest! {
    #[test]
    fn what_envoy_has_fields_for(seed: u64) {
        there_and_back(&update(seed, Range::EnvoyOnly))?;
    }

    #[test]
    fn everything(seed: u64) {
        there_and_back(&update(seed, Range::All))?;
    }
}

/// Whatever is encoded can be shown, and is read back by those who read Envoy's dumps.
#[cfg(feature = "json")]
fn shown(update: &ConfigUpdate) -> Result<(), TestCaseError> {
    use crate::config_dump::{Options, config_dump};
    use crate::json::{Showing, from_json};
    use envoy_types::pb::envoy::admin::v3::ConfigDump;

    let showing = Showing::default().with_header_values(true);
    let dump = config_dump(update, Options::new().include_eds(true).showing(showing));
    let bytes = from_json("envoy.admin.v3.ConfigDump", &dump.to_string());
    let bytes = bytes.map_err(|error| TestCaseError::fail(format!("{error:?}: {dump}")))?;
    prop_assert_eq!(ConfigDump::decode(&*bytes).map(|dump| dump.configs.len()), Ok(5));
    Ok(())
}

#[cfg(feature = "json")]
proptest! {
    #[test]
    fn everything_is_shown(seed: u64) {
        shown(&update(seed, Range::All))?;
    }
}

#[test]
fn listeners() -> Result<(), TestCaseError> {
    let address = SocketAddr::from(([127, 0, 0, 1], 15001));
    for (listener, is_api, routes) in [
        (api_listener("a:80", "r"), true, Some("r")),
        (socket_listener("web", address, "mesh"), false, Some("mesh")),
        (tcp_listener("db", address, "orders"), false, None),
    ] {
        let Resource::Listener(there) = decoded(&Encoded::listener(&listener))? else {
            return Err(TestCaseError::fail("no listener"));
        };
        let found = there.http.as_ref().map(|http| match &http.routes {
            RouteSource::Rds(name) => name.to_string(),
            RouteSource::Inline(_) => "inline".to_owned(),
        });
        prop_assert_eq!(&*there.name, &*listener.name);
        prop_assert_eq!((there.is_api, found.as_deref()), (is_api, routes));
    }
    Ok(())
}
