//! `${NAME}` and `${NAME:-default}` inside scalar values.
//!
//! Replaced after parsing, so that a value can never add keys, lists or comments. Only what is read
//! is replaced: a variable in an unused `x-…` block need not exist. `$${` stands for a literal `${`;
//! any other `$` is itself. What a variable holds is not searched for variables again.

use super::node::{Node, Span};
use super::reader::{Place, Reader};
use super::{Environment, code};
use std::borrow::Cow;

/// A piece of a text with variables.
#[derive(Debug, PartialEq, Eq)]
enum Piece<'t> {
    Text(&'t str),
    Variable {
        name: &'t str,
        default: Option<&'t str>,
    },
    /// `${` without an end, or with a name that is none. Holds all of it.
    Malformed(&'t str),
}

/// The text with its variables replaced; `None` when one is undefined or malformed, which is then in
/// the report.
pub(super) fn expand<'n>(
    reader: &mut Reader<'_>,
    node: &Node,
    text: &'n str,
) -> Option<Cow<'n, str>> {
    if !text.contains("${") {
        return Some(Cow::Borrowed(text));
    }
    let mut whole = String::with_capacity(text.len());
    let mut complete = true;
    let mut place = None;
    for (start, piece) in pieces(text) {
        // One that is not shown any more says that there are more; the rest says nothing.
        let full = reader.report.is_full();
        let value = match piece {
            Piece::Text(text) => Some(Cow::Borrowed(text)),
            Piece::Variable { name, default } => {
                let value = reader.environment.variable(name).map(Cow::Owned);
                let value = value.or_else(|| default.map(Cow::Borrowed));
                if value.is_none() {
                    let place = *place.get_or_insert_with(|| reader.place(node, text));
                    undefined(reader, place, (text, start), name);
                }
                value
            }
            Piece::Malformed(raw) => {
                let place = *place.get_or_insert_with(|| reader.place(node, text));
                malformed(reader, place.part(start, raw.len()));
                None
            }
        };
        match value {
            Some(value) => whole.push_str(&value),
            None if full => return None,
            None => complete = false,
        }
        if whole.len() > reader.bounds.text_bytes {
            let message =
                format!("with its variables this has more than {} bytes", reader.bounds.text_bytes);
            reader.report.add(code::INVALID_VARIABLE, node.span, message);
            return None;
        }
    }
    complete.then_some(Cow::Owned(whole))
}

/// The text with its variables replaced, for a comparison with something short; `None` when one is
/// undefined or malformed.
pub(super) fn quietly<'n>(environment: &dyn Environment, text: &'n str) -> Option<Cow<'n, str>> {
    if !text.contains("${") {
        return Some(Cow::Borrowed(text));
    }
    let value = |(_, piece): (usize, Piece<'_>)| match piece {
        Piece::Text(text) => Some(text.to_owned()),
        Piece::Variable { name, default } => {
            environment.variable(name).or_else(|| default.map(str::to_owned))
        }
        Piece::Malformed(_) => None,
    };
    pieces(text).into_iter().map(value).collect::<Option<String>>().map(Cow::Owned)
}

fn malformed(reader: &mut Reader<'_>, span: Span) {
    reader
        .report
        .add(code::INVALID_VARIABLE, span, "this is no `${NAME}` or `${NAME:-default}`")
        .suggest("write `$${` for a literal `${`");
}

fn undefined(reader: &mut Reader<'_>, place: Place, (text, start): (&str, usize), name: &str) {
    let end = text[start..].find('}').map_or(text.len(), |end| start + end + 1);
    let span = place.part(start, end - start);
    let message = format!("the environment variable `{name}` is not set");
    reader
        .report
        .add(code::UNDEFINED_VARIABLE, span, message)
        .suggest(format!("set it, or give a default: `${{{name}:-…}}`"));
}

/// The pieces with their places in the text.
fn pieces(text: &str) -> Vec<(usize, Piece<'_>)> {
    let mut pieces = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while let Some(dollar) = text[at..].find("${").map(|found| at + found) {
        if text[..dollar].ends_with('$') && dollar > from {
            // `$${`: the first `$` goes, the rest stays text.
            pieces.push((from, Piece::Text(&text[from..dollar - 1])));
            from = dollar;
            at = dollar + 2;
            continue;
        }
        pieces.push((from, Piece::Text(&text[from..dollar])));
        let inner = &text[dollar + 2..];
        let end = inner.find('}');
        let content = &inner[..end.unwrap_or(inner.len())];
        at = dollar + 2 + end.map_or(inner.len(), |end| end + 1);
        from = at;
        let (name, default) = match content.split_once(":-") {
            Some((name, default)) => (name, Some(default)),
            None => (content, None),
        };
        let piece = if end.is_some() && is_name(name) {
            Piece::Variable { name, default }
        } else {
            Piece::Malformed(&text[dollar..at])
        };
        pieces.push((dollar, piece));
    }
    pieces.push((from, Piece::Text(&text[from..])));
    pieces
}

/// A letter or `_`, then letters, digits and `_`.
fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[track_caller]
    fn check(text: &str, expected: &[Piece<'_>]) {
        let found: Vec<_> = pieces(text)
            .into_iter()
            .map(|(_, piece)| piece)
            .filter(|piece| *piece != Piece::Text(""))
            .collect();
        assert_eq!(found, expected, "{text}");
    }

    #[test]
    fn texts_fall_into_pieces() {
        use Piece::{Malformed, Text, Variable};
        check("plain $HOME ${", &[Text("plain $HOME "), Malformed("${")]);
        check("a${B}c", &[Text("a"), Variable { name: "B", default: None }, Text("c")]);
        check("${B:-x:-y}", &[Variable { name: "B", default: Some("x:-y") }]);
        check("${_b1:-}", &[Variable { name: "_b1", default: Some("") }]);
        check("$${B} ${1}", &[Text("${B} "), Malformed("${1}")]);
        check("${A B}${C", &[Malformed("${A B}"), Malformed("${C")]);
        check("${}", &[Malformed("${}")]);
    }

    proptest! {
        #[test]
        fn text_without_braces_is_itself(text in "[a-z$]{0,20}") {
            prop_assert_eq!(pieces(&text), vec![(0, Piece::Text(text.as_str()))]);
        }

        #[test]
        fn no_text_panics(text in "[${}A:é-]{0,24}") {
            let _ = pieces(&text);
        }
    }
}
