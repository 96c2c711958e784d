//! [`Builder`]: how a mesh is made.

use crate::connect::{Connect, OwnPorts, TcpConnector, ToOthers};
use crate::dns::{self, Resolve};
use crate::driver::{Around, Driver};
#[cfg(feature = "tls")]
use crate::identity::IdentitySource;
use crate::mesh::Mesh;
use crate::net::{Classify, Draw, Net, Settings, Shared};
use crate::observe::registry::Registry;
use crate::observe::{AccessLog, access_log};
use crate::overload::{self, OverloadLimits};
use crate::passthrough::Passthrough;
use crate::source::environment::{First, Variables};
use crate::source::{EnvironmentError, Rejected, Sink, Source, learnt, mesh_yaml};
use http::response;
use mesh_core::lb::Pick;
use mesh_core::outcome::Class;
use mesh_core::state::{ApplyError, Updater};
use mesh_core::update::{Mode, Origin};
use mesh_core::{ConfigUpdate, Random};
use std::collections::BTreeSet;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Handle;
use tokio::sync::Notify;

/// Builds a [`Mesh`].
///
/// Without a configuration ([`file`](Self::file), [`config`](Self::config),
/// [`source`](Self::source) or [`environment`](Self::environment)) every call passes by every
/// policy and is only measured; the limits of its caller hold.
#[must_use = "a builder does nothing until `build`"]
pub struct Builder {
    given: Given,
    runtime: Option<Handle>,
    connector: Arc<dyn Connect>,
    resolver: Option<Arc<dyn Resolve>>,
    own: Option<ConfigUpdate>,
    classify: Option<Arc<dyn Classify>>,
    policies: Vec<(Arc<str>, Arc<dyn Pick>)>,
    #[cfg(feature = "tls")]
    identities: crate::identity::Given,
    seed: u64,
    settings: Settings,
    access_logs: access_log::Given,
    overload: Option<OverloadLimits>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            given: Given::default(),
            own: None,
            runtime: None,
            connector: Arc::new(TcpConnector),
            resolver: None,
            classify: None,
            policies: Vec::new(),
            #[cfg(feature = "tls")]
            identities: crate::identity::Given::default(),
            seed: fastrand::u64(..),
            settings: Settings::default(),
            access_logs: access_log::Given::default(),
            overload: None,
        }
    }

    /// Follows a `mesh.yaml` file. Several files unite by name.
    pub fn file(mut self, path: impl Into<PathBuf>) -> Self {
        self.given.files.push(path.into());
        self
    }

    /// Uses a configuration made in code.
    pub fn config(mut self, update: ConfigUpdate) -> Self {
        self.given.config = Some(update);
        self
    }

    /// Takes configurations from `source`, which goes on after [`config`](Self::config) or a file gave
    /// the first.
    pub fn source(mut self, source: impl Source) -> Self {
        self.given.source = Some(Box::new(source));
        self
    }

    /// What the program has itself, beside whatever its source says ([`ConfigUpdate::add_own`]): the ports of a
    /// [proxy](crate::proxy) whose names and clusters are a control plane's, for one. It is in force from the start,
    /// and is not followed.
    pub fn own(mut self, own: ConfigUpdate) -> Self {
        self.own = Some(own);
        self
    }

    /// Takes the configuration that the process's environment names, in place of whatever else this
    /// builder is given, which then is the default for when it names none. The first of these that is
    /// set counts; if it can't be used, that is an error, whatever the others hold:
    ///
    /// | variable | holds |
    /// |---|---|
    /// | `GRPC_XDS_BOOTSTRAP` | the path of gRPC's bootstrap file: a control plane |
    /// | `GRPC_XDS_BOOTSTRAP_CONFIG` | the text of one |
    /// | `MESH_CONFIG` | the path of a `mesh.yaml`; several are separated as in `PATH`, and unite by name |
    ///
    /// An empty value is as good as none. The first two want the feature `xds`. They are read when the
    /// mesh is built.
    ///
    /// # Examples
    /// ```no_run
    /// # fn example() -> Result<(), mesh_tower::BuildError> {
    /// // `mesh.yaml` here, unless who starts the program says otherwise.
    /// let mesh = mesh_tower::Mesh::builder().file("mesh.yaml").environment().build()?;
    /// # Ok(()) }
    /// ```
    pub fn environment(mut self) -> Self {
        self.given.environment = true;
        self
    }

    /// The runtime that connections and background work live on. Default: the current one; without one,
    /// a thread of its own.
    pub fn runtime(mut self, runtime: Handle) -> Self {
        self.runtime = Some(runtime);
        self
    }

    /// Makes byte streams differently: other sockets, simulated networks. Default: TCP and Unix
    /// sockets.
    pub fn connector(mut self, connector: impl Connect + 'static) -> Self {
        self.connector = Arc::new(connector);
        self
    }

    /// Resolves names differently. Default: the system's configuration.
    pub fn resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.resolver = Some(Arc::new(resolver));
        self
    }

    /// Says which responses are failures whatever their status; `None` leaves it to the status. It
    /// counts in metrics, outlier detection and retries alike.
    pub fn classify(
        mut self,
        classify: impl Fn(&response::Parts) -> Option<Class> + Send + Sync + 'static,
    ) -> Self {
        self.classify = Some(Arc::new(classify));
        self
    }

    /// Makes a load-balancing policy known by a name that the configuration can use: `lb: { custom: … }` of a
    /// `mesh.yaml`, the type of a `TypedStruct` in the `load_balancing_policy` of a control plane or of a file
    /// of Envoy's (gRFC A52), where the first policy that is known counts.
    pub fn lb_policy(mut self, name: impl Into<Arc<str>>, policy: impl Pick + 'static) -> Self {
        self.policies.push((name.into(), Arc::new(policy)));
        self
    }

    /// Who the mesh is: what clusters with `tls: mesh` show and believe, and what its servers show. It
    /// comes from `source`, for as long as the mesh lives, and what a configuration calls `identity` does not
    /// count then. Default: what the configuration says, or nobody.
    #[cfg(feature = "tls")]
    pub fn identity(mut self, source: impl IdentitySource) -> Self {
        let expected = self.identities.own.take().and_then(|(expected, _)| expected);
        self.identities.own = Some((expected, Box::new(source)));
        self
    }

    /// A certificate provider that a control plane's clusters and listeners may name (gRFC A29). Default:
    /// those of the bootstrap file; `default` is the mesh's own identity.
    #[cfg(feature = "tls")]
    pub fn certificate_provider(
        mut self,
        name: impl Into<Arc<str>>,
        source: impl IdentitySource,
    ) -> Self {
        self.identities.providers.insert(name.into(), Box::new(source));
        self
    }

    /// Where round robin begins in each cluster comes from this number. 0: with the first endpoint, for
    /// tests that should always be the same. Default: a random number, so that the processes of a fleet
    /// do not all begin with the same endpoint.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// The most bytes of a request body that are kept for another attempt. Default 64 KiB.
    pub fn replay_limit(mut self, bytes: usize) -> Self {
        self.settings.replay_limit = bytes;
        self
    }

    /// Puts a [`CallReport`](crate::observe::CallReport) into the extensions of every response. It
    /// allocates. Default: only where a call asks for it.
    pub fn report_every_call(mut self) -> Self {
        self.settings.report = true;
        self
    }

    /// Adds `x-envoy-expected-rq-timeout-ms` to requests with a deadline. Default: not.
    pub fn expected_timeout_header(mut self) -> Self {
        self.settings.expected_timeout_header = true;
        self
    }

    /// Obeys `x-envoy-*` request headers (retry conditions, timeouts), because whoever calls is
    /// trusted. They are taken off either way once obeyed. Default: not.
    pub fn trusted_overrides(mut self) -> Self {
        self.settings.trusted_overrides = true;
        self
    }

    /// Keeps the case of header names in answers of HTTP/1.1 (hyper: `preserve_header_case`), which costs each call a
    /// map of them. It is for who passes answers on with hyper's server, which writes the names as they
    /// came; nobody else sees it. Names of requests are written as hyper's server has taken them either way, if it was
    /// told to preserve them. Default: not; `mesh proxy` does.
    pub fn preserve_header_case(mut self) -> Self {
        self.settings.preserve_header_case = true;
        self
    }

    /// Writes a line to `log` for each call and each served request, of the side or sides that it is
    /// [of](crate::observe::AccessLogBuilder::only). A second log takes the place of the first for the sides that
    /// both are of, so that calls and served requests may go to different ones. Default: none.
    pub fn access_log(mut self, log: AccessLog) -> Self {
        self.access_logs.add(log);
        self
    }

    /// Refuses connections and requests at servers of the mesh while the process is near a limit of its memory or its
    /// file descriptors: fewer are served then, and not none. Requests are answered 503 (flag `OM`), connections are
    /// closed. Default: not; `mesh proxy` does.
    pub fn overload(mut self, limits: OverloadLimits) -> Self {
        self.overload = Some(limits);
        self
    }

    #[cfg(feature = "tls")]
    const fn has_identity(&self) -> bool {
        self.identities.own.is_some()
    }

    #[cfg(not(feature = "tls"))]
    #[expect(clippy::unused_self, reason = "with TLS it depends")]
    const fn has_identity(&self) -> bool {
        false
    }

    /// Makes the mesh and starts its background task.
    ///
    /// # Errors
    /// [`BuildError`] when the configuration can't be read or used, or there is no way to run the
    /// background task.
    #[expect(clippy::disallowed_methods, reason = "the driver is a task, and so is what feeds it")]
    pub fn build(self) -> Result<Mesh, BuildError> {
        let has_identity = self.has_identity();
        let Self { given, runtime, .. } = self;
        let (own, runtime) = runtime_or_own(runtime)?;
        let registry = Registry::new();
        let (sink, receiver) = Sink::channel();
        let names: Arc<BTreeSet<Arc<str>>> =
            Arc::new(self.policies.iter().map(|(name, _)| Arc::clone(name)).collect());
        let known = mesh_yaml::Known { lb_policies: Arc::clone(&names), has_identity };
        let mut sink = sink.counting(&registry).knowing(Arc::clone(&names));
        let resolver = self.resolver.unwrap_or_else(dns::default_resolver);
        let opened = with_own(given.open(&known)?, self.own.as_ref());
        #[cfg(feature = "tls")]
        let credentials = credentials(self.identities, &opened, &runtime, &registry)?;
        let (first, source) = opened;
        let own_ports = Arc::new(OwnPorts::default());
        let logs = self.access_logs.open(
            &registry,
            #[cfg(feature = "tls")]
            &credentials,
        );
        let shared = Arc::new(Shared {
            runtime: runtime.clone(),
            dial: Arc::new(ToOthers::new(self.connector, Arc::clone(&own_ports))),
            own_ports,
            registry,
            classify: self.classify,
            channel_id: Draw.next_u64(),
            attention: Notify::new(),
            settings: self.settings,
            interests: Arc::clone(sink.interests()),
            secrets: Arc::default(),
            #[cfg(feature = "tls")]
            credentials,
            logs,
        });
        let ours = self.own.map(Arc::new);
        sink.interests()
            .has_listeners(ours.iter().flat_map(|own| own.listeners.keys()).map(Arc::clone));
        sink.interests().count_in(&shared.registry);
        sink.count_in(shared.registry.source());
        let net = Net { shared: Arc::clone(&shared) };
        let (mut updater, state) = Updater::seeded(net, self.seed);
        for (name, policy) in self.policies {
            updater.register_policy(name, policy);
        }
        let _entered = runtime.enter();
        let passthrough = Arc::new(Passthrough::new(Arc::clone(&shared), Arc::clone(&resolver)));
        let (of_driver, passing) = (Arc::clone(&shared), Arc::clone(&passthrough));
        let around = Around {
            shared: of_driver,
            passthrough: passing,
            resolver,
            source: receiver,
            own: ours,
        };
        let (mut driver, guard, progress) = Driver::new((updater, state.clone()), around);
        if let Some(first) = first {
            driver.apply_first(first).map_err(BuildError::Apply)?;
        }
        if let Some(source) = source {
            feed(source, sink, &runtime);
        }
        watch(&runtime, &shared, self.overload);
        match own {
            Some(own) => own.run(driver).map_err(BuildError::Runtime)?,
            None => drop(runtime.spawn(driver.run())),
        }
        Ok(Mesh::new(state, shared, passthrough, progress, guard))
    }
}

