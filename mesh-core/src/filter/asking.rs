//! The steps of [`Pass`] that ask, and what answers do.

use super::ask::{
    Answer, AskDecision, AskFailure, AskFailureKind, AskOutcome, LimitAnswer, Question,
    QuestionKind,
};
use super::chain::{Chain, Filter};
use super::ext_authz::{self, CompiledExtAuthz, EXT_AUTHZ_NAMESPACE};
use super::jwt::{CompiledJwt, JwtError, Pending};
use super::overrides::Overrides;
use super::pass::{FilterContext, FilterObserver, Pass, Step, Told, head_of};
use super::rate_limit::{CompiledRateLimit, KnownMetadata};
use super::reply::FilterReply;
use crate::model::{AppendAction, HeaderMutation, Metadata};
use crate::router::apply_edit;
use http::header::{HOST, HeaderValue, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use std::sync::Arc;

/// What answers left behind for filters that come later, and for the service's answer. A request about
/// which nobody is asked has none.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// Tokens that an answer is awaited about.
    pending: Option<Pending>,
    pub(super) metadata: Metadata,
    response: Vec<HeaderMutation>,
}

impl Pass {
    /// What is known of the request by filters so far (Envoy: dynamic metadata).
    #[must_use]
    pub fn metadata(&self) -> Option<&Metadata> {
        self.known.as_deref().map(|known| &known.metadata)
    }

    /// Makes the edits of the service's answer that authorizers and limits asked for.
    pub(super) fn edit_response(&self, headers: &mut HeaderMap) {
        for edit in self.known.iter().flat_map(|known| &known.response) {
            apply_edit(edit, headers);
        }
    }

