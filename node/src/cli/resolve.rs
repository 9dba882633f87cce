//! The command `resolve`: decides conflicts, one by one with the person at the terminal, by name, or many at once.

use std::io::{self, IsTerminal as _};

use clap::Args;
use openprod_client::{Change, Workspace, v1};
use openprod_domain::describe::escaped;
use openprod_model::ids::OpRef;
use openprod_model::value::{FieldType, Value};

use super::conflicts::{self, Filter, Listed};
use super::context::Context;
use super::error::CliError;
use super::known::KnownTable;
use super::output::{grid, line, remark};
use super::{ask, write};
use crate::sheet::cell::parse_value;

/// Decides conflicts: on a terminal one by one; else the one that is named, or many at once
#[derive(Debug, Clone, Args)]
pub struct ResolveArgs {
    /// The conflict's id, or the beginning of it, as `openprod conflicts` tells it
    #[arg(conflicts_with = "all")]
    conflict: Option<String>,
    #[command(flatten)]
    pick: PickArgs,
    #[command(flatten)]
    bulk: BulkArgs,
}

#[derive(Debug, Clone, Args)]
#[group(multiple = false)]
struct PickArgs {
    /// The value of this number, as `openprod conflicts show` numbers them
    #[arg(long, value_name = "NUMBER", requires = "conflict")]
    take: Option<usize>,
    /// Another value
    #[arg(long, requires = "conflict")]
    value: Option<String>,
    /// No value
    #[arg(long, requires = "conflict")]
    clear: bool,
    /// Brings back what was removed while somebody edited it
    #[arg(long, requires = "conflict")]
    restore: bool,
    /// Leaves removed what was removed, and the edits with it
    #[arg(long, requires = "conflict")]
    let_go: bool,
}

#[derive(Debug, Clone, Args)]
struct BulkArgs {
    /// All conflicts that fit, in one bundle, for one side
    #[arg(long, requires = "side")]
    all: bool,
    /// For what the acting identity wrote
    #[arg(long, group = "side", requires = "all")]
    mine: bool,
    /// For what this member wrote: a name, an id or the beginning of it
    #[arg(long, group = "side", requires = "all", value_name = "NAME|ID")]
    theirs: Option<String>,
    /// For what this bundle wrote, an import say: its id or digest
    #[arg(long, group = "side", requires = "all", value_name = "BUNDLE")]
    from_bundle: Option<String>,
    /// Only about this table or its records
    #[arg(long, requires = "all")]
    table: Option<String>,
}

/// What a person picks.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Pick {
    /// A candidate, by its number from 1 on.
    Take(usize),
    Value(String),
    Clear,
    Restore,
    LetGo,
}

/// What a person answers while walking through conflicts.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Decide(Pick),
    Skip,
    Quit,
}

/// Runs `resolve`.
pub async fn run(args: ResolveArgs, context: &Context) -> Result<(), CliError> {
    let workspace = context.workspace().await?;
    match (&args.conflict, args.pick.picked(), args.bulk.all) {
        (None, _, true) => many(context, &workspace, &args.bulk).await,
        (Some(wanted), Some(pick), _) => {
            let (conflict, revision) = conflicts::find(&workspace, wanted).await?;
            decide(context, &workspace, &conflict, revision, &pick).await
        }
        (wanted, ..) => walk(context, &workspace, wanted.as_deref()).await,
    }
}

impl PickArgs {
    fn picked(&self) -> Option<Pick> {
        let flags = [(self.clear, Pick::Clear), (self.restore, Pick::Restore), (self.let_go, Pick::LetGo)];
        let flagged = || flags.into_iter().find_map(|(given, pick)| given.then_some(pick));
        self.take.map(Pick::Take).or_else(|| self.value.clone().map(Pick::Value)).or_else(flagged)
    }
}

async fn decide(
    context: &Context,
    workspace: &Workspace,
    conflict: &v1::Conflict,
    revision: u64,
    pick: &Pick,
) -> Result<(), CliError> {
    let choice = choice(workspace, conflict, pick).await?;
    let change = Change::resolve([(conflict.cell.clone().unwrap_or_default(), choice)]).base(revision);
    write::tell(context, &workspace.execute(&change).await?, "Resolved")
}

