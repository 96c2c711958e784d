//! Patterns and substitutions: line 1 is a pattern, line 2 a substitution, the rest is matched.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mesh_core::model::RegexPattern;
use mesh_core::router::{CompiledRegex, CompiledSubstitution};
use mesh_fuzz::split;

fuzz_target!(|bytes: &[u8]| {
    let (pattern, rest) = split(bytes, b"\n");
    let (substitution, text) = split(rest, b"\n");
    let (Ok(pattern), Ok(substitution)) = (str::from_utf8(pattern), str::from_utf8(substitution))
    else {
        return;
    };
    let pattern = RegexPattern::new(pattern);
    let whole = CompiledRegex::full_match(&pattern);
    let same = CompiledSubstitution::new(&pattern, r"\0");
    assert_eq!(whole.is_ok(), same.is_ok());
    if let (Ok(whole), Ok(same)) = (whole, same) {
        assert_eq!(whole.pattern(), &*pattern.0);
        assert_eq!(&*same.replace_all(text), text, "a match put in its own place changes nothing");
        let _matches = whole.is_match(text);
    }
    if let Ok(substitution) = CompiledSubstitution::new(&pattern, substitution) {
        let _replaced = substitution.replace_all(text);
    }
});
