//! Commands for other nodes: `peers`, `peer add`, `peer forget`, `nearby`.

use std::collections::BTreeMap;

use clap::{Args, Subcommand};
use openprod_client::{Client, v1};
use openprod_domain::describe::{bytes, escaped};
use serde_json::{Value as Json, json};

use super::context::Context;
use super::error::CliError;
use super::output::{self, Grid, Style, grid, remark};
use super::time;

/// How far a clock may be off before it is worth a word: people notice that.
const CLOCK_WORTH_MS: i64 = 2_000;

/// How long a node must be silent before it is worth a word: twice as long as both are when all is well.
const SILENCE_WORTH_MS: i64 = 5_000;

/// Lists the nodes that this one knows, and how it stands with each
#[derive(Debug, Clone, Args)]
pub struct PeersArgs {
    /// Goes on telling what changes until it is stopped
    #[arg(long)]
    watch: bool,
}

/// Names and forgets other nodes
#[derive(Debug, Clone, Args)]
pub struct PeerArgs {
    #[command(subcommand)]
    command: PeerCommand,
}

#[derive(Debug, Clone, Subcommand)]
enum PeerCommand {
    /// Dials a node until it answers, and remembers it
    Add {
        /// Where it is: an address or a name, with the port unless it is 7118
        address: String,
        /// Its key, 64 hexadecimal digits, if only that node will do
        #[arg(long, default_value = "", hide_default_value = true)]
        key: String,
    },
    /// Takes a node out of the list; it may still dial this one
    Forget {
        /// Its key or the beginning of it, or its address with the port
        peer: String,
    },
}

/// Runs `peer`.
pub async fn peer(args: PeerArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    match args.command {
        PeerCommand::Add { address, key } => {
            let answer = client.ask(v1::AddPeerRequest { address, key }).await?;
            if context.style == Style::Json {
                return output::json(&json!({"addresses": answer.addresses}));
            }
            remark(&format!("Dialling {}. `openprod peers` tells how it stands.", answer.addresses.join(", ")));
        }
        PeerCommand::Forget { peer } => {
            let peer = known(&client, &peer).await?;
            client.ask(v1::ForgetPeerRequest { peer: peer.clone() }).await?;
            if context.style == Style::Json {
                return output::json(&json!({"forgotten": peer}));
            }
            remark(&format!("Forgot {peer}."));
        }
    }
    Ok(())
}

/// The whole key, where a beginning of it names one peer.
async fn known(client: &Client, wanted: &str) -> Result<String, CliError> {
    let peers = client.ask(v1::ListPeersRequest {}).await?.peers;
    let mut begin = peers.iter().filter(|peer| !peer.key.is_empty() && peer.key.starts_with(wanted));
    match (begin.next(), begin.next()) {
        (Some(one), None) => Ok(one.key.clone()),
        (Some(_), Some(_)) => Err(CliError::usage(format!("Several peers have keys that begin with {wanted:?}."))),
        (None, _) => Ok(wanted.to_owned()),
    }
}

/// Runs `peers`.
pub async fn peers(args: &PeersArgs, context: &Context) -> Result<(), CliError> {
    if args.watch { watch(context).await } else { list(context).await }
}

/// Tells of each peer again when something about it has changed that people care about.
async fn watch(context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let workspaces = names(&client).await?;
    let (mut answers, mut told) = (client.watch_peers().await?, BTreeMap::new());
    while let Some(answer) = answers.next().await? {
        if context.style == Style::Json {
            let peers: Vec<_> = answer.peers.iter().map(as_json).collect();
            output::json(&json!({"peers": peers}))?;
            continue;
        }
        for peer in &answer.peers {
            let now = told_of(peer, &workspaces);
            let address = peer.addresses.first().cloned().unwrap_or_default();
            let is_news = told.insert((peer.key.clone(), address), now.clone()).as_ref() != Some(&now);
            if is_news {
                output::line(&escaped(&format!("{}  {now}", time::shown(now_ms()))))?;
            }
        }
    }
    Ok(())
}

/// What workspaces are called, by their ids. One that has just been joined has no name yet.
async fn names(client: &Client) -> Result<BTreeMap<String, String>, CliError> {
    let named = client.list_workspaces().await?.into_iter().filter(|one| !one.name.is_empty());
    Ok(named.map(|one| (one.workspace, one.name)).collect())
}

fn told_of(peer: &v1::Peer, workspaces: &BTreeMap<String, String>) -> String {
    let [key, address, state, _, _, _, shares, attention] = row(peer, workspaces);
    let told = [key, address, state, shares, attention].into_iter().filter(|part| !part.is_empty());
    told.collect::<Vec<_>>().join("  ")
}

fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Runs `nearby`.
pub async fn nearby(context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let answer = client.ask(v1::ListNearbyRequest {}).await?;
    if context.style == Style::Json {
        return answer.workspaces.iter().try_for_each(|one| {
            output::json(&json!({
                "workspace": one.workspace, "name": one.name, "key": one.key, "addresses": one.addresses,
            }))
        });
    }
    if answer.workspaces.is_empty() {
        let why =
            if answer.trouble.is_empty() { "No node near tells of a workspace to join." } else { &answer.trouble };
        remark(why);
        return Ok(());
    }
    let mut shown = Grid::new(&["NAME", "WORKSPACE", "NODE", "ADDRESSES"]);
    for one in answer.workspaces {
        shown.row([escaped(&one.name), one.workspace, short(&one.key), one.addresses.join(", ")]);
    }
    grid(context.style, &shown)
}

/// Runs `peers` once.
async fn list(context: &Context) -> Result<(), CliError> {
    let client = context.client().await?;
    let answer = client.ask(v1::ListPeersRequest {}).await?;
    if context.style == Style::Json {
        return answer.peers.iter().try_for_each(|peer| output::json(&as_json(peer)));
    }
    if answer.listens_on.is_empty() {
        remark("This node does not speak with other nodes: peer_listen is off.");
    } else {
        remark(&format!("This node is {} on {}.", short(&answer.key), answer.listens_on.join(", ")));
    }
    let workspaces = names(&client).await?;
    let mut shown = Grid::new(&["PEER", "ADDRESS", "STATE", "ROUND TRIP", "SENT", "RECEIVED", "SHARES", "ATTENTION"]);
    for peer in &answer.peers {
        shown.row(row(peer, &workspaces));
    }
    if answer.peers.is_empty() {
        remark("It knows no others yet. Name one with `openprod peer add ADDRESS`.");
        return Ok(());
    }
    grid(context.style, &shown)?;
    answer.peers.iter().flat_map(|peer| &peer.advice).for_each(|advice| remark(advice));
    Ok(())
}

fn short(key: &str) -> String {
    key.chars().take(8).collect()
}

fn row(peer: &v1::Peer, workspaces: &BTreeMap<String, String>) -> [String; 8] {
    let name = |id: &String| workspaces.get(id).unwrap_or(id).clone();
    let connection = peer.connection.as_ref();
    let told = |what: fn(&v1::PeerConnection) -> String| connection.map_or_else(String::new, what);
    [
        short(&peer.key),
        connection.map(|one| one.address.clone()).or_else(|| peer.addresses.first().cloned()).unwrap_or_default(),
        state(peer),
        told(|one| milliseconds(one.round_trip_us)),
        told(|one| bytes(one.sent_bytes)),
        told(|one| bytes(one.received_bytes)),
        connection.map_or_else(String::new, |one| shares(one, name)),
        attention(peer),
    ]
}

/// The workspaces, and how far the two are with each.
fn shares(connection: &v1::PeerConnection, name: impl Fn(&String) -> String) -> String {
    let far = |id: &String| {
        let sharing = connection.sharing.iter().find(|one| one.workspace == *id);
        format!("{}: {}", name(id), sharing.map_or_else(|| "not yet".to_owned(), how_far))
    };
    connection.workspaces.iter().map(far).collect::<Vec<_>>().join(", ")
}

fn how_far(one: &v1::SharedWorkspace) -> String {
    let equal = |at: i64| format!("equal at {}", time::shown(at));
    match (&one.taking, &one.giving) {
        _ if one.diverged => "ALARM: the same history shows different things; run `openprod verify`".to_owned(),
        _ if !one.trouble.is_empty() => one.trouble.clone(),
        _ if one.paused_ms.is_some() => "paused here; `openprod sync resume` lets it go on".to_owned(),
        _ if one.paused_there => "paused on that node".to_owned(),
        (Some(taking), _) => format!("taking, {}", catching_up(taking)),
        (None, Some(giving)) => format!("giving, {}", catching_up(giving)),
        (None, None) => one.verified_ms.map_or_else(|| "comparing".to_owned(), equal),
    }
}

/// 12,400 of 50,000 edits, about 4.2 MiB and 40 s left.
fn catching_up(one: &v1::CatchUp) -> String {
    let far = format!("{} of {} edits", grouped(one.done), grouped(one.done.saturating_add(one.left)));
    let left = [one.left_bytes.map(bytes), one.left_ms.map(duration)];
    let left: Vec<_> = left.into_iter().flatten().collect();
    if left.is_empty() { far } else { format!("{far}, about {} left", left.join(" and ")) }
}

fn duration(milliseconds: i64) -> String {
    match milliseconds.cast_unsigned().div_ceil(1_000) {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds.div_ceil(60)),
        seconds => format!("{} h", seconds.div_ceil(3_600)),
    }
}

