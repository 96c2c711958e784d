//! Configuration from code: [`StaticSource`] once, [`Updates`] while the program runs.

use super::{Sink, SinkReceiver, Source};
use futures_core::future::BoxFuture;
use mesh_core::ConfigUpdate;

/// One configuration that never changes.
#[derive(Clone, Debug)]
pub struct StaticSource(ConfigUpdate);

impl StaticSource {
    /// Publishes `update` when it is started.
    #[must_use]
    pub const fn new(update: ConfigUpdate) -> Self {
        Self(update)
    }
}

impl Source for StaticSource {
    fn start(self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        sink.publish(self.0);
        Box::pin(async {})
    }
}

/// Hands configurations over while the program runs. Cheap to clone.
///
/// What is applied before the source is started waits for it; the newest wins.
#[derive(Clone, Debug)]
pub struct Updates(Sink);

impl Updates {
    /// The handle for the program, and the source for the mesh.
    #[must_use]
    pub fn new() -> (Self, UpdatesSource) {
        let (sink, receiver) = Sink::channel();
        (Self(sink), UpdatesSource(receiver))
    }

    /// Makes `update` the configuration. Does nothing once the mesh has ended.
    pub fn apply(&self, update: ConfigUpdate) {
        self.0.publish(update);
    }
}

/// Publishes what is [applied](Updates::apply).
#[derive(Debug)]
pub struct UpdatesSource(SinkReceiver);

impl Source for UpdatesSource {
    fn start(mut self: Box<Self>, sink: Sink) -> BoxFuture<'static, ()> {
        Box::pin(async move {
            loop {
                tokio::select! {
                    () = sink.closed() => return,
                    event = self.0.next() => sink.send(event),
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::SourceEvent;
    use mesh_core::update::Origin;

    fn update(version: &str) -> ConfigUpdate {
        let mut update = ConfigUpdate::default();
        update.origin = Origin::new("code", version);
        update
    }

    #[tokio::test]
    async fn a_static_source_publishes_once_and_ends() {
        let (sink, mut receiver) = Sink::channel();
        Box::new(StaticSource::new(update("1"))).start(sink).await;
        assert_eq!(receiver.next().await, SourceEvent::Update(update("1")));
    }

    #[tokio::test(start_paused = true)]
    async fn updates_flow_before_and_after_the_start_until_the_mesh_ends() {
        let (updates, source) = Updates::new();
        updates.apply(update("0"));
        updates.apply(update("1"));
        let (sink, mut receiver) = Sink::channel();
        let running = tokio::spawn(Box::new(source).start(sink));
        assert_eq!(receiver.next().await, SourceEvent::Update(update("1")));
        updates.clone().apply(update("2"));
        assert_eq!(receiver.next().await, SourceEvent::Update(update("2")));
        drop(receiver);
        running.await.unwrap();
        updates.apply(update("3"));
    }
}
