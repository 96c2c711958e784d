//! Header mutation.

use super::values::checked;
use super::{Kind, message};
use crate::decode::common::{Walk, ignored, refused};
use crate::decode::route::header;
use envoy_types::pb::envoy::config::common::mutation_rules::v3 as rules;
use envoy_types::pb::envoy::extensions::filters::http::header_mutation::v3 as pb;
use envoy_types::pb::google::protobuf::Any;
use mesh_core::model::{
    HeaderMutation, HeaderMutationFilter, HeaderMutations, HttpFilterConfig, HttpFilterOverride,
};
use rules::header_mutation::Action;
use std::sync::Arc;

pub(super) const KIND: Kind = Kind {
    config: "envoy.extensions.filters.http.header_mutation.v3.HeaderMutation",
    decode: config,
    route: Some(("envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute", route)),
};

fn config(walk: &mut Walk, any: &Any) -> Option<HttpFilterConfig> {
    let message: pb::HeaderMutation = message(walk, any)?;
    let wins = message.most_specific_header_mutations_wins;
    decode(walk, message.mutations.as_ref(), wins)
}

fn route(walk: &mut Walk, any: &Any) -> Option<HttpFilterOverride> {
    let message: pb::HeaderMutationPerRoute = message(walk, any)?;
    decode(walk, message.mutations.as_ref(), false).map(HttpFilterOverride::Config)
}

fn decode(
    walk: &mut Walk,
    message: Option<&pb::Mutations>,
    wins: bool,
) -> Option<HttpFilterConfig> {
    let before = walk.errors();
    let mut filter = HeaderMutationFilter::default();
    filter.most_specific_header_mutations_wins = wins;
    if let Some(message) = message {
        filter.mutations = walk.at("mutations", |walk| mutations(walk, message));
    }
    if walk.errors() > before {
        return None;
    }
    checked(walk, HttpFilterConfig::HeaderMutation(Arc::new(filter)))
}

fn mutations(walk: &mut Walk, message: &pb::Mutations) -> HeaderMutations {
    const TRAILERS: &str = "trailers are passed on as they are";
    refused!(walk, message, {
        query_parameter_mutations: "query parameters are not edited: leave it out",
    });
    ignored!(walk, message, {
        response_trailers_mutations: TRAILERS,
        request_trailers_mutations: TRAILERS,
    });
    let mut found = HeaderMutations::default();
    found.request = side(walk, "request", &message.request_mutations);
    found.response = side(walk, "response", &message.response_mutations);
    found
}

fn side(walk: &mut Walk, side: &str, messages: &[rules::HeaderMutation]) -> Vec<HeaderMutation> {
    let edits = messages.iter().enumerate().filter_map(|(at, message)| {
        walk.at(format_args!("{side}_mutations[{at}]"), |walk| edit(walk, side, message))
    });
    edits.collect()
}

fn edit(walk: &mut Walk, side: &str, message: &rules::HeaderMutation) -> Option<HeaderMutation> {
    match &message.action {
        Some(Action::Remove(name)) => header::removal(walk, "remove", name, side),
        Some(Action::Append(option)) => {
            walk.at("append", |walk| header::addition(walk, option, side))
        }
        Some(Action::RemoveOnMatch(_)) => {
            walk.error_at("remove_on_match", "headers are removed by name: use `remove`");
            None
        }
        None => {
            walk.error("an edit says what it does: set `append` or `remove` (Envoy: required)");
            None
        }
    }
}
