//! Work on what may be hostile, in a process of its own: this very program again, with limits, told what to do by a word.
//!
//! ```text
//! node                                   child (openprod child WORD)
//!   starts it without environment          sets its own limits, before it reads anything:
//!   writes the source to its input           memory, CPU time, no file, no process, no core,
//!                                            no call of the system that it does not need
//!   reads the result, so much of it          reads the source, works, writes the result
//!   kills it when it takes too long          ends with 0, or with 3: it cannot be done
//! ```
//!
//! Whatever happens to the child (it panics, aborts, loops, is killed for its memory), the node learns only that there is
//! no result.

use std::io::{self, Read, Write};
use std::process::{ExitCode, Stdio};
use std::time::Duration;

use futures::{Stream, StreamExt};
use openprod_blobs::thumbnail;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::files::FileError;

mod fence;

/// What a child can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Job {
    /// Makes a thumbnail.
    Thumbnail,
}

/// What `child` takes.
#[derive(Debug, Clone, clap::Args)]
pub struct ChildArgs {
    /// What to do with standard input
    job: Job,
}

/// Why there is no result.
#[derive(Debug)]
pub enum ChildError {
    /// The source could not be read to its end.
    Source(FileError),
    /// It ended without one: it could not be done, or the child broke a limit.
    Ended(std::process::ExitStatus),
    /// It took too long.
    Late,
    /// The system would not start it, or lost it.
    System(io::Error),
}

/// What a job may take.
struct Limits {
    /// Memory of its own, in bytes.
    memory: u64,
    /// Time of a core, in seconds.
    cpu_seconds: u64,
    /// Time by the clock: more, since there may be others.
    patience: Duration,
    /// The source, in bytes.
    source: u64,
    /// The result, in bytes.
    result: usize,
}

impl Job {
    fn word(self) -> &'static str {
        match self {
            Self::Thumbnail => "thumbnail",
        }
    }

    fn limits(self) -> Limits {
        match self {
            // The picture decoded, once more turned the right way up, and the source.
            Self::Thumbnail => Limits {
                memory: 768 * 1024 * 1024,
                cpu_seconds: 20,
                patience: Duration::from_mins(1),
                source: thumbnail::MAX_SOURCE_BYTES,
                result: thumbnail::MAX_BYTES,
            },
        }
    }
}

/// Ended because it cannot be done: not a fault of the child's.
const CANNOT: u8 = 3;

/// Has a child do a job on `source`, and gives the result.
pub async fn run(job: Job, source: impl Stream<Item = Result<Vec<u8>, FileError>>) -> Result<Vec<u8>, ChildError> {
    let limits = job.limits();
    // The program that runs, also when another version was put in its place meanwhile.
    let mut child = Command::new("/proc/self/exe");
    child.args(["child", job.word()]).env_clear().stderr(Stdio::null());
    has_done(child, &limits, source).await
}

/// What a program makes of `source` within its limits.
async fn has_done(
    mut program: Command,
    limits: &Limits,
    source: impl Stream<Item = Result<Vec<u8>, FileError>>,
) -> Result<Vec<u8>, ChildError> {
    program.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let child = program.spawn().map_err(ChildError::System)?;
    match tokio::time::timeout(limits.patience, converse(child, source, limits.result)).await {
        Ok(result) => result,
        // Dropping the child has killed it.
        Err(_) => Err(ChildError::Late),
    }
}

async fn converse(
    mut child: Child,
    source: impl Stream<Item = Result<Vec<u8>, FileError>>,
    most: usize,
) -> Result<Vec<u8>, ChildError> {
    let (input, output) = (child.stdin.take(), child.stdout.take());
    let (Some(mut input), Some(output)) = (input, output) else {
        return Err(ChildError::System(io::ErrorKind::BrokenPipe.into()));
    };
    let feed = async {
        let mut source = std::pin::pin!(source);
        while let Some(piece) = source.next().await {
            // A child that has heard enough says why by its end.
            if input.write_all(&piece.map_err(ChildError::Source)?).await.is_err() {
                break;
            }
        }
        drop(input);
        Ok(())
    };
    let listen = async {
        let mut result = Vec::new();
        let mut output = output.take(most as u64 + 1);
        output.read_to_end(&mut result).await.map(|_| result).map_err(ChildError::System)
    };
    let ((), result) = tokio::try_join!(feed, listen)?;
    let status = child.wait().await.map_err(ChildError::System)?;
    if status.success() && result.len() <= most { Ok(result) } else { Err(ChildError::Ended(status)) }
}

/// The child: limits itself, reads, works, writes. No threads, no runtime, no configuration.
pub fn main(args: &ChildArgs) -> ExitCode {
    let limits = args.job.limits();
    if fence::limit(limits.memory, limits.cpu_seconds).is_err() || fence::shut().is_err() {
        return ExitCode::FAILURE;
    }
    let mut source = Vec::new();
    let read = io::stdin().lock().take(limits.source + 1).read_to_end(&mut source);
    if read.is_err() || source.len() as u64 > limits.source {
        return ExitCode::from(CANNOT);
    }
    let made = match args.job {
        Job::Thumbnail => thumbnail::make(source),
    };
    match made {
        Ok(result) if io::stdout().lock().write_all(&result).is_ok() => ExitCode::SUCCESS,
        _ => ExitCode::from(CANNOT),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source() -> impl Stream<Item = Result<Vec<u8>, FileError>> {
        futures::stream::iter([Ok(b"a picture".to_vec())])
    }

    fn shell(line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-c", line]).stderr(Stdio::null());
        shell
    }

    /// With virtual time, so that nobody waits as long as the node would.
    #[tokio::test(start_paused = true)]
    async fn a_child_that_takes_for_ever_is_ended_and_said_to_be_late() {
        let limits = Job::Thumbnail.limits();
        for line in ["exec sleep 100000", "cat; exec sleep 100000", "while :; do :; done"] {
            let (mut alive, held) = io::pipe().unwrap();
            let mut child = shell(line);
            child.stderr(Stdio::from(held));
            let done = has_done(child, &limits, source()).await;
            assert!(matches!(done, Err(ChildError::Late)), "{line}: {done:?}");
            // Its last end of the pipe is closed by its death only.
            assert_eq!(alive.read(&mut [0]).unwrap(), 0, "{line}");
        }
    }

    #[tokio::test]
    async fn what_a_child_says_counts_only_if_it_ends_well_and_says_no_more_than_it_may() {
        let limits = Limits { result: 9, ..Job::Thumbnail.limits() };
        assert_eq!(has_done(shell("cat"), &limits, source()).await.unwrap(), b"a picture");
        for line in ["cat; echo", "cat; exit 3", "cat; kill -9 $$", "exit 1"] {
            let done = has_done(shell(line), &limits, source()).await;
            assert!(matches!(done, Err(ChildError::Ended(_))), "{line}: {done:?}");
        }
        let broken = futures::stream::iter([Err(FileError::Unavailable("the stick was pulled out".to_owned()))]);
        assert!(matches!(has_done(shell("cat"), &limits, broken).await, Err(ChildError::Source(_))));
    }
}