    /// Somebody answered the question of [`Step::Ask`], or nobody did. An answer to another question
    /// than was asked counts as none.
    pub fn handle_answer(
        &mut self,
        answer: Answer,
        chain: &Chain,
        overrides: &Overrides,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Step {
        let asked = self.next.checked_sub(1).and_then(|at| Some((at, chain.filters.get(at)?)));
        let effective = asked.and_then(|(at, own)| Some((own, overrides.effective(at, own)?)));
        // A chain without the filter that asked: whoever drives this has exchanged it on the way.
        let Some((own, filter)) = effective else {
            let nobody = Arc::from("");
            return refuse(FilterReply::new(
                &nobody,
                StatusCode::INTERNAL_SERVER_ERROR,
                "no_filter_asked",
            ));
        };
        let name = &own.name;
        let step = if let Filter::Jwt(jwt) = filter {
            self.tokens_answered(name, jwt, answer, cx, observer)
        } else if let Filter::ExtAuthz(authz) = filter {
            self.check_answered(name, authz, answer, cx, observer)
        } else if let Filter::RateLimit(limit) = filter {
            self.limit_answered(name, limit, answer, cx, observer)
        } else {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            Some(refuse(FilterReply::new(name, status, "no_question_asked")))
        };
        match step {
            Some(step) => step,
            None => self.go_on(chain, overrides, cx, observer),
        }
    }

    pub(super) fn known(&mut self) -> &mut Known {
        self.known.get_or_insert_default()
    }

    /// Tokens: the requirement that holds, and what needs no key. `None`: the request goes on.
    pub(super) fn ask_tokens(
        &mut self,
        name: &Arc<str>,
        jwt: &CompiledJwt,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let connection = cx.connection;
        let rule = |request: &Parts| jwt.rule(&head_of(request, connection));
        self.known().pending = Some(jwt.begin(cx.request, rule, cx.wall)?);
        self.decide_tokens(name, jwt, cx, observer)
    }

    fn tokens_answered(
        &mut self,
        name: &Arc<str>,
        jwt: &CompiledJwt,
        answer: Answer,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let answers = match answer {
            Answer::Tokens(answers) => answers,
            _ => Vec::new(),
        };
        if let Some(pending) = &mut self.known().pending {
            pending.handle_answers(answers);
        }
        self.decide_tokens(name, jwt, cx, observer)
    }

    /// Asks, unless what is known of the tokens is enough.
    fn decide_tokens(
        &mut self,
        name: &Arc<str>,
        jwt: &CompiledJwt,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let known = self.known();
        if let Some(pending) = known.pending.as_ref().filter(|pending| !pending.is_decided()) {
            let checks = QuestionKind::Tokens(pending.checks());
            return Some(Step::Ask(Box::new(Question::new(name, checks))));
        }
        let model = jwt.model();
        let request = (!model.shadow).then_some(&mut *cx.request);
        let result = match known.pending.take() {
            Some(pending) => pending.finish(request, &mut known.metadata),
            None => Err(JwtError::KeysUnavailable),
        };
        let (outcome, code) = match &result {
            Ok(()) => (AskOutcome::Allowed, ""),
            Err(error @ JwtError::KeysUnavailable) => (AskOutcome::FailedClosed, error.code()),
            Err(error) => (AskOutcome::Denied, error.code()),
        };
        let shadow = model.shadow;
        tell(observer, name, AskDecision { outcome, shadow, code, cluster: None, failure: None });
        let error = result.err().filter(|_| !shadow)?;
        Some(refuse(token_refused(name, &error, model.strip_failure_response, cx.request)))
    }

    /// An authorizer is asked, if it is about this request. `None`: it is not, and the request goes on.
    pub(super) fn ask_authorizer(
        &mut self,
        name: &Arc<str>,
        authz: &CompiledExtAuthz,
        cx: &FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let known = self.known.as_deref().map(|known| &known.metadata);
        if !authz.is_enabled(known, &mut self.random) {
            return not_asked(name, authz, observer);
        }
        let head = head_of(cx.request, cx.connection);
        let question = authz.question(&head, cx, known);
        Some(Step::Ask(Box::new(Question::new(name, QuestionKind::Check(Box::new(question))))))
    }

    fn check_answered(
        &mut self,
        name: &Arc<str>,
        authz: &CompiledExtAuthz,
        answer: Answer,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let model = Arc::clone(authz.model());
        let (shadow, cluster) = (model.shadow, Some(model.service.cluster()));
        let mut told = |outcome, code, failure: Option<&AskFailure>| {
            tell(observer, name, AskDecision { outcome, shadow, code, cluster, failure });
        };
        let answer = match answer {
            Answer::Check(Err(failure)) => Err(Some(failure)),
            Answer::Check(Ok(answer)) => match authz.checked(answer) {
                Ok(answer) => Ok(answer),
                Err(failure) => {
                    told(AskOutcome::FailedClosed, ext_authz::INVALID, Some(&failure));
                    return (!shadow).then(|| refuse(ext_authz::invalid(name)));
                }
            },
            Answer::BodyTooLarge => {
                told(AskOutcome::Denied, "ext_authz_body_too_large", None);
                return (!shadow).then(|| refuse(ext_authz::too_large(name)));
            }
            _ => Err(None),
        };
        let (answer, reply) = match answer {
            // What it says of its failure is for the caller, if the request is refused.
            Ok(answer) if answer.failed => {
                let failed = AskFailure::new(model.service.cluster(), AskFailureKind::Said);
                (Err(Some(failed)), Some(answer))
            }
            answer => (answer, None),
        };
        match answer {
            Ok(answer) if answer.allowed => {
                told(AskOutcome::Allowed, "", None);
                if !shadow {
                    ext_authz::allow(&answer, cx.request);
                    let known = self.known();
                    known.response.extend(answer.response_headers);
                    if !answer.metadata.is_empty() {
                        // Beside what another authorizer has said (Envoy: `MergeFrom`).
                        let own = known.metadata.0.entry(Arc::from(EXT_AUTHZ_NAMESPACE));
                        own.or_default().extend(answer.metadata);
                    }
                }
                None
            }
            Ok(answer) => {
                told(AskOutcome::Denied, "ext_authz_denied", None);
                (!shadow).then(|| refuse(ext_authz::deny(name, answer)))
            }
            Err(failure) if model.failure_mode_allow => {
                told(AskOutcome::FailedOpen, "ext_authz_error", failure.as_ref());
                if !shadow {
                    authz.fail_open(cx.request);
                }
                None
            }
            Err(failure) => {
                told(AskOutcome::FailedClosed, "ext_authz_error", failure.as_ref());
                (!shadow).then(|| refuse(authz.fail_closed(name, reply)))
            }
        }
    }

    /// Whoever counts is asked. `None`: the request counts as nothing, and goes on.
    pub(super) fn ask_limit(
        &self,
        name: &Arc<str>,
        limit: &CompiledRateLimit,
        route: Option<&Metadata>,
        cx: &FilterContext<'_>,
    ) -> Option<Step> {
        let head = head_of(cx.request, cx.connection);
        let known = KnownMetadata { dynamic: self.metadata(), route };
        let question = limit.question(&head, cx, known)?;
        Some(Step::Ask(Box::new(Question::new(name, QuestionKind::Limit(Box::new(question))))))
    }

    fn limit_answered(
        &mut self,
        name: &Arc<str>,
        limit: &CompiledRateLimit,
        answer: Answer,
        cx: &mut FilterContext<'_>,
        observer: &mut impl FilterObserver,
    ) -> Option<Step> {
        let model = Arc::clone(limit.model());
        let (shadow, cluster) = (model.shadow, Some(&model.service.cluster));
        let mut told = |outcome, code, failure: Option<&AskFailure>| {
            tell(observer, name, AskDecision { outcome, shadow, code, cluster, failure });
        };
        let answer = match answer {
            Answer::Limit(answer) => answer.map_err(Some).map(limit_checked),
            _ => Err(None),
        };
        match answer {
            Ok(answer) if answer.over_limit => {
                told(AskOutcome::Denied, "request_rate_limited", None);
                (!shadow).then(|| refuse(limit.over(name, answer)))
            }
            Ok(answer) => {
                told(AskOutcome::Allowed, "", None);
                if !shadow {
                    for edit in &answer.request_headers {
                        apply_edit(edit, &mut cx.request.headers);
                    }
                    let mut headers = HeaderMap::new();
                    limit.limit_headers(&answer.statuses, &mut headers);
                    let known = self.known();
                    known.response.extend(answer.response_headers);
                    known.response.extend(headers.iter().map(|(name, value)| {
                        HeaderMutation::Append {
                            name: name.clone(),
                            value: value.clone(),
                            action: AppendAction::AppendIfExistsOrAdd,
                        }
                    }));
                }
                None
            }
            Err(failure) if !model.failure_mode_deny => {
                told(AskOutcome::FailedOpen, "rate_limiter_error", failure.as_ref());
                None
            }
            Err(failure) => {
                told(AskOutcome::FailedClosed, "rate_limiter_error", failure.as_ref());
                (!shadow).then(|| refuse(limit.fail_closed(name)))
            }
        }
    }
}

/// An authorizer is off for a request (Envoy: `deny_at_disable`).
fn not_asked(
    name: &Arc<str>,
    authz: &CompiledExtAuthz,
    observer: &mut impl FilterObserver,
) -> Option<Step> {
    let model = authz.model();
    let (outcome, code) = match model.deny_at_disable {
        true => (AskOutcome::Denied, "ext_authz_disabled"),
        false => (AskOutcome::NotAsked, ""),
    };
    let shadow = model.shadow;
    tell(observer, name, AskDecision { outcome, shadow, code, cluster: None, failure: None });
    (model.deny_at_disable && !shadow).then(|| refuse(authz.fail_closed(name, None)))
}

fn refuse(reply: FilterReply) -> Step {
    Step::Reply(Box::new(reply))
}

/// An answer as it may be used: whoever counts may write no more than an authorizer.
fn limit_checked(mut answer: LimitAnswer) -> LimitAnswer {
    answer.request_headers.retain(ext_authz::may_be_written);
    answer.response_headers.retain(ext_authz::may_be_written);
    answer
}

fn tell(observer: &mut impl FilterObserver, name: &Arc<str>, decision: AskDecision<'_>) {
    observer.told(name, Told::Asked(decision));
}

/// Envoy: 401 with `www-authenticate` (RFC 6750 §3), 403 for another audience.
fn token_refused(name: &Arc<str>, error: &JwtError, strip: bool, request: &Parts) -> FilterReply {
    let status = match error {
        JwtError::Audience => StatusCode::FORBIDDEN,
        _ => StatusCode::UNAUTHORIZED,
    };
    let text = error.to_string();
    let details = format!("jwt_authn_access_denied{{{}}}", text.replace(' ', "_"));
    let mut reply = FilterReply::new(name, status, details);
    let authority = request.uri.authority().map(|authority| authority.as_str());
    let host = || request.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = authority.or_else(host).unwrap_or_default().replace(['"', '\\'], "");
    let mut challenge = format!("Bearer realm=\"{authority}\"");
    if !strip && !matches!(error, JwtError::Missing) {
        challenge.push_str(", error=\"invalid_token\"");
    }
    if let Ok(challenge) = HeaderValue::try_from(challenge) {
        reply.headers.insert(WWW_AUTHENTICATE, challenge);
    }
    if !strip {
        reply.body = text.into();
    }
    reply
}

#[cfg(test)]
mod tests;
