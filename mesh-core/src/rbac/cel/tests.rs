//! Conditions as text, a table of what they come to, what is refused, and what no condition does.

mod parser;
mod policies;
mod properties;
mod refused;
mod table;

use super::*;
use crate::rbac::tests::text::Scene;
use parser::parse;

/// A condition with everything switched on.
fn condition(text: &str) -> Condition {
    let mut condition = Condition::new(parse(text));
    condition.string_conversion = true;
    condition.string_concat = true;
    condition.string_functions = true;
    condition
}

/// What a condition comes to, as CEL writes it; a failure as `!Missing`.
fn shown(outcome: &Outcome<'_>) -> String {
    match outcome {
        Ok(value) => literal(value),
        Err(failure) => format!("!{failure:?}"),
    }
}

fn literal(value: &Value<'_>) -> String {
    let list = |items: Vec<String>| items.join(", ");
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => flag.to_string(),
        Value::Int(number) => number.to_string(),
        Value::Uint(number) => format!("{number}u"),
        Value::Double(number) => format!("{number:?}"),
        Value::Text(text) => format!("'{}'", &**text),
        Value::Bytes(bytes) => format!("b'{}'", bytes.escape_ascii()),
        Value::List(items) => {
            format!("[{}]", list(items.iter().map(|item| literal(&item)).collect()))
        }
        Value::Map(map) => {
            let entries = map.entries();
            let entries = entries.map(|(k, v)| format!("{}: {}", literal(&k), literal(&v)));
            format!("{{{}}}", list(entries.collect()))
        }
        Value::Timestamp(date) => date.date_text(),
        Value::Duration(span) => span.span_text(),
    }
}

/// What `condition` comes to of the request that `peer` and `request` say, and what it cost.
fn outcome(condition: &Condition, peer: &str, request: &str) -> (String, u32) {
    let program = Program::new(condition).unwrap();
    let mut found = (String::new(), 0);
    Scene::new(peer, request).show(|request| {
        let sight = Sight::new(request);
        let mut evaluation = Evaluation::new(Some(&sight));
        found.0 = shown(&evaluation.eval(&program.0));
        found.1 = MAX_COST - evaluation.left();
        let holds = program.holds(&sight, RbacAction::Allow);
        assert_eq!(holds, found.0 == "true", "an ALLOW policy: only what is true holds");
        let holds = program.holds(&sight, RbacAction::Deny);
        assert_eq!(holds, matches!(&*found.0, "true" | "!TooCostly"), "a DENY policy");
    });
    found
}
