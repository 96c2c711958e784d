//! Text → pieces: what stands for itself, and operators.

use super::error::{FormatError, FormatProblem, closest};
use super::grpc::GrpcForm;
use super::header::{Field, HeaderOperator, Part};
use super::name::{Kind, MeshField, Name, Parameter};
use super::operator::{Operator, PathSource};
use super::start_time::TimeSpec;

/// The largest length that a format may give a value, in bytes.
pub(super) const MAX_LENGTH: usize = 65_535;

/// A part of a format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// What stands for itself.
    Literal(String),
    Operator(OperatorPiece),
}

/// An operator where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct OperatorPiece {
    pub(super) operator: Operator,
    /// The most bytes of its value.
    pub(super) length: Option<usize>,
    /// Between quotation marks of the format.
    pub(super) quoted: bool,
}

/// Reads a text.
pub(super) fn parse(text: &str) -> Result<Vec<Piece>, FormatError> {
    let mut pieces = Vec::new();
    let (mut literal, mut quoted, mut at) = (String::new(), false, 0);
    while let Some(found) = text[at..].find('%') {
        let (before, rest) = text[at..].split_at(found);
        quoted ^= before.matches('"').count() % 2 == 1;
        literal.push_str(before);
        at += found;
        if rest.starts_with("%%") {
            literal.push('%');
            at += 2;
            continue;
        }
        if !literal.is_empty() {
            pieces.push(Piece::Literal(std::mem::take(&mut literal)));
        }
        let written =
            Written::read(rest).ok_or_else(|| FormatError::new(at, FormatProblem::Unclosed))?;
        let (operator, length) =
            written.compile().map_err(|problem| FormatError::new(at, problem))?;
        pieces.push(Piece::Operator(OperatorPiece { operator, length, quoted }));
        at += written.bytes;
    }
    literal.push_str(&text[at..]);
    if !literal.is_empty() {
        pieces.push(Piece::Literal(literal));
    }
    Ok(pieces)
}

/// An operator as it is written.
struct Written<'t> {
    name: &'t str,
    parameter: Option<&'t str>,
    length: Option<&'t str>,
    /// How much of the text it is.
    bytes: usize,
}

impl<'t> Written<'t> {
    /// Reads it from the `%` on; `None`: it does not end.
    fn read(text: &'t str) -> Option<Self> {
        let inside = text.get(1..)?;
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let name = &inside[..inside.bytes().position(|byte| !is_name(byte))?];
        let rest = &inside[name.len()..];
        let Some(parameters) = rest.strip_prefix('(') else {
            let (length, bytes) = end(rest)?;
            return Some(Self { name, parameter: None, length, bytes: 1 + name.len() + bytes });
        };
        // The first parenthesis that an operator ends after: dates have percent signs.
        let ends = parameters.match_indices(')');
        let mut ends = ends.filter_map(|(at, _)| Some((at, end(&parameters[at + 1..])?)));
        let (at, (length, bytes)) = ends.next()?;
        let bytes = 1 + name.len() + 1 + at + 1 + bytes;
        Some(Self { name, parameter: Some(&parameters[..at]), length, bytes })
    }

    fn compile(&self) -> Result<(Operator, Option<usize>), FormatProblem> {
        let name = Name::parse(self.name).ok_or_else(|| {
            let suggestion = closest(self.name, Name::ALL.iter().copied().map(Name::as_str));
            FormatProblem::UnknownOperator { name: self.name.to_owned(), suggestion }
        })?;
        let operator = operator(name, self.parameter)?;
        let length = self.length.map(length).transpose()?;
        // Envoy: a date is as long as its form.
        let is_text = operator.kind() == Kind::Text && name != Name::StartTime;
        if length.is_some() && !is_text {
            return Err(FormatProblem::UnexpectedLength { operator: name.as_str() });
        }
        Ok((operator, length))
    }
}

/// The length and the `%` that end an operator, and how much of the text they are.
fn end(text: &str) -> Option<(Option<&str>, usize)> {
    if text.starts_with('%') {
        return Some((None, 1));
    }
    let digits = text.strip_prefix(':')?;
    let count = digits.bytes().position(|byte| !byte.is_ascii_digit())?;
    let is_end = count > 0 && digits[count..].starts_with('%');
    is_end.then_some((Some(&digits[..count]), 1 + count + 1))
}

