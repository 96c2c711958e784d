//! What comes out of the federation: [`Op`], and how servers and authorities are named in it.

use crate::cascade::Key;
use std::sync::Arc;

/// A server, by its place among all of them.
pub(in crate::client) type ServerAt = usize;

/// An authority, percent-encoded; `None`: names of the old style.
pub(in crate::client) type Authority = Option<Arc<str>>;

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::client) enum Op {
    /// Ask a server for a name.
    Watch { server: ServerAt, key: Key },
    /// Ask no more.
    Unwatch { server: ServerAt, key: Key },
    /// What a server sent is replaced by another server's: it must not rely on it.
    Replaced { server: ServerAt },
    /// Nothing is asked of a server any more: its stream ends.
    Close { server: ServerAt },
    /// Another server of an authority counts.
    Switched { authority: Authority, from: ServerAt, to: ServerAt, cause: Cause },
}

/// Why another server counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) enum Cause {
    /// The one before can't be reached.
    Unreachable,
    /// A better one is back.
    Returned,
}
