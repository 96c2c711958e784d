//! Character classes: `[…]`.

use super::super::regex::RegexError;
use super::{Last, Translator};

impl Translator<'_> {
    /// After `[`.
    pub(super) fn class(&mut self) -> Result<Last, RegexError> {
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

    pub(super) fn class_item(&mut self) -> Result<(), RegexError> {
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
    pub(super) fn named_class(&mut self) -> Result<bool, RegexError> {
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

    pub(super) fn class_code(&mut self) -> Result<u32, RegexError> {
        match self.next() {
            Some('\\') => self.escaped_code(),
            Some(c) => Ok(u32::from(c)),
            None => self.refuse("a bracket is not closed"),
        }
    }
}
