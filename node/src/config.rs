//! What an operator may set, in one table: a TOML file, over it the environment, over that the flags.
//!
//! File keys, variable names, flags, the example file and `openprod config show` all come from [`SETTINGS`].
//! Everything has a default that works; what is not understood is refused where it stands, never ignored.

use std::fmt::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::de::{DeTable, DeValue};

/// One thing that can be set.
#[derive(Debug)]
pub struct Setting {
    /// Its key in the file, e.g. `data_dir`.
    pub name: &'static str,
    /// Its environment variable, e.g. `OPENPROD_DATA_DIR`.
    pub env: &'static str,
    /// Its flag without the dashes, e.g. `data-dir`.
    pub flag: &'static str,
    /// What it means, in a line or two, each ended by a newline.
    pub doc: &'static str,
    kind: Kind,
    default: &'static str,
    set: fn(&mut Config, &str) -> Result<(), String>,
}

/// Which TOML type the file must use. In the environment and in flags a list is separated by commas.
#[derive(Debug, Clone, Copy)]
enum Kind {
    Text,
    Number,
    List,
}

/// Writes the table and, from the same lines, the fields of [`Config`].
macro_rules! settings {
    ($(
        $(#[doc = $doc:literal])+
        $name:ident: $type:ty, $env:literal, $flag:literal, $kind:ident($default:literal), $parse:expr;
    )+) => {
        /// Every setting, in the order in which they are resolved and shown.
        pub const SETTINGS: &[Setting] = &[$(Setting {
            name: stringify!($name),
            env: $env,
            flag: $flag,
            doc: concat!($($doc, "\n"),+),
            kind: Kind::$kind,
            default: $default,
            set: |config, text| $parse(text).map(|value| config.$name = value),
        }),+];

        /// A whole configuration: a field for each setting.
        #[derive(Debug, Clone, Default)]
        pub struct Config {
            $($(#[doc = $doc])+ pub $name: $type,)+
            entries: Vec<Entry>,
        }
    };
}

settings! {
    /// Folder of this node's keys and workspaces. When not set: $STATE_DIRECTORY (given by systemd), else
    /// $XDG_DATA_HOME/openprod, else .local/share/openprod in the home folder.
    data_dir: PathBuf, "OPENPROD_DATA_DIR", "data-dir", Text("{state}"), path;

    /// Address and port for gRPC and HTTP; "off" for none. Where other machines reach it, as with "0.0.0.0:7117", it
    /// speaks TLS, and whoever calls needs a token: `openprod token create` makes one.
    listen: Option<SocketAddr>, "OPENPROD_LISTEN", "listen", Text("127.0.0.1:7117"), listen;

    /// Whether it speaks TLS there: "auto" (where other machines reach it), "on", or "off" (refused where they do).
    tls: Tls, "OPENPROD_TLS", "tls", Text("auto"), tls;

    /// Unix socket for gRPC, open to this user only; "off" for none. When not set: openprod.sock in data_dir.
    socket: Option<PathBuf>, "OPENPROD_SOCKET", "socket", Text("{data_dir}/openprod.sock"), socket;

    /// Address and port (UDP) where other nodes reach this one, "off" for none. By default on every network of this
    /// machine, by IPv6 and by IPv4. Only members of a workspace get anything of it.
    peer_listen: Option<SocketAddr>, "OPENPROD_PEER_LISTEN", "peer-listen", Text("[::]:7118"), peer_listen;

    /// Whether nodes on the local network find each other by themselves, by multicast DNS: "on" or "off".
    discovery: bool, "OPENPROD_DISCOVERY", "discovery", Text("on"), switch;

    /// Which files this node gets from other nodes: "asked" for those that somebody here opens or pins, "all" for every
    /// file that a field says. A node that is always on, such as the venue's, does well to keep all.
    keep_files: KeepFiles, "OPENPROD_KEEP_FILES", "keep-files", Text("asked"), keep_files;

    /// What is logged: error, warn, info, debug or trace; or by part, as in "info,openprod_oplog=debug".
    log: String, "OPENPROD_LOG", "log", Text("info"), log;

    /// How log lines look: "text" for people, "json" for programs.
    log_format: LogFormat, "OPENPROD_LOG_FORMAT", "log-format", Text("text"), log_format;

    /// Memory for each workspace's state, in MiB.
    state_cache_mb: usize, "OPENPROD_STATE_CACHE_MB", "state-cache-mb", Number("64"), number::<1, 65_536>;

    /// Memory for each workspace's oplog, in MiB.
    log_cache_mb: usize, "OPENPROD_LOG_CACHE_MB", "log-cache-mb", Number("32"), number::<1, 65_536>;

    /// Largest request a client may send, in MiB.
    max_request_mb: usize, "OPENPROD_MAX_REQUEST_MB", "max-request-mb", Number("32"), number::<1, 1_024>;

    /// Requests served at once, those of all clients together; further ones are told to try again.
    max_clients: usize, "OPENPROD_MAX_CLIENTS", "max-clients", Number("256"), number::<1, 65_536>;

    /// How long a stopping node waits for running requests, in seconds.
    shutdown_seconds: u64, "OPENPROD_SHUTDOWN_SECONDS", "shutdown-seconds", Number("10"), seconds;

    /// Origins of web pages that may call this node from a browser, as in `["https://desk.example.org"]`.
    allowed_origins: Vec<String>, "OPENPROD_ALLOWED_ORIGINS", "allowed-origins", List(""), origins;

    /// Names besides its own address by which clients may call this node, as in `["stage.local"]`.
    allowed_hosts: Vec<String>, "OPENPROD_ALLOWED_HOSTS", "allowed-hosts", List(""), hosts;
}

/// Which files a node gets from others though nobody opens them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum KeepFiles {
    /// None but those that are pinned.
    #[default]
    Asked,
    /// All that a field says.
    All,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Where the TCP port speaks TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Tls {
    /// Where other machines reach it.
    #[default]
    Auto,
    /// On this machine, too.
    On,
    /// Nowhere; then it can be on this machine only.
    Off,
}

/// One setting's value, and who gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The setting's name.
    pub name: &'static str,
    /// The value as text; lists with commas.
    pub value: String,
    /// Who gave it.
    pub origin: Origin,
}

/// Where a value stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Nobody set it.
    Default,
    /// In the file, at this line and column, both from 1.
    File(PathBuf, usize, usize),
    /// In this environment variable.
    Env(String),
    /// In this flag, without its dashes.
    Flag(String),
}

/// A setting given on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flag {
    /// The setting's name or flag, e.g. `data_dir` or `data-dir`.
    pub name: String,
    /// The value as text; lists with commas.
    pub value: String,
}

