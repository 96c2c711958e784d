//! [`Running`]: a source at work, between the calls that ask, the client, and the copy on disk.

use super::XdsSource;
use super::idle::{self, Idle, Use};
use super::keeper::{Keeper, Turn};
use crate::clock;
use crate::source::demand::{Interests, Wish};
use crate::source::load_report::Reporting;
use crate::source::xds_status::XdsStatus;
use crate::source::{Demand, RejectCause, Rejected, Sink};
use mesh_core::WallTime;
use mesh_core::model::Domain;
use mesh_core::update::{ConfigUpdate, Origin};
use mesh_xds::cascade::whole::Note;
use mesh_xds::client::{Client, ClientEvent};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// Of an authority without a port that is asked for from the start.
const DEFAULT_PORT: u16 = 80;

/// Notes that are said of one configuration; of more, how many.
const MAX_NOTES: usize = 20;

/// A source at work.
#[derive(Debug)]
pub(super) struct Running {
    sink: Sink,
    /// `None`: everything is asked for, whatever is called.
    demand: Option<Demand>,
    client: Client,
    reporting: Reporting,
    status: XdsStatus,
    keeper: Option<Keeper>,
    /// Authorities that were asked for by the program: they stay.
    pinned: BTreeSet<Arc<str>>,
    idle: Idle,
    period: std::time::Duration,
    /// The virtual host of each authority that is served, by which its calls are counted.
    hosts: BTreeMap<Arc<str>, Arc<str>>,
    /// What is acknowledged next is the copy itself.
    is_copy: bool,
    /// What was said of the control plane and of the copy last.
    told: (Option<bool>, Option<WallTime>),
}

impl Running {
    pub(super) fn new(source: &XdsSource, sink: Sink) -> Self {
        let client = match source.wildcard {
            true => Client::everything(&source.bootstrap, source.variant),
            false => Client::new(&source.bootstrap, source.variant),
        };
        let client = client.with_lb_policies(sink.lb_policies());
        let mut client = source.status.follow(client, sink.cells());
        let keeper = source.place().map(|place| Keeper::new(place, sink.cells()));
        if keeper.is_some() {
            client = client.remembering();
        }
        if let Some(authority) = &source.xds_authority {
            client = client.in_authority(Arc::clone(authority));
        }
        for (domain, authority) in &source.xds_authorities {
            client = client.in_authority_for(domain.clone(), Arc::clone(authority));
        }
        for authority in &source.authorities {
            client.want(authority, DEFAULT_PORT);
        }
        Self {
            demand: (!source.wildcard).then(|| sink.on_demand()),
            status: source.status.clone(),
            reporting: Reporting::new(&source.bootstrap, &sink),
            sink,
            client,
            keeper,
            pinned: source.authorities.iter().cloned().collect(),
            idle: Idle::new(source.idle_timeout),
            period: idle::period(source.idle_timeout),
            hosts: BTreeMap::new(),
            is_copy: false,
            told: (None, None),
        }
    }

