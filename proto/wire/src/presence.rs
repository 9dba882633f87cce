//! Presence: who is at a node, and where in the workspace, told in ephemeral frames and never stored.
//!
//! A node tells everybody who is there each time, so that a frame that is lost is made good by the next.

use openprod_model::codec;
use openprod_model::ids::{ActorId, EntityId, SessionId};
use openprod_model::value::Name;
use serde::{Deserialize, Serialize};

use crate::replication::MAX_EPHEMERAL_BYTES;

/// Somebody at a client of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Person {
    /// The client session: one person may have several.
    pub session: SessionId,
    /// Who, as the node says.
    pub actor: ActorId,
    /// Where; none if he is nowhere in particular.
    pub place: Option<Place>,
    /// Whether he is typing there.
    pub is_typing: bool,
}

/// A place in a workspace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The table's key.
    pub table: Name,
    /// The record, if he is at one.
    pub record: Option<EntityId>,
    /// The column's key, if he is in a field.
    pub column: Option<Name>,
}

/// What is said of the moment. Newer versions may say other things, which are passed over.
#[derive(Debug, Serialize, Deserialize)]
enum Moment {
    Here(Vec<Person>),
}

/// As many of these people, the first first, as there is room for in a frame: some forty, and a dozen at the least.
pub fn tell(people: &[Person]) -> Vec<u8> {
    let mut told = people.len();
    loop {
        let bytes = codec::encode(&Moment::Here(people[..told].to_vec()));
        if bytes.len() <= MAX_EPHEMERAL_BYTES || told == 0 {
            return bytes;
        }
        told = told * MAX_EPHEMERAL_BYTES / bytes.len().max(told + 1);
    }
}

/// Who is there, as a node says; none if it says something else.
pub fn hear(bytes: &[u8]) -> Option<Vec<Person>> {
    let Moment::Here(people) = codec::decode(bytes).ok()?;
    Some(people)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn person(number: u8, name: &str) -> Person {
        let name = Name::new(name).unwrap();
        let record = Some(EntityId::from_bytes([number; 16]));
        let place = Some(Place { table: name.clone(), record, column: Some(name) });
        let (session, actor) = (SessionId::from_bytes([number; 16]), ActorId::from_bytes([number; 32]));
        Person { session, actor, place, is_typing: number.is_multiple_of(2) }
    }

    #[test]
    fn people_are_told_as_many_as_there_is_room_for() {
        assert_eq!(hear(&tell(&[])), Some(Vec::new()));
        let few: Vec<_> = (0..20).map(|number| person(number, "cues")).collect();
        assert_eq!(hear(&tell(&few)), Some(few));
        let many: Vec<_> = (0..200).map(|number| person(number, &"n".repeat(128))).collect();
        let bytes = tell(&many);
        let told = hear(&bytes).unwrap();
        assert!(bytes.len() <= MAX_EPHEMERAL_BYTES && told.len() >= 10, "{} of them", told.len());
        assert_eq!(told, many[..told.len()]);
    }

    #[test]
    fn what_is_no_presence_is_passed_over() {
        let cut = tell(&[person(1, "cues")]);
        for bytes in [&[][..], &[9, 9, 9], &cut[..cut.len() - 1]] {
            assert_eq!(hear(bytes), None);
        }
    }
}