/// What is in force until the source has said something is what the program has itself.
fn with_own((first, source): First, own: Option<&ConfigUpdate>) -> First {
    let Some(own) = own else { return (first, source) };
    let mut first = first.unwrap_or_else(|| {
        let mut nothing = ConfigUpdate::default();
        nothing.origin = own.origin.clone();
        // One that is asked by name may have nothing to say for as long as nobody asks.
        let by_name = source.as_ref().is_some_and(|source| source.is_on_demand());
        nothing.is_partial = source.is_some() && !by_name;
        nothing.on_demand = by_name.then(Arc::default);
        nothing
    });
    first.add_own(own);
    (Some(first), source)
}

/// Starts the sources of identities: the program's, or else there is one for what the configuration says.
#[cfg(feature = "tls")]
fn credentials(
    given: crate::identity::Given,
    (first, source): &First,
    runtime: &Handle,
    registry: &Registry,
) -> Result<crate::identity::Credentials, BuildError> {
    let configured = first.as_ref().and_then(|first| first.identity.as_ref());
    if let Some(config) = configured.filter(|_| given.own.is_none()) {
        crate::identity::check(config).map_err(BuildError::Identity)?;
    }
    let given = given.with(source.as_deref());
    Ok(crate::identity::Credentials::start(given, runtime, registry))
}

