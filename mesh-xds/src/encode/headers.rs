//! Header edits of every level: what is added and what is removed.

use envoy_types::pb::envoy::config::core::v3::{
    HeaderValue, HeaderValueOption, header_value_option::HeaderAppendAction,
};
use mesh_core::model::{AppendAction, HeaderMutation};

/// The edits of one header list, as Envoy has them: additions and removals apart.
///
/// Removals of a level come before its additions in the model too, so nothing is lost by that.
pub(super) fn edits(model: &[HeaderMutation]) -> (Vec<HeaderValueOption>, Vec<String>) {
    let (mut add, mut remove) = (Vec::new(), Vec::new());
    for edit in model {
        match edit {
            HeaderMutation::Remove(name) => remove.push(name.to_string()),
            HeaderMutation::Append { name, value, action } => {
                let (text, raw) = value_text(value.as_bytes());
                add.push(HeaderValueOption {
                    header: Some(HeaderValue {
                        key: name.to_string(),
                        value: text,
                        raw_value: raw,
                    }),
                    append_action: append_action(*action).into(),
                    // Envoy: `keep_empty_value`; else an empty header is left out.
                    keep_empty_value: value.is_empty(),
                    ..HeaderValueOption::default()
                });
            }
        }
    }
    (add, remove)
}

/// A value as text with Envoy's `%` doubled (a single one begins a command operator), or as bytes when
/// it is no text.
pub(super) fn value_text(value: &[u8]) -> (String, Vec<u8>) {
    match std::str::from_utf8(value) {
        Ok(text) => (text.replace('%', "%%"), Vec::new()),
        Err(_) => (String::new(), value.to_vec()),
    }
}

const fn append_action(action: AppendAction) -> HeaderAppendAction {
    match action {
        AppendAction::AppendIfExistsOrAdd => HeaderAppendAction::AppendIfExistsOrAdd,
        AppendAction::AddIfAbsent => HeaderAppendAction::AddIfAbsent,
        AppendAction::OverwriteIfExistsOrAdd => HeaderAppendAction::OverwriteIfExistsOrAdd,
        AppendAction::OverwriteIfExists => HeaderAppendAction::OverwriteIfExists,
    }
}
