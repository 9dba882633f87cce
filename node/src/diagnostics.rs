//! Diagnostics: what the node, or `openprod doctor` beside it, finds out about itself and what it stands on.
//!
//! Facts are gathered first ([`gather`]), then judged by plain functions of those facts. Every check says what was
//! seen and, where something is wrong, what to do. Nothing is repaired.

use std::time::Duration;

use crate::folder::{Problem, Space};

mod gather;
pub mod peers;

pub use gather::{of_folder, of_running, peer_facts};

/// How a check went, from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// All is well.
    Ok,
    /// Works, but somebody should look at it.
    Warning,
    /// Does not work, or soon will not.
    Problem,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Its id, such as `disk.space`. Never changes.
    pub id: &'static str,
    /// What was checked, for people.
    pub title: &'static str,
    /// How it went.
    pub outcome: Outcome,
    /// What was seen.
    pub evidence: String,
    /// What to do; empty if nothing needs doing.
    pub fix: String,
}

impl Check {
    fn ok(id: &'static str, title: &'static str, evidence: impl Into<String>) -> Self {
        Self { id, title, outcome: Outcome::Ok, evidence: evidence.into(), fix: String::new() }
    }

    fn but(self, outcome: Outcome, fix: impl Into<String>) -> Self {
        Self { outcome, fix: fix.into(), ..self }
    }
}

/// Who has the node's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lock {
    /// This process.
    Ours,
    /// Nobody.
    Free,
    /// Another process, named as far as it says.
    Held(String),
    /// It could not be found out.
    Unknown(String),
}

/// What is known of a workspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkspaceFacts {
    /// Its name, or its id where it has none that can be read.
    pub name: String,
    /// What is wrong with its manifest.
    pub manifest: Option<String>,
    /// Why it does not run or open.
    pub closed: Option<String>,
    /// Its log, if that could be opened.
    pub log: Option<LogFacts>,
    /// Since when its syncing is paused, by this node's clock in milliseconds since 1970, if it is.
    pub paused_ms: Option<u64>,
}

/// What is known of a log and the state beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFacts {
    /// The last position.
    pub revision: u64,
    /// The greatest clock in it, in milliseconds since 1970.
    pub latest_ms: u64,
    /// What is wrong with its last bundle, or with reading it.
    pub unreadable: Option<String>,
    /// How the state stands to it.
    pub state: StateFacts,
    /// How many overlays there are, or why that cannot be told.
    pub overlays: Result<usize, String>,
    /// Bundles in quarantine that nobody has skipped.
    pub alarms: u64,
    /// Bundles that wait for others which they follow, or why that cannot be told.
    pub waiting: Result<usize, String>,
    /// Who has lately written on two branches of his history, for people.
    pub branched: Vec<String>,
}

/// How a stored state stands to its log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StateFacts {
    /// It was folded from this log, this far behind its end.
    Follows {
        /// Positions not folded yet.
        behind: u64,
    },
    /// It did not belong to this log, or was damaged, and is folded anew.
    MadeAnew,
    /// It could not be read.
    Unreadable(String),
}

/// 2024-01-01T00:00Z: this program did not exist before.
const EARLIEST_MS: u64 = 1_704_067_200_000;
/// 2200-01-01T00:00Z: where the logical clock stops believing.
const LATEST_MS: u64 = 7_258_118_400_000;
/// Clocks of people's machines differ by so much without anybody noticing.
const TOLERATED_MS: u64 = 120_000;

const MIB: u64 = 1024 * 1024;
const SPACE_PROBLEM: u64 = 100 * MIB;
const SPACE_WARNING: u64 = 1024 * MIB;
const SYNC_WARNING: Duration = Duration::from_millis(50);

