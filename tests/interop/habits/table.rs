//! The table of `docs/envoy-habits.md`: in what the two differ, and why that is so.
//!
//! Each difference must be in a row, and each row must be of a difference: what is mended leaves the table, and
//! what begins to differ fails.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// One thing that differs in one case.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Difference {
    /// Port and name of the case.
    pub(crate) case: String,
    /// What differs.
    pub(crate) what: String,
    pub(crate) envoy: String,
    pub(crate) mesh: String,
}

/// A row, which is for all cases that fit one of its patterns.
#[derive(Debug)]
struct Row {
    cases: Vec<String>,
    what: String,
    envoy: String,
    mesh: String,
    line: usize,
}

/// What stands in the table for what is not there.
pub(crate) const NOTHING: &str = "–";

/// What is in the one and not in the other: differences without a row, and rows or patterns without a difference.
pub(crate) fn complaints(differences: &[Difference]) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/envoy-habits.md");
    let text = std::fs::read_to_string(&path).unwrap_or_default();
    let rows: Vec<_> =
        text.lines().enumerate().filter_map(|(at, line)| row(at + 1, line)).collect();
    let mut unlisted = BTreeMap::<_, Vec<&str>>::new();
    for difference in differences {
        if !rows.iter().any(|row| row.is_of(difference)) {
            let Difference { case, what, envoy, mesh } = difference;
            unlisted.entry((what, envoy, mesh)).or_default().push(case);
        }
    }
    let mut told = String::new();
    for ((what, envoy, mesh), cases) in unlisted {
        let cells = [&cases.join(", "), what, envoy, mesh].map(|cell| cell.replace('|', "\\|"));
        writeln!(told, "| {} | ? |", cells.join(" | ")).unwrap();
    }
    for row in &rows {
        for pattern in &row.cases {
            if !differences.iter().any(|it| row.tells(it) && fits(pattern, &it.case)) {
                writeln!(told, "line {}: `{pattern}` does not differ so any more", row.line)
                    .unwrap();
            }
        }
    }
    told
}

impl Row {
    fn is_of(&self, difference: &Difference) -> bool {
        self.tells(difference) && self.cases.iter().any(|pattern| fits(pattern, &difference.case))
    }

    fn tells(&self, difference: &Difference) -> bool {
        let Difference { what, envoy, mesh, .. } = difference;
        self.what == *what && fits(&self.envoy, envoy) && fits(&self.mesh, mesh)
    }
}

/// A row of five cells; `None`: a line of something else.
fn row(line: usize, text: &str) -> Option<Row> {
    let inner = text.strip_prefix("| ")?.strip_suffix(" |")?.replace("\\|", "\u{1}");
    let cells: Vec<_> = inner.split(" | ").map(|cell| cell.replace('\u{1}', "|")).collect();
    let [cases, what, envoy, mesh, _why] = &cells[..] else { return None };
    let is_head = cases == "cases" || cases.starts_with("--");
    let cases = cases.split(", ").map(str::to_owned).collect();
    let (what, envoy, mesh) = (what.clone(), envoy.clone(), mesh.clone());
    (!is_head).then_some(Row { cases, what, envoy, mesh, line })
}

/// Whether `text` is `pattern`, in which `…` stands for anything.
fn fits(pattern: &str, text: &str) -> bool {
    match pattern.split_once('…') {
        None => pattern == text,
        Some((begin, end)) => {
            text.len() >= begin.len() + end.len() && text.starts_with(begin) && text.ends_with(end)
        }
    }
}
