//! [`Wildcards`]: what servers have said of everything, as a machine without streams.
//!
//! The protocol knows what one server sent and has no more. What it can't know:
//!
//! - **Whose a value is.** What a copy on disk has, or the server before this one (gRFC A71), this server
//!   never sent, so it never takes it back. Once it has said all that it has, the rest is gone.
//! - **When that is.** A response in the state of the world is everything. In delta it may come in several,
//!   and nothing marks the last: what has not come within [`PATIENCE`] of the question is not there.
//! - **Silence.** A server that answers, but not this question, has nothing of the type after
//!   [`PATIENCE`] (Envoy: `initial_fetch_timeout`; gRFC A57: the same time for a name).
//!
//! What it does not do: decide which server counts.

use super::federation::ServerAt;
use crate::ResourceType;
use crate::cascade::Key;
use crate::cascade::everything::WILD;
use crate::protocol::canonical;
use mesh_core::Timestamp;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// How long a server has to say all of a type.
pub(super) const PATIENCE: Duration = Duration::from_secs(15);

/// What was said of the wildcards.
#[derive(Debug, Default)]
pub(super) struct Wildcards {
    /// Whose the listeners and clusters are that are held; `None`: of a copy on disk.
    of: BTreeMap<Key, Option<ServerAt>>,
    /// Of each server and type that was asked on a stream that is open.
    asked: BTreeMap<(ServerAt, ResourceType), Asked>,
}

#[derive(Clone, Copy, Debug)]
struct Asked {
    /// There was a response.
    answered: bool,
    /// When all is said; `None`: it is.
    settles: Option<Timestamp>,
}

/// A server has said all that it has of a type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) server: ServerAt,
    pub(super) kind: ResourceType,
    /// By its silence.
    pub(super) silent: bool,
}

impl Wildcards {
    /// A request of this type was sent.
    pub(super) fn handle_sent(&mut self, server: ServerAt, kind: ResourceType, now: Timestamp) {
        if WILD.contains(&kind) {
            let asked = Asked { answered: false, settles: Some(now + PATIENCE) };
            self.asked.entry((server, kind)).or_insert(asked);
        }
    }

    /// The stream has ended: the next one is asked anew.
    pub(super) fn handle_closed(&mut self, server: ServerAt) {
        self.asked.retain(|(of, _), _| *of != server);
    }

    /// A response came; `all`: in it is everything. Whether that is all of it now.
    pub(super) fn handle_response(
        &mut self,
        server: ServerAt,
        kind: ResourceType,
        all: bool,
    ) -> Option<Settled> {
        let asked = self.asked.get_mut(&(server, kind))?;
        asked.answered = true;
        if all {
            asked.settles = None;
        }
        all.then_some(Settled { server, kind, silent: false })
    }

    /// A server has sent this, good or bad.
    pub(super) fn handle_taken(&mut self, server: ServerAt, kind: ResourceType, name: &Arc<str>) {
        if WILD.contains(&kind) {
            self.of.insert((kind, canonical(name)), Some(server));
        }
    }

    /// A copy on disk has this.
    pub(super) fn handle_restored(&mut self, kind: ResourceType, name: &Arc<str>) {
        if WILD.contains(&kind) {
            self.of.entry((kind, canonical(name))).or_insert(None);
        }
    }

    /// The protocol of a server holds this no more.
    pub(super) fn handle_forgotten(
        &mut self,
        server: ServerAt,
        kind: ResourceType,
        name: &Arc<str>,
    ) {
        let key = (kind, canonical(name));
        if self.of.get(&key) == Some(&Some(server)) {
            self.of.remove(&key);
        }
    }

    /// This is not held any more.
    pub(super) fn handle_gone(&mut self, kind: ResourceType, name: &Arc<str>) {
        self.of.remove(&(kind, canonical(name)));
    }

    /// Whether a server has answered for all of a type on its present stream.
    pub(super) fn is_answered(&self, server: ServerAt, kind: ResourceType) -> bool {
        let asked = self.asked.get(&(server, kind));
        asked.is_some_and(|asked| asked.answered || asked.settles.is_none())
    }

    /// What is held of a type and not this server's.
    pub(super) fn others(&self, server: ServerAt, kind: ResourceType) -> Vec<Arc<str>> {
        let others = self.of.iter().filter(|((of, _), by)| *of == kind && **by != Some(server));
        others.map(|((_, name), _)| Arc::clone(name)).collect()
    }

