//! The filters of a chain: [`mesh_core::filter::Pass`] decides, and here is done what it says.
//!
//! What can be answered at once, such as a token whose keys are here, is: such a request does not wait.

use super::enter::{Gate, Next, after};
use super::observer::Observer;
use super::scope::RequestScope;
use crate::clock;
use crate::filter::{AskContext, Asking};
use bytes::Bytes;
use http::request::Parts;
use mesh_core::Timestamp;
use mesh_core::filter::{Answer, FilterContext, Question, Step};
use mesh_core::inbound::Refusal;
use std::net::SocketAddr;

/// What a request waits for.
pub(super) enum Wait {
    /// This moment.
    Delay(Timestamp),
    /// The part of its body that has to be sent with the question; then the answer.
    Body(Box<Question>),
    /// What somebody says.
    Answer(Asking),
}

/// How the filters go on.
pub(super) enum Drive {
    /// From the first on.
    Start,
    /// The time that one asked for is over.
    DelayOver,
    /// Somebody answered, or nobody did.
    Answer(Answer),
}

impl Gate {
    /// Asks the filters, until one waits or all is decided.
    pub(super) fn filters(
        &self,
        parts: &mut Parts,
        scope: &mut RequestScope,
        mut drive: Drive,
    ) -> Next {
        let (Ok(chain), Some(connection), Some(target)) =
            (&scope.common.chain, &scope.common.connection, scope.target)
        else {
            // `admit` has set all three.
            return Next::Reply(Box::new(scope.refuse(&Refusal::NoListener)));
        };
        let Some(http) = chain.http().filter(|http| http.chain().names().len() > 0) else {
            return after(parts, scope);
        };
        // A request that has just come needs no other reading of the clock.
        let now = if matches!(drive, Drive::Start) { scope.started } else { clock::now() };
        let (wall, facts) = (clock::wall_near(now), connection.facts());
        let remote = match scope.client {
            Some(client) => Some(SocketAddr::new(client, 0)),
            None => facts.source,
        };
        let narrowed = scope.common.narrowed.as_ref();
        let mut cx =
            FilterContext { request: parts, connection: &facts, narrowed, remote, now, wall };
        let mut observer = Observer::new(self, chain, now, wall, scope.wants_reasons());
        let (filters, overrides) = (http.chain(), http.overrides(target));
        // What somebody says when nobody waits any more decides nothing, and he is not asked.
        let deadline = scope.inbound.deadline_at();
        let is_late = || deadline.is_some_and(|deadline| deadline <= clock::now());
        let step = loop {
            let pass = &mut scope.pass;
            let step = match drive {
                Drive::Start => pass.start(filters, overrides, &mut cx, &mut observer),
                Drive::DelayOver => {
                    pass.handle_delay_over(filters, overrides, &mut cx, &mut observer)
                }
                Drive::Answer(answer) => {
                    pass.handle_answer(answer, filters, overrides, &mut cx, &mut observer)
                }
            };
            match step {
                Step::Delay(until) => break Err(Some(Wait::Delay(until))),
                Step::Ask(_) if is_late() => break Err(None),
                Step::Ask(question) if question.body().is_some() => {
                    break Err(Some(Wait::Body(question)));
                }
                Step::Ask(question) => match self.ask(*question, Bytes::new(), scope) {
                    Asking::Ready(Some(_)) if is_late() => break Err(None),
                    Asking::Ready(Some(answer)) => drive = Drive::Answer(answer),
                    asking => break Err(Some(Wait::Answer(asking))),
                },
                step => break Ok(step),
            }
        };
        let verdict = observer.verdict;
        scope.noted(verdict.policy, verdict.details);
        match step {
            Err(Some(wait)) => Next::Wait(wait),
            Err(None) => Next::Reply(Box::new(scope.deadline_passed())),
            Ok(Step::Continue) => after(parts, scope),
            Ok(Step::Reply(reply)) => Next::Reply(Box::new(scope.refuse_by_filter(
                &reply,
                verdict.reason,
                verdict.denied,
            ))),
            // A step that this layer does not know lets nothing through.
            Ok(_) => Next::Reply(Box::new(scope.refuse(&Refusal::ChainGone))),
        }
    }

    /// Asks whoever a question is for.
    pub(super) fn ask(&self, question: Question, body: Bytes, scope: &RequestScope) -> Asking {
        let (connection, deadline) = (scope.common.connection.clone(), scope.inbound.deadline_at());
        self.listening.asker.ask(question, AskContext { connection, body, deadline })
    }
}