/// What a pick is to the node.
async fn choice(workspace: &Workspace, conflict: &v1::Conflict, pick: &Pick) -> Result<v1::resolve::Choice, CliError> {
    use v1::resolve::Choice;
    Ok(match pick {
        Pick::Take(number) => Choice::Candidate(taken(conflict, *number)?.op.clone()),
        Pick::Value(text) => Choice::Value((&value(workspace, conflict, text).await?).into()),
        Pick::Clear => Choice::Clear(true),
        Pick::Restore => Choice::Restore(true),
        Pick::LetGo => Choice::LetGo(true),
    })
}

fn taken(conflict: &v1::Conflict, number: usize) -> Result<&v1::DisputedWrite, CliError> {
    let candidate = number.checked_sub(1).and_then(|index| conflict.candidates.get(index));
    candidate.and_then(|candidate| candidate.writes.first()).ok_or_else(|| {
        CliError::usage(format!("There is no value number {number} here."))
            .next(format!("`openprod conflicts show {}` lists them.", conflict.conflict))
    })
}

/// A value that somebody typed: of the field's type, or of the type of the values in dispute.
async fn value(workspace: &Workspace, conflict: &v1::Conflict, text: &str) -> Result<Value, CliError> {
    let read = match conflict.cell.as_ref().and_then(|cell| cell.kind.as_ref()) {
        Some(v1::cell::Kind::Field(field)) => {
            let table = KnownTable::read(workspace, &field.table).await?;
            table.column(&field.column)?.value(workspace, text).await?
        }
        _ => parse_value(text, &type_in_dispute(conflict)).map_err(CliError::usage)?,
    };
    read.ok_or_else(|| CliError::usage("No value was given.").next("--clear leaves it without one."))
}

fn type_in_dispute(conflict: &v1::Conflict) -> FieldType {
    let values = conflict.candidates.iter().filter_map(|candidate| candidate.content.as_ref()?.content.as_ref());
    let value = values.into_iter().find_map(|content| match content {
        v1::cell_content::Content::Value(value) => Value::try_from(value.clone()).ok(),
        _ => None,
    });
    match value {
        Some(Value::Integer(_)) => FieldType::Integer,
        Some(Value::Float(_)) => FieldType::Float,
        Some(Value::Boolean(_)) => FieldType::Boolean,
        Some(Value::Date(_)) => FieldType::Date,
        Some(Value::DateTime(_)) => FieldType::DateTime,
        Some(Value::Duration(_)) => FieldType::Duration,
        _ => FieldType::Text,
    }
}

/// Walks through the conflicts with the person at the terminal.
async fn walk(context: &Context, workspace: &Workspace, wanted: Option<&str>) -> Result<(), CliError> {
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("A decision is needed, and nobody is at the terminal to make it.")
            .next("Name a conflict with --take, --value, --clear, --restore or --let-go; or decide many with --all."));
    }
    let Listed { conflicts, revision } = match wanted {
        Some(wanted) => {
            let (conflict, revision) = conflicts::find(workspace, wanted).await?;
            Listed { conflicts: vec![conflict], revision }
        }
        None => conflicts::all(workspace, &Filter::default()).await?,
    };
    let (total, mut resolved) = (conflicts.len(), 0_usize);
    for (index, conflict) in conflicts.iter().enumerate() {
        line(&escaped(&format!("{} of {total}: {}", index + 1, conflict.sentence)))?;
        grid(context.style, &conflicts::choices(conflict))?;
        match asked(context, workspace, conflict, revision).await? {
            Answer::Decide(_) => resolved += 1,
            Answer::Skip => {}
            Answer::Quit => break,
        }
        line("")?;
    }
    remark(&format!("Resolved {resolved} of {total}."));
    Ok(())
}

/// Asks until an answer is one, and was taken.
async fn asked(
    context: &Context,
    workspace: &Workspace,
    conflict: &v1::Conflict,
    revision: u64,
) -> Result<Answer, CliError> {
    loop {
        let typed = ask::answer(hint(conflict))?;
        let Some(answer) = typed.as_deref().map_or(Some(Answer::Quit), |text| understood(text, conflict)) else {
            remark("That is not one of the answers.");
            continue;
        };
        let Answer::Decide(pick) = &answer else { return Ok(answer) };
        match decide(context, workspace, conflict, revision, pick).await {
            Ok(()) => return Ok(answer),
            Err(refused) => drop(refused.report(context.style)),
        }
    }
}

