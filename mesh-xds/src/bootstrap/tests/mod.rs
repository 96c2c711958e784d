//! What is a bootstrap and what is not, each row with its rule.

mod authorities;
mod names;
mod node;
mod peers;
mod properties;
mod providers;
mod servers;
mod targets;
mod text;

use super::*;

/// A server that is all right.
const SERVER: &str = r#"{"server_uri": "cp:1", "channel_creds": [{"type": "insecure"}]}"#;

/// A bootstrap with these fields beside its server; `fields` is empty or begins with a comma.
fn beside_server(fields: &str) -> String {
    format!(r#"{{"xds_servers": [{SERVER}]{fields}}}"#)
}

/// A bootstrap whose server has these fields.
fn with_server(fields: &str) -> String {
    format!(r#"{{"xds_servers": [{{{fields}}}]}}"#)
}

#[track_caller]
fn accepts(rule: &str, text: &str) -> Bootstrap {
    Bootstrap::parse(text).unwrap_or_else(|error| panic!("{rule}: {error}\n{text}"))
}

/// The first problem is at `path` and says `says`.
#[track_caller]
fn refuses(rule: &str, text: &str, path: &str, says: &str) {
    let Err(error) = Bootstrap::parse(text) else { panic!("{rule}: accepted\n{text}") };
    let problem = &error.problems[0];
    assert_eq!(problem.path, path, "{rule}: {error}\n{text}");
    assert!(problem.message.contains(says), "{rule}: {error}\n{text}");
}
