//! Writing HTML: what comes from elsewhere is escaped, always.
//!
//! A name in a configuration may be anything, and whoever wrote it must not be able to write this page. So texts go in
//! by [`Escaped`] only; tags are constants.

use std::fmt::{self, Write as _};

/// A text of others, as text.
pub(super) struct Escaped<'a>(pub(super) &'a str);

impl fmt::Display for Escaped<'_> {
    /// WHATWG HTML, "Escaping a string", with the apostrophe for attributes of either quote; other control
    /// characters have no place in HTML at all.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for letter in self.0.chars() {
            match letter {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                letter if letter.is_control() => f.write_char(char::REPLACEMENT_CHARACTER)?,
                letter => f.write_char(letter)?,
            }
        }
        Ok(())
    }
}

/// A page, piece by piece.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// A cell of a table: a text, and whether it is to be seen from afar.
pub(super) struct Cell<'a> {
    text: &'a str,
    class: &'static str,
}

impl<'a> Cell<'a> {
    /// A text.
    pub(super) const fn of(text: &'a str) -> Self {
        Self { text, class: "" }
    }

    /// A text that is good or bad news.
    pub(super) const fn judged(text: &'a str, is_good: bool) -> Self {
        Self { text, class: if is_good { "good" } else { "bad" } }
    }
}

impl Page {
    /// The beginning of a page of this title.
    pub(super) fn new(title: &str) -> Self {
        let title = Escaped(title);
        Self(format!(
            "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\n\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n"
        ))
    }

    pub(super) fn heading(&mut self, text: &str) {
        self.put(format_args!("<h2>{}</h2>\n", Escaped(text)));
    }

    pub(super) fn paragraph(&mut self, text: &str) {
        self.put(format_args!("<p>{}</p>\n", Escaped(text)));
    }

    /// A table with these columns.
    pub(super) fn table<const N: usize>(&mut self, columns: [&str; N]) {
        self.put(format_args!("<table><tr>"));
        for column in columns {
            self.put(format_args!("<th>{}</th>", Escaped(column)));
        }
        self.put(format_args!("</tr>\n"));
    }

    pub(super) fn row<const N: usize>(&mut self, cells: [Cell<'_>; N]) {
        self.put(format_args!("<tr>"));
        for Cell { text, class } in cells {
            match class {
                "" => self.put(format_args!("<td>{}</td>", Escaped(text))),
                class => self.put(format_args!("<td class=\"{class}\">{}</td>", Escaped(text))),
            }
        }
        self.put(format_args!("</tr>\n"));
    }

    pub(super) fn end_table(&mut self) {
        self.put(format_args!("</table>\n"));
    }

    /// A list of links to pages of ours: path, and what it is.
    pub(super) fn links(&mut self, pages: impl Iterator<Item = (&'static str, &'static str)>) {
        self.put(format_args!("<ul>\n"));
        for (path, what) in pages {
            self.put(format_args!("<li><a href=\"{path}\">{path}</a> {}</li>\n", Escaped(what)));
        }
        self.put(format_args!("</ul>\n"));
    }

    pub(super) fn finish(mut self) -> String {
        self.put(format_args!("</body></html>\n"));
        self.0
    }

    fn put(&mut self, text: fmt::Arguments<'_>) {
        // Writing to a string can't fail.
        self.0.write_fmt(text).unwrap_or_default();
    }
}

const STYLE: &str = "body{font:14px/1.5 system-ui,sans-serif;margin:2em;max-width:80em}\
    table{border-collapse:collapse;margin:.5em 0}\
    th,td{border:1px solid #ccc;padding:.2em .6em;text-align:left;vertical-align:top}\
    th{background:#f4f4f4}.bad{color:#a00;font-weight:600}.good{color:#060}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_of_others_are_texts() {
        for (text, expected) in [
            ("reviews-v1", "reviews-v1"),
            ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
            ("\" onload='x' &amp;", "&quot; onload=&#39;x&#39; &amp;amp;"),
            ("a\u{1b}[31m\0\n", "a\u{fffd}[31m\u{fffd}\u{fffd}"),
            ("größe", "größe"),
        ] {
            assert_eq!(Escaped(text).to_string(), expected);
        }
    }

    #[test]
    fn every_piece_escapes() {
        let hostile = "</td><script>";
        let mut page = Page::new(hostile);
        page.heading(hostile);
        page.paragraph(hostile);
        page.table([hostile]);
        page.row([Cell::of(hostile), Cell::judged(hostile, false)]);
        page.end_table();
        page.links([("/live", hostile)].into_iter());
        let text = page.finish();
        assert!(!text.contains("<script>"), "{text}");
        assert_eq!(text.matches("&lt;script&gt;").count(), 8);
    }
}