fn length(digits: &str) -> Result<usize, FormatProblem> {
    let length = digits.parse().ok().filter(|length| (1..=MAX_LENGTH).contains(length));
    length.ok_or(FormatProblem::WrongLength)
}

fn operator(name: Name, parameter: Option<&str>) -> Result<Operator, FormatProblem> {
    let operator = name.as_str();
    let parameter = match (name.parameter(), parameter) {
        (Parameter::None, Some(_)) => return Err(FormatProblem::UnexpectedParameter { operator }),
        (Parameter::Required(example), None | Some("")) => {
            return Err(FormatProblem::MissingParameter { operator, example });
        }
        (_, parameter) => parameter.unwrap_or_default(),
    };
    let wrong = |rule, suggestion| {
        let parameter = parameter.to_owned();
        FormatProblem::WrongParameter { operator, parameter, rule, suggestion }
    };
    match name {
        Name::StartTime if parameter.is_empty() => Ok(Operator::StartTime(TimeSpec::iso())),
        Name::StartTime => TimeSpec::parse(parameter)
            .map(Operator::StartTime)
            .ok_or_else(|| wrong("specifiers of strftime, as `%Y-%m-%dT%H:%M:%S.%3fZ`", None)),
        Name::Path => path(parameter)
            .ok_or_else(|| wrong("`NQ` or `WQ`, and `:ORIG`, `:PATH` or `:ORIG_OR_PATH`", None)),
        Name::GrpcStatus if parameter.is_empty() => Ok(Operator::Grpc(GrpcForm::Camel)),
        Name::GrpcStatus => GrpcForm::parse(parameter).map(Operator::Grpc).ok_or_else(|| {
            let suggestion = closest(parameter, GrpcForm::NAMES);
            wrong("`CAMEL_STRING`, `SNAKE_STRING` or `NUMBER`", suggestion)
        }),
        Name::ResponseCodeDetails => match parameter {
            "" => Ok(Operator::Details { spaces: false }),
            "ALLOW_WHITESPACES" => Ok(Operator::Details { spaces: true }),
            _ => Err(wrong("`ALLOW_WHITESPACES`", closest(parameter, ["ALLOW_WHITESPACES"]))),
        },
        Name::Mesh => MeshField::parse(parameter).map(Operator::Mesh).ok_or_else(|| {
            let known = MeshField::ALL.iter().copied().map(MeshField::as_str);
            wrong(
                "a field of a mesh, as `reason`, `attempts` or `policy`",
                closest(parameter, known),
            )
        }),
        _ => match header_part(name) {
            Some((part, unredacted)) => header(part, unredacted, parameter)
                .ok_or_else(|| wrong("one or two names of headers, as `X-A?X-B`", None)),
            None => Ok(Operator::Plain(name)),
        },
    }
}

fn path(parameter: &str) -> Option<Operator> {
    let (query, source) = parameter.split_once(':').unwrap_or((parameter, ""));
    let query = match query {
        // Envoy's default is `WQ`: what a query tells is to be asked for.
        "" | "NQ" => false,
        "WQ" => true,
        _ => return None,
    };
    let source = match source {
        "ORIG" => PathSource::Original,
        "PATH" => PathSource::Path,
        "" | "ORIG_OR_PATH" => PathSource::OriginalOrPath,
        _ => return None,
    };
    Some(Operator::Path { query, source })
}

/// Whose headers an operator tells, and whether whole; `None`: it tells of none.
const fn header_part(name: Name) -> Option<(Part, bool)> {
    match name {
        Name::Req | Name::RequestHeader => Some((Part::Request, false)),
        Name::Resp | Name::ResponseHeader => Some((Part::Response, false)),
        Name::Trailer | Name::ResponseTrailer => Some((Part::Trailer, false)),
        Name::UnredactedReq => Some((Part::Request, true)),
        Name::UnredactedResp => Some((Part::Response, true)),
        Name::UnredactedTrailer => Some((Part::Trailer, true)),
        _ => None,
    }
}

fn header(part: Part, unredacted: bool, parameter: &str) -> Option<Operator> {
    let (first, second) = match parameter.split_once('?') {
        Some((first, second)) => (first, Some(Field::parse(part, second)?)),
        None => (parameter, None),
    };
    let first = Field::parse(part, first)?;
    Some(Operator::Header(HeaderOperator { part, first, second, unredacted }))
}
