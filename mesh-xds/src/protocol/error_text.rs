//! What is wrong with a response, in a text of bounded length.

use super::options::{MAX_NACK_TEXT, MAX_RESOURCE_ERROR};
use std::sync::Arc;

/// How many errors are listed at all; the text has room for fewer, unless they are very short.
const MAX_LISTED: usize = 1024;
/// Room for the words about what was left out.
const TAIL: usize = 64;

/// The errors of the responses that were not answered yet.
#[derive(Debug, Default)]
pub(super) struct Errors {
    listed: Vec<(Option<Arc<str>>, Arc<str>)>,
    more: usize,
}

impl Errors {
    pub(super) fn is_empty(&self) -> bool {
        self.listed.is_empty() && self.more == 0
    }

    /// Adds what is wrong with the resource of this name; `None`: it has none.
    pub(super) fn push(&mut self, name: Option<&Arc<str>>, error: Arc<str>) {
        match self.listed.len() < MAX_LISTED {
            true => self.listed.push((name.cloned(), error)),
            false => self.more += 1,
        }
    }

    /// Adds the errors of a later response; those of resources that it `repeats` are out of date.
    pub(super) fn extend(&mut self, later: Self, repeats: impl Fn(&Arc<str>) -> bool) {
        self.listed.retain(|(name, _)| name.as_ref().is_none_or(|name| !repeats(name)));
        self.more += later.more;
        for (name, error) in later.listed {
            self.push(name.as_ref(), error);
        }
    }

    /// All of them, one after the other, as far as they fit; `None`: there are none.
    pub(super) fn text(&self) -> Option<Arc<str>> {
        if self.is_empty() {
            return None;
        }
        let room = MAX_NACK_TEXT - TAIL;
        let (mut text, mut told) = (String::new(), 0);
        for (name, error) in &self.listed {
            let between = if told == 0 { "" } else { "; " };
            let entry = match name {
                Some(name) => format!("{between}`{name}`: {error}"),
                None => format!("{between}{error}"),
            };
            if told > 0 && text.len() + entry.len() > room {
                break;
            }
            text.push_str(cut(&entry, room));
            told += 1;
            if entry.len() > room {
                text.push('…');
                break;
            }
        }
        let more = self.listed.len() - told + self.more;
        if more > 0 {
            text.push_str(&format!(" … and {more} more"));
        }
        Some(text.into())
    }
}

/// `text`, or its beginning if it is longer than [`MAX_RESOURCE_ERROR`].
pub(super) fn bounded(text: &Arc<str>) -> Arc<str> {
    match text.len() <= MAX_RESOURCE_ERROR {
        true => text.clone(),
        false => format!("{}…", cut(text, MAX_RESOURCE_ERROR - '…'.len_utf8())).into(),
    }
}

/// The beginning of `text`, up to `length` bytes, cut between characters.
fn cut(text: &str, length: usize) -> &str {
    let mut end = length.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(errors: &[(&str, String)]) -> String {
        let mut list = Errors::default();
        for (name, error) in errors {
            let name = Some(Arc::from(*name)).filter(|name: &Arc<str>| !name.is_empty());
            list.push(name.as_ref(), error.as_str().into());
        }
        list.text().map_or(String::new(), |text| text.to_string())
    }

    #[test]
    fn errors_are_listed_as_far_as_they_fit() {
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[("a", "bad".into()), ("", "no name".into())]), "`a`: bad; no name");
        let long = "ä".repeat(3_000);
        let cut = text(&[("a", long.clone()), ("b", long.clone()), ("c", long)]);
        assert!(cut.len() <= MAX_NACK_TEXT && cut.ends_with("ä … and 1 more"), "{}", cut.len());
    }

    #[test]
    fn one_long_error_is_cut_between_characters() {
        for lead in ["", "x", "xy"] {
            let cut = text(&[("a", format!("{lead}{}", "€".repeat(9_000))), ("b", "bad".into())]);
            assert!(
                cut.len() <= MAX_NACK_TEXT && cut.ends_with("€… … and 1 more"),
                "{}",
                cut.len()
            );
            let kept = bounded(&format!("{lead}{}", "€".repeat(9_000)).into());
            assert!(kept.len() <= MAX_RESOURCE_ERROR && kept.ends_with("€…"));
        }
    }

    #[test]
    fn many_errors_are_counted() {
        let many = vec![("a", "b".to_owned()); 100_000];
        let cut = text(&many);
        assert!(cut.len() <= MAX_NACK_TEXT && cut.ends_with(" … and 98976 more"), "{cut}");
    }
}
