//! `/config_dump`: the configuration in force.
//!
//! | format | what |
//! |---|---|
//! | `json` | `envoy.admin.v3.ConfigDump`; `include_eds` adds endpoints, `resource=dynamic_active_clusters` gives the items of one field (feature `json`) |
//! | `mesh` | what there is, by name: virtual hosts, routes, clusters, listeners, secrets |

use crate::admin::answer::Answer;
use crate::admin::asked::{Asked, Format};
use crate::admin::pages::Answered;
use crate::admin::service::Admin;
use crate::admin::view::{self, ConfigurationView};
use mesh_core::ConfigUpdate;
use mesh_core::model::{ClusterSpecifier, Route, RouteAction, VirtualHost};
use mesh_core::update::SecretAnswer;
use serde_json::{Value, json};

/// Envoy's, where it can be made.
const DEFAULT: Format = if cfg!(feature = "json") { Format::Json } else { Format::Mesh };

pub(in crate::admin) fn answer(admin: &Admin, asked: &Asked) -> Answered {
    let known: &[Format] =
        if cfg!(feature = "json") { &[Format::Json, Format::Mesh] } else { &[Format::Mesh] };
    let format = asked.format(DEFAULT, known)?;
    let snapshot = admin.mesh.snapshot();
    let configuration = ConfigurationView::of(&admin.mesh, &snapshot);
    let update = view::in_force(&snapshot);
    match format {
        #[cfg(feature = "json")]
        Format::Json => envoy(admin, asked, &configuration, &update),
        _ => Ok(Answer::json(&own(&configuration, &update))),
    }
}

#[cfg(feature = "json")]
fn envoy(
    admin: &Admin,
    asked: &Asked,
    configuration: &ConfigurationView,
    update: &ConfigUpdate,
) -> Answered {
    use crate::source::envoy_json::{self, Dumped};

    let resource = asked.query.first("resource");
    if let Some(resource) = resource
        && !envoy_json::RESOURCES.contains(&resource)
    {
        let known = envoy_json::RESOURCES.join(", ");
        return Err(format!("there is no such resource: there are {known}"));
    }
    let dumped = Dumped {
        at: configuration.applied_at,
        include_eds: asked.query.flag("include_eds"),
        resource,
        header_values: admin.options.header_values,
    };
    Ok(Answer::json(&envoy_json::config_dump(update, dumped)))
}

/// The configuration in the mesh's own words.
fn own(configuration: &ConfigurationView, update: &ConfigUpdate) -> Value {
    let hosts = update.route_configuration.virtual_hosts.iter();
    let secrets = update.secrets.iter().map(|(name, answer)| {
        let why = match answer {
            SecretAnswer::Known(_) => None,
            SecretAnswer::Missing(why) => Some(&**why),
        };
        json!({ "name": &**name, "missing": why })
    });
    let listeners = update.listeners.iter().map(|(name, listener)| {
        let address = listener.address.as_ref().map(ToString::to_string);
        let chains = listener.chains().map(|chain| &*chain.name).collect::<Value>();
        json!({ "name": &**name, "address": address, "filter_chains": chains })
    });
    let clusters = update.clusters.values().map(|update| {
        let endpoints = update.endpoints.as_ref().map(|endpoints| endpoints.len());
        json!({ "name": &*update.cluster.name, "endpoints": endpoints })
    });
    json!({
        "configuration": super::overview::configuration(configuration),
        "virtual_hosts": hosts.map(|host| virtual_host(host)).collect::<Value>(),
        "clusters": clusters.collect::<Value>(),
        "listeners": listeners.collect::<Value>(),
        "secrets": secrets.collect::<Value>(),
    })
}

fn virtual_host(host: &VirtualHost) -> Value {
    json!({
        "name": &*host.name,
        "domains": host.domains.iter().map(ToString::to_string).collect::<Value>(),
        "routes": host.routes.iter().map(|one| route(one)).collect::<Value>(),
    })
}

fn route(route: &Route) -> Value {
    let (key, to) = match &route.action {
        RouteAction::Forward(action) => match &action.cluster {
            ClusterSpecifier::Cluster(name) => ("cluster", json!(&**name)),
            ClusterSpecifier::Header(name) => ("cluster_header", json!(name.as_str())),
            ClusterSpecifier::Split(split) => {
                let parts = split.clusters.iter();
                let parts =
                    parts.map(|part| json!({ "cluster": &*part.cluster, "weight": part.weight }));
                ("split", parts.collect())
            }
            _ => ("other", json!(true)),
        },
        RouteAction::Redirect(_) => ("redirect", json!(true)),
        RouteAction::DirectResponse(response) => ("status", json!(response.status.as_u16())),
        RouteAction::NonForwarding => ("served_here", json!(true)),
        _ => ("other", json!(true)),
    };
    json!({ "name": &*route.name, key: to })
}
