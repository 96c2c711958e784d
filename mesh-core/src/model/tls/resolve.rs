//! [`UpstreamTls::resolve`]: a policy with its secrets put in.

use super::{SpiffeBundles, TlsIdentity, TlsRoots, UpstreamTls, ValidationSecret};
use crate::model::SanMatcher;
use crate::model::secret::{
    Secret, SecretCertificate, SecretContent, SecretRoots, SecretSource, SecretValidation,
};
use crate::update::{SecretAnswer, Secrets};
use std::sync::Arc;

/// What a TLS peer must prove, and what we show, with every secret put in.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ResolvedTls {
    /// What we show.
    pub identity: ResolvedIdentity,
    /// Who signs the peer's certificate.
    pub roots: ResolvedRoots,
    /// The name sent as SNI ([`UpstreamTls::server_name`]).
    pub sni: Option<Arc<str>>,
    /// The endpoint's hostname is sent in its place, where it has one.
    pub auto_host_sni: bool,
    /// Any of these must match a subject alternative name; empty: the SNI must
    /// ([`UpstreamTls::san`]).
    pub san: Vec<SanMatcher>,
    /// The server name must be proven in place of all names
    /// ([`UpstreamTls::auto_sni_san_validation`]).
    pub auto_sni_san_validation: bool,
    /// The protocols that are offered; empty: what follows from the cluster's protocol.
    pub alpn: Vec<Arc<str>>,
    /// Lists of revoked certificates in PEM; `None`: none.
    pub crl: Option<SecretSource>,
}

impl ResolvedTls {
    /// Where the bytes are that it needs.
    pub fn sources(&self) -> impl Iterator<Item = &SecretSource> {
        let own = match &self.identity {
            ResolvedIdentity::Certificate(own) => Some([&own.chain, &own.private_key]),
            ResolvedIdentity::None | ResolvedIdentity::Mesh | ResolvedIdentity::Provider(_) => None,
        };
        let (pem, bundles) = match &self.roots {
            ResolvedRoots::Pem(source) => (Some(source), None),
            ResolvedRoots::Spiffe(bundles) => (None, Some(bundles.sources())),
            ResolvedRoots::System | ResolvedRoots::Mesh | ResolvedRoots::Provider(_) => {
                (None, None)
            }
        };
        let bundles = bundles.into_iter().flatten().map(|(_, source)| source);
        own.into_iter().flatten().chain(pem).chain(bundles).chain(&self.crl)
    }
}

/// The identity that we show to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolvedIdentity {
    /// None.
    None,
    /// The mesh's own, whichever is in force.
    Mesh,
    /// That of a certificate provider of the bootstrap file, by its name.
    Provider(Arc<str>),
    /// This one.
    Certificate(SecretCertificate),
}

/// Who signs the peer's certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResolvedRoots {
    /// The public certificate authorities that the system trusts.
    System,
    /// The mesh's own, of the identity in force.
    Mesh,
    /// Those of a certificate provider of the bootstrap file, by its name.
    Provider(Arc<str>),
    /// Certificates in PEM.
    Pem(SecretSource),
    /// Those of each trust domain.
    Spiffe(Arc<SpiffeBundles>),
}

/// Why a secret that a cluster names can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SecretError {
    /// There is none.
    #[error("the secret `{name}` is not there: {why}")]
    Missing {
        /// Its name.
        name: Arc<str>,
        /// Why there is none.
        why: Arc<str>,
    },
    /// It is to say who we are, and says something else.
    #[error("the secret `{name}` is no certificate: serve a tls_certificate under this name")]
    NoCertificate {
        /// Its name.
        name: Arc<str>,
    },
    /// It is to say what a peer must prove, and says something else.
    #[error(
        "the secret `{name}` is no validation context: serve a validation_context under this name"
    )]
    NoValidation {
        /// Its name.
        name: Arc<str>,
    },
    /// Nothing says who signs the peer's certificate (gRFC A29): neither it, nor the default that it is merged into.
    #[error(
        "the secret `{name}` says nothing of who signs the peer's certificate, and neither does a \
         default_validation_context: set trusted_ca in one of them"
    )]
    NoRoots {
        /// Its name.
        name: Arc<str>,
    },
}

impl UpstreamTls {
    /// Puts in the secrets that are in force.
    ///
    /// # Errors
    /// [`SecretError`] says which secret is missing, or is of the wrong kind: then no connection may be
    /// made.
    pub fn resolve(&self, secrets: &Secrets) -> Result<ResolvedTls, SecretError> {
        let identity = match &self.identity {
            TlsIdentity::None => ResolvedIdentity::None,
            TlsIdentity::Mesh => ResolvedIdentity::Mesh,
            TlsIdentity::Provider(name) => ResolvedIdentity::Provider(Arc::clone(name)),
            TlsIdentity::Certificate(own) => ResolvedIdentity::Certificate((**own).clone()),
            TlsIdentity::Secret(name) => {
                ResolvedIdentity::Certificate(certificate(secrets, name)?.clone())
            }
        };
        Ok(ResolvedTls { identity, ..self.resolve_trust(secrets)? })
    }

