//! The metadata by which endpoints are secured in different ways, there and back (Envoy:
//! `transport_socket_matches`).

use crate::ask::{metadata, to_struct};
use envoy_types::pb::envoy::config::core::v3::Metadata;
use envoy_types::pb::google::protobuf::Struct;
use mesh_core::model::TlsLabels;

/// Where an endpoint or a locality says how it is secured (Envoy: `MetadataFilters`).
pub(crate) const NAME: &str = "envoy.transport_socket_match";

/// What a match wants to be said.
pub(crate) fn of_match(message: Option<&Struct>) -> TlsLabels {
    TlsLabels(message.cloned().map(metadata).unwrap_or_default())
}

/// What an endpoint or a locality says; nothing is as good as no labels.
pub(crate) fn said(message: Option<&Metadata>) -> Option<TlsLabels> {
    let labels = message?.filter_metadata.get(NAME)?;
    (!labels.fields.is_empty()).then(|| of_match(Some(labels)))
}

/// As it is in a match.
pub(crate) fn to_match(labels: &TlsLabels) -> Struct {
    to_struct(&labels.0)
}

/// Puts what an endpoint or a locality says into its metadata.
pub(crate) fn say(labels: Option<&TlsLabels>, into: &mut Option<Metadata>) {
    if let Some(labels) = labels {
        let metadata = into.get_or_insert_default();
        metadata.filter_metadata.insert(NAME.to_owned(), to_match(labels));
    }
}
