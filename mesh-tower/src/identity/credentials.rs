//! [`Credentials`]: the identities of a mesh, by who configures them.
//!
//! The mesh's own comes from the program (`Builder::identity`), or from what the configuration calls
//! `identity`, which may change while the mesh runs. Then another source takes over, and what is in force
//! stays until that has something good. Whoever holds the [`Identities`] sees nothing of it.

use super::configured;
use super::named::{Named, One, Whose};
use super::{Identities, IdentitySource};
use crate::observe::registry::Registry;
use crate::source::Source;
use mesh_core::ConfigUpdate;
use mesh_core::identity::SpiffeId;
use mesh_core::model::{IdentityConfig, IdentityOrigin};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};
use tokio::runtime::Handle;
use tokio::task::AbortHandle;

/// What the mesh's own identity is called in metrics.
const OWN: &str = "mesh";
/// How the names of certificate providers begin in metrics.
const PROVIDER: &str = "provider/";

/// The mesh's own identity, and those of the certificate providers that a bootstrap file names.
#[derive(Clone, Debug, Default)]
pub(crate) struct Credentials {
    own: Arc<Own>,
    providers: BTreeMap<Arc<str>, Identities>,
    /// What clusters and listeners name themselves.
    named: Arc<Named>,
}

/// Who we are, from whoever says so first.
#[derive(Debug, Default)]
struct Own {
    identities: OnceLock<Identities>,
    /// The program says who we are, so the configuration does not.
    by_program: bool,
    /// Where it comes from by the configuration.
    followed: Mutex<Option<Followed>>,
    /// What runs for the program and the providers.
    tasks: Vec<AbortHandle>,
}

/// A source that the configuration named.
#[derive(Debug)]
struct Followed {
    /// What it says now.
    config: Arc<IdentityConfig>,
    /// Of what it said before, where its source can't be started now, and that was told; `None`: none could be.
    source: Option<(IdentityOrigin, AbortHandle)>,
}

/// With the mesh its sources end, which have its keys.
impl Drop for Own {
    fn drop(&mut self) {
        let followed = self.followed.get_mut().take().and_then(|followed| followed.source);
        let followed = followed.map(|(_, task)| task);
        self.tasks.drain(..).chain(followed).for_each(|task| task.abort());
    }
}

/// What a builder was given, before anything runs.
#[derive(Debug, Default)]
pub(crate) struct Given {
    pub(crate) own: Option<(Option<SpiffeId>, Box<dyn IdentitySource>)>,
    pub(crate) providers: BTreeMap<Arc<str>, Box<dyn IdentitySource>>,
}

impl Credentials {
    /// The mesh's own (`tls: mesh`).
    pub(crate) fn own(&self) -> Option<&Identities> {
        self.own.identities.get()
    }

    /// All of them, by what they are called in metrics; the mesh's own is the first, and what clusters and listeners name
    /// the last.
    pub(crate) fn all(&self) -> Vec<(Arc<str>, Identities)> {
        let own = self.own().map(|own| (OWN.into(), own.clone()));
        let providers = self.providers.iter();
        let providers = providers
            .map(|(name, identities)| (format!("{PROVIDER}{name}").into(), identities.clone()));
        own.into_iter().chain(providers).chain(self.named.all()).collect()
    }

    /// Where the mesh's own comes from, in words.
    pub(crate) fn origin(&self) -> Arc<str> {
        let followed = self.own.followed.lock();
        let from = |followed: &Followed| match &followed.source {
            Some((origin, _)) => origin.clone(),
            None => followed.config.source.clone(),
        };
        match followed.as_ref().filter(|_| !self.own.by_program).map(from) {
            Some(IdentityOrigin::Files(files)) => format!(
                "the identity of the configuration (files `{}`, `{}`, `{}`)",
                files.cert.display(),
                files.key.display(),
                files.roots.display()
            )
            .into(),
            Some(IdentityOrigin::WorkloadApi(address)) => {
                format!("the identity of the configuration (the Workload API at `{address}`)")
                    .into()
            }
            Some(_) => "the identity of the configuration".into(),
            None => "the identity that the program gave".into(),
        }
    }

