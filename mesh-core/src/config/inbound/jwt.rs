//! `jwt`: the token that a request must carry (Envoy: `jwt_authn`).
//!
//! It stands behind `deny` and `allow`: who may not come at all is refused for less than a signature costs.

use super::super::fields::Fields;
use super::super::node::{Node, Span, shorten};
use super::super::reader::Reader;
use super::super::route_match;
use super::super::shape::{Kind, Shape, key};
use super::super::value::Value;
use super::super::{code, node::Content};
use super::permission::POLICY_MATCH;
use crate::filter::jwt::KeySet;
use crate::model::RouteMatch;
use crate::model::http_filter::{
    HttpUri, JwksSource, JwtAuthn, JwtHeader, JwtProvider, JwtRequirement, JwtRule, RemoteJwks,
};
use http::{HeaderName, Uri};
use std::sync::Arc;
use std::time::Duration;

/// The name of the provider, in logs and errors.
const PROVIDER: &str = "jwt";
/// How long is waited for keys (Envoy's own example of `remote_jwks`).
const KEYS_TIMEOUT: Duration = Duration::from_secs(5);
/// How many good tokens are remembered (Envoy: `jwt_cache_config`).
const REMEMBERED: u32 = 100;

static FROM_HEADER: Shape = Shape::new(
    "from_header",
    &[&[
        key("name", Kind::Text, "The header.").required(),
        key("prefix", Kind::Text, "What comes before the token in it. Default nothing."),
    ]],
);
static JWT: Shape = Shape::new(
    "jwt",
    &[&[
        key("issuer", Kind::Text, "Who issues the tokens: what `iss` must be.").required(),
        key(
            "audiences",
            Kind::OneOrMany(&Kind::Text),
            "One of these is among `aud`. Default any audience.",
        ),
        key(
            "jwks",
            Kind::Text,
            "The issuer's keys (RFC 7517): a file beside this one, which is read with it, or a URL of `http` or `https`.",
        )
        .required(),
        key(
            "cluster",
            Kind::Text,
            "Where the URL of `jwks` is asked for; its `tls` says whether that is encrypted. Needed with a URL.",
        ),
        key(
            "timeout",
            Kind::POSITIVE_TIME,
            "How long is waited for the keys of a URL. Default 5s.",
        ),
        key(
            "from_header",
            Kind::OneOrMany(&Kind::Either(&[Kind::Text, Kind::Mapping(&FROM_HEADER)])),
            "Where the token is, without any other place. Default `authorization`, after `Bearer `; then the parameter `access_token`.",
        ),
        key(
            "forward",
            Kind::Flag,
            "Whether the token goes on to the application. Default false.",
        ),
        key(
            "except",
            Kind::OneOrMany(&Kind::Mapping(&POLICY_MATCH)),
            "Which requests need no token. Default none.",
        ),
    ]],
);
pub(super) const JWT_KIND: Kind = Kind::Mapping(&JWT);

impl Value for JwtAuthn {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let issuer = fields.value("issuer").and_then(|(node, _)| text(reader, node, "an issuer"));
        let audiences: Option<Vec<Arc<str>>> = fields.read(reader, "audiences");
        let jwks = keys(reader, &fields);
        let headers: Option<Vec<JwtHeader>> = fields.read(reader, "from_header");
        let forward: Option<bool> = fields.read(reader, "forward");
        let except: Option<Vec<Excepted>> = fields.read(reader, "except");
        let mut provider = JwtProvider::new(jwks?);
        provider.issuer = Some(issuer?);
        provider.audiences = audiences.unwrap_or_default();
        provider.from_headers = headers.unwrap_or_default();
        provider.forward = forward.unwrap_or_default();
        provider.cache_size = REMEMBERED;
        let mut filter = Self::default();
        filter.providers.insert(PROVIDER.into(), provider);
        let free = except.unwrap_or_default().into_iter();
        filter.rules = free.map(|one| JwtRule { matcher: one.0, requires: None }).collect();
        let requires = Some(JwtRequirement::provider(PROVIDER));
        filter.rules.push(JwtRule { matcher: RouteMatch::any(), requires });
        Some(filter)
    }
}

