//! Whatever the text, the reader returns: no panic, and every span can be sliced by.

use super::*;
use proptest::prelude::*;

const EVERYTHING: &str = include_str!("everything.yaml");

/// Reads a text, and checks what holds for every text.
fn survives(text: &str) -> Result<(), TestCaseError> {
    let loaded = read(text);
    let errors = loaded.diagnostics.iter().any(|d| d.severity == Severity::Error);
    prop_assert_eq!(loaded.update.is_none(), errors);
    for diagnostic in &loaded.diagnostics {
        prop_assert!(text.get(diagnostic.span.clone()).is_some());
        prop_assert!(diagnostic.line >= 1 && diagnostic.column >= 1);
        prop_assert!(code_explanation(diagnostic.code).is_some());
        prop_assert!(!diagnostic.message.contains('\n'), "{}", diagnostic.message);
        for label in &diagnostic.labels {
            prop_assert!(text.get(label.span.clone()).is_some());
        }
    }
    Ok(())
}

/// The text with `len` bytes from about `at` replaced.
fn mutate(at: usize, len: usize, with: &str) -> String {
    let floor = |mut at: usize| {
        while !EVERYTHING.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let start = floor(at % EVERYTHING.len());
    let end = floor((start + len).min(EVERYTHING.len())).max(start);
    format!("{}{with}{}", &EVERYTHING[..start], &EVERYTHING[end..])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn a_changed_document(at: usize, len in 0..12_usize, with in "[ \\n\\t:{}\\[\\],&*!|>'\"%#a0$é-]{0,4}") {
        survives(&mutate(at, len, &with))?;
    }

    #[test]
    fn a_value_of_another_kind(at: usize, with in prop::sample::select(vec![
        "~", "[]", "{}", "0", "-1", "99999999999999999999", "1e400", ".nan", "\"\"", "[[[]]]",
        "{a: b}", "true", "off", "*retry", "${X}", "${X:-1}", "\"\\0\"", "| \n x",
    ])) {
        // Replaces what follows one of the colons.
        let colons: Vec<_> = EVERYTHING.match_indices(": ").map(|(at, _)| at + 2).collect();
        let start = colons[at % colons.len()];
        let rest = &EVERYTHING[start..];
        let end = start + rest.find([',', '}', '\n']).unwrap_or(rest.len());
        survives(&format!("{}{with}{}", &EVERYTHING[..start], &EVERYTHING[end..]))?;
    }

    #[test]
    fn any_characters(text in "\\PC{0,80}|[ \\n\\t:{}\\[\\],&*!|>'\"%#a0-]{0,60}") {
        survives(&text)?;
        survives(&format!("version: 1\n{text}"))?;
        survives(&format!("version: 1\nclusters:\n  a: {text}\n"))?;
    }

    #[test]
    fn any_bytes(bytes: Vec<u8>) {
        match decode(0, &bytes) {
            Ok(text) => survives(text)?,
            Err(diagnostic) => prop_assert!(diagnostic.span.end <= bytes.len()),
        }
    }
}
