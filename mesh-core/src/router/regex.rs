//! [`CompiledRegex`]: a regular expression in RE2 syntax, checked and bounded.
//!
//! Why not a plain compile: patterns come from a control plane and mean what RE2 says they mean (see
//! [`re2`](super::re2)), match a *whole* string, and must not blow up. A pattern has at most
//! [`MAX_PATTERN`] bytes and its automaton at most [`MAX_PROGRAM`] bytes (Envoy:
//! `re2.max_program_size`). Matching takes time linear in the input and, after the first use on a
//! thread, allocates nothing.

use super::re2;
use crate::model::RegexPattern;
use regex_automata::meta;
use regex_syntax::ParserBuilder;
use regex_syntax::hir::{Hir, HirKind, Look};
use std::borrow::Cow;
use std::sync::Arc;

/// The longest pattern, in bytes.
pub const MAX_PATTERN: usize = 4096;

/// The largest automaton, in bytes.
pub const MAX_PROGRAM: usize = 1 << 20;

/// How deep groups may stand in each other.
const MAX_NESTING: u32 = 250;

/// Why a pattern was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RegexError {
    /// It is longer than [`MAX_PATTERN`].
    #[error("the pattern has {len} bytes, {MAX_PATTERN} are allowed")]
    TooLong {
        /// Its length in bytes.
        len: usize,
    },
    /// RE2 does not take this, or means something by it that is not supported here.
    #[error("at byte {at} of the pattern: {what}")]
    Unsupported {
        /// Where, in bytes from the start.
        at: usize,
        /// What is wrong.
        what: &'static str,
    },
    /// The pattern is not well formed.
    #[error("the pattern is not well formed: {0}")]
    Syntax(Box<str>),
    /// Its automaton would be larger than [`MAX_PROGRAM`], or its nested counts multiply to more than
    /// 1000.
    #[error("the pattern is too large: {MAX_PROGRAM} bytes of automaton, 1000 nested repetitions")]
    TooLarge,
    /// A substitution has a backslash that no digit or backslash follows.
    #[error("in a substitution, a backslash comes before a digit or another backslash")]
    Substitution,
    /// A substitution names a group that the pattern does not have.
    #[error("the substitution uses group {group}, the pattern has {groups}")]
    NoSuchGroup {
        /// The group that was named.
        group: usize,
        /// How many there are.
        groups: usize,
    },
}

/// A regular expression that matches a whole string.
#[derive(Clone, Debug)]
pub struct CompiledRegex {
    pattern: Arc<str>,
    regex: meta::Regex,
}

impl CompiledRegex {
    /// Compiles `pattern` to match whole strings.
    ///
    /// # Errors
    /// [`RegexError`] says what is wrong with the pattern.
    pub fn full_match(pattern: &RegexPattern) -> Result<Self, RegexError> {
        // Anchored as a tree and not as text, where `a)|(b` would slip through.
        let whole = |hir| Hir::concat(vec![Hir::look(Look::Start), hir, Hir::look(Look::End)]);
        Ok(Self { pattern: pattern.0.clone(), regex: build(&whole(parse(pattern)?))? })
    }

    /// Compiles `pattern` to match anywhere in a string, as CEL's `matches` does.
    ///
    /// # Errors
    /// [`RegexError`] says what is wrong with the pattern.
    pub fn part_match(pattern: &RegexPattern) -> Result<Self, RegexError> {
        Ok(Self { pattern: pattern.0.clone(), regex: build(&parse(pattern)?)? })
    }

    /// Whether `text` matches: the whole of it, or a part, as the pattern was compiled.
    #[must_use]
    pub fn is_match(&self, text: &[u8]) -> bool {
        self.regex.is_match(text)
    }

    /// About how many bytes its automata take.
    #[must_use]
    pub fn memory_usage(&self) -> usize {
        self.regex.memory_usage()
    }

    /// The pattern as it was configured.
    #[must_use]
    pub fn pattern(&self) -> &str {
        &self.pattern
    }
}

/// A pattern and what takes the place of each of its matches (Envoy: `RegexMatchAndSubstitute`).
#[derive(Clone, Debug)]
pub struct CompiledSubstitution {
    regex: meta::Regex,
    parts: Box<[Part]>,
}

#[derive(Clone, Debug)]
enum Part {
    Text(Box<str>),
    Group(usize),
}

