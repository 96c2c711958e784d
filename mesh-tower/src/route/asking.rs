//! The first call to an authority, when the source has to be asked for it.
//!
//! It waits for the source's answer until its own deadline, and then begins anew with the time that is
//! left. That is not the common path: each authority is asked for once.

use super::future::RouteFuture;
use super::{By, RouteService, options_of};
use crate::MeshBody;
use crate::body::BoxError;
use crate::clock;
use crate::driver::Progress;
use crate::endpoint::MeshResponseBody;
use crate::error::{Error, Station};
use crate::inbound_context::Inbound;
use crate::leaf::Leaf;
use crate::net::Net;
use crate::observe::CallReport;
use crate::observe::access_log::CallLine;
use crate::observe::code::Code;
use crate::observe::span::ThinSpan;
use crate::routed::Routed;
use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use mesh_core::Timestamp;
use mesh_core::local_reply::Reason;
use mesh_core::state::Snapshot;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tower_service::Service;

/// How long a call without a deadline of its own waits for the source's answer. A control plane's
/// resources are given up after 15 s each (gRFC A57), so an answer comes within two of them.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// The call after the answer.
pub(super) type Asking<C, P, R> = Pin<Box<dyn Future<Output = RouteFuture<C, P, R>> + Send>>;

impl<S, L> RouteService<S, L> {
    /// Whether the source has still to be asked for the authority of `request`.
    pub(super) fn must_ask<B>(&self, snapshot: &Snapshot<Net>, request: &Request<B>) -> bool {
        // Nobody is asked what an address is, nor for routes that a port has itself.
        !matches!(self.by, By::Address | By::Chain(..))
            && self.mesh.shared().interests.is_open()
            && !snapshot.has_answer(self.authority(request))
    }
}

impl<S, L, R> RouteService<S, L>
where
    S: Service<Routed, Response = Response<MeshResponseBody<R>>, Error = Error>,
    S: Clone + Send + 'static,
    L: Leaf<Body = R>,
    R: Body<Data = Bytes> + Unpin,
    R::Error: Into<BoxError>,
{
    /// Asks the source, waits for its answer, and then makes the call.
    #[expect(clippy::async_yields_async, reason = "the call takes the place of the question")]
    pub(super) fn ask(
        &self,
        request: Request<MeshBody>,
        started: Timestamp,
        span: ThinSpan,
        line: Option<Box<CallLine>>,
    ) -> Asking<S::Future, L::Future, R> {
        let mut service = self.clone();
        let mesh = self.mesh.clone();
        Box::pin(async move {
            let authority = service.authority(&request).to_ascii_lowercase();
            let default_port = if request.uri().scheme_str() == Some("https") { 443 } else { 80 };
            if let Err(too_many) = mesh.shared().interests.ask(&authority, default_port) {
                let why = Some(too_many.to_string().into());
                return service.unanswered(Reason::NoVirtualHost, why, started, span, line);
            }
            let limit = options_of(&request).timeout.filter(|limit| !limit.is_zero());
            let grpc = mesh_core::head::is_grpc_content_type(request.headers());
            let inbound = Inbound::of_call(request.extensions());
            let caller = crate::call::caller_deadline(request.headers(), grpc, inbound, started);
            let own = started + limit.unwrap_or(LONGEST_WAIT);
            let until = clock::instant(caller.map_or(own, |caller| caller.min(own)));
            let has_answer = || mesh.snapshot().has_answer(&authority);
            match tokio::time::timeout_at(until, answer(mesh.progress(), has_answer)).await {
                Ok(true) => service.start(request, started, span, line),
                Ok(false) => service.unanswered(Reason::ShutDown, None, started, span, line),
                Err(_late) => {
                    let trouble = mesh.shared().interests.trouble();
                    let why = Some(trouble.of_authority(&authority, clock::now()));
                    service.unanswered(Reason::NotConfigured, why, started, span, line)
                }
            }
        })
    }

    fn unanswered(
        &self,
        reason: Reason,
        why: Option<Arc<str>>,
        started: Timestamp,
        span: ThinSpan,
        line: Option<Box<CallLine>>,
    ) -> RouteFuture<S::Future, L::Future, R> {
        let code = Code { flag: Some(reason.flag()), ..Code::default() };
        super::count(self.mesh.unrouted(), code, started);
        let error = Error::new(reason, Station::default()).with_why(why);
        let error = error.with_report(Some(CallReport::new()));
        if let Some(line) = line {
            line.failed(&error, clock::now());
        }
        RouteFuture::ready(Err(error), span)
    }
}

/// Waits until there is an answer; `false`: the mesh ended.
async fn answer(mut progress: watch::Receiver<Progress>, has_answer: impl Fn() -> bool) -> bool {
    loop {
        if progress.borrow_and_update().ended {
            return false;
        }
        if has_answer() {
            return true;
        }
        if progress.changed().await.is_err() {
            return false;
        }
    }
}
