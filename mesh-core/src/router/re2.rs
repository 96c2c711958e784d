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

    /// After `\`, outside brackets.
    fn escape(&mut self, last: Last) -> Result<Last, RegexError> {
        if self.take("Q") {
            return Ok(self.quoted(last));
        }
        let translated = match self.rest().bytes().next() {
            Some(b'A') => r"\A",
            Some(b'z') => r"\z",
            Some(b'b') => r"(?-u:\b)",
            Some(b'B') => r"(?-u:\B)",
            Some(b'C') => "(?s-u:.)",
            Some(b'w') => "[0-9A-Za-z_]",
            Some(b'W') => "[^0-9A-Za-z_]",
            Some(b'd') => "[0-9]",
            Some(b'D') => "[^0-9]",
            Some(b's') => r"[\t\n\f\r ]",
            Some(b'S') => r"[^\t\n\f\r ]",
            Some(b'p' | b'P') => return self.property().map(|()| Last::Atom),
            _ => {
                let code = self.escaped_code()?;
                return self.code_point(code).map(|()| Last::Atom);
            }
        };
        self.at += 1;
        self.out.push_str(translated);
        Ok(Last::Atom)
    }

    /// After `\Q`: literal until `\E` or the end.
    fn quoted(&mut self, mut last: Last) -> Last {
        while !self.take(r"\E") {
            let Some(c) = self.next() else { break };
            self.literal(c);
            last = Last::Atom;
        }
        last
    }

    /// At `p` or `P` of a property: `\pN`, `\p{Greek}`, `\p{^Greek}`.
    fn property(&mut self) -> Result<(), RegexError> {
        let mut negated = self.next() == Some('P');
        let name = if self.take("{") {
            negated ^= self.take("^");
            let name = self.take_while(|byte| byte.is_ascii_alphabetic() || byte == b'_', 64);
            if !self.take("}") {
                return self.refuse("not the name of a Unicode class");
            }
            name
        } else {
            self.take_while(|byte| byte.is_ascii_alphabetic(), 1)
        };
        if !name.starts_with(|c: char| c.is_ascii_uppercase()) {
            return self.refuse("not the name of a Unicode class");
        }
        self.out.push_str(if negated { r"\P{" } else { r"\p{" });
        self.out.push_str(name);
        self.out.push('}');
        Ok(())
    }

    /// After `\`: an escape that stands for one code point.
    fn escaped_code(&mut self) -> Result<u32, RegexError> {
        let octal = |byte: u8| matches!(byte, b'0'..=b'7');
        let Some(c) = self.next() else { return self.refuse("a backslash ends the pattern") };
        match c {
            'x' => return self.hexadecimal(),
            '0'..='7' => {
                let digits = self.take_while(octal, 2);
                if c != '0' && digits.is_empty() {
                    return self.refuse("back-references are not supported");
                }
                let high = u32::from(c) - u32::from('0');
                return Ok(digits
                    .bytes()
                    .fold(high, |code, byte| code * 8 + u32::from(byte - b'0')));
            }
            'a' => return Ok(7),
            'f' => return Ok(0xc),
            'n' => return Ok(0xa),
            'r' => return Ok(0xd),
            't' => return Ok(9),
            'v' => return Ok(0xb),
            _ => {}
        }
        if c.is_ascii() && !c.is_ascii_alphanumeric() {
            return Ok(u32::from(c));
        }
        self.refuse("no such escape")
    }

    fn hexadecimal(&mut self) -> Result<u32, RegexError> {
        let hexadecimal = |byte: u8| byte.is_ascii_hexdigit();
        let digits = if self.take("{") {
            let digits = self.take_while(hexadecimal, 16);
            if digits.is_empty() || !self.take("}") {
                return self.refuse("not a hexadecimal code point");
            }
            digits
        } else {
            let digits = self.take_while(hexadecimal, 2);
            if digits.len() != 2 {
                return self.refuse("`\\x` wants two hexadecimal digits, or braces");
            }
            digits
        };
        u32::from_str_radix(digits, 16).or_else(|_| self.refuse("not a code point"))
    }

    /// After `[`.
    fn class(&mut self) -> Result<Last, RegexError> {
        self.out.push('[');
        if self.take("^") {
            self.out.push('^');
        }
        let mut first = true;
        while first || !self.take("]") {
            first = false;
            self.class_item()?;
        }
        self.out.push(']');
        Ok(Last::Atom)
    }

    fn class_item(&mut self) -> Result<(), RegexError> {
        if self.rest().starts_with("[:") && self.named_class()? {
            return Ok(());
        }
        if self.rest().starts_with('\\') {
            let perl = match self.rest().as_bytes().get(1) {
                Some(b'd') => "0-9",
                Some(b'D') => "[^0-9]",
                Some(b's') => r"\t\n\f\r ",
                Some(b'S') => r"[^\t\n\f\r ]",
                Some(b'w') => "0-9A-Za-z_",
                Some(b'W') => "[^0-9A-Za-z_]",
                Some(b'p' | b'P') => {
                    self.at += 1;
                    return self.property();
                }
                _ => "",
            };
            if !perl.is_empty() {
                self.at += 2;
                self.out.push_str(perl);
                return Ok(());
            }
        }
        let low = self.class_code()?;
        self.code_point(low)?;
        if !self.rest().starts_with('-') || self.rest().starts_with("-]") {
            return Ok(());
        }
        self.at += 1;
        let high = self.class_code()?;
        if high < low {
            return self.refuse("the ends of a range are swapped");
        }
        self.out.push('-');
        self.code_point(high)
    }

    /// At `[:`; false when it is no `[:name:]` at all.
    fn named_class(&mut self) -> Result<bool, RegexError> {
        const NAMES: [&str; 14] = [
            "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print",
            "punct", "space", "upper", "word", "xdigit",
        ];
        let inner = &self.rest()[2..];
        let Some(end) = inner.find(":]") else { return Ok(false) };
        let name = &inner[..end];
        if !NAMES.contains(&name.strip_prefix('^').unwrap_or(name)) {
            return self.refuse("no such named class");
        }
        self.at += 2 + end + 2;
        self.out.push_str("[:");
        self.out.push_str(name);
        self.out.push_str(":]");
        Ok(true)
    }

    fn class_code(&mut self) -> Result<u32, RegexError> {
        match self.next() {
            Some('\\') => self.escaped_code(),
            Some(c) => Ok(u32::from(c)),
            None => self.refuse("a bracket is not closed"),
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
