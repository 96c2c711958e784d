//! [`FormatError`]: why a text is no format.

use std::fmt;

/// Why a text is no format: where, and what is wrong there.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FormatError {
    /// The field of a JSON template, as `a.b[0]`; `None`: the format is a text, or the template is no JSON.
    pub field: Option<String>,
    /// Where in the text, in bytes from its beginning.
    pub at: usize,
    /// What is wrong.
    pub problem: FormatProblem,
}

/// What is wrong with a format.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FormatProblem {
    /// There is no such operator.
    #[error("there is no operator `%{name}%`{}", Hint(*suggestion))]
    UnknownOperator {
        /// What is written.
        name: String,
        /// The operator that is most like it.
        suggestion: Option<&'static str>,
    },
    /// An operator wants a parameter.
    #[error("`%{operator}%` wants a parameter in parentheses: `%{operator}({example})%`")]
    MissingParameter {
        /// The operator.
        operator: &'static str,
        /// What a parameter looks like.
        example: &'static str,
    },
    /// An operator takes no parameter.
    #[error("`%{operator}%` takes no parameter")]
    UnexpectedParameter {
        /// The operator.
        operator: &'static str,
    },
    /// A parameter is none of those that there are.
    #[error("`{parameter}` is no parameter of `%{operator}%`, which takes {rule}{}", Hint(*suggestion))]
    WrongParameter {
        /// The operator.
        operator: &'static str,
        /// What is written.
        parameter: String,
        /// What it takes.
        rule: &'static str,
        /// The one that is most like it.
        suggestion: Option<&'static str>,
    },
    /// A length is given to a number.
    #[error("`%{operator}%` has no length: only texts are cut")]
    UnexpectedLength {
        /// The operator.
        operator: &'static str,
    },
    /// A length is too large, or zero.
    #[error("a length is 1 to {} bytes", super::parse::MAX_LENGTH)]
    WrongLength,
    /// A percent sign begins no operator, or one that does not end.
    #[error("`%` begins an operator that does not end with `%`: a percent sign itself is `%%`")]
    Unclosed,
    /// A text has more than one line.
    #[error("a format is one line: only its last character may be a line feed")]
    LineBreak,
    /// A template is no object of JSON.
    #[error("the template is no JSON object: {0}")]
    NotJson(String),
}

impl FormatError {
    pub(super) const fn new(at: usize, problem: FormatProblem) -> Self {
        Self { field: None, at, problem }
    }
}

impl fmt::Display for FormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("access log format, ")?;
        if let Some(field) = &self.field {
            write!(f, "field `{field}`, ")?;
        }
        write!(f, "byte {}: {}", self.at, self.problem)
    }
}

impl std::error::Error for FormatError {}

/// What might be meant.
struct Hint<'a>(Option<&'a str>);

impl fmt::Display for Hint<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(known) => write!(f, "; did you mean `{known}`?"),
            None => Ok(()),
        }
    }
}

/// The known word that is most like `word`.
#[cfg(feature = "config")]
pub(super) fn closest(
    word: &str,
    known: impl IntoIterator<Item = &'static str>,
) -> Option<&'static str> {
    // Some fifty words: once for each format.
    crate::config::closest(word, known, &mut 1_000)
}

/// Without the feature `config` nothing compares words.
#[cfg(not(feature = "config"))]
pub(super) fn closest(_: &str, _: impl IntoIterator<Item = &'static str>) -> Option<&'static str> {
    None
}
