//! [`Name`]: what can be watched, and when two names are the same.

use super::options::MAX_NAMES;
use crate::ResourceType;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The wildcard as it is written in requests (xDS protocol: "How the client specifies what resources
/// to return").
pub(crate) const WILDCARD: &str = "*";

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(clippy::exhaustive_enums, reason = "closed by the xDS protocol: all or one")]
pub enum Name {
    /// All that the server has for us.
    Wildcard,
    /// The resource of this name.
    Of(Arc<str>),
}

impl From<&str> for Name {
    /// `*` is the wildcard.
    fn from(name: &str) -> Self {
        match name {
            WILDCARD => Self::Wildcard,
            _ => Self::Of(name.into()),
        }
    }
}

impl Name {
    /// The one way to write it.
    pub(super) fn canonical(&self) -> Self {
        match self {
            Self::Of(name) if &**name != WILDCARD => Self::Of(canonical(name)),
            Self::Of(_) | Self::Wildcard => Self::Wildcard,
        }
    }
}

/// Why something is not watched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum WatchRefused {
    /// A request with an empty name would be read as one for everything, or as an error.
    #[error("{0}: an empty name can't be asked for: name a resource, or `*` for all")]
    EmptyName(ResourceType),
    /// There are [`MAX_NAMES`] already.
    #[error(
        "{kind}: `{name}` is one more than the {MAX_NAMES} names that one stream asks for: unwatch \
         others first"
    )]
    TooMany {
        /// The type.
        kind: ResourceType,
        /// The name that is too much.
        name: Arc<str>,
    },
}

/// The one way to write `name`: the context parameters of an `xdstp:` name in the order of their keys,
/// each once (gRFC A47: "…the context parameters are compared sorted by key"; the last of equal keys
/// wins).
pub(crate) fn canonical(name: &Arc<str>) -> Arc<str> {
    let Some((path, rest)) = name.strip_prefix("xdstp:").and_then(|rest| rest.split_once('?'))
    else {
        return name.clone();
    };
    let (query, directive) = match rest.find('#') {
        Some(at) => rest.split_at(at),
        None => (rest, ""),
    };
    let parameters: BTreeMap<&str, &str> = query
        .split('&')
        .filter(|parameter| !parameter.is_empty())
        .map(|parameter| (parameter.split('=').next().unwrap_or_default(), parameter))
        .collect();
    let parameters = parameters.into_values().collect::<Vec<_>>().join("&");
    let mark = if parameters.is_empty() { "" } else { "?" };
    Arc::from(format!("xdstp:{path}{mark}{parameters}{directive}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &str, expected: &str) {
        assert_eq!(&*canonical(&name.into()), expected);
        assert_eq!(&*canonical(&expected.into()), expected, "not stable");
    }

    #[test]
    fn context_parameters_are_sorted_by_key() {
        check("a?b=1&a=2", "a?b=1&a=2");
        check("xdstp://au/t/id", "xdstp://au/t/id");
        check("xdstp://au/t/id?b=1&a=2", "xdstp://au/t/id?a=2&b=1");
        check("xdstp://au/t/id?a=1&b=2&a=3", "xdstp://au/t/id?a=3&b=2");
        check("xdstp://au/t/id?b=1&a=2#entry=x?y", "xdstp://au/t/id?a=2&b=1#entry=x?y");
        check("xdstp://au/t/id?", "xdstp://au/t/id");
        check("xdstp:?&&", "xdstp:");
    }
}
