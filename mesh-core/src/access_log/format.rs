//! [`Format`]: a format, compiled, and its lines.

use super::error::{FormatError, FormatProblem};
use super::header::{ORIGINAL_PATH, Part};
use super::operator::Operator;
use super::parse::{OperatorPiece, Piece, parse};
use super::record::Record;
use super::{json, text};
use http::HeaderName;
use serde_json::Value as Template;

/// A format, compiled: what a line tells, and how.
///
/// # Examples
/// ```
/// use mesh_core::RequestHead;
/// use mesh_core::access_log::{Format, Record, Side};
///
/// let format = Format::text("%MESH(side)% \"%REQ(:METHOD)% %REQ(:PATH)%\" %RESPONSE_FLAGS%").unwrap();
/// let headers = http::HeaderMap::new();
/// let head = RequestHead::new(&http::Method::GET, "reviews", "/1?token=secret", &headers);
/// let mut line = String::new();
/// format.render(&Record::new(Side::Client, head), &mut line);
/// assert_eq!(line, "client \"GET /1\" -\n");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Format {
    shape: Shape,
    query: bool,
    request_headers: Vec<HeaderName>,
    response_headers: Vec<HeaderName>,
    trailers: Vec<HeaderName>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Shape {
    Text(Vec<Piece>),
    Json(Node),
}

impl Default for Shape {
    fn default() -> Self {
        Self::Text(Vec::new())
    }
}

/// A part of a template of JSON.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Node {
    /// JSON that is the same in each line.
    Constant(String),
    /// A string that is one operator: it has its type.
    Value(OperatorPiece),
    /// Any other string.
    Text(Vec<Piece>),
    /// An object; its keys as JSON, with their colons.
    Object(Vec<(String, Self)>),
    List(Vec<Self>),
}

impl Format {
    /// A format of text: one line, with or without the line feed that ends it.
    ///
    /// # Errors
    /// [`FormatError`]: there is something in it that is no operator, or more than one line.
    pub fn text(format: &str) -> Result<Self, FormatError> {
        let line = format.strip_suffix('\n').unwrap_or(format);
        if let Some(at) = line.find(['\n', '\r']) {
            return Err(FormatError::new(at, FormatProblem::LineBreak));
        }
        Ok(Self::of(Shape::Text(parse(line)?)))
    }

    /// A format of JSON: an object whose strings are formats of text, of any depth (Envoy: `json_format`). Numbers,
    /// truth values and `null` stand for themselves.
    ///
    /// # Errors
    /// [`FormatError`]: it is no object, or one of its strings is no format.
    pub fn json(template: &str) -> Result<Self, FormatError> {
        let not_json = |at, why: String| FormatError::new(at, FormatProblem::NotJson(why));
        let template: Template = serde_json::from_str(template)
            .map_err(|error| not_json(offset(template, &error), error.to_string()))?;
        match template {
            Template::Object(_) => {
                let node = Node::compile(&template, "")?;
                Ok(Self::of(Shape::Json(node)))
            }
            _ => Err(not_json(0, "it is another value".to_owned())),
        }
    }

    /// Tells queries wherever Envoy's operators do. Default: they are cut off, because they hold tokens, names and
    /// searches of people.
    #[must_use]
    pub fn keep_query(mut self) -> Self {
        self.query = true;
        self
    }

    /// The headers of requests that a [`Record`] is asked for.
    #[must_use]
    pub fn request_headers(&self) -> &[HeaderName] {
        &self.request_headers
    }

    /// The headers of responses that a [`Record`] is asked for.
    #[must_use]
    pub fn response_headers(&self) -> &[HeaderName] {
        &self.response_headers
    }

    /// The trailers of responses that a [`Record`] is asked for.
    #[must_use]
    pub fn trailers(&self) -> &[HeaderName] {
        &self.trailers
    }