    /// The same without what we show, which is [`ResolvedIdentity::None`]: who is believed does not hang on that.
    ///
    /// # Errors
    /// [`SecretError`], of the secret that says what a peer must prove.
    pub fn resolve_trust(&self, secrets: &Secrets) -> Result<ResolvedTls, SecretError> {
        let (mut san, mut crl) = (self.san.clone(), self.crl.clone());
        let roots = match &self.roots {
            TlsRoots::System => ResolvedRoots::System,
            TlsRoots::Mesh => ResolvedRoots::Mesh,
            TlsRoots::Provider(name) => ResolvedRoots::Provider(Arc::clone(name)),
            TlsRoots::Pem(text) => ResolvedRoots::Pem(SecretSource::Inline(text.as_bytes().into())),
            TlsRoots::File(path) => ResolvedRoots::Pem(SecretSource::File(Arc::clone(path))),
            TlsRoots::Spiffe(bundles) => ResolvedRoots::Spiffe(Arc::clone(bundles)),
            TlsRoots::Secret(secret) => {
                let found = validation(secrets, &secret.name)?;
                san.extend(found.san.iter().cloned());
                // Envoy: what a secret says is merged into the default.
                crl = found.crl.clone().or(crl);
                merged(secret, &found.roots)?
            }
        };
        Ok(ResolvedTls {
            identity: ResolvedIdentity::None,
            roots,
            sni: self.sni.clone(),
            auto_host_sni: self.auto_host_sni,
            san,
            auto_sni_san_validation: self.auto_sni_san_validation,
            alpn: self.alpn.clone(),
            crl,
        })
    }
}

/// Envoy: a field that the secret does not set is the default's, and certificates count before the system's.
fn merged(secret: &ValidationSecret, theirs: &SecretRoots) -> Result<ResolvedRoots, SecretError> {
    let chosen = match (theirs, &secret.roots) {
        (SecretRoots::Unsaid, default) => default,
        (SecretRoots::System, default @ SecretRoots::Pem(_)) => default,
        (theirs, _) => theirs,
    };
    Ok(match chosen {
        SecretRoots::Pem(source) => ResolvedRoots::Pem(source.clone()),
        SecretRoots::Spiffe(bundles) => ResolvedRoots::Spiffe(Arc::clone(bundles)),
        SecretRoots::System => ResolvedRoots::System,
        SecretRoots::Unsaid => return Err(SecretError::NoRoots { name: Arc::clone(&secret.name) }),
    })
}

fn certificate<'s>(
    secrets: &'s Secrets,
    name: &Arc<str>,
) -> Result<&'s SecretCertificate, SecretError> {
    match &find(secrets, name)?.content {
        SecretContent::Certificate(certificate) => Ok(certificate),
        SecretContent::Validation(_) => Err(SecretError::NoCertificate { name: Arc::clone(name) }),
    }
}

fn validation<'s>(
    secrets: &'s Secrets,
    name: &Arc<str>,
) -> Result<&'s SecretValidation, SecretError> {
    match &find(secrets, name)?.content {
        SecretContent::Validation(validation) => Ok(validation),
        SecretContent::Certificate(_) => Err(SecretError::NoValidation { name: Arc::clone(name) }),
    }
}

