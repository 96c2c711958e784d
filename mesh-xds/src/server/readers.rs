//! [`Readers`]: who may read which part of a configuration.
//!
//! A rule says for which SPIFFE ids it is; the first rule that is for a client counts, and each rule has a
//! snapshot of its own. A client that no rule is for gets nothing at all: its streams end with
//! `PERMISSION_DENIED` and the reason.
//!
//! What the parts are is decided by whoever publishes them ([`ConfigUpdate::restricted`]): a stream never
//! sees more than its rule's snapshot, so there is nothing to be left out on the way.
//!
//! [`ConfigUpdate::restricted`]: mesh_core::ConfigUpdate::restricted

use mesh_core::identity::{SpiffeId, SpiffeIdError};
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Rules in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Readers {
    rules: Arc<[Vec<ReaderId>]>,
}

/// Whom a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ReaderId {
    /// The workload of this id: `spiffe://example.org/web`.
    Exact(SpiffeId),
    /// Workloads whose id begins so, up to a whole segment of the path: `spiffe://example.org/ns/shop/*`;
    /// `spiffe://example.org/*` is the whole trust domain.
    Under(Arc<str>),
}

/// Why a text is no [`ReaderId`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no SPIFFE id and no beginning of one: {why}; write `spiffe://example.org/web` or \
     `spiffe://example.org/ns/shop/*`"
)]
#[non_exhaustive]
pub struct InvalidReaderId {
    /// The text.
    pub text: String,
    /// What is wrong with it.
    pub why: String,
}

/// Nothing is for a client.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoReader {
    /// It did not prove who it is.
    #[error(
        "only clients with a SPIFFE id may read here, and none was proven: connect with a certificate \
         that has one"
    )]
    Unknown,
    /// No rule is for it.
    #[error("`{0}` may read nothing here: the control plane has no rule for it")]
    NotAllowed(Arc<str>),
}

impl Readers {
    /// Rules, the first that is for a client counts.
    #[must_use]
    pub fn new(rules: impl IntoIterator<Item = Vec<ReaderId>>) -> Self {
        Self { rules: rules.into_iter().collect() }
    }

    /// How many rules there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there is none, so that nobody may read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rule for a client.
    ///
    /// # Errors
    /// [`NoReader`]: there is none.
    pub fn rule(&self, identity: Option<&Arc<str>>) -> Result<usize, NoReader> {
        let identity = identity.ok_or(NoReader::Unknown)?;
        let is_for = |ids: &Vec<ReaderId>| ids.iter().any(|id| id.is(identity));
        let rule = self.rules.iter().position(is_for);
        rule.ok_or_else(|| NoReader::NotAllowed(Arc::clone(identity)))
    }
}

impl ReaderId {
    /// Whether this is `identity`, a SPIFFE id that was proven.
    #[must_use]
    pub fn is(&self, identity: &str) -> bool {
        match self {
            Self::Exact(id) => id.as_str() == identity,
            Self::Under(start) => identity.len() > start.len() && identity.starts_with(&**start),
        }
    }
}

impl FromStr for ReaderId {
    type Err = InvalidReaderId;

    fn from_str(text: &str) -> Result<Self, InvalidReaderId> {
        let invalid =
            |why: SpiffeIdError| InvalidReaderId { text: text.to_owned(), why: why.to_string() };
        let Some(start) = text.strip_suffix("/*") else {
            let id = SpiffeId::parse(text).map_err(invalid)?;
            return match id.path() {
                "" => Err(InvalidReaderId {
                    text: text.to_owned(),
                    why: "it names a trust domain and no workload".to_owned(),
                }),
                _ => Ok(Self::Exact(id)),
            };
        };
        // What stands before the star is an id itself, or a trust domain.
        SpiffeId::parse(start).map_err(invalid)?;
        Ok(Self::Under(format!("{start}/").into()))
    }
}

impl fmt::Display for ReaderId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(id) => f.write_str(id.as_str()),
            Self::Under(start) => write!(f, "{start}*"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn readers(rules: &[&str]) -> Readers {
        Readers::new(
            rules.iter().map(|rule| rule.split(' ').map(|id| id.parse().unwrap()).collect()),
        )
    }

    #[track_caller]
    fn check(identity: Option<&str>, expected: Result<usize, &str>) {
        let readers = readers(&[
            "spiffe://a.org/web spiffe://b.org/web",
            "spiffe://a.org/ns/shop/*",
            "spiffe://a.org/ns/*",
            "spiffe://c.org/*",
        ]);
        let found = readers.rule(identity.map(Arc::from).as_ref()).map_err(|none| none.to_string());
        assert_eq!(found, expected.map_err(str::to_owned), "{identity:?}");
    }

    #[test]
    fn the_first_rule_that_is_for_a_client_counts() {
        check(Some("spiffe://a.org/web"), Ok(0));
        check(Some("spiffe://b.org/web"), Ok(0));
        check(Some("spiffe://a.org/ns/shop/sa/x"), Ok(1));
        check(Some("spiffe://a.org/ns/other/sa/x"), Ok(2));
        check(Some("spiffe://c.org/anything"), Ok(3));
        // A segment is whole, and a domain is no beginning of another.
        let refused =
            "`spiffe://a.org/nsx` may read nothing here: the control plane has no rule for it";
        check(Some("spiffe://a.org/nsx"), Err(refused));
        let refused =
            "`spiffe://c.org.evil/x` may read nothing here: the control plane has no rule for it";
        check(Some("spiffe://c.org.evil/x"), Err(refused));
        check(
            None,
            Err(
                "only clients with a SPIFFE id may read here, and none was proven: connect with a \
                 certificate that has one",
            ),
        );
    }

    #[test]
    fn what_is_no_id_is_refused() {
        for text in [
            "",
            "*",
            "spiffe://",
            "spiffe://a.org",
            "https://a.org/x",
            "spiffe://a.org/x*",
            "spiffe://A/*",
            "spiffe:///*",
        ] {
            let error = text.parse::<ReaderId>().unwrap_err().to_string();
            assert!(error.starts_with(&format!("`{text}` is no SPIFFE id")), "{error}");
        }
        for text in ["spiffe://a.org/x", "spiffe://a.org/*", "spiffe://a.org/x/*"] {
            assert_eq!(text.parse::<ReaderId>().unwrap().to_string(), text);
        }
    }
}
