//! [`Credentials`]: the identities of a mesh, by who configures them.

use super::{Identities, IdentitySource};
use crate::observe::registry::Registry;
use crate::source::Source;
use mesh_core::identity::SpiffeId;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::runtime::Handle;

/// What the mesh's own identity is called in metrics.
const OWN: &str = "mesh";
/// How the names of certificate providers begin in metrics.
const PROVIDER: &str = "provider/";

/// The mesh's own identity, and those of the certificate providers that a bootstrap file names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    own: Option<Identities>,
    providers: BTreeMap<Arc<str>, Identities>,
}

/// What a builder was given, before anything runs.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) own: Option<(Option<SpiffeId>, Box<dyn IdentitySource>)>,
    pub(crate) providers: BTreeMap<Arc<str>, Box<dyn IdentitySource>>,
}

impl Credentials {
    /// The mesh's own (`tls: mesh`).
    pub(crate) const fn own(&self) -> Option<&Identities> {
        self.own.as_ref()
    }

    /// That of a certificate provider (gRFC A29). Without one of this name, `default` is the mesh's own.
    pub(crate) fn provider(&self, name: &str) -> Option<&Identities> {
        let own = self.own.as_ref().filter(|_| name == "default");
        self.providers.get(name).or(own)
    }

    /// Starts the sources, and has `registry` count them. Each runs until the runtime ends or nobody asks for its identity any more.
    #[expect(clippy::disallowed_methods, reason = "a source of identities is a task")]
    pub(crate) fn start(given: Given, runtime: &Handle, registry: &Registry) -> Self {
        let start = |name: &Arc<str>, expected, source| {
            let identities = Identities::new(expected);
            registry.identities().read_from(Arc::clone(name), Arc::new(identities.clone()));
            let running = identities.clone();
            runtime.spawn(async move { running.run(source).await });
            identities
        };
        let own = given.own.map(|(expected, source)| start(&OWN.into(), expected, source));
        let providers = given.providers.into_iter();
        let providers = providers.map(|(name, source)| {
            let identities = start(&format!("{PROVIDER}{name}").into(), None, source);
            (name, identities)
        });
        Self { own, providers: providers.collect() }
    }
}

impl Given {
    /// With the certificate providers of a source of configuration, where the program gave none of the name.
    pub(crate) fn with(mut self, source: Option<&dyn Source>) -> Self {
        let providers = source.map(Source::certificate_providers);
        for (name, provider) in providers.into_iter().flatten() {
            self.providers.entry(name).or_insert(provider);
        }
        self
    }
}
