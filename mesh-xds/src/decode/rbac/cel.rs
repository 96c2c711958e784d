//! Conditions in CEL: `google.api.expr.v1alpha1` → [`Condition`].
//!
//! `checked_condition` is read like `condition`, with what the type checker found out about its names
//! (`reference_map`); its types are not needed. gRPC refuses both (gRFC A41).

use super::{Layer, Walk};
use envoy_types::pb::envoy::config::rbac::v3::Policy as PbPolicy;
use envoy_types::pb::google::api::expr::v1alpha1 as pb;
use envoy_types::pb::google::protobuf::{Duration, Timestamp};
use mesh_core::WallTime;
use mesh_core::model::{CelComprehension, CelConstant, CelExpr, Condition};
use mesh_core::rbac::check_condition;
use pb::constant::ConstantKind;
use pb::expr::create_struct::entry::KeyKind;
use pb::expr::{Call, Comprehension, CreateList, CreateStruct, ExprKind, Select};
use std::collections::HashMap;

const NO_CONDITION: &str = "there is no condition that it could change";

/// The condition of a policy, if there is one; `None` after an error.
pub(super) fn condition(
    walk: &mut Walk,
    message: &PbPolicy,
    layer: Layer,
) -> Option<Option<Condition>> {
    let checked = message.checked_condition.as_ref();
    let (field, expr) = match (&message.condition, checked) {
        (None, None) => {
            walk.ignored(message.cel_config.is_some(), "cel_config", NO_CONDITION);
            return Some(None);
        }
        (Some(_), Some(_)) => {
            walk.error_at("checked_condition", "set it or `condition`, not both");
            return None;
        }
        (Some(expr), None) => ("condition", Some(expr)),
        (None, Some(checked)) => ("checked_condition", checked.expr.as_ref()),
    };
    let Some(expr) = expr else {
        walk.error_at("checked_condition.expr", "it is missing");
        return None;
    };
    let reader = Reader { references: checked.map(|checked| &checked.reference_map) };
    walk.at(field, |walk| {
        let mut condition = Condition::new(match checked {
            Some(_) => walk.at("expr", |walk| reader.expr(walk, expr))?,
            None => reader.expr(walk, expr)?,
        });
        if let Some(config) = &message.cel_config {
            condition.string_conversion = config.enable_string_conversion;
            condition.string_concat = config.enable_string_concat;
            condition.string_functions = config.enable_string_functions;
        }
        match check_condition(&condition, layer == Layer::Http) {
            Ok(()) => Some(Some(condition)),
            Err(error) => {
                walk.error(error);
                None
            }
        }
    })
}

/// What a type checker found out about names, by the expression that has them.
#[derive(Clone, Copy)]
struct Reader<'m> {
    references: Option<&'m HashMap<i64, pb::Reference>>,
}

impl Reader<'_> {
    /// An expression that has to be there.
    fn needed(self, walk: &mut Walk, field: &str, message: Option<&pb::Expr>) -> Option<CelExpr> {
        let Some(message) = message else {
            walk.error_at(field, "it is missing");
            return None;
        };
        walk.at(field, |walk| self.expr(walk, message))
    }

    fn list(self, walk: &mut Walk, field: &str, messages: &[pb::Expr]) -> Option<Vec<CelExpr>> {
        let mut found = Vec::with_capacity(messages.len());
        for (at, message) in messages.iter().enumerate() {
            found.extend(walk.at(format_args!("{field}[{at}]"), |walk| self.expr(walk, message)));
        }
        (found.len() == messages.len()).then_some(found)
    }

    fn expr(self, walk: &mut Walk, message: &pb::Expr) -> Option<CelExpr> {
        let Some(kind) = &message.expr_kind else {
            walk.error("there is no kind of expression that is known here");
            return None;
        };
        let reference = self.references.and_then(|references| references.get(&message.id));
        if let Some(reference) = reference
            && matches!(kind, ExprKind::IdentExpr(_) | ExprKind::SelectExpr(_))
        {
            // The name of an enumeration's value, or `a.b` that was written within `a`.
            if let Some(value) = &reference.value {
                return constant(walk, value);
            }
            if !reference.name.is_empty() {
                return qualified(&reference.name);
            }
        }
        Some(match kind {
            ExprKind::ConstExpr(message) => {
                walk.at("const_expr", |walk| constant(walk, message))?
            }
            ExprKind::IdentExpr(message) => CelExpr::ident(&*message.name),
            ExprKind::SelectExpr(message) => {
                walk.at("select_expr", |walk| self.select(walk, message))?
            }
            ExprKind::CallExpr(message) => walk.at("call_expr", |walk| self.call(walk, message))?,
            ExprKind::ListExpr(message) => {
                walk.at("list_expr", |walk| self.elements(walk, message))?
            }
            ExprKind::StructExpr(message) => {
                walk.at("struct_expr", |walk| self.map(walk, message))?
            }
            ExprKind::ComprehensionExpr(message) => {
                walk.at("comprehension_expr", |walk| self.comprehension(walk, message))?
            }
        })
    }

    fn select(self, walk: &mut Walk, message: &Select) -> Option<CelExpr> {
        let operand = Box::new(self.needed(walk, "operand", message.operand.as_deref())?);
        let (field, test_only) = (message.field.as_str().into(), message.test_only);
        Some(CelExpr::Select { operand, field, test_only })
    }

    fn call(self, walk: &mut Walk, message: &Call) -> Option<CelExpr> {
        let target = match message.target.as_deref() {
            Some(target) => walk.at("target", |walk| self.expr(walk, target)).map(Some),
            None => Some(None),
        };
        let args = self.list(walk, "args", &message.args);
        let function = message.function.as_str().into();
        Some(CelExpr::Call { target: target?.map(Box::new), function, args: args? })
    }

    fn elements(self, walk: &mut Walk, message: &CreateList) -> Option<CelExpr> {
        if !message.optional_indices.is_empty() {
            walk.error_at("optional_indices", "there are no optional values here");
            return None;
        }
        self.list(walk, "elements", &message.elements).map(CelExpr::List)
    }

    fn map(self, walk: &mut Walk, message: &CreateStruct) -> Option<CelExpr> {
        if !message.message_name.is_empty() {
            let name = message.message_name.escape_debug();
            walk.error_at(
                "message_name",
                format_args!("messages (`{name}`) are not made here: use a map, `{{'k': x}}`"),
            );
            return None;
        }
        let mut entries = Vec::with_capacity(message.entries.len());
        for (at, entry) in message.entries.iter().enumerate() {
            entries.extend(walk.at(format_args!("entries[{at}]"), |walk| {
                if entry.optional_entry {
                    walk.error_at("optional_entry", "there are no optional values here");
                    return None;
                }
                let Some(KeyKind::MapKey(key)) = &entry.key_kind else {
                    walk.error("it has no `map_key`");
                    return None;
                };
                let key = walk.at("map_key", |walk| self.expr(walk, key));
                let value = self.needed(walk, "value", entry.value.as_ref());
                key.zip(value)
            }));
        }
        (entries.len() == message.entries.len()).then_some(CelExpr::Map(entries))
    }

    fn comprehension(self, walk: &mut Walk, message: &Comprehension) -> Option<CelExpr> {
        if !message.iter_var2.is_empty() {
            walk.error_at("iter_var2", "loops have one variable here");
            return None;
        }
        let iter_range = self.needed(walk, "iter_range", message.iter_range.as_deref());
        let accu_init = self.needed(walk, "accu_init", message.accu_init.as_deref());
        let loop_condition = self.needed(walk, "loop_condition", message.loop_condition.as_deref());
        let loop_step = self.needed(walk, "loop_step", message.loop_step.as_deref());
        let result = self.needed(walk, "result", message.result.as_deref());
        Some(CelExpr::Comprehension(Box::new(CelComprehension {
            iter_var: message.iter_var.as_str().into(),
            iter_range: iter_range?,
            accu_var: message.accu_var.as_str().into(),
            accu_init: accu_init?,
            loop_condition: loop_condition?,
            loop_step: loop_step?,
            result: result?,
        })))
    }
}

