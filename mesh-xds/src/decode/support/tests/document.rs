//! The file in `docs` is the table.

use super::super::markdown;

#[test]
fn the_file_says_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/xds-support.md");
    let found = std::fs::read_to_string(path).unwrap_or_default();
    let expected = markdown();
    assert!(found == expected, "docs/xds-support.md has to be:\n{expected}");
}

#[test]
fn cells_are_cells() {
    let text = markdown();
    let table = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(|line| line.replace("\\|", "").matches('|').count());
    let cells: Vec<_> = table.collect();
    assert_eq!(cells.len(), super::rows().count() + 2);
    assert!(cells.iter().all(|count| *count == 5), "{cells:?}");
}
