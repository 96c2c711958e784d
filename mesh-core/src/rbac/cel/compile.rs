//! Model → [`Program`]: names to attributes and variables, patterns to automata, and what is constant to
//! its value.
//!
//! What is constant and an error stays as it is: the other side of an `||` may decide.

use super::attributes::{self, Attribute};
use super::eval::Evaluation;
use super::library::{self, Function};
use super::moment;
use super::value::{Held, Value};
use super::{ConditionError, Fold, MAX_COST, MAX_DEPTH, MAX_NODES, Node, Program};
use crate::model::{CelComprehension, CelConstant, CelExpr, Condition, RegexPattern};
use crate::router::CompiledRegex;
use std::sync::Arc;

/// Compiles a condition; without `http` it is about connections.
pub(super) fn compile(condition: &Condition, http: bool) -> Result<Program, ConditionError> {
    compile_within(condition, http, MAX_COST)
}

/// The same, with as much as `left` for what is constant.
pub(super) fn compile_within(
    condition: &Condition,
    http: bool,
    left: u32,
) -> Result<Program, ConditionError> {
    let mut compiler = Compiler { condition, http, scope: Vec::new(), depth: 0, nodes: 0, left };
    compiler.node(&condition.expr).map(Program)
}

struct Compiler<'m> {
    condition: &'m Condition,
    http: bool,
    /// The variables that are seen, by their places.
    scope: Vec<&'m str>,
    depth: usize,
    nodes: usize,
    /// What folding constants may still cost, of the whole condition.
    left: u32,
}

type Compiled = Result<Node, ConditionError>;

