//! The tickets that this node has given out for one workspace: what each is good for, and who has joined with it.
//!
//! Of a ticket's secret only the public half of its key is here, so that a copy of this admits nobody.

use openprod_messages::admission::{Terms, TicketNote, TicketStanding};
use openprod_model::codec::{self, DecodeError};
use openprod_model::ids::ActorId;
use openprod_model::refusal::{Reason, Refusal};
use openprod_wire::admission::Denial;
use openprod_wire::ticket::{MAX_LIFETIME_MS, MAX_USES};
use serde::{Deserialize, Serialize};

/// Most tickets that can be used at the same time: more than a crew loses sight of.
pub const MAX_LIVE: usize = 64;
/// Shortest life of a ticket: it takes about that long to walk to another computer.
pub const MIN_LIFETIME_MS: u64 = 60 * 1000;
/// For how long a ticket is still listed when it can no longer be used: a week of questions.
const KEPT_MS: u64 = 7 * 24 * 60 * 60 * 1000;
const FORMAT: u16 = 1;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Issued {
    key: ActorId,
    maker: ActorId,
    made_ms: u64,
    expires_ms: u64,
    uses: u16,
    joined: Vec<ActorId>,
    revoked: bool,
}

impl Issued {
    fn standing(&self, now_ms: u64) -> TicketStanding {
        if self.revoked {
            TicketStanding::Revoked
        } else if self.joined.len() >= usize::from(self.uses) {
            TicketStanding::UsedUp
        } else if now_ms >= self.expires_ms || self.expires_ms - now_ms > MAX_LIFETIME_MS {
            // A clock that was put back makes no ticket live longer than a day from now.
            TicketStanding::Expired
        } else {
            TicketStanding::Live
        }
    }

    fn note(&self, now_ms: u64) -> TicketNote {
        TicketNote {
            key: self.key,
            maker: self.maker,
            made_ms: self.made_ms,
            expires_ms: self.expires_ms,
            uses: self.uses,
            joined: self.joined.clone(),
            standing: self.standing(now_ms),
        }
    }
}

/// What a ticket is to somebody who has proven that he has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Redeemed {
    /// This node gave out no such ticket.
    Unknown,
    /// It cannot be used.
    Denied(Denial),
    /// It admits him, in the name of its maker.
    Admits {
        /// Who made it.
        maker: ActorId,
    },
}

/// All tickets of one workspace that are remembered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tickets(Vec<Issued>);

impl Tickets {
    /// Reads what [`Self::bytes`] wrote.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let (format, tickets): (u16, Self) = codec::decode(bytes)?;
        if format == FORMAT { Ok(tickets) } else { Err(DecodeError::Malformed(format!("format {format}"))) }
    }

    /// Its bytes, to be kept.
    pub fn bytes(&self) -> Vec<u8> {
        codec::encode(&(FORMAT, self))
    }

    /// Gives out a ticket with that key, and forgets those that are long over.
    pub fn issue(&mut self, terms: Terms, key: ActorId, maker: ActorId, now_ms: u64) -> Result<TicketNote, Refusal> {
        check(terms)?;
        self.0.retain(|ticket| now_ms < ticket.expires_ms.saturating_add(KEPT_MS));
        let live = self.0.iter().filter(|ticket| ticket.standing(now_ms) == TicketStanding::Live).count();
        if live >= MAX_LIVE {
            let message =
                format!("{MAX_LIVE} tickets of this workspace can still be used, which is the most there may be.");
            return Err(Refusal::new(Reason::TooLarge, message).next("Revoke one: `openprod invites` lists them."));
        }
        let expires_ms = now_ms.saturating_add(terms.lifetime_ms);
        let joined = Vec::new();
        let ticket = Issued { key, maker, made_ms: now_ms, expires_ms, uses: terms.uses, joined, revoked: false };
        let note = ticket.note(now_ms);
        self.0.push(ticket);
        Ok(note)
    }

    /// All, the latest first.
    pub fn notes(&self, now_ms: u64) -> Vec<TicketNote> {
        self.0.iter().rev().map(|ticket| ticket.note(now_ms)).collect()
    }

    /// Takes a ticket back; none if there is no such one. One that could no longer be used stays as it was.
    pub fn revoke(&mut self, key: ActorId, now_ms: u64) -> Option<TicketNote> {
        let ticket = self.0.iter_mut().find(|ticket| ticket.key == key)?;
        ticket.revoked |= ticket.standing(now_ms) == TicketStanding::Live;
        Some(ticket.note(now_ms))
    }

    /// Uses a ticket for `joiner`. Who has used it before does not use it again: an answer that was lost is given
    /// again, even when the ticket is over; but not to one who was removed since.
    pub fn redeem(&mut self, key: ActorId, joiner: ActorId, was_removed: Removed, now_ms: u64) -> Redeemed {
        let Some(ticket) = self.0.iter_mut().find(|ticket| ticket.key == key) else { return Redeemed::Unknown };
        let (maker, standing) = (ticket.maker, ticket.standing(now_ms));
        let knows_it = ticket.joined.contains(&joiner);
        match standing {
            _ if knows_it && was_removed == Removed::Since => Redeemed::Denied(Denial::Removed),
            TicketStanding::Revoked => Redeemed::Denied(Denial::Revoked),
            _ if knows_it => Redeemed::Admits { maker },
            TicketStanding::UsedUp => Redeemed::Denied(Denial::UsedUp),
            TicketStanding::Expired => Redeemed::Denied(Denial::Expired),
            TicketStanding::Live => {
                ticket.joined.push(joiner);
                Redeemed::Admits { maker }
            }
        }
    }
}