/// Whether the folder and what is secret in it are closed to others.
pub fn judge_permissions(problems: &Result<Vec<Problem>, String>, root: &std::path::Path) -> [Check; 2] {
    let (folder, keys) = (
        Check::ok("folder.permissions", "The node's folder is closed to others", root.display().to_string()),
        Check::ok("keys.permissions", "Keys and tokens are closed to others", "All have mode 0600."),
    );
    let problems = match problems {
        Ok(problems) => problems,
        Err(why) => {
            let fix = "Choose a folder that this user can read, with --data-dir.";
            let unread = |check: Check| Check { evidence: why.clone(), ..check }.but(Outcome::Problem, fix);
            return [unread(folder), unread(keys)];
        }
    };
    let judged = |check: Check, about: &dyn Fn(&&Problem) -> bool| {
        let about: Vec<_> = problems.iter().filter(about).collect();
        if about.is_empty() {
            return check;
        }
        let evidence = about.iter().map(|problem| format!("{} {}.", problem.path.display(), problem.what));
        let fix = about.iter().map(|problem| problem.mend.clone()).collect::<Vec<_>>().join("; ");
        Check { evidence: evidence.collect::<Vec<_>>().join(" "), ..check }.but(Outcome::Problem, fix)
    };
    [judged(folder, &|problem| problem.path == root), judged(keys, &|problem| problem.path != root)]
}

/// Who has the folder.
pub fn judge_lock(lock: &Lock) -> Check {
    let check = |evidence: String| Check::ok("node.lock", "One node at a time has the folder", evidence);
    match lock {
        Lock::Ours => check(format!("This node has it (process {}).", std::process::id())),
        Lock::Free => check("No node runs on it. A lock file that is left behind does no harm.".to_owned()),
        Lock::Held(holder) => check(format!("In use by {holder}; what that node holds open was not looked at."))
            .but(Outcome::Warning, "Ask that node, or stop it first and run the checks again."),
        Lock::Unknown(why) => check(why.clone()).but(Outcome::Problem, "See to it that this user can write there."),
    }
}

/// Whether there is room.
pub fn judge_space(space: &Result<Space, String>) -> Check {
    let check = |evidence: String| Check::ok("disk.space", "There is room on the disk", evidence);
    match space {
        Err(why) => check(why.clone()).but(Outcome::Warning, "Look with `df`."),
        Ok(Space { free_bytes, total_bytes }) => {
            let seen = check(format!("{} MiB of {} MiB are free.", free_bytes / MIB, total_bytes / MIB));
            let fix = "Free some space; without any, writes are refused and reads go on.";
            match *free_bytes {
                0..SPACE_PROBLEM => seen.but(Outcome::Problem, fix),
                SPACE_PROBLEM..SPACE_WARNING => seen.but(Outcome::Warning, fix),
                _ => seen,
            }
        }
    }
}

/// Whether the disk keeps things fast enough: every write waits for it.
pub fn judge_sync(time: &Result<Duration, String>) -> Check {
    let check = |evidence: String| Check::ok("disk.sync", "The disk keeps a small write quickly", evidence);
    match time {
        Err(why) => check(why.clone()).but(Outcome::Problem, "See to it that this user can write to the folder."),
        Ok(time) => {
            let seen = check(format!("4 KiB take {:.1} ms (median).", time.as_secs_f64() * 1_000.0));
            let fix = "Every edit waits that long. Move the folder to a local disk; network drives and memory cards are slow.";
            if *time > SYNC_WARNING { seen.but(Outcome::Warning, fix) } else { seen }
        }
    }
}

/// Whether the machine's clock can be right. Nothing is decided by it, but people are shown its times.
pub fn judge_clock(now_ms: u64, latest_ms: Option<u64>) -> Check {
    let check = |evidence: String| Check::ok("clock.plausible", "The machine's clock can be right", evidence);
    let fix = "Set the clock. Nothing is lost or decided by it, but the times shown with changes are wrong.";
    let now = shown_time(now_ms);
    if !(EARLIEST_MS..LATEST_MS).contains(&now_ms) {
        return check(format!("It shows {now}.")).but(Outcome::Problem, fix);
    }
    match latest_ms.filter(|latest| *latest > now_ms + TOLERATED_MS) {
        None => check(format!("It shows {now}.")),
        Some(latest) => check(format!("It shows {now}, but the newest change is from {}.", shown_time(latest)))
            .but(Outcome::Warning, format!("{fix} Unless another machine's clock was ahead.")),
    }
}

