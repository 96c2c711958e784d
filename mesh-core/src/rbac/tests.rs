//! Policies as text, a table of decisions, and an evaluator that works on the model itself.

mod denials;
mod naive;
mod properties;
mod refused;
mod table;
pub(super) mod text;

use super::*;
use crate::model::rbac::*;
use text::{Scene, rbac};

/// A decision in words: `allow POLICY`, `deny POLICY`, or without a policy when none matched.
fn words(verdict: Verdict<'_>) -> String {
    let word = if verdict.allowed { "allow" } else { "deny" };
    match verdict.policy {
        Some(policy) => format!("{word} {policy}"),
        None => word.to_owned(),
    }
}

/// Rules and a request in the words of [`text`]; the compiled rules and the naive evaluator decide
/// `expected`.
#[track_caller]
fn check(source: &str, rules: &str, peer: &str, request: &str, expected: &str) {
    let model = rbac(rules);
    let compiled = CompiledRbac::new(&model).unwrap();
    let scene = Scene::new(peer, request);
    scene.show(|request| {
        let place = format!("{source}: {rules} | {peer} | {request:?}");
        assert_eq!(words(compiled.evaluate(request)), expected, "{place}");
        let narrowed = compiled.narrow(request.connection).unwrap();
        let verdict = compiled.evaluate_narrowed(&narrowed, request);
        assert_eq!(words(verdict), expected, "narrowed: {place}");
        assert_eq!(
            naive::evaluate(&model, request),
            (
                expected.starts_with("allow"),
                expected.split_once(' ').map(|(_, policy)| policy.to_owned())
            ),
            "naive: {place}"
        );
    });
}
