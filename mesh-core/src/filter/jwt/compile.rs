//! Model → [`CompiledJwt`], or what is wrong.

use super::Keys;
use super::jwks::{KeySet, KeySetError};
use super::place::Places;
use crate::model::http_filter::jwt_authn::MAX_TOKEN;
use crate::model::http_filter::{JwksSource, JwtAuthn, JwtProvider, JwtRequirement};
use crate::model::{Domain, Route, RouteAction, RouteConfiguration, VirtualHost};
use crate::router::{CompileError, CompiledStringMatcher, MatcherError, Router};
use http::HeaderName;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The filter, ready to ask.
#[derive(Debug)]
pub struct CompiledJwt {
    pub(super) model: Arc<JwtAuthn>,
    pub(super) providers: Arc<[Provider]>,
    /// The conditions of the rules, as routes of one virtual host.
    pub(super) rules: Router,
    /// What each rule requires, by its number.
    pub(super) required: Box<[Option<Arc<Requirement>>]>,
    /// What a route says instead.
    pub(super) overridden: Option<Arc<Requirement>>,
    /// Headers that only this filter may write.
    pub(super) own_headers: Arc<[HeaderName]>,
}

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) name: Arc<str>,
    pub(super) model: JwtProvider,
    pub(super) places: Places,
    pub(super) subjects: Option<CompiledStringMatcher>,
    pub(super) keys: Keys,
}

#[derive(Debug)]
pub(super) enum Requirement {
    Tokens(Leaf),
    Any(Vec<Self>),
    All(Vec<Self>),
}

/// Tokens of some providers.
#[derive(Debug)]
pub(super) struct Leaf {
    /// Its number within the requirement.
    pub(super) id: usize,
    /// Numbers of providers; one, or all that a lenient requirement is about.
    pub(super) providers: Vec<usize>,
    pub(super) audiences: Vec<Arc<str>>,
    pub(super) lenience: Lenience,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Lenience {
    None,
    Missing,
    Failed,
}

/// What is wrong with the filter's configuration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum JwtConfigError {
    /// A requirement names a provider that is not there.
    #[error("a requirement names the provider `{0}`, which is not configured")]
    NoSuchProvider(Arc<str>),
    /// A rule or a route names a requirement that is not there.
    #[error("there is no requirement called `{0}` in `requirement_map`")]
    NoSuchRequirement(Arc<str>),
    /// A named requirement names another: it would have to be followed, and might lead back.
    #[error("the requirement `{0}` of `requirement_map` names another one: write it out")]
    NamedWithinNamed(Arc<str>),
    /// `requires_any` or `requires_all` has nothing in it.
    #[error("`requires_any` and `requires_all` need something in them")]
    Empty,
    /// Requirements are nested too deeply, or too many.
    #[error(
        "a requirement has more than {MAX_LEAVES} parts, or is nested more than {MAX_DEPTH} deep"
    )]
    TooLarge,
    /// A provider's keys can't be used.
    #[error("provider `{0}`: {1}")]
    Keys(Arc<str>, KeySetError),
    /// A provider's condition on subjects.
    #[error("provider `{0}`: subjects: {1}")]
    Subjects(Arc<str>, MatcherError),
    /// Tokens may be too long.
    #[error("provider `{0}`: tokens of {1} bytes are allowed, at most {MAX_TOKEN} can be")]
    TokenSize(Arc<str>, u32),
    /// A rule's condition.
    #[error("rules[{}]: {}: {}", .0.route.unwrap_or_default(), .0.field, .0.kind)]
    Rule(CompileError),
    /// A rule takes only a share of requests.
    #[error(
        "rules[{0}]: `runtime_fraction` is not allowed: whether a token is needed is no matter of luck"
    )]
    Fraction(usize),
}

/// The most parts of a requirement.
const MAX_LEAVES: usize = 64;
/// How deep requirements may be nested.
const MAX_DEPTH: usize = 8;

