//! [`LbError`]: why a load-balancing policy can't be built.

use std::sync::Arc;

/// Why a policy can't be built: the field, its value, and the rule that it breaks.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LbError {
    /// A whole number out of its range.
    #[error("{field} is {value}: {rule}")]
    Integer {
        /// The field's name in the configuration.
        field: &'static str,
        /// What it says.
        value: u64,
        /// What it must be.
        rule: &'static str,
    },
    /// A number out of its range.
    #[error("{field} is {value}: {rule}")]
    Number {
        /// The field's name in the configuration.
        field: &'static str,
        /// What it says.
        value: f64,
        /// What it must be.
        rule: &'static str,
    },
    /// The configuration names a policy of the user's, and no such policy came with it.
    #[error("no load-balancing policy is registered as `{name}`")]
    Unregistered {
        /// The name in the configuration.
        name: Arc<str>,
    },
}

/// Fails with `rule` unless `holds`.
pub(super) const fn integer(
    holds: bool,
    field: &'static str,
    value: u64,
    rule: &'static str,
) -> Result<(), LbError> {
    if holds { Ok(()) } else { Err(LbError::Integer { field, value, rule }) }
}

/// Fails with `rule` unless `holds`.
pub(super) const fn number(
    holds: bool,
    field: &'static str,
    value: f64,
    rule: &'static str,
) -> Result<(), LbError> {
    if holds { Ok(()) } else { Err(LbError::Number { field, value, rule }) }
}