/// The runtime that was given, or the current one, or one of our own.
fn runtime_or_own(given: Option<Handle>) -> Result<(Option<OwnRuntime>, Handle), BuildError> {
    if let Ok(handle) = given.map_or_else(Handle::try_current, Ok) {
        return Ok((None, handle));
    }
    let own = OwnRuntime::new().map_err(BuildError::Runtime)?;
    let handle = own.runtime.handle().clone();
    Ok((Some(own), handle))
}

/// Starts what looks at the mesh until it ends.
#[expect(clippy::disallowed_methods, reason = "what is looked at now and then is a task")]
fn watch(runtime: &Handle, shared: &Arc<Shared>, limits: Option<OverloadLimits>) {
    runtime.spawn(learnt::run(Arc::downgrade(shared)));
    if let Some(limits) = limits {
        runtime.spawn(overload::watch(Arc::downgrade(shared), limits));
    }
}

/// Runs the source of configuration until the mesh ends.
#[expect(clippy::disallowed_methods, reason = "a source is a task")]
fn feed(source: Box<dyn Source>, sink: Sink, runtime: &Handle) {
    if source.is_on_demand() {
        sink.interests().expect_source();
    }
    let closing = sink.clone();
    runtime.spawn(async move {
        tokio::select! {
            () = source.start(sink) => {}
            () = closing.closed() => {}
        }
    });
}

