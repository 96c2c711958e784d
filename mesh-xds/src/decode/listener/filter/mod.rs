//! The HTTP filters of a server, and what routes say of them (gRFC A39).
//!
//! [`KINDS`] is the one place where filters are joined: a row for each, with the type of its configuration
//! and of what routes say, and who reads them.

#[cfg(test)]
mod ask_tests;
mod ext_authz;
mod jwt_authn;
mod rate_limit;
mod service;

use crate::decode::common::{self, Walk, type_name};
use crate::decode::typed::is_typed_struct;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::filter::Chain;
use mesh_core::model::{HttpFilter, HttpFilterConfig, HttpFilterOverride};

/// A kind of filter: who reads it.
#[derive(Clone, Copy)]
struct Kind {
    /// The type of its configuration.
    config: &'static str,
    /// What it says; `None`: it can't be, and the walk knows why.
    decode: fn(&mut Walk, &Any) -> Option<HttpFilterConfig>,
    /// The type of what routes say of it, and who reads that; the same type may be read in both places.
    route: Option<(&'static str, DecodeOverride)>,
}

type DecodeOverride = fn(&mut Walk, &Any) -> Option<HttpFilterOverride>;

/// The filters that do something on a server.
const KINDS: &[Kind] = &[jwt_authn::KIND, ext_authz::KIND, rate_limit::KIND];

/// What a filter of a known kind says; `None`: of another kind. The inner one is `None` when it can't be.
#[cfg_attr(not(test), expect(dead_code, reason = "servers' listeners ask for it"))]
pub(in crate::decode) fn config_of(walk: &mut Walk, any: &Any) -> Option<Option<HttpFilterConfig>> {
    let name = type_name(&any.type_url);
    let kind = KINDS.iter().find(|kind| kind.config == name)?;
    Some((kind.decode)(walk, any))
}

/// What a route says of a filter of a kind that is known on servers; `None`: of another kind. The inner one
/// is `None` when it can't be.
#[cfg_attr(not(test), expect(dead_code, reason = "servers' listeners ask for it"))]
pub(in crate::decode) fn override_of(
    walk: &mut Walk,
    any: &Any,
) -> Option<Option<HttpFilterOverride>> {
    let name = type_name(&any.type_url);
    let mut routes = KINDS.iter().filter_map(|kind| kind.route);
    let (_, decode) = routes.find(|(known, _)| *known == name)?;
    Some(decode(walk, any))
}

/// The message of a configuration, which has to be itself and no JSON.
fn message<M: prost::Message + Default>(walk: &mut Walk, any: &Any) -> Option<M> {
    if is_typed_struct(any) {
        walk.error("policies in a TypedStruct are not read: send the message itself");
        return None;
    }
    common::unpack(walk, any)
}

/// A configuration that compiles; an error when it does not.
fn checked(walk: &mut Walk, config: HttpFilterConfig) -> Option<HttpFilterConfig> {
    let filter = HttpFilter::new("checked", config);
    match Chain::compile(std::slice::from_ref(&filter), None) {
        Ok(_) => Some(filter.config),
        Err(wrong) => {
            walk.error(wrong.kind);
            None
        }
    }
}
