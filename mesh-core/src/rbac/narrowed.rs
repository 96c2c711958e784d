//! [`Narrowed`]: policies as far as a connection decides about them.
//!
//! Who calls, and from where, is the same for all requests of a connection, and most policies ask for it. So it is
//! asked once: a policy that this peer can't meet is left out, and of the others only that is asked which a request may
//! answer differently.

use super::request::{Connection, Request};
use super::rule::{Origin, Rule, Sight};
use super::{CompiledPolicy, CompiledRbac, Verdict};

/// Of how many policies a connection is asked: more would cost it more than its requests gain, which have the index.
const MOST: usize = 64;

/// How many may be left, that are then asked one after another.
const MOST_LEFT: usize = 8;

/// Policies that could match on one connection; made by [`CompiledRbac::narrow`], and for those policies only.
#[derive(Clone, Debug)]
pub struct Narrowed(Box<[Left]>);

/// What is left to ask of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Left {
    /// Its place among all.
    at: usize,
    permissions: bool,
    principals: bool,
}

impl CompiledRbac {
    /// What is left to ask of the requests of `connection`; `None`: there are too many policies, and
    /// [`evaluate`](Self::evaluate) costs less.
    #[must_use]
    pub fn narrow(&self, connection: &Connection<'_>) -> Option<Narrowed> {
        if self.policies.len() > MOST {
            return None;
        }
        let alone = Request::of_connection(connection);
        let sight = Sight::new(&alone);
        let policies = self.policies.iter().enumerate();
        let left: Box<[Left]> =
            policies.filter_map(|(at, policy)| Left::of(at, policy, &sight)).collect();
        (left.len() <= MOST_LEFT).then_some(Narrowed(left))
    }

    /// As [`evaluate`](Self::evaluate), of a request on the connection that `narrowed` was made for.
    #[must_use]
    pub fn evaluate_narrowed(&self, narrowed: &Narrowed, request: &Request<'_>) -> Verdict<'_> {
        let sight = Sight::new(request);
        let mut policies =
            narrowed.0.iter().filter_map(|left| Some((left, self.policies.get(left.at)?)));
        let matched = policies.find(|(left, policy)| {
            (!left.permissions || policy.permissions.holds(&sight))
                && (!left.principals || policy.principals.holds(&sight))
                && policy.holds(&sight, self.action)
        });
        self.verdict(matched.map(|(_, policy)| policy))
    }
}

impl Left {
    /// `None`: the policy does not match on this connection.
    fn of(at: usize, policy: &CompiledPolicy, connection: &Sight<'_>) -> Option<Self> {
        let (what, who) = (policy.permissions.says(connection), policy.principals.says(connection));
        if what == Some(false) || who == Some(false) {
            return None;
        }
        Some(Self { at, permissions: what.is_none(), principals: who.is_none() })
    }
}

impl Rule {
    /// Whether the condition holds of all requests of a connection, or of none; `None`: a request says.
    fn says(&self, connection: &Sight<'_>) -> Option<bool> {
        match self {
            Self::All(rules) => all(rules.iter().map(|rule| rule.says(connection))),
            Self::AnyOf(rules) => {
                all(rules.iter().map(|rule| rule.says(connection).map(|holds| !holds)))
                    .map(|none| !none)
            }
            Self::Not(rule) => rule.says(connection).map(|holds| !holds),
            Self::Always
            | Self::LocalIp(_)
            | Self::LocalPort(_)
            | Self::ServerName(_)
            | Self::Tls
            | Self::Principal(_)
            | Self::PrincipalPrefix(_)
            | Self::PrincipalIn(_)
            | Self::Certified
            | Self::San { .. }
            | Self::Source(Origin::Source | Origin::DirectRemote, _) => {
                Some(self.holds(connection))
            }
            Self::Header(..)
            | Self::Method(_)
            | Self::Path(_)
            | Self::PathPrefix(_)
            | Self::PathIn(_)
            | Self::Template(_)
            | Self::Metadata(_)
            | Self::FilterState(_)
            | Self::Source(Origin::Remote, _) => None,
        }
    }
}

/// Whether all hold: one that does not decides, and else one that is open leaves it open.
fn all(mut rules: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    rules
        .try_fold(Some(true), |sum, says| match says {
            Some(false) => Err(Some(false)),
            Some(true) => Ok(sum),
            None => Ok(None),
        })
        .unwrap_or_else(|decided| decided)
}
