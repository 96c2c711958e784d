//! [`PathIndex`]: which routes of a virtual host a path can match, without trying them all.
//!
//! First match wins, so the answer is the *lowest* route whose path matches and whose other
//! conditions hold. The index finds the few whose path matches:
//!
//! - exact paths in a hash map, by the path without query;
//! - prefixes in a [`PrefixMap`], by path and query;
//! - a path-separated prefix `/a` is the exact path `/a` and the prefix `/a/`: nothing else matches it;
//! - the same three again in lower case, for routes that ignore case;
//! - regular expressions in a list that is tried in order.
//!
//! Each finds ascending lists of routes, read while they are below the best match so far. A list ends
//! at its first route without further conditions: nothing after it can win. Nested prefixes share
//! lists: a list holds what its own prefix and those above it contribute, up to [`CHUNK`] routes, and
//! a link to the rest. So a look-up costs a few hashes, whatever the size and nesting of the table,
//! plus one test per route whose path matches.

use super::prefix_map::{PrefixMap, Side};
use crate::head::RequestHead;
use crate::model::{PathMatcher, RouteMatch};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::collections::BTreeMap;

/// How many routes a list copies from the prefixes above its own.
const CHUNK: usize = 64;

/// Finds routes by path.
#[derive(Clone, Debug)]
pub(super) struct PathIndex {
    cased: Patterns,
    folded: Patterns,
    /// Routes that are tried on every path.
    unindexed: Box<[u32]>,
    lists: Lists,
    /// The first route takes every path, as in most servers: nothing has to be looked up.
    first_takes_all: bool,
}

impl PathIndex {
    /// Indexes routes by their place in `routes`.
    pub(super) fn build<'m>(routes: impl Iterator<Item = &'m RouteMatch>) -> Self {
        let (mut cased, mut folded) = (Sources::default(), Sources::default());
        let mut unindexed = Vec::new();
        let mut first_takes_all = false;
        for (at, matcher) in (0u32..).zip(routes) {
            first_takes_all |= at == 0 && takes_all(matcher);
            let entry = Entry { route: at, last: unconditional(matcher) };
            if matches!(matcher.path, PathMatcher::Regex(_)) {
                unindexed.push(at);
            } else if matcher.case_sensitive {
                cased.add(&matcher.path, entry, |text| text.into());
            } else {
                folded.add(&matcher.path, entry, |text| text.to_ascii_lowercase().into());
            }
        }
        let mut lists = Lists::default();
        let (cased, folded) = (cased.build(&mut lists), folded.build(&mut lists));
        Self { cased, folded, unindexed: unindexed.into(), lists, first_takes_all }
    }

    /// The first route whose path matches and that `accepts`. Routes with a regex are all tried:
    /// `accepts` runs the regex.
    ///
    /// Allocates only where a pattern that ignores case and the path both exceed 1 KiB.
    pub(super) fn find(
        &self,
        head: &RequestHead<'_>,
        mut accepts: impl FnMut(u32) -> bool,
    ) -> Option<u32> {
        if self.first_takes_all && accepts(0) {
            return Some(0);
        }
        let all = head.path_and_query.as_bytes();
        let mut best = u32::MAX;
        self.cased.find(&self.lists, all, || head.path().len(), &mut best, &mut accepts);
        if !self.folded.is_empty() {
            // Longer than every pattern is long enough: nothing depends on what follows.
            let enough = all.len().min(self.folded.longest + 1);
            let mut lowered: SmallVec<[u8; 1024]> = SmallVec::from_slice(&all[..enough]);
            lowered.make_ascii_lowercase();
            let path = || head.path().len().min(enough);
            self.folded.find(&self.lists, &lowered, path, &mut best, &mut accepts);
        }
        scan(&self.unindexed, &mut best, &mut accepts);
        (best != u32::MAX).then_some(best)
    }
}

/// Lowers `best` to the first route of an ascending list that is below it and accepted.
#[inline]
fn scan(list: &[u32], best: &mut u32, accepts: &mut impl FnMut(u32) -> bool) {
    for route in list {
        if *route >= *best {
            return;
        }
        if accepts(*route) {
            *best = *route;
            return;
        }
    }
}

/// Whether nothing but the path is asked of a request.
pub(super) fn unconditional(matcher: &RouteMatch) -> bool {
    matcher.headers.is_empty()
        && matcher.query_parameters.is_empty()
        && matcher.methods.is_empty()
        && !matcher.grpc
        && matcher.runtime_fraction.is_none()
}

/// Whether every request matches.
fn takes_all(matcher: &RouteMatch) -> bool {
    let any_path =
        matches!(&matcher.path, PathMatcher::Prefix(text) if effective_prefix(text).is_empty());
    any_path && unconditional(matcher)
}

/// The prefix as it is matched: `/` takes every request, also `*` and an empty path.
pub(super) fn effective_prefix(prefix: &str) -> &str {
    if prefix == "/" { "" } else { prefix }
}

#[derive(Clone, Debug)]
struct Patterns {
    exact: HashMap<Box<[u8]>, u32>,
    prefix: PrefixMap<u32>,
    /// The lowest route with a prefix.
    lowest_prefix: u32,
    /// The length of the longest pattern.
    longest: usize,
}