    /// Appends the line of `record`: exactly one, with the line feed that ends it.
    pub fn render(&self, record: &Record<'_>, out: &mut String) {
        match &self.shape {
            Shape::Text(pieces) => {
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => out.push_str(literal),
                        Piece::Operator(OperatorPiece { operator, length, quoted }) => {
                            text::write(operator.value(record, self.query), *length, *quoted, out);
                        }
                    }
                }
            }
            Shape::Json(node) => node.render(record, self.query, out),
        }
        out.push('\n');
    }

    fn of(shape: Shape) -> Self {
        // Sampling goes by it, so that both sides of a call take the same.
        let request_headers = vec![HeaderName::from_static(super::filter::X_REQUEST_ID)];
        let mut format = Self { shape, request_headers, ..Self::default() };
        let mut found = Vec::new();
        match &format.shape {
            Shape::Text(pieces) => operators(pieces, &mut |operator| found.push(operator.clone())),
            Shape::Json(node) => node.operators(&mut |operator| found.push(operator.clone())),
        }
        found.iter().for_each(|operator| format.want(operator));
        format
    }

    /// Asks records for what an operator tells.
    fn want(&mut self, operator: &Operator) {
        match operator {
            Operator::Header(header) => {
                let wanted = match header.part {
                    Part::Request => &mut self.request_headers,
                    Part::Response => &mut self.response_headers,
                    Part::Trailer => &mut self.trailers,
                };
                let names = [Some(&header.first), header.second.as_ref()];
                for name in names.into_iter().flatten().filter_map(|field| field.header()) {
                    add(wanted, name.clone());
                }
            }
            Operator::Path { .. } => {
                add(&mut self.request_headers, HeaderName::from_static(ORIGINAL_PATH));
            }
            _ => {}
        }
    }
}

fn add(names: &mut Vec<HeaderName>, name: HeaderName) {
    if !names.contains(&name) {
        names.push(name);
    }
}

fn operators(pieces: &[Piece], tell: &mut dyn FnMut(&Operator)) {
    for piece in pieces {
        if let Piece::Operator(piece) = piece {
            tell(&piece.operator);
        }
    }
}

impl Node {
    /// `at`: the field, for errors.
    fn compile(template: &Template, at: &str) -> Result<Self, FormatError> {
        Ok(match template {
            Template::Null | Template::Bool(_) | Template::Number(_) => {
                Self::Constant(template.to_string())
            }
            Template::String(text) => Self::of_text(text)
                .map_err(|error| FormatError { field: Some(at.to_owned()), ..error })?,
            Template::Array(items) => {
                let items = items.iter().enumerate();
                let compile = |(index, item)| Self::compile(item, &format!("{at}[{index}]"));
                Self::List(items.map(compile).collect::<Result<_, _>>()?)
            }
            Template::Object(fields) => {
                let compile = |(key, field): (&String, &Template)| {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    let mut name = String::from("\"");
                    json::write_literal(key, &mut name);
                    Ok((name + "\":", Self::compile(field, &at)?))
                };
                let mut fields: Vec<_> = fields.iter().collect();
                fields.sort_unstable_by_key(|(key, _)| *key);
                Self::Object(fields.into_iter().map(compile).collect::<Result<_, _>>()?)
            }
        })
    }

    fn of_text(text: &str) -> Result<Self, FormatError> {
        let pieces = parse(text)?;
        Ok(match <[Piece; 1]>::try_from(pieces) {
            Ok([Piece::Operator(piece)]) => Self::Value(piece),
            Ok(one) => Self::Text(one.into()),
            Err(pieces) => Self::Text(pieces),
        })
    }

    fn operators(&self, tell: &mut dyn FnMut(&Operator)) {
        match self {
            Self::Constant(_) => {}
            Self::Value(piece) => tell(&piece.operator),
            Self::Text(pieces) => operators(pieces, tell),
            Self::Object(fields) => fields.iter().for_each(|(_, field)| field.operators(tell)),
            Self::List(items) => items.iter().for_each(|item| item.operators(tell)),
        }
    }

    fn render(&self, record: &Record<'_>, query: bool, out: &mut String) {
        match self {
            Self::Constant(constant) => out.push_str(constant),
            Self::Value(OperatorPiece { operator, length, .. }) => {
                json::write(operator.value(record, query), *length, out);
            }
            Self::Text(pieces) => {
                out.push('"');
                for piece in pieces {
                    match piece {
                        Piece::Literal(literal) => json::write_literal(literal, out),
                        Piece::Operator(OperatorPiece { operator, length, .. }) => {
                            json::write_inside(operator.value(record, query), *length, out);
                        }
                    }
                }
                out.push('"');
            }
            Self::Object(fields) => {
                let fields = fields.iter().map(|(key, field)| (key.as_str(), field));
                list('{', fields, '}', record, query, out);
            }
            Self::List(items) => {
                list('[', items.iter().map(|item| ("", item)), ']', record, query, out);
            }
        }
    }
}

fn list<'n>(
    open: char,
    nodes: impl Iterator<Item = (&'n str, &'n Node)>,
    close: char,
    record: &Record<'_>,
    query: bool,
    out: &mut String,
) {
    out.push(open);
    for (at, (key, node)) in nodes.enumerate() {
        if at > 0 {
            out.push(',');
        }
        out.push_str(key);
        node.render(record, query, out);
    }
    out.push(close);
}

/// Where an error of JSON is, in bytes.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    let before: usize = lines.map(str::len).sum();
    (before + error.column().saturating_sub(1)).min(text.len())
}
