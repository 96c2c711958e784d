//! [`Slot`]: one server, the protocol that is spoken with it, and the stream.

use super::credentials::Credentials;
use super::link::{Link, LinkEvent, Message};
use super::wall::wall;
use super::wire::{self, Incoming};
use crate::ResourceType;
use crate::bootstrap::{Bootstrap, Server, ServerFeature};
use crate::decode::Context;
use crate::protocol::{Action, Options, Protocol, Variant};
use crate::status::{Recorder, Status};
use envoy_types::pb::envoy::config::core::v3::Node;
use mesh_core::Timestamp;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::task::{self, Poll};

/// One server.
pub(super) struct Slot {
    pub(super) server: Server,
    pub(super) protocol: Protocol,
    /// Is told what was done to the protocol.
    pub(super) recorder: Recorder,
    credentials: Credentials,
    context: Context,
    link: Link,
    /// How many streams in a row had no response.
    failures: usize,
}

/// What was done.
#[derive(Clone, Copy, Debug)]
pub(super) enum Done {
    /// A stream ended, or another one begins.
    Stream,
    /// A request of this type was sent.
    Request(ResourceType),
}

impl Slot {
    pub(super) fn new(
        bootstrap: &Bootstrap,
        server: Server,
        variant: Variant,
        status: &Status,
    ) -> Self {
        let mut options = Options::new(variant);
        options.fail_on_data_errors = server.has(ServerFeature::FailOnDataErrors);
        options.resource_timer_is_transient_error =
            server.has(ServerFeature::ResourceTimerIsTransientError);
        let context = context(bootstrap, &server);
        Self {
            recorder: status.recorder(server.uri()),
            credentials: Credentials::new(&server),
            server,
            protocol: Protocol::new(options),
            context,
            link: Link::Down,
            failures: 0,
        }
    }

    /// Does what the protocol asks for; `false`: nothing. `done` is told of each request, and of streams that
    /// end or begin.
    pub(super) fn drive(
        &mut self,
        node: &Node,
        now: Timestamp,
        mut done: impl FnMut(Done),
    ) -> bool {
        let mut busy = false;
        while let Some(action) = self.protocol.poll_action() {
            // Also when the protocol has given a stream up by itself.
            self.recorder.closed(&self.protocol, wall());
            self.link = match action {
                Action::Connect(variant) => {
                    let failed = self.protocol.unreachable().is_some();
                    self.failures = if failed { self.failures.wrapping_add(1) } else { 0 };
                    Link::connect(&self.server, &self.credentials, self.failures, variant)
                }
                Action::Close => Link::Down,
            };
            done(Done::Stream);
            busy = true;
        }
        while self.link.has_room()
            && let Some(request) = self.protocol.poll_request(now)
        {
            self.recorder.sent(&request, now);
            done(Done::Request(request.kind));
            self.link.send(wire::request(request, node));
            busy = true;
        }
        busy
    }

    /// The next thing that happens on the stream.
    pub(super) fn poll(&mut self, cx: &mut task::Context<'_>) -> Poll<LinkEvent> {
        self.link.poll(cx)
    }

    /// Decodes a response; `None`: its type is none of ours.
    pub(super) fn decode(&self, message: Message) -> Option<Incoming> {
        match message {
            Message::StateOfTheWorld(message) => wire::state_of_the_world(*message, &self.context),
            Message::Delta(message) => wire::delta(*message, &self.context),
        }
    }

    /// What decoding what comes from this server has to know.
    pub(super) const fn context(&self) -> &Context {
        &self.context
    }

    /// These load-balancing policies are registered in code.
    pub(super) fn know_lb_policies(&mut self, names: &BTreeSet<Arc<str>>) {
        self.context.lb_policies.clone_from(names);
    }

    /// All listeners come from it, whoever they are for.
    pub(super) const fn read_all_listeners(&mut self) {
        self.context.all_listeners = true;
    }

    /// Servers ask for listeners by these names.
    pub(super) fn know_servers(&mut self, names: &BTreeSet<Arc<str>>) {
        self.context.servers.clone_from(names);
    }

    /// Whether the server's word on a resource drops the last good value (gRFC A88).
    pub(super) fn fails_on_data_errors(&self) -> bool {
        self.server.has(ServerFeature::FailOnDataErrors)
    }
}

fn context(bootstrap: &Bootstrap, server: &Server) -> Context {
    Context {
        trusted_server: server.has(ServerFeature::TrustedXdsServer),
        certificate_providers: bootstrap.certificate_provider_names().cloned().collect(),
        ..Context::default()
    }
}
