//! A request that a filter lets wait: for a time, for its own body, for what somebody says. Its deadline
//! bounds all of that.

use super::enter::{Gate, Next};
use super::filters::{Drive, Wait};
use super::scope::RequestScope;
use crate::clock;
use crate::filter::{Prefix, Prefixed, read_prefix};
use bytes::Bytes;
use http::Response;
use http::request::Parts;
use http_body::Body;
use mesh_core::filter::{Answer, Question};
use mesh_core::inbound::Refusal;
use std::sync::atomic::Ordering;

/// Waits, as often as filters want, until it is decided: `None`, it goes to the service; or its answer.
pub(super) async fn until_decided<B>(
    gate: &Gate,
    parts: &mut Parts,
    body: &mut Prefixed<B>,
    scope: &mut RequestScope,
    mut wait: Wait,
) -> Option<Box<Response<Bytes>>>
where
    B: Body<Data = Bytes> + Unpin,
{
    loop {
        let deadline = scope.inbound.deadline_at();
        let over = over(gate, body, scope, wait);
        let drive = match deadline {
            Some(at) => tokio::time::timeout_at(clock::instant(at), over).await.ok(),
            None => Some(over.await),
        };
        // What somebody says when nobody waits any more decides nothing.
        let is_late = deadline.is_some_and(|at| at <= clock::now());
        let drive = match drive.filter(|_| !is_late) {
            None => return Some(Box::new(scope.deadline_passed())),
            Some(Err(reply)) => return Some(Box::new(reply)),
            Some(Ok(drive)) => drive,
        };
        match gate.filters(parts, scope, drive) {
            Next::Service => return None,
            Next::Reply(reply) => return Some(reply),
            Next::Wait(longer) => wait = longer,
        }
    }
}

/// What is waited for is over, or will not come: then what the caller is answered.
async fn over<B>(
    gate: &Gate,
    body: &mut Prefixed<B>,
    scope: &mut RequestScope,
    wait: Wait,
) -> Result<Drive, Response<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
{
    match wait {
        Wait::Delay(until) => {
            tokio::time::sleep_until(clock::instant(until)).await;
            Ok(Drive::DelayOver)
        }
        Wait::Answer(asking) => Ok(Drive::Answer(asking.await)),
        Wait::Body(mut question) => {
            let answer = match read(&question, body, scope).await? {
                Some(part) => {
                    question.body_read(part.more);
                    gate.ask(*question, part.bytes, scope).await
                }
                None => Answer::BodyTooLarge,
            };
            Ok(Drive::Answer(answer))
        }
    }
}

/// The part of the body that a question wants; `None`: the body is longer than may be sent.
async fn read<B>(
    question: &Question,
    body: &mut Prefixed<B>,
    scope: &mut RequestScope,
) -> Result<Option<Prefix>, Response<Bytes>>
where
    B: Body<Data = Bytes> + Unpin,
{
    let Some(wanted) = question.body() else {
        return Ok(Some(Prefix { bytes: Bytes::new(), more: false }));
    };
    let most = usize::try_from(wanted.max_request_bytes).unwrap_or(usize::MAX);
    scope.bound_body(&body.size_hint());
    let read = read_prefix(body, most, wanted.allow_partial_message).await;
    // Half a body must not pass for a whole one.
    let part = read.map_err(|_broken| scope.refuse(&Refusal::BodyBroken))?;
    if let Some(limit) = &scope.body_limit {
        limit.counter.store(body.bytes_read(), Ordering::Relaxed);
    }
    if scope.is_body_too_large() {
        return Err(scope.body_too_large());
    }
    Ok((wanted.allow_partial_message || !part.more).then_some(part))
}