/// Whether somebody was a member once and is not now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removed {
    /// He was removed.
    Since,
    /// He is a member, or never was.
    Not,
}

fn check(terms: Terms) -> Result<(), Refusal> {
    if !(1..=MAX_USES).contains(&terms.uses) {
        let message = format!("A ticket is good for 1 to {MAX_USES} uses.");
        return Err(Refusal::new(Reason::InvalidValue, message).at("uses"));
    }
    if !(MIN_LIFETIME_MS..=MAX_LIFETIME_MS).contains(&terms.lifetime_ms) {
        let message = "A ticket is good for at least a minute and at most 24 hours.";
        return Err(Refusal::new(Reason::InvalidValue, message).at("lifetime"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARA: ActorId = ActorId::from_bytes([1; 32]);
    const HOUR_MS: u64 = 60 * 60 * 1000;
    const NOON: u64 = 1_800_000_000_000;
    const TERMS: Terms = Terms { uses: 2, lifetime_ms: 2 * HOUR_MS };

    fn node(n: u8) -> ActorId {
        ActorId::from_bytes([n; 32])
    }

    fn one() -> (Tickets, ActorId) {
        let (mut tickets, key) = (Tickets::default(), node(100));
        tickets.issue(TERMS, key, MARA, NOON).unwrap();
        (tickets, key)
    }

    #[test]
    fn it_admits_as_many_as_it_says_and_the_same_one_again() {
        let (mut tickets, key) = one();
        for joiner in [2, 3, 2, 3] {
            assert_eq!(tickets.redeem(key, node(joiner), Removed::Not, NOON), Redeemed::Admits { maker: MARA });
        }
        assert_eq!(tickets.redeem(key, node(4), Removed::Not, NOON), Redeemed::Denied(Denial::UsedUp));
        let note = &tickets.notes(NOON)[0];
        assert_eq!((note.standing, note.joined.as_slice()), (TicketStanding::UsedUp, [node(2), node(3)].as_slice()));
    }

    #[test]
    fn it_ends_in_time_and_when_it_is_revoked() {
        let (mut tickets, key) = one();
        assert_eq!(tickets.redeem(key, node(2), Removed::Not, NOON + 2 * HOUR_MS), Redeemed::Denied(Denial::Expired));
        assert_eq!(tickets.revoke(key, NOON).unwrap().standing, TicketStanding::Revoked);
        assert_eq!(tickets.redeem(key, node(2), Removed::Not, NOON), Redeemed::Denied(Denial::Revoked));
        assert_eq!(tickets.redeem(node(9), node(2), Removed::Not, NOON), Redeemed::Unknown);
        assert!(tickets.revoke(node(9), NOON).is_none());
    }

    #[test]
    fn a_clock_that_was_put_back_keeps_no_ticket_alive() {
        let (mut tickets, key) = one();
        assert_eq!(tickets.redeem(key, node(2), Removed::Not, NOON - 30 * HOUR_MS), Redeemed::Denied(Denial::Expired));
    }

    #[test]
    fn who_was_removed_does_not_come_back_with_the_ticket_he_came_with() {
        let (mut tickets, key) = one();
        tickets.redeem(key, node(2), Removed::Not, NOON);
        assert_eq!(tickets.redeem(key, node(2), Removed::Since, NOON), Redeemed::Denied(Denial::Removed));
        tickets.issue(TERMS, node(101), MARA, NOON).unwrap();
        let fresh = tickets.redeem(node(101), node(2), Removed::Since, NOON);
        assert_eq!(fresh, Redeemed::Admits { maker: MARA });
    }

    #[test]
    fn a_lost_answer_is_given_again_when_the_time_is_over() {
        let (mut tickets, key) = one();
        tickets.redeem(key, node(2), Removed::Not, NOON);
        let late = tickets.redeem(key, node(2), Removed::Not, NOON + 3 * HOUR_MS);
        assert_eq!(late, Redeemed::Admits { maker: MARA });
    }

    #[test]
    fn impossible_terms_are_refused_and_so_are_too_many() {
        let (mut tickets, _) = one();
        let wrong = [(0, HOUR_MS), (101, HOUR_MS), (1, 0), (1, 25 * HOUR_MS)];
        for (uses, lifetime_ms) in wrong {
            assert!(tickets.issue(Terms { uses, lifetime_ms }, node(5), MARA, NOON).is_err());
        }
        (1..MAX_LIVE).for_each(|_| drop(tickets.issue(TERMS, node(5), MARA, NOON).unwrap()));
        assert_eq!(tickets.issue(TERMS, node(5), MARA, NOON).unwrap_err().reason, Reason::TooLarge);
        let later = NOON + 9 * 24 * HOUR_MS;
        tickets.issue(TERMS, node(6), MARA, later).unwrap();
        assert_eq!(tickets.notes(later).len(), 1, "what is long over is forgotten");
    }

    #[test]
    fn they_are_kept_as_they_are_and_nothing_else_is_read() {
        let (mut tickets, key) = one();
        tickets.redeem(key, node(2), Removed::Not, NOON);
        assert_eq!(Tickets::from_bytes(&tickets.bytes()), Ok(tickets.clone()));
        assert!(Tickets::from_bytes(&[2, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_err());
        assert!(Tickets::from_bytes(b"").is_err());
    }
}
