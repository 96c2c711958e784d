//! `envoy.service.auth.v3.Authorization/Check`.

use super::{edits, metadata, to_struct};
use bytes::Bytes;
use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::service::auth::v3 as pb;
use envoy_types::pb::google::protobuf::Timestamp;
use http::header::HOST;
use http::{HeaderName, StatusCode, Version};
use mesh_core::filter::ask::{CheckAnswer, CheckQuestion};
use mesh_core::model::{AppendAction, HeaderMutation};
use pb::attribute_context::{HttpRequest, Peer, Request, TlsSession};
use pb::check_response::HttpResponse;
use prost::Message;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

/// The path of the method.
pub const CHECK_PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// A question as a `CheckRequest`. `certificate` is the peer's, in PEM with its URL encoding; empty: it is
/// not sent. `body` is the part of the body that is sent.
#[must_use]
pub fn encode_check(question: &CheckQuestion, certificate: &str, body: &Bytes) -> Vec<u8> {
    let seconds = i64::try_from(question.wall.as_unix_seconds()).unwrap_or(i64::MAX);
    let request = Request {
        time: Some(Timestamp { seconds, nanos: 0 }),
        http: Some(http_request(question, body)),
    };
    let source = peer(question.source, &question.source_principal, certificate);
    let extensions = question.filter.context_extensions.iter();
    let server_name = &question.server_name;
    let known = question.metadata.0.iter();
    let attributes = pb::AttributeContext {
        source: Some(source),
        destination: Some(peer(question.destination, "", "")),
        request: Some(request),
        context_extensions: extensions.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
        metadata_context: Some(core::Metadata {
            filter_metadata: known.map(|(name, of)| (name.to_string(), to_struct(of))).collect(),
            ..core::Metadata::default()
        }),
        route_metadata_context: None,
        tls_session: (!server_name.is_empty()).then(|| TlsSession { sni: server_name.to_string() }),
    };
    pb::CheckRequest { attributes: Some(attributes) }.encode_to_vec()
}

fn peer(address: Option<SocketAddr>, principal: &str, certificate: &str) -> Peer {
    use core::socket_address::PortSpecifier;
    let address = address.map(|address| core::Address {
        address: Some(core::address::Address::SocketAddress(core::SocketAddress {
            address: address.ip().to_string(),
            port_specifier: Some(PortSpecifier::PortValue(u32::from(address.port()))),
            ..core::SocketAddress::default()
        })),
    });
    Peer {
        address,
        principal: principal.to_owned(),
        certificate: certificate.to_owned(),
        ..Peer::default()
    }
}

fn http_request(question: &CheckQuestion, body: &Bytes) -> HttpRequest {
    let mut headers: HashMap<String, String> = HashMap::new();
    for (name, value) in &question.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        // Envoy: values of one name are joined by commas, and cookies too.
        match headers.get_mut(name.as_str()) {
            Some(before) => {
                before.push(',');
                before.push_str(&value);
            }
            None => {
                headers.insert(name.as_str().to_owned(), value.into_owned());
            }
        }
    }
    // What Envoy's headers have as pseudo headers, authorizers look for there.
    for (name, value) in [
        (":method", question.method.as_str()),
        (":path", &question.path),
        (":authority", &question.authority),
        (":scheme", &question.scheme),
    ] {
        headers.insert(name.to_owned(), value.to_owned());
    }
    headers.remove(HOST.as_str());
    let pack = question.filter.with_request_body.is_some_and(|body| body.pack_as_bytes);
    let text = if pack { String::new() } else { String::from_utf8_lossy(body).into_owned() };
    let protocol = match question.version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        Version::HTTP_3 => "HTTP/3",
        _ => "HTTP/1.1",
    };
    HttpRequest {
        method: question.method.to_string(),
        headers,
        path: question.path.to_string(),
        host: question.authority.to_string(),
        scheme: question.scheme.to_string(),
        // Envoy: -1 where the size is not known.
        size: question.size.and_then(|size| i64::try_from(size).ok()).unwrap_or(-1),
        protocol: protocol.to_owned(),
        body: text,
        raw_body: if pack { body.to_vec() } else { Vec::new() },
        ..HttpRequest::default()
    }
}

/// What a `CheckResponse` says.
///
/// # Errors
/// Why it can't be read.
pub fn decode_check(bytes: &[u8]) -> Result<CheckAnswer, Arc<str>> {
    let message = pb::CheckResponse::decode(bytes)
        .map_err(|invalid| Arc::from(format!("it is no CheckResponse: {invalid}")))?;
    let mut answer = CheckAnswer::default();
    // Only an explicit OK is a yes: an answer without a status has not been thought through.
    answer.allowed = message.status.as_ref().is_some_and(|status| status.code == 0);
    answer.metadata = message.dynamic_metadata.map(metadata).unwrap_or_default();
    match message.http_response {
        Some(HttpResponse::OkResponse(ok)) if answer.allowed => allowed(&mut answer, ok),
        Some(HttpResponse::DeniedResponse(denied)) if !answer.allowed => {
            denied_by(&mut answer, denied);
        }
        // Not a denial: the filter's way with failures counts (Envoy: `error_response`).
        Some(HttpResponse::ErrorResponse(error)) if !answer.allowed => {
            answer.failed = true;
            denied_by(&mut answer, error);
        }
        // Envoy takes what fits the status alone.
        _ => {}
    }
    Ok(answer)
}

fn allowed(answer: &mut CheckAnswer, ok: pb::OkHttpResponse) {
    #[expect(deprecated, reason = "authorizers write it")]
    let metadata_of_yes = ok.dynamic_metadata;
    // Envoy: until it is removed, it overrides what stands outside of it.
    if let Some(of_yes) = metadata_of_yes {
        answer.metadata = metadata(of_yes);
    }
    // What the service is told of a caller stands over what the caller said; what callers are told is added
    // (Envoy: the default of `append_action`), for a name may have several values, `set-cookie` for one.
    let (set, add) = (AppendAction::OverwriteIfExistsOrAdd, AppendAction::AppendIfExistsOrAdd);
    let mut invalid = edits(&ok.headers, set, &mut answer.headers);
    invalid |= edits(&ok.response_headers_to_add, add, &mut answer.response_headers);
    // What is no name can't be there (Envoy: ignored).
    let names =
        ok.headers_to_remove.iter().flat_map(|name| HeaderName::from_bytes(name.as_bytes()));
    answer.headers.extend(names.map(HeaderMutation::Remove));
    let set = ok.query_parameters_to_set.into_iter();
    answer.query_parameters_to_set = set.map(|set| (set.key.into(), set.value.into())).collect();
    let remove = ok.query_parameters_to_remove.into_iter();
    answer.query_parameters_to_remove = remove.map(Arc::from).collect();
    answer.invalid_mutation = invalid;
}

fn denied_by(answer: &mut CheckAnswer, denied: pb::DeniedHttpResponse) {
    let add = AppendAction::AppendIfExistsOrAdd;
    answer.invalid_mutation = edits(&denied.headers, add, &mut answer.headers);
    // One that no answer can have is none, and a no without one is a no still.
    let code = denied.status.and_then(|status| u16::try_from(status.code).ok());
    let code = code.filter(|code| (200..600).contains(code));
    answer.status = code.and_then(|code| StatusCode::from_u16(code).ok());
    answer.body = denied.body.into();
}
