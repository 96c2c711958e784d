//! Filters that ask somebody outside: [`Asker`] gets answers to the questions of a
//! [`Pass`](mesh_core::filter::Pass).
//!
//! ```text
//!  Step::Ask(question) ── Asker::ask ──> Asking (a future; ready at once where keys are here)
//!                                          │ tokens: keys, then signatures
//!                                          │ check: gRPC or HTTP, through the mesh's own client
//!                                          │ limit: gRPC
//!                                          v
//!                                        Answer ──> Pass::handle_answer
//! ```
//!
//! | module | what |
//! |---|---|
//! | `call.rs` | one call to a cluster by its name, of bounded size and time |
//! | `grpc.rs` | a unary gRPC call over it, and the messages |
//! | `http_check.rs` | an HTTP authorizer |
//! | `keys.rs` | key sets: fetched once at a time, kept, fetched again before they end |
//! | `signature.rs` | whether a signature is good (feature `tls`) |
//! | `body.rs` | the part of a request's body that an authorizer is sent |
//!
//! - No protobuf here: the messages are made by [`Codec`], which `source/` fills in.
//! - Nothing waits longer than the filter's timeout, nor than the request's own deadline.
//! - Futures are boxed here, and here only: a request that nobody is asked about has none.
//!
//! What it does not do: decide. What a failure means is the pass's.

mod body;
mod call;
mod grpc;
mod http_check;
mod keys;
#[cfg(feature = "tls")]
mod signature;
#[cfg(test)]
mod tests;

pub(crate) use body::{Prefix, Prefixed, read_prefix};
pub(crate) use grpc::Codec;

use crate::clock;
use crate::mesh::Mesh;
use crate::server::Connection;
use bytes::Bytes;
use call::Caller;
use keys::{KeyStore, Sought};
use mesh_core::Timestamp;
use mesh_core::filter::ask::{
    Answer, AskFailure, AskFailureKind, CheckQuestion, Question, QuestionKind,
};
use mesh_core::filter::jwt::{JwtError, TokenCheck};
use mesh_core::model::http_filter::AuthzService;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
#[cfg(not(feature = "tls"))]
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

/// Gets answers. Shared by all requests of a server, so that keys are fetched once.
#[derive(Debug)]
pub(crate) struct Asker {
    caller: Caller,
    keys: Arc<KeyStore>,
    #[cfg(feature = "tls")]
    signatures: signature::Verifier,
    /// Whether it was told that nobody can verify.
    #[cfg(not(feature = "tls"))]
    told: AtomicBool,
}

/// What is known of a request beside its question.
#[derive(Debug, Default)]
pub(crate) struct AskContext {
    /// The connection, for its certificates.
    pub(crate) connection: Option<Arc<Connection>>,
    /// The part of the body that [`Question::body`] wants.
    pub(crate) body: Bytes,
    /// When the request is given up.
    pub(crate) deadline: Option<Timestamp>,
}

/// An answer that may have to be waited for. Dropping it gives the question up.
pub(crate) enum Asking {
    Ready(Option<Answer>),
    Waiting(Pin<Box<dyn Future<Output = Answer> + Send>>),
}

/// What is known of tokens, each; `None`: its keys are still to come.
type Verified = Vec<Option<Result<(), JwtError>>>;

impl Asker {
    /// One that asks through the mesh's own client.
    pub(crate) fn new(mesh: &Mesh) -> Arc<Self> {
        let caller = Caller::new(mesh);
        let keys = Arc::new(KeyStore::new(caller.clone(), mesh.shared().runtime.clone()));
        Arc::new(Self {
            caller,
            keys,
            #[cfg(feature = "tls")]
            signatures: signature::Verifier::new(),
            #[cfg(not(feature = "tls"))]
            told: AtomicBool::new(false),
        })
    }