impl Patterns {
    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefix.is_empty()
    }

    /// Lowers `best` to the first accepted route below it. The path is the first `path` bytes of
    /// `all`.
    #[inline]
    fn find(
        &self,
        lists: &Lists,
        all: &[u8],
        path: impl FnOnce() -> usize,
        best: &mut u32,
        accepts: &mut impl FnMut(u32) -> bool,
    ) {
        if !self.exact.is_empty()
            && let Some(list) = self.exact.get(&all[..path()])
        {
            scan(lists.routes(*list).0, best, accepts);
        }
        if self.lowest_prefix >= *best {
            return;
        }
        let mut next = self.prefix.longest(all, all.len());
        while let Some(list) = next {
            let (routes, above) = lists.routes(list);
            scan(routes, best, accepts);
            next = above.filter(|above| lists.lowest_of(*above) < *best);
        }
    }
}

/// A route in a list, and whether it takes whatever reaches it.
#[derive(Clone, Copy)]
struct Entry {
    route: u32,
    last: bool,
}

#[derive(Default)]
struct Sources {
    exact: BTreeMap<Box<[u8]>, Vec<Entry>>,
    prefix: BTreeMap<Box<[u8]>, Vec<Entry>>,
}

impl Sources {
    fn add(&mut self, path: &PathMatcher, entry: Entry, key: impl Fn(&[u8]) -> Box<[u8]>) {
        match path {
            PathMatcher::Prefix(text) => {
                let text = key(effective_prefix(text).as_bytes());
                self.prefix.entry(text).or_default().push(entry);
            }
            PathMatcher::Path(text) => {
                self.exact.entry(key(text.as_bytes())).or_default().push(entry);
            }
            PathMatcher::PathSeparatedPrefix(text) => {
                let inner = [text.as_bytes(), b"/"].concat();
                self.exact.entry(key(text.as_bytes())).or_default().push(entry);
                self.prefix.entry(key(&inner)).or_default().push(entry);
            }
            PathMatcher::Regex(_) => {}
        }
    }

    fn build(self, lists: &mut Lists) -> Patterns {
        let lengths = self.exact.keys().chain(self.prefix.keys()).map(|text| text.len());
        let longest = lengths.max().unwrap_or(0);
        let prefixed = self.prefix.values().flatten().map(|entry| entry.route);
        let lowest_prefix = prefixed.min().unwrap_or(u32::MAX);
        let exact = self.exact.into_iter().map(|(text, own)| (text, lists.add(None, &own)));
        let exact = exact.collect();
        let prefixes = self.prefix.into_iter().collect();
        let prefix = PrefixMap::build(Side::Start, prefixes, |above, own: Vec<Entry>| {
            lists.add(above, &own)
        });
        Patterns { exact, prefix, lowest_prefix, longest }
    }
}

/// All lists of routes, end to end.
#[derive(Clone, Debug, Default)]
struct Lists {
    routes: Vec<u32>,
    lists: Vec<List>,
}

#[derive(Clone, Copy, Debug)]
struct List {
    start: u32,
    end: u32,
    /// Where the routes of the prefixes above go on.
    above: Option<u32>,
    /// The lowest route of this list and those above it.
    lowest: u32,
    /// The lowest route of this list and those above it that takes whatever reaches it: nothing
    /// beyond it matters.
    bound: u32,
}

impl Lists {
    #[inline]
    fn routes(&self, list: u32) -> (&[u32], Option<u32>) {
        let list = &self.lists[list as usize];
        (&self.routes[list.start as usize..list.end as usize], list.above)
    }

    #[inline]
    fn lowest_of(&self, list: u32) -> u32 {
        self.lists[list as usize].lowest
    }

    /// Adds the list of a pattern with the routes `own`, ascending, below the list `above`.
    fn add(&mut self, above: Option<u32>, own: &[Entry]) -> u32 {
        let outer = above.map(|above| self.lists[above as usize]);
        let own_bound = own.iter().find(|entry| entry.last).map_or(u32::MAX, |entry| entry.route);
        let bound = own_bound.min(outer.map_or(u32::MAX, |outer| outer.bound));
        let mut routes: Vec<u32> =
            own.iter().map(|entry| entry.route).filter(|route| *route <= bound).collect();
        if routes.is_empty()
            && let Some(above) = above
        {
            return above;
        }
        let mut above = above.filter(|above| self.lowest_of(*above) <= bound);
        if let (Some(list), Some(outer)) = (above, outer)
            && (outer.end - outer.start) as usize + routes.len() <= CHUNK
        {
            let inherited = self.routes(list).0.iter().filter(|route| **route <= bound);
            routes.extend(inherited);
            routes.sort_unstable();
            above = outer.above.filter(|above| self.lowest_of(*above) <= bound);
        }
        let start = self.routes.len() as u32;
        let first = routes.first().copied().unwrap_or(u32::MAX);
        self.routes.append(&mut routes);
        self.lists.push(List {
            start,
            end: self.routes.len() as u32,
            above,
            lowest: first.min(above.map_or(u32::MAX, |above| self.lowest_of(above))),
            bound,
        });
        self.lists.len() as u32 - 1
    }
}

#[cfg(test)]
mod tests;