/// Why a configuration was refused; each says where and what to write instead.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file could not be read.
    #[error("{path}: {1}", path = .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// The file is not TOML.
    #[error("{0}: this is not TOML: {1}")]
    Syntax(Origin, String),
    /// There is no setting of this name; the last is the known one most like it.
    #[error("{0}: there is no setting {1:?}; did you mean {2}?")]
    UnknownKey(Origin, String, &'static str),
    /// The setting cannot have this value; the last says what would be right.
    #[error("{at}: {name} = {value:?}: {1}", at = .0.origin, name = .0.name, value = .0.value)]
    BadValue(Entry, String),
    /// Neither a data folder nor a home to put one in is known.
    #[error("no data folder: set data_dir (--data-dir or OPENPROD_DATA_DIR), since HOME is not set")]
    NoHome,
    /// Both doors are closed.
    #[error("listen and socket are both \"off\", so nobody could reach this node: set one of them")]
    NoDoor,
    /// Other machines would speak with this one in clear.
    #[error(
        "listen = {0} with tls = \"off\": everybody on the network could read what is shown, and every token: set tls to \
         \"auto\"; or listen on 127.0.0.1 and forward the port, as in ssh -L 7117:127.0.0.1:7117"
    )]
    InClear(SocketAddr),
}

/// Puts the three sources together. `env` is the whole environment; beside `OPENPROD_*` it gives the default folder.
pub fn resolve(file: Option<(&Path, &str)>, env: &[(String, String)], flags: Vec<Flag>) -> Result<Config, ConfigError> {
    let mut given = file.map_or(Ok(Vec::new()), |(path, text)| from_file(path, text))?;
    given.extend(from_env(env)?);
    given.extend(from_flags(flags)?);
    let mut config = Config::default();
    for setting in SETTINGS {
        // Later sources stand further back and win.
        let entry = match given.iter().rfind(|entry| entry.name == setting.name) {
            Some(entry) => entry.clone(),
            None => Entry { name: setting.name, value: default(setting, &config, env)?, origin: Origin::Default },
        };
        match (setting.set)(&mut config, &entry.value) {
            Ok(()) => config.entries.push(entry),
            Err(problem) => return Err(ConfigError::BadValue(entry, problem)),
        }
    }
    if config.listen.is_none() && config.socket.is_none() {
        return Err(ConfigError::NoDoor);
    }
    match config.listen.filter(|address| is_beyond(*address)) {
        Some(address) if config.tls == Tls::Off => Err(ConfigError::InClear(address)),
        _ => Ok(config),
    }
}

