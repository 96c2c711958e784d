//! `decode(encode(x)) == x`, and what is decoded compiles.

use super::*;
use crate::encode::rbac_filter;
use mesh_core::model::matcher::{HeaderMatcherKind, StringPattern};
use mesh_core::model::metadata::{FilterStateMatcher, FilterStateValue, ValueMatcher};
use mesh_core::model::rbac::{Permission, Principal, RbacHeader, RbacHeaderName};
use mesh_core::model::{
    CelComprehension, CelConstant, CelExpr, Cidr, Condition, MetadataMatcher, MetadataSource,
    RegexPattern, SanKind, SanMatcher, StringMatcher,
};
use mesh_core::random::{Random, SplitMix64};
use mesh_core::rbac::CompiledRbacFilter;
use proptest::prelude::*;

struct Draw(SplitMix64);

impl Draw {
    fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::try_from(self.below(of.len() as u64)).unwrap()]
    }

    fn some<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(2) == 0).then(|| make(self))
    }

    fn list<T>(&mut self, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..=self.below(3)).map(|_| make(self)).collect()
    }

    fn string(&mut self) -> StringMatcher {
        let text: Arc<str> = self.pick(&["a", "/a/b", "spiffe://m/a"]).into();
        let pattern = match self.below(5) {
            0 => StringPattern::Exact(text),
            1 => StringPattern::Prefix(text),
            2 => StringPattern::Suffix(text),
            3 => StringPattern::Contains(text),
            _ => return StringMatcher::new(StringPattern::Regex(RegexPattern(text))),
        };
        let mut matcher = StringMatcher::new(pattern);
        matcher.ignore_case = self.below(2) == 0;
        matcher
    }

    fn header(&mut self) -> RbacHeader {
        let name = self.pick(&[":method", ":path", ":authority", "x-a", "te"]);
        let kind = match self.below(3) {
            0 => HeaderMatcherKind::Present(self.below(2) == 0),
            1 => HeaderMatcherKind::String(self.string()),
            _ => HeaderMatcherKind::Range(-3..7),
        };
        let mut header = RbacHeader::new(RbacHeaderName::parse(name).unwrap(), kind);
        header.invert = self.below(2) == 0;
        header.treat_missing_as_empty = self.below(2) == 0;
        header
    }

    fn cidr(&mut self) -> Cidr {
        let address = self.pick(&["10.1.2.3", "2001:db8::1", "::ffff:10.0.0.1"]);
        let prefix = u32::try_from(self.below(33)).unwrap();
        Cidr::new(address.parse().unwrap(), prefix).unwrap()
    }

    fn metadata(&mut self) -> MetadataMatcher {
        let path = self.list(|draw| Arc::from(draw.pick(&["k", "l"])));
        let mut matcher = MetadataMatcher::new("f", path, self.value(2));
        matcher.invert = self.below(2) == 0;
        matcher.source = self.pick(&[MetadataSource::Dynamic, MetadataSource::Route]);
        matcher
    }

    fn value(&mut self, depth: u64) -> ValueMatcher {
        match self.below(6 + depth) {
            0 => ValueMatcher::Null,
            1 => ValueMatcher::Range { start: 0.5, end: 7.0 },
            2 => ValueMatcher::Number(1.5),
            3 => ValueMatcher::Text(self.string()),
            4 => ValueMatcher::Bool(self.below(2) == 0),
            5 => ValueMatcher::Present(self.below(2) == 0),
            6 => ValueMatcher::OneOf(Box::new(self.value(depth - 1))),
            _ => ValueMatcher::Or(vec![self.value(depth - 1), self.value(depth - 1)]),
        }
    }

    fn permission(&mut self, depth: u64) -> Permission {
        match self.below(if depth == 0 { 9 } else { 12 }) {
            0 => Permission::Any,
            1 => Permission::Header(self.header()),
            2 => Permission::UrlPath(self.string()),
            3 => Permission::DestinationIp(self.cidr()),
            4 => Permission::DestinationPort(8080),
            5 => Permission::DestinationPortRange(80..65_536),
            6 => Permission::Metadata(self.metadata()),
            7 => Permission::RequestedServerName(self.string()),
            8 => Permission::UriTemplate("/v1/{a}/*".into()),
            9 => Permission::And(self.list(|draw| draw.permission(depth - 1))),
            10 => Permission::Or(self.list(|draw| draw.permission(depth - 1))),
            _ => Permission::Not(Box::new(self.permission(depth - 1))),
        }
    }

    fn principal(&mut self, depth: u64) -> Principal {
        match self.below(if depth == 0 { 10 } else { 13 }) {
            0 => Principal::Any,
            1 => Principal::Authenticated(self.some(Self::string)),
            2 => Principal::MtlsAuthenticated(self.some(|draw| {
                let kind = match draw.below(5) {
                    0 => SanKind::Dns,
                    1 => SanKind::Uri,
                    2 => SanKind::Email,
                    3 => SanKind::Ip,
                    _ => SanKind::OtherName("1.2.3".into()),
                };
                SanMatcher { kind, matcher: draw.string() }
            })),
            3 => Principal::SourceIp(self.cidr()),
            4 => Principal::DirectRemoteIp(self.cidr()),
            5 => Principal::RemoteIp(self.cidr()),
            6 => Principal::Header(self.header()),
            7 => Principal::UrlPath(self.string()),
            8 => Principal::Metadata(self.metadata()),
            9 => {
                let value = match self.below(2) {
                    0 => FilterStateValue::Text(self.string()),
                    _ => FilterStateValue::Address(self.list(Self::cidr)),
                };
                Principal::FilterState(FilterStateMatcher { key: "k".into(), value })
            }
            10 => Principal::And(self.list(|draw| draw.principal(depth - 1))),
            11 => Principal::Or(self.list(|draw| draw.principal(depth - 1))),
            _ => Principal::Not(Box::new(self.principal(depth - 1))),
        }
    }

    fn condition(&mut self) -> Condition {
        let mut condition = Condition::new(self.cel(3));
        condition.string_conversion = self.below(2) == 0;
        condition.string_concat = self.below(2) == 0;
        condition.string_functions = self.below(2) == 0;
        condition
    }

    /// An expression of any kind that there is.
    fn cel(&mut self, depth: u64) -> CelExpr {
        let request = || CelExpr::ident("request");
        match self.below(if depth == 0 { 3 } else { 8 }) {
            0 => CelExpr::Const(match self.below(7) {
                0 => CelConstant::Null,
                1 => CelConstant::Bool(self.below(2) == 0),
                2 => CelConstant::Int(self.pick(&[0, -1, i64::MAX])),
                3 => CelConstant::Uint(self.pick(&[0, u64::MAX])),
                4 => CelConstant::Double(self.pick(&[0.5, f64::INFINITY])),
                5 => CelConstant::Text(self.pick(&["", "a", "é"]).into()),
                _ => CelConstant::Bytes(self.pick(&[b"".as_slice(), b"\xff"]).into()),
            }),
            1 => request().select(self.pick(&["path", "time", "referer"])),
            2 => CelExpr::Select {
                operand: Box::new(request().select("headers")),
                field: self.pick(&["x-a", "origin"]).into(),
                test_only: self.below(2) == 0,
            },
            3 => {
                let name = self.pick(&["_&&_", "_==_", "_+_", "_[_]", "@in"]);
                CelExpr::call(name, vec![self.cel(depth - 1), self.cel(depth - 1)])
            }
            4 => CelExpr::Call {
                target: Some(Box::new(self.cel(depth - 1))),
                function: "contains".into(),
                args: vec![self.cel(depth - 1)],
            },
            5 => CelExpr::List(self.list(|draw| draw.cel(depth - 1))),
            6 => CelExpr::Map(self.list(|draw| (draw.cel(depth - 1), draw.cel(depth - 1)))),
            _ => CelExpr::Comprehension(Box::new(CelComprehension {
                iter_var: "x".into(),
                iter_range: self.cel(depth - 1),
                accu_var: "@result".into(),
                accu_init: self.cel(depth - 1),
                loop_condition: CelExpr::ident("@result"),
                loop_step: CelExpr::ident("x"),
                result: self.cel(depth - 1),
            })),
        }
    }

    fn rules(&mut self) -> Arc<Rbac> {
        let mut rules = Rbac::default();
        rules.action = self.pick(&[RbacAction::Allow, RbacAction::Deny, RbacAction::Log]);
        rules.audit = self.pick(&[
            AuditCondition::None,
            AuditCondition::OnDeny,
            AuditCondition::OnAllow,
            AuditCondition::OnDenyAndAllow,
        ]);
        rules.audit_loggers = self.some(|_| AuditLogger::Stdout).into_iter().collect();
        for at in 0..self.below(4) {
            let permissions = self.list(|draw| draw.permission(3));
            let principals = self.list(|draw| draw.principal(3));
            let condition = self.some(Self::condition);
            let policy = Policy { permissions, principals, condition };
            rules.policies.insert(format!("p{at}").into(), policy);
        }
        Arc::new(rules)
    }
}

proptest! {
    #[test]
    fn there_and_back(seed: u64) {
        let mut draw = Draw(SplitMix64::new(seed));
        let mut filter = RbacFilter::default();
        filter.rules = draw.some(Draw::rules);
        filter.shadow_rules = draw.some(Draw::rules);
        filter.rules_stat_prefix = draw.pick(&["", "a."]).into();
        filter.shadow_rules_stat_prefix = draw.pick(&["", "b."]).into();
        filter.track_per_rule_stats = draw.below(2) == 0;
        let decoded = http(&rbac_filter(&filter).encode_to_vec());
        prop_assert_eq!(decoded.config.as_ref(), Ok(&filter));
        prop_assert!(CompiledRbacFilter::new(&filter).is_ok());
    }
}
