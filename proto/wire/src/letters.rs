//! Bytes as letters that people copy, type, print and scan: what tickets and recovery keys are written in.
//!
//! The letters are Crockford's base 32, in capitals, so that a QR code takes them in its alphanumeric mode. What is
//! read may be in small letters, broken over lines or divided by dashes, and may hold `O` for `0`, `I` or `L` for `1`.
//! Behind a word that says what it is come: a version (1 byte), the length of the content (2 bytes, little-endian), the
//! content, and the first 4 bytes of a BLAKE3 over all of that. This much is the same in every version.

/// Longest content in bytes: a QR code of that much can still be scanned from a laptop's screen.
pub const MAX_CONTENT_BYTES: usize = 512;

const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
const HEAD_BYTES: usize = 3;
const CHECK_BYTES: usize = 4;
const CHECK_DOMAIN: &[u8] = b"openprod/letters/1\0";
/// Longest text that is looked at: the longest content, with room for breaks and dashes.
const MAX_TEXT_BYTES: usize = 4 * MAX_CONTENT_BYTES;

/// Why letters could not be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum LettersError {
    /// It does not begin with the word that says what it is.
    #[error("it begins with something else")]
    OtherWord,
    /// It ends too early.
    #[error("it is cut off: {missing} of {whole} letters are missing at its end")]
    Cut {
        /// How many letters are missing.
        missing: usize,
        /// How many letters it has behind its first words when it is whole.
        whole: usize,
    },
    /// Something stands behind its end.
    #[error("{0} letters too many stand at its end")]
    TooLong(usize),
    /// A character that is no letter of it.
    #[error("it may not hold the character {letter:?}, its letter {place}")]
    Letter {
        /// The character.
        letter: char,
        /// Which letter it is, counted from 1, without breaks and dashes.
        place: usize,
    },
    /// All letters are possible ones, and one at least is not the one that was written.
    #[error("a letter in it is wrong or missing")]
    Mistyped,
    /// A newer version of the software wrote it.
    #[error("it was made by a newer version of OpenProd (format {0})")]
    Newer(u8),
}

/// `content` in letters, behind `word` (capitals), in one line without breaks.
pub(crate) fn write(word: &str, version: u8, content: &[u8]) -> String {
    let length = u16::try_from(content.len()).expect("contents are bounded by MAX_CONTENT_BYTES");
    let mut bytes = [&[version], length.to_le_bytes().as_slice(), content].concat();
    bytes.extend_from_slice(&check(word, &bytes));
    let mut text = format!("OPENPROD-{word}-");
    let (mut bits, mut held) = (0_u32, 0_u32);
    for byte in bytes {
        (bits, held) = (bits << 8 | u32::from(byte), held + 8);
        while held >= 5 {
            held -= 5;
            text.push(letter(bits >> held));
        }
    }
    if held > 0 {
        text.push(letter(bits << (5 - held)));
    }
    text
}

fn letter(bits: u32) -> char {
    char::from(ALPHABET[bits as usize & 31])
}

/// Whether `text` says of itself that it is a `word`, whole and right or not.
pub(crate) fn claims(word: &str, text: &str) -> bool {
    let start: Vec<char> = significant(text).take("OPENPROD".len() + word.len()).collect();
    start.into_iter().eq("OPENPROD".chars().chain(word.chars()))
}

/// The content of what [`write`] wrote in `version`.
pub(crate) fn read(word: &str, version: u8, text: &str) -> Result<Vec<u8>, LettersError> {
    if text.len() > MAX_TEXT_BYTES || !claims(word, text) {
        return Err(LettersError::OtherWord);
    }
    let letters = significant(text).skip("OPENPROD".len() + word.len());
    let values: Vec<u8> =
        letters.enumerate().map(|(index, letter)| value(letter, index + 1)).collect::<Result<_, _>>()?;
    let bytes = bytes_of(&values);
    let whole = whole_letters(&bytes)?;
    if values.len() < whole {
        return Err(LettersError::Cut { missing: whole - values.len(), whole });
    }
    if values.len() > whole {
        return Err(LettersError::TooLong(values.len() - whole));
    }
    let (said, sum) = bytes.split_at(bytes.len() - CHECK_BYTES);
    if check(word, said) != sum || padding(&values) != 0 {
        return Err(LettersError::Mistyped);
    }
    if said[0] != version {
        return Err(LettersError::Newer(said[0]));
    }
    Ok(said[HEAD_BYTES..].to_vec())
}

