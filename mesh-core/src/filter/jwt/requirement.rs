//! One request's tokens, and whether they are enough.

use super::claims;
use super::compile::{CompiledJwt, Leaf, Lenience, Provider, Requirement};
use super::place::{Found, Place};
use super::{JWT_NAMESPACE, JwtError, Token, TokenCheck};
use crate::head::RequestHead;
use crate::model::{Metadata, MetadataValue};
use crate::random::SplitMix64;
use crate::router::Decision;
use crate::time::WallTime;
use http::header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN};
use http::request::Parts;
use http::{HeaderMap, HeaderName, Method};
use std::sync::Arc;

/// A request whose tokens are known, and perhaps not yet proven.
#[derive(Debug)]
pub(in crate::filter) struct Pending {
    requirement: Arc<Requirement>,
    providers: Arc<[Provider]>,
    candidates: Vec<Candidate>,
}

#[derive(Debug)]
struct Candidate {
    /// The part of the requirement that it is for.
    leaf: usize,
    /// Its provider's number; `None`: its issuer is nobody's.
    provider: Option<usize>,
    place: Place,
    token: Result<Arc<Token>, JwtError>,
    /// Whether a key has made it.
    proven: bool,
}

/// What is known of a requirement.
enum Verdict {
    Holds,
    /// It does not, whatever else is said.
    Fails(JwtError),
    /// It hangs on keys that are still to come.
    Open,
}

impl CompiledJwt {
    /// What the request needs and has; `None`: it needs nothing. Headers that only the filter may write
    /// are removed.
    pub(in crate::filter) fn begin(
        &self,
        request: &mut Parts,
        head: impl FnOnce(&Parts) -> Option<usize>,
        now: WallTime,
    ) -> Option<Pending> {
        // In shadow mode nothing of a request is changed.
        if !self.model.shadow {
            take_off(&self.own_headers, &mut request.headers);
        }
        if self.model.bypass_cors_preflight && is_preflight(request) {
            return None;
        }
        let requirement = match &self.overridden {
            Some(overridden) => overridden,
            None => self.required.get(head(request)?)?.as_ref()?,
        };
        let mut pending = Pending {
            requirement: Arc::clone(requirement),
            providers: Arc::clone(&self.providers),
            candidates: Vec::new(),
        };
        collect(requirement, &pending.providers, request, now, &mut pending.candidates);
        Some(pending)
    }

    /// The number of the rule that is for a request.
    pub(in crate::filter) fn rule(&self, head: &RequestHead<'_>) -> Option<usize> {
        // No rule has a fraction, so nothing is drawn.
        match self.rules.route(head, &mut SplitMix64::new(0)) {
            Ok(Decision::NonForwarding { target, .. }) => usize::try_from(target).ok(),
            _ => None,
        }
    }
}

/// Takes off what only the filter may say, also where an application that knows headers as variables (RFC 3875 section
/// 4.1.18) would take another name for it.
fn take_off(own: &[HeaderName], headers: &mut HeaderMap) {
    if own.is_empty() {
        return;
    }
    let is_forged = |name: &&HeaderName| own.iter().any(|own| are_alike(own, name));
    let forged: Vec<HeaderName> = headers.keys().filter(is_forged).cloned().collect();
    for name in forged {
        headers.remove(name);
    }
}

fn are_alike(one: &HeaderName, other: &HeaderName) -> bool {
    let [one, other] = [one, other].map(|name| name.as_str().as_bytes());
    let dashed = |byte: &u8| if *byte == b'_' { b'-' } else { *byte };
    one.len() == other.len() && one.iter().map(dashed).eq(other.iter().map(dashed))
}