    /// That of a certificate provider (gRFC A29). Without one of this name, `default` is the mesh's own.
    pub(crate) fn provider(&self, name: &str) -> Option<&Identities> {
        let own = self.own().filter(|_| name == "default");
        self.providers.get(name).or(own)
    }

    /// Starts the sources, and has `registry` count them. Each runs until the runtime ends, or the mesh.
    pub(crate) fn start(given: Given, runtime: &Handle, registry: &Registry) -> Self {
        let mut tasks = Vec::new();
        let mut start = |name: &str, expected, source| {
            let identities = Identities::called(name.into(), expected);
            registry.identities().read_from(name.into(), Arc::new(identities.clone()));
            tasks.push(run(&identities, identities.turn(), source, runtime));
            identities
        };
        let (by_program, identities) = (given.own.is_some(), OnceLock::new());
        if let Some((expected, source)) = given.own {
            // It is empty: we made it just now.
            let _was_empty = identities.set(start(OWN, expected, source));
        }
        let providers = given.providers.into_iter();
        let providers = providers.map(|(name, source)| {
            let identities = start(&format!("{PROVIDER}{name}"), None, source);
            (name, identities)
        });
        let providers = providers.collect();
        let own = Own { identities, by_program, followed: Mutex::default(), tasks };
        Self { own: Arc::new(own), providers, named: Arc::new(Named::new(runtime.clone())) }
    }

    /// A certificate that a cluster or a listener names itself.
    pub(crate) fn named(&self, name: &Arc<str>) -> Arc<One> {
        self.named.of(name)
    }

    /// Asks for all of them anew.
    pub(crate) fn reload(&self) {
        self.own().into_iter().chain(self.providers.values()).for_each(Identities::reload);
        self.named.look();
    }

    /// Watches over what the clusters and listeners of this configuration name, and has `registry` count it.
    pub(crate) fn follow_named(&self, config: &ConfigUpdate, registry: &Registry) {
        self.named.follow(config, |whose| match whose {
            Whose::Mesh => self.own().cloned(),
            Whose::Provider(name) => self.provider(name).cloned(),
            Whose::Named(_) => None,
        });
        registry.identities().read_named_from(self.named.readers());
    }

    /// Takes the mesh's own identity from where a configuration says, unless the program says who we are.
    ///
    /// A configuration that says nothing changes nothing: its source goes on, so that it is renewed.
    pub(crate) fn follow(
        &self,
        config: Option<&Arc<IdentityConfig>>,
        runtime: &Handle,
        registry: &Registry,
    ) {
        let Some(config) = config else { return };
        let mut followed = self.own.followed.lock();
        if followed.as_ref().is_some_and(|followed| followed.config == *config) {
            return;
        }
        if self.own.by_program {
            tracing::info!(
                target: "mesh::identity",
                "the program gave an identity, so the configuration's `identity` does not count"
            );
            *followed = Some(Followed { config: Arc::clone(config), source: None });
            return;
        }
        let before = followed.take().and_then(|before| before.source);
        let identities = self.own.identities.get_or_init(|| {
            let identities = Identities::called(OWN.into(), None);
            registry.identities().read_from(OWN.into(), Arc::new(identities.clone()));
            identities
        });
        let source = match configured::source(config) {
            Ok(source) => {
                if let Some((_, task)) = before {
                    task.abort();
                }
                // What the one before is still saying, on another thread, counts no more.
                let turn = identities.expect(config.spiffe_id.clone());
                Some((config.source.clone(), run(identities, turn, source, runtime)))
            }
            // The one before goes on, so that what is in force is renewed.
            Err(why) => {
                identities.sink().failed(&why);
                before
            }
        };
        *followed = Some(Followed { config: Arc::clone(config), source });
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

#[expect(clippy::disallowed_methods, reason = "a source of identities is a task")]
fn run(
    identities: &Identities,
    turn: u64,
    source: Box<dyn IdentitySource>,
    runtime: &Handle,
) -> AbortHandle {
    let running = identities.clone();
    runtime.spawn(async move { running.run_in(turn, source).await }).abort_handle()
}