impl<'m> Compiler<'m> {
    fn node(&mut self, expr: &'m CelExpr) -> Compiled {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(ConditionError::TooLarge);
        }
        if self.depth >= MAX_DEPTH {
            return Err(ConditionError::TooDeep);
        }
        self.depth += 1;
        let found = self.kind(expr);
        self.depth -= 1;
        found
    }

    fn kind(&mut self, expr: &'m CelExpr) -> Compiled {
        if let Some(path) = self.path(expr) {
            return self.attribute(&path);
        }
        match expr {
            CelExpr::Const(constant) => Ok(Node::Const(literal(constant))),
            CelExpr::Ident(name) => self.variable(name),
            CelExpr::Select { operand, field, test_only: true } => self.has(operand, field),
            CelExpr::Select { operand, field, test_only: false } => {
                let operand = self.node(operand)?;
                let field = Node::Const(text(field));
                Ok(self.folded(Node::Call(Function::Index, Box::new([operand, field]))))
            }
            CelExpr::Call { target, function, args } => {
                self.call(target.as_deref(), function, args)
            }
            CelExpr::List(items) => {
                let items = self.nodes(items)?;
                Ok(self.folded(Node::List(items)))
            }
            CelExpr::Map(entries) => {
                let entries =
                    entries.iter().map(|(key, value)| Ok((self.node(key)?, self.node(value)?)));
                let entries = entries.collect::<Result<_, ConditionError>>()?;
                Ok(self.folded(Node::Map(entries)))
            }
            CelExpr::Comprehension(comprehension) => self.fold(comprehension),
        }
    }

    fn nodes(&mut self, exprs: &'m [CelExpr]) -> Result<Box<[Node]>, ConditionError> {
        exprs.iter().map(|expr| self.node(expr)).collect()
    }

    /// The names of `a.b['c']`, if it begins with a name that is no variable.
    fn path(&self, expr: &'m CelExpr) -> Option<Vec<&'m str>> {
        let (mut names, mut at) = (Vec::new(), expr);
        let root = loop {
            // Deeper than what is refused anyway.
            if names.len() > MAX_DEPTH {
                return None;
            }
            match at {
                CelExpr::Ident(name) => break name,
                CelExpr::Select { operand, field, test_only: false } => {
                    names.push(&**field);
                    at = operand;
                }
                CelExpr::Call { target: None, function, args } if &**function == "_[_]" => {
                    let [operand, CelExpr::Const(CelConstant::Text(key))] = &**args else {
                        return None;
                    };
                    names.push(&**key);
                    at = operand;
                }
                _ => return None,
            }
        };
        if self.place(root).is_some() {
            return None;
        }
        names.push(root);
        names.reverse();
        Some(names)
    }

    /// The variable of the innermost loop that calls one so.
    fn place(&self, name: &str) -> Option<usize> {
        self.scope.iter().rposition(|known| *known == name)
    }

    fn variable(&self, name: &str) -> Compiled {
        match self.place(name) {
            Some(place) => Ok(Node::Variable(place)),
            None => attributes::resolve(&[name]).and_then(|(found, _)| self.asked(found, name)),
        }
    }

    fn attribute(&mut self, path: &[&str]) -> Compiled {
        let (found, taken) = attributes::resolve(path)?;
        let mut node = self.asked(found, &path[..taken].join("."))?;
        if matches!(node, Node::Attribute(Attribute::Headers)) {
            return Err(ConditionError::Headers);
        }
        self.nodes += path.len();
        for name in &path[taken..] {
            node = Node::Call(Function::Index, Box::new([node, Node::Const(text(name))]));
        }
        Ok(node)
    }

    fn asked(&self, attribute: Attribute, name: &str) -> Compiled {
        if attribute.needs_http() && !self.http {
            return Err(ConditionError::NoHttp { name: name.into() });
        }
        Ok(Node::Attribute(attribute))
    }

    /// `has(operand.field)`.
    fn has(&mut self, operand: &'m CelExpr, field: &'m str) -> Compiled {
        if let Some(mut path) = self.path(operand) {
            path.push(field);
            let (found, taken) = attributes::resolve(&path)?;
            // Of `has(metadata.filter_metadata.f)` there is less: it asks a map, which is there.
            if taken == path.len() {
                let Node::Attribute(found) = self.asked(found, &path.join("."))? else {
                    return Err(ConditionError::Headers);
                };
                return Ok(Node::HasAttribute(found));
            }
        }
        let operand = self.node(operand)?;
        Ok(self.folded(Node::Has(Box::new(operand), text(field))))
    }

    fn call(
        &mut self,
        target: Option<&'m CelExpr>,
        name: &'m Arc<str>,
        args: &'m [CelExpr],
    ) -> Compiled {
        match (&**name, target, args) {
            ("_&&_", None, [one, other]) => {
                let both = [self.node(one)?, self.node(other)?];
                Ok(if both.iter().any(|node| is(node, false)) {
                    Node::Const(Value::Bool(false))
                } else {
                    self.folded(Node::And(Box::new(both)))
                })
            }
            ("_||_", None, [one, other]) => {
                let both = [self.node(one)?, self.node(other)?];
                Ok(if both.iter().any(|node| is(node, true)) {
                    Node::Const(Value::Bool(true))
                } else {
                    self.folded(Node::Or(Box::new(both)))
                })
            }
            ("_?_:_", None, [asked, yes, no]) => {
                let [asked, yes, no] = [self.node(asked)?, self.node(yes)?, self.node(no)?];
                Ok(match asked {
                    Node::Const(Value::Bool(true)) => yes,
                    Node::Const(Value::Bool(false)) => no,
                    asked => Node::If(Box::new([asked, yes, no])),
                })
            }
            ("matches", Some(subject), [pattern]) | ("matches", None, [subject, pattern]) => {
                self.matches(subject, pattern)
            }
            ("_&&_" | "_||_" | "_?_:_" | "matches", target, args) => {
                let (name, count, method) = (name.clone(), args.len(), target.is_some());
                Err(ConditionError::Arguments { name, count, method })
            }
            ("_[_]", None, [object, key]) if self.is_headers(object) => {
                self.asked(Attribute::Headers, "request.headers")?;
                Ok(Node::HeaderNamed(Box::new(self.node(key)?)))
            }
            ("@in" | "_in_" | "in", None, [key, object]) if self.is_headers(object) => {
                self.asked(Attribute::Headers, "request.headers")?;
                Ok(Node::HasHeaderNamed(Box::new(self.node(key)?)))
            }
            (_, target, args) => {
                let function =
                    library::function(name, target.is_some(), args.len(), self.condition)?;
                let all = target.into_iter().chain(args).map(|expr| self.node(expr));
                let all = all.collect::<Result<Box<[_]>, _>>()?;
                // It would be an error of each evaluation, and a DENY by it nobody's.
                if let (Function::Date(_), [_, Node::Const(Value::Text(zone))]) = (function, &*all)
                    && moment::zone_offset(zone).is_none()
                {
                    return Err(ConditionError::UnknownZone { zone: Arc::from(&**zone) });
                }
                Ok(self.folded(Node::Call(function, all)))
            }
        }
    }

    fn is_headers(&self, expr: &'m CelExpr) -> bool {
        self.path(expr).is_some_and(|path| path == ["request", "headers"])
    }

    fn matches(&mut self, subject: &'m CelExpr, pattern: &'m CelExpr) -> Compiled {
        let subject = self.node(subject)?;
        let Node::Const(Value::Text(pattern)) = self.node(pattern)? else {
            return Err(ConditionError::PatternNotLiteral);
        };
        let regex = CompiledRegex::part_match(&RegexPattern::new(&*pattern))?;
        Ok(self.folded(Node::Matches(Box::new(subject), regex)))
    }

    fn fold(&mut self, model: &'m CelComprehension) -> Compiled {
        let (range, init) = (self.node(&model.iter_range)?, self.node(&model.accu_init)?);
        let place = self.scope.len();
        self.scope.extend([&*model.accu_var, &*model.iter_var]);
        let condition = self.node(&model.loop_condition)?;
        let step = self.node(&model.loop_step)?;
        self.scope.truncate(place + 1);
        let result = self.node(&model.result)?;
        self.scope.truncate(place);
        Ok(Node::Fold(Box::new(Fold { place, range, init, condition, step, result })))
    }

    /// The value of what is constant; else the node as it is.
    fn folded(&mut self, node: Node) -> Node {
        if !is_constant(&node) {
            return node;
        }
        let found = {
            let mut evaluation = Evaluation::within(self.left);
            let found = evaluation.eval(&node).map(Value::into_owned);
            self.left = evaluation.left();
            found
        };
        match found {
            Ok(Some(value)) => Node::Const(value),
            Ok(None) | Err(_) => node,
        }
    }
}

