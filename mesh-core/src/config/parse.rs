//! YAML text → [`Node`] tree, within bounds.
//!
//! The events come from serde-saphyr's parser. Added here: spans, anchors, duplicate keys with both
//! places, and the bounds that the format promises (nesting and expansion of aliases). Left out of
//! YAML on purpose: tags, merge keys, keys that are not text, several documents in one file.

use super::diagnostic::{Report, floor_char};
use super::node::{Content, Entry, Node, Span};
use super::{Bounds, code};
use serde_saphyr::granit_parser::{Event, Parser, ScalarStyle, ScanError, Span as Place, StrInput};
use std::collections::BTreeMap;
use std::rc::Rc;

/// Reads a document; `None` when there is no tree, with the reason in `report`.
pub(super) fn parse(
    document: u32,
    text: &str,
    bounds: &Bounds,
    report: &mut Report,
) -> Option<Rc<Node>> {
    let start = Span::start_of(document);
    if text.len() > bounds.document_bytes || u32::try_from(text.len()).is_err() {
        let message =
            format!("the file has {} bytes, more than {}", text.len(), bounds.document_bytes);
        report
            .add(code::DOCUMENT_TOO_LARGE, start, message)
            .suggest("split it: several files unite");
        return None;
    }
    let mut builder = Builder {
        document,
        bounds,
        report,
        open: Vec::new(),
        anchors: BTreeMap::new(),
        root: None,
    };
    builder.read(text).ok()?;
    let root = builder.root;
    if root.as_ref().is_none_or(|root| matches!(root.content, Content::Null)) {
        report
            .add(code::EMPTY_DOCUMENT, start, "the file says nothing")
            .suggest("start with `version: 1`");
        return None;
    }
    root
}

/// Reading can't go on; the reason is in the report.
struct Stopped;

/// A text of so many bytes counts as one value more: an alias of a long text is as much to read as one
/// of a long list.
const BYTES_PER_VALUE: u64 = 16;
/// A mark under a list or mapping is no longer than this, in bytes: a document may be one line, whose
/// end each of its lists would have to look for.
const LONGEST_MARK: usize = 256;

struct Builder<'a> {
    document: u32,
    bounds: &'a Bounds,
    report: &'a mut Report,
    open: Vec<Open>,
    anchors: BTreeMap<usize, Rc<Node>>,
    root: Option<Rc<Node>>,
}

/// A list or mapping whose end did not come yet.
struct Open {
    span: Span,
    anchor: usize,
    size: u64,
    depth: usize,
    children: Children,
}

enum Children {
    Items(Vec<Rc<Node>>),
    Entries { entries: Vec<Entry>, key: Option<(Box<str>, Span)> },
}

