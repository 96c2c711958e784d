mod edits;
mod faults;
mod holds;
mod limits;
mod shadow;

use super::*;
use crate::identity::Peer;
use crate::model::matcher::StringPattern;
use crate::model::{
    HttpFilter, HttpFilterConfig, HttpFilterOverride, HttpFilterOverrides, Permission, Policy,
    Principal, Rbac, RbacAction, RbacFilter, StringMatcher,
};
use crate::rbac::Connection;
use crate::time::{Timestamp, WallTime};
use std::sync::Arc;

/// Denies what is asked for under `prefix`.
fn denies(name: &str, prefix: &str) -> HttpFilter {
    HttpFilter::new(name, HttpFilterConfig::Rbac(rbac(name, prefix)))
}

fn rbac(name: &str, prefix: &str) -> Arc<RbacFilter> {
    let policy = Policy {
        permissions: vec![Permission::UrlPath(StringMatcher::new(StringPattern::Prefix(
            prefix.into(),
        )))],
        principals: vec![Principal::Any],
        condition: None,
    };
    let mut rules = Rbac::default();
    rules.action = RbacAction::Deny;
    rules.policies = [(Arc::from(name), policy)].into();
    let mut filter = RbacFilter::default();
    filter.rules = Some(Arc::new(rules));
    Arc::new(filter)
}

/// The connection of somebody who has proven nothing, at this address.
pub(super) fn caller(address: &str) -> Connection<'static> {
    let address = address.parse().unwrap();
    Connection::new(&Peer::Plaintext, address, address)
}

/// What filters get of a request on `connection`, at the beginning of time.
pub(super) fn context<'a>(
    request: &'a mut http::request::Parts,
    connection: &'a Connection<'a>,
) -> FilterContext<'a> {
    FilterContext {
        request,
        connection,
        narrowed: None,
        remote: connection.direct_remote,
        now: Timestamp::ZERO,
        wall: WallTime::from_unix_seconds(0),
    }
}

fn describe(name: &Arc<str>, what: Told<'_>) -> String {
    match what {
        Told::Rbac(..) => name.to_string(),
        Told::Limit(limit) => format!("{name}:{limit:?}"),
        Told::Fault(fault) => format!("{name}:{fault:?}"),
        Told::Asked(_) => format!("{name}:asked"),
    }
}

/// A request on its way.
struct Way<'c> {
    chain: &'c Chain,
    overrides: Overrides,
    pass: Pass,
    peer: Peer,
    remote: &'static str,
    now: u64,
    parts: http::request::Parts,
    told: Vec<String>,
    /// The last step was a delay.
    waits: bool,
}

impl<'c> Way<'c> {
    /// `headers` are `name: value`, one a line.
    fn new(chain: &'c Chain, path: &str, headers: &str) -> Self {
        let mut request = http::Request::get(path);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            request = request.header(name.trim(), value);
        }
        Self {
            chain,
            overrides: Overrides::default(),
            pass: Pass::new(1),
            peer: Peer::Plaintext,
            remote: "10.0.0.1:1",
            now: 0,
            parts: request.body(()).unwrap().into_parts().0,
            told: Vec::new(),
            waits: false,
        }
    }

    /// What the filters say, from the first on, or after a delay.
    fn step(&mut self, after_delay: bool) -> Step {
        let remote = self.remote.parse().unwrap();
        let connection = Connection::new(&self.peer, remote, "10.0.0.2:80".parse().unwrap());
        let narrowed = self.chain.narrow(&connection);
        let mut cx = context(&mut self.parts, &connection);
        cx.narrowed = Some(&narrowed);
        cx.now = Timestamp::from_millis(self.now);
        let told = &mut self.told;
        let mut observer = |name: &Arc<str>, what: Told<'_>| told.push(describe(name, what));
        match after_delay {
            false => self.pass.start(self.chain, &self.overrides, &mut cx, &mut observer),
            true => {
                self.pass.handle_delay_over(self.chain, &self.overrides, &mut cx, &mut observer)
            }
        }
    }

    /// Of its body so many bytes came: who tells what of that, and who refuses it.
    fn body(&mut self, read: u64) -> String {
        let mut told = Vec::new();
        let mut observer = |name: &Arc<str>, what: Told<'_>| told.push(describe(name, what));
        let reply = self.pass.handle_body(read, &mut observer);
        let by = reply.map(|reply| format!(" by {}", reply.filter)).unwrap_or_default();
        told.join(" ") + &by
    }

    /// Who was told what, and how it ended.
    fn run(&mut self) -> String {
        let step = self.step(false);
        self.describe(&step)
    }

    fn run_after_delay(&mut self) -> String {
        let step = self.step(true);
        self.describe(&step)
    }

    fn describe(&mut self, step: &Step) -> String {
        self.waits = matches!(step, Step::Delay(_));
        let end = match step {
            Step::Continue => "on".to_owned(),
            Step::Reply(reply) => {
                format!("{} by {}: {}", reply.status, reply.filter, reply.details)
            }
            Step::Delay(until) => format!("waits until {} ms", until.as_nanos() / 1_000_000),
            Step::Ask(question) => format!("{question:?}"),
        };
        format!("{} -> {end}", std::mem::take(&mut self.told).join(" "))
    }

    /// The head of the answer, as the filters leave it.
    fn answer(&mut self, status: u16, headers: &str) -> http::response::Parts {
        let mut response = http::Response::builder().status(status);
        for line in headers.lines() {
            let (name, value) = line.split_once(": ").unwrap();
            response = response.header(name.trim(), value);
        }
        let mut parts = response.body(()).unwrap().into_parts().0;
        let now = Timestamp::from_millis(self.now);
        self.pass.handle_response(self.chain, &self.overrides, &mut parts, now);
        parts
    }

    fn end(&mut self, end: End) {
        let now = Timestamp::from_millis(self.now);
        self.pass.handle_end(end, now);
    }
}

