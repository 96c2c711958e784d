//! Conditions in CEL: the way back of what [`decode::rbac`](crate::decode::rbac) reads.

use envoy_types::pb::envoy::config::core::v3::CelExpressionConfig;
use envoy_types::pb::google::api::expr::v1alpha1 as pb;
use mesh_core::model::{CelConstant, CelExpr, Condition};
use pb::constant::ConstantKind;
use pb::expr::create_struct::{Entry, entry::KeyKind};
use pb::expr::{Call, Comprehension, CreateList, CreateStruct, ExprKind, Ident, Select};

/// What a condition may do beyond comparing; `None`: nothing.
pub(super) fn config(model: &Condition) -> Option<CelExpressionConfig> {
    let config = CelExpressionConfig {
        enable_string_conversion: model.string_conversion,
        enable_string_concat: model.string_concat,
        enable_string_functions: model.string_functions,
    };
    (config != CelExpressionConfig::default()).then_some(config)
}

/// The expression; its parts are numbered, for each has an id of its own.
pub(super) fn expr(model: &CelExpr) -> pb::Expr {
    Writer { last: 0 }.expr(model)
}

struct Writer {
    last: i64,
}

impl Writer {
    const fn id(&mut self) -> i64 {
        self.last += 1;
        self.last
    }

    fn boxed(&mut self, model: &CelExpr) -> Option<Box<pb::Expr>> {
        Some(Box::new(self.expr(model)))
    }

    fn list(&mut self, models: &[CelExpr]) -> Vec<pb::Expr> {
        models.iter().map(|model| self.expr(model)).collect()
    }

    fn expr(&mut self, model: &CelExpr) -> pb::Expr {
        let id = self.id();
        let kind = match model {
            CelExpr::Const(model) => ExprKind::ConstExpr(constant(model)),
            CelExpr::Ident(name) => ExprKind::IdentExpr(Ident { name: name.to_string() }),
            CelExpr::Select { operand, field, test_only } => {
                ExprKind::SelectExpr(Box::new(Select {
                    operand: self.boxed(operand),
                    field: field.to_string(),
                    test_only: *test_only,
                }))
            }
            CelExpr::Call { target, function, args } => ExprKind::CallExpr(Box::new(Call {
                target: target.as_deref().and_then(|target| self.boxed(target)),
                function: function.to_string(),
                args: self.list(args),
            })),
            CelExpr::List(items) => ExprKind::ListExpr(CreateList {
                elements: self.list(items),
                optional_indices: Vec::new(),
            }),
            CelExpr::Map(entries) => {
                let entries = entries.iter().map(|(key, value)| Entry {
                    id: self.id(),
                    key_kind: Some(KeyKind::MapKey(self.expr(key))),
                    value: Some(self.expr(value)),
                    optional_entry: false,
                });
                let entries = entries.collect();
                ExprKind::StructExpr(CreateStruct { message_name: String::new(), entries })
            }
            CelExpr::Comprehension(model) => ExprKind::ComprehensionExpr(Box::new(Comprehension {
                iter_var: model.iter_var.to_string(),
                iter_var2: String::new(),
                iter_range: self.boxed(&model.iter_range),
                accu_var: model.accu_var.to_string(),
                accu_init: self.boxed(&model.accu_init),
                loop_condition: self.boxed(&model.loop_condition),
                loop_step: self.boxed(&model.loop_step),
                result: self.boxed(&model.result),
            })),
        };
        pb::Expr { id, expr_kind: Some(kind) }
    }
}

fn constant(model: &CelConstant) -> pb::Constant {
    let kind = match model {
        CelConstant::Null => ConstantKind::NullValue(0),
        CelConstant::Bool(flag) => ConstantKind::BoolValue(*flag),
        CelConstant::Int(number) => ConstantKind::Int64Value(*number),
        CelConstant::Uint(number) => ConstantKind::Uint64Value(*number),
        CelConstant::Double(number) => ConstantKind::DoubleValue(*number),
        CelConstant::Text(text) => ConstantKind::StringValue(text.to_string()),
        CelConstant::Bytes(bytes) => ConstantKind::BytesValue(bytes.to_vec()),
    };
    pb::Constant { constant_kind: Some(kind) }
}
