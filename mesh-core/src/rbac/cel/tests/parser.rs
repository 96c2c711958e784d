//! As much of CEL's grammar as tests need: text → the tree that CEL's parsers make of it, macros included.

use crate::model::{CelComprehension, CelConstant, CelExpr};

pub(super) fn parse(text: &str) -> CelExpr {
    let mut parser = Parser { rest: text };
    let expr = parser.expr();
    assert_eq!(parser.rest.trim(), "", "{text}");
    expr
}

struct Parser<'t> {
    rest: &'t str,
}

/// From those that bind least on; each with the name of its function.
const LEVELS: &[&[(&str, &str)]] = &[
    &[("||", "_||_")],
    &[("&&", "_&&_")],
    &[
        ("<=", "_<=_"),
        ("<", "_<_"),
        (">=", "_>=_"),
        (">", "_>_"),
        ("==", "_==_"),
        ("!=", "_!=_"),
        ("in ", "@in"),
    ],
    &[("+", "_+_"), ("-", "_-_")],
    &[("*", "_*_"), ("/", "_/_"), ("%", "_%_")],
];

impl<'t> Parser<'t> {
    fn eat(&mut self, token: &str) -> bool {
        let rest = self.rest.trim_start();
        let found = rest.strip_prefix(token);
        self.rest = found.unwrap_or(rest);
        found.is_some()
    }

    fn expect(&mut self, token: &str) {
        assert!(self.eat(token), "`{token}` is not at `{}`", self.rest);
    }

    fn take_while(&mut self, keep: impl Fn(char) -> bool) -> &'t str {
        let end = self.rest.find(|letter| !keep(letter)).unwrap_or(self.rest.len());
        let (taken, rest) = self.rest.split_at(end);
        self.rest = rest;
        taken
    }

    fn name(&mut self) -> &'t str {
        self.rest = self.rest.trim_start();
        self.take_while(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    }

    fn expr(&mut self) -> CelExpr {
        let asked = self.binary(LEVELS);
        if !self.eat("?") {
            return asked;
        }
        let yes = self.binary(LEVELS);
        self.expect(":");
        CelExpr::call("_?_:_", vec![asked, yes, self.expr()])
    }

    fn binary(&mut self, levels: &[&[(&str, &str)]]) -> CelExpr {
        let Some((operators, tighter)) = levels.split_first() else { return self.unary() };
        let mut left = self.binary(tighter);
        while let Some((_, function)) = operators.iter().find(|(token, _)| self.eat(token)) {
            left = CelExpr::call(*function, vec![left, self.binary(tighter)]);
        }
        left
    }

    fn unary(&mut self) -> CelExpr {
        if self.eat("!") {
            return CelExpr::call("!_", vec![self.unary()]);
        }
        let is_number = self.rest.trim_start().strip_prefix('-');
        let is_number =
            is_number.is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
        if !is_number && self.eat("-") {
            return CelExpr::call("-_", vec![self.unary()]);
        }
        self.member()
    }

    fn member(&mut self) -> CelExpr {
        let mut object = self.primary();
        loop {
            if self.eat("[") {
                object = CelExpr::call("_[_]", vec![object, self.expr()]);
                self.expect("]");
            } else if self.eat(".") {
                let name = self.name();
                object = match self.eat("(") {
                    true => method(object, name, self.list(")")),
                    false => object.select(name),
                };
            } else {
                return object;
            }
        }
    }

    fn list(&mut self, end: &str) -> Vec<CelExpr> {
        let mut items = Vec::new();
        while !self.eat(end) {
            items.push(self.expr());
            let _last = self.eat(",");
        }
        items
    }

    fn primary(&mut self) -> CelExpr {
        if self.eat("(") {
            let inner = self.expr();
            self.expect(")");
            return inner;
        }
        if self.eat("[") {
            return CelExpr::List(self.list("]"));
        }
        if self.eat("{") {
            return self.map();
        }
        if self.eat("b'") {
            return constant(CelConstant::Bytes(self.quoted().as_bytes().into()));
        }
        if self.eat("'") {
            return CelExpr::text(self.quoted());
        }
        if self.rest.starts_with(|letter: char| letter.is_ascii_digit() || letter == '-') {
            return self.number();
        }
        let name = self.name();
        assert_ne!(name, "", "nothing at `{}`", self.rest);
        match name {
            "true" | "false" => constant(CelConstant::Bool(name == "true")),
            "null" => constant(CelConstant::Null),
            name if self.eat("(") => function(name, self.list(")")),
            name => CelExpr::ident(name),
        }
    }

    fn quoted(&mut self) -> &'t str {
        let text = self.take_while(|letter| letter != '\'');
        self.rest = &self.rest[1..];
        text
    }

    fn number(&mut self) -> CelExpr {
        let text = self.take_while(|letter| letter.is_ascii_digit() || ".-e".contains(letter));
        if self.rest.starts_with('u') {
            self.rest = &self.rest[1..];
            return constant(CelConstant::Uint(text.parse().unwrap()));
        }
        match text.parse() {
            Ok(number) => constant(CelConstant::Int(number)),
            Err(_) => constant(CelConstant::Double(text.parse().unwrap())),
        }
    }

    fn map(&mut self) -> CelExpr {
        let mut entries = Vec::new();
        while !self.eat("}") {
            let key = self.expr();
            self.expect(":");
            entries.push((key, self.expr()));
            let _last = self.eat(",");
        }
        CelExpr::Map(entries)
    }
}