fn is_preflight(request: &Parts) -> bool {
    let has = |name| request.headers.get(name).is_some_and(|value| !value.is_empty());
    request.method == Method::OPTIONS && has(ORIGIN) && has(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The tokens of each part, in the order of the parts.
fn collect(
    requirement: &Requirement,
    providers: &[Provider],
    request: &Parts,
    now: WallTime,
    candidates: &mut Vec<Candidate>,
) {
    match requirement {
        Requirement::Any(parts) | Requirement::All(parts) => {
            for part in parts {
                collect(part, providers, request, now, candidates);
            }
        }
        Requirement::Tokens(leaf) => {
            let found = places(leaf, providers, request).into_iter().enumerate();
            candidates.extend(found.map(|(at, (found, among))| match at < MOST_TOKENS {
                true => candidate(leaf, providers, (found, &among), now),
                false => {
                    let token = Err(JwtError::Malformed("there are too many tokens beside it"));
                    let (leaf, provider) = (leaf.id, among.first().copied());
                    Candidate { leaf, provider, place: found.place, token, proven: false }
                }
            }));
        }
    }
}

/// How many tokens of a request are looked at for one part of a requirement; to look at one costs a signature for each
/// key that it may be of.
const MOST_TOKENS: usize = 8;

/// The tokens for a part of the requirement, each with the providers in whose places it is: others' tokens have no
/// business there (Envoy: `isIssuerSpecified`).
fn places(leaf: &Leaf, providers: &[Provider], request: &Parts) -> Vec<(Found, Vec<usize>)> {
    let mut all: Vec<(Found, Vec<usize>)> = Vec::new();
    for at in &*leaf.providers {
        let Some(provider) = providers.get(*at) else { continue };
        let mut found = Vec::new();
        provider.places.find(request, &mut found);
        for one in found {
            // One more says that there are too many.
            let is_full = all.len() > MOST_TOKENS;
            match all.iter_mut().find(|(known, _)| *known == one) {
                Some((_, among)) if among.last() == Some(at) => {}
                Some((_, among)) => among.push(*at),
                None if is_full => {}
                None => all.push((one, vec![*at])),
            }
        }
    }
    all
}

fn candidate(
    leaf: &Leaf,
    providers: &[Provider],
    (found, among): (Found, &[usize]),
    now: WallTime,
) -> Candidate {
    let limits = among.iter().filter_map(|at| providers.get(*at));
    let limit = limits.map(|provider| provider.model.max_token_bytes).max().unwrap_or_default();
    let parsed = match u32::try_from(found.text.len()) {
        Ok(length) if length <= limit => Token::parse(&found.text),
        _ => Err(JwtError::TooLong { limit }),
    };
    let at = match (among, &parsed) {
        ([only], _) => Some(*only),
        (many, Ok(token)) => of_issuer(many, providers, token),
        (many, Err(_)) => many.first().copied(),
    };
    let token = parsed.and_then(|token| {
        let provider = at.and_then(|at| providers.get(at)).ok_or(JwtError::UnknownIssuer)?;
        let Provider { model, subjects, .. } = provider;
        claims::check(&token, model, subjects.as_ref(), &leaf.audiences, now)?;
        Ok(Arc::new(token))
    });
    Candidate { leaf: leaf.id, provider: at, place: found.place, token, proven: false }
}

/// Envoy: the first provider of this issuer, else the first without an issuer.
fn of_issuer(among: &[usize], providers: &[Provider], token: &Token) -> Option<usize> {
    let issuer = token.claims.get("iss").and_then(serde_json::Value::as_str);
    let is = |at: &&usize, wanted: Option<&str>| {
        providers.get(**at).is_some_and(|provider| provider.model.issuer.as_deref() == wanted)
    };
    let by_name = issuer.and_then(|issuer| among.iter().find(|at| is(at, Some(issuer))));
    by_name.or_else(|| among.iter().find(|at| is(at, None))).copied()
}

impl Candidate {
    /// Whether it is for a key to say whether it is good.
    const fn is_open(&self) -> bool {
        self.token.is_ok() && !self.proven
    }
}

impl Pending {
    /// Tokens whose signatures have to be checked, in an order that answers keep.
    pub(in crate::filter) fn checks(&self) -> Vec<TokenCheck> {
        let open = self.candidates.iter().filter(|candidate| candidate.is_open());
        let good = open.filter_map(|candidate| {
            let token = candidate.token.as_ref().ok()?;
            let provider = self.providers.get(candidate.provider?)?;
            Some(TokenCheck {
                provider: Arc::clone(&provider.name),
                keys: provider.keys.clone(),
                token: Arc::clone(token),
                cache_size: provider.model.cache_size,
            })
        });
        good.collect()
    }

    /// Takes what is known of the tokens of [`checks`](Self::checks). A token about which nothing is said is not good:
    /// it is missing among the answers, or there is nothing about any.
    pub(in crate::filter) fn handle_answers(&mut self, answers: Vec<Option<Result<(), JwtError>>>) {
        let is_last = answers.iter().all(Option::is_none);
        let mut answers = answers.into_iter();
        for candidate in self.candidates.iter_mut().filter(|candidate| candidate.is_open()) {
            let unknown = || Some(Err(JwtError::KeysUnavailable));
            match answers.next().filter(|_| !is_last).unwrap_or_else(unknown) {
                Some(Ok(())) => candidate.proven = true,
                Some(Err(error)) => candidate.token = Err(error),
                None => {}
            }
        }
    }

    /// Whether nothing that is still to be said of the tokens changes what becomes of the request.
    pub(in crate::filter) fn is_decided(&self) -> bool {
        !matches!(self.holds(&self.requirement, &mut Vec::new()), Verdict::Open)
    }

    /// Whether the tokens are enough; what the application is told of them is written to the request, unless in shadow
    /// mode, and to the metadata.
    pub(in crate::filter) fn finish(
        self,
        mut request: Option<&mut Parts>,
        metadata: &mut Metadata,
    ) -> Result<(), JwtError> {
        let mut good = Vec::new();
        let result = match self.holds(&self.requirement, &mut good) {
            Verdict::Holds => Ok(()),
            Verdict::Fails(error) => Err(error),
            Verdict::Open => Err(JwtError::KeysUnavailable),
        };
        if result.is_err() {
            good.clear();
        }
        for (candidate, provider) in self.known() {
            if let (Err(error), Some(key)) =
                (&candidate.token, &provider.model.failed_status_in_metadata)
            {
                let text = |text: &str| MetadataValue::Text(Arc::from(text));
                let status = [("code", text(error.code())), ("message", text(&error.to_string()))];
                let status = status.map(|(key, value)| (Arc::from(key), value));
                write(metadata, key, MetadataValue::Struct(status.into()));
            }
        }
        for at in good {
            self.pass_on(at, request.as_deref_mut(), metadata);
        }
        result
    }

    fn known(&self) -> impl Iterator<Item = (&Candidate, &Provider)> {
        self.candidates
            .iter()
            .filter_map(|one| one.provider.and_then(|at| self.providers.get(at)).map(|p| (one, p)))
    }

    /// Whether `requirement` is fulfilled; adds the numbers of the tokens that fulfil it.
    fn holds(&self, requirement: &Requirement, good: &mut Vec<usize>) -> Verdict {
        match requirement {
            Requirement::Tokens(leaf) => self.tokens_hold(leaf, good),
            Requirement::All(parts) => {
                let mut all = Verdict::Holds;
                for part in parts {
                    match self.holds(part, good) {
                        Verdict::Holds => {}
                        Verdict::Open => all = Verdict::Open,
                        fails @ Verdict::Fails(_) => return fails,
                    }
                }
                all
            }
            Requirement::Any(parts) => self.any_holds(parts, good),
        }
    }

    /// Whether one of `parts` holds: the first of which that is known, so that keys that can't be had hold up nobody who
    /// has another token. What holds without a token waits for what is before it: who has shown one is to be known by it.
    fn any_holds(&self, parts: &[Requirement], good: &mut Vec<usize>) -> Verdict {
        let (mut refused, mut open) = (JwtError::Missing, false);
        for part in parts {
            let before = good.len();
            match self.holds(part, good) {
                Verdict::Holds if !open || good.len() > before => return Verdict::Holds,
                Verdict::Holds => {}
                Verdict::Open => open = true,
                // The first that says more than that no token is meant.
                Verdict::Fails(error) if !refused.is_telling() && error != JwtError::Missing => {
                    refused = error;
                }
                Verdict::Fails(_) => {}
            }
            good.truncate(before);
        }
        if open { Verdict::Open } else { Verdict::Fails(refused) }
    }

    fn tokens_hold(&self, leaf: &Leaf, good: &mut Vec<usize>) -> Verdict {
        let tokens = || self.candidates.iter().enumerate().filter(|(_, one)| one.leaf == leaf.id);
        if tokens().next().is_none() && leaf.lenience == Lenience::None {
            return Verdict::Fails(JwtError::Missing);
        }
        let mut all = Verdict::Holds;
        for (at, candidate) in tokens() {
            match &candidate.token {
                Ok(_) if candidate.proven => good.push(at),
                Ok(_) => all = Verdict::Open,
                Err(error) if leaf.lenience != Lenience::Failed => {
                    return Verdict::Fails(error.clone());
                }
                Err(_) => {}
            }
        }
        all
    }

    /// Tells filters and, with the request, the application of a good token.
    fn pass_on(&self, at: usize, request: Option<&mut Parts>, metadata: &mut Metadata) {
        let Some(Candidate { provider: Some(provider), place, token: Ok(token), .. }) =
            self.candidates.get(at)
        else {
            return;
        };
        let Some(Provider { model, .. }) = self.providers.get(*provider) else { return };
        if let Some(request) = request {
            if !model.forward {
                place.clear(request);
            }
            claims::write_headers(token, model, &mut request.headers);
        }
        if let Some(key) = &model.header_in_metadata {
            write(metadata, key, claims::metadata(&token.header, &[]));
        }
        if let Some(key) = &model.payload_in_metadata {
            write(metadata, key, claims::metadata(&token.claims, &model.space_delimited_claims));
        }
    }
}

fn write(metadata: &mut Metadata, key: &Arc<str>, value: MetadataValue) {
    let own = metadata.0.entry(Arc::from(JWT_NAMESPACE)).or_default();
    own.insert(Arc::clone(key), value);
}