impl Builder<'_> {
    fn read(&mut self, text: &str) -> Result<(), Stopped> {
        let mut options = serde_saphyr::granit_parser::options! { emit_unresolved_aliases: true };
        options.set_emit_comments(false);
        let mut parser = Parser::<StrInput<'_>>::new_from_str_with_options(text, options);
        while let Some(next) = parser.next_event() {
            match next {
                Ok((event, place)) => self.event(event, &place, text)?,
                Err(error) => return self.syntax(&error, text),
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, place: &Place, text: &str) -> Result<(), Stopped> {
        let span = self.span(place);
        if event.tag().is_some() {
            let span = place.tag_span().map_or(span, |tag| self.span(&tag));
            self.unsupported(span, "tags are not used here", "leave the tag out");
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.unsupported(
                    span,
                    "a second document in one file",
                    "make it a file of its own",
                );
                Err(Stopped)
            }
            Event::Scalar(value, style, anchor, _) => {
                let plain = style == ScalarStyle::Plain;
                let span = trim(span, text);
                let size = 1 + value.len() as u64 / BYTES_PER_VALUE;
                let content = match &*value {
                    "" | "~" | "null" | "Null" | "NULL" if plain => Content::Null,
                    _ if value.len() > self.bounds.text_bytes => self.too_long(span, value.len()),
                    _ => Content::Scalar { text: value.into(), plain },
                };
                self.complete(Rc::new(Node { span, content, size, depth: 1 }), anchor)
            }
            Event::SequenceStart(_, anchor, _) => {
                self.start(first_line(span, text), anchor, Children::Items(Vec::new()))
            }
            Event::MappingStart(_, anchor, _) => {
                let children = Children::Entries { entries: Vec::new(), key: None };
                self.start(first_line(span, text), anchor, children)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => match self.anchors.get(&anchor).map(Rc::clone) {
                Some(node) => self.place(node, span),
                None => self.no_anchor(span, "an anchor can't contain itself"),
            },
            Event::UnresolvedAlias(name) => {
                self.no_anchor(span, &format!("there is no anchor `&{name}` before this"))
            }
            _ => Ok(()),
        }
    }

    fn start(&mut self, span: Span, anchor: usize, children: Children) -> Result<(), Stopped> {
        if self.open.len() >= self.bounds.nesting {
            return self.too_deep(span);
        }
        self.open.push(Open { span, anchor, size: 1, depth: 1, children });
        Ok(())
    }

    fn end(&mut self) -> Result<(), Stopped> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let content = match open.children {
            Children::Items(items) => Content::Sequence(items),
            Children::Entries { entries, .. } => {
                self.duplicates(&entries);
                Content::Mapping(entries)
            }
        };
        let node = Node { span: open.span, content, size: open.size, depth: open.depth };
        self.complete(Rc::new(node), open.anchor)
    }

    fn complete(&mut self, node: Rc<Node>, anchor: usize) -> Result<(), Stopped> {
        if anchor != 0 {
            self.anchors.insert(anchor, Rc::clone(&node));
        }
        let span = node.span;
        self.place(node, span)
    }

    /// Puts a node where it is written, which for an alias is elsewhere than where it was defined.
    fn place(&mut self, node: Rc<Node>, span: Span) -> Result<(), Stopped> {
        let (levels, nodes) = (self.open.len(), self.bounds.nodes);
        let Some(open) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        open.size = open.size.saturating_add(node.size);
        open.depth = open.depth.max(node.depth + 1);
        if open.size > nodes {
            let message = format!("aliases expanded, the file has more than {nodes} values");
            self.report.add(code::TOO_MANY_VALUES, span, message);
            return Err(Stopped);
        }
        if levels + node.depth > self.bounds.nesting {
            return self.too_deep(span);
        }
        match &mut open.children {
            Children::Items(items) => items.push(node),
            Children::Entries { entries, key } => match key.take() {
                Some((key, key_span)) => entries.push(Entry { key, key_span, value: node }),
                None => {
                    let text: Box<str> = match &node.content {
                        Content::Scalar { text, .. } => text.clone(),
                        Content::Null | Content::Unknown => "".into(),
                        Content::Sequence(_) | Content::Mapping(_) => {
                            *key = Some(("".into(), span));
                            self.unsupported(span, "a key is text", "write a plain key");
                            return Err(Stopped);
                        }
                    };
                    *key = Some((text, span));
                }
            },
        }
        Ok(())
    }

    fn duplicates(&mut self, entries: &[Entry]) {
        let mut order: Vec<&Entry> = entries.iter().collect();
        order.sort_by(|a, b| a.key.cmp(&b.key));
        for pair in order.windows(2) {
            if let [first, second] = pair
                && first.key == second.key
            {
                let message =
                    format!("the key `{}` is there twice", super::node::shorten(&second.key));
                self.report
                    .add(code::DUPLICATE_KEY, second.key_span, message)
                    .suggest("leave one of them out")
                    .label(first.key_span, "the first one");
            }
        }
    }

    fn span(&self, place: &Place) -> Span {
        let range = place.byte_range().unwrap_or_default();
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span { document: self.document, start: clamp(range.start), end: clamp(range.end) }
    }

    fn syntax(&mut self, error: &ScanError, text: &str) -> Result<(), Stopped> {
        use serde_saphyr::granit_parser::ErrorKind;
        let mut at = error.marker().byte_offset().unwrap_or(text.len()).min(text.len());
        let is_tab =
            matches!(error.kind(), ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation);
        if is_tab {
            // The scanner stands behind the tabs by now.
            at = text.get(..at).map_or(at, |before| before.trim_end_matches('\t').len());
        }
        let start = u32::try_from(at).unwrap_or(u32::MAX);
        let span = Span { document: self.document, start, end: start.saturating_add(1) };
        if matches!(error.kind(), ErrorKind::RecursionLimitExceeded) {
            return self.too_deep(span);
        }
        let suggestion = is_tab.then(|| "indent with spaces: YAML forbids tabs there".to_owned());
        self.report.add(code::YAML_SYNTAX, span, error.info()).suggest_if(suggestion);
        Err(Stopped)
    }

    fn unsupported(&mut self, span: Span, message: &str, suggestion: &str) {
        self.report.add(code::YAML_FEATURE, span, message).suggest(suggestion);
    }

    fn no_anchor(&mut self, span: Span, message: &str) -> Result<(), Stopped> {
        self.report
            .add(code::UNKNOWN_ANCHOR, span, message)
            .suggest("define it first, for example under a top-level `x-…` key");
        self.place(Rc::new(Node { span, content: Content::Unknown, size: 1, depth: 1 }), span)
    }

    fn too_long(&mut self, span: Span, len: usize) -> Content {
        let message = format!("this text has {len} bytes, more than {}", self.bounds.text_bytes);
        self.report.add(code::TEXT_TOO_LONG, span, message);
        Content::Unknown
    }

    fn too_deep(&mut self, span: Span) -> Result<(), Stopped> {
        let message = format!("nested more than {} deep", self.bounds.nesting);
        self.report.add(code::TOO_DEEP, span, message);
        Err(Stopped)
    }
}

/// A scalar's span without the white space that block scalars end in.
fn trim(span: Span, text: &str) -> Span {
    let raw = text.get(span.start as usize..span.end as usize).unwrap_or_default();
    let cut = u32::try_from(raw.len() - raw.trim_end().len()).unwrap_or_default();
    Span { end: span.end - cut, ..span }
}

/// From the start of a list or mapping to the end of that line, or to a comment.
fn first_line(span: Span, text: &str) -> Span {
    let rest = text.get(span.start as usize..).unwrap_or_default();
    let rest = &rest[..floor_char(rest, LONGEST_MARK)];
    let line = rest.lines().next().unwrap_or_default();
    let line = line.split(" #").next().unwrap_or_default().trim_end();
    Span { end: span.start.saturating_add(u32::try_from(line.len()).unwrap_or_default()), ..span }
}