fn find<'s>(secrets: &'s Secrets, name: &Arc<str>) -> Result<&'s Secret, SecretError> {
    let missing = |why: Arc<str>| SecretError::Missing { name: Arc::clone(name), why };
    match secrets.get(name) {
        Some(SecretAnswer::Known(secret)) => Ok(secret),
        Some(SecretAnswer::Missing(why)) => Err(missing(Arc::clone(why))),
        None => Err(missing("the configuration does not hold it".into())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inline(text: &str) -> SecretSource {
        SecretSource::Inline(text.as_bytes().into())
    }

    /// `id`: a certificate; `pem`, `system`, `names`: validation contexts, each of the name `theirs`; `gone`: missing.
    fn secrets() -> Secrets {
        let validation = |roots| {
            let mut validation = SecretValidation::new(roots);
            validation.san = vec![SanMatcher::uri("theirs")];
            SecretContent::Validation(validation)
        };
        let id = SecretCertificate::new(inline("chain"), inline("key"));
        let all = [
            ("id", SecretContent::Certificate(id)),
            ("pem", validation(SecretRoots::Pem(inline("their roots")))),
            ("system", validation(SecretRoots::System)),
            ("names", validation(SecretRoots::Unsaid)),
        ];
        let all = all.map(|(name, content)| {
            let secret = Arc::new(Secret::new(name, content));
            (Arc::from(name), SecretAnswer::Known(secret))
        });
        let gone = (Arc::from("gone"), SecretAnswer::Missing("no such".into()));
        all.into_iter().chain([gone]).collect()
    }

    fn of(identity: TlsIdentity, roots: TlsRoots) -> UpstreamTls {
        let san = vec![SanMatcher::uri("ours")];
        UpstreamTls { identity, roots, san, ..UpstreamTls::default() }
    }

    fn by(name: &str) -> ValidationSecret {
        ValidationSecret::new(name)
    }

    /// What comes of it: identity, roots, and the names that count.
    fn show(tls: &UpstreamTls) -> String {
        let source = |source: &SecretSource| match source {
            SecretSource::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            SecretSource::File(path) => path.display().to_string(),
        };
        match tls.resolve(&secrets()) {
            Err(error) => error.to_string(),
            Ok(found) => {
                let identity = match &found.identity {
                    ResolvedIdentity::Certificate(own) => source(&own.chain),
                    other => format!("{other:?}"),
                };
                let roots = match &found.roots {
                    ResolvedRoots::Pem(pem) => source(pem),
                    other => format!("{other:?}"),
                };
                format!("{identity}, {roots}, {}", found.san.len())
            }
        }
    }

    #[test]
    fn a_policy_with_its_secrets() {
        let own = SecretCertificate::new(inline("own chain"), inline("own key"));
        let merged = |name, roots| TlsRoots::Secret(ValidationSecret { roots, ..by(name) });
        let combined = |name, pem: Option<&str>| {
            merged(name, pem.map(inline).map(SecretRoots::Pem).unwrap_or_default())
        };
        let none = || TlsIdentity::None;
        let table = [
            (of(none(), TlsRoots::System), "None, System, 1"),
            (of(TlsIdentity::Mesh, TlsRoots::Mesh), "Mesh, Mesh, 1"),
            (
                of(TlsIdentity::Provider("p".into()), TlsRoots::Provider("q".into())),
                "Provider(\"p\"), Provider(\"q\"), 1",
            ),
            (
                of(TlsIdentity::Certificate(own.into()), TlsRoots::Pem("roots".into())),
                "own chain, roots, 1",
            ),
            (of(none(), TlsRoots::File(std::path::Path::new("/r.pem").into())), "None, /r.pem, 1"),
            (of(TlsIdentity::Secret("id".into()), combined("pem", None)), "chain, their roots, 2"),
            // Envoy: the secret's roots before the default's.
            (of(none(), combined("pem", Some("ours"))), "None, their roots, 2"),
            // Envoy: trusted_ca before system_root_certs.
            (of(none(), combined("system", Some("ours"))), "None, ours, 2"),
            (of(none(), combined("system", None)), "None, System, 2"),
            // Envoy: what it does not say is the default's.
            (of(none(), combined("names", Some("ours"))), "None, ours, 2"),
            (of(none(), merged("names", SecretRoots::System)), "None, System, 2"),
            (of(none(), merged("pem", SecretRoots::System)), "None, their roots, 2"),
            (
                of(none(), combined("names", None)),
                "the secret `names` says nothing of who signs the peer's certificate, and neither does a default_validation_context: set trusted_ca in one of them",
            ),
            (of(none(), combined("gone", None)), "the secret `gone` is not there: no such"),
            (
                of(TlsIdentity::Secret("x".into()), TlsRoots::System),
                "the secret `x` is not there: the configuration does not hold it",
            ),
            (
                of(TlsIdentity::Secret("pem".into()), TlsRoots::System),
                "the secret `pem` is no certificate: serve a tls_certificate under this name",
            ),
            (
                of(none(), combined("id", None)),
                "the secret `id` is no validation context: serve a validation_context under this name",
            ),
        ];
        for (tls, expected) in table {
            assert_eq!(show(&tls), expected);
        }
    }

    #[test]
    fn where_the_bytes_are() {
        let own = SecretCertificate::new(inline("own chain"), inline("own key"));
        let each = [("a".into(), inline("a's")), ("b".into(), inline("b's"))].into();
        for (roots, expected) in [
            (TlsRoots::System, "own chain, own key, list"),
            (TlsRoots::Pem("roots".into()), "own chain, own key, roots, list"),
            (
                TlsRoots::Spiffe(SpiffeBundles::Each(each).into()),
                "own chain, own key, a's, b's, list",
            ),
        ] {
            let mut tls = of(TlsIdentity::Certificate(own.clone().into()), roots);
            tls.crl = Some(inline("list"));
            let resolved = tls.resolve(&secrets()).unwrap();
            let text = |source: &SecretSource| match source {
                SecretSource::Inline(bytes) => String::from_utf8_lossy(bytes).into_owned(),
                SecretSource::File(path) => path.display().to_string(),
            };
            let found: Vec<_> = resolved.sources().map(text).collect();
            assert_eq!(found.join(", "), expected);
        }
        assert_eq!(
            of(TlsIdentity::None, TlsRoots::Mesh).resolve(&secrets()).unwrap().sources().count(),
            0
        );
    }

    #[test]
    fn who_is_believed_does_not_hang_on_what_is_shown() {
        let tls = of(TlsIdentity::Secret("gone".into()), TlsRoots::Secret(by("pem")));
        assert!(tls.resolve(&secrets()).is_err());
        let found = tls.resolve_trust(&secrets()).unwrap();
        assert_eq!(found.identity, ResolvedIdentity::None);
        assert_eq!(found.roots, ResolvedRoots::Pem(inline("their roots")));
        assert_eq!(found.san, [SanMatcher::uri("ours"), SanMatcher::uri("theirs")]);
    }

    /// Envoy merges what a secret says into the default.
    #[test]
    fn lists_of_a_secret_take_the_place_of_the_policys() {
        let mut all = secrets();
        let mut theirs = SecretValidation::new(SecretRoots::System);
        theirs.crl = Some(inline("their list"));
        let secret = Secret::new("crl", SecretContent::Validation(theirs));
        all.insert("crl".into(), SecretAnswer::Known(Arc::new(secret)));
        for (secret, expected) in [("crl", "their list"), ("pem", "our list")] {
            let mut tls = of(TlsIdentity::None, TlsRoots::Secret(by(secret)));
            tls.crl = Some(inline("our list"));
            assert_eq!(tls.resolve(&all).unwrap().crl, Some(inline(expected)));
        }
    }

    /// Envoy: who is asked for names, or for SPIFFE's rules, is asked for a certificate.
    #[test]
    fn which_servers_refuse_clients_without_a_certificate() {
        use super::super::DownstreamTls;
        let bundles = || TlsRoots::Spiffe(SpiffeBundles::Each([].into()).into());
        let wants = |roots, san: &[SanMatcher], required| {
            let mut tls = DownstreamTls::mutual();
            (tls.roots, tls.require_client_certificate) = (roots, required);
            tls.san = san.to_vec();
            tls.wants_certificate(None)
        };
        let name = [SanMatcher::uri("ours")];
        assert!(wants(Some(TlsRoots::Mesh), &[], true));
        assert!(!wants(Some(TlsRoots::Mesh), &[], false));
        assert!(wants(Some(TlsRoots::Mesh), &name, false));
        assert!(wants(Some(bundles()), &[], false));
        assert!(!wants(None, &name, true), "nobody is asked");
        // What a secret adds.
        let mut tls = DownstreamTls::mutual();
        tls.require_client_certificate = false;
        for (roots, has_name, expected) in [
            (SecretRoots::System, false, false),
            (SecretRoots::System, true, true),
            (SecretRoots::Spiffe(SpiffeBundles::Each([].into()).into()), false, true),
        ] {
            let mut theirs = SecretValidation::new(roots);
            theirs.san = name.iter().filter(|_| has_name).cloned().collect();
            let secret = Secret::new("v", SecretContent::Validation(theirs));
            let all = [("v".into(), SecretAnswer::Known(Arc::new(secret)))].into();
            let mut policy = of(TlsIdentity::None, TlsRoots::Secret(by("v")));
            policy.san.clear();
            let resolved = policy.resolve(&all).unwrap();
            assert_eq!(tls.wants_certificate(Some(&resolved)), expected);
        }
    }

    #[test]
    fn which_secrets_a_policy_needs() {
        let names = |tls: UpstreamTls| {
            let policy = super::super::TlsPolicy::On(Arc::new(tls));
            policy.secrets().map(ToString::to_string).collect::<Vec<_>>()
        };
        let none: [&str; 0] = [];
        assert_eq!(names(UpstreamTls::default()), none);
        let both = of(TlsIdentity::Secret("a".into()), TlsRoots::Secret(by("b")));
        assert_eq!(names(both), ["a", "b"]);
        assert_eq!(names(of(TlsIdentity::Mesh, TlsRoots::Secret(by("b")))), ["b"]);
        assert_eq!(super::super::TlsPolicy::Off.secrets().count(), 0);
    }
}
