//! LIKE: patterns of `%` (any characters, or none) and `_` (exactly one), compared without regard to case.

/// Longest pattern in characters. Matching takes at most text times pattern steps, so this keeps it linear in the text.
pub(super) const MAX_PATTERN_CHARS: usize = 256;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Part {
    Char(char),
    One,
    Any,
}

/// A pattern. A backslash takes its meaning from a following `%`, `_` or backslash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pattern(Vec<Part>);

impl Pattern {
    /// Reads a pattern; none if it is longer than [`MAX_PATTERN_CHARS`].
    pub(super) fn new(text: &str) -> Option<Self> {
        let mut parts = Vec::new();
        let mut chars = text.chars().peekable();
        while let Some(c) = chars.next() {
            match c {
                // Several in a row mean the same as one.
                '%' if parts.last() == Some(&Part::Any) => {}
                '%' => parts.push(Part::Any),
                '_' => parts.push(Part::One),
                '\\' => parts.extend(lowered(chars.next_if(|c| matches!(c, '%' | '_' | '\\')).unwrap_or(c))),
                _ => parts.extend(lowered(c)),
            }
        }
        (parts.len() <= MAX_PATTERN_CHARS).then_some(Self(parts))
    }

    /// Whether the whole of `text` is like this.
    pub(super) fn matches(&self, text: &str) -> bool {
        if text.is_ascii() {
            self.matches_chars(text.bytes().map(|byte| char::from(byte.to_ascii_lowercase())))
        } else {
            self.matches_chars(text.chars().flat_map(char::to_lowercase))
        }
    }

    /// Greedy: what follows a `%` is looked for as far left as possible, and only the latest `%` is ever tried again;
    /// for earlier ones a later match could not help.
    fn matches_chars(&self, text: impl Iterator<Item = char> + Clone) -> bool {
        let mut rest = text;
        let mut at = 0;
        let mut retry = None;
        loop {
            if self.0.get(at) == Some(&Part::Any) {
                at += 1;
                retry = Some((at, rest.clone()));
                continue;
            }
            match (self.0.get(at), rest.next()) {
                (Some(Part::One), Some(_)) => at += 1,
                (Some(Part::Char(wanted)), Some(c)) if *wanted == c => at += 1,
                (None, None) => return true,
                // The text is used up: trying again would only leave less of it.
                (Some(_), None) => return false,
                (_, Some(_)) => {
                    let Some((again, from)) = &mut retry else { return false };
                    from.next();
                    at = *again;
                    rest = from.clone();
                }
            }
        }
    }
}

fn lowered(c: char) -> impl Iterator<Item = Part> {
    c.to_lowercase().map(Part::Char)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn like(text: &str, pattern: &str) -> bool {
        Pattern::new(pattern).unwrap().matches(text)
    }

    /// What LIKE means, without a thought for time.
    fn naive(text: &[char], pattern: &[char]) -> bool {
        match (pattern.split_first(), text.split_first()) {
            (None, None) => true,
            (Some(('%', rest)), _) => (0..=text.len()).any(|skip| naive(&text[skip..], rest)),
            (Some(('_', rest)), Some((_, text))) => naive(text, rest),
            (Some((wanted, rest)), Some((c, text))) if wanted == c => naive(text, rest),
            _ => false,
        }
    }

    #[test]
    fn patterns_mean_what_they_say() {
        assert!(like("Jane Doe", "jane%") && like("JANE", "Jane%") && !like("Mary Jane", "jane%"));
        assert!(like("LX 12", "LX __") && !like("LX 1", "LX __"));
        assert!(like("50%", r"50\%") && !like("500", r"50\%") && like(r"a\b", r"a\\b") && like(r"a\b", r"a\b"));
        assert!(like("", "") && like("", "%") && !like("", "_") && like("ÜBER", "über"));
        assert_eq!(Pattern::new(&"a".repeat(MAX_PATTERN_CHARS + 1)), None);
    }

    #[test]
    fn a_hostile_pattern_takes_no_longer_than_text_times_pattern() {
        let pattern = Pattern::new(&"%a".repeat(MAX_PATTERN_CHARS / 2)).unwrap();
        assert!(!pattern.matches(&("a".repeat(100) + &"b".repeat(100_000))));
    }

    proptest! {
        #[test]
        fn like_equals_the_naive_matcher(text in "[abA]{0,10}", pattern in "[ab%_]{0,8}") {
            let chars = |text: &str| text.to_lowercase().chars().collect::<Vec<_>>();
            let expected = naive(&chars(&text), &chars(&pattern));
            prop_assert_eq!(like(&text, &pattern), expected);
            // Beside a sign that is not ASCII, every character goes the long way.
            prop_assert_eq!(like(&format!("é{text}"), &format!("É{pattern}")), expected);
        }
    }
}
