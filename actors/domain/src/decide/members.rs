//! Members, names and settings.

use openprod_model::ids::ActorId;
use openprod_model::operation::Operation;
use openprod_model::refusal::{Reason, Refusal};
use openprod_model::value::{Name, Text, Value};

use super::{Decision, Planner};
use crate::asset;
use crate::cell::Cell;
use crate::command::Stance;
use crate::fold::workspace_name_setting;
use crate::join_mode::JoinMode;
use crate::read::{self, Membership};
use crate::recovery;

impl Planner<'_> {
    pub(super) fn put_setting(&mut self, setting: &Name, value: Option<&Value>) -> Decision<()> {
        if *setting == workspace_name_setting() && !matches!(value, Some(Value::Text(_))) {
            let refusal = Refusal::new(Reason::WrongType, "The workspace's name is text.");
            return Err(refusal.at("value").into());
        }
        if *setting == asset::retention_setting() && !value.is_none_or(asset::is_retention) {
            let most = asset::MAX_RETENTION_DAYS;
            let refusal = Refusal::new(Reason::WrongType, format!("It is a whole number of days, at most {most}."));
            return Err(refusal.at("value").into());
        }
        if *setting == JoinMode::setting() && !value.is_none_or(is_join_mode) {
            let refusal = Refusal::new(Reason::InvalidValue, "How people join is \"invite\", \"request\" or \"open\".");
            return Err(refusal.at("value").into());
        }
        if *setting == recovery::setting() && value.is_some_and(|value| recovery::named(value).is_none()) {
            let refusal = Refusal::new(Reason::InvalidValue, "The recovery key is named by its actor id.").at("value");
            return Err(refusal.next("`openprod recovery new` makes one.").into());
        }
        let basis = self.basis(&Cell::Setting { setting: setting.clone() })?;
        self.push(Operation::PutSetting { setting: setting.clone(), value: value.cloned(), basis })
    }

    pub(super) fn admit_member(&mut self, member: ActorId, name: Option<&Text>) -> Decision<()> {
        // Whoever decides says it again, so that it also holds where the first admission is in doubt.
        if read::membership(&self.view(), member)? == Membership::Admitted && self.stance != Stance::Decide {
            let message = format!("Actor {} is a member already.", member.short());
            return Err(Refusal::new(Reason::AlreadyExists, message).at("member").into());
        }
        let basis = self.basis(&Cell::Member { member })?;
        self.push(Operation::AdmitMember { member, basis })?;
        match name {
            Some(name) if read::actor_name(&self.view(), member)?.is_none() => self.name_actor(member, name),
            _ => Ok(()),
        }
    }

    pub(super) fn remove_member(&mut self, member: ActorId, why: &Text) -> Decision<()> {
        if read::membership(&self.view(), member)? != Membership::Admitted {
            let message = format!("Actor {} is not a member.", member.short());
            return Err(Refusal::new(Reason::NotAMember, message).at("member").into());
        }
        // So whoever removes others stays, and with him somebody who can let people in.
        if member == self.stamp.actor {
            let message = "You cannot remove yourself: nobody might be left who lets people in.";
            let refusal = Refusal::new(Reason::InvalidRequest, message).at("member");
            return Err(refusal.next("Ask another member to do it.").into());
        }
        let basis = self.basis(&Cell::Member { member })?;
        self.push(Operation::RemoveMember { member, why: why.clone(), basis })
    }

    pub(super) fn name_actor(&mut self, actor: ActorId, name: &Text) -> Decision<()> {
        if name.as_str().trim().is_empty() || name.as_str().chars().any(char::is_control) {
            let message = "A display name needs letters and may not hold control characters.";
            return Err(Refusal::new(Reason::InvalidValue, message).at("name").into());
        }
        let basis = self.basis(&Cell::ActorName { actor })?;
        self.push(Operation::NameActor { actor, name: name.clone(), basis })
    }
}

fn is_join_mode(value: &Value) -> bool {
    matches!(value, Value::Text(word) if JoinMode::from_word(word.as_str()).is_some())
}
