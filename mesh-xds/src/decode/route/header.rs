//! Header edits of any level, and names of headers.
//!
//! A value is constant here. Envoy's `%…%` commands are not evaluated: such an edit is left out and
//! reported, for sending the command's text would be worse. `%%` is a percent sign.

use crate::decode::common::Walk;
use envoy_types::pb::envoy::config::core::v3 as pb;
use http::{HeaderName, HeaderValue, header::HOST};
use mesh_core::model::{AppendAction, HeaderMutation, HeaderMutations};
use pb::header_value_option::HeaderAppendAction;

/// The longest value that is added, in bytes (Envoy: `HeaderValue.value`).
const LONGEST_VALUE: usize = 16_384;
const COMMAND: &str =
    "a `%…%` command is not evaluated here, so the edit is left out; write `%%` for a percent sign";

const FRAMING: &str = "it says where the message ends, or what its connection does: left out, for a body would be cut, or an answer be two (RFC 9112 section 6, RFC 9110 section 7.6.1)";

/// The four lists of a level.
pub(super) struct Lists<'m> {
    pub(super) request_add: &'m [pb::HeaderValueOption],
    pub(super) request_remove: &'m [String],
    pub(super) response_add: &'m [pb::HeaderValueOption],
    pub(super) response_remove: &'m [String],
}

/// The four lists of a message: they have the same names on every level.
macro_rules! lists {
    ($message:expr) => {
        $crate::decode::route::header::Lists {
            request_add: &$message.request_headers_to_add,
            request_remove: &$message.request_headers_to_remove,
            response_add: &$message.response_headers_to_add,
            response_remove: &$message.response_headers_to_remove,
        }
    };
}

pub(super) use lists;

/// The edits of a level.
pub(super) fn edits(walk: &mut Walk, lists: &Lists<'_>) -> HeaderMutations {
    let mut edits = HeaderMutations::default();
    edits.request = side(walk, "request", lists.request_add, lists.request_remove);
    edits.response = side(walk, "response", lists.response_add, lists.response_remove);
    edits
}

/// Removals, then additions, as Envoy makes them.
fn side(
    walk: &mut Walk,
    side: &str,
    add: &[pb::HeaderValueOption],
    remove: &[String],
) -> Vec<HeaderMutation> {
    let mut edits = Vec::with_capacity(add.len() + remove.len());
    for (at, name) in remove.iter().enumerate() {
        let field = format!("{side}_headers_to_remove[{at}]");
        edits.extend(removal(walk, &field, name, side));
    }
    edits.extend(additions(walk, &format!("{side}_headers_to_add"), side, add));
    edits
}

/// One removal.
pub(in crate::decode) fn removal(
    walk: &mut Walk,
    field: &str,
    name: &str,
    side: &str,
) -> Option<HeaderMutation> {
    let edit = editable(walk, field, name, side).map(HeaderMutation::Remove)?;
    unless_framing(walk, field, edit)
}

/// Envoy takes edits of the framing, so the resource stays.
fn unless_framing(walk: &mut Walk, field: &str, edit: HeaderMutation) -> Option<HeaderMutation> {
    let breaks = edit.breaks_framing();
    walk.ignored(breaks, field, FRAMING);
    (!breaks).then_some(edit)
}

/// The additions of one list.
pub(in crate::decode) fn additions(
    walk: &mut Walk,
    field: &str,
    side: &str,
    messages: &[pb::HeaderValueOption],
) -> Vec<HeaderMutation> {
    let edits = messages.iter().enumerate().filter_map(|(at, option)| {
        walk.at(format_args!("{field}[{at}]"), |walk| addition(walk, option, side))
    });
    edits.collect()
}

