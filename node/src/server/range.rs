//! Ranges of a file, as HTTP asks for them (RFC 9110, section 14).

use std::ops::Range;

/// What of a file was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Asked {
    /// All of it: no range was named, or one that is not understood or of several parts, which a server may pass over.
    Whole,
    /// These bytes: at least one.
    Part(Range<u64>),
    /// Nothing that the file has.
    Nothing,
}

/// What the value of a Range header asks of a file of `size` bytes.
pub(super) fn asked(header: Option<&str>, size: u64) -> Asked {
    let Some(range) = header.and_then(single) else { return Asked::Whole };
    match range {
        (Some(first), _) if first >= size => Asked::Nothing,
        (Some(first), Some(last)) => Asked::Part(first..last.saturating_add(1).min(size)),
        (Some(first), None) => Asked::Part(first..size),
        (None, Some(0)) => Asked::Nothing,
        (None, Some(_)) if size == 0 => Asked::Nothing,
        (None, Some(count)) => Asked::Part(size.saturating_sub(count)..size),
        (None, None) => Asked::Whole,
    }
}

/// The first and the last position of a range of bytes; without a first one, the second counts from the end.
fn single(header: &str) -> Option<(Option<u64>, Option<u64>)> {
    let (unit, range) = header.split_once('=')?;
    let (first, last) = range.trim().split_once('-')?;
    let (first, last) = (first.trim(), last.trim());
    let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !unit.trim().eq_ignore_ascii_case("bytes") || !is_number(first) || !is_number(last) {
        return None;
    }
    let (first, last) = (number(first), number(last));
    let is_backwards = first.zip(last).is_some_and(|(first, last)| last < first);
    (!is_backwards).then_some((first, last))
}

/// A number of digits only; none if there are none. One beyond all files is as good as the greatest.
fn number(digits: &str) -> Option<u64> {
    (!digits.is_empty()).then(|| digits.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_standard_says() {
        for (header, wanted) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-499", Asked::Part(0..100)),
            ("bytes=50-", Asked::Part(50..100)),
            ("bytes=-30", Asked::Part(70..100)),
            ("bytes=-300", Asked::Part(0..100)),
            ("BYTES = 5 - 6", Asked::Part(5..7)),
            ("bytes=0-99999999999999999999999", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=7-5", Asked::Whole),
            ("bytes=0-1,5-6", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
            ("bytes", Asked::Whole),
            ("", Asked::Whole),
        ] {
            assert_eq!(asked(Some(header), 100), wanted, "{header}");
        }
        assert_eq!(asked(None, 100), Asked::Whole);
        assert_eq!((asked(Some("bytes=0-"), 0), asked(Some("bytes=-5"), 0)), (Asked::Nothing, Asked::Nothing));
    }
}