fn shown_time(ms: u64) -> String {
    let time = i64::try_from(ms).ok().and_then(|ms| jiff::Timestamp::from_millisecond(ms).ok());
    time.map_or_else(|| format!("{ms} ms since 1970"), |time| format!("{time:.0}"))
}

/// What is to be said of a workspace.
pub fn judge_workspace(facts: &WorkspaceFacts) -> Vec<Check> {
    let name = &facts.name;
    let formats = Check::ok("workspace.format", "This version knows the workspace's formats", format!("{name}: yes."));
    let formats = match &facts.manifest {
        None => formats,
        Some(why) => Check { evidence: format!("{name}: {why}"), ..formats }
            .but(Outcome::Problem, "Install the version that wrote it, or restore a backup."),
    };
    let log = Check::ok("workspace.log", "The history is there and can be read", name.clone());
    let mut checks = vec![formats];
    // What this version does not know it does not open, and there is nothing wrong with it.
    if let Some(why) = facts.closed.as_ref().filter(|_| facts.manifest.is_none()) {
        let fix = "Does another node have it? Make a ticket there and `openprod join` it here: the history is fetched \
                   again, and what is readable of this log is taken back. Or restore the last good backup, or \
                   `openprod export --emergency`.";
        checks.push(Check { evidence: format!("{name}: {why}"), ..log.clone() }.but(Outcome::Problem, fix));
    }
    checks.extend(facts.log.iter().flat_map(|found| judge_log(name, found, &log)));
    checks.push(judge_sync_pause(name, facts.paused_ms));
    checks
}

/// A pause that was forgotten keeps people apart without anything being broken.
fn judge_sync_pause(name: &str, paused_ms: Option<u64>) -> Check {
    let check = |evidence| Check::ok("workspace.sync", "Nobody has paused syncing", evidence);
    match paused_ms {
        None => check(format!("{name}: it is not paused.")),
        Some(since_ms) => check(format!("{name}: it is paused since {}.", shown_time(since_ms)))
            .but(Outcome::Warning, format!("`openprod sync resume --workspace \"{name}\"` lets it go on.")),
    }
}

fn judge_log(name: &str, found: &LogFacts, log: &Check) -> [Check; 6] {
    let revision = found.revision;
    let history = match &found.unreadable {
        None => Check { evidence: format!("{name}: {revision} bundles; the last one is whole."), ..log.clone() },
        Some(why) => Check { evidence: format!("{name}: {why}"), ..log.clone() }.but(
            Outcome::Problem,
            "`openprod verify` tells how much is affected; a backup or another node has good copies.",
        ),
    };
    let state = Check::ok("workspace.state", "What is shown follows from the history", name);
    let state = match &found.state {
        StateFacts::Follows { behind: 0 } => Check { evidence: format!("{name}: up to revision {revision}."), ..state },
        StateFacts::Follows { behind } => Check { evidence: format!("{name}: {behind} revisions behind."), ..state },
        StateFacts::MadeAnew => Check { evidence: format!("{name}: it did not match and is made anew."), ..state }
            .but(Outcome::Warning, "Nothing: it takes a moment at the next start."),
        StateFacts::Unreadable(why) => Check { evidence: format!("{name}: {why}"), ..state }
            .but(Outcome::Problem, "Stop the node, remove the workspace's state.redb, start it again."),
    };
    let alarms = found.alarms;
    let quarantine =
        Check::ok("workspace.quarantine", "No bundle waits for a decision", format!("{name}: {alarms} wait."));
    let fix = "`openprod quarantine` lists them, with the reasons.";
    let quarantine = if alarms > 0 { quarantine.but(Outcome::Warning, fix) } else { quarantine };
    let branches = judge_branches(name, &found.branched);
    [history, state, judge_overlays(name, &found.overlays), quarantine, judge_waiting(name, &found.waiting), branches]
}