/// What the program says of where the configuration comes from.
#[derive(Default)]
struct Given {
    files: Vec<PathBuf>,
    config: Option<ConfigUpdate>,
    source: Option<Box<dyn Source>>,
    /// The environment comes first.
    environment: bool,
}

impl Given {
    fn open(self, known: &mesh_yaml::Known) -> Result<First, BuildError> {
        let variables =
            if self.environment { Variables::of_process() } else { Variables::default() };
        match variables.open(known).map_err(BuildError::Environment)? {
            Some(named) => Ok(named),
            None => self.by_program(known),
        }
    }

    /// What holds when the environment names nothing, or is not asked.
    fn by_program(self, known: &mesh_yaml::Known) -> Result<First, BuildError> {
        match (self.files.as_slice(), self.config, self.source) {
            ([], None, None) if self.environment => {
                Err(BuildError::Environment(EnvironmentError::Nothing))
            }
            ([], None, None) => {
                let mut observe = ConfigUpdate::default();
                observe.mode = Mode::Observe;
                observe.origin = Origin::new("none", "");
                Ok((Some(observe), None))
            }
            ([], config, source) => Ok((config, source)),
            (files, None, None) => {
                let (update, source) =
                    mesh_yaml::open(files, known).map_err(BuildError::Configuration)?;
                Ok((Some(update), Some(Box::new(source))))
            }
            _ => Err(BuildError::TwoSources),
        }
    }
}

/// How often a runtime of our own looks whether its last connection has ended.
const LINGER_POLL: Duration = Duration::from_millis(20);

/// A runtime of the mesh's own, on a thread of its own, for programs without one.
struct OwnRuntime {
    runtime: tokio::runtime::Runtime,
}

impl OwnRuntime {
    fn new() -> io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Self { runtime })
    }

    /// Runs the driver until the mesh ends, and everything that was spawned on the runtime to its end.
    fn run(self, driver: Driver) -> io::Result<()> {
        let run = move || {
            self.runtime.block_on(async {
                driver.run().await;
                // An answer that is still read outlives the handles, and needs its connection.
                while Handle::current().metrics().num_alive_tasks() > 0 {
                    tokio::time::sleep(LINGER_POLL).await;
                }
            });
        };
        std::thread::Builder::new().name("mesh".into()).spawn(run).map(drop)
    }
}

/// Why a mesh can't be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The configuration can't be read, or is wrong; the text names every mistake with its place.
    #[error("{0}")]
    Configuration(#[source] Rejected),
    /// What the environment names can't be used, or it names nothing and neither does the program.
    #[error("{0}")]
    Environment(#[source] EnvironmentError),
    /// The source of the identity that the configuration names can't be started.
    #[cfg(feature = "tls")]
    #[error("{0}")]
    Identity(#[source] crate::identity::UnusableIdentity),
    /// The configuration can't be put into force.
    #[error("the configuration can't be applied: {0}")]
    Apply(#[source] ApplyError),
    /// A file and another source, or a source and a file, were given.
    #[error("a mesh has one source: give files, or a configuration with or without a source")]
    TwoSources,
    /// The background thread can't be started.
    #[error("the background thread can't be started: {0}")]
    Runtime(#[source] io::Error),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("files", &self.given.files)
            .field("source", &self.given.source)
            .field("environment", &self.given.environment)
            .field("connector", &self.connector)
            .field("resolver", &self.resolver)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