/// One addition.
pub(in crate::decode) fn addition(
    walk: &mut Walk,
    message: &pb::HeaderValueOption,
    side: &str,
) -> Option<HeaderMutation> {
    let Some(header) = &message.header else {
        walk.error_at("header", "an addition has a header");
        return None;
    };
    let name = editable(walk, "header.key", &header.key, side);
    let action = append_action(walk, message);
    let value = match (header.value.is_empty(), header.raw_value.is_empty()) {
        (false, false) => {
            walk.error_at("header.raw_value", "`value` is set already: keep one");
            return None;
        }
        // Envoy: commands are read in raw values too.
        (true, false) => header.raw_value.clone(),
        (_, true) => header.value.clone().into_bytes(),
    };
    let Some(value) = unescape(&value) else {
        walk.ignored(true, "header.value", COMMAND);
        return None;
    };
    if value.len() > LONGEST_VALUE {
        walk.error_at(
            "header.value",
            format_args!("it has {} bytes, at most {LONGEST_VALUE} are allowed", value.len()),
        );
        return None;
    }
    if value.is_empty() && !message.keep_empty_value {
        walk.ignored(
            true,
            "header.value",
            "an empty value adds nothing without `keep_empty_value`",
        );
        return None;
    }
    let Ok(value) = HeaderValue::from_bytes(&value) else {
        walk.error_at(
            "header.value",
            format_args!(
                "`{}` can't be the value of a header: it has control characters",
                String::from_utf8_lossy(&value).escape_debug()
            ),
        );
        return None;
    };
    let edit = HeaderMutation::Append { name: name?, value, action: action? };
    unless_framing(walk, "header.key", edit)
}

#[expect(deprecated, reason = "control planes still send `append`")]
fn append_action(walk: &mut Walk, message: &pb::HeaderValueOption) -> Option<AppendAction> {
    if let Some(append) = message.append {
        if message.append_action != 0 {
            // Envoy: "Both append and append_action are set".
            walk.error_at("append", "`append_action` is set already: keep that");
            return None;
        }
        return Some(match append.value {
            true => AppendAction::AppendIfExistsOrAdd,
            false => AppendAction::OverwriteIfExistsOrAdd,
        });
    }
    match HeaderAppendAction::try_from(message.append_action) {
        Ok(HeaderAppendAction::AppendIfExistsOrAdd) => Some(AppendAction::AppendIfExistsOrAdd),
        Ok(HeaderAppendAction::AddIfAbsent) => Some(AppendAction::AddIfAbsent),
        Ok(HeaderAppendAction::OverwriteIfExistsOrAdd) => {
            Some(AppendAction::OverwriteIfExistsOrAdd)
        }
        Ok(HeaderAppendAction::OverwriteIfExists) => Some(AppendAction::OverwriteIfExists),
        Err(_) => {
            let number = message.append_action;
            walk.error_at("append_action", format_args!("{number} is no action known here"));
            None
        }
    }
}

/// The name of a header that edits may change.
fn editable(walk: &mut Walk, field: &str, text: &str, side: &str) -> Option<HeaderName> {
    let name = header_name(walk, field, text)?;
    if side == "request" && name == HOST {
        // Envoy: ":-prefixed or host headers may not be modified".
        walk.error_at(field, "`host` is changed by a host rewrite, not by an edit");
        return None;
    }
    Some(name)
}

/// The name of a header, in lower case.
pub(in crate::decode) fn header_name(
    walk: &mut Walk,
    field: &str,
    text: &str,
) -> Option<HeaderName> {
    let name = HeaderName::from_bytes(text.as_bytes()).ok();
    if name.is_none() {
        match text.starts_with(':') {
            true => walk.error_at(
                field,
                format_args!(
                    "`{text}` is a pseudo header, which can't be used here: path and authority have \
                     matchers and rewrites of their own"
                ),
            ),
            false => walk.error_at(
                field,
                format_args!("`{}` is no name of a header", text.escape_debug()),
            ),
        }
    }
    name
}

/// A text of Envoy's format without commands; an error when there is one.
pub(in crate::decode) fn constant(walk: &mut Walk, field: &str, text: &str) -> Option<String> {
    let constant = unescape(text.as_bytes()).and_then(|text| String::from_utf8(text).ok());
    if constant.is_none() {
        walk.error_at(
            field,
            format_args!(
                "`{text}` has a `%…%` command, which is not evaluated here; write `%%` for a percent \
                 sign"
            ),
        );
    }
    constant
}

/// `%%` → `%`; `None` when there is a command.
fn unescape(text: &[u8]) -> Option<Vec<u8>> {
    let mut found = Vec::with_capacity(text.len());
    let mut bytes = text.iter().copied();
    while let Some(byte) = bytes.next() {
        if byte == b'%' && bytes.next() != Some(b'%') {
            return None;
        }
        found.push(byte);
    }
    Some(found)
}
