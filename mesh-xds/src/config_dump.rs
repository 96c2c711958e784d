//! A configuration as Envoy's `/config_dump` shows it: `envoy.admin.v3.ConfigDump` (feature `json`).
//!
//! Tools that read an Envoy read this. It is made of the model in force, by way of [`encode`]: so it
//! says what calls go by, whether that came from a file, from code or from a control plane, and resources carry
//! the configuration's version, not each its own.
//!
//! | part | field | what |
//! |---|---|---|
//! | `ClustersConfigDump` | `dynamic_active_clusters` | every cluster |
//! | `EndpointsConfigDump`, on demand | `dynamic_endpoint_configs` | the endpoints of those that have a list of them |
//! | `ListenersConfigDump` | `dynamic_listeners` | the listeners of servers |
//! | `RoutesConfigDump` | `dynamic_route_configs` | one, `mesh`, with every virtual host of calls |
//! | `SecretsConfigDump` | `dynamic_active_secrets`, `dynamic_warming_secrets` | names alone; those that are missing are warming |
//!
//! What it does not do: say what a control plane sent and was refused: that is CSDS ([`status`](crate::status)).

use crate::ResourceType;
use crate::encode::{self, ALL_ROUTES, Encoded};
use crate::json::{Showing, resource};
use mesh_core::update::SecretAnswer;
use mesh_core::{ConfigUpdate, WallTime};
use prost::Message;
use serde_json::{Map, Value, json};
use std::sync::Arc;

/// What is dumped, and how.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Options<'a> {
    /// When the configuration went into force; `None`: it is not known.
    pub at: Option<WallTime>,
    /// With endpoints (Envoy: `include_eds`). Default: no.
    pub include_eds: bool,
    /// Only the items of this field, such as `dynamic_active_clusters` (Envoy: `resource`). Default: everything.
    pub resource: Option<&'a str>,
    /// What is shown that is left out by default.
    pub showing: Showing,
}

impl<'a> Options<'a> {
    /// Everything but endpoints.
    #[must_use]
    pub fn new() -> Self {
        let showing = Showing::default();
        Self { at: None, include_eds: false, resource: None, showing }
    }

    /// In force since `at`.
    #[must_use]
    pub const fn at(mut self, at: Option<WallTime>) -> Self {
        self.at = at;
        self
    }

    /// With endpoints, or without.
    #[must_use]
    pub const fn include_eds(mut self, included: bool) -> Self {
        self.include_eds = included;
        self
    }

    /// Only the items of one field.
    #[must_use]
    pub const fn resource(mut self, field: Option<&'a str>) -> Self {
        self.resource = field;
        self
    }

    /// Shows what is left out by default.
    #[must_use]
    pub const fn showing(mut self, showing: Showing) -> Self {
        self.showing = showing;
        self
    }
}

impl Default for Options<'_> {
    fn default() -> Self {
        Self::new()
    }
}

/// The fields whose items can be asked for ([`Options::resource`]).
pub const RESOURCES: [&str; 6] = [
    "dynamic_active_clusters",
    "dynamic_endpoint_configs",
    "dynamic_listeners",
    "dynamic_route_configs",
    "dynamic_active_secrets",
    "dynamic_warming_secrets",
];

/// The dump; of a field that is none of [`RESOURCES`], nothing.
#[must_use]
pub fn config_dump(update: &ConfigUpdate, options: Options<'_>) -> Value {
    let dump = Dump { update, options };
    let parts = PARTS.iter().filter(|part| dump.has(part.field));
    let configs: Vec<Value> = match options.resource {
        Some(field) => parts
            .filter(|part| part.field == field)
            .flat_map(|part| dump.items(part).into_iter().map(|item| typed(part.item, item)))
            .collect(),
        None => dump.whole(parts),
    };
    json!({ "configs": configs })
}

/// One field of one part.
struct Part {
    /// The part: a message of `envoy.admin.v3`.
    message: &'static str,
    field: &'static str,
    /// The message of its items.
    item: &'static str,
    make: fn(&Dump<'_>) -> Vec<Value>,
}

/// In the order in which Envoy has them.
const PARTS: [Part; 6] = [
    Part {
        message: "ClustersConfigDump",
        field: "dynamic_active_clusters",
        item: "ClustersConfigDump.DynamicCluster",
        make: clusters,
    },
    Part {
        message: "EndpointsConfigDump",
        field: "dynamic_endpoint_configs",
        item: "EndpointsConfigDump.DynamicEndpointConfig",
        make: endpoints,
    },
    Part {
        message: "ListenersConfigDump",
        field: "dynamic_listeners",
        item: "ListenersConfigDump.DynamicListener",
        make: listeners,
    },
    Part {
        message: "RoutesConfigDump",
        field: "dynamic_route_configs",
        item: "RoutesConfigDump.DynamicRouteConfig",
        make: routes,
    },
    Part {
        message: "SecretsConfigDump",
        field: "dynamic_active_secrets",
        item: "SecretsConfigDump.DynamicSecret",
        make: active_secrets,
    },
    Part {
        message: "SecretsConfigDump",
        field: "dynamic_warming_secrets",
        item: "SecretsConfigDump.DynamicSecret",
        make: warming_secrets,
    },
];

struct Dump<'a> {
    update: &'a ConfigUpdate,
    options: Options<'a>,
}

