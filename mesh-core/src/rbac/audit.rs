//! What is told of an audited decision (gRFC A59).
//!
//! A record holds what gRPC's does, under the same names; [`AuditRecord`]'s `Display` is the line that
//! the `stdout_logger` writes. Whether there is one says [`Verdict::audited`](super::Verdict).

use super::{Request, Verdict};
use crate::time::WallTime;
use std::fmt;

/// One audited decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(clippy::exhaustive_structs, reason = "closed by gRFC A59")]
pub struct AuditRecord<'a> {
    /// When.
    pub timestamp: WallTime,
    /// The path that was asked for, which is gRPC's method; empty: it is about a connection.
    pub rpc_method: &'a str,
    /// Who asked: the first principal; empty: nobody who is known.
    pub principal: &'a str,
    /// The name of the filter that decided.
    pub policy_name: &'a str,
    /// The policy that matched; empty: none did.
    pub matched_rule: &'a str,
    /// Whether it was allowed.
    pub authorized: bool,
}

impl<'a> AuditRecord<'a> {
    /// The record of what the filter called `filter` decided about `request` at `timestamp`.
    #[must_use]
    pub fn new(
        timestamp: WallTime,
        filter: &'a str,
        request: &Request<'a>,
        verdict: &Verdict<'a>,
    ) -> Self {
        Self {
            timestamp,
            rpc_method: request.head.map(|head| head.path()).unwrap_or_default(),
            principal: request.connection.peer.principals().next().unwrap_or_default(),
            policy_name: filter,
            matched_rule: verdict.policy.map(|policy| &**policy).unwrap_or_default(),
            authorized: verdict.allowed,
        }
    }
}

/// One line of JSON, without its end.
impl fmt::Display for AuditRecord<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{\"grpc_audit_log\":{{\"timestamp\":\"{}\"", self.timestamp)?;
        for (key, text) in [
            ("rpc_method", self.rpc_method),
            ("principal", self.principal),
            ("policy_name", self.policy_name),
            ("matched_rule", self.matched_rule),
        ] {
            write!(f, ",\"{key}\":\"{}\"", Escaped(text))?;
        }
        write!(f, ",\"authorized\":{}}}}}", self.authorized)
    }
}

/// A text within the quotes of JSON (RFC 8259 section 7). It comes from outside: a line stays a line.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '"' | '\\' => write!(f, "\\{letter}")?,
                letter if letter.is_control() || matches!(letter, '\u{2028}' | '\u{2029}') => {
                    write!(f, "\\u{:04x}", u32::from(letter))?;
                }
                letter => write!(f, "{letter}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_one_line_whatever_is_in_it() {
        let record = AuditRecord {
            timestamp: WallTime::from_unix_seconds(1_700_000_000),
            rpc_method: "/a.B/C\n\",\"authorized\":true",
            principal: "spiffe://m/a",
            policy_name: "rbac",
            matched_rule: "ns[a]\\x\u{7f}",
            authorized: false,
        };
        assert_eq!(
            record.to_string(),
            "{\"grpc_audit_log\":{\"timestamp\":\"2023-11-14T22:13:20Z\",\
             \"rpc_method\":\"/a.B/C\\u000a\\\",\\\"authorized\\\":true\",\
             \"principal\":\"spiffe://m/a\",\"policy_name\":\"rbac\",\
             \"matched_rule\":\"ns[a]\\\\x\\u007f\",\"authorized\":false}}"
        );
    }
}
