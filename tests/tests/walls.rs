//! The walls between the crates, and the tidiness of the files: what is absent, checked in the ordinary test command.

// What fails here is the file system or cargo: a panic is the right report.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// Which crate of ours may use which (names without `openprod-`), and which more in its tests only.
/// A room never uses another room: they meet in messages and domain.
const EDGES: &[(&str, &[&str], &[&str])] = &[
    ("model", &[], &[]),
    ("api", &["domain", "model"], &[]),
    ("wire", &["model"], &[]),
    ("domain", &["model"], &[]),
    ("messages", &["domain", "model", "wire"], &[]),
    ("disk", &[], &[]),
    ("blobs", &["disk", "domain", "messages", "model", "wire"], &[]),
    ("commands", &["domain", "messages", "model"], &[]),
    ("conflicts", &["domain", "messages", "model"], &[]),
    ("oplog", &["disk", "domain", "messages", "model"], &[]),
    ("links", &["domain", "messages", "model", "wire"], &["disk", "oplog", "state"]),
    ("overlays", &["disk", "domain", "messages", "model"], &[]),
    ("state", &["disk", "domain", "messages", "model"], &[]),
    ("client", &["api", "model", "wire"], &[]),
    (
        "node",
        &[
            "api",
            "blobs",
            "client",
            "commands",
            "conflicts",
            "domain",
            "links",
            "messages",
            "model",
            "oplog",
            "overlays",
            "state",
            "wire",
        ],
        &["disk"],
    ),
    (
        "tests",
        &["node"],
        &[
            "api", "blobs", "client", "disk", "domain", "links", "messages", "model", "oplog", "overlays", "state",
            "wire",
        ],
    ),
];

/// Which crates of ours may hold an outside tool, in their tests too.
const HOLDERS: &[(&str, &[&str])] = &[
    ("axum", &["node"]),
    ("bincode", &["model"]),
    ("calamine", &["node"]),
    ("clap", &["node"]),
    ("hayro", &["blobs"]),
    ("image", &["blobs"]),
    ("mdns-sd", &["links"]),
    ("mimalloc", &["node"]),
    ("mlua", &[]),
    ("quinn", &["links"]),
    ("ractor", &["blobs", "commands", "conflicts", "links", "messages", "node", "oplog", "overlays", "state", "tests"]),
    ("rcgen", &["node"]),
    ("redb", &["blobs", "disk", "oplog", "overlays", "state"]),
    ("seccompiler", &["node"]),
    ("socket2", &["links"]),
    ("tokio-rustls", &["client", "node"]),
    ("tonic", &["api", "client", "node"]),
    ("winnow", &["domain"]),
    ("yrs", &["domain"]),
];

/// Folders whose code is pure: time and randomness reach it as arguments, and it touches no file, network or thread.
const PURE: &[&str] = &["proto", "actors/domain"];
const IMPURE_WORDS: &[&str] = &["tokio", "ractor", "redb", "rand", "getrandom"];
const IMPURE_PATHS: &[&str] =
    &["std::time::SystemTime", "SystemTime::now", "Instant::now", "std::fs", "std::net", "std::thread"];

/// The one place where tokio's watch is used.
const WATCH: &str = "actors/messages/src/watch.rs";

/// Longer files are read by nobody.
const MAX_LINES: usize = 600;
const LINE_COUNTED: &[&str] = &["rs", "proto", "toml", "sh", "py", "ts", "tsx", "lua", "md"];

/// What marks unfinished work; in pieces, lest this file be found by itself.
const UNFINISHED: &[&str] = &[
    concat!("to", "do!("),
    concat!("unimple", "mented!("),
    concat!("FIX", "ME"),
    concat!("XX", "X"),
    concat!("#[ign", "ore"),
];

#[test]
fn crates_use_only_what_they_may() {
    let mut found = Vec::new();
    for (name, dependencies) in members() {
        let Some((_, uses, in_tests)) = EDGES.iter().find(|(row, ..)| *row == name) else {
            found.push(format!("openprod-{name} is new: give it a row in EDGES in {}", file!()));
            continue;
        };
        for (used, kind) in dependencies.iter().filter_map(|(d, kind)| Some((d.strip_prefix("openprod-")?, kind))) {
            let allowed = uses.contains(&used) || kind == "dev" && in_tests.contains(&used);
            if !allowed {
                found.push(format!(
                    "openprod-{name} has a {kind} dependency on openprod-{used}: take it out of Cargo.toml, and use \
                     a message or a law in domain; if the map has changed, so must EDGES in {}",
                    file!()
                ));
            }
        }
    }
    none(&found);
}

#[test]
fn each_outside_tool_has_its_place() {
    let mut found = Vec::new();
    for (name, dependencies) in members() {
        for (tool, holders) in HOLDERS.iter().filter(|(tool, _)| dependencies.iter().any(|(d, _)| d == tool)) {
            if !holders.contains(&name.as_str()) {
                found.push(format!(
                    "openprod-{name} holds {tool}: that belongs to {holders:?}; see HOLDERS in {}",
                    file!()
                ));
            }
        }
    }
    none(&found);
}