impl Dump<'_> {
    /// Who asks for endpoints alone need not ask for them twice.
    fn has(&self, field: &str) -> bool {
        let is_asked_for = self.options.include_eds || self.options.resource == Some(field);
        field != "dynamic_endpoint_configs" || is_asked_for
    }

    fn items(&self, part: &Part) -> Vec<Value> {
        (part.make)(self)
    }

    fn whole<'p>(&self, parts: impl Iterator<Item = &'p Part>) -> Vec<Value> {
        let mut configs: Vec<(&str, Value)> = Vec::new();
        for part in parts {
            let items = Value::from(self.items(part));
            if configs.last().is_none_or(|(message, _)| *message != part.message) {
                configs.push((part.message, typed(part.message, json!({}))));
            }
            if let Some((_, config)) = configs.last_mut() {
                if part.message == "ClustersConfigDump" || part.message == "ListenersConfigDump" {
                    config["version_info"] = self.version();
                }
                config[part.field] = items;
            }
        }
        configs.into_iter().map(|(_, config)| config).collect()
    }

    fn version(&self) -> Value {
        Value::from(&*self.update.origin.version)
    }

    /// `message` under `field`, with version and date.
    fn item(&self, field: &str, message: Value) -> Value {
        let mut item = Map::new();
        item.insert("version_info".to_owned(), self.version());
        item.insert(field.to_owned(), message);
        if let Some(at) = self.options.at {
            item.insert("last_updated".to_owned(), at.to_string().into());
        }
        item.into()
    }

    /// What we encoded ourselves can be shown; and if it could not, that is seen by its content's absence.
    fn shown(&self, one: &Encoded) -> Value {
        let shown = resource(one.kind, &one.name, one.body.clone(), self.options.showing);
        debug_assert!(shown.is_ok(), "{one:?}: {shown:?}");
        shown.unwrap_or_else(|_| json!({ "@type": one.kind.type_url() }))
    }
}

fn typed(message: &str, mut item: Value) -> Value {
    item["@type"] = format!("type.googleapis.com/envoy.admin.v3.{message}").into();
    item
}

fn clusters(dump: &Dump<'_>) -> Vec<Value> {
    let clusters = dump.update.clusters.iter().map(|(name, update)| {
        let (cluster, _) = encode::cluster_resources(name, update);
        dump.item("cluster", dump.shown(&cluster))
    });
    clusters.collect()
}

fn endpoints(dump: &Dump<'_>) -> Vec<Value> {
    let clusters = dump.update.clusters.iter().filter_map(|(name, update)| {
        let endpoints = encode::cluster_resources(name, update).1?;
        Some(dump.item("endpoint_config", dump.shown(&endpoints)))
    });
    clusters.collect()
}

fn listeners(dump: &Dump<'_>) -> Vec<Value> {
    let listeners = dump.update.listeners.iter().map(|(name, model)| {
        let body = encode::server_listener(model).encode_to_vec();
        let encoded = Encoded::new(ResourceType::Listener, Arc::clone(name), body);
        let state = dump.item("listener", dump.shown(&encoded));
        json!({ "name": &**name, "active_state": state })
    });
    listeners.collect()
}

fn routes(dump: &Dump<'_>) -> Vec<Value> {
    let all = encode::all_routes(dump.update);
    debug_assert_eq!(&*all.name, ALL_ROUTES);
    vec![dump.item("route_config", dump.shown(&all))]
}

fn active_secrets(dump: &Dump<'_>) -> Vec<Value> {
    let is_known = |answer: &SecretAnswer| matches!(answer, SecretAnswer::Known(_));
    let known = dump.update.secrets.iter().filter(|(_, answer)| is_known(answer));
    known.map(|(name, _)| secret(dump, name)).collect()
}

/// A secret that clusters or listeners name, and that is not there, with the reason.
fn warming_secrets(dump: &Dump<'_>) -> Vec<Value> {
    let missing = dump.update.secrets.iter().filter_map(|(name, answer)| match answer {
        SecretAnswer::Known(_) => None,
        SecretAnswer::Missing(why) => Some((name, why)),
    });
    let warming = missing.map(|(name, why)| {
        let mut item = secret(dump, name);
        item["error_state"] = json!({ "details": &**why });
        item
    });
    warming.collect()
}

