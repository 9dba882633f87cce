//! The company: who is in a workspace now, at this node and at those it shares it with. In memory only.
//!
//! Who is here must say so again and again, or is forgotten; so nobody stays who closed his laptop. What a node says of
//! the people at it is told only by itself: it is not passed on.

use std::collections::BTreeMap;
use std::time::Duration;

use openprod_model::ids::{ActorId, SessionId};
use openprod_wire::presence::{self, Person};

use crate::endpoint::LinkId;

/// How long somebody is here who has not said so again.
pub const HERE_FOR: Duration = Duration::from_secs(30);

/// How often a node tells others who is at it, whether anything changed or not.
pub const BREATH: Duration = Duration::from_secs(10);

/// How long what another node said holds: two of its breaths may be lost.
const HEARD_FOR: Duration = Duration::from_secs(35);

/// Most client sessions at this node that are told of in one workspace.
const MAX_HERE: usize = 64;

/// Somebody who is in the workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Present {
    /// At which other node; none if at this one.
    pub node: Option<ActorId>,
    /// Who, and where.
    pub person: Person,
}

/// Who is here.
#[derive(Debug, Default)]
pub struct Company {
    own: BTreeMap<SessionId, Stay>,
    others: BTreeMap<LinkId, Heard>,
}

#[derive(Debug)]
struct Stay {
    person: Person,
    until_ms: u64,
}

#[derive(Debug)]
struct Heard {
    node: ActorId,
    people: Vec<Person>,
    until_ms: u64,
}

impl Company {
    /// Somebody at this node is here, or somewhere else than before. False if there is no room for him.
    pub fn arrives(&mut self, person: Person, now_ms: u64) -> bool {
        let has_room = self.own.len() < MAX_HERE || self.own.contains_key(&person.session);
        if has_room {
            self.own.insert(person.session, Stay { person, until_ms: after(now_ms, HERE_FOR) });
        }
        has_room
    }

    /// Somebody at this node goes.
    pub fn leaves(&mut self, session: SessionId) {
        self.own.remove(&session);
    }

    /// Another node says who is there.
    pub fn hears(&mut self, link: LinkId, node: ActorId, people: Vec<Person>, now_ms: u64) {
        self.others.insert(link, Heard { node, people, until_ms: after(now_ms, HEARD_FOR) });
    }

    /// A link is gone.
    pub fn parts(&mut self, link: LinkId) {
        self.others.remove(&link);
    }

    /// Forgets who has not been heard of for long.
    pub fn passes(&mut self, now_ms: u64) {
        self.own.retain(|_, stay| stay.until_ms > now_ms);
        self.others.retain(|_, heard| heard.until_ms > now_ms);
    }

    /// Whether somebody is at this node.
    pub fn is_anybody_here(&self) -> bool {
        !self.own.is_empty()
    }

    /// Whether nobody has to be forgotten some time.
    pub fn is_empty(&self) -> bool {
        self.own.is_empty() && self.others.is_empty()
    }

    /// What this node tells others.
    pub fn words(&self) -> Vec<u8> {
        let people: Vec<_> = self.own.values().map(|stay| stay.person.clone()).collect();
        presence::tell(&people)
    }

    /// Everybody, those at this node first. Two connections with one node are no two people.
    pub fn all(&self) -> Vec<Present> {
        let own = self.own.values().map(|stay| Present { node: None, person: stay.person.clone() });
        let of = |heard: &Heard| (heard.node, heard.people.clone());
        let heard: BTreeMap<ActorId, Vec<Person>> = self.others.values().map(of).collect();
        let at = |(node, people): (ActorId, Vec<Person>)| {
            people.into_iter().map(move |person| Present { node: Some(node), person })
        };
        own.chain(heard.into_iter().flat_map(at)).collect()
    }
}

fn after(now_ms: u64, time: Duration) -> u64 {
    now_ms.saturating_add(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOUR: ActorId = ActorId::from_bytes([7; 32]);

    fn person(number: usize) -> Person {
        let session = SessionId::from_bytes(u128::try_from(number).unwrap().to_be_bytes());
        Person { session, actor: ActorId::from_bytes([1; 32]), place: None, is_typing: false }
    }

    #[test]
    fn who_does_not_say_so_again_is_forgotten() {
        let mut company = Company::default();
        assert!(company.arrives(person(1), 0) && company.arrives(person(2), 20_000));
        company.hears(LinkId(3), TOUR, vec![person(5)], 0);
        company.passes(30_000);
        let all: Vec<_> = company.all().into_iter().map(|one| (one.node, one.person)).collect();
        assert_eq!(all, [(None, person(2)), (Some(TOUR), person(5))]);
        assert_eq!(presence::hear(&company.words()), Some(vec![person(2)]), "others are not passed on");
        company.passes(60_000);
        assert!(company.is_empty() && company.all().is_empty());
    }

    #[test]
    fn who_goes_is_gone_and_a_node_takes_its_people_along() {
        let mut company = Company::default();
        company.arrives(person(1), 0);
        company.hears(LinkId(3), TOUR, vec![person(5)], 0);
        company.hears(LinkId(4), TOUR, vec![person(6)], 0);
        assert_eq!(company.all().len(), 2, "the tour once");
        company.leaves(person(1).session);
        company.parts(LinkId(3));
        company.parts(LinkId(4));
        assert!(company.is_empty());
    }

    #[test]
    fn there_is_room_for_so_many_and_those_who_are_here_may_move() {
        let mut company = Company::default();
        assert!((0..MAX_HERE).all(|number| company.arrives(person(number), 0)));
        assert!(!company.arrives(person(MAX_HERE), 0));
        assert!(company.arrives(Person { is_typing: true, ..person(0) }, 0));
        assert_eq!(company.all().len(), MAX_HERE);
    }
}