const fn is(node: &Node, flag: bool) -> bool {
    matches!(node, Node::Const(Value::Bool(found)) if *found == flag)
}

/// Whether all that a node is made of is constant.
fn is_constant(node: &Node) -> bool {
    let constant = |node: &Node| matches!(node, Node::Const(_));
    match node {
        Node::Call(_, nodes) | Node::List(nodes) => nodes.iter().all(constant),
        Node::And(both) | Node::Or(both) => both.iter().all(constant),
        Node::Map(entries) => entries.iter().all(|(key, value)| constant(key) && constant(value)),
        Node::Has(node, _) | Node::Matches(node, _) => constant(node),
        Node::Const(_)
        | Node::Attribute(_)
        | Node::HasAttribute(_)
        | Node::HeaderNamed(_)
        | Node::HasHeaderNamed(_)
        | Node::Variable(_)
        | Node::If(_)
        | Node::Fold(_) => false,
    }
}

fn text(text: &str) -> Value<'static> {
    Value::text(text)
}

fn literal(constant: &CelConstant) -> Value<'static> {
    match constant {
        CelConstant::Null => Value::Null,
        CelConstant::Bool(flag) => Value::Bool(*flag),
        CelConstant::Int(number) => Value::Int(*number),
        CelConstant::Uint(number) => Value::Uint(*number),
        CelConstant::Double(number) => Value::Double(*number),
        CelConstant::Text(text) => Value::Text(Held::Own(Arc::clone(text))),
        CelConstant::Bytes(bytes) => Value::Bytes(Held::Own(Arc::clone(bytes))),
    }
}