/// Its name: nothing else of a secret is shown.
fn secret(dump: &Dump<'_>, name: &str) -> Value {
    let encoded = Encoded::new(ResourceType::Secret, name, Vec::new());
    let mut item = dump.item("secret", dump.shown(&encoded));
    item["name"] = name.into();
    item
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::from_json;
    use envoy_types::pb::envoy::admin::v3 as admin;
    use mesh_core::config::{Bounds, Document};
    use mesh_core::update::Origin;

    const TEXT: &str = r#"
version: 1
virtual_hosts:
  reviews: { routes: [{ split: { one: 90, two: 10 } }] }
clusters:
  one: { endpoints: ["127.0.0.1:1", "127.0.0.1:2"] }
  two: { dns: "two.internal:80" }
inbound:
  web: { listen: "127.0.0.1:8080", mtls: "off", allow: [{ from: anyone }] }
"#;

    fn update() -> ConfigUpdate {
        let documents = [Document { name: "mesh.yaml", text: TEXT }];
        let loaded = mesh_core::config::load(&documents, &(), &Bounds::default());
        let mut update = loaded.update.unwrap_or_else(|| panic!("{:?}", loaded.diagnostics));
        update.origin = Origin::new("mesh.yaml", "v7");
        let missing = SecretAnswer::Missing("it was never sent".into());
        update.secrets = Arc::new([(Arc::from("roots"), missing)].into());
        update
    }

    fn read(dump: &Value) -> admin::ConfigDump {
        let bytes = from_json("envoy.admin.v3.ConfigDump", &dump.to_string()).unwrap();
        admin::ConfigDump::decode(&*bytes).unwrap()
    }

    /// The parts of a dump, each as Envoy's own type. What is in `Any` is known here, or it would not be read.
    fn parts(dump: &Value) -> Vec<(String, usize)> {
        let read: admin::ConfigDump = read(dump);
        let parts = read.configs.iter().map(|any| {
            let name = any.type_url.rsplit('.').next().unwrap().to_owned();
            let body = &*any.value;
            let count = match &*name {
                "ClustersConfigDump" => {
                    let dump = admin::ClustersConfigDump::decode(body).unwrap();
                    assert_eq!(dump.version_info, "v7");
                    dump.dynamic_active_clusters.len()
                }
                "EndpointsConfigDump" => {
                    admin::EndpointsConfigDump::decode(body).unwrap().dynamic_endpoint_configs.len()
                }
                "ListenersConfigDump" => {
                    let dump = admin::ListenersConfigDump::decode(body).unwrap();
                    assert!(dump.dynamic_listeners[0].active_state.is_some());
                    dump.dynamic_listeners.len()
                }
                "RoutesConfigDump" => {
                    let dump = admin::RoutesConfigDump::decode(body).unwrap();
                    let updated = dump.dynamic_route_configs[0].last_updated.unwrap();
                    assert_eq!(updated.seconds, 1_700_000_000);
                    dump.dynamic_route_configs.len()
                }
                "SecretsConfigDump" => {
                    admin::SecretsConfigDump::decode(body).unwrap().dynamic_warming_secrets.len()
                }
                _ => 1,
            };
            (name, count)
        });
        parts.collect()
    }

    fn at() -> Option<WallTime> {
        Some(WallTime::from_unix_seconds(1_700_000_000))
    }

    #[test]
    fn envoys_own_types_read_all_of_it() {
        let update = update();
        let without = parts(&config_dump(&update, Options::new().at(at())));
        let expected = [
            ("ClustersConfigDump", 2),
            ("ListenersConfigDump", 1),
            ("RoutesConfigDump", 1),
            ("SecretsConfigDump", 1),
        ]
        .map(|(name, count)| (name.to_owned(), count));
        assert_eq!(without, expected);
        let with = parts(&config_dump(&update, Options::new().at(at()).include_eds(true)));
        assert_eq!(with[1], ("EndpointsConfigDump".to_owned(), 1));
        assert_eq!(with.len(), 5);
    }

    #[test]
    fn one_field_can_be_asked_for() {
        let update = update();
        for (field, item, count) in [
            ("dynamic_active_clusters", "DynamicCluster", 2),
            ("dynamic_endpoint_configs", "DynamicEndpointConfig", 1),
            ("dynamic_warming_secrets", "DynamicSecret", 1),
            ("static_clusters", "", 0),
        ] {
            let dump = config_dump(&update, Options::new().at(at()).resource(Some(field)));
            let found = parts(&dump);
            assert_eq!(found.len(), count, "{field}");
            assert!(found.iter().all(|(name, _)| name == item), "{found:?}");
        }
        assert!(PARTS.iter().zip(RESOURCES).all(|(part, field)| part.field == field));
    }
}