/// Reads the file and the environment of this process and resolves them. The file is `path`, else `OPENPROD_CONFIG`,
/// else the first of `$XDG_CONFIG_HOME/openprod/openprod.toml`, `~/.config/openprod/openprod.toml` and
/// `/etc/openprod/openprod.toml` that exists; a file that was named must exist.
pub fn load(path: Option<&Path>, flags: Vec<Flag>) -> Result<Config, ConfigError> {
    let env: Vec<_> =
        std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
    let named = path.map(Path::to_path_buf).or_else(|| variable(&env, "OPENPROD_CONFIG").map(PathBuf::from));
    let found = || file_candidates(&env).into_iter().find(|path| path.exists());
    let Some(path) = named.or_else(found) else { return resolve(None, &env, flags) };
    let text = std::fs::read_to_string(&path).map_err(|e| ConfigError::Unreadable(path.clone(), e))?;
    resolve(Some((&path, &text)), &env, flags)
}

/// Where a file is looked for when none is named, in this order.
pub fn file_candidates(env: &[(String, String)]) -> Vec<PathBuf> {
    let user = xdg(env, "XDG_CONFIG_HOME", ".config").map(|folder| folder.join("openprod/openprod.toml"));
    user.into_iter().chain([PathBuf::from("/etc/openprod/openprod.toml")]).collect()
}

/// The folder of the nodes on other machines that this user has tickets of.
pub fn known_nodes() -> Option<PathBuf> {
    let env: Vec<_> = ["HOME", "XDG_CONFIG_HOME"]
        .iter()
        .filter_map(|name| Some(((*name).to_owned(), std::env::var(name).ok()?)))
        .collect();
    xdg(&env, "XDG_CONFIG_HOME", ".config").map(|folder| folder.join("openprod/nodes"))
}

/// The example file: every setting with its meaning, commented out.
pub fn example() -> String {
    let mut text = String::from(
        "# OpenProd node configuration. Every line here is optional.\n\
         # An environment variable overrides this file, a flag both: `openprod config show --origin` tells.\n",
    );
    for Setting { name, env, flag, doc, kind, default, .. } in SETTINGS {
        let doc = doc.trim_end().replace('\n', "\n#");
        let value = default.replace("{state}", "{data_dir}").replace("{data_dir}", "/var/lib/openprod");
        let value = match kind {
            Kind::Text => format!("{value:?}"),
            Kind::Number => value,
            Kind::List => format!("[{value}]"),
        };
        let _ = write!(text, "\n#{doc}\n# ({env}, --{flag})\n#{name} = {value}\n");
    }
    text
}

impl Config {
    /// Whether the TCP port speaks TLS.
    pub fn speaks_tls(&self) -> bool {
        match self.tls {
            Tls::Auto => self.listen.is_some_and(is_beyond),
            Tls::On => self.listen.is_some(),
            Tls::Off => false,
        }
    }

    /// All settings with their origins, in the table's order.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => write!(f, "default"),
            Self::File(path, line, column) => write!(f, "{}:{line}:{column}", path.display()),
            Self::Env(name) => write!(f, "{name}"),
            Self::Flag(name) => write!(f, "--{name}"),
        }
    }
}