    /// When [`handle_timeout`](Self::handle_timeout) wants to be called.
    pub(super) fn poll_timeout(&self) -> Option<Timestamp> {
        self.asked.values().filter_map(|asked| asked.settles).min()
    }

    /// Who has said all by now.
    pub(super) fn handle_timeout(&mut self, now: Timestamp) -> Vec<Settled> {
        let mut settled = Vec::new();
        for ((server, kind), asked) in &mut self.asked {
            if asked.settles.is_some_and(|at| at <= now) {
                asked.settles = None;
                let silent = !asked.answered;
                settled.push(Settled { server: *server, kind: *kind, silent });
            }
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CDS: ResourceType = ResourceType::Cluster;

    /// Steps, each with ` = ` and what is settled by it: `sent S`, `closed S`, `part S`, `all S`, `takes S NAME`,
    /// `copy NAME`, `gone NAME`, `at SECONDS`; and after them the names that are not server 0's.
    #[track_caller]
    fn check(steps: &str, others: &str) {
        let (mut wildcards, mut now) = (Wildcards::default(), Timestamp::ZERO);
        for text in steps.split(';').map(str::trim) {
            let (what, expected) = text.split_once(" = ").unwrap_or((text, ""));
            let words: Vec<&str> = what.split(' ').collect();
            let server = words[1].parse().unwrap_or_default();
            let mut settled = Vec::new();
            match words[0] {
                "sent" => wildcards.handle_sent(server, CDS, now),
                "closed" => wildcards.handle_closed(server),
                "part" => settled.extend(wildcards.handle_response(server, CDS, false)),
                "all" => settled.extend(wildcards.handle_response(server, CDS, true)),
                "takes" => wildcards.handle_taken(server, CDS, &words[2].into()),
                "copy" => wildcards.handle_restored(CDS, &words[1].into()),
                "gone" => wildcards.handle_gone(CDS, &words[1].into()),
                "at" => {
                    now = Timestamp::from_millis(words[1].parse::<u64>().unwrap() * 1000);
                    let due = wildcards.poll_timeout().is_some_and(|at| at <= now);
                    settled = wildcards.handle_timeout(now);
                    assert_eq!(due, !settled.is_empty(), "{steps}: {what}");
                }
                other => panic!("no such step: {other}"),
            }
            let shown = settled.iter().map(|settled| {
                let silent = if settled.silent { " silent" } else { "" };
                assert!(wildcards.is_answered(settled.server, CDS));
                format!("{}{silent}", settled.server)
            });
            assert_eq!(shown.collect::<Vec<_>>().join(", "), expected, "{steps}: {what}");
        }
        assert_eq!(wildcards.others(0, CDS).join(" "), others, "{steps}");
    }

    #[test]
    fn when_a_server_has_said_all() {
        for (steps, others) in [
            ("sent 0; all 0 = 0; at 100", ""),
            ("sent 0; at 14; at 15 = 0 silent; at 100", ""),
            ("sent 0; part 0; at 14; part 0; at 15 = 0; at 100", ""),
            ("sent 0; at 5; sent 0; at 15 = 0 silent", ""),
            ("sent 0; closed 0; at 100", ""),
            ("sent 0; at 9; closed 0; sent 0; at 15; at 24 = 0 silent", ""),
            ("sent 0; sent 1; at 15 = 0 silent, 1 silent", ""),
            ("part 0; all 0; at 100", ""),
        ] {
            check(steps, others);
        }
    }

    #[test]
    fn whose_it_is() {
        for (steps, others) in [
            ("takes 0 a; takes 1 b", "b"),
            ("copy a; copy b; takes 0 a", "b"),
            ("takes 0 a; copy a", ""),
            ("takes 0 a; takes 1 a", "a"),
            ("copy a; gone a", ""),
        ] {
            check(steps, others);
        }
    }

    #[test]
    fn what_was_answered_on_a_stream_that_ended_is_not_answered() {
        let mut wildcards = Wildcards::default();
        wildcards.handle_sent(0, CDS, Timestamp::ZERO);
        assert!(!wildcards.is_answered(0, CDS));
        wildcards.handle_response(0, CDS, false);
        assert!(wildcards.is_answered(0, CDS) && !wildcards.is_answered(1, CDS));
        wildcards.handle_closed(0);
        assert!(!wildcards.is_answered(0, CDS));
        wildcards.handle_sent(0, ResourceType::Endpoints, Timestamp::ZERO);
        assert_eq!(wildcards.poll_timeout(), None, "other types are asked for by name");
    }
}
