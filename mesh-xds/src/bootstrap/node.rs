//! [`Node`]: who we are, for the control plane.

use super::json::{Reader, Value};
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::google::protobuf;
use serde_json::{Map, Value as Json};
use std::sync::Arc;

/// `user_agent_name` of every node.
pub const USER_AGENT_NAME: &str = "mesh";

/// Client features of every node (Envoy: "client features"). Endpoints get no calls beyond their weight
/// to make up for others (gRFC A27), and a resource may come in a wrapper with its name.
pub const CLIENT_FEATURES: [&str; 2] =
    ["envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw"];

/// The client feature of a node that reports load: added for load reports only (gRFC A27).
pub const LRS_CLIENT_FEATURE: &str = "envoy.lrs.supports_send_all_clusters";

/// The deepest metadata.
///
/// A level of it takes up to three protobuf messages, and parsers stop at one hundred (protobuf: the
/// default recursion limit of C++, Java and prost). A control plane could not read more.
pub const MAX_METADATA_DEPTH: usize = 30;

/// Who we are.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Node {
    id: Arc<str>,
    cluster: Arc<str>,
    locality: Option<Locality>,
    metadata: Map<String, Json>,
}

/// Where we are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Locality {
    /// The region.
    pub region: Arc<str>,
    /// The zone in it.
    pub zone: Arc<str>,
    /// A part of the zone.
    pub sub_zone: Arc<str>,
}

/// Metadata with too many levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the metadata is nested deeper than {MAX_METADATA_DEPTH} levels: control planes could not read it; \
     make it flatter"
)]
#[non_exhaustive]
pub struct MetadataTooDeep;

impl Locality {
    /// A locality.
    #[must_use]
    pub fn new(
        region: impl Into<Arc<str>>,
        zone: impl Into<Arc<str>>,
        sub_zone: impl Into<Arc<str>>,
    ) -> Self {
        Self { region: region.into(), zone: zone.into(), sub_zone: sub_zone.into() }
    }
}

impl Node {
    /// A node of this id.
    #[must_use]
    pub fn new(id: impl Into<Arc<str>>) -> Self {
        Self { id: id.into(), ..Self::default() }
    }

    /// In a cluster.
    #[must_use]
    pub fn with_cluster(mut self, cluster: impl Into<Arc<str>>) -> Self {
        self.cluster = cluster.into();
        self
    }

    /// At a place.
    #[must_use]
    pub fn with_locality(mut self, locality: Locality) -> Self {
        self.locality = Some(locality);
        self
    }

    /// With metadata.
    ///
    /// # Errors
    ///
    /// When it is nested deeper than [`MAX_METADATA_DEPTH`] levels.
    pub fn with_metadata(mut self, metadata: Map<String, Json>) -> Result<Self, MetadataTooDeep> {
        if !metadata.values().all(|value| is_within(value, MAX_METADATA_DEPTH - 1)) {
            return Err(MetadataTooDeep);
        }
        self.metadata = metadata;
        Ok(self)
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> &Arc<str> {
        &self.id
    }

    /// Its cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<str> {
        &self.cluster
    }

    /// Where it is.
    #[must_use]
    pub const fn locality(&self) -> Option<&Locality> {
        self.locality.as_ref()
    }

    /// Its metadata.
    #[must_use]
    pub const fn metadata(&self) -> &Map<String, Json> {
        &self.metadata
    }

    /// As it is sent, with our user agent and [`CLIENT_FEATURES`].
    ///
    /// Numbers of the metadata are sent as doubles: integers beyond 2^53 lose digits (protobuf:
    /// `google.protobuf.Value`).
    #[must_use]
    pub fn to_proto(&self) -> core::Node {
        let version = env!("CARGO_PKG_VERSION").to_owned();
        core::Node {
            id: self.id.to_string(),
            cluster: self.cluster.to_string(),
            metadata: (!self.metadata.is_empty()).then(|| structure(&self.metadata)),
            locality: self.locality.as_ref().map(|locality| core::Locality {
                region: locality.region.to_string(),
                zone: locality.zone.to_string(),
                sub_zone: locality.sub_zone.to_string(),
            }),
            user_agent_name: USER_AGENT_NAME.to_owned(),
            user_agent_version_type: Some(core::node::UserAgentVersionType::UserAgentVersion(
                version,
            )),
            client_features: CLIENT_FEATURES.map(str::to_owned).into(),
            ..core::Node::default()
        }
    }
}

/// Whether a value has at most this many levels of objects and lists.
fn is_within(value: &Json, levels: usize) -> bool {
    match value {
        Json::Object(fields) => levels > 0 && fields.values().all(|v| is_within(v, levels - 1)),
        Json::Array(items) => levels > 0 && items.iter().all(|v| is_within(v, levels - 1)),
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::String(_) => true,
    }
}

fn structure(fields: &Map<String, Json>) -> protobuf::Struct {
    let field = |(name, value): (&String, &Json)| (name.clone(), proto_value(value));
    protobuf::Struct { fields: fields.iter().map(field).collect() }
}

fn proto_value(value: &Json) -> protobuf::Value {
    use protobuf::value::Kind;
    let null = Kind::NullValue(protobuf::NullValue::NullValue.into());
    let kind = match value {
        Json::Null => null,
        Json::Bool(value) => Kind::BoolValue(*value),
        // Every number that serde_json reads is within a double.
        Json::Number(number) => number.as_f64().map_or(null, Kind::NumberValue),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Array(items) => {
            let values = items.iter().map(proto_value).collect();
            Kind::ListValue(protobuf::ListValue { values })
        }
        Json::Object(fields) => Kind::StructValue(structure(fields)),
    };
    protobuf::Value { kind: Some(kind) }
}

/// Reads `node`.
pub(super) fn read<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<Node> {
    let object = reader.object(value)?;
    let id = reader.optional(&object, "id", Reader::string).unwrap_or_default();
    let cluster = reader.optional(&object, "cluster", Reader::string).unwrap_or_default();
    let mut node = Node::new(id).with_cluster(cluster);
    node.locality = reader.optional(&object, "locality", read_locality);
    let with_metadata = reader.optional(&object, "metadata", |reader, value| {
        let metadata = reader.free_form(value)?;
        reader.checked(value, node.clone().with_metadata(metadata))
    });
    Some(with_metadata.unwrap_or(node))
}

fn read_locality<'t>(reader: &mut Reader<'t>, value: Value<'t>) -> Option<Locality> {
    let object = reader.object(value)?;
    let region = reader.optional(&object, "region", Reader::string).unwrap_or_default();
    let zone = reader.optional(&object, "zone", Reader::string).unwrap_or_default();
    let sub_zone = reader.optional(&object, "sub_zone", Reader::string).unwrap_or_default();
    Some(Locality::new(region, zone, sub_zone))
}
