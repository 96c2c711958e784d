//! `RedirectAction` and `DirectResponseAction`: calls that end here.

use super::{Around, header, matcher, rewrite};
use crate::decode::common::{Walk, ignored};
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3::data_source::Specifier;
use envoy_types::pb::envoy::config::route::v3 as pb;
use http::StatusCode;
use http::uri::{Authority, Scheme};
use mesh_core::model::{DirectResponse, PathRewrite, Redirect};
use pb::redirect_action::{PathRewriteSpecifier, RedirectResponseCode, SchemeRewriteSpecifier};
use std::sync::Arc;

/// Decodes a redirect.
pub(super) fn redirect(walk: &mut Walk, message: &pb::RedirectAction) -> Option<Redirect> {
    let before = walk.errors();
    let mut redirect = Redirect::default();
    redirect.status = match RedirectResponseCode::try_from(message.response_code) {
        Ok(RedirectResponseCode::MovedPermanently) => StatusCode::MOVED_PERMANENTLY,
        Ok(RedirectResponseCode::Found) => StatusCode::FOUND,
        Ok(RedirectResponseCode::SeeOther) => StatusCode::SEE_OTHER,
        Ok(RedirectResponseCode::TemporaryRedirect) => StatusCode::TEMPORARY_REDIRECT,
        Ok(RedirectResponseCode::PermanentRedirect) => StatusCode::PERMANENT_REDIRECT,
        Err(_) => {
            walk.error_at(
                "response_code",
                format_args!("{} is none of 301, 302, 303, 307, 308", message.response_code),
            );
            StatusCode::MOVED_PERMANENTLY
        }
    };
    redirect.scheme = scheme(walk, message);
    if !message.host_redirect.is_empty() {
        redirect.host = rewrite::authority(walk, "host_redirect", &message.host_redirect);
    }
    if message.port_redirect != 0 {
        redirect.port = u16::try_from(message.port_redirect).ok();
        if redirect.port.is_none() {
            walk.error_at(
                "port_redirect",
                format_args!("{} is no port: 65535 is the last", message.port_redirect),
            );
        }
    }
    let host = redirect.host.as_ref().and_then(|host| host.parse::<Authority>().ok());
    let first = host.as_ref().and_then(Authority::port);
    if let (Some(first), Some(_)) = (first, redirect.port) {
        walk.error_at(
            "port_redirect",
            format_args!("`host_redirect` has the port {} already: keep one", first.as_str()),
        );
    }
    redirect.path = path(walk, message);
    redirect.strip_query = message.strip_query;
    (walk.errors() == before).then_some(redirect)
}

fn scheme(walk: &mut Walk, message: &pb::RedirectAction) -> Option<Arc<str>> {
    match message.scheme_rewrite_specifier.as_ref()? {
        SchemeRewriteSpecifier::HttpsRedirect(https) => https.then(|| Arc::from("https")),
        SchemeRewriteSpecifier::SchemeRedirect(scheme) if scheme.is_empty() => None,
        SchemeRewriteSpecifier::SchemeRedirect(scheme) => {
            if Scheme::try_from(&**scheme).is_err() {
                walk.error_at("scheme_redirect", format_args!("`{scheme}` is no scheme"));
            }
            Some(Arc::from(&**scheme))
        }
    }
}

fn path(walk: &mut Walk, message: &pb::RedirectAction) -> Option<PathRewrite> {
    match message.path_rewrite_specifier.as_ref()? {
        PathRewriteSpecifier::PathRedirect(text) if text.is_empty() => None,
        PathRewriteSpecifier::PathRedirect(text) => {
            rewrite::path_text(walk, "path_redirect", text, true).map(PathRewrite::Full)
        }
        PathRewriteSpecifier::PathRewrite(text) => {
            let text = header::constant(walk, "path_rewrite", text)?;
            rewrite::path_text(walk, "path_rewrite", &text, true).map(PathRewrite::Full)
        }
        PathRewriteSpecifier::PrefixRewrite(text) => {
            rewrite::path_text(walk, "prefix_rewrite", text, false).map(PathRewrite::Prefix)
        }
        PathRewriteSpecifier::RegexRewrite(regex) => {
            let (pattern, substitution) =
                walk.at("regex_rewrite", |walk| matcher::substitution(walk, regex))?;
            Some(PathRewrite::Regex { pattern, substitution })
        }
    }
}

/// Decodes a direct response.
pub(super) fn direct_response(
    walk: &mut Walk,
    message: &pb::DirectResponseAction,
    around: &Around<'_>,
) -> Option<DirectResponse> {
    ignored!(walk, message, {
        body_format: "the body is sent as it stands in `body`",
    });
    let status = u16::try_from(message.status).ok().filter(|status| (200..600).contains(status));
    let status = status.and_then(|status| StatusCode::from_u16(status).ok());
    if status.is_none() {
        walk.error_at("status", format_args!("{} is not 200 to 599", message.status));
    }
    let body = match message.body.as_ref().map(|body| &body.specifier) {
        None => Bytes::new(),
        Some(Some(Specifier::InlineBytes(bytes))) => Bytes::copy_from_slice(bytes),
        Some(Some(Specifier::InlineString(text))) => Bytes::copy_from_slice(text.as_bytes()),
        // A control plane must not make this process read and send what it has.
        Some(_) => {
            walk.error_at("body", "a body is inline: set `inline_string` or `inline_bytes`");
            return None;
        }
    };
    if body.len() > around.largest_body {
        walk.error_at(
            "body",
            format_args!(
                "it has {} bytes, at most {} are allowed",
                body.len(),
                around.largest_body
            ),
        );
    }
    Some(DirectResponse::new(status?, body))
}