impl CompiledJwt {
    /// Compiles the filter.
    ///
    /// # Errors
    /// [`JwtConfigError`]: the first thing that is wrong.
    pub fn new(model: &Arc<JwtAuthn>) -> Result<Self, JwtConfigError> {
        let providers = model.providers.iter().map(|(name, model)| provider(name, model));
        let providers: Arc<[Provider]> = providers.collect::<Result<_, _>>()?;
        let rules = rules(model)?;
        let names = Names { model };
        for requirement in model.requirements.values() {
            names.compile(requirement, true)?;
        }
        let required = model.rules.iter().map(|rule| {
            rule.requires.as_ref().map(|requires| names.compile(requires, false)).transpose()
        });
        let required = required.collect::<Result<_, _>>()?;
        let mut own: Vec<HeaderName> = Vec::new();
        for name in model.providers.values().flat_map(own_headers) {
            if !own.contains(name) {
                own.push(name.clone());
            }
        }
        let own_headers = own.into();
        let model = Arc::clone(model);
        Ok(Self { model, providers, rules, required, overridden: None, own_headers })
    }

    /// The filter where a route names its requirement.
    ///
    /// # Errors
    /// [`JwtConfigError::NoSuchRequirement`].
    pub fn for_route(&self, requirement: &Arc<str>) -> Result<Self, JwtConfigError> {
        let named = JwtRequirement::Named(Arc::clone(requirement));
        let overridden = Names { model: &self.model }.compile(&named, false)?;
        Ok(Self {
            model: Arc::clone(&self.model),
            providers: Arc::clone(&self.providers),
            rules: Router::default(),
            required: Box::default(),
            overridden: Some(overridden),
            own_headers: Arc::clone(&self.own_headers),
        })
    }

    /// As it was configured.
    #[must_use]
    pub const fn model(&self) -> &Arc<JwtAuthn> {
        &self.model
    }

    /// Keys that are wanted before the first request needs them (Envoy: `async_fetch`).
    pub fn early_keys(&self) -> impl Iterator<Item = &Arc<JwksSource>> {
        self.providers.iter().filter_map(|provider| match &provider.keys {
            Keys::At(source) if matches!(&**source, JwksSource::Remote(remote) if remote.async_fetch) => {
                Some(source)
            }
            Keys::At(_) | Keys::Here(_) => None,
        })
    }
}

fn own_headers(provider: &JwtProvider) -> impl Iterator<Item = &HeaderName> {
    let claims = provider.claim_to_headers.iter().map(|to| &to.header_name);
    provider.forward_payload_header.iter().chain(claims)
}

fn provider(name: &Arc<str>, model: &JwtProvider) -> Result<Provider, JwtConfigError> {
    if model.max_token_bytes > MAX_TOKEN {
        return Err(JwtConfigError::TokenSize(Arc::clone(name), model.max_token_bytes));
    }
    let keys = match &model.jwks {
        JwksSource::Inline(json) => match KeySet::parse(json.as_bytes()) {
            Ok(keys) => Keys::Here(Arc::new(keys)),
            Err(wrong) => return Err(JwtConfigError::Keys(Arc::clone(name), wrong)),
        },
        other @ (JwksSource::File(_) | JwksSource::Remote(_)) => Keys::At(Arc::new(other.clone())),
    };
    let subjects = match model.subjects.as_ref().map(CompiledStringMatcher::new).transpose() {
        Ok(subjects) => subjects,
        Err(wrong) => return Err(JwtConfigError::Subjects(Arc::clone(name), wrong)),
    };
    let places = Places::new(model);
    Ok(Provider { name: Arc::clone(name), model: model.clone(), places, subjects, keys })
}

/// The rules as routes: the first that matches is the first rule.
fn rules(model: &JwtAuthn) -> Result<Router, JwtConfigError> {
    let mut host = VirtualHost::new("rules", vec![Domain::Any]);
    for (at, rule) in model.rules.iter().enumerate() {
        if rule.matcher.runtime_fraction.is_some() {
            return Err(JwtConfigError::Fraction(at));
        }
        let route = Route::new(at.to_string(), rule.matcher.clone(), RouteAction::NonForwarding);
        host.routes.push(Arc::new(route));
    }
    let virtual_hosts = vec![Arc::new(host)];
    let routes = RouteConfiguration { virtual_hosts, ..RouteConfiguration::default() };
    let no_clusters = BTreeMap::new();
    match Router::compile(&Arc::new(routes), &no_clusters, None) {
        Ok(router) => Ok(router),
        Err(errors) => match errors.into_iter().next() {
            Some(error) => Err(JwtConfigError::Rule(error)),
            // An error without an error: nothing is wrong.
            None => Ok(Router::default()),
        },
    }
}