/// `a.b.c`, which is one name for a type checker, as it would be written.
fn qualified(name: &str) -> Option<CelExpr> {
    let mut names = name.trim_start_matches('.').split('.');
    let root = CelExpr::ident(names.next()?);
    Some(names.fold(root, CelExpr::select))
}

#[expect(deprecated, reason = "old parsers still send them")]
fn constant(walk: &mut Walk, message: &pb::Constant) -> Option<CelExpr> {
    let Some(kind) = &message.constant_kind else {
        walk.error("there is no kind of constant that is known here");
        return None;
    };
    Some(CelExpr::Const(match kind {
        ConstantKind::NullValue(_) => CelConstant::Null,
        ConstantKind::BoolValue(flag) => CelConstant::Bool(*flag),
        ConstantKind::Int64Value(number) => CelConstant::Int(*number),
        ConstantKind::Uint64Value(number) => CelConstant::Uint(*number),
        ConstantKind::DoubleValue(number) => CelConstant::Double(*number),
        ConstantKind::StringValue(text) => CelConstant::Text(text.as_str().into()),
        ConstantKind::BytesValue(bytes) => CelConstant::Bytes(bytes.as_slice().into()),
        ConstantKind::DurationValue(span) => return duration(walk, *span),
        ConstantKind::TimestampValue(date) => return timestamp(walk, *date),
    }))
}

/// As today's parsers write it: `duration('1.5s')`.
fn duration(walk: &mut Walk, span: Duration) -> Option<CelExpr> {
    let (seconds, nanos) = (span.seconds, span.nanos);
    if nanos.unsigned_abs() > 999_999_999
        || (seconds > 0 && nanos < 0)
        || (seconds < 0 && nanos > 0)
    {
        walk.error_at(
            "duration_value",
            "seconds and nanos go the same way, and these are below 1e9",
        );
        return None;
    }
    let sign = if seconds < 0 || nanos < 0 { "-" } else { "" };
    let text = format!("{sign}{}.{:09}s", seconds.unsigned_abs(), nanos.unsigned_abs());
    Some(CelExpr::call("duration", vec![CelExpr::text(text)]))
}

/// As today's parsers write it: `timestamp('2026-12-31T00:00:00Z')`.
fn timestamp(walk: &mut Walk, date: Timestamp) -> Option<CelExpr> {
    const YEAR_10000: u64 = 253_402_300_800;
    let seconds = u64::try_from(date.seconds).ok().filter(|seconds| *seconds < YEAR_10000);
    let Some(seconds) = seconds.filter(|_| (0..1_000_000_000).contains(&date.nanos)) else {
        walk.error_at("timestamp_value", "it is no date from 1970 to 9999");
        return None;
    };
    let whole = WallTime::from_unix_seconds(seconds).to_string();
    let text = format!("{}.{:09}Z", whole.trim_end_matches('Z'), date.nanos);
    Some(CelExpr::call("timestamp", vec![CelExpr::text(text)]))
}
