//! Conditions that no request can fulfil.

use crate::config::virtual_host::RouteSite;
use crate::config::{code, reader::Reader};
use crate::model::matcher::{HeaderMatcherKind, StringPattern};
use crate::model::{HeaderMatcher, StringMatcher};
use hashbrown::HashMap;
use http::HeaderName;
use std::sync::Arc;

pub(super) fn check(reader: &mut Reader<'_>, site: &RouteSite<'_>) {
    let matcher = &site.route.matcher;
    let mut headers: HashMap<&HeaderName, Wanted<'_>> = HashMap::new();
    for header in &matcher.headers {
        let Some(wanted) = wanted_header(header) else { continue };
        if let Some(why) = contradiction(headers.get(&header.name), wanted) {
            return report(reader, site, ("headers", header.name.as_str()), &why);
        }
        headers.insert(&header.name, wanted);
    }
    let mut parameters: HashMap<&str, Wanted<'_>> = HashMap::new();
    for parameter in &matcher.query_parameters {
        let Some(wanted) = parameter.value.as_ref().and_then(exact) else { continue };
        if let Some(why) = contradiction(parameters.get(&*parameter.name), wanted) {
            return report(reader, site, ("query", &parameter.name), &why);
        }
        parameters.insert(&parameter.name, wanted);
    }
}

/// What one condition leaves of a value.
#[derive(Clone, Copy)]
enum Wanted<'m> {
    Absent,
    Exactly(&'m Arc<str>),
}

fn wanted_header(matcher: &HeaderMatcher) -> Option<Wanted<'_>> {
    match &matcher.kind {
        HeaderMatcherKind::Present(present) => {
            (*present == matcher.invert).then_some(Wanted::Absent)
        }
        HeaderMatcherKind::String(string) if !matcher.invert => exact(string),
        HeaderMatcherKind::String(_) | HeaderMatcherKind::Range(_) => None,
    }
}

fn exact(matcher: &StringMatcher) -> Option<Wanted<'_>> {
    match &matcher.pattern {
        StringPattern::Exact(text) if !matcher.ignore_case => Some(Wanted::Exactly(text)),
        _ => None,
    }
}

/// Why a value that is as the first condition wants it can't be as the second does.
fn contradiction(first: Option<&Wanted<'_>>, second: Wanted<'_>) -> Option<String> {
    match (*first?, second) {
        (Wanted::Exactly(first), Wanted::Exactly(second)) if first != second => {
            Some(format!("it is not `{first}` and `{second}` at once"))
        }
        (Wanted::Absent, Wanted::Exactly(text)) | (Wanted::Exactly(text), Wanted::Absent) => {
            Some(format!("it is not `{text}` and absent at once"))
        }
        (Wanted::Absent, Wanted::Absent) | (Wanted::Exactly(_), Wanted::Exactly(_)) => None,
    }
}

fn report(reader: &mut Reader<'_>, site: &RouteSite<'_>, (list, name): (&str, &str), why: &str) {
    let conditions = site.node.get("match").and_then(|entry| entry.value.get(list));
    let span = conditions.map_or(site.node.span, |entry| entry.value.span);
    let message = format!("no request matches: all conditions on `{name}` must hold, and {why}");
    reader
        .report
        .add(code::CONTRADICTING_MATCH, span, message)
        .suggest("for any of several values, use `regex: \"a|b\"`");
}
