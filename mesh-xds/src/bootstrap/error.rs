//! What is wrong with a bootstrap, and where.

use std::fmt;

/// The most problems that are told; the others are counted.
pub const MAX_PROBLEMS: usize = 32;

/// Why a text is no bootstrap: everything that is wrong with it, in the order in which it was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub struct BootstrapError {
    /// The first [`MAX_PROBLEMS`] problems, at least one.
    pub problems: Vec<Problem>,
    /// How many there are beyond those.
    pub more: usize,
}

/// Something in a bootstrap that can't be.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The field: `xds_servers[0].channel_creds[1].type`; empty: the whole text.
    pub path: String,
    /// The line of the value, from 1.
    pub line: usize,
    /// The column of the value, in characters, from 1.
    pub column: usize,
    /// What is wrong, with the value, the rule and a way out.
    pub message: String,
}

impl fmt::Display for BootstrapError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "; " })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "; and {more} more"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, column, message } = self;
        let space = if path.is_empty() { "" } else { " " };
        write!(f, "{path}{space}(line {line}, column {column}): {message}")
    }
}

/// At most 80 characters of a text, for messages.
pub(super) fn shorten(text: &str) -> String {
    let mut shown: String = text.chars().take(80).flat_map(char::escape_debug).collect();
    if text.chars().nth(80).is_some() {
        shown.push('…');
    }
    shown
}