const fn constant(constant: CelConstant) -> CelExpr {
    CelExpr::Const(constant)
}

fn function(name: &str, mut args: Vec<CelExpr>) -> CelExpr {
    if name != "has" {
        return CelExpr::call(name, args);
    }
    match args.remove(0) {
        CelExpr::Select { operand, field, .. } => {
            CelExpr::Select { operand, field, test_only: true }
        }
        other => panic!("{other:?}"),
    }
}

/// A method, or what a macro stands for.
fn method(object: CelExpr, name: &str, mut args: Vec<CelExpr>) -> CelExpr {
    const GATHERED: &str = "@result";
    let gathered = || CelExpr::ident(GATHERED);
    let flag = |flag| constant(CelConstant::Bool(flag));
    let int = |number| constant(CelConstant::Int(number));
    let call = |function: &str, args| CelExpr::call(function, args);
    let go_on = |condition| call("@not_strictly_false", vec![condition]);
    let one_more = |item| call("_+_", vec![gathered(), CelExpr::List(vec![item])]);
    let is_macro = matches!(name, "all" | "exists" | "exists_one" | "map" | "filter");
    if !is_macro || args.len() < 2 {
        let target = Some(Box::new(object));
        return CelExpr::Call { target, function: name.into(), args };
    }
    let CelExpr::Ident(variable) = args.remove(0) else { panic!("{name} wants a variable") };
    let element = CelExpr::Ident(variable.clone());
    let wanted = args.remove(0);
    let (accu_init, loop_condition, loop_step, result) = match name {
        "all" => {
            let step = call("_&&_", vec![gathered(), wanted]);
            (flag(true), go_on(gathered()), step, gathered())
        }
        "exists" => {
            let step = call("_||_", vec![gathered(), wanted]);
            (flag(false), go_on(call("!_", vec![gathered()])), step, gathered())
        }
        "exists_one" => {
            let more = call("_+_", vec![gathered(), int(1)]);
            let step = call("_?_:_", vec![wanted, more, gathered()]);
            (int(0), flag(true), step, call("_==_", vec![gathered(), int(1)]))
        }
        "map" => (CelExpr::List(vec![]), flag(true), one_more(wanted), gathered()),
        _ => {
            let step = call("_?_:_", vec![wanted, one_more(element), gathered()]);
            (CelExpr::List(vec![]), flag(true), step, gathered())
        }
    };
    CelExpr::Comprehension(Box::new(CelComprehension {
        iter_var: variable,
        iter_range: object,
        accu_var: GATHERED.into(),
        accu_init,
        loop_condition,
        loop_step,
        result,
    }))
}