fn chain(filters: &[(&str, HttpFilterConfig)]) -> Chain {
    chain_after(filters, None)
}

fn chain_after(filters: &[(&str, HttpFilterConfig)], before: Option<&Chain>) -> Chain {
    let filters: Vec<HttpFilter> =
        filters.iter().map(|(name, config)| HttpFilter::new(*name, config.clone())).collect();
    Chain::compile(&filters, before).unwrap()
}

/// Who answers, and who was asked before.
fn pass(chain: &Chain, overrides: Overrides, path: &str) -> String {
    let mut way = Way::new(chain, path, "");
    way.overrides = overrides;
    way.run()
}

#[track_caller]
fn check(path: &str, said: &[(&str, HttpFilterOverride)], expected: &str) {
    let mut off = denies("off", "/off");
    off.disabled = true;
    let chain = Chain::compile(&[denies("a", "/a"), denies("b", "/"), off], None).unwrap();
    let said: HttpFilterOverrides =
        said.iter().map(|(name, said)| (Arc::from(*name), said.clone())).collect();
    let overrides = chain.overrides(&[&said]).unwrap();
    assert_eq!(pass(&chain, overrides, path), expected);
}

#[test]
fn filters_are_asked_in_their_order() {
    use HttpFilterOverride::{Config, Disabled, Enabled};
    let denied =
        |by: &str| format!("403 Forbidden by {by}: rbac_access_denied_matched_policy[{by}]");
    check("/a", &[], &format!("a -> {}", denied("a")));
    check("/x", &[], &format!("a b -> {}", denied("b")));
    check("/a", &[("a", Disabled)], &format!("b -> {}", denied("b")));
    check("/a", &[("a", Disabled), ("b", Disabled)], " -> on");
    check("/off", &[("b", Disabled), ("off", Enabled)], &format!("a off -> {}", denied("off")));
    let other = Config(HttpFilterConfig::Rbac(rbac("other", "/x")));
    check(
        "/x",
        &[("a", other)],
        "a -> 403 Forbidden by a: rbac_access_denied_matched_policy[other]",
    );
}

#[test]
fn what_no_chain_can_do_is_refused() {
    let twice = Chain::compile(&[denies("a", "/"), denies("a", "/")], None).unwrap_err();
    assert_eq!(
        twice.to_string(),
        "filter `a`: another filter of this chain has the same name, and routes could not tell them apart"
    );
    let chain = Chain::compile(&[denies("a", "/")], None).unwrap();
    let said = HttpFilterOverrides::from([(Arc::from("b"), HttpFilterOverride::Disabled)]);
    assert_eq!(
        chain.overrides(&[&said]).unwrap_err().to_string(),
        "filter `b`: the chain has no filter of this name: add it there, or leave it out of the route"
    );
}