/// A text that is not empty.
fn text(reader: &mut Reader<'_>, node: &Node, what: &str) -> Option<Arc<str>> {
    let text = reader.scalar(node, what)?.text;
    if text.is_empty() {
        reader.report.add(code::OUT_OF_RANGE, node.span, format!("{what} is not empty"));
        return None;
    }
    Some(text.into())
}

/// Requests that need no token.
struct Excepted(RouteMatch);

impl Value for Excepted {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let fields = Fields::open(reader, node, kind)?;
        let mut wanted = RouteMatch::any();
        route_match::conditions(reader, &fields, &mut wanted);
        Some(Self(wanted))
    }
}

impl Value for JwtHeader {
    fn read(reader: &mut Reader<'_>, node: &Node, kind: &'static Kind) -> Option<Self> {
        let Content::Mapping(_) = node.content else {
            let name = HeaderName::read(reader, node, kind)?;
            return Some(Self { name, value_prefix: Arc::from("") });
        };
        let fields = Fields::open(reader, node, kind)?;
        let name: Option<HeaderName> = fields.read(reader, "name");
        let prefix: Option<Arc<str>> = fields.read(reader, "prefix");
        Some(Self { name: name?, value_prefix: prefix.unwrap_or_default() })
    }
}

/// Where the keys are: at a URL, if it looks like one, or in a file.
fn keys(reader: &mut Reader<'_>, fields: &Fields<'_>) -> Option<JwksSource> {
    let cluster = fields.value("cluster");
    let timeout: Option<Duration> = fields.read(reader, "timeout");
    let (node, _) = fields.value("jwks")?;
    let text: Arc<str> = text(reader, node, "the path of a file, or a URL")?;
    if !text.contains("://") {
        fields.misplaced(reader, &["cluster", "timeout"], "where `jwks` is a file");
        return file(reader, node.span, &text);
    }
    let uri = url(reader, node.span, &text);
    let Some((node, _)) = cluster else {
        let message = "`jwks` is a URL, and nothing says through which cluster it is asked for";
        reader.report.add(code::MISSING_KEY, node.span, message).suggest(
            "write `cluster: NAME`, and what leads there under `clusters`; or name a file",
        );
        return None;
    };
    let cluster: Arc<str> = reader.scalar(node, "the name of a cluster")?.text.into();
    reader.refer(&cluster, node.span);
    let uri = HttpUri::new(uri?, cluster, timeout.unwrap_or(KEYS_TIMEOUT));
    Some(JwksSource::Remote(RemoteJwks::new(uri)))
}

fn url(reader: &mut Reader<'_>, span: Span, text: &str) -> Option<Arc<str>> {
    let parsed = text.parse::<Uri>().ok();
    let is_http = parsed.as_ref().is_some_and(|uri| {
        matches!(uri.scheme_str(), Some("http" | "https")) && uri.authority().is_some()
    });
    if !is_http {
        let message = format!("`{}` is no URL of http or https", shorten(text));
        let suggestion = "for example `https://issuer.example/keys`, or a file beside this one";
        reader.report.add(code::INVALID_URL, span, message).suggest(suggestion);
        return None;
    }
    Some(text.into())
}

fn file(reader: &mut Reader<'_>, span: Span, path: &Arc<str>) -> Option<JwksSource> {
    let document = reader.documents.get(span.document as usize)?.name;
    let shown = shorten(path);
    let text = match reader.environment.file(document, path) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("`{shown}` can't be read: {error}");
            let suggestion = "paths are relative to the file that names them";
            reader.report.add(code::UNREADABLE_FILE, span, message).suggest(suggestion);
            return None;
        }
    };
    if let Err(error) = KeySet::parse(text.as_bytes()) {
        let message = format!("`{shown}`: {error}");
        reader
            .report
            .add(code::INVALID_JWKS, span, message)
            .suggest("the file holds the issuer's public keys: `{\"keys\": [{\"kty\": …}]}`");
        return None;
    }
    Some(JwksSource::Inline(text.into()))
}
