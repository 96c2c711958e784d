//! Templates of paths: `/v1/{shelf}/books/*` (Envoy: `path.match.uri_template.v3.UriTemplateMatchConfig`).
//!
//! - `*` and `{name}` stand for one segment, which is not empty; `**` for any text, slashes included, and
//!   after it there is no other of the three. `{name=v1/*}` stands for what is behind the `=`.
//! - They stand alone in their segment; a literal may follow the last one: `/**.mpd`.
//! - There are 5 names at most, of 1 to 16 letters, digits and `_`, a letter first, and none twice.
//! - Literals have what RFC 3986 allows in a segment, but for `*` and `=`.

use crate::model::RegexPattern;
use crate::router::{CompiledRegex, RegexError};
use std::fmt::Write;

/// The characters of literals, and of what stands for them.
const CLASS: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@]";
const CLASS_AND_SLASH: &str = "[a-zA-Z0-9\\-._~%!$&'()+,;:@/]";
const MAX_VARIABLES: usize = 5;
const MAX_NAME: usize = 16;

/// Why a template was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TemplateError {
    /// It does not begin with a slash.
    #[error("a template begins with `/`")]
    NoSlash,
    /// A segment has a character that is none of a path's, or is empty.
    #[error("`{0}` is no segment of a template: write text, `*`, `**` or `{{name}}`")]
    Segment(String),
    /// A variable's brackets do not fit.
    #[error("a variable is written `{{name}}` or `{{name=segments}}`")]
    Brackets,
    /// A variable's name is not allowed.
    #[error("`{0}` is no name of a variable: 1 to 16 letters, digits and `_`, a letter first")]
    Name(String),
    /// A variable is there twice.
    #[error("the variable `{0}` is there twice")]
    Twice(String),
    /// There are too many variables.
    #[error("a template has 5 variables at most")]
    TooMany,
    /// There is something variable after `**`.
    #[error("nothing variable may follow `**`")]
    AfterTextGlob,
    /// It is too large.
    #[error(transparent)]
    TooLarge(#[from] RegexError),
}

/// Checks a template, for whoever reads one.
///
/// # Errors
/// [`TemplateError`]: the rule that is broken.
pub fn check_template(template: &str) -> Result<(), TemplateError> {
    compile(template).map(drop)
}

/// Compiles a template.
pub(super) fn compile(template: &str) -> Result<CompiledRegex, TemplateError> {
    let mut parser = Parser::default();
    let mut rest = template.strip_prefix('/').ok_or(TemplateError::NoSlash)?;
    parser.regex.push('/');
    while !rest.is_empty() {
        rest = parser.segment(rest)?;
        match rest.strip_prefix('/') {
            Some(after) => {
                parser.regex.push('/');
                rest = after;
            }
            // A literal behind the last segment; no slash in it.
            None if !rest.is_empty() => {
                parser.literal(rest)?;
                break;
            }
            None => break,
        }
    }
    Ok(CompiledRegex::full_match(&RegexPattern::new(parser.regex))?)
}

#[derive(Default)]
struct Parser<'t> {
    regex: String,
    names: Vec<&'t str>,
    text_glob: bool,
}

