//! Those who wait for a member to approve: few, none for ever, and none twice.

use openprod_messages::admission::JoinRequest;
use openprod_wire::admission::Denial;

/// Most who wait for one workspace at a time: strangers can ask, so they share little room.
pub const MAX_WAITING: usize = 16;
/// For how long somebody waits: time to find a member and to read six digits aloud.
pub const PATIENCE_MS: u64 = 10 * 60 * 1000;

/// Those who wait, each with whatever answers it.
#[derive(Debug)]
pub struct Waiting<T>(Vec<(JoinRequest, T)>);

impl<T> Default for Waiting<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Waiting<T> {
    /// Somebody more. Gives back those who wait no longer, each with the reason: one who asks again takes the place of
    /// his first request; one for whom there is no room does not wait at all.
    pub fn enter(&mut self, request: JoinRequest, answer: T) -> Vec<(T, Denial)> {
        let mut out = self.leave_if(|waiting| waiting.joiner == request.joiner, Denial::Unanswered);
        // Two equal codes could not be told apart; a second try makes another one.
        let is_taken = self.0.iter().any(|(waiting, _)| waiting.code == request.code);
        if is_taken || self.0.len() >= MAX_WAITING {
            out.push((answer, Denial::TooMany));
        } else {
            self.0.push((request, answer));
        }
        out
    }

    /// Who waits, the first to ask first.
    pub fn list(&self) -> Vec<JoinRequest> {
        self.0.iter().map(|(request, _)| request.clone()).collect()
    }

    /// Whoever waits with that code waits no longer. Whatever is no digit does not matter.
    pub fn take(&mut self, code: &str) -> Option<(JoinRequest, T)> {
        let digits = |code: &str| code.chars().filter(char::is_ascii_digit).collect::<String>();
        let index = self.0.iter().position(|(request, _)| digits(&request.code) == digits(code))?;
        Some(self.0.remove(index))
    }

    /// Gives back those who have waited too long, and those who are gone.
    pub fn sweep(&mut self, now_ms: u64, is_gone: impl Fn(&T) -> bool) -> Vec<(T, Denial)> {
        self.0.retain(|(_, answer)| !is_gone(answer));
        self.leave_if(|waiting| now_ms >= waiting.since_ms.saturating_add(PATIENCE_MS), Denial::Unanswered)
    }

    fn leave_if(&mut self, leaves: impl Fn(&JoinRequest) -> bool, why: Denial) -> Vec<(T, Denial)> {
        self.0.extract_if(.., |(request, _)| leaves(request)).map(|(_, answer)| (answer, why)).collect()
    }
}

#[cfg(test)]
mod tests {
    use openprod_model::ids::ActorId;
    use openprod_model::value::Text;

    use super::*;

    fn request(joiner: u8, code: &str, since_ms: u64) -> JoinRequest {
        let name = Text::new("Leo's laptop").unwrap();
        JoinRequest { joiner: ActorId::from_bytes([joiner; 32]), name, code: code.to_owned(), since_ms }
    }

    #[test]
    fn they_are_found_by_their_code_however_it_is_written() {
        let mut waiting = Waiting::default();
        assert!(waiting.enter(request(1, "481 502", 0), 'a').is_empty());
        assert!(waiting.enter(request(2, "000 001", 0), 'b').is_empty());
        assert!(waiting.take("481 503").is_none());
        assert_eq!(waiting.take("481502").unwrap().1, 'a');
        assert_eq!(waiting.list(), [request(2, "000 001", 0)]);
    }

    #[test]
    fn who_asks_again_waits_once_and_nobody_takes_all_the_room() {
        let mut waiting = Waiting::default();
        waiting.enter(request(1, "111 111", 0), 1);
        assert_eq!(waiting.enter(request(1, "222 222", 0), 2), [(1, Denial::Unanswered)]);
        assert_eq!(waiting.enter(request(2, "222 222", 0), 3), [(3, Denial::TooMany)], "a code that waits already");
        for joiner in 2..=16 {
            assert!(waiting.enter(request(joiner, &format!("000 0{joiner:02}"), 0), 0).is_empty());
        }
        assert_eq!(waiting.enter(request(17, "333 333", 0), 4), [(4, Denial::TooMany)]);
        assert_eq!(waiting.list().len(), MAX_WAITING);
    }

    #[test]
    fn nobody_waits_for_ever() {
        let mut waiting = Waiting::default();
        waiting.enter(request(1, "111 111", 1_000), 1);
        waiting.enter(request(2, "222 222", 2_000), 2);
        assert!(waiting.sweep(PATIENCE_MS, |_| false).is_empty());
        assert_eq!(waiting.sweep(1_000 + PATIENCE_MS, |_| false), [(1, Denial::Unanswered)]);
        assert!(waiting.sweep(1_000 + PATIENCE_MS, |answer| *answer == 2).is_empty() && waiting.list().is_empty());
    }
}