#[test]
fn pure_code_meets_no_clock_no_chance_and_no_disk() {
    let mut found = Vec::new();
    for (path, text) in files().into_iter().filter(|(path, _)| PURE.iter().any(|folder| path.starts_with(folder))) {
        // Tests read golden files and vectors; a build script compiles.
        let is_beside = path.components().any(|part| part.as_os_str() == "tests") || path.ends_with("build.rs");
        let comment = match extension(&path) {
            "rs" if !is_beside => "//",
            "toml" => "#",
            _ => continue,
        };
        for (number, line) in text.lines().enumerate() {
            let code = line.split(comment).next().unwrap_or_default();
            let words =
                code.split(|c: char| !c.is_alphanumeric() && c != '_').filter(|word| IMPURE_WORDS.contains(word));
            for what in words.chain(IMPURE_PATHS.iter().copied().filter(|path| code.contains(path))) {
                found.push(format!("{}:{}: {what}: take it as an argument instead", path.display(), number + 1));
            }
        }
    }
    none(&found);
}

/// A simulation that is told the same seed again goes the same way only if nothing is drawn where nobody sees it.
#[test]
fn rooms_leave_no_order_to_chance() {
    let mut found = Vec::new();
    let rooms = |path: &Path| ["actors", "node/src"].iter().any(|folder| path.starts_with(folder));
    for (path, text) in files().into_iter().filter(|(path, _)| rooms(path) && extension(path) == "rs") {
        let lines: Vec<&str> = text.lines().collect();
        for (number, line) in lines.iter().enumerate() {
            let shown = format!("{}:{}", path.display(), number + 1);
            if line.contains("select! {") && !lines.get(number + 1).is_some_and(|next| next.contains("biased;")) {
                found.push(format!("{shown}: begin it with `biased;`, and put first what must not wait"));
            }
            if line.contains("tokio::sync::watch") && !path.ends_with(WATCH) {
                found.push(format!("{shown}: tokio wakes its watchers in any order; take `openprod_messages::watch`"));
            }
            if path.starts_with("actors") && line.contains("static ") && line.contains(": Semaphore") {
                found.push(format!(
                    "{shown}: other nodes of this process would wait in it too; let each store have its own"
                ));
            }
        }
    }
    none(&found);
}

#[test]
fn files_are_short_begin_with_a_sentence_and_are_finished() {
    let mut found = Vec::new();
    for (path, text) in files() {
        let shown = path.display();
        let lines = text.lines().count();
        if LINE_COUNTED.contains(&extension(&path)) && lines > MAX_LINES {
            found.push(format!("{shown}: {lines} lines, more than {MAX_LINES}: divide it by what it is about"));
        }
        if extension(&path) != "rs" {
            continue;
        }
        if !text.starts_with("//! ") {
            found.push(format!("{shown}: begin it with a `//!` sentence that a stranger understands"));
        }
        for (number, line) in text.lines().enumerate() {
            for mark in UNFINISHED.iter().filter(|mark| line.contains(**mark)) {
                found.push(format!("{shown}:{}: {mark}: finish it or take it out", number + 1));
            }
        }
    }
    none(&found);
}

#[test]
fn every_folder_at_the_top_says_what_it_is_for() {
    let folders = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap()).filter(|entry| entry.path().is_dir());
    let names = folders.map(|entry| entry.file_name().into_string().unwrap());
    let mut wanted: Vec<_> = names
        .filter(|name| !passed_over(name) && !name.starts_with('.'))
        .map(|name| format!("{name}/README.md"))
        .collect();
    wanted.push("README.md".to_owned());
    wanted.retain(|readme| !root().join(readme).exists());
    none(&wanted.iter().map(|readme| format!("{readme} is missing: write what the folder is for")).collect::<Vec<_>>());
}

fn none(found: &[String]) {
    assert!(found.is_empty(), "\n{}\n", found.join("\n"));
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Our crates by their short names, each with its declared dependencies and their kinds (normal, build, dev).
fn members() -> BTreeMap<String, Vec<(String, String)>> {
    let arguments = ["metadata", "--format-version", "1", "--no-deps", "--offline"];
    let output = Command::new(env!("CARGO")).args(arguments).current_dir(root()).output().unwrap();
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &Value| value.as_str().unwrap_or("normal").to_owned();
    let member = |package: &Value| {
        let dependencies = package["dependencies"].as_array().unwrap();
        let edges = dependencies.iter().map(|d| (text(&d["name"]), text(&d["kind"]))).collect();
        (text(&package["name"]).trim_start_matches("openprod-").to_owned(), edges)
    };
    metadata["packages"].as_array().unwrap().iter().map(member).collect()
}

/// Every text file of the repository, by its path from the root.
fn files() -> Vec<(PathBuf, String)> {
    let (mut found, mut folders) = (Vec::new(), vec![root()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() && !passed_over(&entry.file_name().to_string_lossy()) {
                folders.push(path);
            } else if kind.is_file()
                && let Ok(text) = fs::read_to_string(&path)
            {
                found.push((path.strip_prefix(root()).unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

fn passed_over(folder: &str) -> bool {
    (folder.starts_with('.') && folder != ".ci") || ["target", "node_modules"].contains(&folder)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}
