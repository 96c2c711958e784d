//! Edits of headers, by level.
//!
//! Levels apply from the most specific to the least (split, route, virtual host, route
//! configuration), so that the least specific has the last word (Envoy's default,
//! `most_specific_header_mutations_wins: false`); within a level removals come before additions.

use super::compile::{CompileErrorKind, Scope};
use crate::model::{AppendAction, HeaderMutation, HeaderMutations};
use http::{HeaderMap, header};
use std::sync::Arc;

/// The edits of one level, removals first. Shared by all routes below the level.
#[derive(Clone, Debug)]
pub(super) struct Level {
    request: Arc<[HeaderMutation]>,
    response: Arc<[HeaderMutation]>,
}

impl Level {
    pub(super) fn compile(edits: &HeaderMutations, field: &str, scope: &mut Scope<'_>) -> Self {
        for (list, edits) in [("request", &edits.request), ("response", &edits.response)] {
            for (at, edit) in edits.iter().enumerate() {
                let kind = if list == "request" && *edit.name() == header::HOST {
                    CompileErrorKind::HostHeader
                } else if edit.breaks_framing() {
                    CompileErrorKind::FramingHeader(edit.name().clone())
                } else {
                    continue;
                };
                scope.report(format_args!("{field}.{list}[{at}]"), kind);
            }
        }
        Self { request: removals_first(&edits.request), response: removals_first(&edits.response) }
    }
}

/// All edits of a route.
#[derive(Clone, Debug)]
pub(super) struct RouteEdits {
    request: Edits,
    response: Edits,
}

#[derive(Clone, Debug)]
struct Edits {
    /// By part of the split; empty when none has any.
    split: Box<[Arc<[HeaderMutation]>]>,
    /// The other levels that have any, most specific first.
    levels: Box<[Arc<[HeaderMutation]>]>,
}

impl RouteEdits {
    /// `levels` are most specific first, without the split's.
    pub(super) fn new(split: &[Level], levels: &[&Level]) -> Self {
        let edits = |list: fn(&Level) -> &Arc<[HeaderMutation]>| {
            let any = split.iter().any(|level| !list(level).is_empty());
            let split = if any {
                split.iter().map(|level| list(level).clone()).collect()
            } else {
                Box::default()
            };
            let levels = levels.iter().map(|level| list(level)).filter(|edits| !edits.is_empty());
            Edits { split, levels: levels.cloned().collect() }
        };
        Self { request: edits(|level| &level.request), response: edits(|level| &level.response) }
    }

    pub(super) fn request(&self, split: Option<usize>) -> impl Iterator<Item = &HeaderMutation> {
        self.request.of(split)
    }

    pub(super) fn response(&self, split: Option<usize>) -> impl Iterator<Item = &HeaderMutation> {
        self.response.of(split)
    }
}

impl Edits {
    fn of(&self, split: Option<usize>) -> impl Iterator<Item = &HeaderMutation> {
        let split = split.and_then(|split| self.split.get(split));
        split.into_iter().chain(&self.levels).flat_map(|edits| edits.iter())
    }
}

/// Makes one edit.
pub(crate) fn apply(edit: &HeaderMutation, headers: &mut HeaderMap) {
    match edit {
        HeaderMutation::Remove(name) => drop(headers.remove(name)),
        HeaderMutation::Append { name, value, action } => {
            let exists = || headers.contains_key(name);
            let (add, replace) = match action {
                AppendAction::AppendIfExistsOrAdd => (true, false),
                AppendAction::AddIfAbsent => (!exists(), false),
                AppendAction::OverwriteIfExistsOrAdd => (true, true),
                AppendAction::OverwriteIfExists => (exists(), true),
            };
            if add && replace {
                headers.insert(name, value.clone());
            } else if add {
                headers.append(name, value.clone());
            }
        }
    }
}

fn removals_first(edits: &[HeaderMutation]) -> Arc<[HeaderMutation]> {
    let removal = |edit: &&HeaderMutation| matches!(edit, HeaderMutation::Remove(_));
    let removals = edits.iter().filter(removal);
    removals.chain(edits.iter().filter(|edit| !removal(edit))).cloned().collect()
}

#[cfg(test)]
mod tests;