impl<'t> Parser<'t> {
    /// Reads one segment; what follows it.
    fn segment(&mut self, rest: &'t str) -> Result<&'t str, TemplateError> {
        if let Some(variable) = rest.strip_prefix('{') {
            let (inner, after) = variable.split_once('}').ok_or(TemplateError::Brackets)?;
            self.variable(inner)?;
            return Ok(after);
        }
        if rest.starts_with('*') {
            return self.glob(rest);
        }
        let end = rest.find('/').unwrap_or(rest.len());
        self.literal(&rest[..end])?;
        Ok(&rest[end..])
    }

    fn variable(&mut self, inner: &'t str) -> Result<(), TemplateError> {
        let (name, pattern) = match inner.split_once('=') {
            Some((_, "")) => return Err(TemplateError::Brackets),
            Some((name, pattern)) => (name, pattern),
            None => (inner, "*"),
        };
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        let first = name.starts_with(|first: char| first.is_ascii_alphabetic());
        if !first || name.len() > MAX_NAME || !name.bytes().all(letters) {
            return Err(TemplateError::Name(shorten(name)));
        }
        if self.names.contains(&name) {
            return Err(TemplateError::Twice(name.to_owned()));
        }
        if self.names.len() == MAX_VARIABLES {
            return Err(TemplateError::TooMany);
        }
        self.names.push(name);
        for (at, segment) in pattern.split('/').enumerate() {
            if at > 0 {
                self.regex.push('/');
            }
            match segment {
                "*" | "**" => {
                    self.glob(segment)?;
                }
                literal => self.literal(literal)?,
            }
        }
        Ok(())
    }

    fn glob(&mut self, rest: &'t str) -> Result<&'t str, TemplateError> {
        if std::mem::take(&mut self.text_glob) {
            return Err(TemplateError::AfterTextGlob);
        }
        if let Some(after) = rest.strip_prefix("**") {
            self.text_glob = true;
            self.regex.push_str(CLASS_AND_SLASH);
            self.regex.push('*');
            return Ok(after);
        }
        self.regex.push_str(CLASS);
        self.regex.push('+');
        Ok(&rest[1..])
    }

    fn literal(&mut self, text: &str) -> Result<(), TemplateError> {
        let allowed =
            |byte: u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()+,;:@".contains(&byte);
        if text.is_empty() || !text.bytes().all(allowed) {
            return Err(TemplateError::Segment(shorten(text)));
        }
        for letter in text.chars() {
            let escape = if letter.is_ascii_alphanumeric() { "" } else { "\\" };
            // Writing to a text never fails.
            let _written = write!(self.regex, "{escape}{letter}");
        }
        Ok(())
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(64).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates() {
        for (template, path, expected) in [
            ("/", "/", true),
            ("/", "/a", false),
            ("/a/b", "/a/b", true),
            ("/a/b", "/a/b/", false),
            ("/a/", "/a/", true),
            ("/a.b", "/aXb", false),
            ("/a/*", "/a/b", true),
            ("/a/*", "/a/", false),
            ("/a/*", "/a/b/c", false),
            ("/a/*/c", "/a/b%2f/c", true),
            ("/a/**", "/a/", true),
            ("/a/**", "/a/b/c", true),
            ("/**", "/", true),
            ("/**.mpd", "/a/b.mpd", true),
            ("/**.mpd", "/a/b.mpe", false),
            ("/{a}/b/{c}", "/x/b/y", true),
            ("/{a}/b/{c}", "/x/c/y", false),
            ("/{a=v1/*}/b", "/v1/x/b", true),
            ("/{a=v1/*}/b", "/v2/x/b", false),
            ("/{a=**}", "/x/y", true),
            ("/{a}.json", "/x.json", true),
            ("/*", "/ä", false),
            ("/*", "/a?b", false),
        ] {
            let compiled = compile(template).unwrap();
            assert_eq!(compiled.is_match(path.as_bytes()), expected, "{template} {path}");
        }
    }

    #[test]
    fn refused() {
        use TemplateError::*;
        for (template, expected) in [
            ("", NoSlash),
            ("a", NoSlash),
            ("//", Segment("".into())),
            ("/a//b", Segment("".into())),
            ("/a b", Segment("a b".into())),
            ("/a*", Segment("a*".into())),
            ("/*a/b", Segment("a/b".into())),
            ("/{a", Brackets),
            ("/{a=}", Brackets),
            ("/{}", Name("".into())),
            ("/{1}", Name("1".into())),
            ("/{a-b}", Name("a-b".into())),
            ("/{abcdefghijklmnopq}", Name("abcdefghijklmnopq".into())),
            ("/{a}/{a}", Twice("a".into())),
            ("/{a}/{b}/{c}/{d}/{e}/{f}", TooMany),
            ("/**/*", AfterTextGlob),
            ("/**/{a}", AfterTextGlob),
            ("/{a=**}/**", AfterTextGlob),
            ("/{a=/b}", Segment("".into())),
        ] {
            assert_eq!(compile(template).unwrap_err(), expected, "{template}");
        }
    }
}
