//! Lives: how machines die and are switched on again, with their disks, with old ones or with copies, and how more come.

use std::collections::BTreeSet;

use openprod_model::ids::Digest;

use super::faults::{Backup, Found, found};
use super::joining::{Guest, Host};
use super::machine::{Bunch, Expected, Machine, address, guest_keys, node_keys};
use super::nature::Nature;
use super::story::{MOST_MACHINES, Story};
use super::strangers::{Manner, Stranger, stranger_address, stranger_keys};
use crate::convergence::chance::Dice;
use crate::convergence::company::Verdict;
use crate::convergence::replica::Disks;

impl Story {
    /// A machine dies, and later finds this on its disks.
    pub(super) async fn dies(&mut self, at: usize, what: Found, dice: &mut Dice) -> Verdict {
        self.judges.log_of(&self.machines[at]).map_err(|wrong| format!("machine {at}: {wrong}"))?;
        self.machines[at].dies(|disks| found(disks, what, dice)).await;
        Ok(())
    }

    pub(super) async fn starts(&mut self, at: usize) -> Verdict {
        if self.machines[at].is_up() {
            return Ok(());
        }
        self.switches_on(at).await?;
        let machine = &self.machines[at];
        self.judges.starts_again(machine).map_err(|wrong| format!("machine {at}: {wrong}"))?;
        self.has_what_it_had(at)
    }

    pub(super) async fn switches_on(&mut self, at: usize) -> Verdict {
        self.machines[at].starts().await.map_err(|error| format!("machine {at} does not start: {error}"))
    }

    pub(super) async fn restarts(&mut self, at: usize) -> Verdict {
        // A workspace that is closed knows best what it holds.
        self.judges.log_of(&self.machines[at])?;
        self.machines[at].stops().await;
        self.starts(at).await
    }

    pub(super) async fn mends(&mut self, at: usize) -> Verdict {
        let machine = &mut self.machines[at];
        if let Some(why) = machine.failure() {
            self.tape.counts("failed", format_args!("machine {at}: {why}"));
            self.dies(at, Found::Everything, &mut Dice(0)).await?;
        } else if !machine.unknown.is_empty() {
            machine.unknown = &[];
            self.judges.log_of(&self.machines[at])?;
            self.machines[at].stops().await;
        }
        self.starts(at).await
    }

    /// A machine is given an old copy of its disks.
    pub(super) async fn restores(&mut self, at: usize, dice: &mut Dice) -> Verdict {
        let own: Vec<usize> = (0..self.backups.len()).filter(|copy| self.backups[*copy].at == at).collect();
        let Some(copy) = dice.pick(&own) else { return Ok(()) };
        self.takes_answers()?;
        self.judges.log_of(&self.machines[at])?;
        let Backup { disks, files, .. } = &self.backups[copy];
        let disks = disks.copied();
        self.files.are_held_by(at, files.clone());
        self.machines[at].dies(|_| disks).await;
        self.switches_on(at).await?;
        self.has_what_it_had(at)?;
        let lost = self.judges.starts_anew(&self.machines[at])?;
        let others = self.judges.known.iter().enumerate().filter(|(other, _)| *other != at);
        let others: Vec<_> = others.map(|(_, known)| known).collect();
        let forgotten = lost.clone();
        let gone: BTreeSet<Digest> =
            lost.into_iter().filter(|digest| !others.iter().any(|known| known.holds(digest))).collect();
        self.tape.says(format_args!("machine {at} was restored; {} bundles were nowhere else", gone.len()));
        self.acknowledged.retain(|digest| !gone.contains(digest));
        self.judges.forgets_requests(&forgotten);
        self.is_excused |= !gone.is_empty();
        Ok(())
    }

    /// A copy of a machine's disks is put to work on another machine, by the same person.
    pub(super) async fn copies(&mut self, at: usize, dice: &mut Dice) -> Verdict {
        let number = self.machines.len();
        if number >= MOST_MACHINES || self.guests.contains(&number) {
            return Ok(());
        }
        let nature = &self.machines[at].nature;
        let nature =
            if dice.one_in(2) { nature.cloned(Dice(dice.roll())) } else { Nature::of(self.begin, Dice(dice.roll())) };
        let keys = Bunch(vec![node_keys(number).clone(), self.machines[at].keys.0[1].clone()]);
        let disks = self.machines[at].disks.copied();
        self.machines.push(Machine::new(number, keys, nature, disks, &self.ether));
        self.files.are_held_by(number, self.files.held_by(at));
        self.switches_on(number).await?;
        self.has_what_it_had(number)?;
        self.names_the_others_to(number).await;
        Ok(())
    }

    /// A machine is set up that nobody knows, and joins by a ticket of this one, or of another if that fails.
    pub(super) async fn joins(&mut self, at: usize, dice: &mut Dice) -> Verdict {
        let number = self.machines.len();
        if !self.guests.contains(&number) || !self.machines[at].takes_part() {
            return Ok(());
        }
        let keys = Bunch(vec![node_keys(number).clone(), guest_keys(number)]);
        let nature = Nature::of(self.begin, Dice(dice.roll()));
        let mut machine = Machine::new(number, keys, nature, Disks::default(), &self.ether);
        machine.expected = Expected::default();
        self.machines.push(machine);
        self.switches_on(number).await?;
        let mut hosts: Vec<Host> = (0..number).map(|other| self.host(other)).collect();
        hosts.rotate_left(at);
        let machine = &self.machines[number];
        let (front, env, expected) = (machine.front.clone(), machine.nature.env.clone(), machine.expected.clone());
        let guest = Guest { key: machine.key(), front, env, expected, hosts, ticket: None };
        let command = self.fresh();
        self.desk.tries(number, command, guest.joins());
        Ok(())
    }

    /// A stranger comes to a machine.
    pub(super) fn stranger_comes(&mut self, at: usize, manner: Manner, dice: Dice) {
        self.tape.says(format_args!("a stranger comes to {at}: {manner:?}"));
        let network = self.ether.node(stranger_keys().actor(), stranger_address());
        let (host, wants, command) = (self.host(at), self.files.first(), self.fresh());
        self.desk.tries(at, command, Stranger { network, host, manner, wants, dice }.comes());
    }

    /// Whoever invites at a machine. At the first, the machine itself does, which nobody removes.
    fn host(&self, at: usize) -> Host {
        let machine = &self.machines[at];
        let maker = if at == 0 { machine.key() } else { machine.person() };
        Host { front: machine.front.clone(), key: machine.key(), address: address(at), maker }
    }

    /// A machine has joined: it lets in who works there, and hears of the others.
    pub(super) async fn welcomes(&mut self, at: usize) {
        let (machine, person) = (self.machines[at].key(), self.machines[at].person());
        self.lets_in(machine, at, person);
        if !self.is_told {
            self.names_the_others_to(at).await;
        }
    }
}