    /// Fetches the keys that chains want before the first request (Envoy: `async_fetch`).
    pub(crate) fn want_keys<'s>(
        &self,
        sources: impl Iterator<Item = &'s Arc<mesh_core::model::http_filter::JwksSource>>,
    ) {
        for source in sources {
            self.keys.want(source, clock::now());
        }
    }

    /// Gets the answer to a question.
    pub(crate) fn ask(self: &Arc<Self>, question: Question, cx: AskContext) -> Asking {
        let limit = limit(question.timeout(), cx.deadline);
        if limit.is_some_and(|limit| limit.is_zero()) {
            return Asking::Ready(Some(
                question.unanswered(AskFailureKind::Timeout(Duration::ZERO)),
            ));
        }
        if let QuestionKind::Tokens(checks) = &question.kind
            && let Some(answers) = self.verify_now(checks)
        {
            return Asking::Ready(Some(Answer::Tokens(answers)));
        }
        let asker = Arc::clone(self);
        Asking::Waiting(Box::pin(async move {
            let answer = asker.answer(&question, &cx);
            match limit {
                None => answer.await,
                Some(limit) => match tokio::time::timeout(limit, answer).await {
                    Ok(answer) => answer,
                    Err(_elapsed) => question.unanswered(AskFailureKind::Timeout(limit)),
                },
            }
        }))
    }

    async fn answer(&self, question: &Question, cx: &AskContext) -> Answer {
        match &question.kind {
            QuestionKind::Tokens(checks) => Answer::Tokens(self.verify_next(checks).await),
            QuestionKind::Check(check) => Answer::Check(match &check.filter.service {
                AuthzService::Grpc(service) => {
                    let certificate = certificate(check, cx);
                    let encode =
                        |codec: &Codec| (codec.encode_check)(check, &certificate, &cx.body);
                    let method = grpc::Method { path: |codec| codec.check_path, encode };
                    self.caller.unary(service, method, |codec| codec.decode_check).await
                }
                AuthzService::Http(service) => {
                    http_check::check(&self.caller, check, service, cx.body.clone()).await
                }
                // A service that is newer than this.
                other => {
                    let kind = AskFailureKind::Unsupported("such a service can't be asked");
                    Err(AskFailure::new(other.cluster(), kind))
                }
            }),
            QuestionKind::Limit(limit) => {
                let encode = |codec: &Codec| (codec.encode_limit)(limit);
                let method = grpc::Method { path: |codec| codec.limit_path, encode };
                let decode = |codec: &Codec| codec.decode_limit;
                Answer::Limit(self.caller.unary(&limit.service, method, decode).await)
            }
            // A question that is newer than this.
            _ => question.unanswered(AskFailureKind::Unsupported("such a question can't be asked")),
        }
    }

    /// The answers about tokens for which no key has to be waited for; `None`: there is no such token.
    fn verify_now(&self, checks: &[TokenCheck]) -> Option<Verified> {
        let now = clock::now();
        let sought =
            checks.iter().map(|check| match self.keys.get(&check.keys, &check.token, now) {
                Sought::Keys(keys) => Some(self.is_signed(check, &keys)),
                Sought::None => Some(Err(JwtError::KeysUnavailable)),
                Sought::Coming => None,
            });
        let sought: Verified = sought.collect();
        sought.iter().any(Option::is_some).then_some(sought)
    }

    /// The same, once there is something to say of one: whether the others are waited for hangs on it.
    async fn verify_next(&self, checks: &[TokenCheck]) -> Verified {
        let mut waits: Vec<_> = checks.iter().map(|check| Box::pin(self.verify(check))).collect();
        poll_fn(|cx| {
            let polled = waits.iter_mut().map(|wait| match wait.as_mut().poll(cx) {
                Poll::Ready(answer) => Some(answer),
                Poll::Pending => None,
            });
            let answers: Verified = polled.collect();
            let is_known = answers.iter().any(Option::is_some);
            if is_known { Poll::Ready(answers) } else { Poll::Pending }
        })
        .await
    }

    async fn verify(&self, check: &TokenCheck) -> Result<(), JwtError> {
        match self.keys.wait(&check.keys, &check.token).await {
            Some(keys) => self.is_signed(check, &keys),
            None => Err(JwtError::KeysUnavailable),
        }
    }

    #[cfg(feature = "tls")]
    fn is_signed(
        &self,
        check: &TokenCheck,
        keys: &Arc<mesh_core::filter::jwt::KeySet>,
    ) -> Result<(), JwtError> {
        self.signatures.check(check, keys)
    }

    #[cfg(not(feature = "tls"))]
    fn is_signed(
        &self,
        _: &TokenCheck,
        _: &Arc<mesh_core::filter::jwt::KeySet>,
    ) -> Result<(), JwtError> {
        // Whoever sends tokens does not fill the log.
        if !self.told.swap(true, Ordering::Relaxed) {
            tracing::warn!(target: "mesh::filter", "tokens can't be verified: build with the feature `tls`");
        }
        Err(JwtError::KeysUnavailable)
    }
}

/// The shorter of what a filter and what the request allows.
fn limit(timeout: Duration, deadline: Option<Timestamp>) -> Option<Duration> {
    let left = deadline.map(|deadline| deadline.saturating_duration_since(clock::now()));
    let own = (!timeout.is_zero()).then_some(timeout);
    match (own, left) {
        (Some(own), Some(left)) => Some(own.min(left)),
        (own, left) => own.or(left),
    }
}

/// The peer's certificate as Envoy sends it: PEM in its URL encoding.
fn certificate(check: &CheckQuestion, cx: &AskContext) -> String {
    let connection = cx.connection.as_ref().filter(|_| check.filter.include_peer_certificate);
    let first = connection.and_then(|connection| connection.certificates.first());
    first.map(|der| body::url_encoded(&body::pem(der))).unwrap_or_default()
}

impl Future for Asking {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        match &mut *self {
            Self::Ready(answer) => answer.take().map_or(Poll::Pending, Poll::Ready),
            Self::Waiting(answer) => answer.as_mut().poll(cx),
        }
    }
}

impl std::fmt::Debug for Asking {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Ready(_) => "Ready",
            Self::Waiting(_) => "Waiting",
        })
    }
}
