//! What begins with a backslash: classes, assertions, quoted text, code points.

use super::super::regex::RegexError;
use super::{Last, Translator};

impl Translator<'_> {
    /// After `\`, outside brackets.
    pub(super) fn escape(&mut self, last: Last) -> Result<Last, RegexError> {
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
    pub(super) fn quoted(&mut self, mut last: Last) -> Last {
        while !self.take(r"\E") {
            let Some(c) = self.next() else { break };
            self.literal(c);
            last = Last::Atom;
        }
        last
    }

    /// At `p` or `P` of a property: `\pN`, `\p{Greek}`, `\p{^Greek}`.
    pub(super) fn property(&mut self) -> Result<(), RegexError> {
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
    pub(super) fn escaped_code(&mut self) -> Result<u32, RegexError> {
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

    pub(super) fn hexadecimal(&mut self) -> Result<u32, RegexError> {
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
}