/// How many letters follow the word when nothing is missing, as the head says.
fn whole_letters(bytes: &[u8]) -> Result<usize, LettersError> {
    let letters = |content: usize| ((HEAD_BYTES + content + CHECK_BYTES) * 8).div_ceil(5);
    let Some([_, low, high]) = bytes.first_chunk::<HEAD_BYTES>() else {
        let (whole, present) = (letters(0), (bytes.len() * 8).div_ceil(5));
        return Err(LettersError::Cut { missing: whole - present, whole });
    };
    let content = usize::from(u16::from_le_bytes([*low, *high]));
    if content > MAX_CONTENT_BYTES {
        return Err(LettersError::Mistyped);
    }
    Ok(letters(content))
}

/// The characters that count, in capitals.
fn significant(text: &str) -> impl Iterator<Item = char> {
    text.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase())
}

fn value(letter: char, place: usize) -> Result<u8, LettersError> {
    let meant = match letter {
        'O' => '0',
        'I' | 'L' => '1',
        other => other,
    };
    let index = ALPHABET.iter().position(|known| char::from(*known) == meant);
    index.and_then(|index| u8::try_from(index).ok()).ok_or(LettersError::Letter { letter, place })
}

fn bytes_of(values: &[u8]) -> Vec<u8> {
    let (mut bits, mut held, mut bytes) = (0_u32, 0_u32, Vec::with_capacity(values.len() * 5 / 8));
    for value in values {
        (bits, held) = ((bits << 5 | u32::from(*value)) & 0xFFFF, held + 5);
        if held >= 8 {
            held -= 8;
            bytes.push(u8::try_from(bits >> held & 0xFF).expect("masked to a byte"));
        }
    }
    bytes
}

/// The bits of the last letter that belong to no byte: zero where nobody meddled.
fn padding(values: &[u8]) -> u8 {
    let spare = values.len() * 5 % 8;
    values.last().map_or(0, |last| last & ((1 << spare) - 1))
}

fn check(word: &str, said: &[u8]) -> [u8; CHECK_BYTES] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(CHECK_DOMAIN).update(word.as_bytes()).update(said);
    let mut sum = [0; CHECK_BYTES];
    sum.copy_from_slice(&hasher.finalize().as_bytes()[..CHECK_BYTES]);
    sum
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const WORD: &str = "JOIN";

    fn long() -> String {
        write(WORD, 1, &[0xA5; 90])
    }

    #[test]
    fn letters_that_people_mix_up_are_read_as_meant() {
        let text = write(WORD, 1, &[0, 0, 8, 64]);
        assert!(text.contains('0') && text.contains('1'), "{text}");
        let typed = text[14..].replace('0', "o").replace('1', "l").to_lowercase();
        assert_eq!(read(WORD, 1, &format!(" openprod-join\n{typed}\n")), Ok(vec![0, 0, 8, 64]));
    }

    #[test]
    fn what_is_cut_says_how_much_is_missing() {
        let text = long();
        let whole = text.len() - "OPENPROD-JOIN-".len();
        for missing in 1..=whole {
            match read(WORD, 1, &text[..text.len() - missing]) {
                Err(LettersError::Cut { missing: said, .. }) if missing + 5 > whole => assert!(said > 0),
                other => assert_eq!(other, Err(LettersError::Cut { missing, whole })),
            }
        }
        assert_eq!(read(WORD, 1, &format!("{text}AB")), Err(LettersError::TooLong(2)));
    }

    #[test]
    fn each_wrong_letter_is_noticed() {
        let text = long();
        for (at, right) in text.char_indices().skip("OPENPROD-JOIN-".len()) {
            let wrong = if right == 'Z' { "Y" } else { "Z" };
            let mut typed = text.clone();
            typed.replace_range(at..=at, wrong);
            assert!(read(WORD, 1, &typed).is_err(), "{typed}");
        }
        let place = LettersError::Letter { letter: 'U', place: 3 };
        assert_eq!(read(WORD, 1, "openprod-join-00u"), Err(place));
    }

    #[test]
    fn other_words_and_versions_are_told_apart() {
        assert_eq!(read("RECOVERY", 1, &long()), Err(LettersError::OtherWord));
        assert_eq!(read(WORD, 2, &long()), Err(LettersError::Newer(1)));
        assert_eq!(read(WORD, 1, "hello"), Err(LettersError::OtherWord));
        assert_eq!(read(WORD, 1, &"0".repeat(1 << 20)), Err(LettersError::OtherWord));
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(content in proptest::collection::vec(any::<u8>(), 0..=MAX_CONTENT_BYTES)) {
            prop_assert_eq!(read(WORD, 1, &write(WORD, 1, &content)), Ok(content));
        }

        #[test]
        fn no_text_makes_it_panic(text in "(?s).{0,80}", behind in "[A-Za-z0-9 ]{0,300}") {
            let _ = read(WORD, 1, &text);
            let _ = read(WORD, 1, &format!("OPENPROD-JOIN-{behind}"));
        }
    }
}