fn hint(conflict: &v1::Conflict) -> &'static str {
    match conflict.sort() {
        v1::ConflictSort::RemovedWhileEdited => "r restore, l let go, s skip, q quit: ",
        _ => "number, v=VALUE, c clear, s skip, q quit: ",
    }
}

/// What a typed line answers to a conflict.
fn understood(text: &str, conflict: &v1::Conflict) -> Option<Answer> {
    let is_removed = conflict.sort() == v1::ConflictSort::RemovedWhileEdited;
    let text = text.trim();
    if let Some(value) = text.strip_prefix("v=").filter(|_| !is_removed) {
        return Some(Answer::Decide(Pick::Value(value.to_owned())));
    }
    Some(match (text, is_removed) {
        ("s", _) => Answer::Skip,
        ("q", _) => Answer::Quit,
        ("r", true) => Answer::Decide(Pick::Restore),
        ("l", true) => Answer::Decide(Pick::LetGo),
        ("c", false) => Answer::Decide(Pick::Clear),
        (number, false) => {
            let number = number.parse().ok().filter(|number| (1..=conflict.candidates.len()).contains(number))?;
            Answer::Decide(Pick::Take(number))
        }
        _ => return None,
    })
}

/// Decides all conflicts that fit for one side, in one bundle.
async fn many(context: &Context, workspace: &Workspace, bulk: &BulkArgs) -> Result<(), CliError> {
    let side = Side::of(context, workspace, bulk).await?;
    let filter = Filter { table: bulk.table.clone(), ..side.filter() };
    let Listed { conflicts, revision } = conflicts::all(workspace, &filter).await?;
    let decided = conflicts.iter().filter_map(|conflict| Some((conflict.cell.clone()?, side.choice(conflict)?)));
    let decided: Vec<_> = decided.collect();
    let left = conflicts.len() - decided.len();
    if left > 0 {
        remark(&format!("{left} of them cannot be decided so: they are left for you to look at."));
    }
    if decided.is_empty() {
        remark("There is nothing to decide.");
        return Ok(());
    }
    ask::sure(context, &format!("Decide {} conflicts for {}?", decided.len(), side.words()))?;
    let change = Change::resolve(decided).base(revision);
    write::tell(context, &workspace.execute(&change).await?, "Resolved")
}

/// For whom many conflicts are decided.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Side {
    /// For what this actor wrote.
    Actor(String),
    /// For what the bundle of this id or digest wrote.
    Bundle(String),
}

impl Side {
    async fn of(context: &Context, workspace: &Workspace, bulk: &BulkArgs) -> Result<Self, CliError> {
        if let Some(bundle) = &bulk.from_bundle {
            return Ok(Self::Bundle(bundle.clone()));
        }
        if let Some(wanted) = &bulk.theirs {
            return Ok(Self::Actor(conflicts::member(workspace, wanted).await?));
        }
        let client = workspace.client();
        Ok(Self::Actor(match context.acting(client).await? {
            Some(actor) => actor.to_string(),
            None => client.ask(v1::GetInfoRequest {}).await?.default_actor,
        }))
    }

    fn filter(&self) -> Filter {
        match self {
            Self::Actor(actor) => Filter { by: Some(actor.clone()), ..Filter::default() },
            Self::Bundle(bundle) => Filter { bundle: Some(bundle.clone()), ..Filter::default() },
        }
    }

