//! `Route`: its match, its action, its header edits.

use super::{Around, action, header, redirect, route_match, words};
use crate::decode::common::{Walk, ignored, refused};
use crate::decode::listener::http_filter;
use envoy_types::pb::envoy::config::route::v3 as pb;
use mesh_core::model::{Route, RouteAction};

/// Decodes a route, whose name is its `place` when it has none. `None`: it is skipped, or can't be.
#[expect(deprecated, reason = "control planes still send the old field: it is reported")]
pub(super) fn decode(
    walk: &mut Walk,
    message: &pb::Route,
    place: impl FnOnce() -> String,
    around: &Around<'_>,
) -> Option<Route> {
    let before = walk.errors();
    let matcher = match &message.r#match {
        Some(matcher) => walk.at("match", |walk| route_match::decode(walk, matcher)),
        None => {
            walk.error_at(
                "match",
                "a route says which requests it takes; `prefix: \"\"` takes all",
            );
            None
        }
    };
    // A route that is skipped is not looked at any further; one that is wrong is, for all its errors.
    if matcher.is_none() && walk.errors() == before {
        return None;
    }
    refused!(walk, message, {
        route_specifiers: "routes that are made by extensions are not supported",
    });
    ignored!(walk, message, {
        decorator: "spans are named after the route",
        tracing: "sampling is the client's setting",
        per_request_buffer_limit_bytes: "how much of a request is kept is the client's setting",
        stat_prefix: "metrics are named after the route",
        request_body_buffer_limit: "how much of a request is kept is the client's setting",
    });
    let filters = http_filter::overrides(walk, &message.typed_per_filter_config);
    let headers = header::edits(walk, &header::lists!(message));
    let action = decode_action(walk, message, around)?;
    let name = match message.name.is_empty() {
        true => place(),
        false => message.name.clone(),
    };
    let mut route = Route::new(name, matcher?, action);
    route.headers = headers;
    route.filters = filters;
    if let Some(pb::route::Action::Route(action)) = &message.action {
        route.rate_limits = walk.at("route", |walk| action::rate_limits(walk, action));
    }
    words::route(walk, message.metadata.as_ref(), &mut route);
    Some(route)
}

fn decode_action(walk: &mut Walk, message: &pb::Route, around: &Around<'_>) -> Option<RouteAction> {
    use pb::route::Action;
    match &message.action {
        Some(Action::Route(action)) => {
            walk.at("route", |walk| action::decode(walk, action, around)).map(RouteAction::Forward)
        }
        Some(Action::Redirect(action)) => {
            walk.at("redirect", |walk| redirect::redirect(walk, action)).map(RouteAction::Redirect)
        }
        Some(Action::DirectResponse(action)) => walk
            .at("direct_response", |walk| redirect::direct_response(walk, action, around))
            .map(RouteAction::DirectResponse),
        Some(Action::FilterAction(_)) => {
            walk.error_at("filter_action", "no filter answers here: use `direct_response`");
            None
        }
        Some(Action::NonForwardingAction(_)) => {
            // gRFC A36: an action that does not fit fails the calls it takes, not the configuration.
            Some(RouteAction::NonForwarding)
        }
        None => {
            walk.error(
                "the route has no action that is known here: set `route`, `redirect` or \
                 `direct_response`",
            );
            None
        }
    }
}
