//! Reading the parts of a message, so that a refusal names the part at fault.

use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Text};

/// The part that a message must have.
pub fn required<T>(part: Option<T>, at: &str) -> Result<T, Refusal> {
    part.ok_or_else(|| Refusal::new(Reason::InvalidRequest, format!("The request lacks `{at}`.")).at(at))
}

/// A part that is itself a message: its refusals are placed within `at`.
pub fn part<T, U: TryFrom<T, Error = Refusal>>(part: T, at: &str) -> Result<U, Refusal> {
    U::try_from(part).map_err(|refusal| refusal.within(at))
}

/// A part that is a message and must be there.
pub fn required_part<T, U: TryFrom<T, Error = Refusal>>(message: Option<T>, at: &str) -> Result<U, Refusal> {
    part(required(message, at)?, at)
}

/// A part that is a message and may be missing.
pub fn optional_part<T, U: TryFrom<T, Error = Refusal>>(message: Option<T>, at: &str) -> Result<Option<U>, Refusal> {
    message.map(|message| part(message, at)).transpose()
}

/// Several parts, each placed within `at[index]`.
pub fn each<T, U>(
    parts: impl IntoIterator<Item = T>,
    at: &str,
    convert: impl Fn(T) -> Result<U, Refusal>,
) -> Result<Vec<U>, Refusal> {
    let placed = |(index, part)| convert(part).map_err(|refusal: Refusal| within_item(refusal, at, index));
    parts.into_iter().enumerate().map(placed).collect()
}

fn within_item(refusal: Refusal, at: &str, index: usize) -> Refusal {
    refusal.within(&format!("{at}[{index}]"))
}

/// A number that must be one of an enum's.
pub fn known<E: TryFrom<i32>>(number: i32, at: &str) -> Result<E, Refusal> {
    E::try_from(number).map_err(|_| {
        Refusal::new(Reason::InvalidRequest, format!("This version does not know number {number} of `{at}`.")).at(at)
    })
}

/// A text.
pub fn text(text: &str, at: &str) -> Result<Text, Refusal> {
    Text::new(text).map_err(|invalid| Refusal::from(invalid).at(at))
}

/// A name.
pub fn name(name: &str, at: &str) -> Result<Name, Refusal> {
    Name::new(name).map_err(|invalid| Refusal::from(invalid).at(at))
}

/// A name that may be left empty.
pub fn optional_name(text: &str, at: &str) -> Result<Option<Name>, Refusal> {
    if text.is_empty() { Ok(None) } else { name(text, at).map(Some) }
}

/// A name that is missing is an empty string.
pub fn or_empty<T: std::fmt::Display>(part: Option<&T>) -> String {
    part.map_or_else(String::new, T::to_string)
}
