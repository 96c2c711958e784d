//! Reads RE2 syntax and writes the same expression in the syntax of `regex-syntax`.
//!
//! Configurations are written for RE2 (Envoy: `type.matcher.v3.RegexMatcher`; gRFC A28), and a
//! pattern that means something else here would route differently from a proxy, silently. So every
//! construct that the two read differently is either translated or refused with its place:
//!
//! | RE2 | here |
//! |---|---|
//! | `\d \w \s \b` are ASCII, `\s` has no VT | ASCII classes, `(?-u:\b)` |
//! | `[a&&b]`, `[~~]`, `[[]`, `\<` are literal | escaped |
//! | `\Q…\E`, `\C`, `\101`, a lone `{` | translated |
//! | `(?x)`, `a++`, `{1001}`, look-around, back-references are refused | refused |
//!
//! Two things that RE2 takes are refused: `a(?i)*`, where the `*` belongs to the `a`, and counts above
//! 10^8, which it reads as text. Names of groups are dropped, since substitutions count groups.

mod class;
mod escape;

use super::regex::RegexError;
use std::fmt::Write;

/// RE2's limit for one repetition count.
pub(super) const MAX_REPEAT: u32 = 1000;

/// `pattern` in the syntax of `regex-syntax`.
pub(super) fn translate(pattern: &str) -> Result<String, RegexError> {
    let mut translator =
        Translator { pattern, at: 0, out: String::with_capacity(pattern.len() + 16) };
    translator.run()?;
    Ok(translator.out)
}

struct Translator<'p> {
    pattern: &'p str,
    at: usize,
    out: String,
}

/// What a repetition operator would apply to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Last {
    Nothing,
    Atom,
    Repetition,
}

impl<'p> Translator<'p> {
    fn run(&mut self) -> Result<(), RegexError> {
        let mut last = Last::Nothing;
        while let Some(c) = self.next() {
            last = match c {
                '\\' => self.escape(last)?,
                '[' => self.class()?,
                '(' => self.group()?,
                '|' => {
                    self.out.push('|');
                    Last::Nothing
                }
                '*' | '+' | '?' => {
                    self.out.push(c);
                    self.repetition(last)?
                }
                '{' => self.counted(last)?,
                ')' | '^' | '$' | '.' => {
                    self.out.push(c);
                    Last::Atom
                }
                literal => {
                    self.literal(literal);
                    Last::Atom
                }
            };
        }
        Ok(())
    }

    fn rest(&self) -> &'p str {
        &self.pattern[self.at..]
    }

    fn next(&mut self) -> Option<char> {
        let c = self.rest().chars().next()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn take(&mut self, text: &str) -> bool {
        let taken = self.rest().starts_with(text);
        if taken {
            self.at += text.len();
        }
        taken
    }

    fn take_while(&mut self, accept: impl Fn(u8) -> bool, most: usize) -> &'p str {
        let rest = self.rest();
        let len = rest.bytes().take(most).take_while(|byte| accept(*byte)).count();
        self.at += len;
        &rest[..len]
    }

    const fn refuse<T>(&self, what: &'static str) -> Result<T, RegexError> {
        Err(RegexError::Unsupported { at: self.at, what })
    }

    fn literal(&mut self, c: char) {
        if regex_syntax::is_meta_character(c) {
            self.out.push('\\');
        }
        self.out.push(c);
    }

    fn code_point(&mut self, code: u32) -> Result<(), RegexError> {
        match char::from_u32(code) {
            // Writing to a string can't fail.
            Some(c) => write!(self.out, "\\x{{{:x}}}", u32::from(c)).or(Ok(())),
            None => self.refuse("not a code point"),
        }
    }

    /// After an operator; takes the `?` that makes it lazy.
    fn repetition(&mut self, last: Last) -> Result<Last, RegexError> {
        match last {
            Last::Nothing => self.refuse("a repetition operator has nothing to repeat"),
            Last::Repetition => self.refuse("a repetition operator follows another"),
            Last::Atom => {
                if self.take("?") {
                    self.out.push('?');
                }
                Ok(Last::Repetition)
            }
        }
    }

    /// After `{`: a count, or a literal brace when it doesn't look like one.
    fn counted(&mut self, last: Last) -> Result<Last, RegexError> {
        let Some((least, most, len)) = repeat_count(self.rest()) else {
            self.literal('{');
            return Ok(Last::Atom);
        };
        if least > MAX_REPEAT || most.is_some_and(|most| most > MAX_REPEAT || most < least) {
            return self.refuse("a repetition count is above 1000 or its ends are swapped");
        }
        self.out.push('{');
        self.out.push_str(&self.rest()[..len]);
        self.at += len;
        self.repetition(last)
    }

    /// After `(`.
    fn group(&mut self) -> Result<Last, RegexError> {
        if !self.take("?") {
            self.out.push('(');
            return Ok(Last::Nothing);
        }
        if self.take("P<") || self.take("<") {
            return self.named_group();
        }
        self.flags()
    }

    fn named_group(&mut self) -> Result<Last, RegexError> {
        let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii();
        if self.take_while(word, usize::MAX).is_empty() || !self.take(">") {
            return self.refuse("not the name of a group (look-behind is not supported)");
        }
        self.out.push('(');
        Ok(Last::Nothing)
    }

    /// After `(?`: flags for the rest of the group, or for a group of their own.
    fn flags(&mut self) -> Result<Last, RegexError> {
        let (mut on, mut off) = (String::new(), String::new());
        let mut negated = false;
        let mut seen = false;
        loop {
            match self.next() {
                Some(flag @ ('i' | 'm' | 's' | 'U')) => {
                    on.retain(|set| set != flag);
                    off.retain(|set| set != flag);
                    if negated {
                        off.push(flag)
                    } else {
                        on.push(flag)
                    }
                    seen = true;
                }
                Some('-') if !negated => (negated, seen) = (true, false),
                Some(end @ (')' | ':')) if seen || !negated => {
                    self.flags_end(&on, &off, end);
                    return Ok(Last::Nothing);
                }
                _ => return self.refuse("only the flags i, m, s and U exist; no look-around"),
            }
        }
    }

    fn flags_end(&mut self, on: &str, off: &str, end: char) {
        self.out.push_str("(?");
        self.out.push_str(on);
        if !off.is_empty() {
            self.out.push('-');
            self.out.push_str(off);
        }
        // `(?)` changes nothing and has no spelling here.
        self.out.push_str(if on.is_empty() && off.is_empty() { ":" } else { "" });
        if end == ')' || !(on.is_empty() && off.is_empty()) {
            self.out.push(end);
        }
    }
}

/// Reads `n}`, `n,}` or `n,m}`: least, most, and the length of the text. `None` when it is none of
/// them; a number with a leading zero is none.
fn repeat_count(text: &str) -> Option<(u32, Option<u32>, usize)> {
    let number = |text: &str| -> Option<u32> {
        let canonical = text == "0" || !text.starts_with('0');
        (canonical && !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()))
            .then(|| text.parse().unwrap_or(u32::MAX))
    };
    let end = text.find('}')?;
    let (least, most) = match text[..end].split_once(',') {
        None => {
            let exactly = number(&text[..end])?;
            (exactly, Some(exactly))
        }
        Some((least, "")) => (number(least)?, None),
        Some((least, most)) => (number(least)?, Some(number(most)?)),
    };
    Some((least, most, end + 1))
}