/// What names in requirements stand for.
struct Names<'m> {
    model: &'m JwtAuthn,
}

impl Names<'_> {
    fn compile(
        &self,
        model: &JwtRequirement,
        named: bool,
    ) -> Result<Arc<Requirement>, JwtConfigError> {
        let mut leaves = 0;
        self.requirement(model, named, 0, &mut leaves, None).map(Arc::new)
    }

    fn requirement(
        &self,
        model: &JwtRequirement,
        named: bool,
        depth: usize,
        leaves: &mut usize,
        siblings: Option<&[usize]>,
    ) -> Result<Requirement, JwtConfigError> {
        if depth > MAX_DEPTH || *leaves >= MAX_LEAVES {
            return Err(JwtConfigError::TooLarge);
        }
        let leaf = |providers, audiences, lenience, leaves: &mut usize| {
            let id = *leaves;
            *leaves += 1;
            Requirement::Tokens(Leaf { id, providers, audiences, lenience })
        };
        match model {
            JwtRequirement::Provider { name, audiences } => {
                Ok(leaf(vec![self.provider(name)?], audiences.clone(), Lenience::None, leaves))
            }
            JwtRequirement::AllowMissing | JwtRequirement::AllowMissingOrFailed => {
                let all = || (0..self.model.providers.len()).collect();
                let providers = siblings.map_or_else(all, <[usize]>::to_vec);
                Ok(leaf(providers, Vec::new(), lenience(model), leaves))
            }
            JwtRequirement::All(parts) | JwtRequirement::Any(parts) if parts.is_empty() => {
                Err(JwtConfigError::Empty)
            }
            JwtRequirement::All(parts) => {
                let parts =
                    parts.iter().map(|part| self.requirement(part, named, depth + 1, leaves, None));
                Ok(Requirement::All(parts.collect::<Result<_, _>>()?))
            }
            JwtRequirement::Any(parts) => self.any(parts, named, depth, leaves),
            JwtRequirement::Named(name) if named => {
                Err(JwtConfigError::NamedWithinNamed(Arc::clone(name)))
            }
            JwtRequirement::Named(name) => match self.model.requirements.get(name) {
                Some(found) => self.requirement(found, true, depth + 1, leaves, siblings),
                None => Err(JwtConfigError::NoSuchRequirement(Arc::clone(name))),
            },
        }
    }

    /// Envoy: what is lenient comes last, once, and is about the providers beside it.
    fn any(
        &self,
        parts: &[JwtRequirement],
        named: bool,
        depth: usize,
        leaves: &mut usize,
    ) -> Result<Requirement, JwtConfigError> {
        let mut providers = Vec::new();
        let mut compiled = Vec::with_capacity(parts.len());
        for part in parts.iter().filter(|part| lenience(part) == Lenience::None) {
            if let JwtRequirement::Provider { name, .. } = part {
                providers.push(self.provider(name)?);
            }
            compiled.push(self.requirement(part, named, depth + 1, leaves, None)?);
        }
        let most = parts.iter().max_by_key(|part| lenience(part));
        if let Some(part) = most.filter(|part| lenience(part) != Lenience::None) {
            let siblings = (!providers.is_empty()).then_some(&*providers);
            compiled.push(self.requirement(part, named, depth + 1, leaves, siblings)?);
        }
        Ok(Requirement::Any(compiled))
    }

    fn provider(&self, name: &Arc<str>) -> Result<usize, JwtConfigError> {
        let at = self.model.providers.keys().position(|known| known == name);
        at.ok_or_else(|| JwtConfigError::NoSuchProvider(Arc::clone(name)))
    }
}

const fn lenience(requirement: &JwtRequirement) -> Lenience {
    match requirement {
        JwtRequirement::AllowMissing => Lenience::Missing,
        JwtRequirement::AllowMissingOrFailed => Lenience::Failed,
        _ => Lenience::None,
    }
}