/// With commas: 12,400.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let (first, rest) = digits.split_at((digits.len() + 2) % 3 + 1);
    let groups = rest.as_bytes().chunks(3).map(String::from_utf8_lossy);
    std::iter::once(first.into()).chain(groups).collect::<Vec<_>>().join(",")
}

fn catch_up_json(one: &v1::CatchUp) -> Json {
    json!({"done": one.done, "left": one.left, "left_bytes": one.left_bytes, "left_ms": one.left_ms})
}

fn sharing_json(one: &v1::SharedWorkspace) -> Json {
    json!({
        "workspace": one.workspace, "given": one.given, "to_give": one.to_give, "taken": one.taken,
        "to_take": one.to_take, "verified_ms": one.verified_ms, "verified_bundles": one.verified_bundles,
        "diverged": one.diverged, "trouble": one.trouble, "paused_ms": one.paused_ms,
        "paused_there": one.paused_there, "giving": one.giving.as_ref().map(catch_up_json),
        "taking": one.taking.as_ref().map(catch_up_json),
    })
}

fn state(peer: &v1::Peer) -> String {
    match (peer.state(), &peer.connection) {
        (v1::PeerState::Connected, Some(one)) => format!("connected since {}", time::shown(one.since_ms)),
        (v1::PeerState::Connected, None) => "connected".to_owned(),
        (v1::PeerState::Dialling, _) => "dialling".to_owned(),
        (v1::PeerState::Waiting, _) => {
            let seconds = peer.next_attempt_ms.unwrap_or_default() / 1_000;
            format!("dialled again in {seconds} s")
        }
        (v1::PeerState::Resting | v1::PeerState::Unspecified, _) => "not connected".to_owned(),
    }
}

fn milliseconds(microseconds: u64) -> String {
    format!("{}.{} ms", microseconds / 1_000, microseconds % 1_000 / 100)
}

/// What is wrong, if anything.
fn attention(peer: &v1::Peer) -> String {
    let silent = peer.connection.as_ref().map(|one| one.silent_ms).filter(|silent| *silent >= SILENCE_WORTH_MS);
    if let Some(silent) = silent {
        return format!("silent for {} s", silent / 1_000);
    }
    let off = peer.connection.as_ref().and_then(|one| one.clock_offset_ms).filter(|off| off.abs() >= CLOCK_WORTH_MS);
    match off {
        Some(off) => {
            let way = if off > 0 { "ahead" } else { "behind" };
            format!("its clock is {} s {way}", off.abs() / 1_000)
        }
        None if peer.connection.as_ref().is_some_and(|one| one.workspaces.is_empty()) => {
            "nothing is shared: one of the two is no member of what the other has".to_owned()
        }
        None => peer.trouble.clone(),
    }
}

fn as_json(peer: &v1::Peer) -> Json {
    let connection = peer.connection.as_ref().map(|one| {
        json!({
            "since_ms": one.since_ms, "address": one.address, "dialled_by_this_node": one.dialled_by_this_node,
            "round_trip_us": one.round_trip_us, "clock_offset_ms": one.clock_offset_ms, "sent_bytes": one.sent_bytes,
            "received_bytes": one.received_bytes, "protocol_version": one.protocol_version,
            "software": one.software, "workspaces": one.workspaces, "silent_ms": one.silent_ms,
            "sharing": one.sharing.iter().map(sharing_json).collect::<Vec<_>>(),
        })
    });
    let state = peer.state().as_str_name().to_lowercase().replace("peer_state_", "");
    json!({
        "key": peer.key, "addresses": peer.addresses, "state": state, "trouble": peer.trouble,
        "advice": peer.advice, "failures": peer.failures, "next_attempt_ms": peer.next_attempt_ms, "connection": connection,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_it_is_and_what_is_left_is_said_in_words() {
        let so_far = |done, left, left_bytes, left_ms| catching_up(&v1::CatchUp { done, left, left_bytes, left_ms });
        assert_eq!(so_far(0, 7, None, None), "0 of 7 edits");
        let known = so_far(12_400, 37_600, Some(4_404_020), Some(39_001));
        assert_eq!(known, "12,400 of 50,000 edits, about 4.2 MiB and 40 s left");
        assert_eq!(so_far(1, 999_999, Some(10), Some(7_200_000)), "1 of 1,000,000 edits, about 10 B and 2 h left");
        assert_eq!([1, 12, 123, 1_234, 123_456].map(grouped), ["1", "12", "123", "1,234", "123,456"]);
        assert_eq!([118_999, 120_001].map(duration), ["119 s", "3 min"].map(str::to_owned));
    }
}
