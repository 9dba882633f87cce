//! What people type: the real command line, as a process of its own.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use super::World;
use super::node::program;
use super::person::Person;

/// What a command line gave.
#[derive(Debug)]
pub(crate) struct Typed {
    line: String,
    pub(crate) code: i32,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Person {
    /// Types a command line such as `openprod set cues "LX 12" label=Dawn`.
    pub(crate) async fn types(&self, line: &str) -> Typed {
        let actor = self.actor.to_string();
        if self.is_at_work() {
            self.catches_up().await;
        }
        typed(line, &self.at, &[("OPENPROD_ACTOR", &actor)]).await
    }
}

impl World {
    /// Somebody types a command line at the house, in the folder of the test's files.
    pub(crate) async fn types(&self, line: &str) -> Typed {
        typed(line, self.house.folder(), &[]).await
    }
}

/// Types a command line about the node in that folder.
pub(crate) async fn typed(line: &str, node: &Path, env: &[(&str, &str)]) -> Typed {
    let words = words(line);
    assert_eq!(words[0], "openprod", "{line}");
    let mut command = Command::new(program());
    command.args(&words[1..]).current_dir(node.parent().unwrap()).stdin(Stdio::null());
    command.env("OPENPROD_DATA_DIR", node).envs(env.iter().copied());
    let output = command.output().await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    let code = output.status.code().unwrap_or(-1);
    Typed { line: line.to_owned(), code, out: text(output.stdout), err: text(output.stderr) }
}

/// Words as a shell would part them: spaces part, single and double quotes hold together.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ' | '\n') => words.extend(word.take()),
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

impl Typed {
    /// Asserts that it went well.
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, 0, "{self}");
        self
    }

    /// Asserts that it failed with this exit code.
    pub(crate) fn fails(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Asserts that it wrote this, on either output.
    pub(crate) fn says(self, what: &str) -> Self {
        assert!(self.out.contains(what) || self.err.contains(what), "{what:?} was not said: {self}");
        self
    }

    /// Asserts that it did not write this.
    pub(crate) fn says_nothing_of(self, what: &str) -> Self {
        assert!(!self.out.contains(what) && !self.err.contains(what), "{what:?} was said: {self}");
        self
    }

    /// The JSON objects that it wrote, one per line.
    pub(crate) fn json(&self) -> Vec<serde_json::Value> {
        self.out
            .lines()
            .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {self}")))
            .collect()
    }
}

impl std::fmt::Display for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { line, code, out, err } = self;
        write!(f, "\n$ {line}\n{out}\n-- standard error:\n{err}\n-- exit code {code}")
    }
}

impl World {
    /// Types a command that goes on for ever; gives the first line with these words and ends it.
    pub(crate) async fn hears_typed(&self, line: &str, what: &str) -> String {
        use tokio::io::{AsyncBufReadExt as _, BufReader};
        let words = words(line);
        let mut command = Command::new(program());
        command.args(&words[1..]).env("OPENPROD_DATA_DIR", self.house.folder());
        let mut process = command.stdin(Stdio::null()).stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
        let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let hearing = async {
            loop {
                let line = lines.next_line().await.unwrap().expect("the command goes on");
                if line.contains(what) {
                    return line;
                }
            }
        };
        tokio::time::timeout(std::time::Duration::from_mins(1), hearing).await.expect("it says it in time")
    }
}