/// The settings as command line flags, to be flattened into a command.
#[derive(Debug, Clone, Default)]
pub struct Flags(pub Vec<Flag>);

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &clap::ArgMatches) -> Result<Self, clap::Error> {
        let given =
            |s: &Setting| Some(Flag { name: s.flag.to_owned(), value: matches.get_one::<String>(s.name)?.clone() });
        Ok(Self(SETTINGS.iter().filter_map(given).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &clap::ArgMatches) -> Result<(), clap::Error> {
        Self::from_arg_matches(matches).map(|flags| *self = flags)
    }
}

impl clap::Args for Flags {
    fn augment_args(command: clap::Command) -> clap::Command {
        let arg = |s: &Setting| {
            let help = s.doc.lines().map(str::trim).collect::<Vec<_>>().join(" ");
            clap::Arg::new(s.name).long(s.flag).value_name("VALUE").help(help).help_heading("Settings")
        };
        command.args(SETTINGS.iter().map(arg))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}

fn from_file(path: &Path, text: &str) -> Result<Vec<Entry>, ConfigError> {
    let at = |offset: usize| place(path, text, offset);
    let table = DeTable::parse(text)
        .map_err(|e| ConfigError::Syntax(at(e.span().map_or(0, |span| span.start)), e.message().to_owned()))?;
    let mut given = Vec::new();
    for (key, value) in table.get_ref() {
        let Setting { name, kind, .. } = known(key.get_ref(), |s| s.name, at(key.span().start))?;
        let entry = |value| Entry { name, value, origin: at(key.span().start) };
        match text_of(*kind, value.get_ref()) {
            Ok(value) => given.push(entry(value)),
            Err(problem) => return Err(ConfigError::BadValue(entry(text[value.span()].to_owned()), problem)),
        }
    }
    Ok(given)
}

/// Variables that only begin like ours belong to somebody else (service links of a container host, for one);
/// but a slip of the pen in one of ours is refused.
fn from_env(env: &[(String, String)]) -> Result<Vec<Entry>, ConfigError> {
    let mut given = Vec::new();
    for (key, value) in env.iter().filter(|(key, _)| key.starts_with("OPENPROD_") && key != "OPENPROD_CONFIG") {
        let origin = Origin::Env(key.clone());
        match known(key, |s| s.env, origin.clone()) {
            Ok(setting) => given.push(Entry { name: setting.name, value: value.clone(), origin }),
            Err(e) if slips(key, nearest(key, |s| s.env)) == 1 => return Err(e),
            Err(_) => {}
        }
    }
    Ok(given)
}

fn from_flags(flags: Vec<Flag>) -> Result<Vec<Entry>, ConfigError> {
    let entry = |Flag { name, value }: Flag| {
        let name = name.replace('_', "-");
        let setting = known(&name, |s| s.flag, Origin::Flag(name.clone()))?;
        Ok(Entry { name: setting.name, value, origin: Origin::Flag(name) })
    };
    flags.into_iter().map(entry).collect()
}

fn known(key: &str, name_of: fn(&Setting) -> &'static str, at: Origin) -> Result<&'static Setting, ConfigError> {
    let unknown = || ConfigError::UnknownKey(at, key.to_owned(), nearest(key, name_of));
    SETTINGS.iter().find(|s| name_of(s) == key).ok_or_else(unknown)
}

fn nearest(key: &str, name_of: fn(&Setting) -> &'static str) -> &'static str {
    SETTINGS.iter().map(name_of).min_by_key(|name| slips(key, name)).expect("the table is not empty")
}

/// Letters to insert, drop or change to turn `a` into `b` (Levenshtein 1966).
fn slips(a: &str, b: &str) -> usize {
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.chars().enumerate() {
            let best = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = std::mem::replace(&mut row[j + 1], best);
        }
    }
    row[b.chars().count()]
}

fn place(path: &Path, text: &str, offset: usize) -> Origin {
    let before = &text[..offset.min(text.len())];
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Origin::File(path.to_owned(), before.matches('\n').count() + 1, before[line_start..].chars().count() + 1)
}

fn text_of(kind: Kind, value: &DeValue<'_>) -> Result<String, String> {
    let (text, wanted) = match kind {
        Kind::Text => (value.as_str().map(str::to_owned), "a text in quotes"),
        Kind::Number => (value.as_integer().map(whole), "a whole number without quotes"),
        Kind::List => (value.as_array().and_then(|items| joined(items)), "a list of texts, as in [\"a\", \"b\"]"),
    };
    text.ok_or_else(|| format!("write {wanted}"))
}

fn whole(number: &toml::de::DeInteger<'_>) -> String {
    // What does not fit is out of every range, and is refused there.
    i64::from_str_radix(number.as_str(), number.radix()).unwrap_or(i64::MAX).to_string()
}

fn joined(items: &[toml::Spanned<DeValue<'_>>]) -> Option<String> {
    let texts: Option<Vec<_>> = items.iter().map(|item| item.get_ref().as_str()).collect();
    texts.map(|texts| texts.join(","))
}

fn default(setting: &Setting, config: &Config, env: &[(String, String)]) -> Result<String, ConfigError> {
    let path = match setting.default {
        "{state}" => data_home(env).ok_or(ConfigError::NoHome)?,
        text => return Ok(text.replace("{data_dir}", config.data_dir.to_str().expect("it was parsed from a text"))),
    };
    Ok(path.to_str().expect("it is made of texts").to_owned())
}

fn data_home(env: &[(String, String)]) -> Option<PathBuf> {
    // systemd separates several directories by colons; ours is the first.
    let given = variable(env, "STATE_DIRECTORY").and_then(|list| list.split(':').next());
    given.map(PathBuf::from).or_else(|| xdg(env, "XDG_DATA_HOME", ".local/share").map(|home| home.join("openprod")))
}

/// An XDG base folder; a relative one counts as not set, as the XDG Base Directory Specification asks.
fn xdg(env: &[(String, String)], name: &str, below_home: &str) -> Option<PathBuf> {
    let given = variable(env, name).map(PathBuf::from).filter(|path| path.is_absolute());
    given.or_else(|| variable(env, "HOME").map(|home| Path::new(home).join(below_home)))
}

fn variable<'a>(env: &'a [(String, String)], name: &str) -> Option<&'a str> {
    env.iter().find(|(key, value)| key == name && !value.is_empty()).map(|(_, value)| value.as_str())
}

fn path(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("write a path".to_owned()),
        text if text.starts_with('~') => Err("\"~\" is not expanded here: write the path in full".to_owned()),
        text => Ok(PathBuf::from(text)),
    }
}

fn listen(text: &str) -> Result<Option<SocketAddr>, String> {
    if text == "off" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|_| "write an address and a port, as in \"127.0.0.1:7117\", or \"off\"".to_owned())
}

