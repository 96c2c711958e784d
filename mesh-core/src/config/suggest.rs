//! "Did you mean": the closest of the known words.

/// Names longer than this are not compared.
const LONGEST: usize = 64;
/// How alike two words must be, from 0 to 1 (Jaro-Winkler).
const ALIKE: f64 = 0.8;

/// How many words are compared for all mistakes of one reading.
pub(super) const COMPARISONS: usize = 200_000;

/// "did you mean `x`?", when one of the known words is like `word`.
pub(super) fn did_you_mean<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
    comparisons: &mut usize,
) -> Option<String> {
    closest(word, known, comparisons).map(|known| format!("did you mean `{known}`?"))
}

/// The known word that is most like `word`, when one is alike enough. At most `comparisons` words are
/// compared over the life of the counter.
pub(crate) fn closest<'k>(
    word: &str,
    known: impl IntoIterator<Item = &'k str>,
    comparisons: &mut usize,
) -> Option<&'k str> {
    if word.len() > LONGEST {
        return None;
    }
    let mut best: Option<(f64, &str)> = None;
    for candidate in known.into_iter().filter(|candidate| candidate.len() <= LONGEST) {
        *comparisons = comparisons.checked_sub(1)?;
        let score =
            strsim::jaro_winkler(&word.to_ascii_lowercase(), &candidate.to_ascii_lowercase());
        if score >= ALIKE && best.is_none_or(|(highest, _)| score > highest) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::closest;

    #[test]
    fn the_closest_wins_and_strangers_lose() {
        let known = ["cluster", "cluster_header", "timeout", "retry"];
        let find = |word| closest(word, known, &mut 100);
        assert_eq!(find("timeot"), Some("timeout"));
        assert_eq!(find("clusters"), Some("cluster"));
        assert_eq!(find("Retry"), Some("retry"));
        assert_eq!(find("zzz"), None);
        assert_eq!(closest("retry", known, &mut 2), None, "the budget ends first");
    }
}
