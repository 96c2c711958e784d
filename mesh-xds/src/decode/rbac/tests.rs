//! What is read of RBAC filters, what is refused, and istiod's listener.

mod cel;
mod fields;
mod istiod;
mod refused;
mod round_trip;

use super::*;
use envoy_types::pb::envoy::config::rbac::v3::{
    Permission as PbPermission, Principal as PbPrincipal,
};
use pb::permission::Rule;
use pb::principal::Identifier;

/// A filter with a policy `p` that allows anybody anything.
fn base() -> pb_http::Rbac {
    pb_http::Rbac { rules: Some(of(any_rule(), any_id())), ..Default::default() }
}

fn of(rule: Rule, identifier: Identifier) -> pb::Rbac {
    let policy = pb::Policy {
        permissions: vec![PbPermission { rule: Some(rule) }],
        principals: vec![PbPrincipal { identifier: Some(identifier) }],
        ..Default::default()
    };
    pb::Rbac { policies: [("p".to_owned(), policy)].into(), ..Default::default() }
}

const fn any_rule() -> Rule {
    Rule::Any(true)
}

const fn any_id() -> Identifier {
    Identifier::Any(true)
}

/// Errors as `! PATH: MESSAGE`, what is ignored as `~ PATH`.
fn report<T>(decoded: &DecodedFilter<T>) -> Vec<String> {
    let errors = decoded.config.as_ref().err().into_iter().flatten();
    let errors = errors.map(|error| format!("! {error}"));
    errors.chain(decoded.ignored.iter().map(|ignored| format!("~ {}", ignored.path))).collect()
}

/// Checks a report: each line begins with the path and has the words.
#[track_caller]
fn check_report(found: &[String], expected: &[&str]) {
    let fits = |found: &String, expected: &&str| {
        let (path, words) = expected.split_once(": ").unwrap_or((expected, ""));
        found.starts_with(path) && found.contains(words)
    };
    let all = found.len() == expected.len() && found.iter().zip(expected).all(|(f, e)| fits(f, e));
    assert!(all, "{found:#?} is not {expected:#?}");
}
