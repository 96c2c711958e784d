//! Which policies could match a peer and a path.
//!
//! Most policies name whom they are for, or what. A policy that can only match certain principals is
//! filed under each of them, one that can only match certain paths under each of those; the beginning of
//! a name will do. One that can only match certain addresses is filed under those (`blocks.rs`). The rest
//! are always looked at. What is left for a request are a few sorted lists,
//! which are merged, so that policies still come in the order of their names.
//!
//! A policy that could be filed in several ways is filed where fewer others are.

mod blocks;

use super::ip_set::IpSet;
use super::rule::{Origin, Rule, Sight};
use blocks::Blocks;
use hashbrown::HashMap;
use smallvec::SmallVec;
use std::sync::Arc;

/// A policy that names more principals or paths than this is not filed under them.
const MAX_KEYS: usize = 1024;
/// Beginnings of names are looked up by their length, so there are few lengths, or none is filed.
const MAX_LENGTHS: usize = 16;

/// What a name has to be for a policy to match.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Key {
    Exact(Arc<str>),
    Prefix(Arc<str>),
}

type Lists = HashMap<Arc<str>, Vec<u32>>;

/// The policies by one kind of names.
#[derive(Clone, Debug, Default)]
struct Table {
    exact: Lists,
    prefixes: Lists,
    /// The lengths of the prefixes, sorted.
    lengths: Vec<usize>,
}

/// Where a policy is filed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Name,
    Path,
    /// Of the origin at this place of [`Origin::ALL`].
    Address(usize),
}

#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    by_principal: Table,
    by_path: Table,
    /// By the addresses of each origin; `None`: none is filed there.
    by_address: Option<Box<[(Origin, Blocks)]>>,
    rest: Vec<u32>,
}

impl Index {
    /// Files policies, given as permissions and principals. Both may ask for paths.
    pub(super) fn new<'r>(policies: impl Iterator<Item = (&'r Rule, &'r Rule)>) -> Self {
        let (mut names, mut paths) = (Vec::new(), Vec::new());
        let mut addresses = [const { Vec::new() }; 3];
        for (permissions, principals) in policies {
            names.push(keys(principals, principal_keys));
            paths.push(keys(permissions, path_keys).or_else(|| keys(principals, path_keys)));
            for (sets, origin) in addresses.iter_mut().zip(Origin::ALL) {
                sets.push(blocks_of(principals, origin));
            }
        }
        let all_names = Table::new(&mut names);
        let all_paths = Table::new(&mut paths);
        let all_addresses = addresses.each_ref().map(|sets| blocks(sets, |_| true));
        let mut index = Self::default();
        let mut places = Vec::with_capacity(names.len());
        for (at, (names, paths)) in names.iter().zip(&paths).enumerate() {
            let by_name = names.as_ref().map(|keys| (all_names.crowd(keys), Place::Name));
            let by_path = paths.as_ref().map(|keys| (all_paths.crowd(keys), Place::Path));
            let by_address = addresses.iter().zip(&all_addresses).enumerate();
            let by_address = by_address.filter_map(|(origin, (sets, all))| {
                Some((all.as_ref()?.crowd(sets[at].as_ref()?), Place::Address(origin)))
            });
            let ways = by_name.into_iter().chain(by_path).chain(by_address);
            let best = ways.min_by_key(|(crowd, _)| *crowd);
            places.push(best.map(|(_, place)| place));
        }
        for (at, place) in (0..).zip(&places) {
            let keys = |keys: &[Option<Vec<Key>>]| keys[at as usize].clone().unwrap_or_default();
            match place {
                None => index.rest.push(at),
                Some(Place::Name) => index.by_principal.file(&keys(&names), at),
                Some(Place::Path) => index.by_path.file(&keys(&paths), at),
                Some(Place::Address(_)) => {}
            }
        }
        let by_address = addresses.iter().zip(Origin::ALL).enumerate();
        let by_address = by_address.map(|(at, (sets, origin))| {
            let here = |policy: usize| places[policy] == Some(Place::Address(at));
            // Fewer than before, which were not too many.
            (origin, blocks(sets, here).unwrap_or_default())
        });
        let by_address = by_address.filter(|(_, blocks)| !blocks.is_empty());
        let by_address: Box<[_]> = by_address.collect();
        index.by_address = Some(by_address).filter(|filed| !filed.is_empty());
        index
    }

    /// Adds the policies that could match to `found`, which then has them in their order.
    pub(super) fn find<'i>(&'i self, sight: &Sight<'_>, found: &mut Candidates<'i>) {
        let lists = &mut found.lists;
        push(lists, Some(&self.rest));
        if !self.by_principal.is_empty() {
            for name in sight.peer().principals() {
                self.by_principal.find(name, lists);
            }
        }
        if let Some(path) = sight.path.filter(|_| !self.by_path.is_empty()) {
            self.by_path.find(path, lists);
        }
        for (origin, blocks) in self.by_address.iter().flatten() {
            if let Some(address) = sight.origin(*origin) {
                push(lists, blocks.find(address.ip()));
            }
        }
    }
}