    fn words(&self) -> &'static str {
        match self {
            Self::Actor(_) => "what this one person wrote",
            Self::Bundle(_) => "what this one bundle wrote",
        }
    }

    fn wrote(&self, write: &v1::DisputedWrite) -> bool {
        let Some(bundle) = &write.bundle else { return false };
        match self {
            Self::Actor(actor) => bundle.actor == *actor,
            Self::Bundle(named) => bundle.bundle_id == *named || bundle.bundle_digest == *named,
        }
    }

    /// What this side says, if it says one thing.
    fn choice(&self, conflict: &v1::Conflict) -> Option<v1::resolve::Choice> {
        use v1::resolve::Choice;
        let any = |writes: &[v1::DisputedWrite]| writes.iter().any(|write| self.wrote(write));
        if conflict.sort() == v1::ConflictSort::RemovedWhileEdited {
            return match (any(&conflict.removals), any(&conflict.edits)) {
                (true, false) => Some(Choice::LetGo(true)),
                (false, true) => Some(Choice::Restore(true)),
                _ => None,
            };
        }
        let writes = conflict.candidates.iter().filter_map(|one| one.writes.iter().find(|write| self.wrote(write)));
        let ops: Vec<_> = writes.map(|write| write.op.clone()).collect();
        match ops.as_slice() {
            [op] if op.parse::<OpRef>().is_ok() => Some(Choice::Candidate(op.clone())),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(actor: &str, op: u8) -> v1::DisputedWrite {
        let bundle = v1::BundleInfo { actor: actor.into(), bundle_id: format!("of {actor}"), ..Default::default() };
        v1::DisputedWrite { op: format!("{op:02x}").repeat(16), bundle: Some(bundle), ..Default::default() }
    }

    fn values(of: &[&[(&str, u8)]]) -> v1::Conflict {
        let candidate = |writes: &&[(&str, u8)]| v1::ConflictCandidate {
            writes: writes.iter().map(|(actor, op)| write(actor, *op)).collect(),
            ..Default::default()
        };
        let sort = v1::ConflictSort::ValuesDiffer.into();
        v1::Conflict { sort, candidates: of.iter().map(candidate).collect(), ..Default::default() }
    }

    fn removed(removals: &[&str], edits: &[&str]) -> v1::Conflict {
        let all = |actors: &[&str]| actors.iter().map(|actor| write(actor, 1)).collect();
        let sort = v1::ConflictSort::RemovedWhileEdited.into();
        v1::Conflict { sort, removals: all(removals), edits: all(edits), ..Default::default() }
    }

    #[test]
    fn a_typed_answer_is_taken_only_where_it_makes_sense() {
        let (torn, gone) = (values(&[&[("a", 1)], &[("b", 2)]]), removed(&["a"], &["b"]));
        let decide = |pick| Some(Answer::Decide(pick));
        assert_eq!(understood(" 2 ", &torn), decide(Pick::Take(2)));
        assert_eq!(understood("v=a=b c", &torn), decide(Pick::Value("a=b c".into())));
        assert_eq!(understood("c", &torn), decide(Pick::Clear));
        assert_eq!(understood("l", &gone), decide(Pick::LetGo));
        assert_eq!(understood("r", &gone), decide(Pick::Restore));
        assert_eq!((understood("s", &torn), understood("q", &gone)), (Some(Answer::Skip), Some(Answer::Quit)));
        for (text, conflict) in [("0", &torn), ("3", &torn), ("r", &torn), ("", &torn), ("1", &gone), ("v=x", &gone)] {
            assert_eq!(understood(text, conflict), None, "{text}");
        }
    }

    #[test]
    fn a_side_is_chosen_where_it_says_one_thing() {
        use v1::resolve::Choice;
        let (a, bundle) = (Side::Actor("a".into()), Side::Bundle("of b".into()));
        let torn = values(&[&[("c", 3), ("a", 1)], &[("b", 2)]]);
        assert_eq!(a.choice(&torn), Some(Choice::Candidate("01".repeat(16))));
        assert_eq!(bundle.choice(&torn), Some(Choice::Candidate("02".repeat(16))));
        assert_eq!(a.choice(&values(&[&[("a", 1)], &[("a", 2)]])), None, "which of the two?");
        assert_eq!(a.choice(&values(&[&[("b", 1)], &[("c", 2)]])), None);
        assert_eq!(a.choice(&removed(&["a"], &["b"])), Some(Choice::LetGo(true)));
        assert_eq!(a.choice(&removed(&["b"], &["a"])), Some(Choice::Restore(true)));
        assert_eq!(a.choice(&removed(&["a"], &["a", "b"])), None);
    }
}