    /// Runs for as long as it is polled.
    pub(super) async fn run(&mut self) {
        self.restore().await;
        let mut looks = interval_at(Instant::now() + self.period, self.period);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                wish = next_wish(self.demand.as_ref(), self.sink.interests()) => match wish {
                    Wish::Calls(to) => self.client.want(&to.authority, to.default_port),
                    Wish::Server(name) => self.client.serve(&name),
                },
                event = self.client.next() => self.hand_over(event),
                () = self.reporting.run() => {}
                turn = next_turn(self.keeper.as_mut()) => self.keep(turn),
                () = self.sink.judged() => self.judged(),
                _ = looks.tick() => self.let_go(),
            }
        }
    }

    /// Begins with the copy on disk, before anything is asked of a control plane.
    async fn restore(&mut self) {
        let Some(keeper) = &self.keeper else { return };
        let Some(copy) = keeper.load(&self.sink).await else { return };
        let age = clock::wall().as_unix_seconds().saturating_sub(copy.written().as_unix_seconds());
        tracing::info!(
            target: "mesh", age_seconds = age, resources = copy.resources().len(),
            "begins with the copy of the last good configuration"
        );
        self.client.restore(&copy);
        self.is_copy = true;
        for root in copy.roots() {
            if let Some(demand) = &mut self.demand {
                demand.hold(&root.authority);
            }
        }
    }

    fn hand_over(&mut self, event: ClientEvent) {
        match event {
            ClientEvent::Update(update) => self.publish(update),
            ClientEvent::Endpoints(update) => {
                self.status.published(&update.origin.version, self.sink.cells());
                self.sink.publish_endpoints(update);
            }
            ClientEvent::Refused { kind, name, error, .. } => {
                let mut rejected = Rejected::new(RejectCause::Invalid, [error.to_string()]);
                rejected.origin = Origin::new(format!("{kind} {name}"), "");
                rejected.kept = self.sink.in_force();
                self.sink.reject(rejected);
            }
            ClientEvent::Restored { kind, name } => {
                self.sink.restored(Origin::new(format!("{kind} {name}"), ""));
            }
            ClientEvent::Unreachable { server, error, failures } => {
                self.sink.interests().unreachable(&server, failures, &error);
                tracing::warn!(
                    target: "mesh", %server, failures,
                    "control plane unreachable, what was learnt stays: {error}"
                );
            }
            ClientEvent::Reachable { server } => {
                self.sink.interests().reachable(&server);
                tracing::info!(target: "mesh", %server, "control plane reachable");
            }
            ClientEvent::Noted(notes) => say(&notes),
            _ => {}
        }
        let now = (self.client.is_reachable().or(self.told.0), self.client.stale());
        if let (true, Some(connected)) = (self.told.0 != now.0, now.0) {
            self.sink.connected(connected);
        }
        if self.told.1 != now.1 {
            self.sink.stale(now.1);
        }
        self.told = now;
    }

    fn publish(&mut self, update: ConfigUpdate) {
        // Before it is published: then its first calls are reported.
        self.reporting.follow(&self.client);
        self.status.published(&update.origin.version, self.sink.cells());
        self.hosts = hosts(&update);
        self.sink.interests().missing(self.client.missing_clusters());
        self.sink.publish(update);
    }

    /// The mesh has put something into force, or has refused it.
    fn judged(&mut self) {
        let (Some(keeper), Some(origin)) = (&mut self.keeper, self.sink.in_force()) else { return };
        let Some(is_whole) = self.client.acknowledged(&origin.version) else { return };
        // What the copy itself says need not be written again.
        let is_copy = std::mem::take(&mut self.is_copy) && self.client.stale().is_some();
        if !is_copy {
            keeper.handle_changed(is_whole);
        }
    }

    fn keep(&mut self, turn: Turn) {
        let Some(keeper) = &mut self.keeper else { return };
        match turn {
            Turn::Due => keeper.begin(self.client.in_use()),
            Turn::Written(ended) => keeper.handle_written(ended),
        }
    }

    /// Lets go of authorities that no call uses.
    fn let_go(&mut self) {
        let Some(demand) = &mut self.demand else { return };
        let calls = self.sink.calls();
        let mut uses = BTreeMap::new();
        for (authority, asked) in demand.held() {
            if self.pinned.contains(&authority) {
                continue;
            }
            let host = self.hosts.get(&authority).and_then(|host| calls.get(host));
            let (begun, is_busy) = host.copied().unwrap_or_default();
            uses.insert(authority, Use { count: begun.wrapping_add(asked), is_busy });
        }
        for authority in self.idle.handle_uses(uses, clock::now()) {
            tracing::debug!(target: "mesh", %authority, "no calls: let go of");
            demand.release(&authority);
            self.client.unwant(&authority);
        }
    }
}

impl Drop for Running {
    /// The mesh has ended.
    fn drop(&mut self) {
        self.judged();
        if let Some(keeper) = &mut self.keeper {
            keeper.finish(|| self.client.in_use());
        }
    }
}

/// The next thing to do for the copy; never, without one.
async fn next_turn(keeper: Option<&mut Keeper>) -> Turn {
    match keeper {
        Some(keeper) => keeper.next().await,
        None => std::future::pending().await,
    }
}

/// The next call or server that asks; never, where they don't.
async fn next_wish(demand: Option<&Demand>, interests: &Interests) -> Wish {
    match demand {
        Some(demand) => demand.next_wish().await,
        None => Wish::Server(interests.next_listener().await),
    }
}

/// Says what is new to say of a configuration: it is good, and calls may still not do what was meant.
fn say(notes: &[Note]) {
    let (said, rest) = notes.split_at(notes.len().min(MAX_NOTES));
    for note in said {
        tracing::warn!(target: "mesh", "of what the control plane has: {note}");
    }
    if !rest.is_empty() {
        tracing::warn!(target: "mesh", "of what the control plane has: {} more like it", rest.len());
    }
}

/// The virtual host of each authority.
fn hosts(update: &ConfigUpdate) -> BTreeMap<Arc<str>, Arc<str>> {
    let hosts = update.route_configuration.virtual_hosts.iter();
    let pairs = hosts.filter_map(|host| match host.domains.as_slice() {
        [Domain::Exact(authority)] => Some((Arc::clone(authority), Arc::clone(&host.name))),
        _ => None,
    });
    pairs.collect()
}