impl Table {
    /// Files all policies. When there are too many lengths, those with prefixes lose their keys.
    fn new(policies: &mut [Option<Vec<Key>>]) -> Self {
        let prefixes = policies.iter().flatten().flatten().filter_map(|key| match key {
            Key::Prefix(text) => Some(text.len()),
            Key::Exact(_) => None,
        });
        let mut lengths: Vec<usize> = prefixes.collect();
        lengths.sort_unstable();
        lengths.dedup();
        let is_exact = |key: &Key| matches!(key, Key::Exact(_));
        let mut table = Self::default();
        for (at, keys) in (0..).zip(policies) {
            if lengths.len() > MAX_LENGTHS {
                *keys = keys.take().filter(|keys| keys.iter().all(is_exact));
            }
            table.file(keys.as_deref().unwrap_or_default(), at);
        }
        table
    }

    fn file(&mut self, keys: &[Key], at: u32) {
        for key in keys {
            match key {
                Key::Exact(text) => self.exact.entry(text.clone()).or_default().push(at),
                Key::Prefix(text) => {
                    self.prefixes.entry(text.clone()).or_default().push(at);
                    if let Err(place) = self.lengths.binary_search(&text.len()) {
                        self.lengths.insert(place, text.len());
                    }
                }
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.exact.is_empty() && self.prefixes.is_empty()
    }

    /// How many policies there are at most under one of `keys`.
    fn crowd(&self, keys: &[Key]) -> usize {
        let lists = keys.iter().filter_map(|key| match key {
            Key::Exact(text) => self.exact.get(text),
            Key::Prefix(text) => self.prefixes.get(text),
        });
        lists.map(Vec::len).max().unwrap_or(0)
    }

    fn find<'i>(&'i self, name: &str, lists: &mut Found<'i>) {
        push(lists, self.exact.get(name));
        for length in self.lengths.iter().take_while(|length| **length <= name.len()) {
            push(lists, name.get(..*length).and_then(|start| self.prefixes.get(start)));
        }
    }
}

type Found<'i> = SmallVec<[&'i [u32]; 8]>;

fn push<'i>(lists: &mut Found<'i>, list: Option<&'i Vec<u32>>) {
    if let Some(list) = list.filter(|list| !list.is_empty()) {
        lists.push(list);
    }
}

/// Sorted lists, merged.
#[derive(Default)]
pub(super) struct Candidates<'i> {
    lists: Found<'i>,
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

/// The names of which a condition needs one to be there; `None`: it may hold without.
fn keys(rule: &Rule, of: fn(&Rule) -> Option<Vec<Key>>) -> Option<Vec<Key>> {
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
        rule => of(rule)?,
    };
    (found.len() <= MAX_KEYS).then_some(found)
}

fn exact(texts: &[Arc<str>]) -> Vec<Key> {
    texts.iter().cloned().map(Key::Exact).collect()
}

fn principal_keys(rule: &Rule) -> Option<Vec<Key>> {
    match rule {
        Rule::PrincipalIn(names) => Some(exact(names.all())),
        Rule::PrincipalPrefix(start) => Some(vec![Key::Prefix(start.clone())]),
        // A peer with a URI name has all of them as principals.
        Rule::San { uri: Some(uri), .. } => Some(vec![Key::Exact(uri.clone())]),
        _ => None,
    }
}

fn path_keys(rule: &Rule) -> Option<Vec<Key>> {
    match rule {
        Rule::PathIn(paths) => Some(exact(paths.all())),
        Rule::PathPrefix(start) => Some(vec![Key::Prefix(start.clone())]),
        _ => None,
    }
}

/// The addresses of which a condition needs one to be the origin's; `None`: it may hold without.
fn blocks_of(rule: &Rule, origin: Origin) -> Option<IpSet> {
    match rule {
        Rule::Source(of, blocks) if *of == origin => Some(blocks.clone()),
        Rule::All(rules) => {
            let each = rules.iter().filter_map(|rule| blocks_of(rule, origin));
            each.min_by_key(|blocks| blocks.v4().len() + blocks.v6().len())
        }
        Rule::AnyOf(rules) => {
            let each: Option<Vec<_>> = rules.iter().map(|rule| blocks_of(rule, origin)).collect();
            each.map(|each| IpSet::union(&each))
        }
        _ => None,
    }
}

/// Files those of `sets` that are there and that `filed` says; `None`: there would be too many pieces.
fn blocks(sets: &[Option<IpSet>], filed: impl Fn(usize) -> bool) -> Option<Blocks> {
    let sets = (0u32..).zip(sets);
    let sets =
        sets.filter_map(|(at, set)| Some((at, set.as_ref().filter(|_| filed(at as usize))?)));
    let sets: Vec<_> = sets.collect();
    Blocks::new(sets.iter().copied())
}
