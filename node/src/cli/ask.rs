//! Questions to the person at the terminal: a yes before what cannot be taken back lightly, a passphrase unseen.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::Path;

use openprod_domain::describe::escaped;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::context::Context;
use super::error::CliError;

/// Goes on only if the person says yes, or has said so with `--yes`. Where nobody can be asked, that is refused.
pub fn sure(context: &Context, question: &str) -> Result<(), CliError> {
    if context.globals.yes {
        return Ok(());
    }
    if !io::stdin().is_terminal() {
        return Err(CliError::usage("This needs a yes, and nobody is at the terminal to give it.")
            .affected(format!("The question was: {question}"))
            .next("Add --yes if that is what you want."));
    }
    let answer = typed(&format!("{} [y/N] ", escaped(question)))?;
    if matches!(answer.trim().to_lowercase().as_str(), "y" | "yes") {
        return Ok(());
    }
    Err(CliError::failed("Nothing was changed."))
}

/// What the person types on one line, as an answer to that hint; none at the end of what is typed.
pub fn answer(hint: &str) -> Result<Option<String>, CliError> {
    let (line, ended) = typed_or_ended(hint)?;
    Ok((!ended).then(|| line.as_str().to_owned()))
}

/// A passphrase from the first line of `file`, else typed unseen.
pub fn passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, CliError> {
    let text = match file {
        Some(path) => first_line(path)?,
        None if io::stdin().is_terminal() => unseen("Passphrase: ")?,
        None => {
            return Err(CliError::usage("A passphrase is needed, and nobody is at the terminal to type it.")
                .next("Put it into a file and name that with --passphrase-file."));
        }
    };
    if text.is_empty() { Err(CliError::usage("The passphrase is empty.")) } else { Ok(text) }
}

/// A new passphrase: one that is typed is typed twice.
pub fn new_passphrase(file: Option<&Path>) -> Result<Zeroizing<String>, CliError> {
    let text = passphrase(file)?;
    if file.is_none() && unseen("The same again: ")? != text {
        return Err(CliError::failed("The two passphrases differ."));
    }
    Ok(text)
}

/// A recovery key from a file, where it may be broken over several lines, else typed unseen.
pub fn recovery_key(file: Option<&Path>) -> Result<Zeroizing<String>, CliError> {
    match file {
        Some(path) => std::fs::read_to_string(path).map(Zeroizing::new).map_err(|error| CliError::file(path, &error)),
        None if io::stdin().is_terminal() => unseen("Recovery key: "),
        None => Err(CliError::usage("A recovery key is needed, and nobody is at the terminal to type it.")
            .next("Put it into a file and name that with --key-file.")),
    }
}

fn first_line(path: &Path) -> Result<Zeroizing<String>, CliError> {
    let whole = Zeroizing::new(std::fs::read_to_string(path).map_err(|error| CliError::file(path, &error))?);
    Ok(Zeroizing::new(whole.lines().next().unwrap_or_default().to_owned()))
}

fn typed(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    Ok(typed_or_ended(prompt)?.0)
}

/// A line, and whether nothing came any more.
fn typed_or_ended(prompt: &str) -> Result<(Zeroizing<String>, bool), CliError> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "{prompt}").and_then(|()| stderr.flush())?;
    let mut line = Zeroizing::new(String::new());
    let unreadable = |error| CliError::failed(format!("The answer could not be read: {error}."));
    let ended = io::stdin().lock().read_line(&mut line).map_err(unreadable)? == 0;
    let ends = line.trim_end_matches(['\r', '\n']).len();
    line.truncate(ends);
    Ok((line, ended))
}

/// With the terminal's echo turned off, and on again whatever happens.
fn unseen(prompt: &str) -> Result<Zeroizing<String>, CliError> {
    let refused =
        |error: rustix::io::Errno| CliError::failed(format!("The terminal cannot hide what is typed: {error}."));
    let before = tcgetattr(io::stdin()).map_err(refused)?;
    let mut silent = before.clone();
    silent.local_modes.remove(LocalModes::ECHO);
    tcsetattr(io::stdin(), OptionalActions::Flush, &silent).map_err(refused)?;
    let line = typed(prompt);
    tcsetattr(io::stdin(), OptionalActions::Flush, &before).map_err(refused)?;
    eprintln!();
    line
}