impl CompiledSubstitution {
    /// Compiles `pattern`, and `substitution` with `\0` for the match, `\1` to `\9` for its groups
    /// and `\\` for a backslash.
    ///
    /// # Errors
    /// [`RegexError`] says what is wrong with the pattern or the substitution.
    pub fn new(pattern: &RegexPattern, substitution: &str) -> Result<Self, RegexError> {
        let regex = build(&parse(pattern)?)?;
        let parts = parse_substitution(substitution)?;
        let groups = regex.captures_len() - 1;
        for part in &parts {
            if let Part::Group(group) = *part
                && group > groups
            {
                return Err(RegexError::NoSuchGroup { group, groups });
            }
        }
        Ok(Self { regex, parts: parts.into() })
    }

    /// `text` with every match replaced, from left to right and without overlap; borrowed when
    /// nothing matches.
    #[must_use]
    pub fn replace_all<'t>(&self, text: &'t [u8]) -> Cow<'t, [u8]> {
        let mut out: Option<Vec<u8>> = None;
        let mut copied = 0;
        for captures in self.regex.captures_iter(text) {
            let Some(whole) = captures.get_match() else { continue };
            let out = out.get_or_insert_with(|| Vec::with_capacity(text.len() + 16));
            out.extend_from_slice(&text[copied..whole.start()]);
            for part in &self.parts {
                match part {
                    Part::Text(literal) => out.extend_from_slice(literal.as_bytes()),
                    Part::Group(group) => {
                        let span = captures.get_group(*group).map(|span| span.range());
                        out.extend_from_slice(span.map_or(&[], |range| &text[range]));
                    }
                }
            }
            copied = whole.end();
        }
        match out {
            None => Cow::Borrowed(text),
            Some(mut out) => {
                out.extend_from_slice(&text[copied..]);
                Cow::Owned(out)
            }
        }
    }
}

fn parse(pattern: &RegexPattern) -> Result<Hir, RegexError> {
    let text = &*pattern.0;
    if text.len() > MAX_PATTERN {
        return Err(RegexError::TooLong { len: text.len() });
    }
    let translated = re2::translate(text)?;
    let parser = ParserBuilder::new().unicode(true).utf8(false).nest_limit(MAX_NESTING).build();
    let hir = { parser }.parse(&translated).map_err(|error| {
        let why = match &error {
            regex_syntax::Error::Parse(error) => error.kind().to_string(),
            regex_syntax::Error::Translate(error) => error.kind().to_string(),
            other => other.to_string(),
        };
        RegexError::Syntax(why.into())
    })?;
    if repeats(&hir) > u64::from(re2::MAX_REPEAT) {
        return Err(RegexError::TooLarge);
    }
    Ok(hir)
}

/// The largest product of counts of repetitions that stand in each other.
fn repeats(hir: &Hir) -> u64 {
    match hir.kind() {
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(repetition.min).max(1);
            repeats(&repetition.sub).saturating_mul(u64::from(most))
        }
        HirKind::Capture(capture) => repeats(&capture.sub),
        HirKind::Concat(parts) | HirKind::Alternation(parts) => {
            parts.iter().map(repeats).max().unwrap_or(1)
        }
        HirKind::Empty | HirKind::Literal(_) | HirKind::Class(_) | HirKind::Look(_) => 1,
    }
}

fn build(hir: &Hir) -> Result<meta::Regex, RegexError> {
    let limits = meta::Config::new()
        .utf8_empty(false)
        .nfa_size_limit(Some(MAX_PROGRAM))
        .onepass_size_limit(Some(MAX_PROGRAM))
        .hybrid_cache_capacity(256 << 10);
    meta::Builder::new().configure(limits).build_from_hir(hir).map_err(|error| {
        if error.size_limit().is_some() {
            return RegexError::TooLarge;
        }
        RegexError::Syntax(error.to_string().into())
    })
}

fn parse_substitution(text: &str) -> Result<Vec<Part>, RegexError> {
    let mut parts = Vec::new();
    let mut literal = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            literal.push(c);
            continue;
        }
        match chars.next() {
            Some('\\') => literal.push('\\'),
            Some(digit @ '0'..='9') => {
                if !literal.is_empty() {
                    parts.push(Part::Text(std::mem::take(&mut literal).into()));
                }
                parts.push(Part::Group(digit as usize - '0' as usize));
            }
            _ => return Err(RegexError::Substitution),
        }
    }
    if !literal.is_empty() {
        parts.push(Part::Text(literal.into()));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests;
