//! [`Asked`]: what a request asks for, as pages see it.

use super::query::Query;
use http::{HeaderMap, Method, header, request};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// For a terminal.
    Text,
    /// For a browser.
    Html,
    /// JSON; where Envoy has a page of that name, as Envoy writes it.
    Json,
    /// JSON with all that this mesh has to say, where Envoy's has no place for it.
    Mesh,
}

impl Format {
    const NAMES: [(&str, Self); 4] =
        [("text", Self::Text), ("html", Self::Html), ("json", Self::Json), ("mesh", Self::Mesh)];
}

/// A request for a page.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) method: Method,
    pub(super) path: String,
    pub(super) query: Query,
    /// Whether JSON is preferred (`accept`).
    accepts_json: bool,
}

impl Asked {
    pub(super) fn new(head: &request::Parts) -> Self {
        Self {
            method: head.method.clone(),
            path: head.uri.path().to_owned(),
            query: Query::parse(head.uri.query().unwrap_or_default()),
            accepts_json: accepts_json(&head.headers),
        }
    }

    /// How the answer is to be written: as `?format=` says, else as `accept` does, else as `default`. It is one
    /// of `known`.
    ///
    /// # Errors
    /// A sentence, if `?format=` names another one.
    pub(super) fn format(&self, default: Format, known: &[Format]) -> Result<Format, String> {
        let Some(wanted) = self.query.first("format") else {
            let json = self.accepts_json && known.contains(&Format::Json);
            return Ok(if json { Format::Json } else { default });
        };
        let mut names = Format::NAMES.iter().filter(|(_, format)| known.contains(format));
        let found = names.clone().find(|(name, _)| *name == wanted);
        found.map(|(_, format)| *format).ok_or_else(|| {
            let first = names.next().map_or("", |(name, _)| name);
            let names = names.fold(first.to_owned(), |names, (name, _)| format!("{names}, {name}"));
            format!("this page has no such format: it has {names}")
        })
    }
}

/// Whether a request says that it takes JSON, and not pages: a browser names both.
fn accepts_json(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let mut json = false;
    for kind in accepted.flat_map(|value| value.split(',')) {
        match kind.split(';').next().unwrap_or_default().trim() {
            "text/html" => return false,
            "application/json" => json = true,
            _ => {}
        }
    }
    json
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    fn asked(uri: &str, accept: &str) -> Asked {
        let request = Request::get(uri).header("accept", accept).body(()).unwrap();
        Asked::new(&request.into_parts().0)
    }

    #[test]
    fn the_query_comes_before_the_header_and_both_before_the_default() {
        let check = |uri: &str, accept: &str, expected: Result<Format, &str>| {
            let known = [Format::Text, Format::Json];
            let found = asked(uri, accept).format(Format::Text, &known);
            assert_eq!(found, expected.map_err(str::to_owned), "{uri} {accept}");
        };
        check("/", "*/*", Ok(Format::Text));
        check("/", "application/json", Ok(Format::Json));
        check("/", "text/plain, application/json;q=0.5", Ok(Format::Json));
        check("/", "text/html, application/json", Ok(Format::Text));
        check("/?format=text", "application/json", Ok(Format::Text));
        check("/?format=json", "*/*", Ok(Format::Json));
        check("/?format=mesh", "*/*", Err("this page has no such format: it has text, json"));
    }
}
