//! An authorizer that speaks HTTP: the request's head goes there, and what it answers counts.

use super::call::{Caller, uri};
use crate::MeshBody;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Request, Uri};
use mesh_core::filter::ask::{AskFailure, AskFailureKind, CheckAnswer, CheckQuestion};
use mesh_core::model::http_filter::HttpAuthz;
use mesh_core::model::{AppendAction, HeaderMutation};

/// The largest answer, in bytes.
const MAX_ANSWER: usize = 256 * 1024;

/// Asks an HTTP service (Envoy: `HttpService`).
///
/// # Errors
/// [`AskFailure`]: nobody answered, or with a status from 500 on.
pub(super) async fn check(
    caller: &Caller,
    question: &CheckQuestion,
    service: &HttpAuthz,
    body: Bytes,
) -> Result<CheckAnswer, AskFailure> {
    let cluster = &service.server.cluster;
    let failure = |kind| AskFailure::new(cluster, kind);
    let request = request(question, service, body).map_err(failure)?;
    let (response, _) = caller.send(cluster, request, MAX_ANSWER).await.map_err(failure)?;
    let (parts, body) = response.into_parts();
    match &question.http {
        Some(answers) => answers.read(parts.status, &parts.headers, body),
        None => Err(failure(AskFailureKind::Unsupported("its lists of headers were not compiled"))),
    }
}

fn request(
    question: &CheckQuestion,
    service: &HttpAuthz,
    body: Bytes,
) -> Result<Request<MeshBody>, AskFailureKind> {
    let path = format!("{}{}", service.path_prefix, question.path);
    // The caller's authority, as Envoy has it: the cluster says where the authorizer is.
    let own = service.server.uri.parse::<Uri>().ok();
    let own = own.as_ref().and_then(Uri::authority).map_or("", |authority| authority.as_str());
    let length = HeaderValue::from(body.len());
    let mut request = Request::new(MeshBody::full(body));
    *request.uri_mut() = uri(&question.authority, own, &path)?;
    *request.method_mut() = question.method.clone();
    let headers = request.headers_mut();
    for (name, value) in &question.headers {
        headers.append(name, value.clone());
    }
    headers.insert(CONTENT_LENGTH, length);
    for edit in &service.headers_to_add {
        add(edit, headers);
    }
    Ok(request)
}

/// Envoy's `headers_to_add` replace what is there.
fn add(edit: &HeaderMutation, headers: &mut HeaderMap) {
    match edit {
        HeaderMutation::Append { name, value, action: AppendAction::AppendIfExistsOrAdd } => {
            headers.append(name, value.clone());
        }
        HeaderMutation::Append { name, value, .. } => {
            headers.insert(name, value.clone());
        }
        HeaderMutation::Remove(name) => {
            headers.remove(name);
        }
    }
}
