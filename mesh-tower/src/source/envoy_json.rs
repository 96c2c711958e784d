//! The configuration in force as Envoy's admin shows it: what `mesh_xds::config_dump` makes.

use mesh_core::{ConfigUpdate, WallTime};
use mesh_xds::config_dump::{Options, config_dump as dump};
use mesh_xds::json::Showing;
use serde_json::Value;

pub(crate) use mesh_xds::config_dump::RESOURCES;

/// What is dumped, and how.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dumped<'a> {
    /// When the configuration went into force.
    pub(crate) at: Option<WallTime>,
    pub(crate) include_eds: bool,
    /// Only the items of this field, one of [`RESOURCES`].
    pub(crate) resource: Option<&'a str>,
    /// With the values of headers.
    pub(crate) header_values: bool,
}

/// `envoy.admin.v3.ConfigDump` of a configuration.
pub(crate) fn config_dump(update: &ConfigUpdate, dumped: Dumped<'_>) -> Value {
    let Dumped { at, include_eds, resource, header_values } = dumped;
    let showing = Showing::default().with_header_values(header_values);
    dump(update, Options::new().at(at).include_eds(include_eds).resource(resource).showing(showing))
}