/// Whether other machines reach an address. Everything in 127.0.0.0/8 is this machine; 0.0.0.0 is every interface.
pub fn is_beyond(address: SocketAddr) -> bool {
    !address.ip().to_canonical().is_loopback()
}

fn tls(text: &str) -> Result<Tls, String> {
    match text {
        "auto" => Ok(Tls::Auto),
        "on" => Ok(Tls::On),
        "off" => Ok(Tls::Off),
        _ => Err("write \"auto\", \"on\" or \"off\"".to_owned()),
    }
}

fn peer_listen(text: &str) -> Result<Option<SocketAddr>, String> {
    let refusal = || "write an address and a port, as in \"[::]:7118\", or \"off\"".to_owned();
    if text == "off" { Ok(None) } else { text.parse().map(Some).map_err(|_| refusal()) }
}

fn keep_files(text: &str) -> Result<KeepFiles, String> {
    match text {
        "asked" => Ok(KeepFiles::Asked),
        "all" => Ok(KeepFiles::All),
        _ => Err("write \"asked\" or \"all\"".to_owned()),
    }
}

fn switch(text: &str) -> Result<bool, String> {
    match text {
        "on" => Ok(true),
        "off" => Ok(false),
        _ => Err("write \"on\" or \"off\"".to_owned()),
    }
}

fn socket(text: &str) -> Result<Option<PathBuf>, String> {
    match text {
        "off" => Ok(None),
        // sockaddr_un on the narrowest system (macOS) holds 104 bytes, the closing zero included.
        text if text.len() > 103 => Err("a socket's path may have 103 bytes: set a shorter one, or \"off\"".to_owned()),
        text => path(text).map(Some),
    }
}

fn log(text: &str) -> Result<String, String> {
    // A bare word would be taken for the name of a part, and a misspelt level would silence everything.
    let is_level = |word: &str| word.parse::<tracing_subscriber::filter::LevelFilter>().is_ok();
    if let Some(word) = text.split(',').find(|word| !word.contains('=') && !is_level(word)) {
        return Err(format!("{word:?} is no level: write error, warn, info, debug or trace, or part=level"));
    }
    let filter = tracing_subscriber::EnvFilter::builder().parse(text);
    filter.map(|_| text.to_owned()).map_err(|e| e.to_string())
}

fn log_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err("write \"text\" or \"json\"".to_owned()),
    }
}

fn number<const FROM: usize, const TO: usize>(text: &str) -> Result<usize, String> {
    let refusal = || format!("write a whole number from {FROM} to {TO}");
    text.parse().ok().filter(|n| (FROM..=TO).contains(n)).ok_or_else(refusal)
}

fn seconds(text: &str) -> Result<u64, String> {
    number::<0, 3_600>(text).map(|n| n as u64)
}

fn list(text: &str, item: fn(&str) -> Result<(), String>) -> Result<Vec<String>, String> {
    let items = text.split(',').map(str::trim).filter(|text| !text.is_empty());
    items.map(|text| item(text).map(|()| text.to_owned())).collect()
}

fn hosts(text: &str) -> Result<Vec<String>, String> {
    list(text, host)
}

fn origins(text: &str) -> Result<Vec<String>, String> {
    list(text, origin)
}

fn origin(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    let refusal = || format!("{text:?}: write scheme, host and port only, as in \"https://desk.example.org\"");
    rest.and_then(|rest| host(rest).ok()).ok_or_else(refusal)
}

fn host(text: &str) -> Result<(), String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "-._:[]".contains(c);
    let refusal = || format!("{text:?}: write a host in small letters, with a port if need be, as in \"stage.local\"");
    if !text.is_empty() && text.chars().all(plain) { Ok(()) } else { Err(refusal()) }
}

#[cfg(test)]
mod tests;
