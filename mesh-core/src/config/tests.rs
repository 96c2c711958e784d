//! Tests of the whole reader: text in, configuration or diagnostics out.

mod any_text;
mod asking;
mod egress;
mod errors;
mod expectations;
mod inbound;
mod meaning;
mod port;
mod proxy;
mod rate_limit;
mod refused;
mod schema;

use super::*;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Variables and files that a test provides.
#[derive(Default)]
struct Given {
    variables: BTreeMap<&'static str, &'static str>,
}

const PEM: &str = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n";

/// The key set of an issuer (RFC 7517 appendix A.1, the first key).
const KEYS: &str = r#"{"keys": [{"kty": "EC", "crv": "P-256", "kid": "1",
    "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4",
    "y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

impl Environment for Given {
    fn variable(&self, name: &str) -> Option<String> {
        self.variables.get(name).map(|value| (*value).to_owned())
    }

    fn file(&self, document: &str, path: &str) -> Result<String, FileError> {
        match path {
            "ca.pem" => Ok(PEM.to_owned()),
            "keys.json" => Ok(KEYS.to_owned()),
            "none.json" => Ok("{\"keys\": []}".to_owned()),
            "key.pem" => Ok("-----BEGIN PRIVATE KEY-----".to_owned()),
            _ => Err(FileError::new(format!("no such file beside {document}"))),
        }
    }
}

fn given(variables: &[(&'static str, &'static str)]) -> Given {
    Given { variables: variables.iter().copied().collect() }
}

fn read_all(texts: &[&str], environment: &Given) -> Loaded {
    let names = ["a.yaml", "b.yaml", "c.yaml"];
    let documents: Vec<_> =
        names.iter().zip(texts).map(|(name, text)| Document { name, text }).collect();
    load(&documents, environment, &Bounds::default())
}

fn read(text: &str) -> Loaded {
    read_all(&[text], &Given::default())
}

/// The configuration of a text that has nothing wrong with it.
#[track_caller]
fn good(text: &str) -> ConfigUpdate {
    let loaded = read(text);
    assert_eq!(summary(&loaded), [""; 0], "{text}");
    loaded.update.unwrap()
}

/// Each diagnostic as `code line:column`.
fn summary(loaded: &Loaded) -> Vec<String> {
    let show = |d: &Diagnostic| format!("{} {}:{}", d.code, d.line, d.column);
    loaded.diagnostics.iter().map(show).collect()
}

/// A document of one virtual host with the given routes (flow style) and two clusters.
fn with_routes(routes: &str) -> String {
    format!(
        "version: 1\nvirtual_hosts:\n  a:\n    routes: [{routes}]\nclusters:\n  \
         one: {{ dns: \"one:80\" }}\n  two: {{ dns: \"two:80\" }}\n"
    )
}

/// A document of one cluster with the given keys (flow style).
fn with_cluster(keys: &str) -> String {
    format!("version: 1\nclusters:\n  one: {{ {keys} }}\n")
}
