//! Which policies could match a peer and a path.
//!
//! Most policies name whom they are for, or what. A policy that can only match certain principals is
//! filed under each of them, one that can only match certain paths under each of those; the rest are
//! always looked at. What is left for a request are three or so sorted lists, which are merged, so that
//! policies still come in the order of their names.
//!
//! A policy that could be filed both ways is filed where fewer others are.

use super::rule::{Rule, Sight};
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// A policy that names more principals or paths than this is not filed under them.
const MAX_KEYS: usize = 1024;

type Lists = HashMap<Arc<str>, Vec<u32>>;

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_principal: Lists,
    by_path: Lists,
    rest: Vec<u32>,
}

impl Index {
    /// Files policies, given as permissions and principals.
    pub(super) fn new<'r>(policies: impl Iterator<Item = (&'r Rule, &'r Rule)> + Clone) -> Self {
        let keys = policies.map(|(permissions, principals)| {
            let names =
                keys(principals, principal_key).or_else(|| keys(permissions, principal_key));
            let paths = keys(permissions, path_key).or_else(|| keys(principals, path_key));
            (names, paths)
        });
        let keys: Vec<(Option<Vec<_>>, Option<Vec<_>>)> = keys.collect();
        let mut all = Self::default();
        for (at, (names, paths)) in (0..).zip(&keys) {
            file(&mut all.by_principal, names.iter().flatten(), at);
            file(&mut all.by_path, paths.iter().flatten(), at);
        }
        let crowd = |lists: &Lists, keys: &[Arc<str>]| {
            keys.iter().filter_map(|key| lists.get(key)).map(Vec::len).max().unwrap_or(0)
        };
        let mut index = Self::default();
        for (at, (names, paths)) in (0..).zip(&keys) {
            match (names, paths) {
                (None, None) => index.rest.push(at),
                (Some(names), Some(paths))
                    if crowd(&all.by_path, paths) < crowd(&all.by_principal, names) =>
                {
                    file(&mut index.by_path, paths.iter(), at);
                }
                (Some(names), _) => file(&mut index.by_principal, names.iter(), at),
                (None, Some(paths)) => file(&mut index.by_path, paths.iter(), at),
            }
        }
        index
    }

    /// The policies that could match, in their order.
    pub(super) fn candidates<'i>(&'i self, sight: &Sight<'_>) -> Candidates<'i> {
        let mut lists: SmallVec<[&[u32]; 4]> = SmallVec::new();
        lists.push(&self.rest);
        if !self.by_principal.is_empty() {
            let names = sight.peer().principals();
            lists.extend(names.filter_map(|name| self.by_principal.get(name)).map(Vec::as_slice));
        }
        if !self.by_path.is_empty() {
            let found = sight.path.and_then(|path| self.by_path.get(path));
            lists.extend(found.map(Vec::as_slice));
        }
        lists.retain(|list| !list.is_empty());
        Candidates { lists }
    }
}

/// Sorted lists, merged.
pub(super) struct Candidates<'i> {
    lists: SmallVec<[&'i [u32]; 4]>,
}

impl Iterator for Candidates<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        if let [list] = &mut *self.lists {
            let (first, rest) = list.split_first()?;
            *list = rest;
            return usize::try_from(*first).ok();
        }
        let next = self.lists.iter().filter_map(|list| list.first()).min().copied()?;
        for list in &mut self.lists {
            if list.first() == Some(&next) {
                *list = &list[1..];
            }
        }
        usize::try_from(next).ok()
    }
}

fn file<'k>(lists: &mut Lists, keys: impl Iterator<Item = &'k Arc<str>>, at: u32) {
    for key in keys {
        lists.entry(key.clone()).or_default().push(at);
    }
}

/// The texts of which a condition needs one to hold; `None`: it may hold without.
fn keys(rule: &Rule, of: fn(&Rule) -> Option<&[Arc<str>]>) -> Option<Vec<Arc<str>>> {
    let found = match rule {
        Rule::All(rules) => {
            let each = rules.iter().filter_map(|rule| keys(rule, of));
            each.min_by_key(Vec::len)?
        }
        Rule::AnyOf(rules) => {
            let each: Option<Vec<_>> = rules.iter().map(|rule| keys(rule, of)).collect();
            let mut all = each?.concat();
            all.sort_unstable();
            all.dedup();
            all
        }
        rule => of(rule)?.to_vec(),
    };
    (found.len() <= MAX_KEYS).then_some(found)
}

fn principal_key(rule: &Rule) -> Option<&[Arc<str>]> {
    match rule {
        Rule::PrincipalIn(names) => Some(names.all()),
        // A peer with a URI name has all of them as principals.
        Rule::San { uri: Some(uri), .. } => Some(std::slice::from_ref(uri)),
        _ => None,
    }
}

fn path_key(rule: &Rule) -> Option<&[Arc<str>]> {
    match rule {
        Rule::PathIn(paths) => Some(paths.all()),
        _ => None,
    }
}
