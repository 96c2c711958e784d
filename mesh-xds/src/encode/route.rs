//! Routes: matcher, action, header edits.

use super::filter::rate_limit;
use super::matcher::{route_match, substitute};
use super::words::{METADATA_KEY, Words};
use super::wrap::flag;
use super::{filters, forward, headers};
use crate::ask;
use envoy_types::pb::envoy::config::core::v3::{DataSource, Metadata, data_source::Specifier};
use envoy_types::pb::envoy::config::route::v3::{
    self as pb,
    redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier},
    route::Action,
};
use mesh_core::model::http_filter::{RateLimitPolicy, VhRateLimits};
use mesh_core::model::{DirectResponse, PathRewrite, Redirect, Route, RouteAction};

/// A `Route`.
pub(super) fn route(model: &Route) -> pb::Route {
    let mut words = Words::default();
    let action = match &model.action {
        RouteAction::Forward(forward) => {
            let mut action = forward::action(forward, &model.matcher, &mut words);
            rate_limits(model.rate_limits.as_deref(), &mut action);
            Action::Route(action)
        }
        RouteAction::Redirect(model) => Action::Redirect(redirect(model, &mut words)),
        RouteAction::DirectResponse(model) => Action::DirectResponse(direct_response(model)),
        // A kind that this encoder does not know yet: nothing is forwarded by mistake.
        _ => Action::NonForwardingAction(pb::NonForwardingAction {}),
    };
    let (request_add, request_remove) = headers::edits(&model.headers.request);
    let (response_add, response_remove) = headers::edits(&model.headers.response);
    pb::Route {
        name: model.name.to_string(),
        r#match: Some(route_match(&model.matcher)),
        action: Some(action),
        request_headers_to_add: request_add,
        request_headers_to_remove: request_remove,
        response_headers_to_add: response_add,
        response_headers_to_remove: response_remove,
        metadata: metadata(words, model),
        typed_per_filter_config: filters::overrides(&model.filters),
        ..pb::Route::default()
    }
}

#[expect(deprecated, reason = "Envoy still goes by `include_vh_rate_limits`")]
fn rate_limits(model: Option<&RateLimitPolicy>, action: &mut pb::RouteAction) {
    action.rate_limits = rate_limit::policy(model);
    if model.is_some_and(|model| model.vh_rate_limits == Some(VhRateLimits::Include)) {
        action.include_vh_rate_limits = flag(true);
    }
}

/// What is said for conditions of filters, and our words.
fn metadata(words: Words, model: &Route) -> Option<Metadata> {
    let others = model.metadata.0.iter().filter(|(filter, _)| ***filter != *METADATA_KEY);
    let others = others.map(|(filter, said)| (filter.to_string(), ask::to_struct(said)));
    let mut found = words.into_metadata();
    for (filter, said) in others {
        found.get_or_insert_default().filter_metadata.insert(filter, said);
    }
    found
}

fn redirect(model: &Redirect, words: &mut Words) -> pb::RedirectAction {
    let path = model.path.as_ref().and_then(|path| match path {
        PathRewrite::Prefix(text) => Some(PathRewriteSpecifier::PrefixRewrite(text.to_string())),
        PathRewrite::Full(text) => Some(PathRewriteSpecifier::PathRedirect(text.to_string())),
        PathRewrite::Regex { pattern, substitution } => {
            Some(PathRewriteSpecifier::RegexRewrite(substitute(pattern, substitution)))
        }
        // A kind that this encoder does not know yet.
        _ => None,
    });
    pb::RedirectAction {
        response_code: status(model, words).into(),
        scheme_rewrite_specifier: model
            .scheme
            .as_ref()
            .map(|scheme| SchemeRewriteSpecifier::SchemeRedirect(scheme.to_string())),
        host_redirect: model.host.as_deref().unwrap_or_default().to_owned(),
        port_redirect: model.port.map(u32::from).unwrap_or_default(),
        path_rewrite_specifier: path,
        strip_query: model.strip_query,
    }
}

/// Envoy has five statuses; the model's validation allows no other, and one that came by another way
/// stays in our words.
fn status(model: &Redirect, words: &mut Words) -> RedirectResponseCode {
    match model.status.as_u16() {
        301 => RedirectResponseCode::MovedPermanently,
        302 => RedirectResponseCode::Found,
        303 => RedirectResponseCode::SeeOther,
        307 => RedirectResponseCode::TemporaryRedirect,
        308 => RedirectResponseCode::PermanentRedirect,
        other => {
            words.set("redirect_status", u32::from(other));
            RedirectResponseCode::Found
        }
    }
}

fn direct_response(model: &DirectResponse) -> pb::DirectResponseAction {
    let body = match std::str::from_utf8(&model.body) {
        Ok("") => None,
        Ok(text) => Some(Specifier::InlineString(text.to_owned())),
        Err(_) => Some(Specifier::InlineBytes(model.body.to_vec())),
    };
    pb::DirectResponseAction {
        status: model.status.as_u16().into(),
        body: body
            .map(|specifier| DataSource { specifier: Some(specifier), ..DataSource::default() }),
        ..pb::DirectResponseAction::default()
    }
}