/// Bundles that came without what they follow are kept, and not in the history yet.
fn judge_waiting(name: &str, found: &Result<usize, String>) -> Check {
    let check = |evidence| Check::ok("workspace.waiting", "Every bundle that came has what it follows", evidence);
    match found {
        Ok(0) => check(format!("{name}: none waits.")),
        Ok(count) => check(format!("{name}: {count} bundles wait for others which they follow.")).but(
            Outcome::Warning,
            "They go on when a node that has the others meets this one: `openprod peers` tells who is missing.",
        ),
        Err(why) => check(format!("{name}: {why}")).but(Outcome::Warning, "`openprod verify` tells more."),
    }
}

/// Whether each key is used in one place. It is no fault where it is not, but its owner should know of it.
fn judge_branches(name: &str, branched: &[String]) -> Check {
    let check = |evidence| Check::ok("workspace.branches", "Nobody writes in two places at once", evidence);
    if branched.is_empty() {
        return check(format!("{name}: nobody does."));
    }
    let fix = "Nothing is lost: both branches are in the history. An old backup that was restored, a copied folder, or \
               one identity on two computers does this. If it was none of these, somebody else has that key: remove \
               the member, and let them have a new identity.";
    check(format!("{name}: {} did, on two branches of their history.", branched.join(", "))).but(Outcome::Warning, fix)
}

fn judge_overlays(name: &str, found: &Result<usize, String>) -> Check {
    let check = |evidence| Check::ok("workspace.overlays", "What is staged on this node can be read", evidence);
    match found {
        Ok(count) => check(format!("{name}: {count} overlays.")),
        Err(why) => check(format!("{name}: {why}")).but(
            Outcome::Problem,
            "Stop the node and put the workspace's overlays.redb aside: what is staged is lost.",
        ),
    }
}

/// Problems first; otherwise in the order of the checks.
fn sorted(mut checks: Vec<Check>) -> Vec<Check> {
    checks.sort_by_key(|check| std::cmp::Reverse(check.outcome));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_772_400_000_000;

    #[test]
    fn clocks_that_cannot_be_right_are_named() {
        assert_eq!(judge_clock(NOW, Some(NOW + 1_000)).outcome, Outcome::Ok);
        assert_eq!(judge_clock(86_400_000, None).outcome, Outcome::Problem);
        assert_eq!(judge_clock(LATEST_MS, None).outcome, Outcome::Problem);
        let back = judge_clock(NOW, Some(NOW + 3_600_000));
        assert_eq!(back.outcome, Outcome::Warning);
        assert!(back.evidence.contains("but the newest change is from 20"), "{}", back.evidence);
    }

    #[test]
    fn a_full_disk_is_a_problem_before_it_is_full() {
        let of = |free_bytes| judge_space(&Ok(Space { free_bytes, total_bytes: 500 * 1024 * MIB })).outcome;
        assert_eq!([of(0), of(SPACE_PROBLEM), of(SPACE_WARNING)], [Outcome::Problem, Outcome::Warning, Outcome::Ok]);
    }

    #[test]
    fn whatever_is_not_well_says_what_to_do() {
        let log = LogFacts {
            revision: 3,
            latest_ms: NOW,
            unreadable: Some("the last bundle is damaged".to_owned()),
            state: StateFacts::MadeAnew,
            overlays: Err("the file is damaged".to_owned()),
            alarms: 2,
            waiting: Ok(3),
            branched: vec!["Leo (1a2b3c4d)".to_owned()],
        };
        let facts = WorkspaceFacts {
            name: "Hamlet".to_owned(),
            manifest: Some("it is of format 9".to_owned()),
            closed: Some("the log is damaged".to_owned()),
            log: Some(log),
            paused_ms: Some(NOW),
        };
        let mut checks = judge_workspace(&facts);
        checks.push(judge_lock(&Lock::Held("process 7".to_owned())));
        checks.extend(judge_permissions(&Err("not readable".to_owned()), std::path::Path::new("/x")));
        assert!(checks.iter().all(|check| check.outcome > Outcome::Ok && !check.fix.is_empty()), "{checks:#?}");
        let sorted = sorted(checks);
        assert_eq!(sorted[0].outcome, Outcome::Problem);
    }
}
